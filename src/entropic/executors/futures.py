"""The executor that hands tasks to any `concurrent.futures.Executor`: pools, MPI, batch systems."""

import concurrent.futures as cf
import time
from collections.abc import Generator, Iterable
from typing import Any

from entropic.errors import ParameterError
from entropic.executors.bundles import Bundles
from entropic.executors.contract import TICK, ExecutorLost, Outcome
from entropic.executors.travel import pickled
from entropic.executors.work import Report, work_many, work_pickled
from entropic.files.attempt import Runner, Task
from entropic.support import process

QUICK = 0.5  # s; what comes back sooner is handed over further ahead
MOST_AHEAD = 1_000  # tasks claimed and not yet home: others could have run them


class Futures:
    """Executes tasks by `submit`.

    Parameters
    ----------
    executor
        Stays the user's: it is not shut down.
    runner
        The store's. Threads share it; for everything else it is pickled once.
    """

    falls_back = True
    ends = False

    def __init__(self, executor: cf.Executor, runner: Runner) -> None:
        self._executor = executor
        self._runner = runner
        self._call: tuple[Any, Any] = work_many, runner
        size = getattr(executor, "_max_workers", None)
        self._may_be_larger = not isinstance(size, int)
        self._least = 2 * (size if isinstance(size, int) else process.cores())

    def run(self, tasks: Iterable[Task | None]) -> Generator[Outcome | None, None, None]:
        """Keep the executor busy, and yield what comes back."""
        if type(self._executor) is not cf.ThreadPoolExecutor:
            try:
                self._call = work_pickled, pickled(self._runner)
            except ParameterError as error:
                raise ExecutorLost(str(error)) from error
        bundles = Bundles(tasks)
        under_way: dict[cf.Future[list[Report | None]], list[Task]] = {}
        ahead, handed = self._least, time.monotonic()
        try:
            while True:
                count = sum(map(len, under_way.values()))
                if self._may_be_larger and under_way and all(future.running() or future.done() for future in under_way):
                    ahead = count + self._least  # all have begun, so there may be more workers
                if count <= ahead // 2:
                    quick = time.monotonic() - handed < QUICK
                    ahead = min(ahead * 2, MOST_AHEAD) if quick else max(ahead // 2, self._least)
                    handed = time.monotonic()
                    for bundle in bundles.take(ahead - count, self._least // 2):
                        under_way[self._submit(bundle)] = bundle
                if not under_way:
                    if not bundles.more:
                        return
                    yield None
                    continue
                done, _ = cf.wait(under_way, TICK, cf.FIRST_COMPLETED)
                if not done:
                    yield None
                for future in done:
                    bundle = under_way.pop(future)
                    yield from bundles.outcomes(bundle, _reports(future, len(bundle)))
        finally:
            for future in under_way:
                future.cancel()

    def _submit(self, bundle: list[Task]) -> "cf.Future[list[Report | None]]":
        function, argument = self._call
        try:
            return self._executor.submit(function, bundle, argument)
        except Exception as error:
            raise ExecutorLost(f"{type(self._executor).__name__} accepts no tasks: {error}") from error

    def close(self) -> None:
        """Leave the executor to its owner."""


def _reports(future: "cf.Future[list[Report | None]]", count: int) -> list[Report | None]:
    try:
        return future.result()
    except (Exception, cf.CancelledError) as error:  # noqa: BLE001  (a broken pool, a task that does not unpickle ...)
        return [Report(reason=f"the executor could not run it: {type(error).__qualname__}: {error}")] * count
