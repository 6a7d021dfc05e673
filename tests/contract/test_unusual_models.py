"""Models that a store meets in the wild: what their columns cannot hold is said before the run, the rest just works."""

from __future__ import annotations

import enum
import threading
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import column_property, relationship

from contract.models import PATIENCE
from entropic import (
    Base,
    CycleError,
    Mapped,
    ModelError,
    ParameterError,
    PublishError,
    RegisterError,
    Store,
    StoreError,
)
from entropic import mapped_column as column


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Exact(Base):
    __tablename__ = "exact"
    small: Mapped[Decimal | None]
    cents: Mapped[Decimal | None] = column(sa.Numeric(10, 2))
    token: Mapped[str | None] = column(sa.Uuid(as_uuid=False))
    colour: Mapped[Colour | None] = column(
        sa.Enum(Colour, name="colour_by_value", values_callable=lambda kinds: [kind.value for kind in kinds])
    )
    told: Mapped[Colour | None] = column(sa.Enum(Colour, name="colour_told", native_enum=False))


class Rounded(sa.TypeDecorator[float]):
    impl = sa.Float
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else round(value, 3)


class Emptied(sa.TypeDecorator[str]):
    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value or None


class Odd(Base):
    __tablename__ = "odd"
    n: Mapped[int]
    rounded: Mapped[float | None] = column(Rounded)
    text: Mapped[str] = column(Emptied, default="x")
    data: Mapped[dict[str, Any] | None] = column(sa.JSON)
    twice: Mapped[int] = column(default=lambda context: 2 * context.get_current_parameters()["n"])
    later: Mapped[int] = column(default=lambda context: context.get_current_parameters()["twice"] + 1)


class Unique(Base):
    __tablename__ = "unique_"
    n: Mapped[int]
    u: Mapped[int] = column(unique=True)


class Fresh(Base):
    __tablename__ = "fresh"
    n: Mapped[int]
    v: Mapped[str] = column(server_default="one")


class Heavy(Base):
    __tablename__ = "heavy"
    n: Mapped[int]
    note: Mapped[str] = column(default="", deferred=True)


Heavy.double = column_property(Heavy.n * 2)  # type: ignore[attr-defined]


class Parent(Base):
    __tablename__ = "parents"
    n: Mapped[int]
    children: Mapped[list[Child]] = relationship(lazy="selectin")


class Child(Base):
    __tablename__ = "children"
    n: Mapped[int]
    parent_id: Mapped[str | None] = column(sa.ForeignKey("parents.id"))


@pytest.mark.parametrize(
    ("model", "params", "says"),
    [
        pytest.param(  # servers keep as many digits
            *(Exact, {"small": Decimal("0.000012345678")}, "small.*would come back"),
            marks=pytest.mark.only_on("sqlite"),
        ),
        (Exact, {"cents": Decimal("1.234")}, "cents.*(would come back|round)"),
        (Exact, {"token": "nonsense"}, "token"),
        (Exact, {"colour": "RED"}, "colour.*red, blue"),
        (Odd, {"n": 1, "rounded": 0.12345}, "rounded.*would come back"),
        (Odd, {"n": 1, "text": ""}, "text.*NULL"),
    ],
)
def test_a_value_that_its_column_would_not_give_back_is_refused_before_the_run(open_store, runner, model, params, says):
    store = open_store(model=model)
    with pytest.raises(ParameterError, match=says):
        store.run_or_retrieve(params)
    assert runner.calls == []


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (Exact, {"small": Decimal("1.10"), "cents": Decimal("1.5")}),
        (Exact, {"small": Decimal("1e17")}),
        (Exact, {"token": str(uuid.UUID(int=5)).upper()}),
        (Exact, {"colour": Colour.RED}),
        (Exact, {"colour": "blue"}),
        (Exact, {"told": Colour.BLUE}),
        (Odd, {"n": 3, "rounded": 0.125, "data": {"a": [1, 2.5]}}),
        (Fresh, {"n": 1}),
        (Heavy, {"n": 1, "note": "long"}),
        (Parent, {"n": 1}),
    ],
)
@pytest.mark.parametrize(
    "memory", [False, pytest.param(True, marks=pytest.mark.only_on("sqlite"))], ids=["kept", "memory"]
)
def test_what_a_column_holds_is_run_once_run_again_swept_and_deleted(open_store, runner, model, params, memory):
    store = open_store(model=model, **({"db_url": "sqlite://"} if memory else {}))
    row = store.run_or_retrieve(params)
    assert store.run_or_retrieve(params).id == row.id
    assert [again.id for again in store.sweep([params])] == [row.id]
    assert len(runner.calls) == 1
    assert store.run(params).id == row.id
    assert store.check().ok, str(store.check())
    assert store.delete(params, remove_file=True)
    assert store.retrieve(params) is None
    assert store.check().ok, str(store.check())


