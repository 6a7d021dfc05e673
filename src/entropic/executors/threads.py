"""Which threads work for the run that this process executes: those that were started while one was under way.

A thread knows its run if the runner has given it its context (`contextvars.copy_context`, `asyncio.to_thread`). Others
have an empty one. Those that were there before a run, such as the main one beside a sweep in the back, work for
nobody's run. Those that a run has started may outlive it, in a pool, and work for the next.
"""

import threading
import weakref

_strangers: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()
_of_runs: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()
_seen: list[threading.Thread] = []  # when a run began last: every run comes by, and mostly they are the same


def begin() -> None:
    """Take note of the threads that are there when a run begins, and none was under way."""
    global _seen
    there = threading.enumerate()
    if there != _seen:
        _strangers.update(one for one in there if one not in _of_runs)
        _seen = there


def end() -> None:
    """Take note of the threads that runs have left, now that none is under way any more."""
    if threading.active_count() != len(_seen):  # sooner than to look at them: who has read is known (`is_stranger`)
        _of_runs.update(one for one in threading.enumerate() if one not in _strangers)


def is_stranger() -> bool:
    """Tell whether this thread, which has no context of a run, was there before the one that is under way."""
    thread = threading.current_thread()
    if thread is threading.main_thread() or thread in _strangers:
        return True
    _of_runs.add(thread)
    return False
