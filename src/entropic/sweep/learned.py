"""What `Slurm(time="learn", mem="learn")` asks for: as much as stored runs tell that the sets to be run will take.

By the high end of the range that holds nine runs of ten, with room for the start of a job, and in the bounds of the
partition, as Slurm tells them. A set that was killed for too little gets twice what it had, up to `MOST_GROWTH` times
of what was learned: `test_a_set_that_had_too_little_gets_twice_as_much_the_next_time`.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from entropic.errors import ParameterError
from entropic.executors.contract import Executor
from entropic.executors.jobs import Jobs
from entropic.executors.limits import bounds, memory_of, parse_memory, parse_time, time_of
from entropic.executors.scheduler import LEARN, Slurm
from entropic.files.deaths import Death, deaths_of
from entropic.files.task import Task
from entropic.params.keys import Params
from entropic.params.model import Base
from entropic.protocol.context import ModelT, StoreContext
from entropic.support.show import brief, counted
from entropic.sweep.cost import MOST_ASKED, Cost, Costs
from entropic.sweep.forecast import FEWEST, Estimate
from entropic.sweep.missing import Planned

START_SECONDS = 120.0  # of a job, before its first run: modules, imports from a folder on a network
LEAST_SECONDS = 300.0
SPARE = 1.1  # times as much as is expected; also what a task wants to have left before it begins another run
BESIDE_BYTES = 200 * 2**20  # of the process that looks after the runs of a task
LEAST_BYTES = 500 * 2**20  # of a task
GROWTH, MOST_GROWTH = 2, 16
TOO_LITTLE = {"time": "TIMEOUT", "mem": "OUT_OF_MEMORY"}
INSTEAD = {"time": 'time="2:00:00"', "mem": 'mem="4G"'}


class _Needed(NamedTuple):
    """What a job needs: its time, and its memory on each node; None if it is not learned."""

    seconds: float | None
    bytes: float | None


class Learned:
    """What the jobs of a sweep are to ask for.

    Parameters
    ----------
    context
        Of the store, whose rows tell it.
    asked
        What the user asks for.
    stored
        Keys of runs that are like those to come.
    sets
        What is to be run.

    Raises
    ------
    ParameterError
        If the stored runs do not tell it.
    """

    def __init__(
        self, context: StoreContext[Base], asked: Slurm, stored: Sequence[str], sets: Sequence[Params]
    ) -> None:
        self._asked, self._costs = asked, Costs(context, stored)
        self._staging = context.staging
        self._bounds: tuple[float, float] | None = None
        self._all: Sequence[Params] | None = sets
        self._needs(sets)

    def of(self, tasks: Sequence[Task], asked: Slurm) -> Slurm:
        """Return what jobs ask for that run some sets: at first, with all that are to be run after them.

        Parameters
        ----------
        asked
            What they ask for beside what is learned.
        """
        sets, self._all = self._all or [task.params for task in tasks], None
        needed = self._needs(sets)
        died = deaths_of(self._staging, [(task.key, task.attempt) for task in tasks])
        longest, largest = self._most()
        found: dict[str, Any] = {}
        if needed.seconds is not None:
            wanted = _grown(needed.seconds, _had(died, "time", parse_time))
            found["time"] = time_of(min(wanted, longest))
        if needed.bytes is not None:
            wanted = _grown(needed.bytes, _had(died, "mem", parse_memory))
            found["mem"] = memory_of(min(wanted, largest))
        return dataclasses.replace(asked, **found)

    def _needs(self, sets: Sequence[Params]) -> _Needed:
        cost, seconds, memory = self._costs.of(sets, MOST_ASKED), None, None
        if self._asked.time == LEARN:
            seconds = max(START_SECONDS + SPARE * self._seconds(cost, len(sets)), LEAST_SECONDS)
        if self._asked.mem == LEARN:
            memory = self._asked.tasks_per_node * max(BESIDE_BYTES + SPARE * self._memory(cost), LEAST_BYTES)
        return _Needed(seconds, memory)

    def _seconds(self, cost: Cost, count: int) -> float:
        """Return how long the task of a job is busy that gets its share of the sets, and the longest last."""
        each = [_high(one.seconds) for one in cost.each]
        if cost.seconds is None or cost.seconds.high is None or not all(map(math.isfinite, each)):
            raise self._refusal("time", "took", cost.runs, cost)
        jobs = min(self._asked.array or 1, -(-count // self._asked.tasks))
        share = cost.seconds.high / (self._asked.tasks * jobs)
        longest = max(each, default=0.0)
        return share + longest if min(count, self._asked.tasks * jobs) > 1 else max(share, longest)

    def _memory(self, cost: Cost) -> float:
        each = [_high(one.memory) for one in cost.each]
        if not all(map(math.isfinite, each)):
            raise self._refusal("mem", "held", cost.memory_runs, cost)
        return max(each, default=0.0)

    def _refusal(self, name: str, what: str, runs: int, cost: Cost) -> ParameterError:
        do = f"Give {INSTEAD[name]}, say, for these sets; nothing was submitted"
        how = "how long they took" if what == "took" else "how much memory they held (runs of 10 ms or more do)"
        if runs < FEWEST:
            return ParameterError(
                f'{name}="{LEARN}" of Slurm needs at least {FEWEST} stored runs that tell {how}, and there are {runs}. '
                f"{do}"
            )
        parameter = f"{brief(cost.new)} is" if cost.new is not None else "a parameter is"
        sets = f"of {counted(cost.unsaid, 'set')} " if cost.unsaid else "of some sets "
        return ParameterError(
            f'{name}="{LEARN}" of Slurm: {sets}nothing can be said, as {parameter} the same in all of the '
            f"{counted(runs, 'stored run')} that tell {how}, and another one there. {do}"
        )

    def _most(self) -> tuple[float, float]:
        """Return the longest time and the largest memory of a node that jobs can have: asked once."""
        if self._bounds is None:
            self._bounds = bounds(self._asked)
        return self._bounds


def learn(context: StoreContext[Base], planned: Planned[ModelT], asked: Slurm, executor: Executor | None) -> Learned:
    """Return what tells for how much the jobs of a sweep ask, and tell its executor.

    Raises
    ------
    ParameterError
        If stored runs do not tell it.
    """
    stored = [id for id in planned.rows if id not in planned.missing]
    learned = Learned(context, asked, stored, [request.params for request in planned.missing.values()])
    if isinstance(executor, Jobs):
        executor.learned = learned.of
    return learned


def _high(found: Estimate | None) -> float:
    return math.inf if found is None or found.high is None else found.high


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
