"""`stream`: as `sweep`, but each row comes out as soon as it is there."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from contract.models import (
    ActingRunner,
    CountingRunner,
    Refused,
    SimResult,
    content,
    gone,
    refuse,
    run_python,
    wait_until,
)
from entropic import ParameterError, expand_grid
from executors import acts

# To start them takes a second, and they never see the database: on servers, the same "here" proves what is recorded,
# and tests/servers that sweeps in workers outlive the loss of connections.
IN_WORKERS = pytest.param({"workers": 2}, id="in workers", marks=[pytest.mark.slow, pytest.mark.only_on("sqlite")])
HERE_AND_THERE = pytest.mark.parametrize("options", [pytest.param({}, id="here"), IN_WORKERS])


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


class Boom(Exception):
    pass


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def acting(open_store, log):
    """Open a store whose runner does this for these `n`."""
    return lambda some=(): open_store(run=ActingRunner(log, dict(some)))


CLAIMED = """if True:
    import sys
    from contract.models import SimResult, write_params
    from entropic import Store
    store = Store(write_params, SimResult, f"{sys.argv[1]}/results", ".json", sys.argv[2])
    print([params["n"] for params in store.plan([{"n": n, "dt": 0.5} for n in range(100)]).running])
"""


@pytest.fixture
def claimed(place, tmp_path):
    """Ask another process which sets it takes for running; it says it as text."""
    return lambda: run_python(CLAIMED, tmp_path, place.url).strip()


@HERE_AND_THERE
def test_every_set_comes_out_as_a_row(acting, log, options):
    rows = list(acting().stream(sets(3, 1, 2), **options))
    assert sorted((row.n, content(row)["n"]) for row in rows) == [(1, 1), (2, 2), (3, 3)]
    assert {type(row) for row in rows} == {SimResult}
    assert sorted(acts.ns_in(log)) == [1, 2, 3]


@HERE_AND_THERE
def test_a_stream_is_an_iterator(acting, options):
    stream = acting().stream(sets(1), **options)
    assert isinstance(stream, Iterator)
    assert iter(stream) is stream
    assert next(stream).n == 1
    with pytest.raises(StopIteration):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)


@HERE_AND_THERE
def test_hits_come_first(acting, log, options):
    store = acting()
    known = {row.n: row.created_at for row in store.sweep(sets(2, 4))}
    rows = list(store.stream(sets(1, 2, 3, 4), **options))
    assert {row.n: row.created_at for row in rows[:2]} == known
    assert sorted(row.n for row in rows[2:]) == [1, 3]
    assert sorted(acts.ns_in(log)) == [1, 2, 3, 4]


@pytest.mark.slow
def test_hits_come_out_before_anything_new_is_finished(acting, tmp_path):
    store = acting({1: partial(acts.wait_for, tmp_path / "gate")})
    store.sweep(sets(2, 3))
    stream = store.stream(sets(1, 2, 3), workers=1)
    assert {next(stream).n, next(stream).n} == {2, 3}
    (tmp_path / "gate").touch()
    assert [row.n for row in stream] == [1]


@pytest.mark.slow
def test_a_row_comes_out_while_other_runs_go_on(acting, tmp_path):
    store = acting({1: partial(acts.wait_for, tmp_path / "gate")})
    stream = store.stream(sets(1, 2), workers=2)
    assert next(stream).n == 2, "the order is that in which they finish"
    (tmp_path / "gate").touch()
    assert next(stream).n == 1


@pytest.mark.slow
def test_a_row_comes_out_before_all_have_run_here(open_store):
    def during(params):
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() - begun > 0.3)
        if params["n"] == 4:
            seen.extend(got)

    got, seen = [], []
    for row in open_store(run=CountingRunner(during)).stream(sets(1, 2, 3, 4)):
        got.append(row.n)
    assert got == [1, 2, 3, 4]
    assert seen, "what ran in the 0.9 s before came out before the last one"


@HERE_AND_THERE
def test_duplicates_come_out_once(acting, log, options):
    same = [{"n": 1, "dt": 0.3}, {"dt": 0.1 + 0.2, "n": 1}, {"n": 1, "dt": 0.3}]
    assert [row.n for row in acting().stream(same, **options)] == [1]
    assert acts.ns_in(log) == [1]


@HERE_AND_THERE
def test_a_stream_of_nothing_is_empty(store, runner, options):
    assert list(store.stream([], **options)) == []
    assert list(store.stream(iter(()), **options)) == []
    assert runner.calls == []


@pytest.mark.each
@HERE_AND_THERE
@pytest.mark.parametrize("bad", [{"n": 3}, {"n": 3, "dt": 0.5, "m": 1}, {"n": "3", "dt": 0.5}, None, "n=3"])
def test_every_set_is_checked_at_the_call(acting, log, options, bad):
    store = acting()
    with pytest.raises(ParameterError):
        store.stream([*sets(1, 2), bad], **options)
    assert acts.ns_in(log) == []
    assert store.retrieve(sets(1)[0]) is None


def test_an_iterable_is_read_to_its_end_at_the_call(store, runner):
    def generate():
        yield from sets(1, 2)
        raise Boom("the sampler broke")

    with pytest.raises(Boom, match="the sampler broke"):
        store.stream(generate())
    assert runner.calls == []


def test_sets_that_are_changed_after_the_call_make_no_difference(store):
    given = sets(1, 2)
    stream = store.stream(given)
    given[1]["n"] = 9
    given.append({"n": "bad"})
    assert sorted(row.n for row in stream) == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"workers": 1}], ids=["here", "in a worker"])
def test_what_had_finished_comes_out_before_the_failure_does(acting, options):
    stream = acting({2: refuse}).stream(sets(1, 2, 3), **options)
    got = []

    def read():
        for row in stream:
            got.append(row.n)

    with pytest.raises(Refused) as caught:
        read()
    assert caught.value.args == ("refused 2", 2)
    assert got == [1]
    assert list(stream) == []


@HERE_AND_THERE
def test_the_store_serves_others_while_a_stream_is_half_read(acting, log, options):
    store = acting()
    stream = store.stream(sets(1, 2, 3), **options)
    first = next(stream)
    assert store.run_or_retrieve(sets(9)[0]).n == 9
    assert store.retrieve(sets(first.n)[0]).created_at == first.created_at
    assert [row.n for row in store.sweep(sets(8, 9))] == [8, 9]
    assert sorted([first.n, *(row.n for row in stream)]) == [1, 2, 3]
    assert sorted(acts.ns_in(log)) == [1, 2, 3, 8, 9]


@pytest.mark.slow
@HERE_AND_THERE
def test_a_stream_that_is_closed_early_keeps_what_was_finished_and_claims_nothing(acting, log, claimed, options):
    store = acting()
    stream = store.stream(sets(*range(10)), **options)
    taken = [next(stream).n for _ in range(2)]
    stream.close()
    assert list(stream) == []
    assert claimed() == "[]"
    assert [store.retrieve(params).n for params in sets(*taken)] == taken
    stored = [params["n"] for params in store.plan(sets(*range(10))).stored]
    before = acts.ns_in(log)
    assert [row.n for row in acting().sweep(sets(*range(10)))] == list(range(10))
    again = acts.ns_in(log)[len(before) :]
    assert sorted(again) == sorted(set(range(10)) - set(stored)), "what was stored did not run again"
    assert store.check().ok


@pytest.mark.slow
@HERE_AND_THERE
def test_a_stream_that_is_closed_before_it_is_read_claims_nothing(acting, claimed, options):
    store = acting()
    stream = store.stream(sets(1, 2, 3), **options)
    stream.close()
    assert claimed() == "[]"
    assert [row.n for row in store.sweep(sets(1, 2, 3))] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("hang", [acts.hang_in_python, acts.hang_in_c, acts.hang_and_ignore_signals])
def test_to_close_a_stream_ends_the_runs_under_way_and_their_workers(acting, log, claimed, hang):
    store = acting({1: partial(acts.wait_for_runs, log, (2,)), 2: hang})
    stream = store.stream(sets(1, 2), workers=2)
    assert next(stream).n == 1
    begun = time.monotonic()
    stream.close()
    assert time.monotonic() - begun < acts.FOREVER / 2
    pids = {pid for pid, _ in ActingRunner(log, {}).lines()}
    wait_until(lambda: all(map(gone, pids)))
    assert claimed() == "[]"
    assert store.failures() == []
    assert [row.n for row in acting().sweep(sets(1, 2))] == [1, 2]
    assert sorted(acts.ns_in(log)) == [1, 2, 2]
    assert store.check().ok


@pytest.mark.slow
@HERE_AND_THERE
def test_a_stream_that_is_forgotten_is_closed(acting, log, claimed, options):
    stream = acting().stream(sets(*range(10)), **options)
    assert next(stream).n in range(10)
    del stream
    gc.collect()
    pids = {pid for pid, _ in ActingRunner(log, {}).lines()} - {os.getpid()}
    wait_until(lambda: all(map(gone, pids)))
    assert claimed() == "[]"
    assert [row.n for row in acting().sweep(sets(*range(10)))] == list(range(10))


@pytest.mark.slow
@HERE_AND_THERE
def test_a_stream_that_is_forgotten_in_a_cycle_is_closed(acting, log, claimed, options):
    early: list[Any] = []
    kept: list[Any] = [acting().stream(sets(*range(10)), **options)]
    kept.append(kept)
    assert next(kept[0]).n in range(10)
    # What the collector reaches first it also takes first when nobody has it any more: here, files and processes.
    early += [one for one in gc.get_objects() if issubclass(type(one), io.FileIO | subprocess.Popen)]
    gc.collect()
    early.clear()
    del kept
    gc.collect()  # a complaint of what is met there fails the test
    pids = {pid for pid, _ in ActingRunner(log, {}).lines()} - {os.getpid()}
    wait_until(lambda: all(map(gone, pids)))
    assert claimed() == "[]"
    assert [row.n for row in acting().sweep(sets(*range(10)))] == list(range(10))


def test_a_stream_takes_a_grid_and_fills_the_store(store, runner):
    rows = list(store.stream(expand_grid({"n": [1, 2, 3], "dt": [0.1, 0.2]})))
    assert sorted((row.n, row.dt) for row in rows) == [(n, dt) for n in (1, 2, 3) for dt in (0.1, 0.2)]
    store.sweep(expand_grid({"n": [1, 2, 3], "dt": [0.1, 0.2]}))
    assert len(runner.calls) == 6
    assert store.check().ok
