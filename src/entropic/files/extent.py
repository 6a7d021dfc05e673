"""What tells two contents of a result apart without reading them: size and mtime."""

import errno
import math
import os
import re
import stat
from dataclasses import dataclass

# What others leave in a folder that somebody looks at: Finder, Explorer, KDE, Jupyter, LibreOffice, macOS on disks of
# others, Synology; what editors and file managers have open (vim, GNOME); and NFS, FUSE and Samba in the place of files
# that are removed while they are open. Not __MACOSX, which whoever unpacks an archive has written: a run, mostly.
_NOT_OURS = re.compile(
    r"\.DS_Store|\._.*|\.AppleDouble|\.Spotlight-V100|\.Trashes|\.fseventsd|(?:eh)?thumbs\.db|desktop\.ini|\.directory"
    r"|\.nfs[0-9a-f]{8,}|\.fuse_hidden[0-9a-f]+|\.smbdelete.*|\.~lock\..*#|\..*\.sw[op]|\.goutputstream-\w+|\.apdisk|\.Trash-\d+"
    r"|\.ipynb_checkpoints|@eadir",
    re.IGNORECASE,
)
# What the system says of a path that leads to nothing: also of one that is too long, and of links in a circle.
NOT_THERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP))
_BEGINNINGS = frozenset(".tTeEdD@")  # theirs; most names of chunks begin with a digit


@dataclass(slots=True)  # which is made sooner than a named tuple
class Extent:
    """Size in bytes (of a folder: of all in it that a run may have written), mtime in ns (of a folder: its own)."""

    size: int
    mtime_ns: int
    folder: bool


def extent(path: str, follow: bool = True, most: float = math.inf) -> Extent | None:
    """Return the extent of a file or folder; None if it is not there, as what is no path never is.

    Parameters
    ----------
    follow
        Whether to look at what a link leads to; else None is returned of a link.
    most
        Bytes beyond which nobody needs to know how large a folder is.
    """
    try:
        found = os.stat(path) if follow else os.lstat(path)
    except ValueError:
        return None
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
        return None
    if stat.S_ISREG(found.st_mode):
        return Extent(found.st_size, found.st_mtime_ns, False)
    if stat.S_ISLNK(found.st_mode):
        return None
    if stat.S_ISDIR(found.st_mode):
        try:
            return Extent(_size_below(path, most), found.st_mtime_ns, True)
        except (FileNotFoundError, NotADirectoryError):  # on its way somewhere else
            return None
    return Extent(found.st_size, found.st_mtime_ns, False)


def extent_elsewhere(path: str, most: object = math.inf) -> Extent | None:
    """Return the extent of what somebody says that a result is, outside of the results folder.

    A database may be anybody's, and name a folder that holds a whole disk, or what this user may not look at: then
    no more is looked at than is needed, and what cannot be looked at counts as not there.
    """
    try:
        return extent(path, most=most if isinstance(most, int | float) else math.inf)
    except OSError:
        return None


def is_of_others(name: str) -> bool:
    """Tell whether something in a folder was left there by who looked at it, and is no part of a result."""
    return name[0] in _BEGINNINGS and _NOT_OURS.fullmatch(name) is not None


def _size_below(folder: str, most: float) -> int:
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] in _BEGINNINGS and _NOT_OURS.fullmatch(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                total += _size_below(entry.path, most - total)
            else:
                total += entry.stat(follow_symlinks=False).st_size
            if total > most:
                break
    return total
