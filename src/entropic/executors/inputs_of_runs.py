"""What the runs that this process executes have read of stores, until it is written into their sidecars.

It is noted where a row is read (`protocol/note_inputs.py`), and only while something runs here.
"""

import os
from collections.abc import Callable, Iterable

from entropic.executors import threads
from entropic.executors.reporting import under_way
from entropic.files.task import Inside, inside
from entropic.provenance.input import Input

_noted: dict[Inside, dict[tuple[str, str, str], Input]] = {}


def current() -> Inside | None:
    """Return the run that this thread is in; of a thread that a runner has started, the only one of this process."""
    runs = inside.get()
    if runs and runs[-1] in under_way:  # else it is what a run has left that is over, such as a task of asyncio
        return runs[-1]
    return under_way[0] if len(under_way) == 1 and not threads.is_stranger() else None


def note(run: Inside, inputs: Iterable[Input]) -> None:
    """Note that a run has read rows, of databases that are all named; what it reads again counts as it was first."""
    own = os.path.basename(run.staging)
    for one in inputs:
        if one[:3] == (own, run.model, run.id):
            continue  # its own earlier result, which it replaces
        found = one._replace(database="") if one.database == own else one
        _noted.setdefault(run, {}).setdefault(found[:3], found)


def known(run: Inside, database: str) -> Callable[[str, str], bool]:
    """Return the function that tells, given a model and a key, whether a run has read that row of a database before."""
    found, named = _noted.get(run, {}), "" if database == os.path.basename(run.staging) else database
    return lambda model, id: (named, model, id) in found


def taken(run: Inside) -> tuple[Input, ...]:
    """Return what a run has read, which is over."""
    return tuple(_noted.pop(run, {}).values()) if _noted else ()
