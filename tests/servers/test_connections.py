"""Connections: held by nobody while a runner runs, few, and no loss when they are lost."""

from __future__ import annotations

import itertools
import pkgutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar

import pytest

from contract.models import (
    PATIENCE,
    ActingRunner,
    CountingRunner,
    OtherResult,
    Refused,
    SimResult,
    content,
    refuse,
    wait_until,
)
from entropic import Store
from executors import acts
from proxy import Fault, Proxy
from servers.crowd import sets

pytestmark = pytest.mark.only_on("postgresql", "mariadb")
ONE, TWO, THREE = sets([1, 2, 3])


# ---- while a runner runs -----------------------------------------------------------------------------------------
class Guest:
    """Looks at who is connected through the proxy, and remembers whoever has a transaction open."""

    def __init__(self, place: Any, proxy: Proxy) -> None:
        self.place, self.proxy = place, proxy
        self.in_transaction: list[Any] = []

    def is_alone(self) -> bool:
        self.in_transaction += self.place.in_transaction()
        time.sleep(0.05)
        return not self.proxy.open

    def waits(self, _params: Any = None) -> None:
        """Wait until nobody is connected, which connections that nobody uses may take 2 s for."""
        wait_until(self.is_alone)
        assert not self.in_transaction


@pytest.fixture
def guest(place: Any, proxy: Proxy) -> Guest:
    return Guest(place, proxy)


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda store: store.run_or_retrieve(ONE), id="run_or_retrieve"),
        pytest.param(lambda store: store.run(ONE), id="run", marks=pytest.mark.slow),
        pytest.param(lambda store: store.sweep([ONE, TWO]), id="sweep", marks=pytest.mark.slow),
        pytest.param(lambda store: list(store.stream([ONE, TWO])), id="stream", marks=pytest.mark.slow),
    ],
)
def test_while_a_runner_runs_no_session_stays_and_none_has_a_transaction(through, guest, operation):
    runner = CountingRunner(during=guest.waits)
    store = through(runner)
    operation(store)
    assert guest.proxy.most > 0
    assert set(runner.ns) <= {1, 2} and 1 in runner.ns
    assert store.check().ok


@pytest.mark.slow
def test_while_a_runner_asks_for_another_run_no_session_stays_either(through, guest):
    def during(params):
        if params["n"] == 1:
            store.run_or_retrieve(TWO)
        guest.waits()

    runner = CountingRunner(during)
    store = through(runner)
    store.run_or_retrieve(ONE)
    assert runner.ns == [1, 2]


@pytest.mark.slow
def test_while_workers_run_no_session_stays(through, guest, tmp_path):
    go = tmp_path / "go"
    runner = ActingRunner(tmp_path / "log", {n: Wait(go) for n in range(2)})
    store = through(runner)
    with ThreadPoolExecutor(1) as thread:
        rows = thread.submit(store.sweep, sets(range(2)), workers=2)
        try:
            wait_until(lambda: len(runner.lines()) == 2)
            guest.waits()
        finally:
            go.touch()
        assert len(rows.result()) == 2


