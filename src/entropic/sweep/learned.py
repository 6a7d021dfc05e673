"""What `Slurm(time="learn", mem="learn")` asks for: as much as stored runs tell that the sets to be run will take.

By the high end of the range that holds nine runs of ten, with room for the start of a job, and in the bounds of the
partition, as Slurm tells them. A set that was killed for too little gets twice what it had, up to `MOST_GROWTH` times
of what was learned: `test_a_set_that_had_too_little_gets_twice_as_much_the_next_time`.
"""

import dataclasses
import heapq
import math
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from entropic.errors import ParameterError
from entropic.executors.contract import Executor
from entropic.executors.job_limits import bounds, memory_of, parse_memory, parse_time, time_of
from entropic.executors.jobs import Jobs
from entropic.executors.scheduler import LEARN, Slurm
from entropic.files.deaths import Death, deaths_of
from entropic.files.task import Task
from entropic.params.keys import Params
from entropic.params.model import Base
from entropic.protocol.context import ModelT, StoreContext
from entropic.support.show import brief, counted
from entropic.sweep.cost import MOST_ASKED, Costs
from entropic.sweep.forecast import FEWEST, Estimate, Forecast
from entropic.sweep.missing import Planned

START_SECONDS = 120.0  # of a job, before its first run: modules, imports from a folder on a network
LEAST_SECONDS = 300.0
SPARE = 1.1  # times as much as is expected; also what a task wants to have left before it begins another run
BESIDE_BYTES = 200 * 2**20  # of the process that looks after the runs of a task
LEAST_BYTES = 500 * 2**20  # of a task
GROWTH, MOST_GROWTH = 2, 16
TOO_LITTLE = {"time": "TIMEOUT", "mem": "OUT_OF_MEMORY"}
INSTEAD = {"time": 'time="2:00:00"', "mem": 'mem="4G"'}
HOW = {"time": "how long they took", "mem": "how much memory they held (runs of 10 ms or more do)"}


class _Needed(NamedTuple):
    """What a job needs: its time, and its memory on each node; None if it is not learned."""

    seconds: float | None
    bytes: float | None


