"""Until when a sweep may last: which set can still end in time, by what stored runs, and its own, tell.

A run that has begun is never ended by a deadline. Where sets wait in a pool or in jobs, the worker that takes one looks
again, by its own clock.
"""

import contextlib
import time

from entropic.errors import ParameterError
from entropic.params.fields import is_duration
from entropic.params.keys import Params
from entropic.support.durations import parse_duration
from entropic.support.show import duration, spelled
from entropic.sweep.cost import Costs
from entropic.sweep.forecast import Estimate

MOST_LEARNED = 2_000  # runs


def _seconds(given: object) -> float:
    found = given
    if isinstance(given, str):
        with contextlib.suppress(ValueError):
            found = parse_duration(given)
    if not is_duration(found):
        raise ParameterError(
            f"deadline must be a number of seconds above 0, or such as '2h' or '90min', not {spelled(given)}"
        )
    return float(found)  # type: ignore[arg-type]


class Deadline:
    """When a call is to be over.

    Parameters
    ----------
    given
        As the user says it; it counts from now.

    Attributes
    ----------
    seconds
        How long it is.
    left
        How many sets have no row by it: they were not begun, or still run elsewhere.

    Raises
    ------
    ParameterError
        If it is not a length of time above 0.
    """

    def __init__(self, given: object) -> None:
        self.seconds = _seconds(given)
        self._ends = time.monotonic() + self.seconds
        self.left = 0
        self._costs: Costs | None = None

    def __str__(self) -> str:
        return f"the deadline of {duration(self.seconds) if self.seconds >= 1 else f'{self.seconds:g} seconds'}"

    @property
    def is_over(self) -> bool:
        """Whether no run may begin any more."""
        return time.monotonic() >= self._ends

    def learn_from(self, costs: Costs) -> None:
        """Know what stored runs tell."""
        self._costs = costs

    def add(self, params: Params, seconds: object) -> None:
        """Learn from a run of the sweep itself."""
        known = self._costs is not None and self._costs.seconds.runs < MOST_LEARNED
        if self._costs is not None and known and isinstance(seconds, int | float) and is_duration(seconds):
            self._costs.add(params, seconds)

    def begin_by(self, params: Params) -> float:
        """Return when a set has to begin at the latest, in seconds since 1970: only what surely ends too late is not.

        By the lower end of the range: a set that is held back wrongly would never begin, and nothing be learned from
        it. Of fewer runs than give a range, nothing follows.
        """
        end = time.time() + self._ends - time.monotonic()
        expected = self._expected(params)
        return end if expected is None or expected.low is None else end - expected.low

    def _expected(self, params: Params) -> Estimate | None:
        return None if self._costs is None else self._costs.seconds.of(self._costs.spelled(params))

    def too_long(self, params: Params) -> float | None:
        """Return how many seconds a set needs that is too long for this deadline even alone; None: it is not."""
        expected = self._expected(params)
        return None if expected is None or (expected.low or 0.0) <= self.seconds else expected.value
