"""UUIDs are bound as the table keeps them, whichever version of SQLAlchemy, or whoever, has made it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Dialect, TypeDecorator, Uuid, or_

from entropic import Base, Mapped, ParameterError, Store, mapped_column

pytestmark = [
    pytest.mark.only_on("mariadb"),
    pytest.mark.filterwarnings("ignore:.* has no rows of:entropic.ResultLostWarning"),  # before anything is copied
]

ONE, TWO, THREE = (uuid.UUID(f"12345678-9abc-4def-8{number}00-0123456789ab") for number in range(3))
# What SQLAlchemy 2.0 makes of a `Mapped[uuid.UUID]`, what 2.1 makes, and what others do.
KEPT = {"CHAR(32)": ONE.hex, "UUID": str(ONE), "CHAR(36)": str(ONE)}


class Prefixed(TypeDecorator[str]):
    """A type of the user's own over a UUID."""

    impl = Uuid
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return value and uuid.UUID(value.removeprefix("id:"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return value and f"id:{value}"


class Tagged(Base):
    """UUIDs of every kind."""

    __tablename__ = "tagged"
    who: Mapped[uuid.UUID]
    told: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    own: Mapped[str | None] = mapped_column(Prefixed)


def values(one: uuid.UUID) -> dict[str, Any]:
    return {"who": one, "told": str(one), "own": f"id:{one}"}


@pytest.fixture(params=KEPT)
def kept(request, open_store, place):
    """How the columns of this test's table are declared."""
    open_store(model=Tagged)
    for name in ("who", "told", "own"):
        place.execute(f"ALTER TABLE tagged MODIFY {name} {request.param}")
    return request.param


@pytest.fixture
def store(kept, open_store) -> Store[Any]:
    return open_store(model=Tagged)


def test_runs_are_stored_as_the_table_keeps_them_and_found_again(store, runner, kept, place):
    for one in (ONE, TWO, THREE):
        store.run_or_retrieve(values(one))
    again = store.run_or_retrieve(values(ONE))
    assert (len(runner.calls), again.who, again.told, again.own) == (3, ONE, str(ONE), f"id:{ONE}")
    raw = place.fetch("SELECT who, told, own FROM tagged WHERE who = ?", KEPT[kept])
    assert [list(map(str, one)) for one in raw] == [[KEPT[kept]] * 3]
    assert store.check().ok, str(store.check())


def test_conditions_find_them(store):
    store.sweep([values(one) for one in (ONE, TWO, THREE)])
    for found in (
        store.select(Tagged.who == ONE),
        store.select(ONE == Tagged.who),  # noqa: SIM300
        store.select(who=ONE),
        store.select(Tagged.told == str(ONE)),
        store.select(Tagged.own == f"id:{ONE}"),
        store.select(Tagged.who.in_([ONE])),
        store.select(Tagged.who.notin_([TWO, THREE])),
        store.select(or_(Tagged.who == ONE, Tagged.told.in_([str(ONE)]))),
    ):
        assert [row.who for row in found] == [ONE]
    assert len(store.select(Tagged.who.in_([ONE, TWO]))) == 2
    assert [row.who for row in store.iterate(Tagged.who != ONE, Tagged.who != TWO)] == [THREE]


def test_a_table_of_both_types_holds_and_finds_them(open_store, place):
    open_store(model=Tagged)
    place.execute("ALTER TABLE tagged MODIFY who CHAR(32), MODIFY told UUID, MODIFY own CHAR(36)")
    store = open_store(model=Tagged)
    store.sweep([values(one) for one in (ONE, TWO)])
    for found in (
        store.select(Tagged.who == ONE, Tagged.told == str(ONE), Tagged.own == f"id:{ONE}"),
        store.select(Tagged.who.in_([ONE]), Tagged.told.in_([str(ONE)]), Tagged.own.in_([f"id:{ONE}"])),
    ):
        assert [row.who for row in found] == [ONE]
    assert store.check().ok, str(store.check())


def test_a_copy_is_written_as_the_other_table_keeps_them(store, kept, place, open_store, make_place, tmp_path):
    store.sweep([values(one) for one in (ONE, TWO)])
    with make_place(tmp_path / "other") as other:
        open_store(model=Tagged, db_url=other.url)
        for name in ("who", "told", "own"):
            other.execute(f"ALTER TABLE tagged MODIFY {name} {'UUID' if kept != 'UUID' else 'CHAR(32)'}")
        store.copy_to(other.url)
        copied = open_store(model=Tagged, db_url=other.url)
        assert [row.who for row in copied.select(Tagged.who == ONE)] == [ONE]
        assert copied.check().ok, str(copied.check())


def test_what_is_no_uuid_is_refused_before_it_runs(store, runner):
    with pytest.raises(ParameterError):
        store.run_or_retrieve({"who": ONE, "told": "none"})
    assert not runner.calls
