"""The environments of runs, on their way into the database: a worker has none, so each leaves a file, once.

`results_dir/.entropic/<uuid>/environments/<number>.json`, and `<number>.diff` of what differed from a commit. Numbers
are made of contents: whatever else is found under such a name says nothing. The files stay, so what is known of results
outlives the database.
"""

import contextlib
import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from entropic.files.staging import Staging, roots
from entropic.files.subfolder import content, opened, put
from entropic.provenance import environment
from entropic.support.names import number_of

log = logging.getLogger("entropic")
FOLDER, TOLD, DIFF = "environments", ".json", ".diff"
LARGEST = 2**22  # bytes
_MOST = 100  # stores of one process that are remembered

# By the staging folder and the runner, of which it is told whether it is still that one; None until a run has ended.
_known: dict[tuple[str, int], tuple[Callable[[], object], int | None]] = {}


def begin(staging: Staging, runner: Any) -> int | None:
    """Return the number of the environment in which a runner works here; begin to find it out, if it is not known."""
    key = staging.root, id(runner)
    if (found := _known.get(key)) is not None and found[0]() is runner:
        return found[1]
    if len(_known) >= _MOST:
        _known.clear()
    _known[key] = _reference(runner), None
    with contextlib.suppress(Exception):  # a run is worth more than what is said of it
        environment.begin(runner)
    return None


def current(staging: Staging, runner: Any) -> int | None:
    """Return the number of the environment in which a runner works here; None if that cannot be told."""
    with _one_describes:  # threads whose first runs end together: what git says is said once
        return _described(staging, runner)


def _described(staging: Staging, runner: Any) -> int | None:
    found = _known.get((staging.root, id(runner)))
    if found is not None and found[1] is not None and found[0]() is runner:
        return found[1]
    try:
        keep = functools.partial(keep_diff, staging) if getattr(runner, "git_diff", False) else None
        text = environment.describe(runner, keep)
        number = number_of(text)
        _write(staging, number, text)
    except Exception as error:  # noqa: BLE001  (as above)
        log.debug("the environment of a run could not be recorded: %s", error)
        return None
    _known[staging.root, id(runner)] = _reference(runner), number
    return number


def _begin_anew() -> None:
    global _one_describes
    _one_describes = threading.Lock()  # which another thread may have held at the fork


_one_describes = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _reference(runner: object) -> Callable[[], object]:
    """Return what tells a runner: a store that is dropped is not kept by that."""
    try:
        return weakref.ref(runner)
    except TypeError:
        return lambda: runner


def _name(number: int, ending: str) -> str:
    return f"{number:016x}{ending}"


def keep(staging: Staging, number: int, text: str) -> None:
    """Write what another store tells of an environment, unless it is there."""
    _write(staging, number, text)


def keep_diff(staging: Staging, text: str) -> int:
    """Write what differs from a commit, unless somebody has; return its number."""
    number = number_of(text)
    _write(staging, number, text, DIFF)
    return number


def _write(staging: Staging, number: int, text: str, ending: str = TOLD) -> None:
    if _read(staging, number, ending) is None:
        name = _name(number, ending)
        with opened(staging.root, FOLDER, make=True) as folder:
            put(folder, name, text.encode(), f"{name}.{os.getpid()}")


def read(staging: Staging, number: int) -> str | None:
    """Return what was written of an environment; None if nothing was, or if it says something else."""
    return _read(staging, number, TOLD)


def read_diff(staging: Staging, number: int) -> str | None:
    """Return what was written of how something differed from a commit; None if nothing was, or something else."""
    return _read(staging, number, DIFF)


def read_of_any(staging: Staging, number: int) -> str | None:
    """Return the same as `read`, of whatever database has used this results folder: one of them was lost."""
    return _read_of_any(staging, number, TOLD)


def read_diff_of_any(staging: Staging, number: int) -> str | None:
    """Return the same as `read_diff`, of whatever database."""
    return _read_of_any(staging, number, DIFF)


def _read_of_any(staging: Staging, number: int, ending: str) -> str | None:
    texts = (_read_in(root, number, ending) for root in roots(staging.results_dir).values())
    return next((text for text in texts if text is not None), None)


def _read(staging: Staging, number: int, ending: str) -> str | None:
    return _read_in(staging.root, number, ending)


def _read_in(root: str, number: int, ending: str) -> str | None:
    try:
        with opened(root, FOLDER) as folder:
            text = content(_name(number, ending), folder, LARGEST).decode("utf-8", "replace")
    except OSError:
        return None
    return text if number_of(text) == number else None
