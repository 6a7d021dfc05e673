"""Short runs travel together: a trip to a cluster costs as much as many of them. Long runs travel alone."""

from collections import deque
from collections.abc import Iterable, Iterator

from entropic.executors.contract import Ending
from entropic.executors.work import BUNDLE_SECONDS, Report, Reports, ending
from entropic.files.task import Task

MOST = 100  # runs in a bundle
REMEMBERED = 200  # runs, of which the longest tells how many of the next ones make a bundle


class Bundles:
    """Cuts the tasks of a sweep into bundles, and takes their reports apart.

    Parameters
    ----------
    tasks
        As the executor gets them; None means that there is none at the moment.
    """

    def __init__(self, tasks: Iterable[Task | None]) -> None:
        self._source = iter(tasks)
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self.more = True  # whether there may be more tasks later

    def take(self, room: int, workers: int) -> list[list[Task]]:
        """Return bundles of as many tasks as there is room for, shared fairly among so many workers."""
        tasks: list[Task] = []
        while len(tasks) < room:
            task = self._next()
            if task is None:
                break
            tasks.append(task)
        fair = -(-len(tasks) // max(1, workers))
        size = max(1, min(self.size, fair))
        return [tasks[start : start + size] for start in range(0, len(tasks), size)]

    def _next(self) -> Task | None:
        if not self.more:
            return None
        try:
            return next(self._source)
        except StopIteration:
            self.more = False
            return None

    @property
    def size(self) -> int:
        """How many of the next runs make a bundle."""
        if not self._seconds:
            return 1
        return max(1, min(MOST, int(BUNDLE_SECONDS / max(max(self._seconds), BUNDLE_SECONDS / MOST))))

    def endings(self, bundle: list[Task], reports: Reports) -> Iterator[Ending]:
        """Return what has become of each task of a bundle; a reason in place of reports is that of all."""
        if isinstance(reports, str):
            reports = [Report(reason=reports)] * len(bundle)
        for task, report in zip(bundle, reports, strict=True):
            if report is None:
                yield Ending(task, None, unbegun=True)
                continue
            yield self.seen(ending(task, report))

    def seen(self, one: Ending) -> Ending:
        """Note how long a run took."""
        if one.seconds is not None:
            self._seconds.append(one.seconds)
        return one
