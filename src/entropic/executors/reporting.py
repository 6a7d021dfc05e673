"""`report`: a run says, from inside of its runner, how far it is.

It is called in loops: most calls only look at the clock. What it says is lost rather than the run: whatever goes wrong
here is none of the runner's business.
"""

import contextlib
import contextvars
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from typing import Any

from entropic.executors import threads
from entropic.files import reports
from entropic.files.reports import LONGEST_TEXT, MOST_VALUES, is_plain
from entropic.files.task import Inside, inside
from entropic.support.job import job
from entropic.support.names import key_of

log = logging.getLogger("entropic")
SECONDS = 0.25  # between two times that a run's report is written down
Listener = Callable[[float | None, Mapping[str, Any]], None]

under_way: list[Inside] = []
"""The runs that this process executes now: a thread that a runner has started is in no run, and finds its own here."""
_due: dict[Inside, float] = {}  # when the next report of a run is worth writing down, by the monotonic clock
_listener: contextvars.ContextVar[tuple[int, Listener] | None] = contextvars.ContextVar("listener", default=None)


def report(step: float | None = None, total: float | None = None, **values: object) -> None:
    """Say how far the run is that calls this: it shows in the bar of its sweep, and in `status`, on all machines.

    Cheap enough for a loop: it is written down four times a second at most. Outside of a run it does nothing.

    Parameters
    ----------
    step, total
        How far it is, and how far it goes, in any unit: 300 of 1000 steps, 12.5 of 40 seconds.
    **values
        What else is worth a look: numbers, or short texts (`loss=0.12`). What is neither is shown as its text.
    """
    runs = inside.get()
    if runs and runs[-1] in under_way:  # a run that is over may have left a thread with its context
        run = runs[-1]
        listener = _listener.get()
        if listener is not None and listener[0] == len(runs):
            listener[1](step, values)
    elif len(under_way) == 1:
        run = under_way[0]
    else:
        return
    now = time.monotonic()
    if now < _due.get(run, 0.0):
        return
    _due[run] = now + SECONDS
    try:
        _write(run, step, total, values)
    except Exception as error:  # noqa: BLE001  (of a value's own methods, too: a run is not lost for it)
        log.debug("what %s reports could not be written: %s", run.id, error)


def _write(run: Inside, step: object, total: object, values: Mapping[str, object]) -> None:
    said = {name[:LONGEST_TEXT]: _plain(value) for name, value in list(values.items())[:MOST_VALUES]}
    far = {"step": _number(step), "total": _number(total)}
    where = {"at": time.time(), "host": platform.node()[:LONGEST_TEXT], "pid": os.getpid(), "job": job() or ""}
    reports.write(run.staging, key_of(run.model, run.id), run.attempt, {**far, "values": said, **where})


def _plain(value: Any) -> float | str:
    """Return a number, be it one of numpy's, torch's or jax's, or a short text."""
    if is_plain(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    with contextlib.suppress(Exception):
        found = _number(value)
        if found is not None:
            return found
    return str(value)[:LONGEST_TEXT]


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, bool | str):
        return None
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, int | float) and isinstance(value, Real):
        value = float(value)
    return value if isinstance(value, int | float) and is_plain(value) else None


def begin(run: Inside) -> None:
    """Take note that a run begins in this process."""
    if not under_way:
        threads.begin()
    under_way.append(run)


def end(run: Inside) -> None:
    """Take note that a run is over in this process."""
    try:  # sooner than `suppress`: every run comes by
        under_way.remove(run)
    except ValueError:  # an interrupt came before it was there
        pass
    if not under_way:
        threads.end()
    if _due and run in _due:
        del _due[run]
        reports.discard(run.staging, key_of(run.model, run.id), run.attempt)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have a function called with each report, `step` and `values`, of the runs that this thread begins meanwhile.

    It is called where the run is, so only in runs of this thread, and not by runs inside of those. What it raises comes
    out of `report`, and ends the run: that is how an optimiser prunes.
    """
    token = _listener.set((len(inside.get()) + 1, listener))
    try:
        yield
    finally:
        _listener.reset(token)
