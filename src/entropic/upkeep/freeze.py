"""`Store.freeze`, `frozen`, `unfreeze` and `at`: named selections of results that stay as they are.

A selection is an archive of its own in the staging folder, with hard links to the results: whatever becomes of the
rows, by a re-run, `gc` or `delete`, or of the database, it is there. Its links share their data with the results as
long as these are there, so what somebody writes into one is seen in it: reading that is an error.
"""

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from entropic.errors import FrozenError, ParameterError, StoreError
from entropic.files.content import Strange
from entropic.files.digest import of_file
from entropic.files.extent import Extent, extent
from entropic.files.sidecar import BROKEN
from entropic.files.staging import FOLDER
from entropic.files.subfolder import at, content
from entropic.formats.read import Loader
from entropic.params.model import Base, utcnow
from entropic.protocol.context import StoreContext
from entropic.support import names, process
from entropic.support.show import spelled
from entropic.upkeep import archive
from entropic.upkeep.reports.archived import SUMS, Archive
from entropic.upkeep.reports.frozen import Frozen
from entropic.upkeep.unfinished import FROZEN, NAME, leads_out, listed

_ABOUT = "frozen.json"
_VERSION = 1
_LARGEST = 2**16  # bytes of what a selection says of itself


def checked(name: Any) -> str:
    """Return the name of a selection.

    Raises
    ------
    ParameterError
        If it is not one.
    """
    if not isinstance(name, str) or NAME.fullmatch(name) is None or name.endswith(".zip"):
        raise ParameterError(
            "the name of a frozen selection is a word of at most 100 letters, digits, '.', '_' and '-', such as "
            f"'paper-v1', not {spelled(name)}"
        )
    return name


def freeze(
    context: StoreContext[Base],
    name: str,
    where: Sequence[object],
    equal: Mapping[str, object],
    opening: archive.Opening,
) -> Frozen:
    """Freeze the rows that meet all conditions; all of them, or none.

    Raises
    ------
    StoreError
        If there is such a name, no such row, or a result that is gone or was changed.
    """
    checked(name)
    context.must_write(f"freeze() would have to record {name!r}")
    context.database.stay_current()  # else a folder would be made in the place of a project that was moved away
    if (there := find(context, name)) is not None:
        raise StoreError(f"{there}; a frozen selection never changes: take another name, or unfreeze it first")
    folder = context.staging.inside(os.path.join(FROZEN, names.stem(context.model)))
    _refuse_links(context, folder)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}. Nothing was frozen") from error

    def about(done: Archive) -> Mapping[str, str]:
        if done.left:
            more = f", and {len(done.left) - 1:,} more" if len(done.left) > 1 else ""
            raise StoreError(f"nothing was frozen, since a result is not as it was stored: {done.left[0]}{more}")
        if not done.results:
            raise StoreError(f"nothing was frozen, since no row of {context.schema.name} meets these conditions")
        told = {
            "entropic": _VERSION,
            "name": name,
            "made_at": utcnow().isoformat("T", "microseconds"),
            "results": len(done.results),
        }
        return {_ABOUT: json.dumps({**told, "size": done.size}) + "\n"}

    try:
        with (call := process.Call()).under_way:
            path = os.path.join(folder, name)
            archive.archive(context, path, where, equal, opening, link=True, about=about, owner=call.name)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and (there := find(context, name)) is not None:
            raise StoreError(f"{there}; another process has frozen it meanwhile: take another name") from error
        raise
    made = find(context, name)
    if made is None:
        raise StoreError(f"{name!r} was removed while it was being frozen")
    return made


def frozen(context: StoreContext[Base]) -> list[Frozen]:
    """Return all selections of a model in this results folder, those of other databases too, by name."""
    return sorted(_all(context), key=lambda one: one.name)


def find(context: StoreContext[Base], name: str) -> Frozen | None:
    """Return a selection; None if there is none of that name."""
    return next((one for one in _all(context) if one.name == name), None)


def must_find(context: StoreContext[Base], name: str) -> Frozen:
    """Return a selection.

    Raises
    ------
    StoreError
        If there is none of that name.
    """
    found = find(context, checked(name))
    if found is None:
        if (path := next((path for path, one in _folders(context) if one == name), None)) is not None:
            raise StoreError(
                f"{path} cannot be read: a later version of entropic has frozen it, or somebody has changed it; "
                "upgrade entropic, or move that folder away. Nothing was changed"
            )
        others = ", ".join(one.name for one in frozen(context)) or "none"
        raise StoreError(f"nothing of {context.schema.name} is frozen as {name!r}; there is: {others}")
    return found


def unfreeze(context: StoreContext[Base], name: str) -> Frozen:
    """Remove a selection: its links go, and the results that are still there stay."""
    context.must_write(f"unfreeze() would have to remove {name!r}")
    found = must_find(context, name)
    folder, base = os.path.split(found.path)
    over = os.path.join(folder, f".{base}.over")
    shutil.rmtree(over, ignore_errors=True)  # which a kill has left
    os.rename(found.path, over)  # from here on it is gone, however long it takes
    shutil.rmtree(over)
    return found


def of_another_model(found: Frozen, model: str) -> str:
    """Return what to say where the model has other columns than what was frozen."""
    return (
        f"{found.name!r} was frozen when {model} had other columns; open {found.path} with the model of then, "
        'Store(None, ModelOfThen, "results", SUFFIX, "sqlite:///db.sqlite3") in that folder, or freeze the rows of now '
        "under another name. Nothing was changed"
    )


