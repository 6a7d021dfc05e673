"""The systems that are compared, each a module with a class `System`; imported only where it is measured.

A module here is named by what it uses, never by the package alone, so that it cannot be taken for it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from experiment import Params


class Storing(Protocol):
    """What a system must be able to do, written the way its own users would write it."""

    def get(self, params: Params) -> Any:
        """The stored result of `params`; on a miss, run the experiment once and store it."""

    def look(self, params: Params) -> Any:
        """The stored result of `params`, or None."""

    def sweep(self, sets: list[Params]) -> list[Any]:
        """As `get`, for many sets, by the best way that the system has for many."""

    def match(self, answers: list[Any], sets: list[Params]) -> bool:
        """Whether these answers are the stored results of these sets."""


def open_system(module: str, folder: Path) -> Any:
    """Open the system of that module in `folder`, which it has for itself."""
    return import_module(f"systems.{module}").System(folder)
