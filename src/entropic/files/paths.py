"""Which names and paths a store can work with: said when it is opened, not after hours of computing."""

import os
import re
from pathlib import Path

from entropic.errors import StoreError
from entropic.support import names
from entropic.support.show import spelled

# The longest names that are made of a suffix, without it: in the staging folder `<key>.<attempt>.<execution>`, of a
# host of 40 characters, and beside a result `<id>=99`, of an id of 100, with `.<attempt>.files`.
ROOM_IN_NAME = 130  # bytes
ROOM_IN_PATH = 400  # bytes below `results_dir`: `.entropic`, the uuid of the database, a workspace, and a name in it
NAME_MAX, PATH_MAX = 255, 4096  # where the system does not tell
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # what `Path("s3://bucket")` leaves of one


def check_suffix(suffix: str) -> str:
    """Return a file suffix that can end the name of a result.

    Raises
    ------
    StoreError
        If it would lead out of the folder, or is a name of ours, or no text.
    """
    if not names.is_suffix(suffix):
        raise StoreError(
            "file_suffix is the end of a file name, such as '.h5', or '/' and the name of the main file of several, "
            f"such as '/a.xdmf', not {spelled(suffix)}"
        )
    if names.whole(suffix).isalnum():  # `5041bf1f713df204json`, which no reader knows
        raise StoreError(f"file_suffix {suffix!r:.80} has no dot; write {'.' + suffix!r:.80}")
    return suffix


def check_folder(results_dir: str | Path) -> str:
    """Return the absolute path of a results folder.

    Raises
    ------
    StoreError
        If it is no path, or a database cannot hold it.
    """
    if not isinstance(results_dir, str | os.PathLike):
        raise StoreError(f"results_dir must be the path of a folder, such as 'results', not {results_dir!a:.200}")
    if "://" in str(results_dir) or _URL.match(str(results_dir)):
        raise StoreError(
            f"results_dir {str(results_dir)!a:.200} is a URL, not a folder; the database goes into db_url="
        )
    folder = os.path.abspath(os.path.expanduser(results_dir))
    refusal = refuses_path(folder)
    if refusal is not None:
        raise StoreError(f"results_dir {folder!a:.200} cannot be used: it {refusal}; give another path")
    return folder


def check_outside(path: str, results_dir: str) -> None:
    """Refuse a path for what is made of results, if it lies in their folder.

    Raises
    ------
    StoreError
        Nothing was made.
    """
    if (os.path.realpath(path) + os.sep).startswith(os.path.realpath(results_dir) + os.sep):
        raise StoreError(f"{path} lies in the results folder, where entropic keeps its own files; take another folder")


def check_lengths(folder: str, suffix: str) -> None:
    """Refuse a suffix, or a folder, with which some names or paths would be longer than the system takes.

    Raises
    ------
    StoreError
        Nothing was made.
    """
    length, longest = len(suffix.encode()), _limit(folder, "PC_NAME_MAX", NAME_MAX) - ROOM_IN_NAME
    if length > longest:
        raise StoreError(
            f"file_suffix {suffix!r:.80} has {length} bytes; names in {folder!r:.200} leave room for {max(longest, 0)}"
            ", since they hold an id and an attempt as well"
        )
    length, longest = len(folder.encode()), _limit(folder, "PC_PATH_MAX", PATH_MAX) - ROOM_IN_PATH
    if length > longest:
        raise StoreError(f"results_dir {folder!r:.200}... has {length} bytes; at most {longest} leave room for results")


def _limit(folder: str, name: str, usual: int) -> int:
    """Return what the file system of a folder, or of the nearest one above it that exists, says of a limit."""
    while True:
        try:
            found = os.pathconf(folder, name)
            return found if found > 0 else usual
        except (AttributeError, ValueError):  # a system that does not tell
            return usual
        except OSError:
            above = os.path.dirname(folder)
            if above == folder:
                return usual
            folder = above


def refuses_path(path: str) -> str | None:
    """Return why a path cannot be recorded; None if it can."""
    if "\0" in path:
        return "holds a NUL character"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "is not UTF-8, so no database can hold it"
    return None
