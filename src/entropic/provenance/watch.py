"""What a store is told to watch beside the code: files, variables of the environment, versions of packages."""

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from entropic.errors import ParameterError
from entropic.support.show import spelled

PACKAGE = "package:"


class Watched(NamedTuple):
    """What is watched: how it is called, and where it is, from whatever working directory."""

    name: str
    where: str


def check(watch: object) -> tuple[Watched, ...]:
    """Return what is to be watched.

    Raises
    ------
    ParameterError
        If it is not a list of texts.
    """
    if isinstance(watch, str | bytes) or not isinstance(watch, Iterable):
        raise ParameterError(f"watch is a list, such as ['mesh.vtk', '$OMP_NUM_THREADS'], not {spelled(watch)}")
    return _called_by_their_ends([one if isinstance(one, Watched) else _watched(one) for one in watch])


def _called_by_their_ends(watched: list[Watched]) -> tuple[Watched, ...]:
    """Call absolute paths by as few of their last parts as tell them apart: a project may move with what it watches."""
    places = {one.where for one in watched if os.path.isabs(one.name)}
    taken = {one.name for one in watched if not os.path.isabs(one.name)}

    def end_of(place: str) -> str:
        parts = place.split(os.sep)
        ends = (os.sep.join(parts[-count:]) for count in range(1, len(parts)))
        others = places - {place}
        apart = (end for end in ends if end not in taken and not any(one.endswith(os.sep + end) for one in others))
        return next(apart, place)

    return tuple(one._replace(name=end_of(one.where)) if one.where in places else one for one in watched)


def _watched(one: object) -> Watched:
    name = os.fspath(one) if isinstance(one, os.PathLike) else one
    if not isinstance(name, str) or not name.removeprefix("$").removeprefix(PACKAGE):
        raise ParameterError(f"what is watched is a path, '$VARIABLE' or '{PACKAGE}NAME', not {spelled(one)}")
    return Watched(name, name if name.startswith(("$", PACKAGE)) else os.path.abspath(name))


def now(watched: Iterable[Watched]) -> dict[str, str]:
    """Return what is watched as it is now, by how it is called."""
    return {f"watched {one.name}": _now(one.where) for one in watched}


def _now(where: str) -> str:
    if where.startswith("$"):
        return os.environ.get(where[1:], "(not set)")
    if where.startswith(PACKAGE):
        from importlib import metadata

        try:
            return metadata.version(where.removeprefix(PACKAGE))
        except metadata.PackageNotFoundError:
            return "(not installed)"
    if os.path.isdir(where):
        names = sorted(os.path.join(folder, name) for folder, _, files in os.walk(where) for name in files)
        told = "\n".join(f"{os.path.relpath(name, where)} {_of_file(name)}" for name in names)
        return f"sha256 of the folder {hashlib.sha256(told.encode('utf-8', 'surrogateescape')).hexdigest()}"
    return _of_file(where)


def _of_file(path: str) -> str:
    try:
        seen = os.stat(path)
        return _digest(path, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
    except OSError:
        return "(not there)"


@lru_cache(maxsize=10_000)
def _digest(path: str, *_: int) -> str:
    with open(path, "rb") as file:
        return f"sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
