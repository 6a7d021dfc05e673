"""Random generators that many workers would share: each would draw the same numbers, and replicates be no replicates.

The global ones stay those of the worker, which begin anew in each. One that a runner reaches by a name of its module
would come to every worker in the same state: of that a sweep warns.
"""

import importlib
import os
import random
import sys
import types
from typing import Any

SEEDED = 64  # bits; what numpy draws from the system itself to begin with has twice as many


def is_generator(value: object) -> bool:
    """Tell whether something draws random numbers, each time others."""
    if isinstance(value, random.Random):
        return not isinstance(value, random.SystemRandom)
    numpy = sys.modules.get("numpy.random")
    return numpy is not None and isinstance(value, numpy.Generator | numpy.RandomState)


def global_one(value: object) -> str | None:
    """Return the name of the library whose global generator it is; None if it is none."""
    if value is random._inst:
        return "random"
    numpy = sys.modules.get("numpy.random")
    return "numpy" if numpy is not None and value is numpy.mtrand._rand else None


def own_of(library: str) -> Any:
    """Return the global generator of this process."""
    if library == "random":
        return random._inst
    return importlib.import_module("numpy.random").mtrand._rand


def reached(function: types.FunctionType) -> list[str]:
    """Return the names by which a function of a module reaches generators that begin alike in every process."""
    found = {name: function.__globals__.get(name) for name in _names(function.__code__)}
    return [name for name, value in found.items() if is_generator(value) and not _is_drawn(value)]


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(one) for one in code.co_consts if isinstance(one, types.CodeType)]
    return set(code.co_names).union(*inner)


def _is_drawn(value: object) -> bool:
    """Tell whether the system has seeded it, anew in each process that imports its module."""
    entropy = getattr(getattr(getattr(value, "bit_generator", None), "seed_seq", None), "entropy", None)
    return isinstance(entropy, int) and entropy.bit_length() > SEEDED


_at_fork: Any = None  # how numpy's global one stood when this process was forked; None if nothing is to be done


def part() -> None:
    """Seed numpy's global generator anew in a forked child, where it still stands as in the parent.

    Python does so with its own. What an initializer of the pool has seeded stays.
    """
    global _at_fork
    if _at_fork is not None:
        if _numpy_state() == _at_fork:
            own_of("numpy").seed()
        _at_fork = None


def _numpy_state() -> Any:
    if "numpy.random" not in sys.modules:
        return None
    name, keys, *rest = own_of("numpy").get_state(legacy=True)
    return name, keys.tobytes(), *rest


def _forked() -> None:
    global _at_fork
    _at_fork = _numpy_state()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
