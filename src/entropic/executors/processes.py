"""The processes that a pool of workers starts, as the pool sees them: each worker, and the guardian of them all.

What these do is in `worker.py` and in `guardian.py`.
"""

import contextlib
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from multiprocessing.connection import Pipe

from entropic.executors import guardian
from entropic.executors.guardian import Families, end_sessions
from entropic.executors.pickling import packed
from entropic.executors.resources import ANYWHERE, Place
from entropic.executors.script_setup import flags
from entropic.files.task import Task
from entropic.support import process

START = "import sys; sys.path[:] = {path!r}; from entropic.executors.worker import main; main()"
PIN = "import os; os.sched_setaffinity(0, {cores!r}); "  # before anything counts its cores, or starts a thread
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# Processes that have not been seen to end. With a stream that is forgotten in a cycle, the collector would else begin
# with their pipes, and complain: `test_a_stream_that_is_forgotten_in_a_cycle_is_closed`.
_living: set[subprocess.Popen[bytes]] = set()


def open_standard_files() -> None:
    """Open those of the files 0, 1 and 2 that are closed (`>&-`): a pipe to a worker would be taken for one of them."""
    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(file, True)
    os.close(file)


class Guardian:
    """The process of `guardian.py`, which ends the sessions of the workers when this process is gone.

    Parameters
    ----------
    memory
        The bytes that each worker may use; None for as many as there are.
    """

    def __init__(self, memory: int | None = None) -> None:
        self._memory, self._said = memory, b""
        self._used: dict[int, int] = {}
        self._start([])
        _guardians.add(self)

    def _start(self, workers: "list[Worker]") -> None:
        command = [sys.executable, "-I", "-S", guardian.__file__, str(os.getpid()), str(self._memory or 0)]
        answers = subprocess.DEVNULL if self._memory is None else subprocess.PIPE
        # In a session of its own: what ends the group of this process must not end the one who clears up after it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=answers, bufsize=0, start_new_session=True
        )
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)
        _living.add(self._process)
        for worker in workers:
            self._say(f"+{worker.pid}\n")

    def _say(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())

    def tell(self, what: str, pid: int, workers: "list[Worker]") -> None:
        """Say that a worker has begun or ended; where somebody has ended the guardian, begin another."""
        try:
            self._say(f"{what}{pid}\n")
        except OSError:
            self.close()
            self._start(workers)

    def used(self, pid: int) -> int | None:
        """Return how many bytes a worker used that the guardian has ended for it; None of any other."""
        if self._process.stdout is not None:
            while more := self._process.stdout.read(4096):
                self._said += more
            *lines, self._said = self._said.split(b"\n")
            self._used.update((int(one), int(size)) for one, size in map(bytes.split, lines))
        return self._used.pop(pid, None)

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
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.returncode = 0  # nor is it a child's to wait for
        _living.discard(self._process)


_guardians: "weakref.WeakSet[Guardian]" = weakref.WeakSet()


def _forked() -> None:
    for one in _guardians:
        one.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Worker:
    """The process of `worker.py`, the pipe to it, and the tasks that it has: it runs the first of them.

    Parameters
    ----------
    told
        What it needs before the first task.
    count
        How many workers share this machine.
    number, place
        Which of them it is, and what it has for itself.
    """

    def __init__(self, told: list[bytes], count: int, number: int = 0, place: Place = ANYWHERE) -> None:
        self._permits = self._permit = -1
        self.pipe, theirs = Pipe()
        # A byte for each task that may begin. To take one out is the one step by which the worker begins a task, or
        # this process takes it back, whatever the worker is stuck in.
        self._permits, self._permit = os.pipe()
        os.set_blocking(self._permits, False)
        threads = str(place.cores or max(1, process.cores() // count))
        start = START.format(path=[str(entry) for entry in sys.path])
        if place.pinned:
            start = PIN.format(cores=place.pinned) + start
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
                env={**dict.fromkeys(THREADS, threads), **os.environ, **dict(place.variables)},
            )
        _living.add(self._process)
        self.pid, self.number = self._process.pid, number
        self.has_run = False  # so that it may hold what other runs have left
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

    def dismiss(self, families: Families) -> None:
        """Let it end: kill it, if it is busy."""
        if self.at_work or not self._is_ready:
            self.kill(families)
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

    def kill(self, families: Families | None = None) -> int:
        """End it and what it has started, and return its exit code; of many at once, what is whose is found once."""
        code = self._process.poll()
        end_sessions([self.pid], families)  # what it has started goes with it
        self._close()
        ended = self._process.wait()
        _living.discard(self._process)
        return ended if code is None else code