class Wait:
    """Part of a runner: waits until a file is there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, params: Any) -> None:
        acts.wait_for(self.path, params)


# ---- lost ones ---------------------------------------------------------------------------------------------------
def refused_for(store: Any, params: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        store.run_or_retrieve(params)
    (failure,) = store.failures(params)
    assert failure.params == params


def delete(store: Any, params: dict[str, Any]) -> None:
    path = Path(store.retrieve(params).result_file)
    store.delete(params, remove_file=True)
    assert store.retrieve(params) is None
    assert not path.exists()


LOST = pytest.mark.parametrize("arrives", [False, True], ids=["message lost", "answer lost"])

# What is done, how often the runner runs for each of its sets, and whether they are there before.
CALLS: dict[str, tuple[Callable[[Any, dict[str, Any]], Any], int, bool]] = {
    "a hit": (lambda store, one: store.run_or_retrieve(one), 1, True),
    "retrieve": (lambda store, one: store.retrieve(one), 1, True),
    "a miss": (lambda store, one: store.run_or_retrieve(one), 1, False),
    "a run again": (lambda store, one: store.run(one), 2, True),
    "a run that fails": (refused_for, 1, False),
    "a sweep of one": (lambda store, one: store.sweep([one]), 1, False),
    "a sweep of some": (lambda store, one: store.sweep([{**one, "dt": dt} for dt in (0.5, 1.5, 2.5)]), 3, False),
    "a plan": (lambda store, one: store.plan([one]), 1, True),
    "a check": (lambda store, one: store.check(), 1, True),
    "delete": (delete, 1, True),
}


@pytest.mark.each("call")
@LOST
@pytest.mark.parametrize(
    "call", [pytest.param(name, marks=[pytest.mark.slow] * (name not in ("a hit", "a miss"))) for name in CALLS]
)
def test_whatever_is_lost_a_call_succeeds_and_runs_once(through, proxy, call, arrives):
    act, runs, before = CALLS[call]
    runner = CountingRunner(refuse if act is refused_for else None)
    store = through(runner)
    for n in itertools.count():
        one = {"n": n, "dt": 0.5}
        if before:
            store.run_or_retrieve(one)
        with proxy.breaking(Fault(after=n, arrives=arrives)) as fault:
            act(store, one)
        assert runner.ns.count(n) == runs
        if not fault.met:  # every message of the call has been lost once
            break
    assert n > 0
    assert store.check().ok


@pytest.mark.slow
@LOST
def test_whatever_is_lost_a_result_is_registered(through, proxy, tmp_path, arrives):
    store = through()
    (tmp_path / "elsewhere").write_text("{}")
    for n in itertools.count():
        with proxy.breaking(Fault(after=n, arrives=arrives)) as fault:
            row = store.register({"n": n, "dt": 0.5}, tmp_path / "elsewhere")
        assert (row.n, row.result_file) == (n, str(tmp_path / "elsewhere"))
        if not fault.met:
            break
    assert n > 0
    assert store.check().ok


@pytest.mark.slow
@pytest.mark.each("arrives")
@LOST
@pytest.mark.parametrize("first", range(5))
def test_whatever_is_lost_a_store_opens(through, proxy, runner, arrives, first):
    for n in itertools.count(first, 5):
        with proxy.breaking(Fault(after=n, arrives=arrives)) as fault:
            store = through()
        assert store.run_or_retrieve(ONE).n == 1
        if not fault.met:
            break
    assert n > 0
    assert runner.ns == [1]


@LOST
def test_a_commit_that_is_not_answered_is_neither_lost_nor_run_again(through, proxy, runner, arrives):
    store = through()
    for n in itertools.count():  # claim, publish, and whatever else is committed
        with proxy.breaking(Fault("COMMIT", after=n, arrives=arrives)) as fault:
            row = store.run_or_retrieve({"n": n, "dt": 0.5})
        assert content(row)["n"] == n
        if not fault.met:
            break
    assert n > 0
    assert runner.ns == list(range(n + 1))
    assert store.check().ok


def test_a_connection_that_is_cut_between_calls_is_made_again(through, proxy, runner):
    store = through()
    for n in (1, 2, 1):
        store.run_or_retrieve({"n": n, "dt": 0.5})
        assert proxy.open > 0
        proxy.cut()
    assert len(store.sweep([ONE, TWO, THREE])) == 3
    assert runner.ns == [1, 2, 3]


def test_a_result_is_published_after_the_server_has_dropped_everybody_during_the_run(open_store, place):
    runner = CountingRunner(during=lambda params: place.end_sessions())
    store = open_store(run=runner)
    assert content(store.run_or_retrieve(ONE))["n"] == 1
    assert content(store.run(ONE))["n"] == 1
    assert len(store.sweep([ONE, TWO, THREE])) == 3
    assert runner.ns == [1, 1, 2, 3]
    assert store.check().ok


def test_a_result_is_published_after_the_network_was_gone_during_the_run(through, proxy):
    def during(params):
        proxy.refuse()
        threading.Timer(0.3, proxy.accept).start()

    runner = CountingRunner(during)
    store = through(runner)
    assert content(store.run_or_retrieve(ONE))["n"] == 1
    assert runner.ns == [1]
    assert store.check().ok


def test_what_is_told_of_a_row_does_not_wait_for_the_server_of_another_store(through, proxy, tmp_path):
    def read(params):
        return far.load(far.run_or_retrieve(ONE)) | near.load(near.run_or_retrieve(ONE))

    far = through(lambda params: {"far": 1}, timeout=10_000)
    near = Store(lambda params: {"near": 1}, SimResult, tmp_path / "near", ".json", f"sqlite:///{tmp_path}/near.db")
    reader = Store(read, OtherResult, tmp_path / "near", ".json", f"sqlite:///{tmp_path}/near.db")
    reader.run_or_retrieve(ONE)
    assert [one.now for one in reader.inputs(ONE)] == ["same", "same"]
    proxy.refuse()
    assert sorted(one.now for one in reader.inputs(ONE)) == ["gone", "same"]
    assert [one.model for one in near.dependants(ONE)] == ["other_results"]


def test_a_server_that_drops_whoever_is_idle_for_a_moment_stops_nobody(open_store, place, runner):
    stores, done, dropped = [open_store() for _ in range(3)], threading.Event(), []

    def drop_the_idle():
        while not done.wait(0.02):
            for session in place.sessions():
                if not session.in_transaction:
                    dropped.append(session)
                    place.end_session(session)

    dropper = threading.Thread(target=drop_the_idle)
    dropper.start()
    try:
        with ThreadPoolExecutor(3) as threads:
            for n in range(30):
                asked = [threads.submit(store.run_or_retrieve, {"n": n, "dt": 0.5}) for store in stores]
                assert {one.result().n for one in asked} == {n}
                asked = [threads.submit(store.sweep, sets(range(n, n + 3))) for store in stores]
                assert {len(one.result()) for one in asked} == {3}
    finally:
        done.set()
        dropper.join()
    assert dropped
    assert sorted(runner.ns) == list(range(32))
    assert stores[0].check().ok


# ---- interrupted ones --------------------------------------------------------------------------------------------
class Interrupt:
    """Interrupts the main thread, as Ctrl-C does, when it waits for an answer of the server for the n-th time."""

    WAITS: ClassVar = {"postgresql": "psycopg.waiting.wait", "mariadb": "pymysql.connections.Connection._read_bytes"}

    def __init__(self, kind: str, after: int, answered: bool) -> None:
        self.left, self.answered, self.met = after, answered, False
        self.place = self.WAITS[kind]
        self.wait = pkgutil.resolve_name(self.place)

    def __call__(self, *given: Any, **options: Any) -> Any:
        if threading.current_thread() is not threading.main_thread() or self.met:
            return self.wait(*given, **options)
        self.left -= 1
        self.met = self.left < 0
        if not self.met or self.answered:
            answer = self.wait(*given, **options)
        if self.met:
            raise KeyboardInterrupt
        return answer

    def during(self, act: Callable[[], Any]) -> BaseException | None:
        """Do something; return what it raised, or None."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.place, lambda *given, **options: self(*given, **options))
            try:
                act()
            except BaseException as error:
                return error
        return None


