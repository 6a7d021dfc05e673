"""A task of a job, on its node: it takes bundles out of the spool, has each run by a process of its own, and says so.

The runs are those of `workers=1`: a run that crashes takes nothing else along, can be ended, and has a log of its own.
This process only looks after them, and so gives its signs of life whatever a runner does to its interpreter.

Slurm says SIGTERM some seconds before it kills a job, to the programs that a run has started, too. From then on nothing
begins here; what runs may still finish, and what fails has not failed:
`test_all_jobs_cancelled_by_somebody_end_the_sweep`. Nor does a run begin that would not end before its job, if it took
as long as others: another job has it (`test_a_run_that_may_not_end_in_time_is_left_to_another_job`). One that took
most of a job's time is not the measure of all others (`test_one_long_run_leaves_the_others_their_jobs`).

Where no sweep waits (`left` is in the spool), a task puts back by itself what it does not begin, since nobody else
would soon, and ends as soon as there is nothing to take: `test_jobs_that_nobody_waits_for_go_on_by_themselves`.
"""

import contextlib
import itertools
import logging
import os
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from entropic.errors import EntropicError
from entropic.executors.contract import Ending
from entropic.executors.pickling import packed, unpacked
from entropic.executors.processes import THREADS
from entropic.executors.resources import AS_FOUND, Resources
from entropic.executors.script_setup import Surroundings
from entropic.executors.spool import (
    END,
    LEFT,
    LUGGAGE,
    SILENT_SECONDS,
    SWEEP,
    Forged,
    Heart,
    Name,
    Patience,
    Spool,
    job_of,
)
from entropic.executors.work import Report, report_of
from entropic.executors.workers import Workers
from entropic.files.task import Task

log = logging.getLogger("entropic")
START = "import sys; sys.path[:] = {path!r}; from entropic.executors.node import main; main()"
KEY = "ENTROPIC_SPOOL_KEY"
JOB_END = "ENTROPIC_JOB_END"
SAY_SECONDS = 0.2  # between two reports, if many runs end
CHECK_SECONDS = 2.0  # between two checks whether anything is wanted, while a run is under way
IDLE_SECONDS = 60.0  # without a set, after which the job gives its place to others
SIGNAL_SECONDS = 0.1  # in which all processes of a job get a signal, if the first one has
DYING_SECONDS = 2.0  # in which they are all killed, if the first one is
SPARE = 1.1  # times as long as a run is expected to take: what must be left of a job's time for another one
RECENT = 20  # runs that tell how long the next one takes, where the longest of all says too little
NEARLY_ALL = 0.9  # of a job's time: what is left of it for a set that had too little in another job
MOST_OF_THEM = 0.9  # of these take no longer than is expected of the next one


class Packed(NamedTuple):
    """What each task needs before the first set.

    Attributes
    ----------
    surroundings
        Those of the script.
    runner
        As it travels.
    timeout
        Seconds that a run may take, or None.
    resources
        What each run gets.
    """

    surroundings: Surroundings
    runner: bytes
    timeout: float | None
    resources: Resources = AS_FOUND


class Given(NamedTuple):
    """A bundle, as it travels, and how many seconds runs of the sweep have taken: the longest, and the latest few."""

    tasks: bytes
    longest: float
    recent: list[float]


class Said(NamedTuple):
    """What a task says: what has become of attempts, or why it cannot go on."""

    reports: list[tuple[str, Report | None]]
    trouble: str = ""


def heard(spool: Spool, names: Iterable[Name]) -> Iterator[tuple[str, str, Said]]:
    """Yield what tasks have said that is in the spool: the name of the file, the task, and what it says.

    What no task has said says nothing.
    """
    for one in names:
        if one.kind != "said":
            continue
        name = f"{one.number}.{one.task}.said"
        try:
            said: Said = pickle.loads(spool.get(name))
        except FileNotFoundError:  # somebody else looks, too
            continue
        except Forged as error:
            log.warning("%s; it is left out", error)
            said = Said([])
        yield name, one.task, said