class Learned:
    """What the jobs of a sweep are to ask for. It reads stored runs when it is first asked.

    Parameters
    ----------
    context
        Of the store, whose rows tell it.
    asked
        What the user asks for.
    stored
        Keys of runs that are like those to come.
    """

    def __init__(self, context: StoreContext[Base], asked: Slurm, stored: Sequence[str] = ()) -> None:
        self._context, self._asked, self._stored = context, asked, stored
        self.rest: Callable[[], Sequence[Params]] = list
        """Tells which sets are to be handed out after those that are."""
        self._latest: _Needed | None = None

    def check(self, sets: Sequence[Params]) -> None:
        """See that stored runs tell what some sets need.

        Raises
        ------
        ParameterError
            If they do not.
        """
        self._needs(sets)

    def of(self, tasks: Sequence[Task], asked: Slurm) -> Slurm:
        """Return what jobs ask for that run some sets that are handed out, and then their share of the `rest`.

        Parameters
        ----------
        asked
            What they ask for beside what is learned.

        Raises
        ------
        ParameterError
            If stored runs do not tell it. Only the first time: then jobs go on to ask for what they have asked for.
        SlurmError
            If `sinfo` does not tell what the partition allows; only the first time, too.
        """
        try:
            needed = self._latest = self._needs([*(task.params for task in tasks), *self.rest()])
        except ParameterError:  # a search may name such a set while jobs run the others
            if self._latest is None:
                raise
            needed = self._latest
        died = deaths_of(self._context.staging, [(task.key, task.attempt) for task in tasks])
        longest, largest = self._most
        found: dict[str, Any] = {}
        if needed.seconds is not None:
            wanted = _grown(needed.seconds, _had(died, "time", parse_time))
            found["time"] = time_of(min(wanted, longest))
        if needed.bytes is not None:
            wanted = _grown(needed.bytes, _had(died, "mem", parse_memory))
            found["mem"] = memory_of(min(wanted, largest))
        return dataclasses.replace(asked, **found)

    def _needs(self, sets: Sequence[Params]) -> _Needed:
        costs, seconds, memory = self._costs, None, None
        as_rows = [costs.spelled(one) for one in sets]
        if self._asked.time == LEARN:
            seconds = max(START_SECONDS + SPARE * self._seconds(costs.seconds, as_rows), LEAST_SECONDS)
        if self._asked.mem == LEARN:
            _, largest = self._predict("mem", costs.memory, as_rows)
            memory = self._asked.tasks_per_node * max(BESIDE_BYTES + SPARE * largest, LEAST_BYTES)
        return _Needed(seconds, memory)

    def _seconds(self, forecast: Forecast, sets: Sequence[Params]) -> float:
        """Return how long the task of a job is busy that gets its share of the sets, and the longest last."""
        expected, longest = self._predict("time", forecast, sets)
        some = sets if len(sets) <= MOST_ASKED else random.Random(0).sample(sets, MOST_ASKED)  # a grid has a period
        total, _ = forecast.sum_of(some)
        factor = expected / total.value if len(some) < len(sets) and total.value else 1.0
        tasks = self._asked.tasks * min(self._asked.array or 1, max(1, -(-len(sets) // self._asked.tasks)))
        share = _high(total.times(factor)) / tasks
        return share + longest if min(len(sets), tasks) > 1 else max(share, longest)

    def _predict(self, name: str, forecast: Forecast, sets: Sequence[Params]) -> tuple[float, float]:
        """Return what is expected of all sets together, and the most that one of them may need.

        Each set is looked at; for ranges, which take several times as long, those of which most is expected.
        """
        if forecast.runs < FEWEST:
            raise self._too_few(name, forecast.runs)
        expected = [forecast.value(one) for one in sets]
        said = [value for value in expected if value is not None]
        if len(said) < len(sets):
            unsaid = [one for one, value in zip(sets, expected, strict=True) if value is None]
            raise self._unsaid(name, forecast.runs, len(unsaid), forecast.new_in(unsaid[0]))
        largest = heapq.nlargest(MOST_ASKED, range(len(sets)), said.__getitem__)
        return sum(said), max((_high(forecast.of(sets[i])) for i in largest), default=0.0)

    @staticmethod
    def _too_few(name: str, runs: int) -> ParameterError:
        return ParameterError(
            f'{name}="{LEARN}" of Slurm needs at least {FEWEST} stored runs that tell {HOW[name]}, and there are '
            f"{runs}. {_instead(name)}"
        )

    @staticmethod
    def _unsaid(name: str, runs: int, unsaid: int, new: str | None) -> ParameterError:
        return ParameterError(
            f'{name}="{LEARN}" of Slurm cannot judge {counted(unsaid, "set")}: all {runs:,} stored runs that tell '
            f"{HOW[name]} have the same {brief(new)}, and {'this set has' if unsaid == 1 else 'these sets have'} "
            f"another. {_instead(name)}"
        )

    @cached_property
    def _costs(self) -> Costs:
        return Costs(self._context, self._stored)

    @cached_property
    def _most(self) -> tuple[float, float]:
        """The longest time and the largest memory of a node that jobs can have: asked once."""
        return bounds(self._asked)


def learn(context: StoreContext[Base], planned: Planned[ModelT], asked: Slurm, executor: Executor | None) -> Learned:
    """Return what tells for how much the jobs of a sweep ask, and tell its executor.

    A sweep that waits for all its sets has them judged here, before anything is claimed. One that does not wait
    leaves to others what they have; a search has no sets yet.

    Raises
    ------
    ParameterError
        If stored runs do not tell it.
    """
    learned = Learned(context, asked, [id for id in planned.rows if id not in planned.missing])
    if isinstance(executor, Jobs):
        executor.learned = learned.of
        if planned.missing:
            learned.check([request.params for request in planned.missing.values()])
    return learned


def _instead(name: str) -> str:
    return f"Give {INSTEAD[name]}, say, for these sets; nothing was submitted"


def _high(found: Estimate | None) -> float:
    """Return the high end of a range; of none, or one beyond all numbers, whatever a job can have."""
    return found.high if found is not None and found.high is not None and math.isfinite(found.high) else math.inf


def _had(died: Iterable[Death], name: str, parse: Callable[[str], float | None]) -> float:
    """Return the most that sets had which were killed for too little of it."""
    most = 0.0
    for one in died:
        limits = dict(word.split("=", 1) for word in one.had.split() if "=" in word)
        if TOO_LITTLE[name] in one.why and name in limits:
            most = max(most, parse(limits[name]) or 0.0)
    return most


def _grown(needed: float, had: float) -> float:
    return max(needed, min(GROWTH * had, MOST_GROWTH * needed))
