"""The executor that runs in this process, one task after the other."""

from collections.abc import Callable, Iterable, Iterator

from entropic.executors.contract import Outcome
from entropic.files.attempt import Task
from entropic.files.sidecar import Sidecar


class Serial:
    """Executes tasks here; what a runner raises comes out.

    Parameters
    ----------
    execute
        `run.execute` of the store: runs a task and returns its sidecar.
    """

    def __init__(self, execute: Callable[[Task], Sidecar | None]) -> None:
        self._execute = execute

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Execute each task as it is taken."""
        for task in tasks:
            yield Outcome(task, self._execute(task), "another execution of it did not come to an end")
