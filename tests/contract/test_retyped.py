"""A parameter of whole numbers that takes any number now: old runs are hits, and nothing that was right runs again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import column_property

from contract.added_models import changing_in
from contract.models import CountingRunner
from entropic import KeyCollisionError, ModelError, ParameterError, Store, added, key, removed, renamed, retyped, study

OpenStore = Callable[..., Store[Any]]
TABLE = "retyping"


def model(dt: Any = (float, "retyped"), **columns: Any) -> type[Any]:
    """Return a model of one table, in which `dt` has been retyped."""
    return changing_in(TABLE, n=int, dt=(float, retyped(int)) if dt == (float, "retyped") else dt, **columns)


def first() -> type[Any]:
    return model(dt=int)


# ---- keys --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("typed", [False, True])
def test_whole_numbers_are_hits_however_they_are_written(
    open_store: OpenStore, runner: CountingRunner, typed: bool
) -> None:
    older = open_store(model=first(), typed_keys=typed)
    old = older.run_or_retrieve({"n": 1, "dt": 2})
    store = open_store(model=model(), typed_keys=typed)
    for same in (2, 2.0, 2.0000000000000004):
        row = store.run_or_retrieve({"n": 1, "dt": same})
        assert (row.id, row.dt, row.created_at) == (old.id, 2.0, old.created_at)
        assert type(row.dt) is float
    assert [row.id for row in store.sweep([{"n": 1, "dt": 2}, {"n": 1, "dt": 2.0}])] == [old.id]
    assert len(runner.calls) == 1
    assert store.check().ok


@pytest.mark.parametrize("typed", [False, True])
def test_other_numbers_are_new_keys_and_run_once(open_store: OpenStore, runner: CountingRunner, typed: bool) -> None:
    open_store(model=first(), typed_keys=typed).sweep([{"n": 1, "dt": dt} for dt in (1, 2, -3)])
    store = open_store(model=model(), typed_keys=typed)
    numbers = [1.0, 1.5, 2, 2.5, -3.0, -2.5, 0.1, 1e300]
    for _ in range(2):
        assert [row.dt for row in store.sweep([{"n": 1, "dt": dt} for dt in numbers])] == numbers
    assert store.run_or_retrieve({"n": 1, "dt": 1.5}).id == key({"n": 1, "dt": 1.5})
    assert [one["dt"] for one in runner.calls] == [1, 2, -3, 1.5, 2.5, -2.5, 0.1, 1e300]
    assert store.check().ok


def test_a_runner_gets_floats(open_store: OpenStore, runner: CountingRunner) -> None:
    store = open_store(model=model())
    store.run_or_retrieve({"n": 1, "dt": 2})
    store.sweep([{"n": 2, "dt": 2}])
    assert [repr(one["dt"]) for one in runner.calls] == ["2.0", "2.0"]


def test_what_only_rounds_to_a_whole_number_is_never_served_for_it(open_store: OpenStore) -> None:
    open_store(model=first()).run_or_retrieve({"n": 1, "dt": 0})
    with pytest.raises(KeyCollisionError):
        open_store(model=model()).run_or_retrieve({"n": 1, "dt": 1e-13})


def test_large_whole_numbers_keep_all_their_digits(open_store: OpenStore, runner: CountingRunner) -> None:
    numbers = [2**53, 2**53 - 1, 2**60, -(2**53)]
    options = {"float_rounding": "significant"}
    rows = open_store(model=first(), **options).sweep([{"n": 1, "dt": dt} for dt in numbers])
    store = open_store(model=model(), **options)
    for made in (int, float):
        again = store.sweep([{"n": 1, "dt": made(dt)} for dt in numbers])
        assert [(row.id, row.dt) for row in again] == [(row.id, float(row.dt)) for row in rows]
    assert len(runner.calls) == len(numbers)


@pytest.mark.parametrize("wrong", ["2", None, [2]])
def test_what_is_no_number_is_refused_as_ever(open_store: OpenStore, runner: CountingRunner, wrong: object) -> None:
    store = open_store(model=model())
    for call in (store.run_or_retrieve, lambda params: store.sweep([params])):
        with pytest.raises(ParameterError, match="dt"):
            call({"n": 1, "dt": wrong})
    assert runner.calls == []


# ---- together with what else has changed ---------------------------------------------------------------------------
def test_what_was_added_may_be_retyped(open_store: OpenStore, runner: CountingRunner) -> None:
    old = open_store(model=changing_in(TABLE, n=int)).run_or_retrieve({"n": 1})
    three = open_store(model=model(dt=(int, added(2)))).run_or_retrieve({"n": 1, "dt": 3})
    line = r"write dt: Mapped\[float\] = "
    with pytest.raises(ModelError, match=line + r"retyped\(int, added=2.0\)"):
        open_store(model=model(dt=(float, added(2.0))))
    with pytest.raises(ModelError, match=line + r"retyped\(int, added=2\)"):
        open_store(model=model(dt=(float, retyped(int))))
    store = open_store(model=model(dt=(float, retyped(int, added=2))))
    assert {store.run_or_retrieve({"n": 1, **dt}).id for dt in ({}, {"dt": 2}, {"dt": 2.0})} == {old.id}
    assert store.run_or_retrieve({"n": 1, "dt": 3.0}).id == three.id
    assert store.run_or_retrieve({"n": 2}).dt == 2.0
    assert store.run_or_retrieve({"n": 1, "dt": 2.5}).dt == 2.5
    with pytest.raises(ModelError, match=line + r"retyped\(int, added=2.0\)"):
        open_store(model=model(dt=(float, added(2.0))))
    assert len(runner.calls) == 4
    assert store.check().ok


@pytest.mark.slow
def test_what_was_retyped_may_be_renamed_and_removed(open_store: OpenStore, runner: CountingRunner) -> None:
    old = open_store(model=first()).run_or_retrieve({"n": 1, "dt": 2})
    half = open_store(model=model()).run_or_retrieve({"n": 1, "dt": 0.5})
    with pytest.raises(ModelError, match=r"write step: Mapped\[float\] = renamed\('dt', retyped=int\)"):
        open_store(model=changing_in(TABLE, n=int, step=(float, renamed("dt"))))
    store = open_store(model=changing_in(TABLE, n=int, step=(float, renamed("dt", retyped=int))))
    assert [row.step for row in store.sweep([{"n": 1, "step": step} for step in (2.0, 0.5)])] == [2.0, 0.5]
    with pytest.raises(ModelError, match=r"write dt: Mapped\[float\] = removed\(2, retyped=int\)"):
        open_store(model=model(dt=(float, removed(2))))
    for at, row in ((2, old), (2.0, old), (0.5, half)):
        store = open_store(model=model(dt=(float, removed(at, retyped=int))))
        assert store.run_or_retrieve({"n": 1}).id == row.id
        assert store.check().ok
    assert len(runner.calls) == 2


def test_a_function_whose_parameter_becomes_a_float_loads_what_it_has(tmp_path: Path) -> None:
    ran: list[str] = []
    where: dict[str, Any] = {"results": tmp_path / "results", "db_url": f"sqlite:///{tmp_path}/db.sqlite3"}

    def wave(length: int) -> str:
        ran.append(repr(length))
        return repr(length)

    assert study(**where)(wave)(2) == "2"

    def wave(length: float) -> str:  # type: ignore[no-redef]
        ran.append(repr(length))
        return repr(length)

    with pytest.raises(ModelError, match=r"write length: Mapped\[float\] = retyped\(int\)"):
        study(**where)(wave)(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the code has changed, too
        later: Any = study(**where, retyped=["length"])(wave)
        assert [later(2), later(length=2.0), later(2.5)] == ["2", "2", "2.5"]
    assert ran == ["2", "2.5"]
    for name, says in (("depth", "no such parameter"), ("length", "it is not a float; write length: float")):
        with pytest.raises(ModelError, match=says):
            study(retyped=[name])(lambda_of_int)


def lambda_of_int(length: int) -> None: ...


# ---- the table ---------------------------------------------------------------------------------------------------
def test_rows_of_before_are_floats_wherever_they_are_read(open_store: OpenStore) -> None:
    open_store(model=first()).sweep([{"n": n, "dt": n} for n in range(3)])
    store = open_store(model=model())
    store.run_or_retrieve({"n": 3, "dt": 0.5})
    assert [repr(row.dt) for row in store.select(order_by="n")] == ["0.0", "1.0", "2.0", "0.5"]
    for table in (store.to_pandas(), store.select(n=1).to_pandas(), store.to_pandas(n=1)):
        assert table["dt"].dtype == "float64"
    assert str(store.to_arrow(n=1).schema.field("dt").type) == "double"
    assert [row.n for row in store.select(dt=1)] == [row.n for row in store.select(dt=1.0)] == [1]
    assert [row.n for row in store.select(store._context.schema.model.dt < 1, order_by="dt")] == [0, 3]


def test_rows_that_need_more_than_their_table_have_floats_too(open_store: OpenStore) -> None:
    old = open_store(model=first()).run_or_retrieve({"n": 1, "dt": 2})
    wider = model()
    wider.twice = column_property(wider.__table__.c.dt * 2)
    row = open_store(model=wider).run_or_retrieve({"n": 1, "dt": 2})
    assert (row.id, repr(row.dt)) == (old.id, "2.0")


@pytest.mark.only_on("sqlite")
def test_a_table_of_sqlite_stays_as_it_is_since_types_are_advice_there(open_store: OpenStore, place: Any) -> None:
    open_store(model=first()).run_or_retrieve({"n": 1, "dt": 2})
    made = place.fetch(f"SELECT sql FROM sqlite_master WHERE name = '{TABLE}'")
    looking = open_store(model=model(), read_only=True)
    assert repr(looking.retrieve({"n": 1, "dt": 2.0}).dt) == "2.0"
    store = open_store(model=model())
    store.run_or_retrieve({"n": 1, "dt": 0.5})
    assert place.fetch(f"SELECT sql FROM sqlite_master WHERE name = '{TABLE}'") == made
    assert place.fetch(f"SELECT dt, typeof(dt) FROM {TABLE} ORDER BY dt") == [(0.5, "real"), (2, "integer")]


@pytest.mark.only_on("sqlite")
def test_a_table_of_sqlite_that_holds_only_its_type_is_refused(open_store: OpenStore, place: Any) -> None:
    open_store(model=first())
    (sql,) = place.fetch(f"SELECT sql FROM sqlite_master WHERE name = '{TABLE}'")[0]
    place.execute(f"DROP TABLE {TABLE}")
    strict = str(sql).replace("VARCHAR", "TEXT").replace("DATETIME", "TEXT").replace("JSON", "TEXT")
    place.execute(strict.replace("WITHOUT ROWID", "WITHOUT ROWID, STRICT"))
    open_store(model=first()).run_or_retrieve({"n": 1, "dt": 2})
    with pytest.raises(ModelError, match="is STRICT, and SQLite cannot change the type of 'dt'"):
        open_store(model=model())
    assert open_store(model=first()).run_or_retrieve({"n": 1, "dt": 2}).dt == 2


@pytest.mark.only_on("postgresql", "mariadb")
def test_a_store_that_only_looks_shows_the_sql_and_changes_nothing(open_store: OpenStore, place: Any) -> None:
    old = open_store(model=first()).run_or_retrieve({"n": 1, "dt": 2})
    shown = r"does not take floats in 'dt' yet.*by ALTER TABLE retyping (ALTER|MODIFY) COLUMN dt .*DOUBLE.*No key moves"
    with pytest.raises(ModelError, match=shown):
        open_store(model=model(), read_only=True)
    assert isinstance(type_there(place), sa.Integer)
    open_store(model=model())
    assert isinstance(type_there(place), sa.Double)
    assert open_store(model=model(), read_only=True).retrieve({"n": 1, "dt": 2.0}).id == old.id


def type_there(place: Any) -> object:
    inspector = sa.inspect(sa.create_engine(place.url, poolclass=sa.NullPool))
    return next(one["type"] for one in inspector.get_columns(TABLE) if one["name"] == "dt")


@pytest.mark.only_on("postgresql", "mariadb")
def test_a_column_keeps_its_index_its_default_and_its_comment(open_store: OpenStore, place: Any) -> None:
    older = open_store(model=changing_in(TABLE, n=int))
    open_store(model=model(dt=(int, added(2, index=True, comment="of the grid"))))
    older.run_or_retrieve({"n": 1})
    declared = retyped(int, added=2, index=True, comment="of the grid")
    store = open_store(model=model(dt=(float, declared)))
    late = older.run_or_retrieve({"n": 2})  # by a program that does not know the column
    assert [row.dt for row in store.select(order_by="n")] == [2.0, 2.0]
    assert store.run_or_retrieve({"n": 2, "dt": 2.0}).id == late.id
    inspector = sa.inspect(sa.create_engine(place.url, poolclass=sa.NullPool))
    found = next(one for one in inspector.get_columns(TABLE) if one["name"] == "dt")
    assert (found["nullable"], found["comment"]) == (False, "of the grid")
    assert ["dt"] in [one["column_names"] for one in inspector.get_indexes(TABLE)]


def test_whole_numbers_that_no_float_is_are_refused(open_store: OpenStore, runner: CountingRunner) -> None:
    older = open_store(model=first())
    row = older.run_or_retrieve({"n": 1, "dt": 2**53 + 1})
    older.run_or_retrieve({"n": 1, "dt": 2**60})
    with pytest.raises(ModelError, match=rf"Changing.dt cannot be retyped: a row has {2**53 + 1}, which no float"):
        open_store(model=model())
    assert older.run_or_retrieve({"n": 1, "dt": 2**53 + 1}).id == row.id
    older.delete({"n": 1, "dt": 2**53 + 1}, remove_file=True)
    assert open_store(model=model()).run_or_retrieve({"n": 1, "dt": 2.0**60}).dt == 2.0**60
    assert len(runner.calls) == 2


# ---- what is said ------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_type_that_changed_without_saying_so_is_an_error_with_the_line_to_write(
    open_store: OpenStore, runner: CountingRunner
) -> None:
    old = open_store(model=first()).run_or_retrieve({"n": 1, "dt": 2})
    line = r"write dt: Mapped\[float\] = retyped\(int\)"
    for looks in (False, True):
        with pytest.raises(ModelError, match=line):
            open_store(model=model(dt=float), read_only=looks)
    open_store(model=model())
    for looks in (False, True):
        with pytest.raises(ModelError, match=line):
            open_store(model=model(dt=float), read_only=looks)
        with pytest.raises(ModelError, match=rf"{line}.*or, if it does .* removed\(VALUE, retyped=int\)"):
            open_store(model=changing_in(TABLE, n=int), read_only=looks)
    assert open_store(model=model()).run_or_retrieve({"n": 1, "dt": 2}).id == old.id
    assert len(runner.calls) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: retyped(str), "from int to float, and not from str"),
        (lambda: retyped(float), "from int to float, and not from float"),
        (lambda: retyped("int"), "from int to float, and not from 'int'"),
        (lambda: retyped(None), r"write retyped\(int\)|takes the type"),
        (lambda: renamed("step", retyped=str), "not from str"),
        (lambda: model(dt=(float, retyped)), r"write dt = retyped\(int\)"),
    ],
)
def test_what_cannot_be_retyped_is_refused(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        make()


@pytest.mark.parametrize("kind", [int, str])
def test_only_a_float_can_have_been_retyped(open_store: OpenStore, kind: type) -> None:
    with pytest.raises(ModelError, match=r"only be to float; write dt: Mapped\[float\] = retyped\(int\)"):
        open_store(model=model(dt=(kind, retyped(int))))
