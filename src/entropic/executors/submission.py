"""Jobs for which no sweep waits: their spool, which stays until they are over, and what is seen in it by whoever looks.

The sets of a submission belong to it, and to no process (`protocol/submitted.py`). Its tasks take bundles as those of
any job do (`spool`, `node`), and end when none is left. Several processes may look at once: whatever they do with what
they see can be done twice.
"""

import contextlib
import errno
import os
import pickle
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from entropic.errors import SlurmError
from entropic.executors.batch import name_of_jobs, script_of
from entropic.executors.node import Given, Packed, heard
from entropic.executors.pickling import Sending, dumped, packed, pickled
from entropic.executors.queue import Queue, printed, why_it_ended
from entropic.executors.resources import AS_FOUND, Resources
from entropic.executors.scheduler import Inquiry, Job, Scheduler, Slurm
from entropic.executors.script_setup import Surroundings
from entropic.executors.spool import (
    END,
    INDEX,
    LEFT,
    LUGGAGE,
    SILENT_SECONDS,
    SWEEP,
    Forged,
    Name,
    Spool,
    job_of,
)
from entropic.executors.work import Report
from entropic.files import sidecar as sidecars
from entropic.files.place import remove_tree
from entropic.files.staging import SUBMISSIONS, Staging
from entropic.files.task import Task
from entropic.support.importing import importing

REQUESTS = "requests"
MOST_BUNDLES = 5_000  # files in the spool: beyond that several sets are in one
UNSEEN_SECONDS = 65.0  # in which a network folder shows what another machine has written
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, None}  # or something else has its name


class SubmissionOptions(NamedTuple):
    """How a submission is to be run: as the options of a sweep say."""

    asked: Slurm
    sending: Sending
    timeout: float | None
    retries: int
    retries_alone: int
    resources: Resources = AS_FOUND


class Member(NamedTuple):
    """A set of a submission."""

    id: str
    key: str
    attempt: str


class Index(NamedTuple):
    """What a submission is.

    Attributes
    ----------
    model
        Of its sets: the name of their table.
    jobs
        The name of its jobs.
    most
        How many there are.
    retries
        How often a set runs again that a job has taken along.
    retries_alone
        The same, of one whose run alone was killed, or took too long.
    bundles
        Its sets, by the number of their bundle, in the order in which they run.
    asked
        For how much time and memory its jobs ask, as options; "" if for what the site gives.
    """

    model: str
    jobs: str
    most: int
    retries: int
    retries_alone: int
    bundles: dict[int, list[Member]]
    asked: str = ""


class Lost(NamedTuple):
    """A bundle whose task is gone.

    Attributes
    ----------
    task, job, why
        Which task that was, of which job, and why it is gone, in Slurm's words.
    members
        What it had not finished: the first of them it ran.
    """

    name: str
    task: str
    job: str
    why: str
    members: list[Member]