class Desk:
    """Takes bundles, and says what has become of them.

    Parameters
    ----------
    spool
        Its end of the folder.
    name
        Of this task.
    end
        When the job ends, in seconds since the epoch; None if it may run for ever.
    """

    def __init__(self, spool: Spool, name: str, end: float | None = None) -> None:
        self._spool, self._name, self._end = spool, name, end
        self._span = 0.0 if end is None else end - time.time()
        self._longest, self._has_begun = 0.0, False
        self._elsewhere: list[float] = []  # how long the latest runs of the sweep took, when the bundle was made
        self._here: deque[float] = deque(maxlen=RECENT)  # and those of this task
        self._said: list[tuple[str, Report | None]] = []
        self._count, self._said_at, self._checked_at = 0, 0.0, 0.0
        self._left: deque[Task] = deque()  # of the bundle that it has
        self._number = 0  # of that
        self._is_alone = spool.has(LEFT)  # no sweep waits
        self._unbegun: list[Task] = []  # where it is: what is to be put back
        self._has_company = False  # another task of this job has one, at the latest look
        self._under_way: set[str] = set()  # attempts that were handed out, and of which nothing is known yet
        self.is_ending = False
        """Whether the job is about to be killed: nothing begins any more."""
        self.is_over = False
        """Whether nobody wants anything any more: what runs is to be ended."""

    def tasks(self) -> Iterator[Task | None]:
        """Yield what is to be run, one after the other; None while there is nothing."""
        patience, idle_since, is_new = Patience(0.05, 1.0), time.monotonic(), False
        while not self.is_ending and not self.is_over and self._has_time():
            if self._left:
                self._has_begun = True
                self._under_way.add(self._left[0].attempt)
                yield self._left.popleft()
                is_new = True
            elif is_new:
                patience, idle_since, is_new = Patience(0.05, 1.0), time.monotonic(), False
                yield None  # what was handed out begins before another bundle is taken
            else:
                self._put_back()
                if not self._is_wanted() or time.monotonic() - idle_since > IDLE_SECONDS:
                    return
                if not self._take():
                    if self._is_alone:
                        return
                    if self._has_company:  # a job gives its place to others only as a whole
                        idle_since = time.monotonic()
                    patience.wait()
                    yield None
        self._hand_back()

    def _has_time(self) -> bool:
        """Tell whether another run would end before the job, as far as can be told.

        The first one begins in any case: it has no more time in any other job.
        """
        if self._end is None or not self._has_begun or time.time() + SPARE * self._expected() <= self._end:
            return True
        left = max(0.0, self._end - time.time())
        print(
            f"entropic: this job ends in {left:.0f} s, and runs of this sweep take up to {self._expected():.3g} s: "
            "no more begins here, and what is left is for another job",
            file=sys.stderr,
        )
        return False

    def _has_all_its_time(self) -> bool:
        """Tell whether a run may take as long as in any other job: nothing has begun here yet, or only just now."""
        return not self._has_begun or self._end is None or self._end - time.time() >= NEARLY_ALL * self._span

    def _expected(self) -> float:
        """Return how many seconds another run may take: as many as the longest so far, if two of these fit into a job.

        Else one such run would leave a job of its own to each of the others, however short. Then it is as long as nine
        of ten of the latest have taken.
        """
        recent = sorted([*self._elsewhere, *self._here][-RECENT:])
        if 2 * self._longest <= self._span or not recent:
            return self._longest
        return recent[int(MOST_OF_THEM * (len(recent) - 1))]

    def _take(self) -> bool:
        """Take the bundle that waits longest, if there is one: first one that needs the whole time of a job."""
        try:
            self._spool.beat(self._name)
            names, job = self._spool.listing(), job_of(self._name)
            self._has_company = any(one.kind == "doing" and job_of(one.task) == job for one in names)
            kinds = ["again", "todo"] if self._has_all_its_time() else ["todo"]
            for kind, one in itertools.product(kinds, names):
                put, taken = f"{one.number}.{kind}", f"{one.number}.{self._name}.doing"
                if one.kind == kind and self._spool.rename(put, taken):
                    data = self._spool.get(taken, put)
                    break
            else:
                return False
        except FileNotFoundError:  # the sweep has ended
            return False
        try:
            self._number = one.number
            given: Given = pickle.loads(data)
            self._longest, self._elsewhere = max(self._longest, given.longest), given.recent
            self._left.extend(unpacked(given.tasks))
        except Exception as error:
            raise EntropicError(f"params cannot be loaded: {type(error).__qualname__}: {error}") from error
        return True

    def _is_wanted(self) -> bool:
        """Tell whether the sweep goes on: it has not ended, lives, and nobody has cleared up after it."""
        if self._is_alone:
            return not self._spool.has(END)
        try:
            return not self._spool.has(END) and self._spool.silence(SWEEP, self._name) < SILENT_SECONDS
        except FileNotFoundError:
            return False

    def check_in(self) -> None:
        """See, while a run is under way, whether it is still wanted, and say what is to be said."""
        if time.monotonic() - self._said_at > SAY_SECONDS:
            self.flush()
        if time.monotonic() - self._checked_at > CHECK_SECONDS:
            self._checked_at = time.monotonic()
            self.is_over = self._spool.has(END)  # without the sweep, what runs may finish: others take it in
        if self.is_ending:
            self._hand_back()

    def say(self, ending: Ending) -> None:
        """Say what has become of a set."""
        if ending.seconds is not None:
            self._longest = max(self._longest, ending.seconds)
            self._here.append(ending.seconds)
        if ending.failure is not None:
            self._wait_for_own_end(DYING_SECONDS if ending.failure["type"] == "WorkerDied" else SIGNAL_SECONDS)
            if self.is_ending:
                return  # it, or the program that it runs, was ended with its job, and is no failure
        self._under_way.discard(ending.task.attempt)
        if ending.unbegun and self._is_alone:
            self._unbegun.append(ending.task)
        else:
            self._said.append((ending.task.attempt, report_of(ending)))
        if ending.unbegun:
            self._hand_back()  # others may run what waits behind a long run
        if ending.failure is not None or ending.unbegun or time.monotonic() - self._said_at > SAY_SECONDS:
            self.flush()

    def _wait_for_own_end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.is_ending and time.monotonic() < deadline:
            time.sleep(0.02)

    def give_up(self, error: Exception) -> None:
        """Say that no set can run here, unless that is so since the job ends."""
        self._wait_for_own_end(DYING_SECONDS)
        if not self.is_ending:
            self.flush(f"{type(error).__qualname__}: {error}")

    def _hand_back(self) -> None:
        """Say of what has not begun that it will not begin here."""
        if self._is_alone:
            self._unbegun += self._left
            self._left.clear()
        while self._left:
            self._said.append((self._left.popleft().attempt, None))

    def _put_back(self) -> None:
        """Say what there is to say of a bundle; where no sweep waits, have done with it, too.

        What is left of it goes back only once it is nobody's: so it is never in two places. If this is killed in
        between, it is in none, and is free when the jobs are over.
        """
        self.flush()
        if not self._is_alone or not self._number:
            return
        number, self._number = self._number, 0
        left, self._unbegun = self._unbegun, []
        with contextlib.suppress(FileNotFoundError):
            self._spool.remove([f"{number}.{self._name}.doing"])
            if left:
                data = Given(packed(left), self._longest, [*self._here])
                self._spool.put(f"{number}.todo", pickle.dumps(data))

    def flush(self, trouble: str = "") -> None:
        """Write down what there is to say."""
        if trouble or self._said:
            with contextlib.suppress(FileNotFoundError):  # nobody hears it; what is finished is on the disk
                data = pickle.dumps(Said(self._said, trouble))
                self._spool.put(f"{self._count}.{self._name}.said", data)
            self._said, self._count = [], self._count + 1
        self._said_at = time.monotonic()

    def close(self) -> None:
        """Say what is left."""
        self._hand_back()
        self.flush()
        if not self._under_way:  # else whoever looks at the jobs sees what has become of that
            self._put_back()


