"""What each run of a sweep gets: cores, memory and GPUs, and the places in which the workers of this machine have them.

A worker keeps its place, and one that replaces it gets the same: no two share a core or a GPU
(`tests/executors/test_resources.py`). Cores are those of the system's count, out of those that this process may use.
"""

import contextlib
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from entropic.errors import ParameterError
from entropic.executors.gpus import visible_gpus
from entropic.support import process
from entropic.support.show import counted, spelled
from entropic.support.sizes import amount, parse_size

if TYPE_CHECKING:
    from entropic.executors.scheduler import Slurm

MOST = 10_000  # cores or GPUs of a run
OWN = 256 * 2**20  # bytes that a task of a job needs beside its run
_OF_CORES = re.compile("-c.*|--cpus-per-(task|gpu).*")
_OF_MEMORY = re.compile("--mem(-per-.*)?(=.*)?")
_OF_GPUS = re.compile("--gpu(?!-freq).*|-G.*|--(gres|tres).*gpu.*")


class Place(NamedTuple):
    """What one worker has for itself.

    Attributes
    ----------
    cores
        How many it may use; None where that is not asked for.
    pinned
        Which those are; none where the system does not pin.
    variables
        Environment variables that say which GPUs it has.
    """

    cores: int | None = None
    pinned: tuple[int, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


ANYWHERE = Place()


@dataclass(frozen=True, slots=True)
class Resources:
    """What each run gets; None is what it happens to find.

    Attributes
    ----------
    cores, gpus
        How many of its own.
    memory
        The bytes that it may use, with all that it has started.
    asked
        The same, as the user has spelled it.
    """

    cores: int | None = None
    memory: int | None = None
    gpus: int | None = None
    asked: str = ""

    @classmethod
    def of(cls, cores: object, memory: object, gpus: object) -> "Resources":
        """Return the resources that a user asks for.

        Raises
        ------
        ParameterError
            If one of them is none.
        """
        for name, count in (("cores", cores), ("gpus", gpus)):
            if count is not None and (type(count) is not int or not 0 < count <= MOST):
                raise ParameterError(f"{name} must be a whole number from 1 to {MOST:,}, not {spelled(count)}")
        size = memory
        if isinstance(memory, str):
            with contextlib.suppress(ValueError):
                size = parse_size(memory)
        if size is not None and (type(size) is not int or size <= 0):
            raise ParameterError(
                "memory must be a size such as '4GB', '500MB' or '1.5GiB', or a whole number of bytes above 0, not "
                f"{spelled(memory)}"
            )
        if cores is memory is gpus is None:
            return AS_FOUND
        return cls(cores, size, gpus, spelled(memory))  # type: ignore[arg-type]

    @property
    def names(self) -> list[str]:
        """Which of them are asked for."""
        return [name for name in ("cores", "memory", "gpus") if getattr(self, name) is not None]

    # ---- on this machine ---------------------------------------------------------------------------------------
    def count(self) -> int:
        """Return how many workers this machine has room for: in its cores, its memory and its GPUs.

        Raises
        ------
        ParameterError
            If not even one.
        """
        room = [process.cores() // (self.cores or 1)]
        if self.memory is not None:
            room.append(process.memory() // self.memory)
        if self.gpus is not None:
            room.append(len(visible_gpus()[1]) // self.gpus)
        if not min(room):
            self.check(1)
            raise ParameterError(f"this process may use {amount(process.memory())} of memory, less than {self._memory}")
        return min(room)

    def places(self, count: int, cores: list[int]) -> list[Place]:
        """Return the places of so many workers, for which there is room.

        Parameters
        ----------
        cores
            To which they are pinned; none where the system does not pin.
        """
        name, gpus = ("", list[str]()) if self.gpus is None else visible_gpus()
        made, own, mine = [], self.cores or 0, self.gpus or 0
        for at in range(count):
            seen = ((name, ",".join(gpus[at * mine : (at + 1) * mine])),) if mine else ()
            made.append(Place(self.cores, tuple(cores[at * own : (at + 1) * own]), seen))
        return made

    def check(self, count: int) -> None:
        """Raise `ParameterError` if so many workers would have to share a core or a GPU."""
        wanted = count * (self.cores or 0)
        if wanted > (there := process.cores()):
            raise ParameterError(
                f"workers={count} with cores={self.cores} needs {wanted} cores, and this process may use {there}; "
                "nothing was run"
            )
        wanted = count * (self.gpus or 0)
        if wanted and wanted > len(gpus := visible_gpus()[1]):
            raise ParameterError(
                f"workers={count} with gpus={self.gpus} needs {counted(wanted, 'GPU')}, and this process sees "
                f"{_listed(gpus)}; nothing was run"
            )

    @property
    def _memory(self) -> str:
        return f"memory={self.asked}"

    def exceeded(self, used: int) -> str:
        """Return what is said of a run that has used so much memory."""
        return f"the run used more than {self._memory} ({amount(used)}) and was ended"

    def exceeded_by_worker(self, used: int) -> str:
        """Return what is said if no run can begin."""
        return (
            f"a worker process used {amount(used)} before its first run, more than {self._memory}: give more. Nothing "
            "was run in it"
        )

    # ---- in jobs -----------------------------------------------------------------------------------------------
    def in_jobs(self, asked: "Slurm") -> "Slurm":
        """Return what jobs ask for in which each run has these.

        Raises
        ------
        ParameterError
            If they ask for something else already.
        """
        more = list[str]()
        if self.cores is not None:
            if asked.cpus_per_task not in (1, self.cores):
                raise ParameterError(
                    f"cores={self.cores} and cpus_per_task={asked.cpus_per_task} of Slurm contradict each other: both "
                    "are the cores of a run; leave one out"
                )
            if given := _given(asked, _OF_CORES):
                raise ParameterError(
                    f"cores={self.cores} already sets what a task of Slurm gets; leave {given} of Slurm out"
                )
            asked = replace(asked, cpus_per_task=self.cores)
        if self.memory is not None:
            if given := _given(asked, _OF_MEMORY, "mem"):
                raise ParameterError(
                    f"memory={self.asked} already sets what a node of Slurm gets; leave {given} of Slurm out"
                )
            asked = replace(asked, mem=f"{-(-asked.tasks_per_node * (self.memory + OWN) // 2**20)}M")
        if self.gpus is not None:
            if given := _given(asked, _OF_GPUS):
                raise ParameterError(
                    f"gpus={self.gpus} already sets what a job of Slurm gets; leave {given} of Slurm out"
                )
            more.append(f"--gpus-per-task={self.gpus}")
        return replace(asked, extra=[*asked.extra, *more])

    def in_task(self) -> "Resources":
        """Return what a task of a job has yet to give its run: Slurm gives it cores.

        The GPUs that Slurm shows to several tasks of a node are shared out here, in this process's own environment.

        Raises
        ------
        ParameterError
            If Slurm shows fewer.
        """
        if self.gpus is not None:
            name, gpus = visible_gpus()
            at = 0 if len(gpus) == self.gpus else int(os.environ.get("SLURM_LOCALID", "0")) * self.gpus
            if len(gpus) < at + self.gpus:
                raise ParameterError(f"gpus={self.gpus}, and a task of this job sees {_listed(gpus)}")
            os.environ[name] = ",".join(gpus[at : at + self.gpus])
        return replace(self, cores=None, gpus=None) if self.memory is not None else AS_FOUND


AS_FOUND = Resources()


def _listed(gpus: list[str]) -> str:
    return f"{len(gpus)} ({', '.join(gpus)})" if gpus else "none"


def _given(asked: "Slurm", options: re.Pattern[str], field: str = "") -> str:
    """Return which option of a job is given, if one of these is."""
    if field and getattr(asked, field) is not None:
        return field
    return next((repr(one) for one in asked.extra if options.fullmatch(one)), "")
