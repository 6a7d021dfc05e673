"""What is known of the jobs of one sweep: which are alive, which are over and why, and whether there is any hope."""

import logging
import os
from collections import Counter
from collections.abc import Iterable

from entropic.errors import SlurmError
from entropic.executors.scheduler import HOPELESS, Job, Scheduler
from entropic.executors.spool import job_of
from entropic.files.subfolder import content
from entropic.support.show import visible

log = logging.getLogger("entropic")
MOST_BARREN = 3  # jobs in a row that end before they have done anything
SURE = 2  # answers in a row that say that a job is over: the folder may show late what its tasks have said
MOST_OUTPUT = 2_000  # characters of what a job has printed
_OF_MEMORY = ("oom-kill", "oom_kill", "exceeded memory limit")
_PRINTED = {
    "DUE TO TIME LIMIT": "TIMEOUT",
    "DUE TO NODE FAILURE": "NODE_FAIL",
    "DUE TO PREEMPTION": "PREEMPTED",
    **dict.fromkeys(_OF_MEMORY, "OUT_OF_MEMORY"),
    "CANCELLED AT": "CANCELLED",
}


class Queue:
    """The jobs of a sweep.

    Parameters
    ----------
    scheduler
        Of Slurm.
    most
        How many there may be at once.
    """

    def __init__(self, scheduler: Scheduler, most: int) -> None:
        self.scheduler, self.most = scheduler, most
        self.cancelled = ""
        """The jobs that somebody has cancelled."""
        self._jobs: dict[str, Job] = {}
        self._ended: Counter[str] = Counter()  # answers in a row that say that a job is over
        self._unsettled: list[Job] = []  # those of which that is sure since the latest poll, and not cancelled
        self._useful: set[str] = set()  # those that have done something
        self._barren = 0
        self._said: set[str] = set()
        self._folder = ""
        self._answers, self._refused = 0, -1  # and after how many of them jobs were refused

    @property
    def name(self) -> str:
        """That of the jobs."""
        return self.scheduler.name

    @property
    def alive(self) -> int:
        """How many jobs run, or are to run."""
        return sum(self._ended[id] < SURE for id in self._jobs)

    @property
    def may_submit(self) -> bool:
        """Whether to ask for more jobs now: where that was refused, not before the next poll, which it puts off."""
        return not self.alive or self._answers != self._refused

    @property
    def is_sure(self) -> bool:
        """Whether it is known of each job whether it is over; of none at all, only after several answers."""
        if any(0 < self._ended[id] < SURE for id in self._jobs):
            return False
        return self._answers >= (1 if self.alive else SURE)

    def living(self) -> list[Job]:
        """Return the jobs that are not known to be over."""
        return [job for id, job in self._jobs.items() if self._ended[id] < SURE]

    def know(self, ids: Iterable[str], folder: str) -> None:
        """Know of jobs that were submitted elsewhere, and of the folder in which their output is."""
        self._folder = folder
        self._jobs |= {id: Job(id, "RUNNING", 0, "") for id in ids}

    def submit(self, script: str, count: int, folder: str) -> list[str]:
        """Submit jobs, whose output goes to a folder; return their ids, or none if that has to wait.

        Raises
        ------
        SlurmError
            If there is none so far, and none can be submitted.
        """
        try:
            ids = self.scheduler.submit(script, count, folder)
        except SlurmError as error:
            if not self.alive:
                raise
            self._refused = self._answers
            self._say_once(f"no more jobs for now: {error}")
            return []
        self._folder = folder
        self._jobs |= {id: Job(id, "PENDING", 0, "") for id in ids}
        log.info("submitted %s to Slurm: %s", self.name, ", ".join(ids))
        return ids

    def works(self, task: str) -> None:
        """Note that the job of a task has done something."""
        self._useful.add(job_of(task)[0])
        self._barren = 0

    def poll(self) -> None:
        """Poll the queue, if it is time to.

        Raises
        ------
        SlurmError
            If a job can never start, or one after the other ends before it has done anything.
        """
        for job in self._unsettled:
            self._settle(job)
        self._unsettled = []
        found = self.scheduler.poll()
        if found is None:
            return
        self._answers += 1
        for id, job in {**self._jobs, **found}.items():  # also one of which the answer of sbatch was lost
            if self._ended[id] >= SURE:
                continue
            if id not in found:
                job = Job(id, "ENDED", job.restarts, "Slurm does not remember how") if job.goes_on else job
            self._jobs[id] = job
            self._ended[id] = 0 if job.goes_on else self._ended[id] + 1
            if self._ended[id] == SURE:
                log.info("job %s ended: %s", id, job)
                if job.state == "CANCELLED":
                    self.most -= 1  # at once: it is not replaced
                    self.cancelled = ", ".join(filter(None, [self.cancelled, f"{id}: {job}"]))
                else:
                    self._unsettled.append(job)
            elif job.waits and job.reason in HOPELESS:
                raise SlurmError(f"job {id} of this sweep can never start: {job.reason}")
            elif job.waits:
                self._say_once(f"job {id} waits: {job}")

    def _settle(self, job: Job) -> None:
        """See whether a job has done anything, once what it has left in the folder is seen to."""
        if job.id not in self._useful and not (job.state == "COMPLETED" and self._has_begun(job)):
            self._barren += 1
            if self._barren >= MOST_BARREN:
                said = printed(self._folder, job.id) or "It printed nothing: do its nodes see the results folder?"
                raise SlurmError(
                    f"{self._barren} jobs in a row ended before they had run anything, the last one, {job.id}, with "
                    f"{job}. {said}"
                )

    def _has_begun(self, job: Job) -> bool:
        try:
            return any(name.startswith(f"{job.id}-") for name in os.listdir(self._folder))
        except OSError:
            return False

    def gone(self, task: str) -> str:
        """Return why a task is gone, in Slurm's words; nothing if it is not known to be."""
        id, restart = job_of(task)
        job = self._jobs.get(id)
        if job is None:
            return ""
        if job.restarts > restart:
            return "REQUEUED"
        return str(job) if self._ended[id] >= SURE else ""

    def runs(self, task: str) -> bool:
        """Tell whether the job of a task runs on, as far as Slurm knows."""
        id, restart = job_of(task)
        job = self._jobs.get(id)
        return job is not None and job.state == "RUNNING" and job.restarts == restart

    def __str__(self) -> str:
        states = Counter(job.state.lower() for id, job in self._jobs.items() if self._ended[id] < SURE)
        return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.info("%s", text)


def why_it_ended(folder: str, id: str, why: str) -> str:
    """Return why a job is over, in Slurm's words: also in those that it has printed into the output of the job."""
    text = printed(folder, id)
    if why.startswith("ENDED"):  # Slurm does not remember it
        found = next((reason for said, reason in _PRINTED.items() if said in text), None)
        return why if found is None else f"{found}, as the job has printed"
    if why.startswith("FAILED") and any(said in text for said in _OF_MEMORY):
        return f"{why}, OUT_OF_MEMORY as the job has printed"
    return why


def printed(folder: str, id: str) -> str:
    """Return a sentence with what a job has printed, which Slurm's own complaints are a part of."""
    try:
        path = os.path.join(folder, f"job-{id}.out")
        text = content(path, most=4 * MOST_OUTPUT, last=True).decode(errors="backslashreplace")
        text = text[-MOST_OUTPUT:].strip()
    except OSError:
        return ""
    return f"It printed:\n{visible(text)}" if text else ""
