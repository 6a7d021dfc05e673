"""Savers of results: what a runner returns is written by the suffix, so that `load` returns it again.

What a format would change or lose in silence is refused, with the suffixes that hold it. Nothing is ever pickled.
"""

import os
from collections.abc import Callable, Container
from typing import Any

from entropic.errors import LibraryMissingError, SaveError
from entropic.formats.format import Format, Saver
from entropic.formats.libraries import missing
from entropic.formats.lossless import Unfit, a_value, as_arrays, is_array, is_frame, is_from, is_labelled
from entropic.formats.plain import as_json
from entropic.formats.suffixes import FormatError, find

_OWN = "write params['result_file'] in the runner, or give the store a saver(value, path)"


def save(value: object, path: str, saver: Saver | None = None, suffix: str | None = None) -> None:
    """Write a value as a result.

    Parameters
    ----------
    value
        What a runner returned.
    path
        Where to; what its name ends with says how.
    saver
        Asked first; if it returns `NotImplemented`, entropic's own savers are.
    suffix
        As which it is written, whatever the name ends with.

    Raises
    ------
    SaveError
        If nothing here writes such values in this format.
    LibraryMissingError
        If the library of the format is not installed.
    """
    if saver is not None and _saved(saver, value, path):
        return
    ending, format_ = _format_of(suffix or path)
    if format_ is None or format_.save is None:
        raise SaveError(
            f"the runner returned {a_value(value)} and wrote no file, and entropic writes no files that end with "
            f"{ending!r}. {advise(value, path)}"
        )
    try:
        format_.save(value, path)
    except (LibraryMissingError, SaveError):
        raise
    except ImportError as error:
        if not format_.extra:
            raise _refused(value, ending, f"{type(error).__qualname__}: {error}") from error
        raise missing(error, format_.extra, f"writing a {ending} file") from error
    except OSError as error:
        if error.errno is not None:  # the disk
            raise
        raise _refused(value, ending, str(error)) from error
    except Unfit as error:
        raise _refused(value, ending, str(error)) from None
    except Exception as error:
        raise _refused(value, ending, f"{type(error).__qualname__}: {error}") from error


def _saved(saver: Saver, value: object, path: str) -> bool:
    try:
        return saver(value, path) is not NotImplemented
    except OSError as error:
        if error.errno is not None:  # the disk
            raise
        failed: Exception = error
    except Exception as error:  # noqa: BLE001  (what was computed is not to be lost for it)
        failed = error
    raise SaveError(
        f"the runner returned {a_value(value)}, and saver(value, path) raised {type(failed).__qualname__}: {failed}"
    ) from failed


def is_saved(path: str) -> bool:
    """Tell whether files with such a name can be written here."""
    found = _format_of(path)[1]
    return found is not None and found.save is not None


def _format_of(path: str) -> tuple[str, Format | None]:
    try:
        return find(path) or (os.path.splitext(path)[1], None)
    except FormatError as error:
        raise SaveError(f"{path} cannot be written: {error}, or {_OWN}") from error


def _refused(value: object, suffix: str, why: str) -> SaveError:
    return SaveError(
        f"the runner returned {a_value(value)} and wrote no file, and a {suffix} file cannot hold it: {why}. "
        f"{advise(value, suffix)}"
    )


def advise(value: object, but: str, refused: Container[str] = ()) -> str:
    """Return what to do about a value that a file cannot hold, as a sentence.

    Parameters
    ----------
    value
        Which a runner returned.
    but
        The name, or the suffix, of that file.
    refused
        Other suffixes of which it is known that they do not hold it either.
    """
    holding = dict.fromkeys(suffix for holds, suffix in HOLDERS if holds(value))
    suffixes = [one for one in holding if one not in refused and not but.lower().endswith(one)]
    return f"Use file_suffix={' or '.join(map(repr, suffixes))}, {_OWN}" if suffixes else _OWN[0].upper() + _OWN[1:]


def _is_taken(by: Callable[[Any], object]) -> Callable[[Any], bool]:
    def is_taken(value: object) -> bool:
        try:
            by(value)
        except Exception:  # noqa: BLE001  (of the value's own methods, too)
            return False
        return True

    return is_taken


# Which suffixes hold a value of what kind, best first: what may be found out without a file is.
HOLDERS: list[tuple[Callable[[Any], bool], str]] = [
    (is_labelled, ".nc"),
    (is_labelled, ".zarr"),
    (is_frame, ".parquet"),
    (lambda value: is_array(value) and not is_labelled(value), ".npy"),
    (_is_taken(as_arrays), ".npz"),
    (_is_taken(lambda value: as_json(value, "it")), ".json"),
    (lambda value: isinstance(value, str), ".txt"),
    (lambda value: is_from(value, "matplotlib.Figure", "PIL.Image"), ".png"),
]
