"""What a sweep asks of an executor."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from entropic.files.attempt import Task
from entropic.files.sidecar import Sidecar


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of a task: its sidecar, or why there is none.

    Attributes
    ----------
    finished
        The sidecar of the attempt, which lies on the disk; None if the attempt was not finished.
    reason
        Why not, as a sentence for the log.
    """

    task: Task
    finished: Sidecar | None
    reason: str = ""


class ExecutorLost(Exception):
    """The executor cannot execute anything any more; its message says why."""


class Executor(Protocol):
    """Executes tasks somewhere, and says what has become of each.

    An exception that leaves `run` ends the sweep: in this process that of a runner, elsewhere none but the user's
    own interrupts. A task that did not come home, for whatever reason, is an `Outcome` without a sidecar. An executor
    that cannot go on raises `ExecutorLost`; the sweep then looks for what it has taken and not brought home.
    """

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Take tasks as there is room for them, since each one taken is claimed for us; yield outcomes as they come.

        Closing the iterator stops: what has not begun will not.
        """
        ...  # pragma: no cover
