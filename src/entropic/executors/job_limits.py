"""How much time and memory jobs have: as Slurm spells it, and as the partition allows it."""

import math
import os
import re

from entropic.executors.scheduler import Slurm, call

MOST_SECONDS, MOST_BYTES = 365 * 86400.0, 2.0**50  # of a job, and of a node, where no partition has an end
_UNITS = {"": 2**20, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_MEMORY = re.compile(r"(?P<size>\d+(?:\.\d+)?)(?P<unit>[KMGT]?)B?\+?", re.IGNORECASE | re.ASCII)
_TIME = re.compile(r"(?:(?P<days>\d{1,6})-)?(?P<rest>\d{1,9}(?::\d{1,9}){0,2})", re.ASCII)
_PARTITION = re.compile(r"(?:-p ?|--part[a-z]*[= ])(?P<name>\S+)")


def parse_time(text: str) -> float | None:
    """Return how many seconds a time of Slurm is: "90" minutes, "2:00:00", "1-12"; None if it has no end."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    parts = [int(part) for part in found["rest"].split(":")]
    if found["days"] is not None:  # then hours come first
        hours, minutes, seconds = [*parts, 0, 0][:3]
        return 86400.0 * int(found["days"]) + 3600 * hours + 60 * minutes + seconds
    hours, minutes, seconds = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return 3600.0 * hours + 60 * minutes + seconds


def parse_memory(text: str) -> float | None:
    """Return how many bytes a memory of Slurm is: "4G", and "400" are megabytes; None if it is none."""
    found = _MEMORY.fullmatch(text.strip())
    return None if found is None else float(found["size"]) * _UNITS[found["unit"].upper()]


def time_of(seconds: float) -> str:
    """Return a time as Slurm takes it, in whole minutes."""
    minutes = max(1, math.ceil(seconds / 60 - 1e-9))
    return f"{minutes // 60}:{minutes % 60:02d}:00"


def memory_of(size: float) -> str:
    """Return a memory as Slurm takes it, in whole megabytes."""
    return f"{max(1, math.ceil(size / 2**20 - 1e-9))}M"


def bounds(asked: Slurm) -> tuple[float, float]:
    """Return how many seconds a job may last, and how many bytes a node of its partition has, as `sinfo` tells.

    Of several partitions, as many as the one that allows most.

    Raises
    ------
    SlurmError
        With what `sinfo` says.
    """
    said = call(["sinfo", "--noheader", "--exact", "--all", "--format=%P|%l|%m"])
    wanted = _partitions(asked)
    seconds, memory = list[float](), list[float]()
    for line in said.splitlines():
        name, _, rest = line.strip().partition("|")
        limit, _, size = rest.partition("|")
        if name.rstrip("*") in wanted if wanted else name.endswith("*"):
            longest, largest = parse_time(limit), parse_memory(size)
            seconds.append(math.inf if longest is None else 60 * (longest // 60))  # as `time_of` says it
            memory.append(math.inf if largest is None else largest)
    return min(max(seconds, default=math.inf), MOST_SECONDS), min(max(memory, default=math.inf), MOST_BYTES)


def _partitions(asked: Slurm) -> set[str]:
    """Return to which partitions a job goes; none, if to the default one."""
    extra = [found["name"] for one in asked.extra if (found := _PARTITION.match(one))]
    named = extra[-1] if extra else asked.partition or os.environ.get("SBATCH_PARTITION") or ""
    return set(str(named).split(",")) - {""}
