"""What a call costs on a network: how often it waits for an answer of the server."""

from __future__ import annotations

import time

import pytest

from servers.crowd import sets

pytestmark = pytest.mark.only_on("postgresql", "mariadb")
ONE, TWO, THREE = sets([1, 2, 3])


@pytest.fixture(autouse=True)
def _patient_connections(monkeypatch):
    """Keep a connection for longer: on a loaded machine a second may pass between two queries of one call."""
    monkeypatch.setattr("entropic.db.server.IDLE_SECONDS", 60.0)


@pytest.mark.parametrize("operation", ["run_or_retrieve", "retrieve"])
def test_a_hit_is_one_round_trip(through, proxy, operation):
    store = through()
    for one in (ONE, TWO):
        store.run_or_retrieve(one)
    getattr(store, operation)(TWO)
    with proxy.counting() as count:
        assert getattr(store, operation)(ONE).n == 1
    assert (count.round_trips, count.connections) == (1, 0)


def test_the_first_hit_of_a_connection_is_one_round_trip_too(through, proxy):
    through().run_or_retrieve(ONE)
    store = through()
    store.retrieve(TWO)  # opens the connection of this thread
    with proxy.counting() as count:
        store.run_or_retrieve(ONE)
    assert (count.round_trips, count.connections) == (1, 0)


@pytest.mark.only_on("postgresql")  # MariaDB has comments inside of what makes a table
def test_a_new_store_is_made_without_a_round_trip_for_each_table_and_comment(through, proxy):
    with proxy.counting() as count:
        through()
    assert count.round_trips < 100, count  # of the tests, there are a dozen models


def test_a_store_that_is_there_is_opened_without_a_round_trip_for_each_table(through, proxy):
    through()
    with proxy.counting() as count:
        through()
    assert count.round_trips < 40, count  # 15 of our own tables


def test_a_miss_of_a_key_that_nobody_has_claimed_is_at_most_six_round_trips(through, proxy, runner):
    store = through()
    store.run_or_retrieve(ONE)
    store.run_or_retrieve(ONE)
    with proxy.counting() as count:
        store.run_or_retrieve(TWO)
    assert runner.ns == [1, 2]
    assert (count.round_trips <= 6, count.connections) == (True, 0), count


def test_a_new_sweep_is_less_than_one_round_trip_for_each_run(through, proxy, runner):
    store = through()
    with proxy.counting() as count:
        assert len(store.sweep(sets(range(200)))) == 200
    assert len(runner.calls) == 200
    assert count.round_trips < 200, count


@pytest.mark.parametrize("many", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_cached_sweep_of_many_sets_is_at_most_five_round_trips(open_store, through, proxy, runner, many):
    wanted = sets(range(many))
    open_store().sweep(wanted)
    store = through()
    store.retrieve(ONE)
    with proxy.counting() as count:
        assert [row.n for row in store.sweep(wanted)] == list(range(many))
    assert (count.round_trips <= 5, count.connections) == (True, 0), count
    assert len(runner.calls) == many


def test_on_a_slow_network_a_call_takes_as_long_as_its_round_trips(through, proxy, record_property):
    store = through()
    store.run_or_retrieve(ONE)
    proxy.delay = 0.01
    calls = {
        "hit": lambda: store.run_or_retrieve(ONE),
        "miss": lambda: store.run_or_retrieve(TWO),
        "cached sweep": lambda: store.sweep([ONE, TWO]),
    }
    for name, call in calls.items():
        began = time.perf_counter()
        with proxy.counting() as count:
            call()
        seconds = time.perf_counter() - began
        record_property(name, f"{count.round_trips} round trips, {1000 * seconds:.1f} ms")
        print(f"{name}: {count.round_trips} round trips of 10 ms: {1000 * seconds:.1f} ms")
        assert count.round_trips <= {"hit": 1, "miss": 6, "cached sweep": 5}[name]
        assert seconds >= 0.01 * count.round_trips  # the delay is real
