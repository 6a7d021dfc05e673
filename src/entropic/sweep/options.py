"""How a sweep is carried out: what the user may say of it, and what executes it."""

import concurrent.futures
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from entropic.ask.standing import Submitted
from entropic.errors import ParameterError
from entropic.executors.contract import Executor
from entropic.executors.resources import AS_FOUND, Resources
from entropic.params.fields import is_duration
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import spelled
from entropic.sweep.deadline import Deadline

if TYPE_CHECKING:
    from typing import TypeGuard

    from entropic.executors.pickling import Sending
    from entropic.executors.scheduler import Slurm
    from entropic.executors.submission import SubmissionOptions

MOST_WORKERS = 10_000
MOST_RETRIES = 1_000
RETRIES = 2  # of a set that a job has taken along, unless the sweep says how many
ORDERS = ("given", "longest", "spread")


def check_names(custom_data: Iterable[str]) -> None:
    """Refuse what is meant as an option and would be stored as custom data of every set, such as `worker=4`.

    Raises
    ------
    ParameterError
        With the option that was probably meant.
    """
    options = [*(one.name for one in fields(Options) if one.init), "replicates"]
    for name in custom_data:
        import difflib  # here: most sweeps have none

        # 'score' is no mistyped 'cores', but 'n_cores' is one.
        alike = [one for one in options if one[0] == name[:1] or one in name.split("_")]
        if close := difflib.get_close_matches(name, alike, 1, 0.75):
            raise ParameterError(
                f"there is no option {name!r} of a sweep; {close[0]!r} is one. As custom data, {name!r} can be given "
                "with each set: {..., 'custom_data': {...}}"
            )


def _is_slurm(client: Any) -> "TypeGuard[Slurm]":
    scheduler = sys.modules.get("entropic.executors.scheduler")  # which who has such a client has imported
    return scheduler is not None and isinstance(client, scheduler.Slurm)


def _is_dask(client: Any) -> bool:
    return all(hasattr(client, name) for name in ("map", "status", "nthreads", "cancel"))


