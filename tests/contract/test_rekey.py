"""Rows whose keys other rules have made, such as those of 2.3.0, get the keys that their sets have now."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from contract.added_models import changing_in
from contract.models import CountingRunner, SimResult
from entropic import Base, Mapped, ReadOnlyError, SpellingWarning, Store, key, retyped

OpenStore = Callable[..., Store[Any]]
SETS = [{"n": n, "dt": 0.5} for n in range(3)]


def of_numpy(params: dict[str, Any]) -> str:
    """Return the key that 2.3.0 gave to a set whose `n` was a number of numpy."""
    return key({**params, "n": str(params["n"])})


@pytest.fixture
def store(open_store: OpenStore) -> Store[Any]:
    """A store with three such rows, and one that has its key."""
    made = open_store(model=SimResult)
    for params in SETS:
        made.run_or_retrieve({**params, "id": of_numpy(params)}, note=f"of {params['n']}")
    made.run_or_retrieve({"n": 7, "dt": 0.5})
    return made


# ---- what it does ------------------------------------------------------------------------------------------------
def test_rows_are_found_by_their_sets_once_they_have_the_keys_of_now(store: Store[Any], runner: CountingRunner) -> None:
    old = {row.n: row for row in store.select()}
    content = {n: Path(row.result_file).read_text() for n, row in old.items()}
    done = store.rekey()
    assert done.ok
    assert done.before == {key(params): of_numpy(params) for params in SETS}
    for row in store.sweep([*({**params, "n": np.int64(params["n"])} for params in SETS), {"n": 7, "dt": 0.5}]):
        before = old[row.n]
        assert (row.id, row.created_at, row.custom_data) == (
            key({"n": row.n, "dt": 0.5}),
            before.created_at,
            before.custom_data,
        )
        assert Path(row.result_file).read_text() == content[row.n]
    assert len(store.select()) == len([one for one in store.results_dir.iterdir() if one.name != ".entropic"]) == 4
    assert len(runner.calls) == 4
    assert store.check().ok
    assert store.rekey().taken == []


def test_a_dry_run_shows_all_and_does_nothing(open_store: OpenStore, store: Store[Any], place: Any) -> None:
    before = sorted(row.id for row in store.select())
    files = {path: path.stat().st_mtime_ns for path in store.results_dir.iterdir()}
    told = str(store.rekey(dry_run=True))
    assert "3 results would get another key" in told
    for params in SETS:
        assert f"{of_numpy(params)} as {key(params)}: n={params['n']}, dt=0.5" in told
    assert str(open_store(model=SimResult, read_only=True).rekey(dry_run=True)) == told
    with pytest.raises(ReadOnlyError, match="rekey"):
        open_store(model=SimResult, read_only=True).rekey()
    assert sorted(row.id for row in store.select()) == before
    assert {path: path.stat().st_mtime_ns for path in store.results_dir.iterdir()} == files


def test_a_row_that_was_changed_by_hand_is_never_moved(store: Store[Any], place: Any) -> None:
    place.execute("UPDATE sim_results SET dt = 0.25 WHERE n = 1")
    done = store.rekey()
    assert sorted(done.before) == sorted(key(params) for params in SETS if params["n"] != 1)
    assert store.retrieve({"n": 1, "dt": 0.25}) is None


def test_another_result_under_the_new_key_is_a_conflict_and_both_stay(
    store: Store[Any], runner: CountingRunner
) -> None:
    ran = store.run_or_retrieve(SETS[0])  # which nobody could know to be stored
    Path(ran.result_file).write_text(Path(ran.result_file).read_text().replace("0.5", "0.6"))
    for dry_run in (True, False):
        done = store.rekey(dry_run)
        (conflict,) = done.conflicts
        assert f"{of_numpy(SETS[0])} has another result than its new key" in str(conflict)
        assert not done.ok
        assert len(done.taken) == 2
    assert store.retrieve({"id": of_numpy(SETS[0])}) is not None
    assert store.run_or_retrieve(SETS[0]).created_at == ran.created_at


def test_after_an_interrupt_the_same_call_goes_on(store: Store[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from entropic.protocol import delete

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(delete, "delete", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.rekey()
    assert len(store.select()) == 5
    assert (again := store.rekey()).ok
    assert (len(again.taken), again.same) == (2, 1)
    assert sorted(row.id for row in store.select()) == sorted(key({"n": n, "dt": 0.5}) for n in (0, 1, 2, 7))
    assert store.check().ok


def test_a_row_that_is_replaced_meanwhile_is_not_lost(store: Store[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from entropic.upkeep import note

    def replace(context: Any, id: str, *_: Any, **__: Any) -> str:
        params = next(one for one in SETS if key(one) == id)
        store.run({**params, "id": of_numpy(params)})
        return ""

    store.note({"id": of_numpy(SETS[0])}, "suspicious")
    monkeypatch.setattr(note, "bring", replace)
    done = store.rekey()
    assert any(f"{of_numpy(SETS[0])}: it was replaced or deleted just now" in one for one in done.left)
    assert store.retrieve({"id": of_numpy(SETS[0])}) is not None


# ---- what belongs to a row ---------------------------------------------------------------------------------------
def test_notes_and_tags_come_along(store: Store[Any]) -> None:
    store.note({"id": of_numpy(SETS[0])}, "suspicious", tags=["paper"])
    assert store.rekey().ok
    assert {id: (one.text, one.tags) for id, one in store.notes().items()} == {key(SETS[0]): ("suspicious", ("paper",))}
    assert [row.n for row in store.select(store.tagged("paper"))] == [0]


def test_what_has_read_a_row_still_has_read_it(
    open_store: OpenStore, store: Store[Any], runner: CountingRunner
) -> None:
    def read(params: dict[str, Any]) -> None:
        store.retrieve({"id": of_numpy(SETS[0])})
        runner(params)

    reader = open_store(read, changing_in("reading_rekeyed", m=int), on_stale="error")
    row = reader.run_or_retrieve({"m": 1})
    assert store.rekey().ok
    assert [one.id for one in reader.inputs(row)] == [key(SETS[0])]
    assert reader.stale() == []
    assert reader.run_or_retrieve({"m": 1}).id == row.id


def test_a_registered_file_stays_where_it_is(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store(model=SimResult)
    made = tmp_path / "elsewhere.json"
    made.write_text("{}")
    store.register({**SETS[0], "id": of_numpy(SETS[0])}, made)
    done = store.rekey()
    assert (done.taken, done.registered) == ([key(SETS[0])], [key(SETS[0])])
    assert Path(store.run_or_retrieve(SETS[0]).result_file) == made
    assert store.retrieve({"id": of_numpy(SETS[0])}) is None
    assert made.read_text() == "{}"
    assert store.check().ok


# ---- where such keys come from -------------------------------------------------------------------------------------
class Before(Base):
    __tablename__ = "of_2_3_0"
    metadata = sa.MetaData()

    n: Mapped[int]
    steps: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]
    depth: Mapped[int | None]


@pytest.mark.parametrize("typed", [False, True])
def test_a_store_of_before_there_was_a_ledger(
    open_store: OpenStore, runner: CountingRunner, place: Any, tmp_path: Path, typed: bool
) -> None:
    """As 2.3.0 left it: a table, files called by their keys, and nothing else."""
    (tmp_path / "results").mkdir()
    engine = sa.create_engine(place.url, poolclass=sa.NullPool)
    open_store(model=Before, results_dir=tmp_path / "of another")  # which makes the table as the database has it
    for name in ("entropic_models", "entropic_ledger"):
        place.execute(f"DELETE FROM {name}")
    hashed = [
        {"n": "1", "steps": "100", "dt": 0.5, "name": "all of numpy"},
        {"n": 2, "steps": "100", "dt": "0.25", "name": "some of numpy"},
        {"n": 3, "steps": 100, "dt": "1", "name": "a whole one in a column of floats"},
        {"n": 4, "steps": 100, "dt": 0.5, "name": "of Python", "depth": 3},
    ]
    now = [{**one, "n": int(one["n"]), "steps": 100, "dt": float(one["dt"])} for one in hashed]
    with engine.begin() as connection:
        for one, meant in zip(hashed, now, strict=True):
            file = tmp_path / "results" / f"{key(one)}.json"
            file.write_text(str(meant["name"]))
            given = {"depth": None, **meant, "id": key(one), "result_file": str(file), "custom_data": {}}
            connection.execute(sa.insert(Before.__table__), {**given, "created_at": datetime(2025, 1, 2)})
    with pytest.warns(SpellingWarning, match=r"3 rows of Before have keys .* numbers of numpy .* `entropic rekey`"):
        store = open_store(model=Before, typed_keys=typed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_store(model=Before, typed_keys=typed)  # said once
    assert len(store.check().mismatched) == 3
    assert "made by other rules" in str(store.check())
    assert store.repair().done == []
    assert (done := store.rekey()).ok
    assert {params["n"] for params in done.sets.values()} == {1, 2, 3}
    asked = [{**one, "dt": 1} if one["n"] == 3 and not typed else one for one in now]
    assert [Path(row.result_file).read_text() for row in store.sweep(asked)] == [one["name"] for one in now]
    assert {row.created_at for row in store.select()} == {datetime(2025, 1, 2)}
    assert runner.calls == []
    assert store.check().ok
    assert len([path for path in (tmp_path / "results").iterdir() if path.is_file()]) == 4


def test_sets_that_said_2_0_before_their_parameter_was_retyped(open_store: OpenStore, runner: CountingRunner) -> None:
    older = open_store(model=changing_in("rekeying_retyped", n=int, dt=int))
    rows = [older.run_or_retrieve({"n": 1, "dt": dt}) for dt in (2.0, 3)]
    assert rows[0].id == key({"n": 1, "dt": 2.0})
    store = open_store(model=changing_in("rekeying_retyped", n=int, dt=(float, retyped(int))))
    assert "made by other rules" in str(store.check())
    with pytest.warns(SpellingWarning, match=r"stored under the key that it had before dt was retyped.*rekey"):
        store.run_or_retrieve({"n": 1, "dt": 2.0})
    store.delete({"n": 1, "dt": 2.0}, remove_file=True)
    done = store.rekey()
    assert done.before == {key({"n": 1, "dt": 2}): rows[0].id}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [row.created_at for row in store.sweep([{"n": 1, "dt": dt} for dt in (2.0, 3.0)])] == [
            row.created_at for row in rows
        ]
    assert len(runner.calls) == 3
    assert store.check().ok


def test_a_store_that_makes_keys_in_another_way_takes_them_in_under_its_own(
    open_store: OpenStore, store: Store[Any], runner: CountingRunner, make_place: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    with make_place(tmp_path / "mine") as place:
        options: dict[str, Any] = {"db_url": place.url, "results_dir": tmp_path / "mine" / "results"}
        mine = open_store(model=SimResult, typed_keys=True, **options)
        assert mine.merge(store).rekeyed == 3
        mine.sweep(SETS)
        assert len(runner.calls) == 4
