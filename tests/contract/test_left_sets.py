"""What a sweep with a deadline leaves, where executors lose sight of runs, or are lost, and others go on meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from contract.models import PATIENCE, LoggingRunner, Refused, refuse, wait_until, write_params
from contract.test_plan import sets
from entropic import ClientLostError, NotBegunWarning, ResultLostWarning, RunFailed, RunsFailedWarning
from entropic.executors.work import Report
from entropic.protocol.wait import wait_for_any
from entropic.sweep.deadline import Deadline

pytestmark = pytest.mark.filterwarnings("error")
HOUR = 3600.0


class Acting(Executor):
    """Does with what is submitted what it is told to."""

    _max_workers = 1  # so that a sweep hands two sets over ahead

    def __init__(self, act: Callable[[Callable[[], Any]], Any]) -> None:
        self.act = act

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(self.act(lambda: fn(*args, **kwargs)))
        except OSError as error:
            future.set_exception(error)
        return future


class Unmarked(Executor):
    """Says of no future that it runs, as the executor of a Dask client does."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            done = fn(*args, **kwargs)
            if not future.cancelled():
                future.set_result(done)

        threading.Thread(target=run).start()
        return future


class Timed(LoggingRunner):
    """Says of each run that it has taken `n` hours."""

    def __call__(self, params: dict[str, Any]) -> None:
        super().__call__(params)
        params["custom_data"]["elapsed_seconds"] = params["n"] * HOUR

    @property
    def ns(self) -> list[int]:
        return [n for _, n in self.lines()]


@pytest.fixture
def timed(tmp_path):
    return Timed(tmp_path / "runs.log")


@pytest.fixture
def lateness(monkeypatch):
    """Set it, and from then on it is too late for every set."""
    late = threading.Event()
    monkeypatch.setattr(Deadline, "begin_by", lambda self, params: time.time() + (-HOUR if late.is_set() else HOUR))
    return late


# ---- runs of which an executor does not know -----------------------------------------------------------------------
def test_what_an_executor_runs_that_does_not_say_so_is_not_given_up(open_store, timed, tmp_path, monkeypatch):
    looks, of_python = tmp_path / "looks", futures.wait
    looks.touch()

    def wait(*given: Any) -> Any:
        with looks.open("a") as file:
            file.write("x" * bool(timed.ns))
        return of_python(*given)

    def run(params: dict[str, Any]) -> None:
        timed(params)
        wait_until(lambda: len(looks.read_text()) > 1)  # the sweep has looked at it, and gone on; this is a copy

    monkeypatch.setattr(futures, "wait", wait)
    monkeypatch.setattr("entropic.executors.futures.is_late", lambda task: bool(timed.ns))
    assert [row.n for row in open_store(run=run).sweep(sets(1), client=Unmarked(), deadline=HOUR)] == [1]
    assert timed.ns == [1]


@pytest.mark.parametrize("report", [Report(late=True), None], ids=["late", "not begun"])
def test_what_was_finished_before_a_second_worker_was_too_late_is_stored(open_store, timed, lateness, report):
    def act(work: Callable[[], Any]) -> Any:
        work()  # on a worker that was lost since
        lateness.set()
        return [report]

    store = open_store(run=timed)
    assert [row.n for row in store.sweep(sets(1), client=Acting(act), deadline=HOUR)] == [1]
    assert timed.ns == [1]


@pytest.mark.parametrize("report", [Report(late=True), None], ids=["late", "not begun"])
def test_what_goes_on_where_a_second_worker_was_too_late_is_stored_once_it_ends(open_store, timed, lateness, report):
    going_on = []

    def act(work: Callable[[], Any]) -> Any:
        going_on.append(work)
        lateness.set()
        return [report]

    store = open_store(run=timed)
    with pytest.warns(NotBegunWarning, match="1 of 1 set of SimResult was not begun"):
        assert store.sweep(sets(1), client=Acting(act), deadline=HOUR) == []
    assert store.status().running == {}

    def meanwhile(params: dict[str, Any]) -> None:
        ran.append(params["n"])
        going_on[0]()
        write_params(params)

    ran: list[int] = []
    lateness.clear()
    rows = open_store(run=meanwhile, on_stale="ignore").sweep(sets(2, 1))
    assert ([row.n for row in rows], ran, timed.ns) == ([2, 1], [2], [1])


# ---- what an executor does not bring home --------------------------------------------------------------------------
@pytest.mark.parametrize("fallback", ["raise", "local"])
def test_a_client_that_is_lost_when_all_that_could_end_in_time_is_done_is_missed_by_nobody(open_store, timed, fallback):
    store, calls = open_store(run=timed), []
    store.sweep(sets(*range(1, 9)))

    class Lost(Acting):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(*args, **kwargs)
            calls.append(future)
            if len(calls) == 4:  # while 70 is not even looked at
                raise ConnectionError("it is gone")
            return future

    with pytest.warns(NotBegunWarning, match="1 of 5 sets") as said:
        rows = store.sweep(
            sets(9, 10, 11, 12, 70), client=Lost(lambda work: work()), deadline=24 * HOUR, fallback=fallback
        )
    assert ([row.n for row in rows], len(said)) == ([9, 10, 11, 12], 1)
    assert timed.ns[8:] == [9, 10, 11, 12]


