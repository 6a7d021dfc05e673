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
import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import Pipe, wait
from typing import Any

from entropic.errors import RunFailed, RunTimeout, UnguardedError, WorkerDied
from entropic.executors import guardian
from entropic.executors.attempt import Runner
from entropic.executors.bundles import Bundles
from entropic.executors.contract import TICK, Ending, ending_on_disk
from entropic.executors.guardian import end_session
from entropic.executors.surroundings import Surroundings, flags
from entropic.executors.travel import Setup, packed, pickled
from entropic.executors.work import BUNDLE_SECONDS, Report, ending
from entropic.files import logs
from entropic.files.task import Task
from entropic.support import process
from entropic.support.failure import record
from entropic.support.passwords import known

START = "import sys; sys.path[:] = {path!r}; from entropic.executors.worker import main; main()"
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
GRACE = 5.0  # s for an idle worker to end by itself
# Processes that have not been seen to end. With a stream that is forgotten in a cycle, the collector would else begin
# with their pipes, and complain: `test_a_stream_that_is_forgotten_in_a_cycle_is_closed`.
_living: set[Any] = set()


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
    setup
        What each worker calls before its first run.
    """

    falls_back = False
    ends = True

    def __init__(self, count: int, runner: Runner, timeout: float | None, setup: Setup | None = None) -> None:
        self._count = process.cores() if count == -1 else count
        places: set[str] = set()
        self._runner, self._refusal = b"", None
        try:
            self._runner = pickled(runner, places, setup)
        except UnguardedError as error:  # nothing is wrong where all is stored
            self._refusal = error
        self._passwords = pickle.dumps(known(places))
        self._surroundings = pickle.dumps(Surroundings.here())
        self._timeout = timeout
        self._workers: list[_Worker] = []
        self._guardian: _Guardian | None = None
        self._never_began = 0  # workers in a row that ended without having begun a run
        self._pid = os.getpid()

    def run(self, tasks: Iterable[Task | None]) -> Generator[Ending | None, None, None]:
        """Give each worker a bundle at a time, and yield what has become of each task."""
        if self._refusal is not None:
            raise self._refusal
        bundles = Bundles(tasks)
        while True:
            free = self._count - sum(worker.at_work for worker in self._workers)
            if free:
                for bundle in bundles.take(free * bundles.size, free):
                    self._free().take(bundle)
            busy = [worker for worker in self._workers if worker.at_work]
            if not busy:
                if not bundles.more:
                    return
                yield None
                continue
            ended = list(self._wait_for(busy))
            if not ended:
                yield None
            for one in ended:
                yield bundles.seen(one)
            if any(one.failure for one in ended):  # then nothing new may be meant to begin
                yield from (one for worker in busy for one in _unbegun(worker.recall()))

    def _free(self) -> "_Worker":
        """Return a worker that has nothing to do: a new one, if all are busy."""
        for worker in self._workers:
            if not worker.at_work:
                return worker
        if self._guardian is None:
            open_standard_files()
            self._guardian = _Guardian()
        self._workers.append(_Worker([self._passwords, self._surroundings, self._runner], self._count))
        self._guardian.tell("+", self._workers[-1].pid, self._workers)
        return self._workers[-1]

    def _wait_for(self, busy: "list[_Worker]") -> Iterator[Ending]:
        """Wait for a moment, and return what has become of the tasks that have ended."""
        now = time.monotonic()
        limits = [worker.began + self._timeout - now for worker in busy if self._timeout and worker.began]
        ready = wait([worker.pipe for worker in busy], max(0.0, min([TICK, *limits])))
        for worker in busy:
            if worker.pipe in ready:
                yield from self._hear(worker)
            elif worker.has_ended() and not worker.pipe.poll():
                yield from self._bury(worker)  # and something that it has started keeps the pipe open
            elif self._timeout and worker.began and time.monotonic() - worker.began > self._timeout:
                if not worker.pipe.poll():  # it may have said something since
                    yield from self._end(worker)
            elif worker.began and time.monotonic() - worker.began > 2 * BUNDLE_SECONDS:
                yield from _unbegun(worker.recall())  # a long run after all: others may run what waits behind it

    def _hear(self, worker: "_Worker") -> Iterator[Ending]:
        """Take in what a worker says, or that it says no more."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._bury(worker)
            return
        if message == "ready":
            worker.begin()
            return
        if message == "done":
            worker.at_work = False
            return
        if isinstance(message, str):
            raise RunFailed(message)
        report, back = message
        self._never_began = 0
        yield ending(worker.tasks.popleft(), Report(*report))
        yield from _unbegun([worker.tasks.pop() for _ in range(back)][::-1])
        worker.begin()

    def _bury(self, worker: "_Worker") -> Iterator[Ending]:
        """Say what killed a worker, and a run with it."""
        unbegun = worker.recall()
        worker.gone(time.monotonic() + 1.0)  # it may be on its way out: its own exit code is the one to tell
        code = self._remove(worker)
        if worker.began is None or not worker.tasks:
            self._never_began += 1
            if self._never_began > 3:
                raise WorkerDied(f"worker processes end before they can start: the last one {_cause(code)}")
        message = f"the worker process (pid {worker.pid}) of this run {_cause(code)}"
        return _rest(worker, unbegun, code, WorkerDied, message)

    def _end(self, worker: "_Worker") -> Iterator[Ending]:
        """End a run that takes too long, and its process with it."""
        unbegun, code = worker.recall(), self._remove(worker)
        message = f"the run took longer than timeout={self._timeout:g} s and was ended"
        return _rest(worker, unbegun, code, RunTimeout, message)

    def _remove(self, worker: "_Worker") -> int:
        """End a worker, whose unbegun tasks were recalled before; return its exit code."""
        code = worker.kill()
        self._workers.remove(worker)
        self._released(worker)
        return code

    def _released(self, worker: "_Worker") -> None:
        if self._guardian is not None:
            self._guardian.tell("-", worker.pid, self._workers)

    def close(self) -> None:
        """End every worker: at once if it is in the middle of a run, else as soon as it has heard of it."""
        if os.getpid() != self._pid:
            return  # a child that was forked meanwhile: they are not its own
        for worker in self._workers:
            worker.dismiss()
        deadline = time.monotonic() + GRACE
        while self._workers:  # kept until they are gone, in case that this is interrupted
            self._workers[-1].gone(deadline)
            self._released(self._workers.pop())
        if self._guardian is not None:
            self._guardian.close()
            self._guardian = None


