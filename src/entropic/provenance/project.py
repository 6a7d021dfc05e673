"""Which code is the user's own, and which is somebody else's: a library's, Python's, ours."""

import functools
import os
import site
import sys
import sysconfig
from types import ModuleType
from typing import Any

_OURS = __name__.partition(".")[0]


@functools.cache
def _libraries() -> tuple[str, ...]:
    """Return the folders of Python and of what is installed, each with a separator at its end."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    found = {path for name in names if (path := sysconfig.get_paths().get(name))}
    found |= {os.path.dirname(os.__file__), *getattr(site, "getsitepackages", list)()}
    if (user := getattr(site, "getusersitepackages", None)) is not None:
        found.add(user())
    return tuple(os.path.realpath(path) + os.sep for path in found if path)


def module_of(name: Any) -> ModuleType | None:
    """Return a module that has been imported, by its name."""
    found = sys.modules.get(name) if isinstance(name, str) else None
    return found if isinstance(found, ModuleType) else None


def is_own(name: Any, home: str) -> bool:
    """Tell whether a module is of the user's project.

    Parameters
    ----------
    name
        Of the module.
    home
        The module of the runner, whose whole package is of the project, wherever it lies.
    """
    if not isinstance(name, str) or not name or top(name) == _OURS:
        return False
    if name == "__main__" or top(name) == top(home):
        return True
    return _lies_outside(name)


@functools.lru_cache(maxsize=4_096)
def _lies_outside(name: str) -> bool:
    """Tell whether a module's file lies in no folder of Python, or of installed libraries."""
    if top(name) in sys.stdlib_module_names:
        return False
    file = getattr(module_of(name), "__file__", None)
    if not isinstance(file, str):
        return False  # built in, or a namespace
    return lies_outside_libraries(file)


def lies_outside_libraries(file: str) -> bool:
    """Tell whether a file lies in no folder of Python, or of installed libraries."""
    path = os.path.realpath(file)
    return f"{os.sep}site-packages{os.sep}" not in path and not path.startswith(_libraries())


def top(name: str) -> str:
    """Return the package that a module belongs to."""
    return name.partition(".")[0]


def is_ours(value: Any) -> bool:
    """Tell whether something is of a class of entropic."""
    return top(type(value).__module__) == _OURS


_BEHIND = ("func", "__func__", "__wrapped__", "py_func", "pyfunc")  # of functools, Python, Numba and numpy's vectorize


def unwrapped(value: Any) -> Any:
    """Return what is behind a bound method, a partial, or one of our runners: a function, a class or an instance."""
    for _ in range(20):  # what refers to itself, too, comes to an end
        names = (*_BEHIND, *(("runner", "function") if is_ours(value) else ()))
        inner = next((one for name in names if callable(one := attribute(value, name))), None)
        if inner is None:
            break
        value = inner
    return value


def attribute(value: Any, name: str) -> Any:
    """Return an attribute that an object really has: one that answers to every name tells nothing."""
    try:
        own = name in getattr(value, "__dict__", ())
        return getattr(value, name) if own or any(name in vars(one) for one in type(value).__mro__) else None
    except Exception:  # noqa: BLE001  (it is anybody's)
        return None
