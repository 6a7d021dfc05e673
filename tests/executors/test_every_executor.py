"""What a sweep promises, whatever executes its runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.models import ActingRunner, Refused, content, refuse, wait_until
from entropic import ClientLostError, FellBackWarning, NotBegunWarning, ParameterError, RunsFailedWarning, WorkerDied
from executors import acts

SERIAL, WORKERS, THREADS, PROCESSES = "serial", "workers", "thread pool", "process pool"
OWN, LOKY, DASK = "own", "loky", "Dask"
pytestmark = pytest.mark.each(most=2)  # of the executors that take long to start, in turn
dask_marks = [
    pytest.mark.slow,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::UserWarning:distributed"),
]
PARAMS = {name: name for name in (SERIAL, THREADS, OWN)}
for slow in (WORKERS, PROCESSES, LOKY):  # to start their processes takes a second
    PARAMS[slow] = pytest.param(slow, marks=pytest.mark.slow)
PARAMS[DASK] = pytest.param(DASK, marks=dask_marks)
ELSEWHERE = (WORKERS, PROCESSES, LOKY, DASK)  # not in this process
ONCE = (SERIAL, WORKERS)  # a set that fails in a sweep that raises is not tried in this process, too
only = {
    name: pytest.mark.parametrize("executor", [PARAMS[one] for one in members], indirect=True)
    for name, members in {
        "elsewhere": ELSEWHERE,
        "clients elsewhere": (PROCESSES, LOKY, DASK),
        "here": (SERIAL, THREADS, OWN),
        "once": ONCE,
        "parallel": (WORKERS, THREADS, PROCESSES, LOKY, DASK),
        "pools": (THREADS, PROCESSES, OWN, LOKY, DASK),
    }.items()
}


may_fall_back = pytest.mark.filterwarnings("ignore::entropic.FellBackWarning")


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


class InThisThread(Executor):
    """An executor as somebody might write one: it runs what is submitted at once."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def process_pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as made:
        yield made


@pytest.fixture(scope="module")
def loky_pool() -> Iterator[Executor]:
    """A pool that is not of the standard library, as joblib uses it."""
    pool = pytest.importorskip("loky").ProcessPoolExecutor(2)
    yield pool
    pool.shutdown(wait=True, kill_workers=True)


