"""A file system that shows a folder, and remembers for some seconds what was not there, and how it was, as NFS does.

    python caching_mount.py FOLDER MOUNTPOINT SECONDS

Each mount has a memory of its own, like a host.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import mfusepy

SHOWN = (
    "st_atime",
    "st_ctime",
    "st_gid",
    "st_mode",
    "st_mtime",
    "st_nlink",
    "st_size",
    "st_uid",
    "st_ino",
    "st_blocks",
)


class Folder(mfusepy.Operations):
    """Every operation is done in the folder, at once; only the kernel remembers."""

    use_ns = True

    def __init__(self, root: str) -> None:
        self._root = root

    def _at(self, path: str) -> str:
        return self._root + path

    def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
        found = os.lstat(self._at(path))
        return {name: getattr(found, f"{name}_ns" if name.endswith("time") else name) for name in SHOWN}

    def readdir(self, path: str, fh: int) -> Iterator[str]:
        yield from (".", "..", *os.listdir(self._at(path)))

    def open(self, path: str, flags: int) -> int:
        return os.open(self._at(path), flags)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        return os.open(self._at(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: Any = None) -> int:
        os.truncate(self._at(path), length)
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._at(path))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._at(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._at(old), self._at(new))
        return 0

    def link(self, target: str, source: str) -> int:
        os.link(self._at(source), self._at(target))
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        os.utime(self._at(path), ns=times)
        return 0


if __name__ == "__main__":
    folder, mountpoint, seconds = sys.argv[1:]
    remembered = dict.fromkeys(("entry_timeout", "negative_timeout", "attr_timeout"), float(seconds))
    mfusepy.FUSE(Folder(folder), mountpoint, foreground=True, nothreads=False, **remembered)
