"""The executor that hands tasks to any `concurrent.futures.Executor`: pools, MPI, batch systems."""

import concurrent.futures as cf
import logging
import os
import time
from collections.abc import Generator, Iterable

from entropic.errors import ParameterError, UnguardedError
from entropic.executors.bundles import Bundles
from entropic.executors.contract import TICK, Ending, ExecutorLost, is_late
from entropic.executors.pickling import Sending, packed, pickled
from entropic.executors.runner_parcel import Luggage
from entropic.executors.work import Reports, work_many, work_packed
from entropic.files.task import Task
from entropic.support import process

log = logging.getLogger("entropic")
QUICK = 0.5  # s; what comes back sooner is handed over further ahead
MOST_AHEAD = 1_000  # tasks claimed and not yet home: others could have run them


class Futures:
    """Executes tasks by `submit`.

    Parameters
    ----------
    executor
        Stays the user's: it is not shut down.
    sending
        The store's runner. Threads share it, and do not call its setup; for everything else it is pickled once.

    Raises
    ------
    ParameterError
        If it is known to stop for good.
    """

    falls_back = True
    ends = False
    standing = ""

    def __init__(self, executor: cf.Executor, sending: Sending) -> None:
        _check_can_go_on(executor)
        self._executor = executor
        self._sending = sending
        self._luggage: Luggage | None = None  # for threads, which share the runner
        size = getattr(executor, "_max_workers", None)
        self._may_be_larger = not isinstance(size, int)
        # Others may leave a future pending while it runs (Dask's does), and let it be cancelled all the same.
        self._says_what_began = isinstance(executor, cf.ThreadPoolExecutor | cf.ProcessPoolExecutor)
        self._least = 2 * (size if isinstance(size, int) else process.cores())

    def run(self, tasks: Iterable[Task | None]) -> Generator[Ending | None, None, None]:
        """Keep the executor busy, and yield what comes back."""
        if type(self._executor) is not cf.ThreadPoolExecutor:
            try:
                self._luggage = Luggage(pickled(self._sending))
            except ParameterError as error:
                raise ExecutorLost(str(error)) from error
            yield from self._begin()
        bundles = Bundles(tasks)
        under_way: dict[cf.Future[Reports], list[Task]] = {}
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
                waiting = under_way.items() if self._says_what_began else ()
                for future in [one for one, bundle in waiting if all(map(is_late, bundle))]:
                    if future.cancel():  # it waits for a worker, perhaps for one that never comes
                        yield from (
                            Ending(task, None, unbegun=True, late=True, untouched=True)
                            for task in under_way.pop(future)
                        )
                if not under_way:
                    continue
                done, _ = cf.wait(under_way, TICK, cf.FIRST_COMPLETED)
                if not done:
                    yield None
                for future in done:
                    bundle = under_way.pop(future)
                    yield from bundles.endings(bundle, _reports(future))
        finally:
            for future in under_way:
                _cancel(future)

    def _begin(self) -> Generator[None, None, None]:
        """Wait until a process of a pool has begun, where it imports the script again before it does.

        If the script has no guard, the import comes upon this sweep once more. Then nothing is handed over, and nothing
        claimed: `test_a_pool_whose_processes_come_upon_the_sweep_again_is_an_error`.

        Raises
        ------
        UnguardedError
            If it ends before it can begin.
        """
        kind = getattr(getattr(self._executor, "_mp_context", None), "get_start_method", str)()
        if not isinstance(self._executor, cf.ProcessPoolExecutor) or kind not in ("spawn", "forkserver"):
            return
        try:
            first = self._executor.submit(os.getpid)
        except Exception as error:
            raise self._takes_none(error) from error
        while not cf.wait([first], TICK).done:
            yield None
        if isinstance(first.exception(), cf.BrokenExecutor):
            raise UnguardedError(
                f"the processes of this pool, which are started by {kind}, end before they can begin; what stopped "
                "them is printed above. They import the script again, so what it runs belongs under `if __name__ == "
                "'__main__':`. Nothing was run"
            )

    def _submit(self, bundle: list[Task]) -> "cf.Future[Reports]":
        try:
            if self._luggage is None:
                return self._executor.submit(work_many, bundle, self._sending.runner)
            try:
                data, parcel = packed(bundle), self._luggage.parcel(bundle[0].staging)
            except Exception as error:  # noqa: BLE001  (a fault of these params: the others can go on)
                return _failed(error)
            return self._executor.submit(work_packed, data, parcel)
        except Exception as error:
            raise self._takes_none(error) from error

    def _takes_none(self, error: Exception) -> ExecutorLost:
        return ExecutorLost(f"{type(self._executor).__name__} accepts no tasks: {error}")

    def close(self) -> None:
        """Leave the executor to its owner."""
        if self._luggage is not None:
            self._luggage.close()


def _check_can_go_on(executor: cf.Executor) -> None:
    """Refuse a pool that renews its processes where Python may leave it without any, while sets wait for one.

    One that is renewed after each set never is: `test_a_pool_that_may_stop_for_good_is_refused`.
    """
    most = getattr(executor, "_max_tasks_per_child", None)
    is_mended = hasattr(executor, "_replace_dead_worker")
    if isinstance(executor, cf.ProcessPoolExecutor) and isinstance(most, int) and most > 1 and not is_mended:
        raise ParameterError(
            f"a ProcessPoolExecutor with max_tasks_per_child={most} may stop for good on this version of Python, once "
            "its processes have to be replaced while sets wait (CPython gh-115634); make it without that, or with "
            "max_tasks_per_child=1, or use workers=N"
        )


def _cancel(future: "cf.Future[Reports]") -> None:
    try:
        future.cancel()
    except Exception as error:  # noqa: BLE001  (parsl's cannot be; what ends the sweep is not to be hidden by that)
        log.debug("could not cancel what was pending: %s", error)


def _failed(error: Exception) -> "cf.Future[Reports]":
    future: cf.Future[Reports] = cf.Future()
    future.set_exception(error)
    return future


def _reports(future: "cf.Future[Reports]") -> Reports:
    try:
        return future.result()
    except (Exception, cf.CancelledError) as error:  # noqa: BLE001  (a broken pool, a task that does not unpickle ...)
        return f"the executor could not run it: {type(error).__qualname__}: {error}"
