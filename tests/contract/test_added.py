"""A parameter that is added later: old runs are hits, and belong to its default; nothing that was right runs again."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from contract.added_models import Solver, before, changing_in, with_both, with_solver
from contract.models import PATIENCE, CountingRunner, run_at_once, write_params
from entropic import (
    Base,
    KeyCollisionError,
    Mapped,
    ModelError,
    ParameterError,
    PublishError,
    Store,
    added,
    key,
    mapped_column,
    outcome,
    study,
)

OpenStore = Callable[..., Store[Any]]
OLD = {"n": 1, "dt": 0.5}


@pytest.fixture
def old(open_store: OpenStore) -> Any:
    """A row of before the model gained anything."""
    return open_store(model=before()).run_or_retrieve(OLD)


# ---- keys --------------------------------------------------------------------------------------------------------
def test_old_results_are_hits_and_read_the_default(open_store: OpenStore, runner: CountingRunner, old: Any) -> None:
    store = open_store(model=with_solver())
    left_out, given = store.run_or_retrieve(OLD), store.run_or_retrieve({**OLD, "solver": "rk4"})
    assert (left_out.id, left_out.solver, left_out.created_at) == (old.id, "rk4", old.created_at)
    assert given.id == old.id
    assert len(runner.calls) == 1
    assert store.check().ok


def test_another_value_is_another_key_and_runs_once(open_store: OpenStore, runner: CountingRunner, old: Any) -> None:
    store = open_store(model=with_solver())
    row = store.run_or_retrieve({**OLD, "solver": "euler"})
    assert (row.id, row.solver) == (key({**OLD, "solver": "euler"}), "euler")
    store.run_or_retrieve({**OLD, "solver": "euler"})
    assert len(runner.calls) == 2
    assert store.check().ok


def test_the_default_keeps_the_key_that_a_set_had_before(open_store: OpenStore) -> None:
    store = open_store(model=with_both())
    for given in ({}, {"solver": "rk4"}, {"tolerance": None}, {"tolerance": None, "solver": "rk4"}):
        assert store.run_or_retrieve({**OLD, **given}).id == key(OLD)


def test_a_runner_always_finds_the_parameter(open_store: OpenStore, runner: CountingRunner) -> None:
    store = open_store(model=with_both())
    store.run_or_retrieve(OLD)
    store.sweep([{**OLD, "n": 2}, {**OLD, "n": 3, "solver": "euler"}])
    seen = [{name: one[name] for name in ("solver", "tolerance")} for one in runner.calls]
    assert seen == [
        {"solver": "rk4", "tolerance": None},
        {"solver": "rk4", "tolerance": None},
        {"solver": "euler", "tolerance": None},
    ]


def test_sets_of_a_sweep_that_give_and_leave_out_the_default_are_one(
    open_store: OpenStore, runner: CountingRunner, old: Any
) -> None:
    store = open_store(model=with_solver())
    sets = [OLD, {**OLD, "solver": "rk4"}, {**OLD, "solver": "euler"}, {"n": 2, "dt": 0.5}]
    assert [row.solver for row in store.sweep(sets)] == ["rk4", "euler", "rk4"]
    assert len(store.plan(sets).missing) == 0
    assert len(runner.calls) == 3


def test_keys_that_do_not_tell_ways_of_writing_apart_leave_it_out_too(
    open_store: OpenStore, runner: CountingRunner
) -> None:
    old = open_store(model=before(), typed_keys=True).run_or_retrieve({"n": 1.0, "dt": 1})
    store = open_store(model=with_both(), typed_keys=True)
    assert store.run_or_retrieve({"n": 1, "dt": 1.0, "solver": "rk4", "tolerance": None}).id == old.id
    assert store.sweep([{"n": 1, "dt": 1}, {"n": 1, "dt": 1, "tolerance": 1}])[1].id != old.id
    assert len(runner.calls) == 2


def test_a_default_is_known_in_any_spelling(open_store: OpenStore, runner: CountingRunner) -> None:
    class Spelt(Base):
        __tablename__ = "spelt"

        n: Mapped[int]
        width: Mapped[float] = added(1.0)
        solver: Mapped[Solver] = added(Solver.RK4)

    store = open_store(model=Spelt)
    ids = {store.run_or_retrieve({"n": 1, **one}).id for one in ({}, {"width": 1}, {"width": 1.0 + 1e-15})}
    ids |= {store.run_or_retrieve({"n": 1, "solver": one}).id for one in (Solver.RK4, "RK4")}
    assert ids == {key({"n": 1})}
    assert len(runner.calls) == 1


def test_what_only_rounds_to_the_default_is_never_served_for_it(open_store: OpenStore) -> None:
    class Noise(Base):
        __tablename__ = "noise"

        n: Mapped[int]
        shift: Mapped[float] = added(0.0)

    store = open_store(model=Noise)
    store.run_or_retrieve({"n": 1})
    with pytest.raises(KeyCollisionError):
        store.run_or_retrieve({"n": 1, "shift": 1e-13})


def test_a_value_that_does_not_fit_is_refused_as_ever(open_store: OpenStore, runner: CountingRunner) -> None:
    with pytest.raises(ParameterError, match="solver"):
        open_store(model=with_solver()).run_or_retrieve({**OLD, "solver": 5})
    assert len(runner.calls) == 0


def test_an_id_of_ones_own_is_the_key_and_the_row_has_the_default(open_store: OpenStore) -> None:
    store = open_store(model=with_solver())
    assert store.run_or_retrieve({"id": "mine", **OLD}).solver == "rk4"
    assert store.run_or_retrieve({"id": "other", **OLD, "solver": "euler"}).solver == "euler"
    assert [row.id for row in store.sweep([{"id": "other", **OLD}])] == ["other"]


# ---- the table ---------------------------------------------------------------------------------------------------
class Early(Base):
    __tablename__ = "many_kinds"
    metadata = sa.MetaData()

    n: Mapped[int]


def many_kinds() -> type[Any]:
    class ManyKinds(Base):
        __tablename__ = "many_kinds"
        metadata = sa.MetaData()

        n: Mapped[int]
        whole: Mapped[int] = added(-3)
        number: Mapped[float] = added(1e-300)
        flag: Mapped[bool] = added(True)
        text: Mapped[str] = added('it\'s 100% \\ "größer" %s {} :x ?')
        empty: Mapped[str] = added("")
        absent: Mapped[int | None] = added(None)
        day: Mapped[date] = added(date(2026, 1, 2))
        moment: Mapped[datetime] = added(datetime(2026, 1, 2, 3, 4, 5, 678))
        clock: Mapped[time] = added(time(3, 4, 5))
        took: Mapped[timedelta] = added(timedelta(seconds=1.5))
        exact: Mapped[Decimal] = added(Decimal("1.25"), type_=sa.Numeric(10, 2))
        member: Mapped[Solver] = added(Solver.RK4)
        number_of: Mapped[UUID] = added(UUID(int=7))
        raw: Mapped[bytes] = added(b"\x00'\xff")
        pickled: Mapped[Any] = added(["of a type that no database has"], type_=sa.PickleType())
        data: Mapped[dict[str, Any]] = added({"a": [1, None, {"b": "it's 100%"}]})

    return ManyKinds


def test_a_default_of_any_type_fills_the_rows_that_are_there(open_store: OpenStore, runner: CountingRunner) -> None:
    old = open_store(model=Early).run_or_retrieve({"n": 1})
    model = many_kinds()
    store = open_store(model=model)
    row, fresh = store.run_or_retrieve({"n": 1}), store.run_or_retrieve({"n": 2})
    expected = {name: one.column.info["added"] for name, one in store._context.schema.fields.items() if name != "n"}
    assert {name: getattr(row, name) for name in expected} == expected
    assert {name: getattr(fresh, name) for name in expected} == expected
    assert row.id == old.id
    assert store.run_or_retrieve({"n": 1, **expected}).id == old.id
    assert [one.n for one in store.select(member=Solver.RK4, whole=-3, day=date(2026, 1, 2), order_by="n")] == [1, 2]
    assert len(runner.calls) == 2
    assert store.check().ok


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_table_that_was_made_strict_gains_columns_of_any_type(open_store: OpenStore, place: Any) -> None:
    table = "growing_strictly"
    ours = (
        "id TEXT PRIMARY KEY NOT NULL, result_file TEXT NOT NULL, created_at TEXT NOT NULL, custom_data TEXT NOT NULL"
    )
    place.execute(f"CREATE TABLE {table} ({ours}, n INTEGER NOT NULL) STRICT")
    ran: list[int] = []

    def run(params: dict[str, Any]) -> dict[str, float]:
        ran.append(params["n"])
        return {"energy": 1.5}

    old = open_store(run, changing_in(table, n=int)).run_or_retrieve({"n": 1})
    later: dict[str, Any] = {
        "solver": "rk4",
        "share": 0.1,
        "depth": 3,
        "is_fine": True,
        "day": date(2026, 1, 2),
        "at": datetime(2026, 1, 2, 3, 4, 5, 678901),
        "data": {"a": [1, None]},
        "raw": b"x\xff",
        "price": Decimal("1.5"),
    }
    types = {name: dict[str, Any] if name == "data" else type(value) for name, value in later.items()}
    columns = {name: (types[name], added(value)) for name, value in later.items()}
    store = open_store(run, changing_in(table, n=int, **columns, energy=(float | None, outcome())))
    row = store.run_or_retrieve({"n": 1, "solver": "rk4"})
    assert (row.id, row.energy, ran) == (old.id, None, [1])
    assert {name: getattr(row, name) for name in later} == later
    for n, other in enumerate(
        ({"share": 2}, {"data": {"b": 1}}, {"at": datetime(2027, 1, 1)}, {"price": Decimal(2)}), 2
    ):
        store.run_or_retrieve({"n": n, **other})
        assert [row.n for row in store.select(n=n, **({} if "data" in other else other))] == [n]
        assert store.retrieve({"n": n, **other}).solver == "rk4"
    assert [row.n for row in store.select(solver="rk4", day=date(2026, 1, 2), order_by="n")] == [1, 2, 3, 4, 5]
    assert ran == [1, 2, 3, 4, 5]
    assert [row.n for row in store.select(energy=1.5, order_by="n")] == [2, 3, 4, 5]
    assert store.check().ok


def test_parameters_that_come_one_after_another_keep_all_hits(open_store: OpenStore, runner: CountingRunner) -> None:
    open_store(model=before()).sweep([{"n": n, "dt": 0.5} for n in range(3)])
    open_store(model=with_solver()).sweep([{"n": n, "dt": 0.5, "solver": "euler"} for n in range(3)])
    store = open_store(model=with_both())
    rows = store.sweep([{"n": n, "dt": 0.5, "solver": one} for n in range(3) for one in ("rk4", "euler")])
    assert {row.tolerance for row in rows} == {None}
    assert len(runner.calls) == 6
    assert store.run_or_retrieve({**OLD, "tolerance": 0.25}).tolerance == 0.25
    assert store.check().ok


def test_the_values_of_old_rows_are_selected_and_shown_in_tables(open_store: OpenStore, old: Any) -> None:
    store = open_store(model=with_solver())
    store.run_or_retrieve({**OLD, "solver": "euler"})
    assert [row.id for row in store.select(solver="rk4")] == [old.id]
    assert sorted(store.select().to_pandas()["solver"]) == ["euler", "rk4"]
    assert "solver" in str(store.explain(OLD))
    assert store.explain({**OLD, "solver": "rk4"}).hit
    assert "solver: midpoint vs rk4" in str(store.explain({**OLD, "solver": "midpoint"}))
    assert "solver" not in store.explain(OLD).canonical


def test_a_program_that_does_not_know_the_column_yet_goes_on_beside(
    open_store: OpenStore, runner: CountingRunner, old: Any
) -> None:
    older = open_store(model=before())
    store = open_store(model=with_solver())
    late = older.run_or_retrieve({"n": 2, "dt": 0.5})
    assert store.run_or_retrieve({"n": 2, "dt": 0.5}).solver == "rk4"
    assert store.run_or_retrieve({"n": 2, "dt": 0.5}).id == late.id
    assert older.run({"n": 2, "dt": 0.5}).id == late.id  # replaced, and still the default's
    assert store.run_or_retrieve({"n": 2, "dt": 0.5}).solver == "rk4"
    assert len(runner.calls) == 3
    assert store.check().ok


def test_rows_that_are_given_back_keep_their_keys(open_store: OpenStore, runner: CountingRunner, old: Any) -> None:
    store = open_store(model=with_solver())
    other = store.run_or_retrieve({**OLD, "solver": "euler"})
    for row in store.select():
        assert store.run_or_retrieve(row).id == row.id
    assert {row.id for row in store.sweep(store.select())} == {old.id, other.id}
    assert len(runner.calls) == 2


def test_a_copy_in_another_database_knows_what_was_added(
    open_store: OpenStore, runner: CountingRunner, old: Any, make_place: Any, tmp_path: Path
) -> None:
    store = open_store(model=with_solver())
    store.run_or_retrieve({**OLD, "solver": "euler"})
    (tmp_path / "other").mkdir()
    with make_place(tmp_path / "other") as place:
        store.copy_to(place.url)
        other = open_store(model=with_solver(), db_url=place.url)
        assert [row.solver for row in other.sweep([OLD, {**OLD, "solver": "euler"}])] == ["rk4", "euler"]
        assert other.check().ok
        with pytest.raises(ModelError, match="added with 'rk4'"):
            open_store(model=growing(solver=added("euler")), db_url=place.url)
    assert len(runner.calls) == 2


# ---- what is said when a model changed without saying so -----------------------------------------------------------
def growing(**columns: Any) -> type[Any]:
    annotations = {"n": Mapped[int], "dt": Mapped[float]} | dict.fromkeys(columns, Mapped[str])
    body = {"__tablename__": "growing", "metadata": sa.MetaData(), "__annotations__": annotations, **columns}
    return type("Growing", (Base,), body)


def test_a_new_column_that_says_nothing_is_an_error_with_the_line_to_write(
    open_store: OpenStore, runner: CountingRunner, old: Any
) -> None:
    with pytest.raises(ModelError, match=r"write solver: Mapped\[str\] = added\(VALUE\), where VALUE is"):
        open_store(model=growing(solver=mapped_column(default="rk4")))
    assert open_store(model=before()).run_or_retrieve(OLD).id == old.id


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"solver": lambda: added("euler")}, "has the default 'euler', but was added with 'rk4'"),
        ({"solver": mapped_column}, "does not say that it came later"),
        ({"solver": lambda: mapped_column(default="rk4")}, "does not say that it came later"),
        ({}, "has the parameter 'solver', which Growing lacks"),
    ],
)
@pytest.mark.parametrize("looks", [False, True])
def test_what_keys_mean_cannot_change_behind_their_back(
    open_store: OpenStore, old: Any, columns: dict[str, Any], says: str, looks: bool
) -> None:
    open_store(model=with_solver())
    with pytest.raises(ModelError) as refused:
        open_store(model=growing(**{name: make() for name, make in columns.items()}), read_only=looks)
    assert says in str(refused.value)
    assert "write solver: Mapped[str] = added('rk4')" in str(refused.value)
    assert open_store(model=with_solver()).run_or_retrieve(OLD).id == old.id


def test_a_column_that_was_there_from_the_start_cannot_be_declared_as_added(open_store: OpenStore) -> None:
    open_store(model=growing(solver=mapped_column())).run_or_retrieve({**OLD, "solver": "rk4"})
    with pytest.raises(ModelError, match=r"had 'solver' before Growing declared it .* write solver: Mapped\[str\] as"):
        open_store(model=with_solver())


def test_a_new_table_may_have_it_from_the_start(open_store: OpenStore, runner: CountingRunner) -> None:
    store = open_store(model=with_solver())
    assert store.run_or_retrieve(OLD).id == key(OLD)
    again = open_store(model=with_both())
    assert again.run_or_retrieve({**OLD, "solver": "rk4"}).id == key(OLD)
    assert len(runner.calls) == 1


@pytest.mark.parametrize("default", [lambda: "rk4", list, sa.func.now()])
def test_a_default_that_is_no_value_is_refused(default: Any) -> None:
    with pytest.raises(ModelError, match="the value with which the existing rows were made"):
        added(default)


@pytest.mark.parametrize("default", [5, None])
def test_a_default_that_does_not_fit_is_refused(open_store: OpenStore, default: object) -> None:
    with pytest.raises(ModelError, match=r"Growing.solver = added\((5|None)\) cannot be"):
        open_store(model=growing(solver=added(default)))


def test_added_without_a_default_is_refused() -> None:
    with pytest.raises(ModelError, match=r"write solver = added\(VALUE\)"):
        growing(solver=added)


def test_a_store_that_only_looks_says_who_adds_the_column(open_store: OpenStore, old: Any) -> None:
    with pytest.raises(ModelError, match=r"does not have 'solver' yet.*next process that opens the store to write"):
        open_store(model=with_solver(), read_only=True)
    open_store(model=with_solver())
    assert open_store(model=with_solver(), read_only=True).run_or_retrieve(OLD).solver == "rk4"


# ---- what was recorded before --------------------------------------------------------------------------------------
def test_rows_are_rebuilt_from_what_was_recorded_before_the_parameter_came(
    open_store: OpenStore, runner: CountingRunner, old: Any, make_place: Any, tmp_path: Path
) -> None:
    open_store(model=with_solver()).run_or_retrieve({**OLD, "solver": "euler"})
    (tmp_path / "other").mkdir()
    with make_place(tmp_path / "other") as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the results that are there without a row
        store = open_store(model=with_solver(), db_url=place.url)
        assert sorted(store.rebuild().made) == sorted([old.id, key({**OLD, "solver": "euler"})])
        assert [row.solver for row in store.sweep([OLD, {**OLD, "solver": "euler"}])] == ["rk4", "euler"]
        assert store.check().ok
    assert len(runner.calls) == 2


def test_a_run_that_an_older_program_finished_is_recorded_with_the_default(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from entropic.protocol import plain_run, publish

    older = open_store(write_params, before())

    def fail(*_: object) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(plain_run, "is_used", False)  # which publishes by itself
        patch.setattr(publish, "publish_locked", fail)
        with pytest.raises(PublishError, match="gone"):
            older.run_or_retrieve(OLD)
    store = open_store(lambda params: pytest.fail("it ran"), with_solver())
    assert store.run_or_retrieve(OLD).solver == "rk4"
    assert store.check().ok


# ---- several processes ---------------------------------------------------------------------------------------------
def open_and_run(url: str, folder: Path, together: Any, part: int) -> None:
    together.wait(300)
    store: Store[Any] = Store(write_params, with_both(), folder, ".json", url)
    rows = store.sweep([{"n": n, "dt": 0.5, "solver": one} for n in range(part, part + 10) for one in ("rk4", "euler")])
    assert len(rows) == 20


@pytest.mark.slow
def test_processes_that_add_columns_at_once_beside_an_older_program_lose_nothing(
    open_store: OpenStore, place: Any
) -> None:
    older = open_store(write_params, before())
    older.sweep([{"n": n, "dt": 0.5} for n in range(5)])
    made = {row.id: row.created_at for row in older.select()}
    others = [{"n": n, "dt": 0.5} for n in range(100, 130)]
    run_at_once(open_and_run, place.url, older.results_dir, 4, lambda: older.sweep(others))
    store = open_store(lambda params: pytest.fail("it ran"), with_both())
    store.sweep([{"n": n, "dt": 0.5} for n in (*range(13), *range(100, 130))])
    assert {row.id: row.created_at for row in store.select() if row.id in made} == made
    assert len(store.select(solver="rk4")) == 43
    inspector = sa.inspect(sa.create_engine(place.url, poolclass=sa.NullPool))
    assert ["solver"] in [one["column_names"] for one in inspector.get_indexes("growing")]
    assert store.check().ok


@pytest.mark.only_on("postgresql", "mariadb")
def test_a_long_reader_of_the_table_keeps_nobody_from_hits_while_the_column_waits(
    open_store: OpenStore, place: Any, old: Any
) -> None:
    older = open_store(model=before())
    engine = sa.create_engine(place.url, poolclass=sa.NullPool)
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    child = context.Process(target=open_and_run, args=(place.url, older.results_dir, together, 0))
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM growing").scalar()  # and its transaction goes on
        child.start()
        together.wait(PATIENCE)
        for _ in range(30):
            assert older.run_or_retrieve(OLD).id == old.id
        assert child.is_alive()
    child.join(120)
    assert child.exitcode == 0


# ---- a function as a study -----------------------------------------------------------------------------------------
def test_a_function_gains_a_parameter_and_its_results_are_hits(tmp_path: Path) -> None:
    ran: list[str] = []
    where: dict[str, Any] = {"results": tmp_path / "results", "db_url": f"sqlite:///{tmp_path}/db.sqlite3"}

    def swing(length: float) -> str:
        ran.append("before")
        return "before"

    assert study(**where)(swing)(length=1.0) == "before"

    def swing(length: float, solver: str = "rk4", depth: int | None = None) -> str:  # type: ignore[no-redef]
        ran.append(f"{solver} {depth}")
        return f"{solver} {depth}"

    with pytest.raises(ModelError, match=r"write solver: Mapped\[str\] = added"):
        study(**where)(swing)(length=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the code has changed, too
        later: Any = study(**where, added=["solver", "depth"])(swing)
        assert later(1.0) == later(length=1, solver="rk4") == "before"
        assert later(1.0, "euler") == later(1.0, solver="euler") == "euler None"
        assert [row.solver for row in later.sweep(length=1.0, solver=["rk4", "euler"])] == ["rk4", "euler"]
    assert ran == ["before", "euler None"]


@pytest.mark.parametrize(("name", "says"), [("nothing", "no such parameter"), ("length", "no default")])
def test_what_a_function_cannot_have_gained_is_refused(name: str, says: str) -> None:
    def swing(length: float) -> None: ...

    with pytest.raises(ModelError, match=says):
        study(added=[name])(swing)


# ---- a store that is opened by its database alone ------------------------------------------------------------------
def test_a_database_tells_without_the_script_what_its_keys_leave_out(
    open_store: OpenStore, place: Any, tmp_path: Path
) -> None:
    from entropic.cli.reflect import open_reflected

    old = open_store(model=Early).run_or_retrieve({"n": 1})
    store = open_store(model=many_kinds())
    other = store.run_or_retrieve({"n": 1, "whole": 4})
    found = open_reflected(place.url, "many_kinds", str(tmp_path / "results"))
    assert found.explain({"n": 1}).id == found.explain({"n": 1, "text": old_text(store)}).id == old.id
    assert found.explain({"n": 1, "whole": 4}).id == other.id
    assert found.check().ok


def old_text(store: Store[Any]) -> str:
    return str(store._context.schema.fields["text"].column.info["added"])


@pytest.mark.parametrize("told", ["", "{}", "[1]", '{"added":{"no":1}}', '{"added":'])
def test_a_record_that_entropic_did_not_write_is_refused(open_store: OpenStore, place: Any, told: str) -> None:
    open_store(model=with_solver())
    place.execute("UPDATE entropic_changes SET told = ?", told)
    with pytest.raises(ModelError, match=r"has the default|was not written by entropic"):
        open_store(model=with_solver())
