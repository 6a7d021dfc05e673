"""What the control groups of Linux leave to this process: those of its container, job or scope, and all above them.

Both versions are looked at, and the smallest limit counts. In a container that does not see the groups above its own,
the root is that of the container.
"""

import math
import posixpath
from collections.abc import Iterator

ROOT = "/sys/fs/cgroup"
OWN = "/proc/self/cgroup"


def memory() -> float:
    """Return how many bytes they leave; infinity where they set no limit."""
    found = [math.inf]
    for folder in _folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            found += _words(folder, name)
    return min(found)


def cores() -> float:
    """Return how many cores' time they leave, which may be a part of one; infinity where they set no limit."""
    found = [math.inf]
    for folder in _folders("cpu"):
        for words in (
            _words(folder, "cpu.max"),
            [*_words(folder, "cpu.cfs_quota_us"), *_words(folder, "cpu.cfs_period_us")],
        ):
            if len(words) == 2 and words[0] > 0 and words[1] > 0:
                found.append(words[0] / words[1])
    return min(found)


def _folders(controller: str) -> Iterator[str]:
    """Yield the folders in which there may be limits, from the root on."""
    roots = {"": [ROOT, posixpath.join(ROOT, "unified")], controller: [posixpath.join(ROOT, controller)]}
    own = dict.fromkeys(roots, "/")
    try:
        with open(OWN) as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                own.update({version: path for version in controllers.split(",") if version in roots})
    except (OSError, ValueError):  # no Linux, or one without groups
        pass
    for version, bases in roots.items():
        names = [name for name in own[version].split("/") if name]
        for base in bases:
            for depth in range(len(names) + 1):
                yield posixpath.join(base, *names[:depth])


def _words(folder: str, name: str) -> list[int]:
    """Return the numbers of a file; none if there is no such file, or no limit."""
    try:
        with open(posixpath.join(folder, name)) as file:
            return [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return []
