"""`read`: what a result file holds, through the library that owns its format.

Nothing is unpickled, and nothing outside the folder of the result is read (`bounds`).
What is read is read whole and its file is closed, so nothing that is returned changes or dangles when the file does.
"""

import os
from collections.abc import Callable

from entropic.errors import LibraryMissingError, LoadError
from entropic.formats.bounds import OWN_LOADER
from entropic.formats.format import Names
from entropic.formats.libraries import missing
from entropic.formats.suffixes import FormatError, find

Loader = Callable[[str], object]


def read(path: str, loader: Loader | None = None, only: Names = None) -> object:
    """Return what a result file holds.

    Parameters
    ----------
    path
        Of a file, or of a folder (Zarr).
    loader
        Asked first; what it returns is returned, unless that is `NotImplemented`.
    only
        Names of arrays; a format that can leaves the others unread.

    Raises
    ------
    LoadError
        If nothing here reads such files, or this one does not hold what its name says.
    LibraryMissingError
        If the library of the format is not installed.
    """
    if loader is not None:
        found = loader(path)
        if found is not NotImplemented:
            return found
    try:
        suffix, format_ = find(path) or (None, None)
    except FormatError as error:
        raise LoadError(f"{path} cannot be read: {error}, or {OWN_LOADER}") from error
    if format_ is None or format_.read is None:
        why = f"there is no reader for {suffix or os.path.splitext(path)[1].lower()!r}"
        raise LoadError(f"{path} cannot be read: {why}; {OWN_LOADER}")
    try:
        return format_.read(path, only)
    except (LibraryMissingError, LoadError, MemoryError):
        raise
    except ImportError as error:
        if not format_.extra:
            raise
        raise missing(error, format_.extra, f"a {suffix} file") from error
    except Exception as error:
        if "allow_pickle" in str(error):
            reason = "holds Python objects, and reading those would unpickle them, which can run any code"
            raise LoadError(f"{path} {reason}; write numbers or text, or {OWN_LOADER}") from error
        raise LoadError(
            f"{path} cannot be read as its suffix says: {type(error).__name__}: {error}; if the format is another, "
            f"{OWN_LOADER}"
        ) from error
