"""A store that is pickled, forked, and shared between threads."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.models import PATIENCE, CountingRunner, LoggingRunner, SimResult, content, run_python, wait_until
from entropic import RunFailed, Store

ONE = {"n": 1, "dt": 0.5}
TWO = {"n": 2, "dt": 0.5}


class Boom(Exception):
    pass


@pytest.fixture
def logged(open_store, tmp_path) -> Store[SimResult]:
    """A store whose runner can be pickled and counts in a file."""
    return open_store(run=LoggingRunner(tmp_path / "log"))


def lines(tmp_path: Path) -> list[tuple[int, int]]:
    return LoggingRunner(tmp_path / "log").lines()


def test_a_store_pickles_and_the_copy_shares_its_results(logged, tmp_path):
    row = logged.run(ONE)
    copy = pickle.loads(pickle.dumps(logged))
    assert copy.run_or_retrieve(ONE).result_file == row.result_file
    assert len(lines(tmp_path)) == 1
    copy.run(TWO)
    assert content(logged.retrieve(TWO))["n"] == 2


@pytest.mark.parametrize("fields", [1, 2])
def test_a_store_that_an_older_entropic_has_pickled_with_less_of_its_code_is_that_store(logged, fields):
    row = logged.run(ONE)
    arrive, ((number, parts, *_), *others) = logged.__reduce__()
    copy = arrive(number if fields == 1 else (number, parts), *others)
    assert copy.run_or_retrieve(ONE).id == row.id
    sent = copy._context.current_code.to_send()
    assert (sent.number, sent.parts) == (number, () if fields == 1 else parts)


def test_a_pickled_store_keeps_its_options(open_store, tmp_path):
    store = open_store(run=LoggingRunner(tmp_path / "log"), float_rounding="significant", file_suffix=".dat")
    copy = pickle.loads(pickle.dumps(store))
    rows = copy.sweep([{"n": 1, "dt": 1e-13}, {"n": 1, "dt": 2e-13}])
    assert len({row.id for row in rows}) == 2
    assert all(row.result_file.endswith(".dat") for row in rows)


def test_a_store_pickled_with_relative_paths_stays_where_it_was_opened(tmp_path, monkeypatch):
    (tmp_path / "second").mkdir()
    monkeypatch.chdir(tmp_path)
    text = pickle.dumps(Store(LoggingRunner(tmp_path / "log"), SimResult))
    monkeypatch.chdir(tmp_path / "second")
    assert Path(pickle.loads(text).run(ONE).result_file).parent == tmp_path / "results"
    assert list((tmp_path / "second").iterdir()) == []


@pytest.mark.slow
def test_a_store_pickled_here_works_in_another_process(logged, tmp_path):
    (tmp_path / "store.pickle").write_bytes(pickle.dumps(logged))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).run_or_retrieve({'n': 1, 'dt': 0.5}).id)"
    printed = run_python(code, tmp_path / "store.pickle").strip()
    assert logged.run_or_retrieve(ONE).id == printed
    ((pid, n),) = lines(tmp_path)
    assert (pid != os.getpid(), n) == (True, 1)


FORK = """
import os, sys
from pathlib import Path
from contract.models import PATIENCE, LoggingRunner, SimResult
from entropic import Store
folder = Path(sys.argv[1])
store = Store(LoggingRunner(folder / "log"), SimResult, folder / "results", ".json", sys.argv[2])
store.run({"n": 0, "dt": 0.5})
children = []
for n in (1, 2, 3):
    child = os.fork()
    if not child:
        try:
            store.run_or_retrieve({"n": 0, "dt": 0.5})
            store.run_or_retrieve({"n": n, "dt": 0.5})
            store.sweep([{"n": 10 * n, "dt": 0.5}, {"n": 100, "dt": 0.5}])
        except BaseException:
            import traceback; traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
