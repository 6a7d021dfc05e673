"""What tells two contents of a result apart without reading them: size and mtime."""

import os
import stat
from typing import NamedTuple


class Measure(NamedTuple):
    """Size in bytes (of a folder: of all files in it) and mtime in nanoseconds (of a folder: its own)."""

    size: int
    mtime_ns: int
    folder: bool


def measure(path: str) -> Measure | None:
    """Return the measure of a file or folder; None if it is not there, as what is no path never is."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if stat.S_ISDIR(found.st_mode):
        try:
            return Measure(_size_below(path), found.st_mtime_ns, True)
        except (FileNotFoundError, NotADirectoryError):  # on its way somewhere else
            return None
    return Measure(found.st_size, found.st_mtime_ns, False)


def _size_below(folder: str) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _size_below(entry.path)
            else:
                total += entry.stat(follow_symlinks=False).st_size
    return total
