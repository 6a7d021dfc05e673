"""A worker process: it takes tasks from a pipe, runs them, and says what has become of them.

What a run prints goes to a log file of its own, below Python, so that the output of C code and of the programs that
it starts is kept, too. The process ends with the process that started it.
"""

import contextlib
import ctypes
import faulthandler
import functools
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

from entropic.executors.pickling import stand_in, unpacked, unpickled
from entropic.executors.script_setup import Surroundings
from entropic.executors.work import work
from entropic.files import logs
from entropic.files.task import Task
from entropic.support.background import Background
from entropic.support.passwords import tell
from entropic.support.signals import leave_to_parent

PARENT_SECONDS = 1.0  # between two looks whether the parent lives


def main() -> None:
    """Work until the pipe ends."""
    signal.signal(signal.SIGINT, lambda *_: None)  # not ignored, which the programs that a run starts would inherit
    leave_to_parent()  # what a scheduler sends to all processes of a job
    handle, permits, parent, by_kernel = (int(argument) for argument in sys.argv[1:5])
    for mine in (handle, permits):
        os.set_inheritable(mine, False)  # what a run starts must not keep the pipe open
    pipe = Connection(handle)
    _end_with(parent, bool(by_kernel))
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        tell(pickle.loads(pipe.recv_bytes()))
        surroundings: Surroundings = pickle.loads(pipe.recv_bytes())
        surroundings.settle()
        stand_in()
        runner, code = unpickled(pipe.recv_bytes())
    except (EOFError, OSError):
        return  # not wanted any more
    except BaseException as error:  # noqa: BLE001
        pipe.send(f"the runner cannot be loaded in a worker process: {type(error).__qualname__}: {error}")
        return
    faulthandler.enable()  # a crash says where, in the log
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    _print_to(nowhere)
    pipe.send("ready")
    while (data := _next(pipe)) is not None:
        try:
            bundle = unpacked(data)
        except BaseException as error:  # noqa: BLE001  (classes of theirs that cannot be imported here)
            pipe.send(f"params cannot be loaded in a worker process: {type(error).__qualname__}: {error}")
            return
        try:
            for task in _permitted(bundle, permits):
                with _Log(task, nowhere):
                    report = work(task, runner, code, interrupts=False)  # Ctrl-C does not reach this session
                pipe.send((tuple(report), _withdraw(permits, len(bundle)) if report.finished is None else 0))
            pipe.send("done")
        except OSError:
            return


def _permitted(bundle: list[Task], permits: int) -> Iterator[Task]:
    """Yield each task as it may begin, as long as the parent has not taken the rest back."""
    for task in bundle:
        try:
            if not os.read(permits, 1):
                return  # nor is there a parent
        except BlockingIOError:
            return
        yield task


def _withdraw(permits: int, most: int) -> int:
    """Give back, after a failed run, what has not begun, and say how many that are: it may be meant to be the last."""
    try:
        return len(os.read(permits, most))
    except BlockingIOError:
        return 0


def _next(pipe: "Connection") -> bytes | None:
    try:
        return pipe.recv_bytes()
    except (EOFError, OSError):
        return None


class _Log:
    """While it is entered, all that this process prints goes to the log file of a task; an empty one is removed."""

    def __init__(self, task: Task, nowhere: int) -> None:
        self._task = task
        self._nowhere = nowhere

    def __enter__(self) -> None:
        with contextlib.suppress(OSError):  # without a log the run goes on all the same
            file = logs.create(self._task.staging, self._task.key)
            _print_to(file)
            os.close(file)

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the runner may have closed or replaced it
                stream.flush()
        with contextlib.suppress(Exception):
            ctypes.CDLL(None).fflush(None)  # what C code has printed so far
        _print_to(self._nowhere)
        with contextlib.suppress(OSError):
            logs.discard(self._task.staging, self._task.key, only_empty=True)


def _print_to(file: int) -> None:
    os.dup2(file, 1)
    os.dup2(file, 2)


def _end_with(parent: int, by_kernel: bool) -> None:
    """End this process when its parent has ended: by the kernel where it can (in the middle of C code, too)."""
    if by_kernel and sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    Background("entropic-parent", functools.partial(_watch, parent)).start()


def _watch(parent: int, turn: threading.Lock) -> None:
    while os.getppid() == parent:
        if turn.acquire(timeout=PARENT_SECONDS):
            return
    os.killpg(0, signal.SIGKILL)
