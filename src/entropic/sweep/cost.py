"""`Plan.cost`: what the sets of a plan would take, judging by the runs that are stored."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from entropic.db.raw import Raw
from entropic.errors import ParameterError, UnreadableError
from entropic.params.keys import RESERVED, Params
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import brief, counted, duration, html_table, named, roughly, visible
from entropic.support.sizes import amount
from entropic.sweep.forecast import FEWEST, Estimate, Forecast

SAMPLE = 500  # stored runs that are learned from
MOST_ASKED = 5_000  # sets that are looked at one by one for what is said of all of them


class SetCost(NamedTuple):
    """What one set would take; None where nothing can be said.

    Attributes
    ----------
    params : dict
        The set.
    seconds, memory : Estimate or None
        How long it would run, and how many bytes its process would hold at most.
    """

    params: Params
    seconds: Estimate | None
    memory: Estimate | None


@dataclass(frozen=True, slots=True, repr=False)
class Cost:
    """What the missing and the failed sets of a plan would take, judging by stored runs; print it.

    Each `Estimate` has a `value`, and a range from `low` to `high` that holds nine runs of ten: each stored run was
    predicted from the others to tell it. With fewer than 8 stored runs `low` and `high` are None.

    Attributes
    ----------
    each : list of SetCost
        Every set, in the order of the plan: the missing ones, then those that failed.
    seconds : Estimate or None
        All of them, one after another, but for the `unsaid` ones; None if none of them can be judged.
    memory : Estimate or None
        Bytes of the process of the set that needs most. A process that has run others before may hold more.
    runs, memory_runs : int
        How many stored runs times and memory were learned from: a sample of 500 at most.
    unsaid : int
        How many sets' times cannot be judged, since they have another value of a parameter that all stored runs share.
    new : str or None
        Such a parameter.
    """

    each: list[SetCost]
    seconds: Estimate | None
    memory: Estimate | None
    runs: int
    memory_runs: int
    unsaid: int = 0
    new: str | None = None

    def __str__(self) -> str:
        if not self.runs:
            return f"{counted(len(self.each), 'set')} to run; no stored run says how long it took"
        lines = [f"{counted(len(self.each), 'set')} to run, judging by {counted(self.runs, 'stored run')}"]
        lines += [f"  {line}" for line in self.lines()]
        known = [one for one in self.each if one.seconds is not None]
        if len(known) > 1:
            most = max(known, key=lambda one: _value(one.seconds))
            own = [(name, value) for name, value in most.params.items() if name not in RESERVED]
            lines.append(f"  the longest: {ranged(most.seconds, duration)}, {named(own)}")
        return visible("\n".join(lines))

    __repr__ = __str__

    def lines(self) -> list[str]:
        """Return what there is to say, in sentences; nothing without stored runs."""
        if not self.runs:
            return []
        found = []
        if self.seconds is not None:
            found.append(f"{ranged(self.seconds, duration)} of work left, if run one after another")
        if self.memory is not None:
            found.append(f"{ranged(self.memory, _bytes)} of memory at most in a process")
        if self.unsaid:
            found.append(
                f"{counted(self.unsaid, 'set')} cannot be judged: all stored runs have the same {brief(self.new)}, "
                f"and {'this set has' if self.unsaid == 1 else 'these sets have'} another"
            )
        if self.runs < FEWEST and self.seconds is not None:
            found.append(
                f"from {counted(self.runs, 'stored run')} alone, which are too few to tell how far that is off"
            )
        return found

    def _repr_html_(self) -> str:
        title, *lines = str(self).splitlines()
        return html_table([[line.strip()] for line in lines], title=title)


def ranged(found: Estimate | None, say: Callable[[float], str]) -> str:
    """Return a number as a person would say it, with its range."""
    if found is None:
        return "unknown"
    value = say(found.value)
    if found.low is None or found.high is None:
        return roughly(value)
    low, high = say(found.low), say(found.high)
    return roughly(value) if low == high == value else f"{roughly(value)} ({low} to {high})"


def _bytes(size: float) -> str:
    return amount(round(size))


def _value(found: Estimate | None) -> float:
    return 0.0 if found is None else found.value


class Costs:
    """What some stored runs tell of sets. It pickles, and learns only when it is asked.

    Parameters
    ----------
    context
        Of their store.
    stored
        Keys of runs that are like what will be asked for, if some are known; others are looked for beside them.
    """

    def __init__(self, context: StoreContext[Base], stored: Sequence[str] = ()) -> None:
        some = stored if len(stored) <= SAMPLE else random.Random(0).sample(stored, SAMPLE)  # not every n-th: see `of`
        raws = {context.rows.id_of(raw): raw for raw in context.rows.read_many(some)}
        if len(raws) < SAMPLE:
            raws = {**{context.rows.id_of(raw): raw for raw in context.rows.some(SAMPLE)}, **raws}
        self._typed: Callable[[Params], dict[str, object]] | None = context.schema.spelling.typed
        self._names = [name for name, field in context.schema.fields.items() if not field.generated]
        self._times: list[tuple[Params, float]] = []
        self._memory: list[tuple[Params, float]] = []
        timed = {id: params for id, raw in raws.items() if (params := self._read(context, raw)) is not None}
        for id, _, _, _, peak in context.origins.of(timed):
            if peak is not None:
                self._memory.append((timed[id], float(peak)))
        self._forecasts: dict[str, tuple[int, Forecast]] = {}

    def _read(self, context: StoreContext[Base], raw: Raw) -> Params | None:
        """Return the parameters of a stored run, and note how long it took; None if it does not say."""
        seconds = context.rows.seconds(raw)
        if seconds is None or not 0 <= seconds < float("inf"):
            return None
        try:
            values = context.rows.plain(raw)
        except UnreadableError:
            return None
        params = {name: values[name] for name in self._names}
        self._times.append((params, float(seconds)))
        return params

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_typed": None}  # which is the model's, and may not travel

    @property
    def seconds(self) -> Forecast:
        """What is known of times."""
        return self._learn("times", self._times)

    @property
    def memory(self) -> Forecast:
        """What is known of memory."""
        return self._learn("memory", self._memory)

    def _learn(self, what: str, known: list[tuple[Params, float]]) -> Forecast:
        count, found = self._forecasts.get(what, (-1, None))
        if found is None or len(known) >= 2 * count:
            found = Forecast([params for params, _ in known], [value for _, value in known])
            self._forecasts[what] = len(known), found
        return found

    def add(self, params: Params, seconds: float) -> None:
        """Learn from one more run."""
        self._times.append((self.spelled(params), seconds))

    def spelled(self, params: Params) -> Mapping[str, object]:
        """Return a set as its row would say it."""
        if self._typed is not None:
            try:
                return self._typed({name: value for name, value in params.items() if name in self._names})
            except ParameterError:  # True for a number, say, which not every store refuses
                pass
        return params

    def of(self, sets: Sequence[Params], most: int | None = None) -> Cost:
        """Return what some sets would take; of more than so many, a sample tells what all of them would take."""
        factor = 1.0
        if most is not None and len(sets) > most:
            factor = len(sets) / most
            sets = random.Random(0).sample(sets, most)  # not every n-th: a grid has a period
        seconds, memory = self.seconds, self.memory
        spelled = [self.spelled(one) for one in sets]
        each = [SetCost(one, seconds.of(as_row), memory.of(as_row)) for one, as_row in zip(sets, spelled, strict=True)]
        if not seconds.runs:
            return Cost(each, None, None, 0, memory.runs)
        total, unsaid = seconds.sum_of(spelled)
        new = next((name for one in spelled if (name := seconds.new_in(one)) is not None), None) if unsaid else None
        peaks = [one.memory for one in each if one.memory is not None]
        said = total.times(factor) if unsaid < len(sets) or not sets else None
        return Cost(each, said, max(peaks, default=None), seconds.runs, memory.runs, math.ceil(unsaid * factor), new)
