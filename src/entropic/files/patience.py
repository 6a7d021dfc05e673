"""Looking again, where a folder on a network remembers for a while what was not there, or how it was, as NFS does.

A file that another host has placed may look as if it were gone for as long as such a memory lasts. A listing of the
folder is asked of the server anew: what it shows is there, whatever a look at the file itself says.
"""

import os
import time
from collections.abc import Iterator

REMEMBERED = 65.0  # s; NFS keeps what it has seen for up to 60, unless it is told otherwise
UNLISTED = 10.0  # s after which what a listing does not show is not on its way any more
SHORTEST, LONGEST = 0.02, 2.0  # s between two listings


def list_repeatedly(folder: str, seconds: float) -> Iterator[frozenset[str]]:
    """Yield what a folder lists, once more in any case, and then again and again until so many seconds are over."""
    deadline, pause = time.monotonic() + seconds, SHORTEST
    while True:
        yield _names(folder)
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST)


def _names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def turns_up(path: str) -> bool:
    """Tell whether a file that cannot be seen is there nevertheless: its folder lists it, and soon it can be seen."""
    folder, name = os.path.split(path)
    for names in list_repeatedly(folder, REMEMBERED):
        if os.path.exists(path):
            return True
        if name not in names or os.path.islink(path):  # a link that can be seen leads nowhere
            return False
    return False
