"""SIGTERM and SIGHUP as a Ctrl-C, while runs are under way: claims are released; then the process dies by the signal.

Only where nobody else has said what these signals do: a handler of the script's stays, and so does what `nohup`
ignores. And only in the main thread, the only one that Python lets handle signals.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time

# `signal.signal` makes enums of what it takes and gives, which would be a part of what a short run costs.
from _signal import SIG_DFL, getsignal  # type: ignore[import-not-found]
from _signal import signal as handle
from collections.abc import Callable
from threading import get_ident
from types import FrameType
from typing import Any

SIGNALS = tuple(int(getattr(signal, name)) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
AGAIN_SECONDS = 1.0  # `timeout` and schedulers send a signal twice: to the process, and to its group

_pid = os.getpid()
_main: int | None = threading.main_thread().ident
_entered = 0  # times that a `Terminable` of the main thread is entered
_received = 0  # the signal that the process is to die by
_received_at = 0.0
_masks: dict[int, set[Any]] = {}  # those of the threads that are forking


_last: list[Callable[[], None]] = []


class Terminated(KeyboardInterrupt):
    """The process was asked to end, and does so once what is under way is recorded or released."""


class Terminable:
    """While one is entered, a signal that ends the process comes out as `Terminated` first.

    Whatever becomes of that exception, the process dies by the signal as soon as the outermost one is left, so that a
    shell, or a scheduler, sees what it would have seen: `tests/executors/test_signals.py`.
    """

    __slots__ = ("_counts",)  # in which process: none in a child that was forked inside of it

    def __enter__(self) -> None:
        global _entered
        if get_ident() != _main:
            self._counts = 0
            return
        for number in SIGNALS:
            if getsignal(number) == SIG_DFL:
                handle(number, _receive)
        _entered += 1
        self._counts = _pid

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        global _entered
        if self._counts != _pid:
            return
        self._counts = 0
        _entered -= 1
        if not _entered and get_ident() == _main:  # a stream may end in another thread than it began in
            for number in SIGNALS:  # as `_restore` does, and sooner
                if getsignal(number) is _receive:  # not `leave_to_parent`, which lasts
                    handle(number, SIG_DFL)
            if _received:
                die()


def leave_to_parent() -> None:
    """Do nothing at these signals: the parent, which gets them too, ends this process.

    They are not ignored, which the programs that this process starts would inherit.
    """
    for number in SIGNALS:
        handle(number, _pass)


def _pass(number: int, _: FrameType | None) -> None:
    if os.getpid() != _pid:  # a child that was forked by C code
        _die_by(number)


def _receive(number: int, _: FrameType | None) -> None:
    global _received, _received_at
    _pass(number, _)
    if _received and time.monotonic() - _received_at < AGAIN_SECONDS:
        return
    _received, _received_at = number, time.monotonic()
    if not _entered:
        die()
    raise Terminated(f"the process was ended by {signal.Signals(number).name}")


_OURS = (_receive, _pass)


def _restore() -> None:
    """Leave the signals as they were found, unless somebody has changed them meanwhile."""
    for number in SIGNALS:
        if getsignal(number) in _OURS:
            handle(number, SIG_DFL)


def at_death(act: Callable[[], None]) -> None:
    """Have something done before a signal ends this process, which then never comes to its `atexit`."""
    _last.append(act)


def die() -> None:
    """Die by the signal that was received, if there was one."""
    if not _received:
        return
    for act in _last:
        with contextlib.suppress(Exception):  # what is left is taken in by whoever opens the store next
            act()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # there is none, it is closed, or full
            stream.flush()
    _die_by(_received)


def _die_by(number: int) -> None:
    handle(number, SIG_DFL)
    os.kill(os.getpid(), number)


def _before_fork() -> None:
    """Hold signals back until it is settled whose they are: those that a child gets at its very first are else lost."""
    if any(getsignal(number) in _OURS for number in SIGNALS):
        _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _after_fork() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    """Have a child die at once: what is under way is its parent's."""
    global _pid, _main, _entered, _received
    _pid, _main, _entered, _received = os.getpid(), threading.get_ident(), 0, 0
    _restore()
    _after_fork()


atexit.register(die)  # where it came while a stream waited for its reader, whose interrupt nobody has caught
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