@pytest.mark.filterwarnings("error::entropic.FellBackWarning")
@pytest.mark.parametrize("fallback", ["raise", "local"])
def test_a_client_that_is_lost_at_the_end_of_a_search_is_missed_by_nobody(open_store, timed, fallback):
    """Its last run is on the disk, and the generator names no more, which nobody had asked it by then."""
    calls = []

    class Lost(Acting):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(*args, **kwargs)
            calls.append(future)
            if len(calls) == 2:
                raise ConnectionError("it is gone")
            return future

    coming = open_store(run=timed).stream(
        (one for one in sets(1, 2)), Lost(lambda work: work()), in_flight=1, fallback=fallback
    )
    assert [row.n for row in coming] == [1, 2]
    assert timed.ns == [1, 2]


def test_a_client_that_is_lost_before_what_can_still_run_is_an_error_with_a_deadline_too(open_store, timed):
    class Lost(Executor):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            raise ConnectionError("it is gone")

    with pytest.raises(ClientLostError, match="it is gone"):
        open_store(run=timed).sweep(sets(1, 2), client=Lost(), deadline=HOUR, fallback="raise")
    assert timed.ns == []


def test_what_does_not_come_back_and_is_too_late_is_left_and_not_said_to_run(open_store, timed, lateness):
    def act(work: Callable[[], Any]) -> Any:
        lateness.set()
        raise OSError("the worker was killed")

    store = open_store(run=timed)
    with pytest.warns(NotBegunWarning, match="1 of 1 set") as said:
        assert store.sweep(sets(1), client=Acting(act), deadline=HOUR) == []
    assert [one.category for one in said] == [NotBegunWarning]
    assert [row.n for row in store.sweep(sets(1))] == [1]


def test_what_fails_in_a_client_and_is_too_late_to_try_here_has_failed(open_store, lateness):
    def act(work: Callable[[], Any]) -> Any:
        lateness.set()
        return work()

    store = open_store(run=refuse)
    with pytest.raises(Refused, match="refused 1"):
        store.sweep(sets(1), client=Acting(act), deadline=HOUR)
    assert [one.error_type for one in store.failures()] == ["Refused"]


# ---- what others do meanwhile --------------------------------------------------------------------------------------
@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_what_others_ran_and_saw_fail_has_failed_also_if_it_is_too_late_by_then(
    open_store, timed, monkeypatch, lateness, on_error
):
    begun, is_waited_for = threading.Event(), threading.Event()

    def fail(params: dict[str, Any]) -> None:
        begun.set()
        assert is_waited_for.wait(PATIENCE)
        refuse(params)

    def wait(*args: Any) -> list[str]:
        is_waited_for.set()
        lateness.set()
        return wait_for_any(*args)

    other = threading.Thread(target=lambda: open_store(run=fail).sweep(sets(1), on_error="continue", progress=False))
    monkeypatch.setattr("warnings.warn", lambda *args, **kwargs: seen.append(args[1]))
    seen: list[type[Warning]] = []
    other.start()
    assert begun.wait(PATIENCE)
    monkeypatch.setattr("entropic.sweep.claims.wait_for_any", wait)
    store = open_store(run=timed)
    if on_error == "raise":
        with pytest.raises(RunFailed, match="refused 1"):
            store.sweep(sets(1), deadline=HOUR)
    else:
        assert store.sweep(sets(1), deadline=HOUR, on_error=on_error) == []
    other.join()
    assert (seen.count(RunsFailedWarning), seen.count(NotBegunWarning)) == (2 if on_error == "continue" else 1, 0)
    assert timed.ns == []


def test_what_was_left_and_fails_elsewhere_before_the_end_has_failed(open_store, timed):
    store = open_store(run=timed)
    store.sweep(sets(*range(1, 9)))
    coming = store.stream(sets(9, 70), deadline=12 * HOUR)
    assert next(coming).n == 9
    with pytest.raises(Refused):
        open_store(run=refuse).run(sets(70)[0])
    with pytest.raises(RunFailed, match="refused 70"):
        list(coming)


def test_what_failed_before_and_is_left_is_no_failure_of_this_sweep(open_store, timed):
    store = open_store(run=timed)
    store.sweep(sets(*range(1, 9)))
    with pytest.raises(Refused):
        open_store(run=refuse).run(sets(70)[0])
    with pytest.warns(NotBegunWarning, match="1 of 1 set"):
        assert store.sweep(sets(70), deadline=12 * HOUR) == []


def test_with_rerun_what_others_have_run_again_meanwhile_is_in_the_list(open_store, timed):
    store = open_store(run=timed)
    store.sweep(sets(*range(1, 9), 40))
    coming = store.stream(sets(2, 40), deadline=6 * HOUR, rerun=True)
    assert next(coming).n == 2
    store.sweep(sets(40), rerun=True)
    assert [row.n for row in coming] == [40]


@pytest.mark.slow
def test_a_lost_result_that_others_have_made_again_meanwhile_is_in_the_list(open_store, timed):
    store = open_store(run=timed)
    *_, last = store.sweep(sets(*range(1, 9), 40))
    Path(last.result_file).unlink()
    coming = store.stream(sets(9, 40), deadline=12 * HOUR)
    with pytest.warns(ResultLostWarning):
        assert next(coming).n == 9
    with pytest.warns(ResultLostWarning):
        open_store(run=timed).run_or_retrieve(sets(40)[0])
    assert [row.n for row in coming] == [40]
