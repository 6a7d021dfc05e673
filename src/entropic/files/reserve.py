"""A little room on the disk that is taken before a run, so that one that finished can be recorded on a full disk.

It costs a worker one file and one folder for all its runs. On a full disk the sidecar is written into blocks that are
the worker's already, and the file gets its name; the folder becomes the slot, where one is needed; a rename for which
a folder of names must grow gets the rest of the file. `tests/crash/test_full_disk.py` fills disks.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from entropic.files.staging import Staging
from entropic.files.subfolder import opened
from entropic.support import process

T = TypeVar("T")
FULL = {errno.ENOSPC, errno.EDQUOT}
SIDECAR, NAMES = 32 * 1024, 512 * 1024  # bytes; XFS wants that much before it adds a name where none fits any more
_RESERVE, _FOLDER = "reserve", ".slot"


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
        self.path, self.size, self.spent = f"{staging.inside(_RESERVE)}{os.sep}{worker}", SIDECAR, False
        with opened(staging.root, _RESERVE, make=True) as folder:
            _remove_those_of_the_dead(folder)
            try:
                _allocate(worker, SIDECAR + NAMES, folder)
                os.mkdir(worker + _FOLDER, dir_fd=folder)
            except BaseException:
                self.close()
                raise

    def grow(self, size: int) -> None:
        """Reserve more, for an uncommonly long sidecar; raises `OSError` if there is no room for it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        _allocate(self.path, size + NAMES)
        self.size = size

    def _open(self) -> int:
        """Open the file; raises `FileNotFoundError` if somebody has put something else in its place, a link say."""
        gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise gone from error
        seen = os.fstat(file)
        if stat.S_ISREG(seen.st_mode) and seen.st_nlink <= 1:
            return file
        os.close(file)
        raise gone

    def with_room(self, make: Callable[..., T], *given: str) -> T:
        """Do something that may need a few blocks; on a full disk, give it that part of what is reserved."""
        try:
            return make(*given)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.spent = True
            try:
                file = self._open()
            except FileNotFoundError:
                raise error from None
            try:
                os.ftruncate(file, self.size)
            finally:
                os.close(file)
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
            file = self._open()
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


def _allocate(path: str, size: int, folder: int | None = None) -> None:
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=folder)
    try:
        if hasattr(os, "posix_fallocate"):
            with contextlib.suppress(NotImplementedError):
                os.posix_fallocate(file, 0, size)
                return
        if os.write(file, bytes(size)) != size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(file)


def _remove_those_of_the_dead(folder: int) -> None:
    for name in os.listdir(folder):
        with contextlib.suppress(OSError, ValueError):
            if process.state(name.removesuffix(_FOLDER)) == "dead":
                (os.rmdir if name.endswith(_FOLDER) else os.unlink)(name, dir_fd=folder)
