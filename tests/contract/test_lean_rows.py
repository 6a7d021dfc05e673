"""Rows of plain columns hold less than SQLAlchemy's loader makes, and go on as others do: in sessions and pickles."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.orm import InstanceState, Session, make_transient, make_transient_to_detached
from sqlalchemy.orm.attributes import instance_state

from contract.models import SimResult
from entropic.db import instance_state as lean

ONE = {"n": 1, "dt": 0.5}


@pytest.fixture(params=["lean", "SQLAlchemy's own"])
def store(request, open_store, monkeypatch):
    """A store whose rows have lean states, or those of SQLAlchemy, where these are not as they are known."""
    if request.param != "lean":
        monkeypatch.setattr(lean, "_KNOWN", {"whatever"})
    made = open_store()
    made.run(ONE, tag="a")
    assert (type(instance_state(made.retrieve(ONE))) is InstanceState) is (request.param != "lean")
    return made


@pytest.fixture
def engine(store, place):
    made = create_engine(place.url)
    yield made
    made.dispose()


@pytest.fixture
def row(store):
    (found,) = store.select()
    return found


def test_what_is_only_read_has_neither_the_set_nor_the_dicts_of_changes(open_store):
    open_store().run(ONE, tag="a")
    (row,) = open_store().select()
    assert list(vars(instance_state(row))) == ["key"]
    assert not vars(row.custom_data)
    assert (row.n, row.custom_data["tag"]) == (1, "a")
    assert list(vars(instance_state(row))) == ["key"]
    assert not vars(row.custom_data)


def test_its_state_says_what_that_of_the_loader_says(row, engine):
    with Session(engine) as session:
        twin = session.get_one(SimResult, row.id)
        session.expunge(twin)
    mine, wanted = inspect(row), inspect(twin)
    for name in ("key", "identity", "identity_key", "class_", "manager", "mapper", "modified", "expired", "session_id"):
        assert getattr(mine, name) == getattr(wanted, name), name
    for name in ("transient", "pending", "persistent", "deleted", "detached", "was_deleted", "has_identity"):
        assert getattr(mine, name) is getattr(wanted, name), name
    assert mine.committed_state == wanted.committed_state == {}
    assert mine.expired_attributes == wanted.expired_attributes == set()
    assert mine.unloaded == wanted.unloaded == set()
    assert mine.object is row
    assert {one.key: one.loaded_value for one in mine.attrs if one.key != "result_file"} == {
        one.key: one.loaded_value for one in wanted.attrs if one.key != "result_file"
    }


def test_changes_are_known_with_what_was_before(row):
    row.n = 2
    row.custom_data["tag"] = "b"
    state = inspect(row)
    assert state.modified
    assert state.attrs.n.history == ([2], (), [1])
    assert state.committed_state["n"] == 1
    assert state.attrs.custom_data.history.has_changes()
    assert not state.attrs.dt.history.has_changes()


def test_it_lives_on_in_a_session_and_is_loaded_again(row, engine, store):
    with Session(engine) as session:
        session.add(row)
        row.custom_data["tag"] = "b"
        session.commit()
        assert inspect(row).expired_attributes  # until it is asked
        assert row.custom_data["tag"] == "b"
        session.expire(row, ["n"])
        assert inspect(row).expired_attributes == {"n"}
        assert row.n == 1
        session.refresh(row)
        row.n = 5
        session.rollback()
        assert row.n == 1
        id = row.id
        session.delete(row)
        session.commit()
        assert inspect(row).was_deleted
    assert store.retrieve({"id": id}) is None


@pytest.mark.slow
def test_a_session_forgets_it_when_it_is_gone(store, engine):
    with Session(engine) as session:
        (row,) = store.select()
        session.add(row)
        key, gone = inspect(row).key, weakref.ref(row)
        assert key in session.identity_map
        del row
        gc.collect()
        assert gone() is None
        assert key not in session.identity_map


def test_it_can_be_made_new_and_detached_again(row, engine, store):
    make_transient(row)
    assert inspect(row).transient
    row.id = "another"
    with Session(engine) as session:
        session.add(row)
        session.commit()
        assert session.get_one(SimResult, "another").n == 1
    row = store.retrieve({"id": "another"})
    make_transient(row)
    make_transient_to_detached(row)
    assert inspect(row).detached


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_it_pickles_and_so_does_the_copy(row, protocol):
    made: Any = row
    for _ in range(2):
        made = pickle.loads(pickle.dumps(made, protocol))
        assert (made.n, made.custom_data["tag"], made.result_file) == (1, "a", row.result_file)
        assert inspect(made).key == inspect(row).key
        assert not inspect(made).modified
    made.custom_data["tag"] = "b"
    assert inspect(made).modified
    assert not inspect(row).modified


def test_a_deep_copy_shares_nothing_with_it(row):
    made = copy.deepcopy(row)
    made.custom_data["tag"] = "b"
    assert row.custom_data["tag"] == "a"
    assert not inspect(row).modified


def test_custom_data_of_several_rows_marks_each_of_them(store, row):
    other = store.run({"n": 2, "dt": 0.5})
    other.custom_data = row.custom_data
    assert not inspect(row).modified
    row.custom_data["tag"] = "b"
    assert inspect(row).modified
    assert inspect(other).modified
    assert copy.copy(row.custom_data) == row.custom_data