store.run({"n": 4, "dt": 0.5})
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
rows = store.sweep({"n": n, "dt": 0.5} for n in (0, 1, 2, 3, 4, 10, 20, 30, 100))
assert all(Path(row.result_file).exists() for row in rows)
assert store.check().ok, store.check()
"""


@pytest.mark.slow
def test_a_store_survives_fork_on_both_sides(place, tmp_path):
    run_python(FORK, tmp_path, place.url)
    assert sorted(n for _, n in lines(tmp_path)) == [0, 1, 2, 3, 4, 10, 20, 30, 100]
    assert len({pid for pid, _ in lines(tmp_path)}) >= 4


# These count the threads, to warn, only when those are there again that ended for the fork (CPython gh-137109).
COUNTS_LATE = (3, 13) <= sys.version_info < (3, 13, 10) or sys.version_info[:3] == (3, 14, 0)

FORKING = """
import multiprocessing, os, sys, threading, warnings
warnings.filterwarnings("always", ".*multi-threaded")  # as Python calls, from 3.12 on, what forks beside threads
there, names, told = [], set(), []  # (as an error it would be lost)
warnings.showwarning = lambda message, *_: told.append(message)

def count():  # how many threads there are; registered first, so it is the last thing that happens before a fork
    with open("/proc/self/stat", "rb") as file:
        there.append(int(file.read().rpartition(b")")[2].split()[17]))

os.register_at_fork(before=count)
from pathlib import Path
from contract.models import SimResult, wait_until, write_params
from entropic import Store

folder = Path(sys.argv[1])

def fork():
    names.update(thread.name for thread in threading.enumerate())
    if (pid := os.fork()) == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

def run_and_fork(params):
    def until():
        return store._context.ledger.find(Path(params["result_file"]).stem).lease_until

    fork()
    before = until()
    wait_until(lambda: until() > before)  # somebody goes on to renew it
    child = multiprocessing.get_context("fork").Process(target=abs, args=(1,))
    child.start()
    child.join()
    assert child.exitcode == 0
    write_params(params)

store = Store(run_and_fork, SimResult, folder / "results", ".json", sys.argv[2], lease=0.6)
store.run({"n": 0, "dt": 0.5})
fork()
assert len(store.sweep({"n": n, "dt": 0.5} for n in (1, 2, 3))) == 3
fork()
assert len(list(store.stream({"n": n, "dt": 0.5} for n in (4, 5)))) == 2
fork()
assert {"entropic-heartbeat", "entropic-sweep"} <= names, names
assert store.check().ok
print(len(there), max(there), len(told))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux does")
def test_a_run_here_that_forks_does_so_beside_no_thread_of_ours(place, tmp_path):
    forks, most, told = run_python(FORKING, tmp_path, place.url).split()
    assert (forks, most) == ("15", "1")
    assert told == "0" or COUNTS_LATE


IN_A_WORKER = """
import os, sys, warnings
from pathlib import Path
from contract.models import SimResult, write_params
from entropic import Store

def run_and_fork(params):
    told = []
    warnings.filterwarnings("always", ".*multi-threaded")
    warnings.showwarning = lambda message, *_: told.append(message)
    if (pid := os.fork()) == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert not told
    write_params(params)

store = Store(run_and_fork, SimResult, Path(sys.argv[1]) / "results", ".json", f"sqlite:///{sys.argv[1]}/db.sqlite3")
print(len(store.sweep([{"n": 1, "dt": 0.5}], workers=1)))
"""


@pytest.mark.skipif(sys.version_info < (3, 12) or COUNTS_LATE, reason="nothing warns there, or in any case")
def test_a_run_in_a_worker_that_forks_does_so_beside_no_thread_of_ours(tmp_path):
    assert run_python(IN_A_WORKER, tmp_path) == "1\n"


def test_two_threads_that_want_one_key_at_the_same_time_run_it_once(open_store):
    started = threading.Barrier(2)
    runner = CountingRunner()
    store = open_store(run=runner)

    def ask(n):
        started.wait()
        return store.run_or_retrieve({"n": n, "dt": 0.5}).id

    with ThreadPoolExecutor(2) as pool:
        for n in range(20):
            assert len({future.result() for future in [pool.submit(ask, n) for _ in range(2)]}) == 1
    assert sorted(runner.ns) == list(range(20))


