"""The figures of a program by name, and where they were taken: what `--json` writes, and what the bars are set for.

A name says what was done, who did it, and beside whom: `hit: entropic / limit`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from machine import describe

IN_MEMORY = {"tmpfs", "ramfs"}


@dataclass(frozen=True)
class Record:
    """What one program has measured in one place."""

    program: str
    machine: dict[str, str]
    scale: float
    figures: dict[str, float]
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where files were written: `memory` or `disk`."""
        return "memory" if self.machine["file system"] in IN_MEMORY else "disk"

    def write(self, file: Path | None) -> None:
        """Write it as JSON, if there is a file to write it to."""
        if file:
            file.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, file: Path) -> Record:
        """Return what was written."""
        return cls(**json.loads(file.read_text()))

    @classmethod
    def taken(cls, program: str, folder: Path, scale: float, figures: dict[str, float]) -> Record:
        """Return what was measured just now, with files in a folder."""
        return cls(program, describe(folder), scale, figures)


def name(what: str, who: str, base: str) -> str:
    """The name of a ratio."""
    return f"{what}: {who} / {base}"


def parts(figure: str) -> tuple[str, str, str]:
    """What, who, and beside whom."""
    what, _, both = figure.partition(": ")
    who, _, base = both.partition(" / ")
    return what, who, base
