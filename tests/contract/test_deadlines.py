"""`sweep(order=..., deadline=...)`: which sets run first, and which are not begun, as they could not end in time."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contract.models import CountingRunner, wait_until
from contract.test_plan import running_elsewhere, sets
from entropic import (
    Base,
    ErrorBarWarning,
    Mapped,
    NotBegunWarning,
    ParameterError,
    Replicates,
    Store,
    expand_grid,
    outcome,
)
from entropic.executors.work import Report, ending, report_of, work
from entropic.sweep.forecast import FEWEST

pytestmark = pytest.mark.filterwarnings("error")
HOUR = 3600.0


@pytest.fixture
def timed(open_store):
    """Open a store whose runs say that they have taken so long."""

    def make(seconds):
        def say(params):
            params["custom_data"]["elapsed_seconds"] = float(seconds(params))

        runner = CountingRunner(say)
        return open_store(run=runner), runner

    return make


class Clock:
    """The time that deadlines are compared with, which a test can turn."""

    ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    for module in ("sweep.deadline", "sweep.claims", "executors.contract"):
        monkeypatch.setattr(f"entropic.{module}.time", made)
    return made


def swept(store, params, **options) -> tuple[list[Any], str]:
    """Return the `n` of the rows, and what was said of those that were not begun."""
    with pytest.warns(NotBegunWarning) as said:
        rows = store.sweep(params, **options)
    (warning,) = said
    assert warning.filename == __file__
    return [row.n for row in rows], str(warning.message)


# ---- order -------------------------------------------------------------------------------------------------------
def test_the_longest_run_first_and_the_rows_come_as_the_sets_were_given(timed):
    store, runner = timed(lambda params: params["n"] ** 2)
    store.sweep(sets(1, 2, 3, 4, 5))
    rows = store.sweep(sets(6, 9, 2, 7, 8), order="longest")
    assert runner.ns[5:] == [9, 8, 7, 6]
    assert [row.n for row in rows] == [6, 9, 2, 7, 8]


def test_where_nothing_is_known_the_longest_is_the_first_given(timed):
    store, runner = timed(lambda params: 1)
    store.sweep(sets(3, 1, 2), order="longest")
    assert runner.ns == [3, 1, 2]


def test_what_nothing_is_known_of_comes_before_the_longest(timed):
    store, runner = timed(lambda params: params["n"])
    store.sweep(sets(1, 2, 3, 4))
    store.sweep([*sets(5, 6), {"n": 1, "dt": 0.1}], order="longest")
    assert runner.ns[4:] == [1, 6, 5]


def test_a_coarse_grid_runs_first_also_in_the_next_call(timed):
    store, runner = timed(lambda params: 1)
    grid = expand_grid({"n": [1, 2, 3, 4, 5], "dt": [0.1]})
    coming = store.stream(grid, order="spread")
    next(coming)
    coming.close()
    rows = store.sweep(grid, order="spread")
    assert (set(runner.ns[:2]), runner.ns[2], sorted(runner.ns[3:])) == ({1, 5}, 3, [2, 4])
    assert [row.n for row in rows] == [1, 2, 3, 4, 5]


# ---- deadline ----------------------------------------------------------------------------------------------------
def test_no_run_begins_that_cannot_end_in_time(timed):
    store, runner = timed(lambda params: params["n"] * HOUR)
    store.sweep(sets(*range(1, 9)))
    rows, said = swept(store, sets(2, 50, 9, 60, 10), deadline="12h")
    assert (rows, runner.ns[8:]) == ([2, 9, 10], [9, 10])
    assert "2 of 5 sets of SimResult were not begun" in said
    assert "2 of these need more than the whole deadline, such as {'n': 60, 'dt': 0.5} with about 2 days 11 h:" in said
    assert "by the deadline of 12 h 0 min: for example {'n': 50" in said
    assert store.plan(sets(50, 60)).missing == sets(50, 60)
    assert store.status().running == {}
    assert store.check().ok
    assert [row.n for row in store.sweep(sets(50, 60))] == [50, 60]


def test_the_runs_of_the_sweep_tell_how_long_others_take(timed):
    store, runner = timed(lambda params: 5 * HOUR)
    rows, _ = swept(store, sets(*range(1, 30)), deadline=HOUR)
    assert rows == runner.ns == list(range(1, len(rows) + 1))
    assert FEWEST <= len(rows) <= 2 * FEWEST


def test_a_few_runs_hold_no_other_back(timed):
    store, _ = timed(lambda params: 100 * HOUR)
    store.sweep(sets(1, 2, 3))
    assert [row.n for row in store.sweep(sets(4, 5), deadline="2h")] == [4, 5]


def test_a_deadline_that_all_can_meet_changes_nothing(timed):
    store, runner = timed(lambda params: params["n"])
    assert [row.n for row in store.sweep(sets(3, 1, 2), deadline="1h 30min", order="given")] == [3, 1, 2]
    assert runner.ns == [3, 1, 2]


def test_a_stream_ends_at_its_deadline(timed):
    store, _ = timed(lambda params: params["n"] * HOUR)
    store.sweep(sets(*range(1, 9)))
    coming = store.stream(sets(1, 5, 9, 70), deadline=12 * HOUR)
    with pytest.warns(NotBegunWarning, match="1 of 4 sets"):
        assert [row.n for row in coming] == [1, 5, 9]


@pytest.mark.slow
def test_others_are_waited_for_until_the_deadline_and_counted_apart(open_store, place, tmp_path):
    def long(params):
        params["custom_data"]["elapsed_seconds"] = HOUR * (1 + params["n"] % 2)

    store = open_store(run=CountingRunner(long))
    with running_elsewhere(tmp_path, place.url):
        alone = swept(store, sets(2), deadline=0.5)
        store.sweep(sets(*range(10, 20)))
        rows, said = swept(store, sets(2, 20, 21), deadline=0.5)
    assert alone[0] == rows == []
    assert "1 of 1 set of SimResult still runs elsewhere after the deadline of 0.5 seconds; the same call" in alone[1]
    assert "2 of 3 sets of SimResult were not begun, by the deadline of 0.5 seconds: for example {'n': 20" in said
    assert "; 1 still runs elsewhere; the same call" in said


def test_what_is_stored_meanwhile_is_returned(timed):
    store, _ = timed(lambda params: params["n"] * HOUR)
    store.sweep(sets(*range(1, 9)))
    coming = store.stream(sets(9, 70), deadline=12 * HOUR)
    assert next(coming).n == 9
    store.run(sets(70)[0])
    assert [row.n for row in coming] == [70]


def test_with_rerun_the_list_has_no_old_row_of_what_was_not_begun(timed):
    store, runner = timed(lambda params: params["n"] * HOUR)
    store.sweep(sets(*range(1, 9), 40))
    rows, _ = swept(store, sets(2, 40), deadline=6 * HOUR, rerun=True)
    assert (rows, runner.ns[9:]) == ([2], [2])
    assert store.retrieve(sets(40)[0]) is not None


def test_what_waits_for_a_worker_does_not_begin_after_the_deadline(open_store, clock):
    def until_others_wait_for_it(params):
        if params["n"] == 1:
            wait_until(lambda: pool._work_queue.qsize() > 0)
            clock.ahead = 2 * HOUR

    runner = CountingRunner(until_others_wait_for_it)
    store = open_store(run=runner)
    with ThreadPoolExecutor(1) as pool:
        rows, said = swept(store, sets(1, 2, 3, 4, 5), client=pool, deadline=HOUR)
        assert pool._work_queue.qsize() == 0
    assert rows == runner.ns == [1]
    assert "4 of 5 sets" in said
    assert store.status().running == {}


def test_a_worker_that_is_too_late_says_so(store, monkeypatch):
    seen = []
    monkeypatch.setattr("entropic.sweep.share.run.execute", lambda context, task: seen.append(task) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.sweep(sets(1))
    (task,) = seen
    task.begin_by = time.time() - 1
    report = work(task, lambda params: 1 / 0)
    assert report == Report(late=True)
    end = ending(task, report)
    assert (end.unbegun, end.late, end.failure) == (True, True, None)
    assert report_of(end) == report


@pytest.mark.parametrize(
    "bad", [0, -1, "soon", "", True, float("nan"), float("inf"), "2 weeks", "2h30", "1 30", "0h", b"2h", [2]]
)
def test_a_deadline_that_is_no_time_is_refused(store, runner, bad):
    with pytest.raises(ParameterError, match="deadline must be a number of seconds above 0, or such as '2h'"):
        store.sweep(sets(1), deadline=bad)
    assert runner.ns == []


def test_an_order_that_is_none_is_refused_with_those_that_exist(store, runner):
    with pytest.raises(ParameterError, match="order must be 'given', 'longest' or 'spread', not 'shortest'"):
        store.sweep(sets(1), order="shortest")
    assert runner.ns == []


@pytest.mark.parametrize("options", [{"order": "spread"}, {"deadline": 5}])
def test_a_search_has_neither(store, options):
    with pytest.raises(ParameterError, match=re.escape("with in_flight the generator says in which order")):
        store.stream(iter(sets(1)), in_flight=2, **options)


class Costly(Base):
    __tablename__ = "costly_replicates"

    n: Mapped[int]
    seed: Mapped[int]
    energy: Mapped[float] = outcome()


def test_replicates_that_need_more_runs_stop_at_the_deadline(tmp_path):
    runs: list[int] = []

    def run(params):
        runs.append(params["seed"])
        params["custom_data"]["elapsed_seconds"] = 5 * HOUR
        return {"energy": float(params["seed"])}

    url = f"sqlite:///{tmp_path}/db.sqlite3"
    store = Store(run, Costly, tmp_path / "results", ".json", url, on_stale="ignore")
    several = Replicates(5, outcome="energy", error=1e-6, most=1000)
    with pytest.warns(NotBegunWarning), pytest.warns(ErrorBarWarning) as said:
        rows = store.sweep([{"n": 1}], replicates=several, deadline="2h")
    assert FEWEST <= len(rows) == len(runs) <= 2 * FEWEST
    (message,) = (str(one.message) for one in said if one.category is ErrorBarWarning)
    assert f"for example {{'n': 1}} has {len(rows)} runs" in message
    assert "Each of these sets lacks runs that did not start, or finish, by the deadline of 2 h 0 min" in message