def _all(context: StoreContext[Base]) -> Iterator[Frozen]:
    return (found for path, name in _folders(context) if (found := _read(path, name)) is not None)


def _folders(context: StoreContext[Base]) -> Iterator[tuple[str, str]]:
    """Return what looks like selections of a model: the path and the name of each."""
    base, table = os.path.join(context.staging.results_dir, FOLDER), names.stem(context.model)
    for uuid in listed(base):
        folder = os.path.join(base, uuid, FROZEN, table)
        if not names.is_one(names.UUID, uuid) or leads_out(base, folder):
            continue
        for name in listed(folder):
            if NAME.fullmatch(name):
                yield os.path.join(folder, name), name


def _read(path: str, name: str) -> Frozen | None:
    try:
        with at(path) as folder:
            told = json.loads(content(_ABOUT, folder, _LARGEST))
            is_whole = stat.S_ISREG(os.stat(archive.DATABASE, dir_fd=folder, follow_symlinks=False).st_mode)
        are_numbers = all(type(told[one]) is int and 0 <= told[one] < 2**63 for one in ("entropic", "results", "size"))
        if not (is_whole and are_numbers and names.is_time(told["made_at"])):
            return None
        if told["entropic"] > _VERSION:
            return None
        return Frozen(name, datetime.fromisoformat(told["made_at"]), told["results"], told["size"], path)
    except (OSError, *BROKEN):
        return None


def _refuse_links(context: StoreContext[Base], folder: str) -> None:
    if leads_out(context.staging.root, folder):
        raise StoreError(f"{folder} is, or lies behind, a link that entropic did not make; remove it. Nothing was done")


class Unchanged:
    """A loader that reads only what is as it was frozen, and leaves the reading to another one.

    Parameters
    ----------
    name, path
        Of the selection: what it is called, and its folder.
    loader
        The store's own; None: entropic's readers.
    """

    def __init__(self, name: str, path: str, loader: Loader | None) -> None:
        self._name, self._path, self._loader = name, path, loader
        self._recorded: dict[str, tuple[int, int]] = {}
        self._sums: dict[str, dict[str, str]] = {}  # by result, then by file
        self._seen: dict[str, tuple[int, int]] = {}  # results of other times, and the content that was frozen

    def __call__(self, path: str) -> Any:
        """Read a result.

        Raises
        ------
        FrozenError
            If it is not what was frozen.
        """
        self.check(os.fspath(path))
        return NotImplemented if self._loader is None else self._loader(path)

    def check(self, path: str) -> None:
        """Refuse a result that was changed since it was frozen."""
        results = os.path.join(self._path, archive.RESULTS)
        place = names.whole(os.path.relpath(path, results))
        if not self._recorded:
            self._recorded = dict(self._read())
        recorded, found = self._recorded.get(place), extent(os.path.join(results, place))
        whole = os.path.join(results, place)
        if found is not None and (found.size, found.mtime_ns) == recorded and not self._written_since(whole, found):
            return
        is_alike = found is not None and recorded is not None and found.size == recorded[0]
        if is_alike and found is not None:  # a copy of the project may have other times
            seen = found.size, newest(whole) if found.folder else found.mtime_ns
            if self._seen.get(place) == seen or self._has_sums(place):
                self._seen[place] = seen
                return
        raise FrozenError(
            f"{path} was changed since it was frozen as {self._name!r}: somebody has written into it, or into the "
            "result that it shares its data with. Bring its content back from a backup; `sha256sum --check SHA256SUMS` "
            f"in {self._path} tells what else was changed"
        )

    def _written_since(self, path: str, found: Extent) -> bool:
        """Tell whether a file in a folder bears a later time than the selection: those of the folder say nothing."""
        made = os.stat(os.path.join(self._path, SUMS)).st_mtime_ns
        return found.folder and newest(path) > made

    def _read(self) -> Iterator[tuple[str, tuple[int, int]]]:
        database = os.path.join(self._path, archive.DATABASE)
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA query_only=ON")
            for place, size, mtime_ns in connection.execute("SELECT path, size, mtime_ns FROM entropic_ledger"):
                yield names.whole(str(place)), (size, mtime_ns)

    def _has_sums(self, place: str) -> bool:
        """Tell whether the files of a result have the content that was frozen."""
        if not self._sums:
            sums: dict[str, dict[str, str]] = {}
            for line in content(os.path.join(self._path, SUMS)).decode().split("\n"):
                digest, _, name = line.partition("  ")
                if os.pardir not in name.split("/"):
                    sums.setdefault("/".join(name.split("/")[:2]), {})[name] = digest
            self._sums = sums  # when it is whole: results are read by several threads
        mine = self._sums.get(f"{archive.RESULTS}/{place}", {})
        return bool(mine) and all(_sum(os.path.join(self._path, name)) == digest for name, digest in mine.items())


def newest(folder: str) -> int:
    """Return the latest time of the files in a folder."""
    inside = (os.path.join(here, name) for here, _, names in os.walk(folder) for name in names)
    return max((os.lstat(path).st_mtime_ns for path in inside), default=0)


def _sum(path: str) -> str:
    try:
        return of_file(path)[0]
    except (OSError, Strange):
        return ""
