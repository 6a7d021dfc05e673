"""The executor that hands tasks to a Dask cluster. Its workers need the results folder, not the database."""

import functools
import itertools
import logging
import os
import pickle
import time
from collections.abc import Iterable, Iterator
from typing import Any

from entropic.executors.contract import ExecutorLost, Outcome
from entropic.files import attempt
from entropic.files import sidecar as sidecars
from entropic.files.attempt import Runner, Task, Torn

log = logging.getLogger("entropic")
TASKS_PER_THREAD = 4  # handed over ahead, so that no worker waits for us
WAVE_SECONDS = 0.5  # waves that come home sooner grow, since each costs a trip to the scheduler
MOST_AHEAD = 2_000  # tasks claimed and not yet home: others could have run them

Report = tuple[bytes | None, str]  # the sidecar's text, or why there is none


@functools.lru_cache(maxsize=4)
def _runner(pickled: bytes) -> Runner:
    """Unpickle a runner, once per worker."""
    runner: Runner = pickle.loads(pickled)
    return runner


def work(task: Task, pickled: bytes) -> Report:
    """Execute a task on a worker; never raises, since an exception might not survive the way home."""
    if not os.path.isdir(task.area.root):
        return None, (
            f"the worker does not see the results folder {task.area.results_dir}, which it must share with this "
            "process under the same path"
        )
    before = sidecars.read(task.area, task.key, task.attempt)
    if before is not None:  # Dask runs a task again if the worker that holds its answer is lost
        return sidecars.encode(before), ""
    try:
        return sidecars.encode(attempt.run(task, _runner(pickled))), ""
    except Torn:
        return None, "another execution of it did not come to an end"
    except Exception as error:  # noqa: BLE001  (whatever a runner raises)
        return None, f"it raised {type(error).__qualname__} on the worker: {error}"


class Dask:
    """Executes tasks on the workers of a client.

    Parameters
    ----------
    client
        A `distributed.Client`.
    runner
        The store's; pickled once here, and unpickled once on each worker.
    """

    def __init__(self, client: Any, runner: Runner) -> None:
        self._client = client
        self._runner = runner

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Keep the workers busy, and yield what comes home."""
        import cloudpickle  # Dask's own way with runners from notebooks and scripts, so it is there
        from distributed import as_completed

        source = iter(tasks)
        under_way: dict[Any, Task] = {}
        try:
            if self._client.status != "running":
                raise ConnectionError(f"it is {self._client.status}")
            pickled = cloudpickle.dumps(self._runner)
            least = room = TASKS_PER_THREAD * max(1, sum(self._client.nthreads().values()))
            coming: Any = as_completed(loop=self._client.loop)  # type: ignore[no-untyped-call]
            handed = time.monotonic()
            while True:
                if len(under_way) <= room // 2:
                    quick = time.monotonic() - handed < WAVE_SECONDS
                    room = min(room * 2, MOST_AHEAD) if quick else max(room // 2, least)
                    handed = time.monotonic()
                    wave = list(itertools.islice(source, max(room - len(under_way), 0)))
                    if wave:
                        futures = self._client.map(work, wave, pickled=pickled, pure=False, key="entropic")
                        under_way.update(zip(futures, wave, strict=True))
                        coming.update(futures)
                if not under_way:
                    break
                for future, report in self._reports(coming.next_batch(block=True)):
                    yield _outcome(under_way.pop(future), report)
        except GeneratorExit:
            raise
        except Exception as error:
            raise ExecutorLost(f"the Dask client failed: {type(error).__qualname__}: {error}") from error
        finally:
            self._cancel(list(under_way))

    def _reports(self, futures: list[Any]) -> Iterator[tuple[Any, Report]]:
        """Fetch what has come home: in one trip, or one by one where something was lost."""
        done = [future for future in futures if future.status == "finished"]
        try:
            reports = dict(zip(done, self._client.gather(done), strict=True)) if done else {}
        except Exception as error:  # noqa: BLE001  (lost between the scheduler's word and the fetch)
            log.debug("a batch could not be fetched (%s); one by one", error)
            reports = {}
        for future in futures:
            report = reports[future] if future in reports else _report(future)
            future.release()  # at once: what is still wanted is run again when the worker that holds it dies
            yield future, report

    def _cancel(self, futures: list[Any]) -> None:
        if futures:
            try:
                self._client.cancel(futures)
            except Exception as error:  # noqa: BLE001  (there may be no scheduler any more)
                log.debug("could not cancel what was pending: %s", error)


def _report(future: Any) -> Report:
    try:
        report: Report = future.result()
        return report
    except Exception as error:  # noqa: BLE001  (a lost worker, a task that does not unpickle there ...)
        return None, f"Dask could not run it: {type(error).__qualname__}: {error}"


def _outcome(task: Task, report: Report) -> Outcome:
    text, reason = report
    if text is None:
        return _at_home(task, reason)
    if not sidecars.exists(task.area, task.key, task.attempt):
        return Outcome(task, None, "the worker wrote its result to a folder that this process does not see")
    return Outcome(task, sidecars.decode(text), reason)


def _at_home(task: Task, reason: str) -> Outcome:
    """Look on the disk: what a lost worker has finished is finished."""
    return Outcome(task, sidecars.read(task.area, task.key, task.attempt), reason)
