"""The folders inside of staging that hold things of one kind, reached by a descriptor: no link leads out of them."""

import contextlib
import os
import stat
from collections.abc import Iterator

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)  # a link that is there is not followed
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # for whoever writes into a pipe


@contextlib.contextmanager
def at(path: str) -> Iterator[int]:
    """Open a folder; raises `OSError` if it is not there, or is a link."""
    folder = os.open(path, _FOLDER)
    try:
        yield folder
    finally:
        os.close(folder)


@contextlib.contextmanager
def opened(root: str, name: str, make: bool = False) -> Iterator[int]:
    """Open a folder inside of a staging folder; raises `OSError` if it is not there, or is a link.

    Parameters
    ----------
    make
        Whether it is made where it is not there.
    """
    path = f"{root}{os.sep}{name}"
    try:
        folder = os.open(path, _FOLDER)
    except FileNotFoundError:
        if not make:
            raise
        os.makedirs(path, exist_ok=True)
        folder = os.open(path, _FOLDER)
    try:
        yield folder
    finally:
        os.close(folder)


def put(folder: int, name: str, content: bytes, beside: str) -> None:
    """Write a file into a folder that was opened, all of it at once, in place of one that is there.

    Parameters
    ----------
    beside
        What it is called until it is whole, which nobody else calls a file there.
    """
    try:
        file = os.open(beside, _NEW, 0o666, dir_fd=folder)
    except FileExistsError:  # of a process that was killed
        os.unlink(beside, dir_fd=folder)
        file = os.open(beside, _NEW, 0o666, dir_fd=folder)
    with open(file, "wb") as whole:
        whole.write(content)
    os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)


def content(name: str, folder: int | None = None, most: int = -1, last: bool = False) -> bytes:
    """Return what is in a file; raises `OSError` for whatever else has its name: a link, a pipe, a folder.

    Parameters
    ----------
    folder
        In which it is, if that was opened; else `name` is a path.
    most
        So many bytes at most.
    last
        Whether these are the last ones.
    """
    file = os.open(name, _READ | _NO_WAIT, dir_fd=folder)
    seen = os.fstat(file)
    if not stat.S_ISREG(seen.st_mode):
        os.close(file)  # which `open` would not do, if it is a folder
        raise OSError(f"{name} is not a file")
    with open(file, "rb") as reading:
        if last and most >= 0:
            reading.seek(max(0, seen.st_size - most))
        return reading.read(most)