@dataclass(frozen=True, slots=True)
class Options:
    """How a sweep is carried out; checked before anything else.

    Raises
    ------
    ParameterError
        If they cannot be met, or contradict each other.
    """

    client: Any = None
    workers: int | None = None
    on_error: str = "raise"
    retry_failed: bool = True
    timeout: float | None = None
    progress: bool | None = None
    worker_setup: Callable[[], object] | None = None
    rerun: bool = False
    fallback: str = "local"
    order: str = "given"
    deadline: float | str | None = None
    retries: int | None = None
    wait: bool = True
    cores: int | None = None
    memory: int | str | None = None
    gpus: int | None = None
    resources: Resources = field(default=AS_FOUND, init=False)
    """The last three, which each run gets."""
    until: Deadline | None = field(default=None, init=False)
    """The deadline, which counts from the call."""
    told: list[Submitted] = field(default_factory=list, init=False)
    """How a sweep stands that does not wait."""

    def __post_init__(self) -> None:
        workers, timeout = self.workers, self.timeout
        if workers is not None and self.client is not None:
            raise ParameterError("give workers or client, not both: each is a way to run the sweep")
        if workers is not None and (type(workers) is not int or not -1 <= workers <= MOST_WORKERS or workers == 0):
            raise ParameterError(
                f"workers must be a number of processes from 1 to {MOST_WORKERS:,}, or -1 for one per core, not "
                f"{spelled(workers)}"
            )
        if timeout is not None:
            if not is_duration(timeout):
                raise ParameterError(f"timeout must be a number of seconds above 0, not {spelled(timeout)}")
            if workers is None and not self._is_slurm:
                instead = "pass workers=1 or more as well" if self.client is None else "use workers in place of client"
                raise ParameterError(f"timeout needs workers or Slurm, which can kill a single run; {instead}")
        if self.worker_setup is not None:
            if not callable(self.worker_setup):
                raise ParameterError(f"worker_setup is a function without arguments, not {spelled(self.worker_setup)}")
            if workers is None and self.client is None:
                raise ParameterError("worker_setup is for workers or a client; this process sets itself up")
        if self.rerun not in (True, False):
            raise ParameterError(f"rerun must be True or False, not {spelled(self.rerun)}")
        if self.on_error not in ("raise", "continue"):
            raise ParameterError(f"on_error must be 'raise' or 'continue', not {spelled(self.on_error)}")
        if self.fallback not in ("local", "raise"):
            raise ParameterError(f"fallback must be 'local' or 'raise', not {spelled(self.fallback)}")
        if self.fallback == "raise" and (self.client is None or self._is_slurm):
            raise ParameterError(
                "fallback='raise' is only for a pool or a Dask client: without one, and with Slurm, there is no "
                "fallback; leave it out"
            )
        if self.order not in ORDERS:
            raise ParameterError(f"order must be 'given', 'longest' or 'spread', not {spelled(self.order)}")
        self._check_retries()
        self._check_wait()
        self._check_resources()
        if self.deadline is not None:
            object.__setattr__(self, "until", Deadline(self.deadline))

    def _check_retries(self) -> None:
        retries = self.retries
        if retries is None:
            return
        if type(retries) is not int or not 0 <= retries <= MOST_RETRIES:
            raise ParameterError(f"retries must be a whole number from 0 to {MOST_RETRIES:,}, not {spelled(retries)}")
        if self.workers is None and not self._is_slurm:
            raise ParameterError(
                "retries is for workers and Slurm, which can tell what a machine did from what a run raised; pools and "
                "Dask have ways of their own"
            )

    def _check_wait(self) -> None:
        if self.wait not in (True, False):
            raise ParameterError(f"wait must be True or False, not {spelled(self.wait)}")
        if self.wait:
            return
        if not self._is_slurm:
            raise ParameterError(
                "wait=False is for Slurm, whose jobs go on without the process that has submitted them; all else ends "
                "with it"
            )
        if self.deadline is not None or self.rerun:
            name = "rerun" if self.rerun else "deadline"
            raise ParameterError(f"{name} cannot be combined with wait=False; leave one of them out")

    def _check_resources(self) -> None:
        resources = Resources.of(self.cores, self.memory, self.gpus)
        if resources is AS_FOUND:
            return
        names = " and ".join(resources.names)
        is_are = "is" if len(resources.names) == 1 else "are"
        if self._is_slurm:
            resources.in_jobs(self.client)
        elif _is_dask(self.client):
            raise ParameterError(
                f"{names} {is_are} for workers and Slurm; with Dask, its workers are made so that each run has enough: "
                "LocalCluster(n_workers=4, threads_per_worker=1, memory_limit='4GB'), and for what a worker has of its "
                "own, such as a GPU, resources={'GPU': 1} there and `with dask.annotate(resources={'GPU': 1}):` around "
                "the sweep"
            )
        elif self.client is not None:
            if not isinstance(self.client, concurrent.futures.Executor):
                raise self._no_client()
            raise ParameterError(
                f"{names} {is_are} for workers and Slurm, whose processes are made for their runs; those of a "
                f"{type(self.client).__name__} have what it gives them"
            )
        elif self.workers is None:
            raise ParameterError(
                f"{names} {is_are} for workers and Slurm, whose processes are made for their runs; pass workers=1 or "
                "more as well"
            )
        object.__setattr__(self, "resources", resources)

    @property
    def _is_slurm(self) -> bool:
        return _is_slurm(self.client)

    @property
    def learns(self) -> bool:
        """Whether what jobs of Slurm ask for is to be learned from stored runs."""
        if not self._is_slurm:
            return False
        from entropic.executors.scheduler import LEARN

        return LEARN in (self.client.time, self.client.mem)

    @property
    def retries_of_jobs(self) -> int:
        """How often a set runs again that a job of Slurm has taken along."""
        return RETRIES if self.retries is None else self.retries

    def make_submission_options(self, context: StoreContext[Base]) -> "SubmissionOptions":
        """Return how the jobs of a sweep that does not wait are to be run."""
        from entropic.executors.submission import SubmissionOptions

        retries = self.retries_of_jobs, self.retries or 0
        asked = self.resources.in_jobs(self.client)
        return SubmissionOptions(asked, self._sending(context), self.timeout, *retries, self.resources)

    def _sending(self, context: StoreContext[Base]) -> "Sending":
        from entropic.executors.pickling import Sending

        return Sending(context.runner, self.worker_setup, context.current_code.to_send)

    def make_local_executor(self, context: StoreContext[Base]) -> Executor | None:
        """Return what runs, in a process of its own, what a client does not bring home: it may have killed the client.

        None if the runner cannot be sent to a process, and so has not been in any of the client's.
        """
        from entropic.executors.workers import Workers

        try:
            return Workers(1, self._sending(context), None)
        except ParameterError:
            return None

    def make_executor(self, context: StoreContext[Base]) -> Executor | None:
        """Return what executes the sweep; None for this process itself."""
        if self.workers is not None:
            from entropic.executors.workers import Workers

            return Workers(self.workers, self._sending(context), self.timeout, self.resources)
        if self.client is None:
            return None
        if _is_slurm(self.client):
            from entropic.executors.jobs import Jobs

            asked, retries = self.resources.in_jobs(self.client), self.retries_of_jobs
            return Jobs(asked, self._sending(context), self.timeout, retries, self.resources)
        if isinstance(self.client, concurrent.futures.Executor):
            from entropic.executors import workers
            from entropic.executors.futures import Futures

            return Futures(self.client, self._sending(context))
        if _is_dask(self.client):
            from entropic.executors import workers  # noqa: F401
            from entropic.executors.dask import Dask

            return Dask(self.client, self._sending(context))
        raise self._no_client()

    def _no_client(self) -> ParameterError:
        from entropic.executors.instead import refusal

        return ParameterError(refusal(self.client))
