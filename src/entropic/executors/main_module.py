"""What stands in a worker for the main module of the script, so that what has travelled from there can be pickled.

`pickle` looks for a class or a function in the module that it names. In a worker of our own `__main__` is nobody's, so
it finds there what has arrived; what a run starts by `multiprocessing` gets it by value, as the worker did.
"""

import sys
import types
import weakref
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

MAIN = "__main__"
_arrived: "weakref.WeakValueDictionary[str, Any]" = weakref.WeakValueDictionary()  # by qualified name


def keep(complete: Callable[[Any, Any], object], obj: Any, state: object) -> object:
    """Complete something of a main module that has arrived, and remember it by its name."""
    done = complete(obj, state)
    _arrived[obj.__qualname__] = obj
    return done


def stand_in(by_value: Callable[[Any], object]) -> None:
    """Let `__main__` of this process hold what has arrived.

    Parameters
    ----------
    by_value
        Returns how something is pickled for the processes that a run starts.
    """

    def reduce(_: object, obj: object) -> Any:
        is_ours = isinstance(obj, type | types.FunctionType) and _arrived.get(obj.__qualname__) is obj
        return by_value(obj) if is_ours else NotImplemented

    vars(sys.modules[MAIN])["__getattr__"] = _found
    ForkingPickler.reducer_override = reduce  # type: ignore[method-assign]


def _found(name: str) -> object:
    try:
        return _arrived[name]
    except KeyError:
        raise AttributeError(f"module {MAIN!r} has no attribute {name!r}") from None
