"""The logs: what the last run of each key printed in a worker process, in a folder that no link leads out of."""

import contextlib
import os
import stat

from entropic.files.staging import LOGS, Staging
from entropic.files.subfolder import opened


def create(staging: Staging, key: str) -> int:
    """Make the log of a key anew, and return its descriptor; what bore its name goes, and no link is followed."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
    with opened(staging.root, LOGS, make=True) as folder:
        try:
            return os.open(_name(key), flags, 0o666, dir_fd=folder)
        except FileExistsError:
            os.unlink(_name(key), dir_fd=folder)
            return os.open(_name(key), flags, 0o666, dir_fd=folder)


def discard(staging: Staging, key: str, only_empty: bool = False) -> None:
    """Remove the log of a key, if there is one; or only if nothing was printed."""
    with (
        contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError),
        opened(staging.root, LOGS) as folder,
    ):
        if not only_empty or os.stat(_name(key), dir_fd=folder, follow_symlinks=False).st_size == 0:
            os.unlink(_name(key), dir_fd=folder)


def keep(staging: Staging, old: str, new: str) -> None:
    """Let the log of a key be that of another one, too, if that has none."""
    with contextlib.suppress(OSError), opened(staging.root, LOGS) as folder:
        if stat.S_ISREG(os.stat(_name(old), dir_fd=folder, follow_symlinks=False).st_mode):
            os.link(_name(old), _name(new), src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)


def find(staging: Staging, key: str) -> str | None:
    """Return the path of the log of a key, if there is one: a file, and no link to one."""
    with contextlib.suppress(OSError), opened(staging.root, LOGS) as folder:
        seen = os.stat(_name(key), dir_fd=folder, follow_symlinks=False)
        return staging.log(key) if stat.S_ISREG(seen.st_mode) else None
    return None


def _name(key: str) -> str:
    return f"{key}.log"
