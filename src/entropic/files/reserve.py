"""A little room on the disk that is taken before a run, so that one that finished can be recorded on a full disk.

It costs a worker one file and one folder for all its runs. On a full disk the sidecar is written into blocks that are
the worker's already, and the file gets its name; the folder becomes the slot, where one is needed; a rename for which
a folder of names must grow gets the rest of the file. `tests/crash/test_full_disk.py` fills disks.
"""

import contextlib
import errno
import os
from collections.abc import Callable
from typing import TypeVar

from entropic.files.staging import Staging
from entropic.support import process

T = TypeVar("T")
FULL = {errno.ENOSPC, errno.EDQUOT}
SIDECAR, NAMES = 32 * 1024, 512 * 1024  # bytes; XFS wants that much before it adds a name where none fits any more
_FOLDER = ".slot"


class Reserve:
    """The room of one worker; making it raises `OSError` if there is none.

    Attributes
    ----------
    size
        For a sidecar of how many bytes it is enough.
    spent
        Whether some of it was needed: then there must be a new one before the next run.
    """

    def __init__(self, staging: Staging, worker: str) -> None:
        folder = staging.inside("reserve")
        self.path, self.size, self.spent = f"{folder}{os.sep}{worker}", SIDECAR, False
        try:
            os.mkdir(folder)
        except FileExistsError:
            _remove_those_of_the_dead(folder)
        try:
            _allocate(self.path, SIDECAR + NAMES)
            os.mkdir(self.path + _FOLDER)
        except BaseException:
            self.close()
            raise

    def grow(self, size: int) -> None:
        """Reserve more, for an uncommonly long sidecar; raises `OSError` if there is no room for it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        _allocate(self.path, size + NAMES)
        self.size = size

    def with_room(self, make: Callable[..., T], *given: str) -> T:
        """Do something that may need a few blocks; on a full disk, give it that part of what is reserved."""
        try:
            return make(*given)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.spent = True
            try:
                os.truncate(self.path, self.size)
            except FileNotFoundError:
                raise error from None
            return make(*given)

    def make_folder(self, path: str) -> None:
        """Make a folder; on a full disk, of the one that is reserved."""
        try:
            os.mkdir(path)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.with_room(os.rename, self.path + _FOLDER, path)
            self.spent = True

    def become(self, path: str, content: bytes, is_ours: bool) -> bool:
        """Become a file with this content, in one step and in no new block; False if there is not enough reserved.

        Parameters
        ----------
        is_ours
            Whether there is an unfinished one, which we have made, and whose place it takes.

        Raises
        ------
        FileExistsError
            If there is one that is not ours.
        """
        self.spent = True
        try:
            file = os.open(self.path, os.O_WRONLY)
        except FileNotFoundError:
            return False
        try:
            if len(content) > self.size or os.pwrite(file, content, 0) != len(content):
                return False
            os.ftruncate(file, len(content))
            os.fsync(file)  # so rare that it can always be
        finally:
            os.close(file)
        if is_ours:
            os.rename(self.path, path)
        else:
            os.link(self.path, path)
            os.unlink(self.path)
        return True

    def close(self) -> None:
        """Give the room back."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        with contextlib.suppress(OSError):
            os.rmdir(self.path + _FOLDER)


def _allocate(path: str, size: int) -> None:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        if hasattr(os, "posix_fallocate"):
            with contextlib.suppress(NotImplementedError):
                os.posix_fallocate(file, 0, size)
                return
        if os.write(file, bytes(size)) != size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _remove_those_of_the_dead(folder: str) -> None:
    for name in os.listdir(folder):
        with contextlib.suppress(OSError, ValueError):
            if process.state(name.removesuffix(_FOLDER)) == "dead":
                (os.rmdir if name.endswith(_FOLDER) else os.unlink)(f"{folder}{os.sep}{name}")
