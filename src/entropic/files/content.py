"""Contents of results: brought from somewhere else, by hard links or copies, and compared with each other.

Where they come from may be anybody's folder. So nothing is opened but regular files, and no link is followed: one that
lies in the folder of a result stays a link.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator

from entropic.files.extent import is_of_others

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EACCES}
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_AT_ONCE = 2**20  # bytes


class Strange(Exception):
    """Something in a result is neither a file, nor a folder, nor a link."""


def bring(source: str, target: str, link: bool) -> bool:
    """Make, under a new name, what lies somewhere else, with its times; tell whether any of it was copied.

    Parameters
    ----------
    source, target
        Paths of a file or a folder. A folder may be there already, and empty.
    link
        Whether its files are to be hard links to the same data, where the file system can do that.

    Raises
    ------
    Strange
        If there is a pipe, a socket or a device in it.
    """
    found = os.lstat(source)
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(source), target)
        return False
    if not stat.S_ISDIR(found.st_mode):
        return not (link and _linked(source, target, found)) and _copy(source, target)
    os.makedirs(target, exist_ok=True)
    copied = [bring(inner, os.path.join(target, name), link) for name, inner in inside(source)]
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    return any(copied)


def inside(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the names and paths of what is in a folder, in the order of their names."""
    for name in sorted(os.listdir(folder)):
        yield name, os.path.join(folder, name)


def _linked(source: str, target: str, found: os.stat_result) -> bool:
    """Make a hard link, if that is possible; tell whether it was."""
    if not stat.S_ISREG(found.st_mode):
        raise Strange(source)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def _copy(source: str, target: str) -> bool:
    with open(opened(source), "rb") as reading, open(target, "xb") as writing:
        shutil.copyfileobj(reading, writing, _AT_ONCE)
        seen = os.fstat(reading.fileno())
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    return True


def opened(path: str) -> int:
    """Return the descriptor of a regular file, to be read; nothing else is opened, and no link followed."""
    descriptor = os.open(path, _FLAGS)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise Strange(path)


def are_alike(one: str, other: str) -> bool:
    """Tell whether two files, or two folders, hold the same; their times, and what file browsers leave, do not count.

    Raises
    ------
    Strange
        If there is a pipe, a socket or a device in one of them.
    """
    first, second = os.lstat(one), os.lstat(other)
    if os.path.samestat(first, second):
        return True
    if stat.S_IFMT(first.st_mode) != stat.S_IFMT(second.st_mode):
        return False
    if stat.S_ISLNK(first.st_mode):
        return os.readlink(one) == os.readlink(other)
    if not stat.S_ISDIR(first.st_mode):
        return first.st_size == second.st_size and _hold_the_same(one, other)
    names = [[name for name in sorted(os.listdir(folder)) if not is_of_others(name)] for folder in (one, other)]
    return names[0] == names[1] and all(
        are_alike(os.path.join(one, name), os.path.join(other, name)) for name in names[0]
    )


def _hold_the_same(one: str, other: str) -> bool:
    with open(opened(one), "rb") as first, open(opened(other), "rb") as second:
        while (piece := first.read(_AT_ONCE)) == second.read(_AT_ONCE):
            if not piece:
                return True
    return False