def main() -> None:
    """Run sets until none are left, or time is up."""
    spool = Spool(sys.argv[1], bytes.fromhex(os.environ.pop(KEY)))
    desk = Desk(spool, name := _name(), _end(os.environ.pop(JOB_END, "")))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: setattr(desk, "is_ending", True))
    try:
        packed: Packed = pickle.loads(spool.get(LUGGAGE))
        heart = Heart(spool, name)
    except FileNotFoundError:
        print(f"entropic: the sweep of this job has ended, or {spool.folder} is not seen from here", file=sys.stderr)
        return
    packed.surroundings.settle()
    for variable in THREADS:
        os.environ.setdefault(variable, os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    workers = None
    try:
        workers = Workers(1, packed.runner, packed.timeout, resources=packed.resources.in_task())
        with contextlib.closing(workers.run(desk.tasks())) as endings:
            for ending in endings:
                if ending is not None:
                    desk.say(ending)
                desk.check_in()
                if desk.is_over:
                    break
    except (EntropicError, Forged) as error:
        desk.give_up(error)
        raise
    finally:
        heart.close()
        if workers is not None:
            workers.close()
        desk.close()


def _end(told: str) -> float | None:
    """Return when the job ends, as Slurm tells: in seconds since the epoch, or as local time; None if it does not."""
    try:
        told = told.rpartition("=")[2].strip()
        return float(told) if told.isdigit() else datetime.fromisoformat(told).timestamp()
    except ValueError:  # it says NONE, or Unknown, or nothing
        return None


def _name() -> str:
    """Return the name of this task: `<job>-<restart>-<process>`."""
    known: Any = os.environ
    job = known["SLURM_JOB_ID"]
    if "SLURM_ARRAY_TASK_ID" in known:
        job = f"{known['SLURM_ARRAY_JOB_ID']}_{known['SLURM_ARRAY_TASK_ID']}"
    return f"{job}-{known.get('SLURM_RESTART_COUNT', '0')}-{known.get('SLURM_PROCID', '0')}"
