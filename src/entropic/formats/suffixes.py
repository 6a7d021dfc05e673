"""Which format the suffix of a result means: one of the catalogue, or of a package that is installed beside entropic.

Such a package is looked for when there is a result of a suffix that nobody here knows: never at import, and never for a
format of entropic's own.
"""

import os
import sys
from collections.abc import Container
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from entropic.formats.catalogue import FORMATS
from entropic.formats.format import Format

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "entropic.formats"


class FormatError(Exception):
    """Why the format of a package cannot be used."""


@cache
def _own() -> dict[str, Format]:
    return {suffix: one for one in FORMATS for suffix in one.suffixes}


def ending(path: str, suffixes: Container[str]) -> str | None:
    """Return the longest of some suffixes that a path ends with: of `a.nii.gz` rather `.nii.gz` than `.gz`."""
    name = os.path.basename(path).lower()
    at = name.find(".")
    while at >= 0:
        if name[at:] in suffixes:
            return name[at:]
        at = name.find(".", at + 1)
    return None


def find_own(path: str) -> tuple[str, Format] | None:
    """Return the suffix of a result and its format, if that is one of entropic's; imports nothing."""
    own = _own()
    suffix = ending(path, own)
    return None if suffix is None else (suffix, own[suffix])


def find(path: str) -> tuple[str, Format] | None:
    """Return the suffix of a result and its format; None if nobody knows it.

    Raises
    ------
    FormatError
        If the package that says that it knows it is broken, or several say so.
    """
    own = find_own(path)
    if own is not None:
        return own
    others = _entry_points(tuple(sys.path))
    suffix = ending(path, others)
    return None if suffix is None else (suffix, _loaded(suffix, others[suffix]))


# ---- formats of other packages -----------------------------------------------------------------------------------
@lru_cache(maxsize=8)
def _entry_points(path: tuple[str, ...]) -> dict[str, list["EntryPoint"]]:
    """Return what packages say that they know, by suffix; none of it is imported. Kept while the path is the same."""
    from importlib.metadata import entry_points  # with much else, which few need

    found: dict[str, list[EntryPoint]] = {}
    for one in entry_points(group=GROUP):
        found.setdefault(f".{one.name.lower().lstrip('.')}", []).append(one)
    return found


def _loaded(suffix: str, points: list["EntryPoint"]) -> Format:
    if len(points) > 1:
        names = " and ".join(sorted(map(_package, points)))
        raise FormatError(f"the packages {names} both say that they read {suffix} files; uninstall one")
    (point,) = points
    where = f"the package {_package(point)}, which says that it reads {suffix} files,"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise FormatError(
            f"{where} is broken: its entry point {point.value!r} raised {type(error).__name__}: {error}; "
            "update or uninstall it"
        ) from error
    if not isinstance(found, Format) or suffix not in found.suffixes:
        what = f"for {', '.join(found.suffixes)}" if isinstance(found, Format) else f"a {type(found).__name__}"
        raise FormatError(
            f"{where} is broken: its entry point {point.value!r} is {what}, and not an entropic.Format "
            f"for {suffix}; update or uninstall it"
        )
    return found


def _package(point: "EntryPoint") -> str:
    return point.dist.name if point.dist is not None else point.module
