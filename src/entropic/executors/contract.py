"""What a sweep asks of an executor."""

import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from entropic.files import sidecar as sidecars
from entropic.files.sidecar import Sidecar
from entropic.files.task import Task
from entropic.support.failure import Record

TICK = 0.1  # s between two looks at what else there is to do
TORN = "another execution of it did not finish"
BY_A_MACHINE = ("WorkerDied", "RunTimeout")  # failures that no code of a run has raised


@dataclass(slots=True)  # not frozen, as `Task`: every run of a sweep has one
class Ending:
    """What has become of a task: its sidecar, or why there is none.

    Attributes
    ----------
    finished
        The sidecar of the attempt, which is on the disk; None if the attempt was not finished.
    reason
        Why not, as a sentence for the log.
    failure, error
        If the run itself failed, where it ran: the record, and the exception, if it could travel.
    unbegun
        Whether the task comes back as it was handed over.
    seconds
        How long the run took, as measured where it ran; None if it did not come to an end there, or nobody knows.
    late
        Whether it is `unbegun` since it was too late to begin.
    untouched
        Whether it is `unbegun` for sure: no worker that was lost sight of can have begun it before.
    spent
        Whether it has failed after all the retries that it may have.
    """

    task: Task
    finished: Sidecar | None
    reason: str = ""
    failure: Record | None = None
    error: BaseException | None = None
    unbegun: bool = False
    seconds: float | None = None
    late: bool = False
    untouched: bool = False
    spent: bool = False


def is_late(task: Task) -> bool:
    """Tell whether it is too late for a task to begin."""
    return task.begin_by is not None and time.time() > task.begin_by


def ending_on_disk(task: Task, reason: str) -> Ending:
    """Look on the disk: what a lost worker has finished is finished."""
    return Ending(task, sidecars.read(task.staging, task.key, task.attempt), reason)


class ExecutorLost(Exception):
    """The executor cannot execute anything any more; its message says why."""


class Executor(Protocol):
    """Executes tasks somewhere, and says what has become of each.

    What a runner raises is an `Ending` with a failure. A task that did not come back, for whatever other reason, is
    one without. An exception that leaves `run` ends the sweep. An executor that cannot go on raises
    `ExecutorLost`; the sweep then looks for what it has taken and not brought home.

    Attributes
    ----------
    falls_back
        Whether what does not come back, or fails there, is for this machine to run, if the sweep falls back at all.
    ends
        Whether nothing that it has begun goes on after `close`.
    standing
        How it stands, beside what is under way, in a few words for who watches: jobs that wait. Empty if that is all.
    """

    falls_back: bool
    ends: bool

    @property
    def standing(self) -> str:
        """As above."""
        ...  # pragma: no cover

    def run(self, tasks: Iterable[Task | None]) -> Generator[Ending | None, None, None]:
        """Take tasks as there is room for them, since each one taken is claimed for us; yield endings as they come.

        A task that is None says that there is none at the moment, an ending that is None that nothing has come for
        a moment. Closing the iterator stops: what has not begun will not.
        """
        ...  # pragma: no cover

    def close(self) -> None:
        """Free what the executor has made for itself."""
        ...  # pragma: no cover
