"""The executor that runs tasks in processes of this machine, each of which can be ended without harm to the others.

A pool of our own, and a small one, because the promises need what the known pools do not give together: a process
that dies takes its own run with it and no other (an executor of `concurrent.futures` breaks as a whole); a run is ended
by killing its process group, also inside of C code; no process is made by `fork`, which deadlocks under threads and
OpenMP, and none imports the user's script again, so that it needs no guard; and there is no lock that a dying process
could hold. One thread, this one, waits for all of them: `tests/executors/test_workers.py`.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import Pipe, wait
from typing import Any

import cloudpickle

from entropic import process
from entropic.errors import RunFailed, RunTimeout, WorkerDied
from entropic.executors.contract import TICK, Outcome, at_home
from entropic.executors.work import Report, outcome, pickled
from entropic.failure import record
from entropic.files.attempt import Runner, Task
from entropic.passwords import known

START = "import sys; sys.path[:] = {path!r}; from entropic.executors.worker import main; main()"
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
GRACE = 5.0  # s for an idle worker to end by itself


class Workers:
    """Executes tasks in up to `count` processes, started when they are needed and ended by `close`.

    Parameters
    ----------
    count
        How many; -1 for as many as there are cores that this process may use.
    runner
        The store's; pickled once.
    timeout
        Seconds that a run may take, or None.
    """

    falls_back = False
    ends = True

    def __init__(self, count: int, runner: Runner, timeout: float | None) -> None:
        self._count = process.cores() if count == -1 else count
        places: set[str] = set()
        self._runner = pickled(runner, places)
        self._passwords = pickle.dumps(known(places))
        self._timeout = timeout
        self._workers: list[_Worker] = []
        self._never_ready = 0
        self._pid = os.getpid()

    def run(self, tasks: Iterable[Task | None]) -> Generator[Outcome | None, None, None]:
        """Give each worker a task at a time, and yield what has become of each."""
        source, more = iter(tasks), True
        while True:
            while more and (worker := self._free()) is not None:
                try:
                    task = next(source)
                except StopIteration:
                    more = False
                    break
                if task is None:
                    break
                worker.take(task)
            busy = [worker for worker in self._workers if worker.task is not None]
            if not busy:
                if not more:
                    return
                yield None
                continue
            ended = list(self._wait_for(busy))
            if not ended:
                yield None
            yield from ended

    def _free(self) -> "_Worker | None":
        for worker in self._workers:
            if worker.task is None:
                return worker
        if len(self._workers) >= self._count:
            return None
        self._workers.append(_Worker(self._passwords, self._runner, self._count))
        return self._workers[-1]

    def _wait_for(self, busy: "list[_Worker]") -> Iterator[Outcome]:
        """Wait for a moment, and return what has become of the tasks that have ended."""
        now = time.monotonic()
        limits = [worker.began + self._timeout - now for worker in busy if self._timeout and worker.began]
        ready = wait([worker.pipe for worker in busy], max(0.0, min([TICK, *limits])))
        for worker in busy:
            if worker.pipe in ready and (ended := self._hear(worker)) is not None:
                yield ended
            elif worker.pipe not in ready and worker.has_ended() and not worker.pipe.poll():
                yield self._bury(worker)  # and something that it has started keeps the pipe open
            elif self._timeout and worker.began and time.monotonic() - worker.began > self._timeout:
                yield self._end(worker)

    def _hear(self, worker: "_Worker") -> Outcome | None:
        """Take in what a worker says, or that it says no more."""
        task = worker.task
        assert task is not None
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        if said == "ready":
            self._never_ready = 0
            worker.begin()
            return None
        if isinstance(said, str):
            raise RunFailed(f"the runner cannot be loaded in a worker process: {said}")
        worker.task, worker.began = None, None
        return outcome(task, Report(*said))

    def _bury(self, worker: "_Worker") -> Outcome:
        """Say what killed a worker, and its run with it."""
        worker.gone(time.monotonic() + 1.0)  # it may be on its way out: its own exit code is the one to tell
        code, home = self._remove(worker)
        if home.finished is not None:
            return home
        if worker.began is None:
            self._never_ready += 1
            if self._never_ready > 3:
                raise WorkerDied(f"worker processes end before they can begin: the last one {_cause(code)}")
            return home
        message = f"the worker process (pid {worker.pid}) of this run {_cause(code)}"
        return _failed(home.task, worker, WorkerDied, message)

    def _end(self, worker: "_Worker") -> Outcome:
        """End a run that takes too long, and its process with it."""
        _, home = self._remove(worker)
        if home.finished is not None:
            return home
        message = f"the run took longer than timeout={self._timeout:g} s and was ended"
        return _failed(home.task, worker, RunTimeout, message)

    def _remove(self, worker: "_Worker") -> tuple[int, Outcome]:
        """End a worker; return its exit code, and what of its task lies on the disk."""
        task = worker.task
        assert task is not None
        code = worker.kill()
        self._workers.remove(worker)
        return code, at_home(task, f"its worker process {_cause(code)}")

    def close(self) -> None:
        """End every worker: at once if it is in the middle of a run, else as soon as it has heard of it."""
        if os.getpid() != self._pid:
            return  # a child that was forked meanwhile: they are not its own
        for worker in self._workers:
            worker.dismiss()
        deadline = time.monotonic() + GRACE
        while self._workers:  # kept until they are gone, in case that this is interrupted
            self._workers[-1].gone(deadline)
            self._workers.pop()


class _Worker:
    """A process, the pipe to it, and the task that it has."""

    def __init__(self, passwords: bytes, runner: bytes, count: int) -> None:
        self.pipe, theirs = Pipe()
        threads = str(max(1, process.cores() // count))
        start = START.format(path=[str(place) for place in sys.path])
        # The kernel ends a child with the thread that started it, so only the main thread may ask for that.
        by_kernel = threading.current_thread() is threading.main_thread()
        command = [sys.executable, "-c", start, str(theirs.fileno()), str(os.getpid()), str(int(by_kernel))]
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, and what the run has started ends with it
                env={**dict.fromkeys(THREADS, threads), **os.environ},
            )
        self.pid = self._process.pid
        self.task: Task | None = None
        self.began: float | None = None  # by the monotonic clock; None while it is not ready
        self.began_at = time.time()
        self._is_ready = False
        with contextlib.suppress(OSError):  # it ends as soon as it begins: the pipe says so
            self.pipe.send_bytes(passwords)  # for a runner that asks its store; nobody else hears it
            self.pipe.send_bytes(runner)

    def take(self, task: Task) -> None:
        """Have the task executed: at once, or as soon as the process is ready, whether anybody listens or not."""
        self.task = task
        if self._is_ready:
            self.begin()
        with contextlib.suppress(OSError):  # it has just died: the pipe says so
            self.pipe.send_bytes(cloudpickle.dumps(task))  # params may be of classes of the script

    def begin(self) -> None:
        """From here on the time runs."""
        self._is_ready = True
        self.began, self.began_at = time.monotonic(), time.time()

    def has_ended(self) -> bool:
        """Tell whether the process is gone."""
        return self._process.poll() is not None

    def dismiss(self) -> None:
        """Let it end: kill it, if it is busy."""
        if self.task is not None or not self._is_ready:
            self.kill()
        else:
            with contextlib.suppress(OSError):  # closed already, as the interpreter ends
                self.pipe.close()  # the end of its loop

    def gone(self, deadline: float) -> None:
        """Return when it has ended."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> int:
        """End it and what it has started, and return its exit code."""
        code = self._process.poll()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # what it has started goes with it
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.pipe.close()
        ended = self._process.wait()
        return ended if code is None else code


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _failed(task: Task, worker: _Worker, kind: type[RunFailed], message: str) -> Outcome:
    found = task.area.log(task.key)
    if os.path.exists(found):
        message += f"; what it printed is in {found}"
    failure: dict[str, Any] = record(kind.__name__, message, "", worker.began_at, worker.pid)
    return Outcome(task, None, message, failure, kind(message, failure))
