"""While a script is imported only for its store or its runner, what it would run is refused.

A worker that imports the script which started it would wait for its own parent, and a command would run whatever the
script runs before it looks at anything: `tests/executors/test_unguarded.py`.

And what is imported only when it is first used, of entropic itself, is there before this process forks.
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from operator import attrgetter

_by: ContextVar[str | None] = ContextVar("by", default=None)


@contextlib.contextmanager
def importing(by: str) -> Iterator[None]:
    """Refuse, in this thread, all that would run while somebody imports what may be a script."""
    token = _by.set(by)
    try:
        yield
    finally:
        _by.reset(token)


def importer() -> str | None:
    """Return who imports a script just now; None if nobody does."""
    multiprocessing = sys.modules.get("multiprocessing.process")  # which takes a while to be imported
    if multiprocessing is not None and hasattr(multiprocessing.current_process(), "_inheriting"):  # a script, again
        return "a process of a pool, which was started by spawn or forkserver,"
    return _by.get()


def is_importable(kind: type) -> bool:
    """Tell whether another process finds a class by its name, if it has the same modules."""
    if kind.__module__ == "__main__":
        return False
    try:
        found: object = attrgetter(kind.__qualname__)(sys.modules.get(kind.__module__))
    except AttributeError:  # made inside of a function
        return False
    return found is kind


def is_being_imported(module: object) -> bool:
    """Tell whether a module's own code has not come to its end."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def finish_imports() -> None:
    """Wait until other threads have imported what they are just importing of entropic.

    A process forked meanwhile would wait for ever as soon as it needs the same: nobody there would finish it
    (`test_a_fork_waits_for_what_another_thread_imports_for_the_first_time`).
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "entropic" and is_being_imported(module):
            with contextlib.suppress(Exception):  # which that thread is told
                importlib.import_module(name)
