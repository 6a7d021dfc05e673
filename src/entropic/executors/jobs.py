"""The executor that runs tasks in jobs of Slurm. Their nodes need the results folder, not the database.

The sweep puts bundles of sets into a folder, the spool, which lies in the results folder; the tasks of the jobs take
them there and report (`spool`: the folder, `node`: what a task does, `scheduler`: Slurm's commands). So rows come home
without the scheduler, which is asked only what has become of jobs. What it does is normal life:

- A job may wait in the queue for as long as it likes. One that never will start ends the sweep:
  `test_a_job_that_can_never_start_ends_the_sweep_with_the_reason`.
- A job that ends (its time, a lost node), or starts again, takes along what it ran. A task that is gone is told by the
  queue, twice in a row, since the folder may show late what it has said. What it had finished is on the disk; the set
  that it ran is put again, and what it had not begun is as before. The attempt stays the same, so that two that
  execute it have one result: `test_a_job_that_ends_takes_no_set_along`. One that took longer than its job had left is
  then for a task with more time: `test_a_set_that_had_too_little_time_is_for_a_task_that_has_nearly_all_of_its_own`.
- A task may also die alone, while its job runs on: then it gives no sign of life for long, which counts only where
  Slurm says that the job runs: `test_a_task_that_dies_while_its_job_goes_on_takes_no_set_along`.
- A set that loses more jobs than it may have retries, in this sweep and those before it, has failed, with Slurm's
  reasons: `test_a_set_that_loses_its_jobs_again_and_again_fails_with_slurms_reason`. A job that somebody has cancelled
  does not count.
- Jobs that have ended are replaced while there are sets, but not those that somebody has cancelled: without any left,
  that is an error, as it is if jobs end before they have done anything, cannot be submitted, or the scheduler is out of
  reach for long. Where only more jobs than there are cannot be submitted, that is tried again after each look:
  `test_the_queue_is_looked_at_while_more_jobs_are_refused`.
  Nothing ever runs in this process: `test_nothing_runs_here_where_no_job_does`.
"""

import logging
import os
import pickle
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

from entropic.errors import ParameterError, SlurmError, UnguardedError, WorkerDied
from entropic.executors.batch import name_of_jobs, script_of
from entropic.executors.bundles import Bundles
from entropic.executors.contract import BY_A_MACHINE, Ending, ending_on_disk, is_late
from entropic.executors.node import RECENT, Given, Packed, heard
from entropic.executors.pickling import Sending, packed, pickled
from entropic.executors.queue import Queue, printed, why_it_ended
from entropic.executors.resources import AS_FOUND, Resources
from entropic.executors.scheduler import Scheduler, Slurm
from entropic.executors.script_setup import Surroundings
from entropic.executors.spool import (
    END,
    LUGGAGE,
    SILENT_SECONDS,
    SWEEP,
    Heart,
    Name,
    Patience,
    Spool,
    job_of,
)
from entropic.executors.work import Report, ending
from entropic.files import logs
from entropic.files import sidecar as sidecars
from entropic.files.deaths import forget_deaths, keys_with_deaths, note_death
from entropic.files.staging import Staging
from entropic.files.task import Task
from entropic.files.workspace import Workspace
from entropic.support.failure import Record, record
from entropic.support.show import counted

log = logging.getLogger("entropic")
QUICK = 2.0  # s; what comes back sooner is handed over further ahead
MOST_AHEAD = 1_000  # tasks claimed and not yet home: others could have run them
LOST_SECONDS = 900.0  # without an answer of the scheduler, and without news from any task
UNSEEN_SECONDS = 65.0  # in which a network folder shows what another machine has written
SHORTEST, LONGEST = 0.05, 1.0  # s between two looks at the spool


