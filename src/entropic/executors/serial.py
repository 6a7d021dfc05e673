"""The executor that runs in this process, one task after the other."""

from collections.abc import Callable, Generator, Iterable

from entropic.executors.contract import Ending
from entropic.files.task import Task


class Serial:
    """Executes tasks here.

    Parameters
    ----------
    execute
        Runs a task and says what has become of it.
    """

    falls_back = False
    ends = True
    standing = ""

    def __init__(self, execute: Callable[[Task], Ending]) -> None:
        self._execute = execute

    def run(self, tasks: Iterable[Task | None]) -> Generator[Ending | None, None, None]:
        """Execute each task as it is taken."""
        for task in tasks:
            yield None if task is None else self._execute(task)

    def close(self) -> None:
        """Nothing is left."""