def test_a_default_may_read_other_columns_and_their_defaults(open_store):
    row = open_store(model=Odd).run({"n": 4})
    assert (row.twice, row.later) == (8, 9)


def test_a_nullable_json_column_that_is_left_out_is_null(open_store, place):
    open_store(model=Odd).run({"n": 1})
    assert place.fetch("SELECT count(*) FROM odd WHERE data IS NULL") == [(1,)]


def test_a_re_run_is_a_new_row_with_new_defaults(open_store):
    store = open_store(model=Fresh)
    assert store.run({"id": "x", "n": 1, "v": "five"}).v == "five"
    assert store.run({"id": "x", "n": 1}).v == "one"


def test_sets_of_one_sweep_that_break_a_constraint_against_each_other_are_refused_before_the_first_run(
    open_store, runner
):
    with pytest.raises(ParameterError, match=r"(?i)unique|duplicate"):
        open_store(model=Unique).sweep([{"n": 5, "u": 7}, {"n": 6, "u": 7}])
    assert runner.calls == []


def test_a_finished_run_that_the_database_refuses_is_kept_until_it_is_deleted(open_store, tmp_path):
    other = open_store(model=Unique)

    def runner(params: dict[str, Any]) -> None:
        other.run({"n": 2, "u": 7})  # another process is quicker with the same unique value
        Path(params["result_file"]).write_text("{}")

    store = open_store(runner, Unique)
    for _ in range(2):
        with pytest.raises(PublishError, match=r"kept.*delete\(\) discards it"):
            store.run_or_retrieve({"n": 1, "u": 7})
    with pytest.raises(PublishError, match="kept"):
        store.sweep([{"n": 1, "u": 7}])
    assert store.delete({"n": 1, "u": 7}) is False  # there was no row
    assert store.check().ok, str(store.check())


def test_a_key_for_a_column_is_refused_with_a_sentence(open_store):
    class Keyed(Base):
        __tablename__ = "keyed"
        a: Mapped[int] = column("aa", key="zz")

    with pytest.raises(ModelError, match="'aa'"):
        open_store(model=Keyed)
    Base.metadata.remove(Keyed.__table__)


