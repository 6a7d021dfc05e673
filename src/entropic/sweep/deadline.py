"""Until when a sweep may last: which set can still end in time, by what stored runs, and its own, tell.

A run that has begun is never ended by a deadline. Where sets wait in a pool or in jobs, the worker that takes one looks
again, by its own clock.
"""

import re
import time

from entropic.errors import ParameterError
from entropic.params.fields import is_duration
from entropic.params.keys import Params
from entropic.support.show import spelled
from entropic.sweep.cost import Costs

MOST_LEARNED = 2_000  # runs
_UNITS = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
_PART = r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|)"
_TEXT = re.compile(rf"(?:\s*{_PART}\s*)+", re.ASCII)


def seconds_of(given: object) -> float:
    """Return how many seconds a user means by a number, `"2h"`, `"1h 30min"` or `"90s"`.

    Raises
    ------
    ParameterError
        If it is no time above 0.
    """
    found = given
    if isinstance(given, str) and _TEXT.fullmatch(given.lower()):
        found = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, given.lower()))
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
    left
        How many sets were not begun.
    """

    def __init__(self, given: object) -> None:
        self.given = given
        self._ends = time.monotonic() + seconds_of(given)
        self.left = 0
        self._costs: Costs | None = None

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
        """Return when a set has to begin at the latest, in seconds since 1970."""
        end = time.time() + self._ends - time.monotonic()
        expected = None if self._costs is None else self._costs.seconds.value(self._costs.spelled(params))
        return end - (expected or 0.0)
