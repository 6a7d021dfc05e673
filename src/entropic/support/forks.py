"""What is done around a fork, whatever interrupts it.

An interrupt may come at any line here, too, and what a hook raises is lost. So what is done is what may be done twice,
as often as it takes, going by what is so and not by what it remembers; and each hook is registered twice, since an
interrupt may end one before its first line. `tests/race/test_forks.py` interrupts each act of the database's.
"""

import _thread
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TypeVar

from entropic.support.importing import finish_imports

T = TypeVar("T")
Act = Callable[[], None]
_before: list[Act] = []
_after: list[Act] = []
_in_child: list[Act] = []
_interrupted = False
_turn = threading.RLock()  # one thread forks at a time: what is held for a fork is let go after that fork alone


def around_forks(before: Act, after: Act, in_child: Act, first: bool = False) -> None:
    """Have something done before each fork, and afterwards in the parent and in the child; all of it may be done twice.

    Parameters
    ----------
    first
        Whether it comes before all others (afterwards, after them): they hold what it has to wait for.
    """
    _before.insert(0 if first else len(_before), before)
    for acts, act in ((_after, after), (_in_child, in_child)):
        acts.insert(len(acts) if first else 0, act)


def living(ones: "weakref.WeakSet[T]") -> list[T]:
    """Return those that are alive, whatever other threads add meanwhile."""
    while True:
        try:
            return list(ones)
        except RuntimeError:  # one has just come
            continue


def _insist(acts: Iterable[Act]) -> None:
    """Do what may be done twice until it is done; an interrupt has to wait until the fork is over."""
    global _interrupted
    for act in acts:
        while True:
            try:
                act()
                break
            except Exception:
                raise
            except BaseException:  # noqa: BLE001
                _interrupted = True


def _take_turn() -> None:
    if not _turn._is_owned():  # type: ignore[attr-defined]
        _turn.acquire()


def _end_turn() -> None:
    if _turn._is_owned():  # type: ignore[attr-defined]
        _turn.release()


def _first() -> None:
    _insist([_take_turn, *_before, finish_imports])


def _then() -> None:
    global _interrupted
    if not _turn._is_owned():  # type: ignore[attr-defined]
        return  # it is done, and what is held now is for the fork of another thread
    _insist([*_after, _end_turn])
    if _interrupted:
        _interrupted = False
        # What is raised here is lost; in a moment, when another thread has its turn, it is not.
        _thread.start_new_thread(signal.pthread_kill, (threading.get_ident(), signal.SIGINT))


def _then_in_child() -> None:
    global _interrupted, _turn
    _interrupted = False
    _insist(_in_child)
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    for _ in range(2):
        os.register_at_fork(before=_first, after_in_parent=_then, after_in_child=_then_in_child)
