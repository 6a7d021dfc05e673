"""A row can be given back wherever params are taken; failures are dismissed and counted; custom data is never None."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from contract.models import LooseResult, OtherResult, SimResult, content
from entropic import ParameterError, Store, StoreError

ONE, TWO = ({"n": n, "dt": 0.5} for n in (1, 2))


# ---- rows --------------------------------------------------------------------------------------------------------
CALLS = {
    "run_or_retrieve": lambda store, row: store.run_or_retrieve(row),
    "run": lambda store, row: store.run(row),
    "retrieve": lambda store, row: store.retrieve(row),
    "sweep": lambda store, row: store.sweep([row])[0],
    "runs": lambda store, row: store.sweep(store.select(id=row.id))[0],
    "stream": lambda store, row: next(iter(store.stream((row,)))),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_row_stands_for_the_set_that_it_was_made_of(store, runner, call):
    row = store.run_or_retrieve(ONE)
    assert row.params == ONE
    found = call(store, row)
    assert (found.id, found.params) == (row.id, ONE)
    assert store.run_or_retrieve(ONE).id == row.id
    assert len(store.select()) == 1


def test_a_row_is_taken_by_everything_that_looks_and_by_delete(store, runner):
    row = store.run_or_retrieve(ONE)
    assert store.plan([row]).stored == [ONE]
    assert store.explain(row).id == row.id
    assert store.failures(row) == []
    assert store.failures([row]) == []
    assert store.log_file(row) is None
    assert store.delete(row, remove_file=True)
    assert store.retrieve(ONE) is None
    assert store.check().ok


@pytest.mark.slow
def test_the_log_of_a_row_is_found(open_store):
    def speak(params):
        print("hello")
        with open(params["result_file"], "w") as file:
            json.dump({}, file)

    store = open_store(speak)
    (row,) = store.sweep([ONE], workers=1)
    assert store.log_file(row).read_text() == "hello\n"


@pytest.mark.parametrize(
    "params", [{"name": "a"}, {"name": "a", "level": 3}, {"name": "a", "grid": [1, 2.5]}, {"name": "b", "id": "mine"}]
)
def test_a_row_finds_itself_though_its_values_alone_make_another_key(open_store, params):
    store = open_store(model=LooseResult)
    row = store.run_or_retrieve(params)
    assert store.run_or_retrieve(row).id == row.id
    assert store.run(row).id == row.id
    assert len(store.select()) == 1
    assert store.check().ok


def test_a_row_of_another_model_is_refused(store, open_store):
    other = open_store(model=OtherResult).run_or_retrieve(ONE)
    for call in (store.run_or_retrieve, store.run, store.delete, lambda row: store.sweep([row])):
        with pytest.raises(ParameterError, match="a row of OtherResult"):
            call(other)


# ---- a store without a runner ------------------------------------------------------------------------------------
def test_a_store_without_a_runner_looks_and_runs_nothing(store, open_store, tmp_path):
    store.run_or_retrieve(ONE)
    looking = open_store(None)
    assert looking.read_only
    assert looking.run_or_retrieve(ONE).n == 1
    assert content(looking.retrieve(ONE))["n"] == 1
    with pytest.raises(StoreError, match="it has no runner"):
        looking.run_or_retrieve(TWO)
    with pytest.raises(ParameterError, match="read_only"):
        open_store(None, read_only=False)


# ---- failures ----------------------------------------------------------------------------------------------------
@pytest.fixture
def failing(runner):
    def fail(params):
        raise ValueError(f"no {params['n']}")

    runner.during = fail
    return runner


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, 1])
def test_a_failure_says_the_how_manieth_in_a_row_it_is(open_store, tmp_path, workers):
    def runner(params):
        if not (tmp_path / "works").exists():
            raise ValueError("no")
        with open(params["result_file"], "w") as file:
            json.dump({}, file)

    store = open_store(runner)
    for times in (1, 2, 3):
        with pytest.raises(ValueError, match="no"):
            store.sweep([ONE], workers=workers)
        assert [one.attempt for one in store.failures()] == [times]
    (tmp_path / "works").touch()
    store.run(ONE)
    (tmp_path / "works").unlink()
    with pytest.raises(ValueError, match="no"):
        store.run(ONE)
    assert [one.attempt for one in store.failures()] == [1]


def test_failures_are_dismissed_by_set_by_row_by_age_or_all(store, failing):
    sets = [{"n": n, "dt": 0.5} for n in range(5)]
    store.sweep(sets[:0])
    for one in sets:
        with pytest.raises(ValueError, match="no"):
            store.run_or_retrieve(one)
    assert [one.params for one in store.dismiss(sets[0])] == [sets[0]]
    assert [one.params for one in store.dismiss([sets[1], sets[0]])] == [sets[1]]
    assert store.dismiss(older_than=timedelta(hours=1)) == []
    assert store.dismiss(older_than=3600) == []
    assert [one.params["n"] for one in store.failures()] == [2, 3, 4]
    assert store.plan(sets).failed == sets[2:]
    time.sleep(0.01)
    assert len(store.dismiss(older_than=0.001)) == 3
    assert store.failures() == store.dismiss() == []
    assert store.status().failed == 0
    failing.during = None
    assert store.run_or_retrieve(sets[0]).n == 0
    assert store.check().ok


def test_a_failure_of_a_key_whose_older_row_still_stands_is_dismissed(store, runner):
    store.run_or_retrieve(ONE)

    def fail(params):
        raise ValueError("no")

    runner.during = fail
    with pytest.raises(ValueError, match="no"):
        store.run(ONE)
    assert len(store.dismiss(ONE)) == 1
    assert store.failures() == []
    assert store.run_or_retrieve(ONE).n == 1
    assert store.check().ok


def test_a_run_that_is_under_way_keeps_its_failure(store, runner):
    def fail(params):
        raise ValueError("no")

    runner.during = fail
    with pytest.raises(ValueError, match="no"):
        store.run_or_retrieve(ONE)
    runner.during = lambda params: seen.append(store.dismiss())
    seen: list[list] = []
    store.run_or_retrieve(ONE)
    assert seen == [[]]
    assert store.failures() == []


def test_a_store_that_only_looks_dismisses_nothing(open_store, store, failing):
    with pytest.raises(ValueError, match="no"):
        store.run_or_retrieve(ONE)
    with pytest.raises(StoreError, match="read-only"):
        open_store(read_only=True).dismiss()
    assert len(store.failures()) == 1


# ---- custom data -------------------------------------------------------------------------------------------------
def test_custom_data_is_never_none_however_a_row_came_to_be(store, tmp_path):
    session = Session(store._context.database.engine)
    added = [
        SimResult(id="a", n=1, dt=1.0, result_file="x", custom_data=None),
        SimResult(id="b", n=1, dt=1.0, result_file="x"),
        SimResult(id="c", n=1, dt=1.0, result_file="x", custom_data={"k": 1}),
    ]
    assert added[0].custom_data == {}
    added[2].custom_data = None
    with session:
        session.add_all(added)
        session.execute(sa.insert(SimResult), [{"id": "d", "n": 1, "dt": 1.0, "result_file": "x", "custom_data": None}])
        session.commit()
    assert {row.id: row.custom_data for row in store.select()} == {"a": {}, "b": {}, "c": {}, "d": {}}
    assert store.retrieve({"id": "d"}).custom_data == {}


# ---- opening -----------------------------------------------------------------------------------------------------
def test_another_suffix_than_that_of_the_stored_results_is_said_when_the_store_opens(store, open_store):
    store.run_or_retrieve(ONE)
    with pytest.warns(UserWarning, match=r"end with '\.json'.*file_suffix='\.npy'"):
        other = open_store(file_suffix=".npy")
    assert other.run_or_retrieve(ONE).result_file.endswith(".json")
    assert isinstance(open_store(), Store)
