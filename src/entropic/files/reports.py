"""How far runs say they are: a small file for each that has said something, gone with its run.

Whoever can write into the folder may have written one: only numbers and short texts are taken in, and no link is
followed.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from entropic.files.staging import REPORTS, Staging
from entropic.files.subfolder import content, opened, put
from entropic.support import names
from entropic.support.show import one_line

MOST_VALUES, LONGEST_TEXT = 20, 80
LARGEST = 16 * 1024  # bytes of a file
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Reported:
    """What a run has said of itself, by `report`, most recently.

    Attributes
    ----------
    step, total : int, float or None
        How far it is, and how far it goes.
    values : dict
        What else it has said, numbers and short texts by name.
    at : datetime
        When, naive UTC.
    host, pid, job
        Where it runs: with a cluster, not where its claim was made. The job is that of a scheduler, if it is in one.
    """

    step: float | None
    total: float | None
    values: dict[str, float | str] = field(default_factory=dict)
    at: datetime = datetime.min
    host: str = ""
    pid: int = 0
    job: str = ""

    @property
    def fraction(self) -> float | None:
        """How much of it is done, from 0 to 1, if it has said that."""
        if self.step is None or not self.total:
            return None
        return min(max(self.step / self.total, 0.0), 1.0)

    def __str__(self) -> str:
        of = "" if self.total is None else f"/{_spell(self.total)}"
        parts = [] if self.step is None else [f"step {_spell(self.step)}{of}"]
        return ", ".join([*parts, self.said()] if self.values else parts)

    def record(self) -> dict[str, Any]:
        """Return all of it as a dict."""
        return {name: getattr(self, name) for name in self.__slots__} | {"fraction": self.fraction}

    def said(self) -> str:
        """Return what else it has said, in one line."""
        return ", ".join(f"{one_line(name)}={_spell(value)}" for name, value in self.values.items())


def _spell(value: float | str) -> str:
    return one_line(value) if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else str(value)


def write(root: str, key: str, attempt: str, told: dict[str, Any]) -> None:
    """Write what a run says of itself, into a file that replaces the one before; raises `OSError` if it cannot be."""
    text = json.dumps(told, separators=(",", ":")).encode()[:LARGEST]
    name = _name(key, attempt)
    with opened(root, REPORTS, make=True) as folder:
        put(folder, name, text, f"{name}.{os.getpid()}")


def discard(root: str, key: str, attempt: str) -> None:
    """Remove what a run has said of itself: it is over."""
    with contextlib.suppress(OSError), opened(root, REPORTS) as folder:
        os.unlink(_name(key, attempt), dir_fd=folder)


def read(staging: Staging, attempts: Iterable[tuple[str, str]], most: int) -> dict[tuple[str, str], Reported]:
    """Return what runs, given as (key, attempt), have said of themselves most recently; those that have said nothing
    that can be understood are left out.

    Parameters
    ----------
    most
        How many files are read at most.
    """
    found = {}
    with contextlib.suppress(OSError), opened(staging.root, REPORTS) as folder:
        there = set(os.listdir(folder))
        some = [one for one in attempts if _name(*one) in there][:most] if there else []
        found = {one: reported for one in some if (reported := _read(folder, *one)) is not None}
    return found


def discard_others(staging: Staging, there: Iterable[str], running: Iterable[tuple[str, str]]) -> None:
    """Remove what was seen there of runs that are over, given which (key, attempt) run: asked after it was seen."""
    kept = tuple(map(".".join, running))
    with contextlib.suppress(OSError), opened(staging.root, REPORTS) as folder:
        for name in there:
            if not name.startswith(kept):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=folder)


def seen(staging: Staging) -> list[str]:
    """Return the names of all that is there."""
    with contextlib.suppress(OSError), opened(staging.root, REPORTS) as folder:
        return os.listdir(folder)
    return []


def _name(key: str, attempt: str) -> str:
    return f"{key}.{attempt}{_SUFFIX}"


def _read(folder: int, key: str, attempt: str) -> Reported | None:
    try:
        return _understood(json.loads(content(_name(key, attempt), folder, LARGEST)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError, AttributeError):
        return None


def _understood(said: dict[str, Any]) -> Reported:
    values = {
        name: value for name, value in list(said["values"].items())[:MOST_VALUES] if is_short(name) and is_plain(value)
    }
    pid, host, job = said["pid"], said["host"], said.get("job", "")
    return Reported(
        _number(said["step"]),
        _number(said["total"]),
        values,
        datetime.fromtimestamp(said["at"], UTC).replace(tzinfo=None),
        host if is_short(host) else "",
        pid if type(pid) is int and abs(pid) < 2**63 else 0,
        job if is_short(job) else "",
    )


def _number(value: Any) -> float | None:
    return value if not isinstance(value, str) and is_plain(value) and math.isfinite(value) else None


def is_plain(value: Any) -> bool:
    """Tell whether something is a number, or a short text."""
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return type(value) is float or is_short(value)


def is_short(text: Any) -> bool:
    """Tell whether something is a short text."""
    return names.is_text(text) and len(text) <= LONGEST_TEXT
