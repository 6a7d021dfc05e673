"""The bounds of a result: what belongs to it is in its own folder, and whatever leads out of that is not followed.

A result is data, and may be anybody's. A link, a virtual data set or an external storage in it names other files, and
the libraries of the formats open these without a word; some return zeros where there is none.
"""

import os
from typing import NoReturn

from entropic.errors import LoadError

OWN_LOADER = "give the store a loader, which is called with the path: Store(..., loader=read_it)"


def refuse(path: str, what: str) -> NoReturn:
    """Refuse to read a result.

    Raises
    ------
    LoadError
        With the way out that is always there: a loader of the user's.
    """
    raise LoadError(f"{path} {what}; if you trust it, {OWN_LOADER}")


def is_inside(path: str, folder: str) -> bool:
    """Tell whether a path is, once all links are followed, a folder (a real path) or is in it."""
    real = os.path.realpath(path)
    return real == folder or real.startswith(folder.rstrip(os.sep) + os.sep)


def check_links(path: str) -> None:
    """Refuse a folder in which a link leads out of it.

    Raises
    ------
    LoadError
        Before anything is read.
    """
    root = os.path.realpath(path)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            found = os.path.join(folder, name)
            if os.path.islink(found) and not is_inside(found, root):
                refuse_link(path, os.path.relpath(found, root), found)


def refuse_link(path: str, name: str, found: str) -> NoReturn:
    """Refuse a folder because of one link in it."""
    refuse(path, f"holds a link, {name}, that leads out of it, to {os.path.realpath(found)}, and is not followed")