def test_threads_that_share_a_store_get_their_own_results(open_store):
    runner = CountingRunner()
    store = open_store(run=runner)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda n: store.run_or_retrieve({"n": n % 10, "dt": 0.5}), range(80)))
    assert [content(row)["n"] for row in rows] == [n % 10 for n in range(80)]
    assert sorted(runner.ns) == list(range(10))
    assert store.check().ok


def test_threads_that_sweep_over_the_same_sets_run_each_once(open_store):
    runner = CountingRunner()
    store = open_store(run=runner)
    with ThreadPoolExecutor(3) as pool:
        sets = [{"n": n, "dt": 0.5} for n in range(12)]
        sweeps = list(pool.map(store.sweep, [sets, sets[::-1], sets[6:] + sets[:6]]))
    assert [(len(rows), rows[0].n) for rows in sweeps] == [(12, 0), (12, 11), (12, 6)]
    assert sorted(runner.ns) == list(range(12))


def test_another_key_runs_while_a_runner_is_under_way(open_store):
    inside, done = threading.Event(), threading.Event()

    def during(params):
        if params["n"] == 1:
            inside.set()
            assert done.wait(PATIENCE)

    store = open_store(run=CountingRunner(during))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(store.run, ONE)
        assert inside.wait(PATIENCE)
        assert store.run(TWO).n == 2
        assert store.retrieve(ONE) is None
        assert store.delete(TWO, remove_file=True)
        done.set()
        assert slow.result().n == 1


class Held:
    """A first run that lasts until somebody waits for it; `end` says how it ends."""

    def __init__(self, open_store, caplog, end):
        self.inside, self.go = threading.Event(), threading.Event()
        self.end, self.caplog = end, caplog
        self.runner = CountingRunner(self.during)
        self.store = open_store(run=self.runner)

    def during(self, params):
        if len(self.runner.calls) == 1:
            self.inside.set()
            assert self.go.wait(PATIENCE)
            self.end()

    def outcomes(self) -> tuple[object, object]:
        """What the first one and the one that waited for it got: a row or an exception."""
        with ThreadPoolExecutor(2) as pool, self.caplog.at_level(logging.DEBUG):
            first = pool.submit(self.attempt)
            assert self.inside.wait(PATIENCE)
            second = pool.submit(self.attempt)
            wait_until(lambda: any(str(os.getpid()) in record.getMessage() for record in self.caplog.records))
            self.go.set()
            return first.result(), second.result()

    def attempt(self) -> object:
        try:
            return self.store.run_or_retrieve(ONE)
        except BaseException as error:
            return error


@pytest.mark.slow
def test_the_one_that_waits_says_for_whom_and_returns_the_row(open_store, caplog):
    first, second = Held(open_store, caplog, lambda: None).outcomes()
    assert (first.id, first.created_at) == (second.id, second.created_at)


@pytest.mark.slow
def test_the_one_that_waited_for_a_failing_attempt_raises_its_recorded_failure(open_store, caplog):
    def end():
        raise Boom("the pump ran dry")

    held = Held(open_store, caplog, end)
    first, second = held.outcomes()
    assert isinstance(first, Boom)
    assert isinstance(second, RunFailed)
    for part in ("Boom", "the pump ran dry", "Traceback"):
        assert part in str(second), part
    assert len(held.runner.calls) == 1
    assert held.store.run_or_retrieve(ONE).n == 1
    assert len(held.runner.calls) == 2


@pytest.mark.slow
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_the_one_that_waited_for_an_interrupted_attempt_runs_it(open_store, caplog, interrupt):
    def end():
        raise interrupt

    held = Held(open_store, caplog, end)
    first, second = held.outcomes()
    assert isinstance(first, interrupt)
    assert content(second)["n"] == 1
    assert len(held.runner.calls) == 2
