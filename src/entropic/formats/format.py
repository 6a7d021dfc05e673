"""What is known of a format, in one place: for readers, savers, errors and documents."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Names = Iterable[str] | None  # of the arrays that are wanted; None: of all
Reader = Callable[[str, Any], object]
Saver = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of results: how files of it are read and written.

    entropic's own are in `formats/catalogue.py`. Others come from packages that name one as an entry point of the group
    `entropic.formats`, under its suffix without the dot; docs/results.md shows how.

    Parameters
    ----------
    suffixes
        What the names of such files end with, in small letters: `(".nii", ".nii.gz")`.
    read
        Called as `read(path, names)`. Reads a file whole, closes it, and returns arrays of numpy, dicts of them, a data
        frame, or a `Dataset`, so that tables and labelled arrays can be made of it. `names` are those of the arrays
        that are wanted, or None: others may be left out. Whatever it raises becomes a `LoadError` that names the file.
    returns
        What it returns, in a few words.
    save
        Called as `save(value, path)` with what a runner returned. Raises `TypeError` for a value of which the file
        would lose or change anything; None if such files are not written.
    takes
        What `save` takes, in a few words.
    libraries
        The modules that reading needs, whatever the file; the first is needed for writing as well.
    extra
        The extra of entropic's that installs them.
    arrays
        Called with what `read` returned; returns arrays by their names, for what is not an array, dict, frame or
        `Dataset` by itself. None for what it does not know.
    """

    suffixes: tuple[str, ...]
    read: Reader | None = None
    returns: str = ""
    save: Saver | None = None
    takes: str = ""
    libraries: tuple[str, ...] = ()
    extra: str = ""
    arrays: Callable[[Any], Mapping[str, Any] | None] | None = None
