"""entropic's own threads beside the user's code: none while this process forks; each ends before, another follows.

A fork copies no thread but the one that forks, and what the others held stays held in the child. From 3.12 on Python
warns of each fork beside threads, as it should of the user's own, which alone it then sees:
`tests/contract/test_pickle_fork_threads.py`. (3.13.0 to 3.13.9 and 3.14.0 count them when ours are there again.)
"""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from threading import Thread, current_thread

from entropic.support.forks import around_forks, living

PATIENCE = 5.0  # s that a fork waits for what our threads are in the middle of, such as a database that is locked
SHORTEST, LONGEST = 0.0001, 0.01  # s between two looks whether they are gone


class Background:
    """A thread that does something now and then, until it has no more to do, or its turn is over.

    Parameters
    ----------
    name
        What the thread is called.
    work
        What it does. It is given a lock, which is held until its turn is over: then it returns soon, and whoever
        comes after it is given another.
    wake
        Called when the turn is over, if `work` waits for something else as well.
    refused
        Called if no other thread could begin after a fork.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[threading.Lock], None],
        wake: Callable[[], None] | None = None,
        refused: Callable[[], None] | None = None,
    ) -> None:
        self._name, self._work, self._wake, self._refused = name, work, wake, refused
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Begin anew, without a thread, as in a forked child."""
        self._thread: Thread | None = None
        self._turn = threading.Lock()
        self.has_paused = False
        """Whether it is to begin again after a fork."""

    @property
    def is_there(self) -> bool:
        """Whether there is a thread at work; one that is still paused, though the fork is over, begins again."""
        if self.has_paused and not _deadline:
            self.go_on()
        return self._thread is not None

    def start(self) -> None:
        """Begin.

        Raises
        ------
        RuntimeError
            If there can be no thread now: while the interpreter ends, or if the system has no more of them.
        """
        if self._turn.locked():  # of one that an interrupt has parted from its name, or that two have begun at once
            self._end_turn()
        turn = threading.Lock()
        turn.acquire()
        thread = Thread(target=self._do, args=(turn,), name=self._name, daemon=True)
        self._turn, self._thread = turn, thread
        try:
            _start(thread)
        except BaseException:  # a RuntimeError, or an interrupt, after which it may have begun: then there are two
            self._thread = None
            raise

    def _do(self, turn: threading.Lock) -> None:
        self._work(turn)  # a thread keeps its `Background`, or a fork would wait for it in vain

    def leave(self, is_done: Callable[[], bool]) -> bool:
        """Tell, in the thread, whether it may return: there is nothing more to do, and `is_there` says so before."""
        if self._thread is not current_thread():  # another one does its work by now
            return True
        self._thread = None
        if is_done():
            return True
        self._thread = current_thread()  # something was put by somebody who saw this thread at work
        return False

    def close(self) -> None:
        """End it for good, and wait until it has ended."""
        self._end_turn()
        thread = self._thread
        if thread is not None and thread.ident is not None:
            thread.join()
        self._thread = None
        self._work = _nothing  # which holds whose thread it is

    def _end_turn(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is over already
            self._turn.release()
        if self._wake is not None:
            self._wake()

    def pause(self) -> None:
        """Ask the thread to end until `go_on`, if there is one."""
        thread = self._thread
        if thread is not None and thread.ident != threading.get_ident() and thread.is_alive():
            self.has_paused = True
            self._end_turn()

    def go_on(self) -> None:
        """Begin again what was paused."""
        if self.has_paused:
            try:
                self.start()
            except RuntimeError:
                if self._refused is not None:
                    self._refused()
            self.has_paused = False


def begin_once(name: str, work: Callable[..., None], *args: object) -> None:
    """Do something in a thread of its own that ends soon, and for which forks wait.

    Raises
    ------
    RuntimeError
        If there can be no thread now.
    """
    _start(Thread(target=work, args=args, name=name, daemon=True))


def _start(thread: Thread) -> None:
    thread.start()
    _begun.append(thread)
    for one in list(_begun):
        if not _is_there(one):
            with contextlib.suppress(ValueError):  # another thread has done it
                _begun.remove(one)


def _is_there(thread: Thread) -> bool:
    """Tell whether the system still has a thread: Python says that it has ended a moment before that is so."""
    return thread.is_alive() or os.path.exists(f"/proc/self/task/{thread.native_id}")


def _nothing(turn: threading.Lock) -> None:
    """Stand in for the work of a thread that has ended for good."""


# ---- forks -------------------------------------------------------------------------------------------------------
def _pause() -> None:
    global _deadline
    mine, pause = threading.get_ident(), SHORTEST
    _deadline = _deadline or time.monotonic() + PATIENCE
    while any(one.ident != mine and _is_there(one) for one in list(_begun)):
        for each in living(_all):
            each.pause()
        if time.monotonic() > _deadline:
            return  # it may be waiting for what the forking thread holds
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST)


def _go_on() -> None:
    global _deadline
    _deadline = 0.0
    for one in living(_all):
        one.go_on()


def _forget() -> None:
    global _deadline
    _deadline = 0.0
    for one in living(_all):
        one.forget()
    _begun.clear()


_all: "weakref.WeakSet[Background]" = weakref.WeakSet()
_begun: list[Thread] = []  # all that may still be there
_deadline = 0.0  # of the fork that is under way: it is waited for once
around_forks(_pause, _go_on, _forget, first=True)
