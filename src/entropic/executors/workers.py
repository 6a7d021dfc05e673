"""The executor that runs tasks in processes of this machine, each of which can be ended without harm to the others.

A pool of our own, and a small one, because the promises need what the known pools do not give together: a process
that dies takes its own run with it and no other (an executor of `concurrent.futures` breaks as a whole); a run is ended
by killing its process group, also inside of C code; no process is made by `fork`, which deadlocks under threads and
OpenMP, and none imports the user's script again, so that it needs no guard; and there is no lock that a dying process
could hold. One thread, this one, waits for all of them: `tests/executors/test_workers.py`.
"""

import os
import pickle
import signal
import time
from collections.abc import Generator, Iterable, Iterator
from multiprocessing.connection import wait

from entropic.errors import RunFailed, RunOutOfMemory, RunTimeout, UnguardedError, WorkerDied
from entropic.executors.bundles import Bundles
from entropic.executors.contract import TICK, Ending, ending_on_disk
from entropic.executors.cores import Reserved
from entropic.executors.guardian import Families
from entropic.executors.pickling import Sending, pickled
from entropic.executors.processes import Guardian, Worker, open_standard_files
from entropic.executors.resources import AS_FOUND, Place, Resources
from entropic.executors.script_setup import Surroundings
from entropic.executors.work import BUNDLE_SECONDS, Report, ending
from entropic.files import logs
from entropic.files.task import Task
from entropic.support import process
from entropic.support.failure import record
from entropic.support.passwords import known

GRACE = 5.0  # s for an idle worker to end by itself