@pytest.mark.each("call")
@pytest.mark.parametrize("answered", [False, True], ids=["before an answer", "after an answer"])
@pytest.mark.parametrize(
    "call",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in ("a hit", "a sweep of some"))) for name in CALLS],
)
def test_wherever_a_call_is_interrupted_that_is_what_it_raises_and_the_store_goes_on(
    open_store, database_kind, call, answered
):
    act, _, before = CALLS[call]
    runner = CountingRunner(refuse if act is refused_for else None)
    store = open_store(run=runner)
    for n in itertools.count():
        one = {"n": 0 if before else n, "dt": 0.5}  # ever more rows would be ever more answers
        if before:
            store.run_or_retrieve(one)
        interrupt = Interrupt(database_kind, after=n, answered=answered)
        raised = interrupt.during(lambda one=one: act(store, one))
        assert type(raised) is (KeyboardInterrupt if interrupt.met else NoneType)
        if not interrupt.met:
            break
        if act is not refused_for:
            assert store.run_or_retrieve(one).n == one["n"]
    assert n > 0
    store.repair()  # of what was interrupted; opening the store does the same
    assert store.check().ok


# ---- how many ----------------------------------------------------------------------------------------------------
def test_16_threads_have_at_most_16_connections_which_are_closed_after_the_work(through, proxy):
    together = threading.Barrier(16)

    def during(params):
        if params["n"] < 16:
            together.wait(PATIENCE)  # all run at the same time

    runner = CountingRunner(during)
    store = through(runner, lease=36_000)  # so that no lease is renewed more than once, by its process

    def work(number):
        for n in (number, 100, 101, number):
            assert store.run_or_retrieve({"n": n, "dt": 0.5}).n == n

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(16)))
        # Those of the main thread, which opened the store, and of the process that renews leases are among them.
        assert 1 < proxy.most <= 18
        wait_until(lambda: not proxy.open)  # the threads still live
        assert store.run_or_retrieve({"n": 1, "dt": 0.5}).n == 1
    assert sorted(runner.ns) == [*range(16), 100, 101]


def test_threads_that_have_ended_leave_no_session(through, proxy):
    store = through()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: store.run_or_retrieve({"n": n, "dt": 0.5}), range(8)))
    assert proxy.most > 1
    wait_until(lambda: not proxy.open)


def test_a_sweep_through_a_pool_of_threads_has_one_connection(through, proxy, runner, monkeypatch):
    # What another thread does in the place of one that is late, however loaded the machine is.
    for name in ("outbox.PUBLISH_SECONDS", "claims.RELEASE_SECONDS"):
        monkeypatch.setattr(f"entropic.sweep.{name}", 300.0)
    monkeypatch.setattr("entropic.db.server.IDLE_SECONDS", 60.0)
    store = through()
    with ThreadPoolExecutor(4) as pool:
        assert len(store.sweep(sets(range(20)), pool)) == 20
    assert len(runner.calls) == 20
    assert proxy.most == 1  # who executes needs no database