@pytest.fixture(params=list(PARAMS.values()))
def executor(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of an executor, and the options with which a sweep uses it."""
    name = request.param
    if name == SERIAL:
        yield name, {}
    elif name == WORKERS:
        yield name, {"workers": 2}
    elif name == THREADS:
        with ThreadPoolExecutor(2) as pool:
            yield name, {"client": pool}
    elif name == PROCESSES:
        yield name, {"client": request.getfixturevalue("process_pool")}
    elif name == LOKY:
        yield name, {"client": request.getfixturevalue("loky_pool")}
    elif name == OWN:
        yield name, {"client": InThisThread()}
    else:
        cluster = request.getfixturevalue("cluster")
        with pytest.importorskip("distributed").Client(cluster) as client:
            client.wait_for_workers(2, timeout=200)
            yield name, {"client": client}


@pytest.fixture
def name(executor):
    return executor[0]


@pytest.fixture
def options(executor):
    return executor[1]


def ran(log: Path) -> list[int]:
    return sorted(acts.ns_in(log))


def pids(log: Path) -> set[int]:
    return {pid for pid, _ in ActingRunner(log, {}).lines()}


def test_each_set_runs_once_and_the_rows_come_in_the_order_in_which_the_sets_were_seen(acting, log, options):
    store = acting()
    rows = store.sweep(sets(5, 3, 9, 3, 5, 1, 8, 9), **options)
    assert isinstance(rows, list)
    assert [(row.n, content(row)["n"]) for row in rows] == [(n, n) for n in (5, 3, 9, 1, 8)]
    assert ran(log) == [1, 3, 5, 8, 9]
    assert store.check().ok


def test_duplicates_run_once_however_they_are_spelled(acting, log, options):
    same = [{"n": 1, "dt": 0.3}, {"dt": 0.1 + 0.2, "n": 1}, {"n": 1, "dt": 0.3, "custom_data": {"a": 1}}]
    assert len(acting().sweep(same, **options)) == 1
    assert ran(log) == [1]


def test_hits_mix_with_misses_and_only_these_run(acting, log, options):
    store = acting()
    known = {row.n: row.created_at for row in store.sweep(sets(2, 4))}
    rows = store.sweep(sets(1, 2, 3, 4, 5), **options)
    assert [row.n for row in rows] == [1, 2, 3, 4, 5]
    assert {row.n: row.created_at for row in rows if row.n in known} == known
    assert ran(log) == [1, 2, 3, 4, 5]


def test_many_sets_come_back_whole_and_a_second_sweep_runs_nothing(acting, log, options):
    store = acting()
    first = store.sweep(({"n": n, "dt": 0.5} for n in range(60)), **options)
    assert [row.n for row in first] == list(range(60))
    assert len({row.result_file for row in first}) == 60
    again = store.sweep(sets(*reversed(range(60))), **options)
    assert [row.created_at for row in again] == [row.created_at for row in reversed(first)]
    assert ran(log) == list(range(60))
    assert store.check().ok


def test_a_sweep_of_nothing_is_an_empty_list(acting, log, options):
    assert acting().sweep([], **options) == []
    assert acting().sweep(iter(()), **options) == []
    assert ran(log) == []


def test_every_set_is_checked_before_the_first_one_runs(acting, log, options):
    with pytest.raises(ParameterError):
        acting().sweep([*sets(1, 2), {"n": 3}], **options)
    assert ran(log) == []


def test_what_was_run_looks_the_same_whatever_ran_it(acting, options):
    store = acting()
    (row,) = store.sweep(sets(1), **options)
    here = store.run(sets(2)[0])
    assert row.custom_data.keys() == here.custom_data.keys() == {"elapsed_seconds"}
    assert content(row).keys() == content(here).keys()
    assert Path(row.result_file).parent == Path(here.result_file).parent
    assert row.created_at.tzinfo is None
    assert store.retrieve(sets(1)[0]).created_at == row.created_at


@only["elsewhere"]
def test_the_runs_happen_in_other_processes(acting, log, options):
    acting().sweep(sets(*range(6)), **options)
    assert os.getpid() not in pids(log)


@only["here"]
def test_the_runs_happen_in_this_process(acting, log, options):
    acting().sweep(sets(*range(6)), **options)
    assert pids(log) == {os.getpid()}


@only["parallel"]
def test_the_order_is_kept_where_the_first_set_ends_last(acting, log, options):
    store = acting({3: partial(acts.wait_for_runs, log, (1,))})
    assert [row.n for row in store.sweep(sets(3, 1), **options)] == [3, 1]
    assert ran(log) == [1, 3]


@pytest.mark.slow
@may_fall_back
@only["pools"]
def test_the_pool_that_was_lent_still_works_after_a_sweep(acting, options):
    acting().sweep(sets(1, 2), **options)
    assert options["client"].submit(abs, -3).result() == 3
    with pytest.raises(Refused):
        acting({3: refuse}).sweep(sets(3), **options)
    assert options["client"].submit(abs, -4).result() == 4


@pytest.mark.slow
@may_fall_back
# ---- failures ----------------------------------------------------------------------------------------------------
def test_a_failing_set_raises_its_own_exception_and_keeps_what_had_finished(acting, log, name, options):
    store = acting({4711: refuse})
    with pytest.raises(Refused) as caught:
        store.sweep(sets(1, 2, 4711), **options)
    assert type(caught.value) is Refused
    assert caught.value.args == ("refused 4711", 4711)
    assert "4711" in "\n".join(caught.value.__notes__)
    assert store.retrieve(sets(4711)[0]) is None
    assert [(failure.params, failure.error_type) for failure in store.failures()] == [(sets(4711)[0], "Refused")]
    assert ran(log).count(4711) in ((1,) if name in ONCE else (1, 2))
    before = ran(log)
    stored = [n for n in (1, 2) if store.retrieve(sets(n)[0]) is not None]
    assert [row.n for row in acting().sweep(sets(1, 2, 4711), **options)] == [1, 2, 4711]
    assert len(ran(log)) == len(before) + 3 - len(stored)
    assert store.failures() == []
    assert store.check().ok


@only["once"]
def test_after_a_failure_nothing_is_tried_twice(acting, log, options):
    with pytest.raises(Refused):
        acting({2: refuse}).sweep(sets(1, 2, 3, 4), **options)
    assert ran(log) == sorted(set(ran(log)))


def test_a_sweep_that_goes_on_runs_each_set_once_and_warns_once(acting, log, options):
    store = acting({3: refuse, 7: refuse})
    with pytest.warns(RunsFailedWarning) as caught:
        rows = store.sweep(sets(*reversed(range(10))), on_error="continue", **options)
    assert [row.n for row in rows] == [9, 8, 6, 5, 4, 2, 1, 0]
    told = [str(one.message) for one in caught if issubclass(one.category, RunsFailedWarning)]
    assert len(told) == 1
    assert "2 of 10" in told[0]
    assert ran(log) == list(range(10))
    failures = {failure.params["n"]: failure for failure in store.failures()}
    assert sorted(failures) == [3, 7]
    assert failures[3].error_type == "Refused"
    assert "refused 3" in failures[3].message
    assert "in refuse" in failures[3].traceback
    assert failures[3].pid in {pid for pid, n in ActingRunner(log, {}).lines() if n == 3}
    assert store.check().ok


@pytest.mark.slow
def test_what_failed_before_is_left_out_if_so_wanted(acting, log, options):
    with pytest.warns(RunsFailedWarning):
        acting({2: refuse}).sweep(sets(1, 2), on_error="continue", **options)
    assert [row.n for row in acting().sweep(sets(3, 2, 1), retry_failed=False, **options)] == [3, 1]
    assert ran(log) == [1, 2, 3]
    assert [row.n for row in acting().sweep(sets(3, 2, 1), **options)] == [3, 2, 1]
    assert ran(log) == [1, 2, 2, 3]


def test_an_exception_that_cannot_be_pickled_is_recorded_as_what_it_was(acting, log, options):
    store = acting({2: acts.raise_unpicklable})
    with pytest.warns(RunsFailedWarning, match="1 of 3"):
        assert [row.n for row in store.sweep(sets(1, 2, 3), on_error="continue", **options)] == [1, 3]
    (failure,) = store.failures()
    assert (failure.error_type, failure.message) == ("Unpicklable", "the pump ran dry")
    assert "raise_unpicklable" in failure.traceback
    assert ran(log) == [1, 2, 3]


# ---- stream ------------------------------------------------------------------------------------------------------
def test_a_stream_yields_everything_and_hits_first(acting, log, options):
    store = acting()
    store.sweep(sets(2, 4))
    rows = list(store.stream(sets(1, 2, 3, 4, 1), **options))
    assert sorted(row.n for row in rows[:2]) == [2, 4]
    assert sorted(row.n for row in rows[2:]) == [1, 3]
    assert all(content(row)["n"] == row.n for row in rows)
    assert ran(log) == [1, 2, 3, 4]
    assert store.check().ok


@only["parallel"]
def test_a_stream_yields_a_row_while_other_runs_go_on(acting, tmp_path, options):
    stream = acting({1: partial(acts.wait_for, tmp_path / "gate")}).stream(sets(1, 2), **options)
    assert next(stream).n == 2
    (tmp_path / "gate").touch()
    assert [row.n for row in stream] == [1]


def test_a_stream_that_is_closed_early_leaves_the_rest_to_others(acting, log, options):
    store = acting()
    stream = store.stream(sets(*range(20)), **options)
    taken = [next(stream).n for _ in range(3)]
    stream.close()
    assert [row.n for row in store.sweep(sets(*range(20)))] == list(range(20))
    assert all(ran(log).count(n) == 1 for n in taken)
    assert set(ran(log)) == set(range(20))
    wait_until(lambda: store.check().ok)  # what a pool had begun may end later


# ---- runners -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("executor", [PARAMS[WORKERS]], indirect=True)
def test_a_runner_that_cannot_be_pickled_is_refused_for_workers(open_store, log, options):
    store = open_store(run=acts.Untransportable(log, threading.Lock()))
    with pytest.raises(ParameterError):
        store.sweep(sets(1, 2), **options)
    assert ran(log) == []


@may_fall_back
@only["here"]
def test_a_runner_that_cannot_be_pickled_runs_in_this_process_as_any_other(open_store, log, options):
    store = open_store(run=acts.Untransportable(log, threading.Lock()))
    assert [row.n for row in store.sweep(sets(1, 2), **options)] == [1, 2]
    assert ran(log) == [1, 2]


@only["clients elsewhere"]
def test_a_runner_that_cannot_be_pickled_runs_here_instead_of_on_a_client(open_store, log, options):
    store = open_store(run=acts.Untransportable(log, threading.Lock()))
    with pytest.warns(FellBackWarning, match="cannot be sent to workers"):
        assert [row.n for row in store.sweep(sets(1, 2), **options)] == [1, 2]
    assert ran(log) == [1, 2]
    assert pids(log) == {os.getpid()}


SCRIPT = '''"""A script as people write them: everything at the top, no guard."""
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from entropic import Base, Mapped, Store

folder, executor, address = sys.argv[1:]


def note(name, text):
    with open(f"{folder}/{name}", "a") as file:
        file.write(text + "\\n")


class Swing(Base):
    __tablename__ = "swings"
    n: Mapped[int]


def swing(params):
    note("log", f"{os.getpid()} {params['n']}")
    with open(params["result_file"], "w") as file:
        file.write(str(double(params["n"])))


def double(n):
    return 2 * n


note("bodies", str(os.getpid()))
store = Store(swing, Swing, f"{folder}/results", ".txt", f"sqlite:///{folder}/db.sqlite3")
options = {}
if executor == "workers":
    options["workers"] = 2
elif executor == "thread pool":
    options["client"] = ThreadPoolExecutor(2)
elif executor == "process pool":
    options["client"] = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))
elif executor == "Dask":
    import distributed
    options["client"] = distributed.Client(address)
rows = store.sweep(({"n": n} for n in range(6)), **options)
print([row.n for row in rows], [int(open(row.result_file).read()) for row in rows])
if "client" in options:
    getattr(options["client"], "close" if executor == "Dask" else "shutdown")()
'''


@pytest.mark.slow
@pytest.mark.parametrize("where", [PARAMS[one] for one in (SERIAL, WORKERS, THREADS, PROCESSES, DASK)])
def test_a_script_without_a_guard_works_with_its_own_runner_and_model(request, tmp_path, log, where):
    address = request.getfixturevalue("cluster").scheduler_address if where == DASK else "none"
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path), where, address],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 1, 2, 3, 4, 5] [0, 2, 4, 6, 8, 10]\n"
    (body,) = acts.lines(tmp_path / "bodies")
    assert ran(log) == list(range(6))
    if where in ELSEWHERE:
        assert int(body) not in pids(log)
    else:
        assert pids(log) == {int(body)}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
@pytest.mark.parametrize("where", [PARAMS[one] for one in (SERIAL, WORKERS, THREADS, PROCESSES, DASK)])
def test_what_a_sweep_had_finished_stays_and_the_next_one_does_the_rest(
    request, start, acting, log, tmp_path, where, how
):
    order: dict[str, Any] = {"acts": {"all": ["wait_behind", str(log), 6, str(tmp_path / "gate")]}}
    if where == WORKERS:
        order["options"] = {"workers": 2}
    elif where != SERIAL:
        order["client"] = where if where != DASK else request.getfixturevalue("cluster").scheduler_address
    sweeper = start(range(14), **order)
    store = acting()
    wait_until(lambda: sum(store.retrieve(one) is not None for one in sets(*range(14))) >= 4)
    sweeper.process.send_signal(how)
    (tmp_path / "gate").touch()  # a pool waits for what it has begun
    status = sweeper.status()
    assert status == -how if how == signal.SIGKILL else status != 0
    stored = {one["n"] for one in sets(*range(14)) if store.retrieve(one) is not None}
    assert len(stored) >= 4
    assert [row.n for row in store.sweep(sets(*range(14)))] == list(range(14))
    runs = Counter(acts.ns_in(log))
    assert all(runs[n] == 1 for n in stored), "what was stored did not run again"
    # In an interrupted sweep a run may have been released before it began; in a killed one two were under way.
    assert max(runs.values()) <= 2
    wait_until(lambda: acting().check().ok)  # a pool ends what it has begun


NOTEBOOK = """
import os
from entropic import Base, Mapped, Store

class Cell(Base):
    __tablename__ = "cells"
    n: Mapped[int]

factor = 3

def in_a_cell(params):
    with open(params["result_file"], "w") as file:
        file.write(f"{params['n'] * factor} {os.getpid()}")

store = Store(in_a_cell, Cell, "results", ".txt", "sqlite:///db.sqlite3")
rows = store.sweep(({"n": n} for n in range(4)), workers=2)
seen = [open(row.result_file).read().split() for row in rows]
print([int(value) for value, _ in seen], str(os.getpid()) in {pid for _, pid in seen})
"""


@pytest.mark.slow
def test_a_runner_may_come_from_a_notebook_cell_where_main_has_no_file(tmp_path):
    cells = [sys.executable, "-i", "-q", "-c", "import sys; sys.ps1 = sys.ps2 = ''"]
    typed = f"exec(compile({NOTEBOOK!r}, '<cell 1>', 'exec'))\n"
    done = subprocess.run(cells, cwd=tmp_path, input=typed, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "[0, 3, 6, 9] False\n", done.stderr


def standard_pool() -> Executor:
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def other_pool() -> Executor:
    return pytest.importorskip("loky").ProcessPoolExecutor(2)


either_pool = pytest.mark.parametrize("make", [standard_pool, other_pool])


@pytest.mark.slow
@either_pool
def test_what_a_broken_pool_does_not_bring_home_runs_in_a_process_of_its_own(acting, log, make, tmp_path):
    store = acting({3: partial(acts.be_killed_once, tmp_path / "killed")})
    with make() as pool, pytest.warns(FellBackWarning, match="run in a separate process"):
        rows = store.sweep(sets(*range(8)), pool)
    assert [row.n for row in rows] == list(range(8))
    assert os.getpid() not in pids(log)
    assert Counter(acts.ns_in(log))[3] == 2
    # A pool may kill its workers after the sweep; the next store that opens removes what they leave.
    wait_until(lambda: acting().check().ok)


@pytest.mark.slow
@either_pool
@pytest.mark.filterwarnings("ignore::entropic.RunsFailedWarning")
def test_a_set_that_kills_whatever_runs_it_breaks_the_pool_and_fails_alone(acting, log, make):
    store = acting({3: acts.be_killed})
    with make() as pool:
        with pytest.warns(FellBackWarning):
            rows = store.sweep(sets(*range(8)), pool, on_error="continue")
        assert [row.n for row in rows] == [n for n in range(8) if n != 3]
        with pytest.warns(FellBackWarning, match="accepts no tasks"), pytest.raises(WorkerDied, match="SIGKILL"):
            store.sweep(sets(3), pool)  # which is broken from the start
    assert [one.error_type for one in store.failures()] == ["WorkerDied"]
    assert os.getpid() not in pids(log)
    wait_until(lambda: acting().check().ok)


@pytest.mark.slow
@pytest.mark.each("make")
@either_pool
@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_what_a_broken_pool_does_not_bring_home_runs_nowhere_if_it_is_not_to(acting, log, make, on_error, tmp_path):
    store = acting({3: partial(acts.be_killed_once, tmp_path / "killed")})
    with make() as pool, pytest.raises(ClientLostError, match="the same call goes on with the rest"):
        store.sweep(sets(*range(8)), pool, fallback="raise", on_error=on_error)
    assert Counter(acts.ns_in(log))[3] == 1
    assert os.getpid() not in pids(log)
    assert not list(store.failures()), "whose fault it was, nobody knows"
    with make() as pool:
        assert [row.n for row in store.sweep(sets(*range(8)), pool, fallback="raise")] == list(range(8))
    assert os.getpid() not in pids(log)
    wait_until(lambda: acting().check().ok)


def test_a_run_that_raises_in_a_pool_has_failed_where_nothing_is_to_run_instead(acting, log):
    store = acting({2: refuse})
    with pytest.raises(Refused):
        store.sweep(sets(1, 2), InThisThread(), fallback="raise")
    assert acts.ns_in(log) == [1, 2]
    assert [one.params["n"] for one in store.failures()] == [2]


def test_a_fallback_that_there_is_not_is_refused(acting):
    with pytest.raises(ParameterError, match="fallback must be 'local' or 'raise', not 'serial'"):
        acting().sweep(sets(1), InThisThread(), fallback="serial")


@pytest.mark.filterwarnings("ignore::entropic.RunsFailedWarning")
def test_a_run_that_has_failed_goes_on_from_its_checkpoints_wherever_it_runs_next(open_store, log, options):
    store = open_store(run=partial(acts.train, log, "raises"), checkpoints=True)
    assert store.sweep(sets(1, 2), on_error="continue", **options) == []
    assert [store.load(row) for row in store.sweep(sets(1, 2), **options)] == [4, 4]
    assert sorted(acts.lines(log)) == ["1 from 0", "1 from 2", "2 from 0", "2 from 2"]
    assert os.listdir(Path(store._context.staging.root, "checkpoints")) == []
    assert store.check().ok


def test_what_a_run_reports_is_seen_by_whoever_looks_wherever_it_runs(acting, open_store, options, tmp_path):
    store, other, gate = acting({1: partial(acts.report_and_wait, tmp_path / "go")}), open_store(), tmp_path / "go"
    seen: list[Any] = []

    def look() -> None:
        try:
            wait_until(lambda: seen.extend(other.status().reported.items()) or seen)
        finally:
            gate.touch()

    looking = threading.Thread(target=look)
    looking.start()
    (row,) = store.sweep(sets(1), **options)
    looking.join()
    ((id, reported),) = seen
    assert (id, reported.fraction, reported.values) == (row.id, 0.25, {"loss": 0.5})
    assert other.status().reported == {}
    assert os.listdir(Path(store._context.staging.root, "reports")) == []


def test_what_cannot_end_before_the_deadline_does_not_begin(acting, log, options):
    store = acting()
    for n in range(1, 9):  # which say that they have taken so many hours
        (made := log.with_name(f"made-{n}.json")).write_text("{}")
        store.register({"n": n, "dt": 0.5}, made, elapsed_seconds=3600.0 * n)
    with pytest.warns(NotBegunWarning, match="2 of 5 sets"):
        rows = store.sweep(sets(1, 50, 9, 60, 10), deadline="12h", order="longest", **options)
    assert [row.n for row in rows] == [1, 9, 10]
    assert ran(log) == [9, 10]
    assert store.status().running == {}


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::UserWarning:distributed")
def test_the_executor_of_a_dask_client_takes_an_order_and_goes_by_a_deadline(acting, log, cluster):
    """It is an executor as those of the standard library, whose futures Dask runs."""
    store = acting({})
    for n in range(1, 9):  # which say that they have taken so many hours
        (made := log.with_name(f"made-{n}.json")).write_text("{}")
        store.register({"n": n, "dt": 0.5}, made, elapsed_seconds=3600.0 * n)
    with pytest.importorskip("distributed").Client(cluster) as client:
        client.wait_for_workers(2, timeout=200)
        with pytest.warns(NotBegunWarning, match="2 of 6 sets"):
            rows = store.sweep(sets(1, 50, 9, 60, 10, 0), client.get_executor(), deadline="12h", order="longest")
    assert [row.n for row in rows] == [1, 9, 10, 0]
    assert sorted(ran(log)) == [0, 9, 10]  # Dask says on which worker, so it is no matter of ours which begins last
    assert store.status().running == {}
