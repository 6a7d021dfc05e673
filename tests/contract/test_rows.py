"""Rows that come out of a store are the rows that a session of the user's own would load and expunge."""

from __future__ import annotations

import datetime
import enum
import pickle
import uuid
from typing import Any

import pytest
from sqlalchemy import JSON, Computed, Interval, LargeBinary, String, TypeDecorator, create_engine, event, inspect
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import Session, column_property, deferred, reconstructor, synonym, validates

from contract.models import CountingRunner, SimResult
from entropic import Base, Mapped, mapped_column


class Shape(enum.Enum):
    ROUND = "round"
    FLAT = "flat"


class Metres(TypeDecorator[float]):
    """Stored as text with its unit, a float in Python."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else f"{value!r} m"

    def process_result_value(self, value, dialect):
        return None if value is None else float(value.removesuffix(" m"))


class Stamped:
    stamp: Mapped[str] = mapped_column(default="stamped")


class ManyTypes(Stamped, Base):
    __tablename__ = "many_types"

    whole: Mapped[int]
    real: Mapped[float] = mapped_column(default=0.5)
    text: Mapped[str] = mapped_column(default="é")
    truth: Mapped[bool] = mapped_column(default=True)
    maybe: Mapped[int | None]
    day: Mapped[datetime.date] = mapped_column(default=datetime.date(2024, 1, 2))
    moment: Mapped[datetime.datetime] = mapped_column(default=datetime.datetime(2024, 1, 2, 3, 4, 5, 6))
    clock: Mapped[datetime.time] = mapped_column(default=datetime.time(3, 4))
    span: Mapped[datetime.timedelta] = mapped_column(Interval, default=datetime.timedelta(minutes=5))
    raw: Mapped[bytes] = mapped_column(LargeBinary, default=b"\x00\xff")
    unique: Mapped[uuid.UUID] = mapped_column(default=uuid.UUID(int=7))
    shape: Mapped[Shape] = mapped_column(default=Shape.FLAT)
    tree: Mapped[Any] = mapped_column(JSON, default=lambda: {"a": [1, {"b": None}]})
    bag: Mapped[dict[str, Any]] = mapped_column(MutableDict.as_mutable(JSON), default=lambda: {"x": 1})
    items: Mapped[list[Any]] = mapped_column(MutableList.as_mutable(JSON), default=lambda: [1])
    length: Mapped[float] = mapped_column(Metres, default=1.25)
    served: Mapped[str] = mapped_column(server_default="by the server")
    double: Mapped[int] = mapped_column(Computed("whole * 2"))
    heavy: Mapped[str] = deferred(mapped_column(String, default="heavy"))
    alias: Mapped[str] = synonym("text")

    @hybrid_property
    def half(self) -> float:
        return self.whole / 2

    @validates("text")
    def check_text(self, name, value):
        assert isinstance(value, str)
        return value

    @reconstructor
    def on_load(self) -> None:
        self.greeting = f"hello {self.whole}"


ManyTypes.triple = column_property(ManyTypes.__table__.c.whole * 3)

PARAMS = {
    "whole": 4,
    "real": 1.5,
    "day": datetime.date(1999, 12, 31),
    "shape": Shape.ROUND,
    "raw": b"x\x00",
    "bag": {"y": [1, 2]},
}


@pytest.fixture
def store(open_store):
    return open_store(run=CountingRunner(), model=ManyTypes)


@pytest.fixture
def engine(store, place):
    made = create_engine(place.url)
    yield made
    made.dispose()


@pytest.fixture(params=["run", "run_or_retrieve", "hit", "retrieve", "sweep", "swept hit", "register"])
def row(request, store, tmp_path):
    """A row as each call returns it."""
    (tmp_path / "made.dat").write_text("made elsewhere")
    calls = {
        "run": lambda: store.run(PARAMS, note="x"),
        "run_or_retrieve": lambda: store.run_or_retrieve(PARAMS, note="x"),
        "hit": lambda: store.run(PARAMS, note="x") and store.run_or_retrieve(PARAMS),
        "retrieve": lambda: store.run(PARAMS, note="x") and store.retrieve(PARAMS),
        "sweep": lambda: store.sweep([{**PARAMS, "whole": 5}, PARAMS])[1],
        "swept hit": lambda: store.run(PARAMS, note="x") and store.sweep([PARAMS])[0],
        "register": lambda: store.register(PARAMS, tmp_path / "made.dat", note="x"),
    }
    return calls[request.param]()


@pytest.fixture
def twin(row, engine):
    """The same row, loaded and expunged by a session of the user's own."""
    with Session(engine) as session:
        loaded = session.get_one(ManyTypes, row.id)
        session.expunge(loaded)
    return loaded


NAMES = [column.key for column in inspect(ManyTypes).column_attrs if column.key not in {"result_file", "heavy"}]


def test_every_attribute_has_the_value_and_the_type_of_its_twin(row, twin):
    for name in [*NAMES, "alias", "half"]:
        assert getattr(row, name) == getattr(twin, name), name
        assert type(getattr(row, name)) is type(getattr(twin, name)), name
    assert (row.double, row.triple, row.served, row.stamp) == (8, 12, "by the server", "stamped")


