"""A row that holds what the model cannot read, such as a renamed member, is named; the others are listed."""

import enum
import re
import warnings

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import column_property, mapped_column

from entropic import Base, Mapped, ParameterError, UnreadableError, UnreadableWarning


class Before(enum.Enum):
    RED = "red"
    BLUE = "blue"


class After(enum.Enum):
    CRIMSON = "red"
    BLUE = "blue"


def define(kind, expression=False, schema=None):
    class Apart(Base):  # SQLAlchemy makes the types of columns for as long as the metadata is there, not the table
        __abstract__ = True
        metadata = sa.MetaData()

    class Painted(Apart):
        __tablename__ = "painted"

        colour: Mapped[kind] = mapped_column(sa.Enum(kind, schema=schema))

    if expression:
        Painted.twice = column_property(Painted.id + Painted.id)
    return Painted


@pytest.fixture(params=[False, True], ids=["plain", "expression"])
def renamed(request, open_store, place):
    """A store of two rows, of which one holds the old name, and its id."""
    store = open_store(lambda params: open(params["result_file"], "w").close(), define(Before))
    old, _ = store.sweep([{"colour": Before.RED}, {"colour": Before.BLUE}])
    return open_store(lambda params: open(params["result_file"], "w").close(), define(After, request.param)), old.id


def told_in(error) -> str:
    """Return the SQL that an error says to write."""
    return re.search(r"as in (.*)\. Nothing was done$", str(error.value), re.DOTALL)[1]


def obey(place, sql: str) -> None:
    for statement in sql.split("; "):
        place.execute(statement)


def test_lists_name_it_and_hold_the_others(renamed):
    store, id = renamed
    for ask in (store.select, lambda: list(store.iterate()), lambda: store.select(order_by="-created_at")):
        with pytest.warns(UnreadableWarning, match=rf"^1 row of Painted is .*{id}.*'RED'.*'NEW'"):
            assert [row.colour for row in ask()] == [After.BLUE]
    with pytest.warns(UnreadableWarning):
        assert len(store.select().to_pandas()) == 1
    assert store.status().stored == 2
    (finding,) = store.check().unreadable
    assert finding.id == id
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.run_or_retrieve({"colour": After.BLUE}).colour is After.BLUE
        assert len(store.select(colour=After.BLUE)) == 1


def test_whoever_asks_for_it_is_told_what_to_do(renamed, place):
    store, id = renamed
    asked = {"colour": After.CRIMSON}
    for ask in (store.retrieve, store.run_or_retrieve, store.explain, store.delete, lambda one: store.sweep([one])):
        with pytest.raises(UnreadableError, match=rf"{id}.*'RED'.*if a member was renamed") as error:
            ask(asked)
    obey(place, told_in(error).replace("NEW", "CRIMSON"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the row was changed by hand, after all
        assert store.retrieve(asked).colour is After.CRIMSON
    assert len(store.select()) == 2


class More(enum.Enum):
    RED = "red"
    BLUE = "blue"
    GREEN = "green"


@pytest.mark.only_on("postgresql", "mariadb")
def test_a_member_that_came_later_is_refused_with_what_to_write(open_store, place, tmp_path):
    write = lambda params: open(params["result_file"], "w").close()  # noqa: E731
    schema = "lab" if place.url.startswith("postgresql") else None  # of the type: one that is not looked in by itself
    if schema:
        place.execute(f"CREATE SCHEMA {schema}")
    open_store(write, define(Before, schema=schema)).run({"colour": Before.RED})
    store = open_store(write, define(More, schema=schema))
    asked, result = {"colour": More.GREEN}, tmp_path / "result"
    result.touch()
    asks = [store.run, store.run_or_retrieve, lambda one: store.sweep([one]), lambda one: store.register(one, result)]
    for ask in asks:
        with pytest.raises(ParameterError, match="takes RED, BLUE in this table") as error:
            ask(asked)
    obey(place, re.search(r"'GREEN' is a new member: (.*?)\. If a member", str(error.value))[1])
    assert store.run(asked).colour is More.GREEN
    assert store.run_or_retrieve({"colour": More.RED}).colour is More.RED
    assert store.check().ok


@pytest.mark.only_on("sqlite")
def test_it_can_be_deleted_by_its_id(renamed):
    store, id = renamed
    assert store.delete({"id": id}, remove_file=True) is True
    assert [row.colour for row in store.select()] == [After.BLUE]
    assert store.check().ok