def open_standard_files() -> None:
    """Open those of the files 0, 1 and 2 that are closed (`>&-`): a pipe to a worker would be taken for one of them."""
    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(file, True)
    os.close(file)


class _Guardian:
    """A process that ends the sessions of the workers when this process is gone: `guardian.py`."""

    def __init__(self) -> None:
        self._start([])
        _guardians.add(self)

    def _start(self, workers: "list[_Worker]") -> None:
        command = [sys.executable, "-I", "-S", guardian.__file__, str(os.getpid())]
        # In a session of its own: what ends the group of this process must not end the one who clears up after it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0, start_new_session=True
        )
        _living.add(self._process)
        for worker in workers:
            self._say(f"+{worker.pid}\n")

    def _say(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())

    def tell(self, what: str, pid: int, workers: "list[_Worker]") -> None:
        """Say that a worker has begun or ended; where somebody has ended the guardian, begin another."""
        try:
            self._say(f"{what}{pid}\n")
        except OSError:
            self.close()
            self._start(workers)

    def close(self) -> None:
        """Let it end: what it knows of has ended."""
        self.forget()
        # Not `wait` or `poll`: an interrupt in them can leave their lock taken.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._process.pid, 0)
        self._process.returncode = 0

    def forget(self) -> None:
        """Close this process's end of the pipe: a forked child's would keep the guardian from hearing of the end."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.returncode = 0  # nor is it a child's to wait for
        _living.discard(self._process)


_guardians: "weakref.WeakSet[_Guardian]" = weakref.WeakSet()


def _forked() -> None:
    for one in _guardians:
        one.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class _Worker:
    """A process, the pipe to it, and the tasks that it has: it runs the first of them."""

    def __init__(self, told: list[bytes], count: int) -> None:
        self._permits = self._permit = -1
        self.pipe, theirs = Pipe()
        # A byte for each task that may begin. To take one out is the one step by which the worker begins a task, or
        # this process takes it back, whatever the worker is stuck in.
        self._permits, self._permit = os.pipe()
        os.set_blocking(self._permits, False)
        threads = str(max(1, process.cores() // count))
        start = START.format(path=[str(place) for place in sys.path])
        # The kernel ends a child with the thread that started it, so only the main thread may ask for that.
        by_kernel = threading.current_thread() is threading.main_thread()
        handles = [theirs.fileno(), self._permits]
        command = [sys.executable, *flags(), "-c", start, *map(str, handles), str(os.getpid()), str(int(by_kernel))]
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=handles,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # only what goes wrong before it is ready is told, on stderr
                start_new_session=True,  # Ctrl-C is for this process, and what the run has started ends with it
                env={**dict.fromkeys(THREADS, threads), **os.environ},
            )
        _living.add(self._process)
        self.pid = self._process.pid
        self.tasks: deque[Task] = deque()
        self.at_work = False  # whether it has not said that it is done with its bundle
        self.began: float | None = None  # by the monotonic clock; None while it is not ready
        self.began_at = time.time()
        self._is_ready = False
        with contextlib.suppress(OSError):  # it ends as soon as it begins: the pipe says so
            for one in told:  # among it passwords, for a runner that asks its store; nobody else hears them
                self.pipe.send_bytes(one)

    def take(self, bundle: list[Task]) -> None:
        """Have tasks executed, as soon as the process is ready, whether anybody listens or not.

        It must not be at work: it might take a new permit for an old task, and two that write to each other may wait
        for ever.
        """
        self.at_work = True
        self.tasks.extend(bundle)
        os.write(self._permit, bytes(len(bundle)))
        if self._is_ready:
            self.begin()
        with contextlib.suppress(OSError):  # it has just died: the pipe says so
            self.pipe.send_bytes(packed(bundle))

    def recall(self) -> list[Task]:
        """Take back the tasks that it has not begun, and now will not begin."""
        if self._permit < 0:  # it has ended
            return []
        try:
            count = len(os.read(self._permits, len(self.tasks) or 1))
        except BlockingIOError:
            return []
        return [self.tasks.pop() for _ in range(count)][::-1]

    def begin(self) -> None:
        """From here on the time of its first task runs."""
        self._is_ready = True
        self.began, self.began_at = time.monotonic(), time.time()

    def has_ended(self) -> bool:
        """Tell whether the process is gone."""
        return self._process.poll() is not None

    def dismiss(self) -> None:
        """Let it end: kill it, if it is busy."""
        if self.at_work or not self._is_ready:
            self.kill()
        else:
            self._close()  # the end of its loop

    def _close(self) -> None:
        for close in (self.pipe.close, self._close_permits):
            with contextlib.suppress(OSError):  # closed already, as the interpreter ends
                close()

    def __del__(self) -> None:
        self._close_permits()  # of one that could not be started

    def _close_permits(self) -> None:
        if self._permit >= 0:
            os.close(self._permits)
            os.close(self._permit)
            self._permits = self._permit = -1

    def gone(self, deadline: float) -> None:
        """Return when it has ended."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
            _living.discard(self._process)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> int:
        """End it and what it has started, and return its exit code."""
        code = self._process.poll()
        end_session(self.pid)  # what it has started goes with it
        self._close()
        ended = self._process.wait()
        _living.discard(self._process)
        return ended if code is None else code


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _unbegun(tasks: Iterable[Task]) -> Iterator[Ending]:
    """Return endings that hand tasks back as they were."""
    return (Ending(task, None, unbegun=True) for task in tasks)


def _rest(worker: _Worker, unbegun: list[Task], code: int, kind: type[RunFailed], message: str) -> Iterator[Ending]:
    """Return what has become of the tasks of a worker that was ended: it ran the last of those that it had begun.

    What it ran before has been reported, or is on the disk.
    """
    while worker.tasks:
        task = worker.tasks.popleft()
        home = ending_on_disk(task, f"its worker process {_cause(code)}")
        ended = home.finished is None and not worker.tasks
        yield _failed(task, worker, kind, message) if ended else home
    yield from _unbegun(unbegun)


def _failed(task: Task, worker: _Worker, kind: type[RunFailed], message: str) -> Ending:
    found = logs.find(task.staging, task.key)
    if found is not None:
        message += f"; its output is in {found}"
    failure: dict[str, Any] = record(kind.__name__, message, "", worker.began_at, worker.pid)
    return Ending(task, None, message, failure, kind(message, failure))
