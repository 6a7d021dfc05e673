"""What a script has set up in its process, as far as it can be carried into the workers that this machine runs for it.

Numbers that depend on it would differ between `sweep(sets)` and `sweep(sets, workers=2)`, under one key:
`tests/executors/test_surroundings.py`. What cannot be carried (the settings of other libraries) is for `worker_setup`.
"""

import contextlib
import decimal
import importlib
import locale
import logging
import multiprocessing
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle

_Numpy = dict[str, str]
_NUMPY: _Numpy = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}  # what it begins with


def flags() -> list[str]:
    """Return the options of this interpreter: `-O`, `-W`, `-X` and their like, as `multiprocessing` hands them on."""
    made: Callable[[], list[str]] = subprocess._args_from_interpreter_flags  # type: ignore[attr-defined]
    return made()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The settings of a process; what is pickled by itself may be of modules that a worker cannot import."""

    argv: list[str]
    recursion: int
    digits: int
    filters: list[bytes]
    disabled: int
    levels: dict[str, int]
    formatter: bytes | None
    decimal: decimal.Context
    numpy: _Numpy | None
    locale: str
    start_method: str | None

    @classmethod
    def here(cls) -> "Surroundings":
        """Return those of this process, and of this thread."""
        root, numpy = logging.getLogger(), sys.modules.get("numpy")
        errors = None if numpy is None else numpy.geterr()
        known = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
        return cls(
            argv=list(sys.argv),
            recursion=sys.getrecursionlimit(),
            digits=sys.get_int_max_str_digits(),
            filters=[data for one in warnings.filters if (data := _pickled(one)) is not None],
            disabled=root.manager.disable,
            levels={one.name: one.level for one in [root, *known] if one.level},
            formatter=_pickled(root.handlers[0].formatter) if root.handlers else None,
            decimal=decimal.getcontext().copy(),
            numpy=None if errors == _NUMPY else errors,
            locale=locale.setlocale(locale.LC_ALL),
            start_method=multiprocessing.get_start_method(allow_none=True),
        )

    def settle(self) -> None:
        """Make them those of this process."""
        sys.argv = self.argv
        sys.setrecursionlimit(max(self.recursion, 50))
        sys.set_int_max_str_digits(self.digits)
        self._warn_alike()
        self._log_alike()
        decimal.setcontext(self.decimal)
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, self.locale)
        if self.start_method is not None:
            multiprocessing.set_start_method(self.start_method, force=True)
        if self.numpy is not None:
            importlib.import_module("numpy").seterr(**self.numpy)

    def _warn_alike(self) -> None:
        filters: list[Any] = []
        for data in self.filters:
            with contextlib.suppress(Exception):  # a category that cannot be imported here
                filters.append(pickle.loads(data))
        warnings.resetwarnings()
        warnings.filters[:] = filters  # type: ignore[index]

    def _log_alike(self) -> None:
        """Log what the script logs, and in its form, into the log of each run."""
        for name, level in self.levels.items():
            logging.getLogger(None if name == "root" else name).setLevel(level)
        logging.disable(self.disabled)
        if self.formatter is not None:
            handler = logging.StreamHandler()
            with contextlib.suppress(Exception):  # one of the script that refers to what stays at home
                handler.setFormatter(pickle.loads(self.formatter))
            logging.getLogger().addHandler(handler)


def _pickled(one: object) -> bytes | None:
    try:
        data: bytes = cloudpickle.dumps(one)
        return data
    except Exception:  # noqa: BLE001  (it is anybody's)
        return None
