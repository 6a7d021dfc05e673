"""Which jobs have taken a set along: counted over all sweeps, until it has a row or has failed.

A file for each, whose name says of what it is, so that whoever sees the same death notes it once. Those of a
generation of attempts count together: the next one begins when a row is stored, or deleted.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable
from typing import NamedTuple

from entropic.files.staging import DEATHS, Staging
from entropic.files.subfolder import content, opened
from entropic.support import names

LARGEST = 64 * 1024  # bytes of a file
MOST_TEXT = 4_000  # characters of a reason
_TASK = r"[0-9_-]{1,48}"


class Death(NamedTuple):
    """One of them: when it was noted, why the job ended, and for how much time and memory that had asked."""

    at: float
    why: str
    had: str


def note_death(staging: Staging, key: str, attempt: str, task: str, why: str, had: str = "") -> list[str]:
    """Note that a task of a job was ended in the middle of a set; return why all those were that have been so far.

    Parameters
    ----------
    task
        Its name, which no other one has.
    had
        For how much time and memory its job had asked: "time=2:00:00 mem=4G".
    """
    text = json.dumps({"at": time.time(), "why": why[:MOST_TEXT], "had": had[:MOST_TEXT]}).encode()
    with opened(staging.root, DEATHS, make=True) as folder:
        with contextlib.suppress(FileExistsError):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            file = os.open(_name(key, attempt, task), flags, 0o666, dir_fd=folder)
            try:
                os.write(file, text)
            finally:
                os.close(file)
        found = [_read(folder, name) for name in os.listdir(folder) if _is_of(name, key, attempt)]
    return [one.why for one in sorted(found)]


def deaths_of(staging: Staging, attempts: Iterable[tuple[str, str]]) -> list[Death]:
    """Return the deaths that are noted of some sets, given by their keys and attempts."""
    wanted = {(key, _generation(attempt)) for key, attempt in attempts}
    with contextlib.suppress(OSError), opened(staging.root, DEATHS) as folder:
        names = (name for name in os.listdir(folder) if tuple(name.split(".")[:2]) in wanted)
        return sorted(_read(folder, name) for name in names)
    return []


def keys_with_deaths(staging: Staging) -> set[str]:
    """Return the names of the keys of which deaths are noted."""
    with contextlib.suppress(OSError), opened(staging.root, DEATHS) as folder:
        return {name.partition(".")[0] for name in os.listdir(folder)}
    return set()


def forget_deaths(staging: Staging, key: str) -> None:
    """Forget them: the set has a row, or has failed."""
    with contextlib.suppress(OSError), opened(staging.root, DEATHS) as folder:
        for name in os.listdir(folder):
            if name.startswith(f"{key}."):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=folder)


def _name(key: str, attempt: str, task: str) -> str:
    return f"{key}.{_generation(attempt)}.{task}"


def _generation(attempt: str) -> str:
    return attempt.partition("-")[0]


def _is_of(name: str, key: str, attempt: str) -> bool:
    of = re.fullmatch(rf"(?P<key>{names.KEY})\.(?P<generation>[0-9]{{1,18}})\.{_TASK}", name)
    return of is not None and (of["key"], of["generation"]) == (key, _generation(attempt))


def _read(folder: int, name: str) -> Death:
    """Return a death; one that cannot be understood counts all the same."""
    try:
        said = json.loads(content(name, folder, LARGEST))
        return Death(float(said["at"]), str(said["why"]), str(said.get("had", "")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return Death(0.0, "its reason cannot be read", "")