@pytest.mark.each
def test_the_state_is_that_of_its_twin(row, twin):
    ours, theirs = inspect(row), inspect(twin)
    for flag in ("detached", "persistent", "transient", "pending", "deleted", "modified", "expired", "has_identity"):
        assert getattr(ours, flag) == getattr(theirs, flag), flag
    assert ours.detached
    assert not ours.modified
    assert ours.session is None
    assert ours.key == theirs.key
    assert ours.identity == theirs.identity
    assert ours.expired_attributes == theirs.expired_attributes


@pytest.mark.each
def test_no_attribute_has_a_pending_change(row):
    state = inspect(row)
    assert {*NAMES, "result_file"} <= state.unmodified
    assert [name for name in NAMES if state.attrs[name].history.has_changes()] == []


@pytest.mark.each
def test_a_reconstructor_of_the_model_has_been_called(row, twin):
    assert row.greeting == twin.greeting == "hello 4"


@pytest.mark.each
def test_it_can_be_added_to_a_session_and_is_then_persistent_and_unchanged(row, engine):
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2].split()[0]))
    with Session(engine) as session:
        session.add(row)
        assert inspect(row).persistent
        session.commit()
        assert not {"UPDATE", "INSERT", "DELETE"} & set(statements)
        assert (row.whole, row.heavy) == (4, "heavy")
        session.refresh(row)
        assert row.shape is Shape.ROUND


@pytest.mark.each
def test_a_change_of_a_column_in_a_session_is_stored(row, engine, store):
    with Session(engine) as session:
        session.add(row)
        row.note_column = "not mapped"
        row.text = "changed"
        session.commit()
    assert store.retrieve({"id": row_id(engine)}).text == "changed"


def row_id(engine) -> str:
    with Session(engine) as session:
        return session.query(ManyTypes.id).filter_by(whole=4).scalar()


@pytest.mark.each("column")
@pytest.mark.parametrize("column", ["custom_data", "bag"])
def test_a_change_inside_a_mutable_dict_is_tracked_and_stored(row, engine, store, column):
    assert isinstance(getattr(row, column), MutableDict)
    getattr(row, column)["seen"] = True
    assert inspect(row).modified
    with Session(engine) as session:
        session.add(row)
        session.commit()
    assert getattr(store.retrieve({"id": row_id(engine)}), column)["seen"] is True


@pytest.mark.each
def test_a_change_inside_a_mutable_list_is_tracked(row):
    assert not inspect(row).modified
    row.items.append(2)
    assert inspect(row).modified


@pytest.mark.each
def test_it_can_be_merged_into_a_session(row, engine):
    with Session(engine) as session:
        merged = session.merge(row)
        assert merged is not row
        assert inspect(merged).persistent
        assert [name for name in NAMES if inspect(merged).attrs[name].history.has_changes()] == []
        assert all(getattr(merged, name) == getattr(row, name) for name in NAMES)


@pytest.mark.each
def test_it_can_be_deleted_in_a_session(row, engine, store):
    with Session(engine) as session:
        session.delete(row)
        session.commit()
    assert store.retrieve(PARAMS) is None


@pytest.mark.each
def test_it_pickles_and_the_copy_is_a_row_like_it(row, engine):
    copy = pickle.loads(pickle.dumps(row))
    assert {name: getattr(copy, name) for name in NAMES} == {name: getattr(row, name) for name in NAMES}
    assert copy.result_file == row.result_file
    assert inspect(copy).detached
    copy.custom_data["seen"] = True
    assert inspect(copy).modified
    assert "seen" not in row.custom_data
    with Session(engine) as session:
        session.add(copy)
        session.commit()
        assert session.get_one(ManyTypes, copy.id).custom_data["seen"] is True


def test_two_calls_return_two_rows_that_share_nothing(store):
    first, second = store.run(PARAMS, tags=["a"]), store.retrieve(PARAMS)
    first.custom_data["tags"].append("b")
    first.bag["y"].append(3)
    first.tree["a"].append(9)
    assert second.custom_data["tags"] == ["a"]
    for found in (second, store.retrieve(PARAMS)):
        assert found.bag == {"y": [1, 2]}
        assert found.tree == {"a": [1, {"b": None}]}
    assert first is not second


def test_a_run_that_a_model_with_fewer_columns_has_finished_is_read_not_guessed(open_store):
    store = open_store()
    row = store.run_or_retrieve({"n": 1, "dt": 0.5})
    assert store._context.rows.written({"id": row.id, "n": 1}, (None,) * 5, 1, 1, "place") is None


@pytest.mark.parametrize("target", [SimResult, Base])
def test_who_begins_to_listen_after_the_store_was_opened_hears_of_every_row(open_store, target):
    store, heard = open_store(), []

    def listener(row, context):
        heard.append(row.n)

    store.run({"n": 1, "dt": 0.5})
    event.listen(target, "load", listener, propagate=True)
    try:
        store.run_or_retrieve({"n": 1, "dt": 0.5})
        store.sweep([{"n": 1, "dt": 0.5}])
    finally:
        event.remove(target, "load", listener)
    assert heard == [1, 1]
    store.run_or_retrieve({"n": 1, "dt": 0.5})
    assert heard == [1, 1]


def test_a_reader_of_plain_columns_asks_once_for_a_hit(open_store):
    store, asked = open_store(), []
    store.run({"n": 1, "dt": 0.5})
    connection = store._context.database.connection()
    fetch, connection.fetch = connection.fetch, lambda *args: asked.append(args) or fetch(*args)
    store.run_or_retrieve({"n": 1, "dt": 0.5})
    assert len(asked) == 1
