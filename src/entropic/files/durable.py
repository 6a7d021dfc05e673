"""Waiting for the disk: for stores that ask for it (`fsync=True`), and after runs so long that it costs nothing.

Only what the caller names is waited for, and only regular files and folders are opened: a pipe would hold its opener
until somebody writes to it, and a link leads to what is somebody else's.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator

# Some file systems sync no folders, and say so; their names are as safe as these make them.
_NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}
_ALWAYS = 10.0  # seconds: a system begins to write by itself after 30, say, and in no order that helps
_SHARE = 0.02  # of a run's time
_SECONDS, _BYTES_PER_SECOND = 0.02, 200e6  # what a file takes on a disk that is not quick
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


def is_cheap(paths: Iterable[str], seconds: float) -> bool:
    """Tell whether a run took so long that it waits for what is in these files and folders to be on the disk.

    It depends on what is recorded of a run, and on nothing else, so that later it can be told whether it was done.
    """
    if seconds >= _ALWAYS:  # else a part of it may be on the disk, and the rest not, without a hole to tell
        return True
    left = seconds * _SHARE
    if left < _SECONDS:
        return False
    for path in paths:
        for file in files_below(path):
            left -= _SECONDS + os.stat(file).st_size / _BYTES_PER_SECOND
            if left < 0:
                return False
    return True


def files_below(path: str) -> Iterator[str]:
    """Yield the regular files in a folder, and below it; of a file, itself."""
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        yield path
    elif stat.S_ISDIR(mode):
        for folder, _, names in os.walk(path):
            for name in names:
                file = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(file).st_mode):
                    yield file


def sync_content(path: str) -> None:
    """Return when what is in a file, or in a folder and all below it, is on the disk.

    A result that is a link counts as what it leads to; the links below a folder are names, and nothing more.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:  # a link that leads nowhere
        return
    _sync_below(path, mode)


def sync_names(folder: str) -> None:
    """Return when the names in a folder are on the disk; not what they name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def sync_way(folder: str) -> None:
    """Return when the names that lead to a folder are on the disk, from the root of its file system down."""
    device = os.stat(folder).st_dev
    above = os.path.dirname(os.path.realpath(folder))
    while os.stat(above).st_dev == device:
        try:
            sync_names(above)
        except PermissionError:  # one that we may not look into is none that we made
            pass
        if above == os.path.dirname(above):
            return
        above = os.path.dirname(above)


def _sync_below(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _sync_below(entry.path, stat.S_IFDIR)
                elif entry.is_file(follow_symlinks=False):
                    _sync_file(entry.path, os.O_NOFOLLOW)
        sync_names(path)
    elif stat.S_ISREG(mode):
        _sync_file(path, 0)


def _sync_file(path: str, flags: int) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS | flags)
    except PermissionError:  # it may be there to be written, and not to be read
        descriptor = os.open(path, os.O_WRONLY | _FLAGS | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
