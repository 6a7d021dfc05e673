"""The folders inside of staging that hold things of one kind, reached by a descriptor: no link leads out of them."""

import contextlib
import os
from collections.abc import Iterator

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


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