class Workers:
    """Executes tasks in up to `count` processes, started when they are needed and ended by `close`.

    Parameters
    ----------
    count
        How many; -1 for as many as there are cores that this process may use.
    sending
        The store's runner, pickled once; or what `pickling.pickled` has made of it elsewhere.
    timeout
        Seconds that a run may take, or None.
    resources
        What each run gets.
    """

    falls_back = False
    ends = True
    standing = ""

    def __init__(
        self,
        count: int,
        sending: Sending | bytes,
        timeout: float | None,
        resources: Resources = AS_FOUND,
    ) -> None:
        self._count = process.cores() if count == -1 and resources is AS_FOUND else count
        self._resources, self._reserved = resources, Reserved()
        self._places: list[Place] = []
        places: set[str] = set()
        self._runner, self._refusal = b"", None
        try:
            self._runner = sending if isinstance(sending, bytes) else pickled(sending, places)
        except UnguardedError as error:  # nothing is wrong where all is stored
            self._refusal = error
        self._passwords = pickle.dumps(known(places))
        self._surroundings = pickle.dumps(Surroundings.here())
        self._timeout = timeout
        self._workers: list[Worker] = []
        self._guardian: Guardian | None = None
        self._never_began = 0  # workers in a row that ended without having begun a run
        self._pid = os.getpid()

    def run(self, tasks: Iterable[Task | None]) -> Generator[Ending | None, None, None]:
        """Give each worker a bundle at a time, and yield what has become of each task."""
        if self._refusal is not None:
            raise self._refusal
        if self._resources is not AS_FOUND:
            self._take_places()
        bundles = Bundles(tasks)
        while True:
            free = self._count - sum(worker.at_work for worker in self._workers)
            if free:
                for bundle in bundles.take(free * bundles.size, free):
                    self._free().take(bundle)
            busy = [worker for worker in self._workers if worker.at_work]
            if not busy:
                if not bundles.more:
                    return
                yield None
                continue
            ended = list(self._wait_for(busy))
            if not ended:
                yield None
            for one in ended:
                yield bundles.seen(one)
            if any(one.failure for one in ended):  # then nothing new may be meant to begin
                yield from (one for worker in busy for one in _unbegun(worker.recall()))

    def _free(self) -> Worker:
        """Return a worker that has nothing to do: a new one, if all are busy."""
        for worker in self._workers:
            if not worker.at_work:
                return worker
        return self._begin()

    def _begin(self) -> Worker:
        """Return a new worker, in the first place that is free."""
        if self._guardian is None:
            open_standard_files()
            self._guardian = Guardian(self._resources.memory)
        number = min({*range(self._count)} - {worker.number for worker in self._workers})
        places = [self._places[number]] if self._places else []
        told = [self._passwords, self._surroundings, self._runner]
        self._workers.append(Worker(told, self._count, number, *places))
        self._guardian.tell("+", self._workers[-1].pid, self._workers)
        return self._workers[-1]

    def _take_places(self) -> None:
        """Find out what each worker gets: only here, since nothing is wrong where all is stored.

        Raises
        ------
        ParameterError
            If there is too little of it.
        """
        asked = self._resources
        if self._count == -1:
            self._count = asked.count()
        asked.check(self._count)
        if asked.cores is not None and not self._reserved.cores:
            self._reserved.take(self._count * asked.cores)
        self._places = asked.places(self._count, self._reserved.cores)

    def _wait_for(self, busy: list[Worker]) -> Iterator[Ending]:
        """Wait for a moment, and return what has become of the tasks that have ended."""
        now = time.monotonic()
        limits = [worker.began + self._timeout - now for worker in busy if self._timeout and worker.began]
        ready = wait([worker.pipe for worker in busy], max(0.0, min([TICK, *limits])))
        for worker in busy:
            if worker.pipe in ready:
                yield from self._hear(worker)
            elif worker.has_ended() and not worker.pipe.poll():
                yield from self._bury(worker)  # and something that it has started keeps the pipe open
            elif self._timeout and worker.began and time.monotonic() - worker.began > self._timeout:
                if not worker.pipe.poll():  # it may have said something since
                    yield from self._end(worker)
            elif worker.began and time.monotonic() - worker.began > 2 * BUNDLE_SECONDS:
                yield from _unbegun(worker.recall())  # a long run after all: others may run what waits behind it

    def _hear(self, worker: Worker) -> Iterator[Ending]:
        """Take in what a worker says, or that it says no more."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._bury(worker)
            return
        if message == "ready":
            worker.begin()
            return
        if message == "done":
            worker.at_work = False
            return
        if isinstance(message, str):
            raise RunFailed(message)
        report, back = message
        self._never_began, worker.has_run = 0, True
        yield ending(worker.tasks.popleft(), Report(*report))
        yield from _unbegun([worker.tasks.pop() for _ in range(back)][::-1])
        worker.begin()

    def _bury(self, worker: Worker) -> Iterator[Ending]:
        """Say what killed a worker, and a run with it."""
        unbegun = worker.recall()
        worker.gone(time.monotonic() + 1.0)  # it may be on its way out: its own exit code is the one to tell
        used = None if self._guardian is None else self._guardian.used(worker.pid)
        code = self._remove(worker)
        if used is not None:  # (one that has nothing to do may hold what is left of earlier runs)
            if not worker.tasks and not worker.has_run:
                raise RunOutOfMemory(self._resources.exceeded_by_worker(used))
            return self._exceeded(worker, unbegun, code, used)
        if worker.began is None or not worker.tasks:
            self._never_began += 1
            if self._never_began > 3:
                raise WorkerDied(f"worker processes end before they can start: the last one {_cause(code)}")
        message = f"the worker process (pid {worker.pid}) of this run {_cause(code)}"
        return _rest(worker, unbegun, code, WorkerDied, message)

    def _exceeded(self, worker: Worker, unbegun: list[Task], code: int, used: int) -> Iterator[Ending]:
        """Say what has become of the run of a worker that was ended for its memory.

        What is left of earlier runs in their process is no fault of this one, so it begins again in a new process:
        `test_a_run_is_not_blamed_for_what_others_have_left_in_its_process`.
        """
        if worker.has_run and worker.tasks and ending_on_disk(worker.tasks[-1], "").finished is None:
            self._begin().take([worker.tasks.pop()])
        return _rest(worker, unbegun, code, RunOutOfMemory, self._resources.exceeded(used))

    def _end(self, worker: Worker) -> Iterator[Ending]:
        """End a run that takes too long, and its process with it."""
        unbegun, code = worker.recall(), self._remove(worker)
        message = f"the run took longer than timeout={self._timeout:g} s and was ended"
        return _rest(worker, unbegun, code, RunTimeout, message)

    def _remove(self, worker: Worker) -> int:
        """End a worker, whose unbegun tasks were recalled before; return its exit code."""
        code = worker.kill()
        self._workers.remove(worker)
        self._released(worker)
        return code

    def _released(self, worker: Worker) -> None:
        if self._guardian is not None:
            self._guardian.tell("-", worker.pid, self._workers)

    def close(self) -> None:
        """End every worker: at once if it is in the middle of a run, else as soon as it has heard of it."""
        if os.getpid() != self._pid:
            return  # a child that was forked meanwhile: they are not its own
        families = Families(worker.pid for worker in self._workers)
        for worker in self._workers:
            worker.dismiss(families)
        deadline = time.monotonic() + GRACE
        while self._workers:  # kept until they are gone, in case that this is interrupted
            self._workers[-1].gone(deadline)
            self._released(self._workers.pop())
        if self._guardian is not None:
            self._guardian.close()
            self._guardian = None
        self._reserved.close()


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _unbegun(tasks: Iterable[Task]) -> Iterator[Ending]:
    """Return endings that hand tasks back as they were."""
    return (Ending(task, None, unbegun=True) for task in tasks)


def _rest(worker: Worker, unbegun: list[Task], code: int, kind: type[RunFailed], message: str) -> Iterator[Ending]:
    """Return what has become of the tasks of a worker that was ended: it ran the last of those that it had begun.

    What it ran before has been reported, or is on the disk.
    """
    while worker.tasks:
        task = worker.tasks.popleft()
        home = ending_on_disk(task, f"its worker process {_cause(code)}")
        ended = home.finished is None and not worker.tasks
        yield _failed(task, worker, kind, message) if ended else home
    yield from _unbegun(unbegun)


def _failed(task: Task, worker: Worker, kind: type[RunFailed], message: str) -> Ending:
    found = logs.find(task.staging, task.key)
    if found is not None:
        message += f"; its output is in {found}"
    failure = record(kind.__name__, message, "", worker.began_at, worker.pid)
    return Ending(task, None, message, failure, kind(message, failure), seconds=failure["elapsed_seconds"])