class Jobs:
    """Executes tasks in jobs.

    Parameters
    ----------
    asked
        What a job asks for.
    sending
        The store's runner; pickled once.
    timeout
        Seconds that a run may take, or None.
    retries
        How often a set runs again that a job has taken along.
    resources
        What each run gets; `asked` asks for it.
    """

    falls_back = False
    ends = False

    def __init__(
        self,
        asked: Slurm,
        sending: Sending,
        timeout: float | None,
        retries: int = 0,
        resources: Resources = AS_FOUND,
    ) -> None:
        self._asked, self._most, self._retries = asked, asked.array or 1, retries
        self._runner, self._refusal = b"", None
        try:
            self._runner = pickled(sending)
        except UnguardedError as error:  # nothing is wrong where all is stored
            self._refusal = error
        self._surroundings, self._timeout, self._resources = Surroundings.here(), timeout, resources
        self.learned: Callable[[Sequence[Task], Slurm], Slurm] | None = None
        """Tells for what jobs ask that run some sets, where that is learned, given what else they ask for."""
        self._had: dict[str, str] = {}  # for what each job has asked
        self._pid, self._secret = os.getpid(), secrets.token_bytes(32)
        self._workspace: Workspace | None = None
        self._heart: Heart | None = None
        self._spool = Spool("", self._secret)
        self._queue = Queue(Scheduler(asked, ""), self._most)
        self._number, self._longest = 0, 0.0
        self._recent: deque[float] = deque(maxlen=RECENT)  # how long runs took
        self._bundles: dict[int, list[Task]] = {}  # what is not home of each
        self._numbers: dict[str, int] = {}  # by attempt
        self._with_deaths: set[str] = set()  # keys that jobs have taken along, in this sweep or before it
        self._gone: set[str] = set()  # tasks of jobs that are over
        self._silent: set[str] = set()  # attempts of tasks that were given up, and may go on all the same
        self._unseen: list[tuple[Task, Report, float]] = []  # have ended, and their sidecars are not seen from here yet
        self._names: list[Name] = []
        self._news = time.monotonic()

    @property
    def standing(self) -> str:
        """How many jobs there are, in Slurm's words."""
        return f"jobs {self._queue}" if self._queue.alive else ""

    def run(self, tasks: Iterable[Task | None]) -> Generator[Ending | None, None, None]:
        """Put bundles into the spool, see that there are jobs, and yield what has become of each task."""
        if self._refusal is not None:
            raise self._refusal
        try:
            yield from self._run(tasks)
        except (ParameterError, SlurmError):  # the first one, of what stored runs do not tell
            yield from self._take_back()  # others may have them at once
            raise

    def _run(self, tasks: Iterable[Task | None]) -> Generator[Ending | None, None, None]:
        bundles, patience = Bundles(tasks), Patience(SHORTEST, LONGEST)
        least = 2 * self._asked.tasks * self._most
        ahead, handed = least, 0.0
        while True:
            if len(self._numbers) <= ahead // 2:
                if handed:
                    quick = time.monotonic() - handed < QUICK
                    ahead = min(ahead * 2, MOST_AHEAD) if quick else max(ahead // 2, least)
                handed = time.monotonic()
                for bundle in bundles.take(ahead - len(self._numbers), least // 2):
                    self._put(bundle)
            if not self._numbers:
                if not bundles.more:
                    return
                yield None
                continue
            self._queue.poll()
            endings = [*self._hear(), *self._recheck_unseen(), *self._bury()]
            yield from self._take_back(only_late=True)
            for one in endings:
                self._forget_deaths(one)
                if one.seconds is not None:
                    self._longest = max(self._longest, one.seconds)
                    self._recent.append(one.seconds)
                yield bundles.seen(one)
            if any(one.failure for one in endings):  # then nothing new may be meant to begin
                yield from self._take_back()
            if self._numbers:
                self._see_to_jobs()
            if endings:
                self._news = time.monotonic()
                patience.news()
            else:
                yield None
                patience.wait()

    def _forget_deaths(self, ending: Ending) -> None:
        """Count no more those of a set that is stored, or has failed by what it raised; of earlier sweeps, too."""
        task, failure = ending.task, ending.failure
        is_over = ending.finished is not None or (failure is not None and failure.get("type") not in BY_A_MACHINE)
        if is_over and task.key in self._with_deaths:
            self._with_deaths.discard(task.key)
            forget_deaths(task.staging, task.key)

    # ---- handing out -------------------------------------------------------------------------------------------
    def _put(self, bundle: list[Task], kind: str = "todo") -> None:
        if self._workspace is None:
            self._open(bundle[0].staging, bundle[0].model)
        self._number += 1
        self._bundles[self._number] = list(bundle)
        self._numbers.update((task.attempt, self._number) for task in bundle)
        self._spool.put(f"{self._number}.{kind}", pickle.dumps(Given(packed(bundle), self._longest, [*self._recent])))

    def _open(self, staging: Staging, model: str) -> None:
        self._workspace, self._with_deaths = Workspace(staging), keys_with_deaths(staging)
        os.chmod(self._workspace.path, 0o700)
        self._spool = Spool(self._workspace.path, self._secret)
        luggage = Packed(self._surroundings, self._runner, self._timeout, self._resources)
        self._spool.put(LUGGAGE, pickle.dumps(luggage))
        self._heart = Heart(self._spool, SWEEP)
        name = name_of_jobs(model, secrets.token_hex(4))
        self._queue = Queue(Scheduler(self._asked, name), self._most)

    def _take_back(self, only_late: bool = False) -> Iterator[Ending]:
        """Take back what no task has taken; or only what is too late to begin, while its job may wait for long."""
        for number, bundle in list(self._bundles.items()):
            if only_late and not all(map(is_late, bundle)):
                continue
            if any(self._spool.rename(f"{number}.{kind}", f"{number}.back") for kind in ("todo", "again")):
                self._spool.remove([f"{number}.back"])
                yield from map(self._unbegun, list(bundle))

    def _home(self, task: Task) -> Task:
        """Expect a task no more."""
        number = self._numbers.pop(task.attempt)
        self._bundles[number] = [one for one in self._bundles[number] if one.attempt != task.attempt]
        if not self._bundles[number]:
            del self._bundles[number]
            self._spool.remove(
                f"{one.number}.{one.task}.doing" for one in self._names if (one.kind, one.number) == ("doing", number)
            )
            self._spool.remove(
                [f"{number}.todo", f"{number}.again"]
            )  # of a set that was put again, and came home after all
        return task

    # ---- taking home -------------------------------------------------------------------------------------------
    def _hear(self) -> Iterator[Ending]:
        """Read what the tasks say."""
        self._names = self._spool.listing()
        for name, of, said in heard(self._spool, self._names):
            self._spool.remove([name])
            self._queue.works(of)
            if said.trouble and of not in self._gone:
                raise SlurmError(f"job {job_of(of)[0]} cannot run the sets of this sweep: {said.trouble}")
            for attempt, report in said.reports:
                task = self._task(attempt)
                if task is None or (report is None and not self._has(of, attempt)):
                    continue  # it is home already, or given to somebody else
                if report is None:
                    yield self._unbegun(task)
                elif report.finished and not sidecars.exists(task.staging, task.key, task.attempt):
                    self._unseen.append((task, report, time.monotonic()))
                else:
                    yield ending(self._home(task), report)

    def _has(self, task: str, attempt: str) -> bool:
        """Tell whether a task of a job has the bundle that an attempt is in."""
        return Name("doing", self._numbers[attempt], task) in self._names

    def _task(self, attempt: str) -> Task | None:
        bundle = self._bundles.get(self._numbers.get(attempt, 0), ())
        return next((task for task in bundle if task.attempt == attempt), None)

    def _recheck_unseen(self) -> Iterator[Ending]:
        """Look again for what is finished, and not seen from here yet."""
        unseen, self._unseen = self._unseen, []
        for task, report, since in unseen:
            if task.attempt not in self._numbers:
                continue
            is_there = sidecars.exists(task.staging, task.key, task.attempt)
            if is_there or time.monotonic() - since > UNSEEN_SECONDS:
                yield ending(self._home(task), report)
            else:
                self._unseen.append((task, report, since))

    # ---- jobs --------------------------------------------------------------------------------------------------
    def _see_to_jobs(self) -> None:
        """Submit what is missing; raise if there is no hope."""
        queue = self._queue
        wanted = min(queue.most, -(-len(self._bundles) // self._asked.tasks))
        if queue.most == 0 and not queue.alive:
            raise SlurmError(
                f"all jobs of this sweep were cancelled ({queue.cancelled}) before its sets were done; what is "
                "finished is stored, and the same call goes on with the rest"
            )
        if queue.alive < wanted and queue.may_submit:
            asked = self._asked
            if self.learned is not None:
                asked = self.learned([task for bundle in self._bundles.values() for task in bundle], asked)
            queue.scheduler.asked = asked
            script = script_of(asked, self._spool.folder, self._secret)
            ids = queue.submit(script, wanted - queue.alive, self._spool.folder)
            self._had.update(dict.fromkeys(ids, asked.limits))
        silent = queue.scheduler.silent_since
        if silent is not None and time.monotonic() - max(silent, self._news) > LOST_SECONDS:
            raise SlurmError(
                f"Slurm has not answered for {LOST_SECONDS / 60:.0f} minutes: {queue.scheduler.trouble}; what is "
                "finished is stored, and the same call goes on with the rest"
            )

    def _bury(self) -> Iterator[Ending]:
        """Say what has become of that which tasks had that are gone."""
        for one in self._names:
            if one.kind != "doing" or one.number not in self._bundles:
                continue
            gone = self._queue.gone(one.task)
            why = gone or self._silence(one.task)
            if not why:
                continue
            if not gone:
                self._silent.update(task.attempt for task in self._bundles[one.number])
            self._gone.add(one.task)
            self._spool.remove([f"{one.number}.{one.task}.doing"])
            yield from self._bury_bundle(one, why)

    def _unbegun(self, task: Task) -> Ending:
        """Give back a set that no task has begun, but perhaps one of which nothing was heard any more."""
        return Ending(self._home(task), None, unbegun=True, untouched=task.attempt not in self._silent)

    def _bury_bundle(self, one: Name, why: str) -> Iterator[Ending]:
        """Say what has become of a bundle: its task ran the first one that it has not finished."""
        job, _ = job_of(one.task)
        why, had_begun = why_it_ended(self._spool.folder, job, why), False
        unseen = {task.attempt for task, *_ in self._unseen}
        for task in list(self._bundles[one.number]):
            if task.attempt in unseen:
                continue
            found = ending_on_disk(task, f"its job {job} ended: {why}")
            if found.finished is not None:
                yield Ending(self._home(task), found.finished, found.reason)
            elif had_begun:
                yield self._unbegun(task)
            else:
                had_begun = True
                self._queue.works(one.task)  # it has run something, be it in vain
                self._home(task)
                self._with_deaths.add(task.key)
                counts = not why.startswith("CANCELLED")  # by somebody, who may mean anything by it
                deaths = self._note_death(task, one.task, f"{job}: {why}") if counts else []
                if len(deaths) <= self._retries:
                    log.info("%s was lost with its job %s: %s, and is run again", task.id, job, why)
                    self._put([task], "again" if why.startswith("TIMEOUT") else "todo")
                else:
                    forget_deaths(task.staging, task.key)
                    told = lost(task.staging, task.key, deaths, printed(self._spool.folder, job))
                    yield Ending(task, None, *told, spent=True)

    def _note_death(self, task: Task, of: str, why: str) -> list[str]:
        return note_death(task.staging, task.key, task.attempt, of, why, self._had.get(job_of(of)[0], ""))

    def _silence(self, task: str) -> str:
        """Return why a task counts as gone whose job runs on, as if nothing had happened."""
        if not self._queue.runs(task):
            return ""
        try:
            silence = self._spool.silence(task, SWEEP)
        except FileNotFoundError:
            return ""
        return f"no sign of life for {silence:.0f} s" if silence > SILENT_SECONDS else ""

    def close(self) -> None:
        """End the jobs, and remove the spool."""
        if self._workspace is None or os.getpid() != self._pid:
            return
        workspace, self._workspace = self._workspace, None
        try:
            if self._heart is not None:
                self._heart.close()
            self._spool.put(END, b"")
            if self._queue.alive:  # those that have nothing to do end by themselves
                self._queue.scheduler.cancel(only_waiting=not self._numbers)
        except (SlurmError, OSError) as error:
            log.warning("the jobs %s could not be cancelled, and end by themselves: %s", self._queue.name, error)
        finally:
            self._queue.scheduler.close()
            workspace.close()


def lost(staging: Staging, key: str, deaths: list[str], output: str) -> tuple[str, Record, WorkerDied]:
    """Return the failure of a set that has lost its jobs again and again: its message, its record, its exception."""
    message = f"{counted(len(deaths), 'job')} of Slurm ended in the middle of this run: {'; '.join(deaths)}"
    found = logs.find(staging, key)
    if found is not None:
        message += f"; its output is in {found}"
    message += f". {output}" if output else ""
    failure = {**record(WorkerDied.__name__, message, "", time.time()), "job": f"Slurm {deaths[-1].partition(':')[0]}"}
    return message, failure, WorkerDied(message, failure)