class Submission:
    """One end of it.

    Parameters
    ----------
    staging
        In which its spool is.
    number
        Its own.
    secret
        With which everything in the spool is sealed.
    inquiry
        By which the queue is asked for the jobs of others, too; None for one of its own.
    """

    def __init__(self, staging: Staging, number: int, secret: bytes, inquiry: Inquiry | None = None) -> None:
        self.staging, self.number, self._secret = staging, number, secret
        self._inquiry = inquiry
        self.folder = path_of(staging, number)
        self._spool = Spool(self.folder, secret)
        self._index: Index | None = None
        self._queue: Queue | None = None
        self._names: list[Name] = []

    # ---- submitting --------------------------------------------------------------------------------------------
    def fill(self, tasks: Sequence[Task], requests: object, options: SubmissionOptions) -> None:
        """Put the sets into its spool, before any job is there.

        Parameters
        ----------
        requests
            What was asked for, which is given back as it is: whoever looks needs it to record a failure.

        Raises
        ------
        ParameterError, UnguardedError
            If the runner cannot travel.
        """
        asked = options.asked
        data = pickled(options.sending)
        os.makedirs(self.folder, mode=0o700)
        self._spool.put(LEFT, b"")
        luggage = Packed(Surroundings.here(), data, options.timeout, options.resources)
        self._spool.put(LUGGAGE, pickle.dumps(luggage))
        size = -(-len(tasks) // MOST_BUNDLES)
        bundles = {1 + at // size: list(tasks[at : at + size]) for at in range(0, len(tasks), size)}
        members = {
            number: [Member(task.id, task.key, task.attempt) for task in bundle] for number, bundle in bundles.items()
        }
        most, model = min(asked.array or 1, -(-len(bundles) // asked.tasks)), tasks[0].model
        name = self.name_of_jobs(model)
        index = Index(model, name, most, options.retries, options.retries_alone, members, asked.limits)
        self._spool.put(REQUESTS, dumped(requests))
        for number, bundle in bundles.items():
            self._spool.put(f"{number}.todo", pickle.dumps(Given(packed(bundle), 0.0, [])))
        self._spool.put(INDEX, pickle.dumps(index))
        self._index = index

    def submit(self, asked: Slurm) -> list[str]:
        """Submit its jobs; return their ids.

        Raises
        ------
        SlurmError
            With what `sbatch` says.
        """
        scheduler = Scheduler(asked, self.index.jobs)
        return scheduler.submit(script_of(asked, self.folder, self._secret), self.index.most, self.folder)

    def end(self, only_waiting: bool = False) -> None:
        """Let its jobs begin nothing more; cancel them, or those that have not begun.

        Raises
        ------
        SlurmError
            With what `scancel` says.
        """
        self._spool.put(END, b"")
        Scheduler(Slurm(), self.index.jobs).cancel(only_waiting)

    def cancel(self, model: str) -> None:
        """Cancel the jobs of a submission whose spool has gone, where there is a Slurm: they would only hold nodes."""
        with contextlib.suppress(SlurmError):
            Scheduler(Slurm(), self.name_of_jobs(model)).cancel()

    def name_of_jobs(self, model: str) -> str:
        """Return the name of its jobs, of which its spool need not be there."""
        return name_of_jobs(model, f"{self.number:x}")

    def remove(self) -> None:
        """Remove its spool."""
        remove_tree(self.folder)

    # ---- looking -----------------------------------------------------------------------------------------------
    @property
    def is_there(self) -> bool:
        """Whether its spool is in this results folder, as it was put there.

        Raises `OSError` where that cannot be told: the folder of another user, or one on a network that is away.
        """
        try:
            return bool(self.index.jobs)
        except Forged:
            return False
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return False

    @property
    def index(self) -> Index:
        """What it is; raises `OSError` or `Forged` if that cannot be read."""
        if self._index is None:
            found: Index = pickle.loads(self._spool.get(INDEX))
            self._index = found
        return self._index

    def requests(self) -> Any:
        """Return what was asked for."""
        with importing("a worker"):
            return pickle.loads(self._spool.get(REQUESTS))

    def list_spool(self) -> None:
        """List the spool."""
        self._names = self._spool.listing()

    def poll(self) -> None:
        """List the spool, and poll the queue, if it is time to.

        Raises
        ------
        SlurmError
            If a job can never start, or nothing comes of one after the other.
        """
        self._names = self._spool.listing()
        if self._queue is None:
            self._queue = Queue(Scheduler(Slurm(), self.index.jobs, self._inquiry), self.index.most)
            self._queue.know({job_of(one.task)[0] for one in self._names if one.task}, self.folder)
        for one in self._names:
            if one.task:
                self._queue.works(one.task)
        self._queue.poll()
        self._names = self._spool.listing()  # what was said before a job was over

    @property
    def is_sure(self) -> bool:
        """Whether it is known of each job whether it is over."""
        return self._queue is not None and self._queue.is_sure

    @property
    def is_unanswered(self) -> bool:
        """Whether the scheduler did not answer the latest poll."""
        return self._queue is not None and self._queue.scheduler.silent_since is not None

    @property
    def alive(self) -> int:
        """How many jobs run, or are to run."""
        return 0 if self._queue is None else self._queue.alive

    @property
    def standing(self) -> str:
        """How many jobs there are, in Slurm's words."""
        return str(self._queue or "")

    @property
    def is_emptied(self) -> bool:
        """Whether there is nothing in it that a task has, could take, or has said."""
        return not any(one.kind in ("todo", "again", "doing", "said") for one in self._names)

    @property
    def has_said(self) -> bool:
        """Whether something that a task has said is not heard yet."""
        return any(one.kind == "said" for one in self._names)

    @property
    def is_barren(self) -> bool:
        """Whether no task has ever been there, though jobs have begun, and have printed something."""
        return not any(one.task for one in self._names) and bool(self.printed_by_any())

    def hear(self) -> Iterator[tuple[str, list[tuple[Member, Report]], str]]:
        """Return what the tasks say, file by file: its name, the reports, and why a task could not go on.

        One stays until `forget_report`.
        """
        known = {one.attempt: one for bundle in self.index.bundles.values() for one in bundle}
        for name, _, said in heard(self._spool, self._names):
            found = [(known[attempt], report) for attempt, report in said.reports if report and attempt in known]
            yield name, found, said.trouble

    def is_new(self, name: str) -> bool:
        """Tell whether something was said so lately that a network folder may not show all yet of what it says."""
        self._spool.beat(SWEEP)
        try:
            said = os.stat(f"{self.folder}{os.sep}{name}").st_mtime
            return os.stat(f"{self.folder}{os.sep}{SWEEP}.alive").st_mtime - said < UNSEEN_SECONDS
        except FileNotFoundError:
            return True

    def forget_report(self, name: str) -> None:
        """Forget what a task has said: it is recorded."""
        self._spool.remove([name])
        self._names = self._spool.listing()

    def has_finished(self, one: Member) -> bool:
        """Tell whether a set is finished, and only to be recorded."""
        return sidecars.exists(self.staging, one.key, one.attempt)

    def lost(self) -> Iterator[Lost]:
        """Return what tasks had that are gone; each stays until `forget_task`."""
        for one in self._names:
            if one.kind != "doing" or self._queue is None:
                continue
            why = self._queue.gone(one.task) or self._silence(one.task)
            if why and not (why.startswith("ENDED") and self._gives_signs(one.task)):
                left = [member for member in self.index.bundles.get(one.number, []) if not self.has_finished(member)]
                job = job_of(one.task)[0]
                yield Lost(f"{one.number}.{one.task}.doing", one.task, job, why_it_ended(self.folder, job, why), left)

    @property
    def has_begun(self) -> bool:
        """Whether a task has something, be it at work or gone."""
        return any(one.kind == "doing" for one in self._names)

    @property
    def is_at_work(self) -> bool:
        """Whether a task has something and gives signs of life, whether Slurm, as seen from here, knows it or not.

        A Slurm that does not know a job may be another one than that of the job, or show no jobs of other users.
        """
        return any(one.kind == "doing" and self._gives_signs(one.task) for one in self._names)

    def _silence(self, task: str) -> str:
        """Return why a task counts as gone whose job runs on, as if nothing had happened."""
        if self._queue is None or not self._queue.runs(task):
            return ""
        silence = self._seconds_without(task)
        return f"no sign of life for {silence:.0f} s" if silence is not None and silence > SILENT_SECONDS else ""

    def _gives_signs(self, task: str) -> bool:
        silence = self._seconds_without(task)
        return silence is not None and silence <= SILENT_SECONDS

    def _seconds_without(self, task: str) -> float | None:
        """Return for how long a task has given no sign of life, by the folder's clock; None if it never has."""
        self._spool.beat(SWEEP)
        try:
            return self._spool.silence(task, SWEEP)
        except FileNotFoundError:
            return None

    def forget_task(self, lost: Lost) -> None:
        """Forget a task that is gone: its sets are somebody else's now."""
        self._spool.remove([lost.name])
        self._names = self._spool.listing()

    def printed_by_any(self) -> str:
        """Return a sentence with what one of its jobs has printed."""
        outputs = sorted(name for name in os.listdir(self.folder) if name.startswith("job-"))
        return printed(self.folder, outputs[-1].removeprefix("job-").removesuffix(".out")) if outputs else ""

    def under_way(self) -> dict[str, str]:
        """Return which of its sets have begun, by id, and in which job."""
        found = {}
        for one in self._spool.listing():
            if one.kind == "doing":
                left = (each for each in self.index.bundles.get(one.number, []) if not self.has_finished(each))
                found.update({each.id: job_of(one.task)[0] for each in list(left)[:1]})
        return found

    def printed_by(self, job: str) -> str:
        """Return a sentence with what a job has printed."""
        return printed(self.folder, job)

    def jobs(self) -> list[Job]:
        """Return its jobs that are not over, as of the latest poll."""
        return [] if self._queue is None else self._queue.living()

    def close(self) -> None:
        """Wait for no answer any more."""
        if self._queue is not None:
            self._queue.scheduler.close()


def path_of(staging: Staging, number: int) -> str:
    """Return the absolute path of the spool of a submission."""
    return os.path.join(staging.root, SUBMISSIONS, str(number))


def new_number() -> int:
    """Return the number of a submission, which no other has."""
    return secrets.randbits(62) + 1
