"""The experiment of a crowd: every run leaves a line in one file, the proof that each set ran once."""

from __future__ import annotations

import os
from pathlib import Path

from experiment import RESULT

_log: int | None = None


def log_into(folder: Path) -> None:
    """From now on, write down what runs."""
    global _log
    _log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)


def compute(n: int) -> bytes:
    """Run the experiment of one set, and return its result."""
    assert _log is not None
    os.write(_log, f"{n}\n".encode())
    return RESULT


def runs(folder: Path) -> list[int]:
    """Return which sets ran, in the order in which they did."""
    log = folder / "log"
    return [int(line) for line in log.read_text().split()] if log.exists() else []
