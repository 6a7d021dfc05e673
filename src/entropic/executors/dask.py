"""The executor that hands tasks to a Dask cluster. Its workers need the results folder, not the database."""

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from entropic.errors import ParameterError, UnguardedError
from entropic.executors.bundles import Bundles
from entropic.executors.contract import TICK, Ending, ExecutorLost
from entropic.executors.pickling import Sending, packed, pickled
from entropic.executors.runner_parcel import Luggage
from entropic.executors.work import Reports, work_packed
from entropic.files.task import Task

log = logging.getLogger("entropic")
TASKS_PER_THREAD = 4  # handed over ahead, so that no worker waits for us
WAVE_SECONDS = 0.5  # waves that come back sooner grow, since each costs a trip to the scheduler
COUNT_SECONDS = 1.0  # between two looks at how many threads there are
NOBODY_SECONDS = 30.0  # without a worker, before that is said: a cluster that adapts begins with none
MOST_AHEAD = 2_000  # tasks claimed and not yet home: others could have run them


class Dask:
    """Executes tasks on the workers of a client.

    Parameters
    ----------
    client
        A `distributed.Client`.
    sending
        The store's runner; pickled once here, and unpickled once on each worker.

    Raises
    ------
    ParameterError
        If the client is asynchronous, and gives coroutines in place of answers.
    """

    falls_back = True
    ends = False

    def __init__(self, client: Any, sending: Sending) -> None:
        if getattr(client, "asynchronous", False) is True:
            raise ParameterError(
                "the Dask client is asynchronous, and a sweep waits for its runs; give a client that is made outside "
                "of coroutines, without asynchronous=True (in a coroutine: await asyncio.to_thread(store.sweep, ...) "
                "with such a client)"
            )
        self._client = client
        self._sending = sending
        self._luggage: Luggage | None = None
        self._nobody_since: float | None = None  # when the last worker went
        self._told = False

    @property
    def standing(self) -> str:
        """Whether there is nobody to work."""
        return "" if self._nobody_since is None else "no workers"

    def run(self, tasks: Iterable[Task | None]) -> Generator[Ending | None, None, None]:
        """Keep the workers busy, and yield what comes back."""
        from distributed import as_completed

        bundles = Bundles(tasks)
        under_way: dict[Any, list[Task]] = {}
        try:
            if self._client.status != "running":
                raise ConnectionError(f"it is {self._client.status}")
            _check_versions(self._client)
            self._luggage = Luggage(pickled(self._sending))
            threads, room, counted = 1, 0, -COUNT_SECONDS
            coming: Any = as_completed(loop=self._client.loop)  # type: ignore[no-untyped-call]
            handed = time.monotonic()
            while True:
                if time.monotonic() - counted > COUNT_SECONDS:  # a cluster may grow, and begin with nothing
                    threads, counted = max(1, self._count()), time.monotonic()
                    room = max(room, TASKS_PER_THREAD * threads)
                count = sum(map(len, under_way.values()))
                if count <= room // 2:
                    quick = time.monotonic() - handed < WAVE_SECONDS
                    room = min(room * 2, MOST_AHEAD) if quick else max(room // 2, TASKS_PER_THREAD * threads)
                    handed = time.monotonic()
                    wave = bundles.take(room - count, threads)
                    if wave:
                        packs = [packed(bundle) for bundle in wave]
                        parcel = self._luggage.parcel(wave[0][0].staging)
                        futures = self._client.map(work_packed, packs, parcel=parcel, pure=False, key="entropic")
                        under_way.update(zip(futures, wave, strict=True))
                        coming.update(futures)
                if not under_way:
                    if not bundles.more:
                        break
                    yield None
                    continue
                batch = self._next_batch(coming)
                if not batch:
                    yield None
                for future, reports in self._reports(batch):
                    bundle = under_way.pop(future)
                    yield from bundles.endings(bundle, reports)
        except (GeneratorExit, UnguardedError):
            raise
        except Exception as error:
            raise ExecutorLost(f"the Dask client failed: {type(error).__qualname__}: {error}") from error
        finally:
            self._cancel(list(under_way))

    def _count(self) -> int:
        """Return how many threads there are; say it once if there have been none for a while: none may ever come."""
        threads: int = sum(self._client.nthreads().values())
        if threads:
            self._nobody_since, self._told = None, False
            return threads
        if self._nobody_since is None:
            self._nobody_since = time.monotonic()
        if not self._told and time.monotonic() - self._nobody_since >= NOBODY_SECONDS:
            self._told = True
            log.warning(
                "the Dask cluster has had no workers for %.0f s, and the sweep waits for some; if none come, look at "
                "its queue and its logs",
                NOBODY_SECONDS,
            )
        return threads

    def _next_batch(self, coming: Any) -> list[object]:
        """Return what has come back, after a moment's wait; nothing if nothing has."""
        deadline = time.monotonic() + TICK
        while not (batch := list(coming.next_batch(block=False))) and time.monotonic() < deadline:
            time.sleep(0.005)
        return batch

    def close(self) -> None:
        """Leave the cluster to its owner."""
        if self._luggage is not None:
            self._luggage.close()

    def _reports(self, futures: list[Any]) -> Iterator[tuple[object, Reports]]:
        """Fetch what has come back: in one trip, or one by one where something was lost."""
        done = [future for future in futures if future.status == "finished"]
        try:
            reports = dict(zip(done, self._client.gather(done), strict=True)) if done else {}
        except Exception as error:  # noqa: BLE001  (lost between the scheduler's word and the fetch)
            log.debug("a batch could not be fetched (%s); fetching its reports one by one", error)
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


def _check_versions(client: Any) -> None:
    """Raise if what travels would not be understood, with a sentence that says what to install where."""
    found = client.get_versions(packages=["entropic"])
    ours = _versions(found["client"])
    for address, worker in found["workers"].items():
        theirs = _versions(worker)
        if theirs != ours:
            raise RuntimeError(
                f"its worker {address} has {_spell(theirs)}, but this process has {_spell(ours)}; install these there"
            )


def _versions(of: Any) -> dict[str, str]:
    packages = of["packages"]
    python = ".".join(str(packages.get("python", "?")).split(".")[:2])
    return {
        "Python": python,
        "entropic": str(packages.get("entropic")),
        "cloudpickle": str(packages.get("cloudpickle")),
    }


def _spell(versions: dict[str, str]) -> str:
    return ", ".join(f"no {name}" if version == "None" else f"{name} {version}" for name, version in versions.items())


def _report(future: Any) -> Reports:
    try:
        reports: Reports = future.result()
        return reports
    except Exception as error:  # noqa: BLE001  (a lost worker, a task that does not unpickle there ...)
        return f"Dask could not run it: {type(error).__qualname__}: {error}"