def test_a_circle_through_two_folders_of_one_database_is_an_error(open_store, tmp_path):
    stores: dict[str, Store[Any]] = {}
    both = threading.Barrier(2, timeout=PATIENCE)

    def needs(other: str, n: int) -> Any:
        def runner(params: dict[str, Any]) -> None:
            both.wait()
            stores[other].run_or_retrieve({"n": n})
            Path(params["result_file"]).write_text("{}")

        return runner

    stores["a"] = open_store(needs("b", 2), Fresh, results_dir=tmp_path / "a")
    stores["b"] = open_store(needs("a", 1), Fresh, results_dir=tmp_path / "b")
    raised: list[BaseException] = []

    def ask(name: str, n: int) -> None:
        try:
            stores[name].run_or_retrieve({"n": n})
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=ask, args=args) for args in (("a", 1), ("b", 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert any(isinstance(error, CycleError) for error in raised)


def test_what_belongs_to_the_result_of_another_run_cannot_be_registered(open_store, tmp_path):
    def runner(params: dict[str, Any]) -> None:
        folder = Path(params["result_file"])
        folder.mkdir()
        (folder / "part").write_text("1")
        (folder.parent / "log.txt").write_text("2")

    made = Path(open_store(runner, Fresh, file_suffix=".zarr").run({"n": 1}).result_file)
    other = open_store(model=Unique, file_suffix=".txt")
    extra = next(made.parent.glob("*.files")) / "log.txt"
    for path in (made, made / "part", extra):
        with pytest.raises(RegisterError, match="another run"):
            other.register({"n": 1, "u": 1}, path)


def test_a_registered_file_that_has_changed_is_served_once_it_is_registered_again(open_store, runner, tmp_path):
    store, path = open_store(model=Fresh), tmp_path / "data.csv"
    path.write_text("1")
    store.register({"n": 1}, path)
    path.write_text("1, 2")
    store.register({"n": 1}, path)
    assert Path(store.run_or_retrieve({"n": 1}).result_file) == path
    assert runner.calls == []
    assert store.check().ok, str(store.check())


@pytest.mark.parametrize("error", [StopIteration("no more"), KeyError("k"), GeneratorExit()])
def test_what_a_runner_raises_in_a_sweep_comes_out_as_it_is(open_store, error):
    def runner(params: dict[str, Any]) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        open_store(runner, Fresh).sweep([{"n": 1}, {"n": 2}])
    assert raised.value is error


@pytest.mark.each
@pytest.mark.parametrize("lease", [0, -1, float("inf"), "soon"])
def test_a_lease_that_is_no_time_is_refused(open_store, lease):
    with pytest.raises(ParameterError, match="lease"):
        open_store(lease=lease)


@pytest.mark.parametrize(
    "value", [3, 3.0, 1.5, "5", "1e5", True, None, [1], {"a": 1.0}, 10**17, 10**19, 1e20, 0.1 + 0.2]
)
def test_whatever_json_a_column_holds_is_a_hit_and_in_order(open_store, value):
    store = open_store(model=Odd)
    row = store.run({"n": 1, "data": value})
    again = store.run_or_retrieve({"n": 1, "data": value})
    assert (again.created_at, again.data) == (row.created_at, value)
    assert store.check().ok


class Zoned(Base):
    __tablename__ = "zoned"
    moment: Mapped[datetime] = column(sa.DateTime(timezone=True))


def test_a_time_of_another_zone_is_kept_or_refused_and_never_read_as_another_time(open_store, place):
    store, there = open_store(model=Zoned), datetime(2024, 1, 1, 3, tzinfo=timezone(timedelta(hours=2)))
    here = there.astimezone(UTC)
    row = store.run({"moment": here})
    assert store.run_or_retrieve({"moment": here}).created_at == row.created_at
    assert row.moment.replace(tzinfo=UTC) == here
    if place.kind == "postgresql":
        assert store.run({"moment": there}).moment == there
    else:
        with pytest.raises(ParameterError, match="in UTC"):
            store.run({"moment": there})


def test_a_model_whose_schema_this_database_lacks_is_not_the_concern_of_another_model(open_store, place):
    class Apart(Base):
        __abstract__ = True
        metadata = sa.MetaData()

    class Elsewhere(Apart):
        __tablename__ = "elsewhere"
        __table_args__ = {"schema": "lab"}  # noqa: RUF012
        colour: Mapped[Colour] = column(sa.Enum(Colour, name="colour_elsewhere", schema="lab"))

    class Here(Apart):
        __tablename__ = "here"
        colour: Mapped[Colour] = column(sa.Enum(Colour, name="colour_here"))

    store = open_store(model=Here)
    assert store.run_or_retrieve({"colour": Colour.RED}).colour is Colour.RED
    assert store.check().ok, str(store.check())
    with pytest.raises(StoreError, match="lab"):
        open_store(model=Elsewhere)
