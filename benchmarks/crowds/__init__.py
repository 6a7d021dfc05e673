"""The systems by which many processes share the same sets, each a module with a class `Crowd`, used as its users do.

Imported only where it is measured. No system has to keep more than it would by itself, and each gets the settings that
serve it best here; its module says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from experiment import Params


@dataclass(frozen=True)
class Scene:
    """What every process of a crowd is told."""

    module: str  # of the system, here
    folder: str  # which the crowd has for itself
    url: str  # of the database, for those that use one
    sets: int
    member: int = 0


class Sharing(Protocol):
    """What a system must be able to do."""

    def prepare(self) -> None:
        """Make what has to be there once, before the others come."""

    def take_part(self) -> None:
        """Share the sets with the other processes, until this one knows of nothing more to do."""

    def results(self) -> list[bytes]:
        """What is stored of all sets, in their order; an error if one is missing."""


def open_crowd(scene: Scene, sets: list[Params]) -> Any:
    """Open the system in this process."""
    return import_module(f"crowds.{scene.module}").Crowd(Path(scene.folder), scene.url, sets, scene.member)
