"""A parameter that was retyped, beside programs and databases of before."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.added_models import changing_in
from contract.models import CountingRunner, run_at_once, write_params
from entropic import ModelError, PublishError, Store, StoreError, key, retyped
from entropic.upkeep import recover

OpenStore = Callable[..., Store[Any]]
TABLE = "retyping_beside"


def model(dt: Any = (float, "retyped"), **columns: Any) -> type[Any]:
    """Return a model of one table, in which `dt` has been retyped."""
    return changing_in(TABLE, n=int, dt=(float, retyped(int)) if dt == (float, "retyped") else dt, **columns)


def first() -> type[Any]:
    return model(dt=int)


# ---- programs of before, and other databases -----------------------------------------------------------------------
@pytest.mark.slow
def test_a_program_of_before_goes_on_beside(open_store: OpenStore, runner: CountingRunner) -> None:
    older = open_store(model=first())
    old = older.sweep([{"n": n, "dt": 2} for n in range(3)])
    assert older.run_or_retrieve({"n": 1, "dt": 2}).id == old[1].id  # whose statements its session keeps
    store = open_store(model=model())
    assert older.run_or_retrieve({"n": 1, "dt": 2}).id == old[1].id
    late = older.run_or_retrieve({"n": 4, "dt": 2})
    assert older.run({"n": 4, "dt": 2}).id == late.id
    assert [row.id for row in older.sweep([{"n": n, "dt": 2} for n in (0, 1, 2, 4)])][3] == late.id
    assert store.run_or_retrieve({"n": 4, "dt": 2.0}).id == late.id
    store.run_or_retrieve({"n": 4, "dt": 2.5})
    again = open_store(model=first())  # opened anew, it knows the keys that it always made
    assert again.run_or_retrieve({"n": 4, "dt": 2}).id == late.id
    assert again.run_or_retrieve({"n": 5, "dt": 2}).id == store.run_or_retrieve({"n": 5, "dt": 2.0}).id
    assert len(runner.calls) == 7
    assert store.check().ok
    assert again.check().ok


def test_what_a_program_of_before_finds_finished_with_another_number_waits_for_one_that_knows(
    open_store: OpenStore, runner: CountingRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    from entropic.protocol import publish

    def end(*_: Any) -> None:
        raise KeyboardInterrupt  # as a kill after the sidecar: what is finished is not recorded

    store = open_store(model=model())
    with monkeypatch.context() as patch:
        patch.setattr(publish, "publish_locked", end)
        with pytest.raises(KeyboardInterrupt):
            store.run_or_retrieve({"n": 1, "dt": 2.5})
    older = open_store(model=first())
    recover.recover(older._context)
    assert older.select() == []
    with pytest.raises(PublishError, match=r"ran with dt=2.5, .* retyped\(int\) records it"):
        older.run_or_retrieve({"n": 1, "dt": 2, "id": key({"n": 1, "dt": 2.5})})
    assert [row.dt for row in open_store(model=model()).sweep([{"n": 1, "dt": 2.5}])] == [2.5]
    assert len(runner.calls) == 1


@pytest.mark.only_on("postgresql", "mariadb")
def test_a_copy_by_a_model_of_before_is_refused_where_it_would_cut_a_number(
    open_store: OpenStore, place: Any, tmp_path: Path
) -> None:
    sqlite: dict[str, Any] = {"db_url": f"sqlite:///{tmp_path}/here.sqlite3", "results_dir": tmp_path / "here"}
    open_store(model=first(), **sqlite).run_or_retrieve({"n": 1, "dt": 2})
    open_store(model=model(), **sqlite).run_or_retrieve({"n": 1, "dt": 2.5})
    with pytest.raises(StoreError, match=r"has dt=2.5, .* retyped\(int\)\). Nothing was copied"):
        open_store(model=first(), **sqlite).copy_to(place.url)


@pytest.mark.only_on("mariadb")
def test_rows_without_the_number_stay_where_the_model_requires_it_now(open_store: OpenStore) -> None:
    old = open_store(model=model(dt=int | None)).run_or_retrieve({"n": 1, "dt": None})
    store = open_store(model=model())
    store.run_or_retrieve({"n": 1, "dt": 2.5})
    assert {row.id: row.dt for row in store.select(n=1)}[old.id] is None


@pytest.mark.only_on("postgresql", "mariadb")
def test_several_parameters_are_retyped_by_one_statement(open_store: OpenStore) -> None:
    open_store(model=changing_in("retyping_two", n=int, dt=int))
    both = changing_in("retyping_two", n=(float, retyped(int)), dt=(float, retyped(int)))
    with pytest.raises(ModelError) as error:
        open_store(model=both, read_only=True)
    assert str(error.value).count("ALTER TABLE") == 1
    assert open_store(model=both).run_or_retrieve({"n": 0.5, "dt": 1.5}).n == 0.5


@pytest.mark.only_on("postgresql")
def test_a_session_that_has_prepared_its_statements_before_goes_on(
    open_store: OpenStore, runner: CountingRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entropic.db.server.IDLE_SECONDS", 300.0)
    older = open_store(model=first())
    old = older.run_or_retrieve({"n": 1, "dt": 2})
    session: Any = older._context.database.connection()
    session._raw.prepare_threshold = 0
    before = session._raw
    assert older.run_or_retrieve({"n": 1, "dt": 2}).id == old.id
    assert before._prepared._names, "something was prepared"
    open_store(model=model())
    assert older.run_or_retrieve({"n": 1, "dt": 2}).id == old.id
    assert session._raw is not before
    assert len(runner.calls) == 1


@pytest.mark.slow
def test_rows_are_rebuilt_and_copied_as_they_were(
    open_store: OpenStore, runner: CountingRunner, make_place: Any, tmp_path: Path
) -> None:
    old = open_store(model=first()).run_or_retrieve({"n": 1, "dt": 2})
    half = open_store(model=model()).run_or_retrieve({"n": 1, "dt": 0.5})
    for name in ("rebuilt", "copied"):
        (tmp_path / name).mkdir()
        with make_place(tmp_path / name) as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the results that are there without a row
            if name == "copied":
                open_store(model=model()).copy_to(place.url)
            store = open_store(model=model(), db_url=place.url)
            if name == "rebuilt":
                assert sorted(store.rebuild().made) == sorted([old.id, half.id])
            rows = store.sweep([{"n": 1, "dt": 2.0}, {"n": 1, "dt": 0.5}])
            assert [(row.id, repr(row.dt)) for row in rows] == [(old.id, "2.0"), (half.id, "0.5")]
            assert store.check().ok
    assert len(runner.calls) == 2


@pytest.mark.slow
@pytest.mark.parametrize("theirs", ["int", "float", "retyped"])
def test_what_others_have_made_is_taken_under_the_key_that_it_has_here(
    open_store: OpenStore, runner: CountingRunner, make_place: Any, tmp_path: Path, theirs: str
) -> None:
    kinds: dict[str, Any] = {"int": int, "float": float, "retyped": (float, "retyped")}
    store = open_store(model=model())
    (tmp_path / "theirs").mkdir()
    with make_place(tmp_path / "theirs") as place:
        where: dict[str, Any] = {"db_url": place.url, "results_dir": tmp_path / "theirs" / "results"}
        other = open_store(model=model(dt=kinds[theirs]), **where)
        numbers = [2] if theirs == "int" else [2.0, 0.5]
        other.sweep([{"n": 1, "dt": dt} for dt in numbers])
        assert len(store.merge(other).taken) == len(numbers)
        if theirs == "int":
            with pytest.raises(ModelError, match=r"of whole numbers.*retyped\(int\) makes an int a float"):
                other.merge(store)
    assert [row.dt for row in store.sweep([{"n": 1, "dt": dt} for dt in numbers])] == numbers
    assert len(runner.calls) == len(numbers)
    assert store.check().ok


def test_a_database_tells_without_the_script_what_was_retyped(
    open_store: OpenStore, place: Any, tmp_path: Path
) -> None:
    from entropic.cli.reflect import open_reflected

    old = open_store(model=first()).run_or_retrieve({"n": 1, "dt": 2})
    half = open_store(model=model()).run_or_retrieve({"n": 1, "dt": 0.5})
    found = open_reflected(place.url, TABLE, str(tmp_path / "results"))
    assert found.explain({"n": 1, "dt": 2.0}).id == found.explain({"n": 1, "dt": 2}).id == old.id
    assert found.explain({"n": 1, "dt": 0.5}).id == half.id
    assert found.check().ok


# ---- several processes ---------------------------------------------------------------------------------------------
def open_and_run(url: str, folder: Path, together: Any, part: int) -> None:
    together.wait(300)
    store: Store[Any] = Store(write_params, model(), folder, ".json", url)
    assert len(store.sweep([{"n": n, "dt": dt} for n in range(part, part + 5) for dt in (2.0, 0.5)])) == 10


@pytest.mark.slow
def test_processes_that_retype_at_once_beside_a_program_of_before_lose_nothing(
    open_store: OpenStore, place: Any
) -> None:
    older = open_store(write_params, first())
    older.sweep([{"n": n, "dt": 2} for n in range(5)])
    made = {row.id: row.created_at for row in older.select()}
    others = [{"n": n, "dt": 2} for n in range(100, 130)]
    run_at_once(open_and_run, place.url, older.results_dir, 3, lambda: older.sweep(others))
    store = open_store(lambda params: pytest.fail("it ran"), model())
    store.sweep([{"n": n, "dt": 2.0} for n in (*range(7), *range(100, 130))])
    assert {row.id: row.created_at for row in store.select() if row.id in made} == made
    assert len(store.select(dt=0.5)) == 7
    assert store.check().ok
