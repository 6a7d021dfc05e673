"""`Store.view`: a tree of links to results, named by their params, for people who look at folders.

It only looks at the store. What it has made it notes in a file of the tree, before it makes it, and it removes nothing
else: not what somebody has put there, nor a link that somebody has changed.
"""

import json
import os
import re
import string
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

from entropic.ask.select import matching
from entropic.db.query import fetch
from entropic.errors import ParameterError, StoreError, UnreadableError
from entropic.files.extent import extent, is_of_others
from entropic.files.paths import check_outside
from entropic.files.sidecar import BROKEN
from entropic.files.subfolder import content
from entropic.params.fields import unknown_key
from entropic.params.model import Base
from entropic.params.same import same
from entropic.protocol.context import StoreContext
from entropic.support.compact_json import compact
from entropic.support.names import LONGEST, whole
from entropic.support.show import spelled
from entropic.upkeep.reports.viewed import View

NOTED = ".entropic-view.json"
_VERSION = 1
_SPEC = re.compile(r"(?:[^{}\d]|\d{1,2}(?!\d)){0,12}")  # no width that fills the memory
_UNFIT = re.compile(r"[\x00-\x1f\x7f/\\]")
_Identity = str | list[int]  # where a symbolic link leads; inode, size and time of what a hard one shares


def view(
    context: StoreContext[Base],
    path: str,
    pattern: str,
    where: Sequence[object],
    equal: Mapping[str, object],
    hard: bool,
) -> View:
    """Make, or bring up to date, the tree of links to the results of all rows that meet some conditions.

    Raises
    ------
    ParameterError
        If the pattern is not valid, or gives two rows one name.
    StoreError
        If the tree cannot be there, or something that is not a link of it is in the way; nothing was changed.
    """
    path = os.path.abspath(os.path.expanduser(path))
    pieces = _parsed(context, pattern)
    check_outside(path, context.staging.results_dir)
    if os.path.lexists(path) and not os.path.isdir(path):
        raise StoreError(f"{path} is a file; give the path of a folder")
    tree = _Tree(path, hard, [os.path.relpath(context.staging.results_dir, path), context.model])
    done, wanted = View(path), dict[str, str]()
    _name(context, fetch(context.database, matching(context, where, equal)), pieces, wanted, done)
    tree.check(wanted)
    os.makedirs(path, exist_ok=True)
    tree.update(wanted, done)
    done.links = len(wanted)
    return done


# ---- names -------------------------------------------------------------------------------------------------------
_Piece = tuple[str, str | None, str]  # text, then the attribute of a row, and its format


def _parsed(context: StoreContext[Base], pattern: Any) -> list[_Piece]:
    known = ["id", "created_at", *context.schema.columns]
    example = "/".join(f"{name}={{{name}}}" for name in [*context.schema.columns][:2]) or "{id}"
    wrong = f"the pattern {spelled(pattern)} is invalid: it must be a path below the folder, such as {example!r}"
    if not isinstance(pattern, str):
        raise ParameterError(wrong)
    try:
        found = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise ParameterError(f"{wrong} ({error})") from None
    pieces: list[_Piece] = []
    for text, name, spec, conversion in found:
        if name is not None and name not in known:
            raise ParameterError(unknown_key(name, context.schema.name, known))
        if conversion is not None or (spec and _SPEC.fullmatch(spec) is None):
            raise ParameterError(f"{wrong}; {{{name}}} may have a short format, such as {{{name}:.3f}}")
        pieces.append((text, name, spec or ""))
    parts = "".join(text + ("x" if name is not None else "") for text, name, _ in pieces).split("/")
    if any(part in ("", os.curdir, os.pardir) for part in parts) or "\0" in pattern:
        raise ParameterError(f"{wrong}; no part of it is empty, '.' or '..'")
    if all(name is None for _, name, _ in pieces):
        raise ParameterError(f"{wrong}; as it is, all rows have one name")
    return pieces


def _text(value: Any, spec: str) -> str:
    """Return a value as a part of a name."""
    if isinstance(value, Enum):
        value = value.name
    elif isinstance(value, bytes):
        value = value.hex()
    elif isinstance(value, dict | list):
        value = compact(value)
    try:
        told = format(value, spec) if spec else str(value)
    except (ValueError, TypeError) as error:
        raise ParameterError(f"{spelled(value)} cannot be written as {{:{spec}}}: {error}") from None
    return _UNFIT.sub("_", told)


def _name(
    context: StoreContext[Base], raws: Iterable[Any], pieces: list[_Piece], wanted: dict[str, str], done: View
) -> None:
    """Find out which link leads to which result.

    Raises
    ------
    ParameterError
        If two rows would have one name.
    """
    rows, by_name = context.rows, dict[str, dict[str, Any]]()
    for raw in raws:
        try:
            values = rows.plain(raw)
        except UnreadableError as error:
            done.left.append(str(error))
            continue
        target = context.path_of(raw)
        name = "".join(text + ("" if key is None else _text(values[key], spec)) for text, key, spec in pieces)
        base, place = os.path.basename(target), context.staging.ending
        suffix = whole(place) if place and base.endswith(place) else os.path.splitext(base)[1]
        name = name if not suffix or name.endswith(suffix) else name + suffix
        parts = name.split("/")
        if any(part in ("", os.curdir, os.pardir) or len(part.encode()) > LONGEST for part in parts) or name == NOTED:
            done.left.append(f"{values['id']}: {name[:200]!r} is not a name that a file can have")
            continue
        if name in by_name:
            raise ParameterError(_clash(context, name, by_name[name], values))
        by_name[name] = values
        if extent(target) is None:
            done.left.append(f"{values['id']}: its result {target} is gone")
            continue
        wanted[name] = target
    for name, values in by_name.items():
        parts = name.split("/")
        for i in range(1, len(parts)):
            if (above := "/".join(parts[:i])) in by_name:
                raise ParameterError(
                    f"{above!r} would be both a link to the result of {by_name[above]['id']} and a folder for that of "
                    f"{values['id']}; put a name behind the last '/' of the pattern. Nothing was changed"
                )


def _clash(context: StoreContext[Base], name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    differ = [column for column in context.schema.columns if not same(one[column], other[column])]
    add = f"add {' or '.join(f'{{{column}}}' for column in differ)}" if differ else "add {id}"
    return (
        f"two rows, {one['id']} and {other['id']}, would both be called {name!r}; {add} to the pattern, or a more "
        "exact format. Nothing was changed"
    )


# ---- links -------------------------------------------------------------------------------------------------------
class _Tree:
    """A folder with links, some of which are ours.

    Parameters
    ----------
    of
        Whose results the links lead to: the results folder, from here, since a project moves as a whole, and the model.
    """

    def __init__(self, path: str, hard: bool, of: list[str]) -> None:
        self._path, self._hard, self._of = path, hard, of
        self._before: dict[str, _Identity] = {}  # of links that were about to be made anew when a kill came
        self._ours, self._folders = self._read()

    def _read(self) -> tuple[dict[str, _Identity], list[str]]:
        """Return which links are ours, and which folders; what is noted may be anybody's."""
        try:
            told = json.loads(content(os.path.join(self._path, NOTED)))
            if int(told["entropic"]) > _VERSION:
                raise ValueError("a later version of entropic wrote it")
            self._refuse_another(told.get("of", self._of))  # earlier versions did not say
            self._before = _plain(told.get("before", {}))
            return _plain(told["links"]), [str(one) for one in told["folders"] if _is_below(str(one))]
        except FileNotFoundError:
            self._refuse_others()
            return {}, []
        except (OSError, *BROKEN) as error:
            raise StoreError(
                f"{os.path.join(self._path, NOTED)}, which says which links are entropic's, cannot be read ({error}); "
                "take another folder, or remove it and the links. Nothing was changed"
            ) from error

    def _refuse_others(self) -> None:
        """Refuse a folder that is no tree of ours, and holds something: who names it has hardly meant that one."""
        found = sorted(os.listdir(self._path)) if os.path.isdir(self._path) else []
        others = [one for one in found if not is_of_others(one) and not one.startswith(f"{NOTED}.")]  # of a kill
        if others:
            more = f", and {len(others) - 1:,} more" if len(others) > 1 else ""
            raise StoreError(
                f"{self._path} is not a tree that entropic has made: it holds something else "
                f"({spelled(others[0])}{more}); give a new folder, or an empty one. Nothing was changed"
            )

    def _refuse_another(self, of: Any) -> None:
        """Refuse the tree of another store, whose links would all be removed."""
        if of != self._of:
            results, model = (str(one) for one in of)
            where = os.path.normpath(os.path.join(self._path, results))
            raise StoreError(
                f"{self._path} has links to the results of {model} in {where}; give another folder, or remove "
                "this one. Nothing was changed"
            )

    def _at(self, name: str) -> str:
        return os.path.join(self._path, *name.split("/"))

    def _is_inside(self, name: str) -> bool:
        """Tell whether no link leads out of the tree on the way to a name."""
        above = os.path.dirname(self._at(name))
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        return (os.path.realpath(above) + os.sep).startswith(os.path.realpath(self._path) + os.sep)

    def _identity(self, target: str, name: str) -> _Identity:
        """Return what a link to a result will be known by."""
        if self._hard:
            seen = os.lstat(target)
            return [seen.st_ino, seen.st_size, seen.st_mtime_ns]
        project = os.path.dirname(os.path.realpath(target)) + os.sep
        here = os.path.dirname(os.path.join(os.path.realpath(self._path), *name.split("/")))
        beside = os.path.dirname(os.path.dirname(project))  # the folder of the project, which moves as a whole
        return os.path.relpath(target, here) if (here + os.sep).startswith(beside.rstrip(os.sep) + os.sep) else target

    def _is_ours(self, name: str) -> bool:
        """Tell whether what is at a name is as it was made."""
        return self._is_as(name, self._ours.get(name)) or self._is_as(name, self._before.get(name))

    def _is_as(self, name: str, known: _Identity | None) -> bool:
        path = self._at(name)
        try:
            seen = os.lstat(path)
            if isinstance(known, str):
                return os.readlink(path) == known
        except OSError:
            return False
        return [seen.st_ino, seen.st_size, seen.st_mtime_ns] == known

    def _is(self, name: str, target: str) -> bool:
        """Tell whether what is at a name is the very link that it is to be, whoever has made it."""
        path = self._at(name)
        try:
            if self._hard:
                return os.path.samestat(os.lstat(path), os.lstat(target))
            return os.readlink(path) == self._identity(target, name)
        except OSError:
            return False

    def check(self, wanted: Mapping[str, str]) -> None:
        """Refuse, before anything is changed, what cannot be made."""
        for name, target in wanted.items():
            if self._hard and not os.path.isfile(target):
                raise StoreError(
                    f"{target} is a folder, to which there are no hard links; make symbolic ones. Nothing was changed"
                )
            if not os.path.isdir(self._path):
                continue
            if not self._is_inside(name):
                raise StoreError(f"a link leads from {self._path} elsewhere on the way to {name}; nothing was changed")
            if os.path.lexists(self._at(name)) and not (self._is_ours(name) or self._is(name, target)):
                raise StoreError(
                    f"{self._at(name)} is there already, and was not made by entropic, or was changed since; move it "
                    "away, or take another pattern or folder. Nothing was changed"
                )

    def update(self, wanted: Mapping[str, str], done: View) -> None:
        """Make the links that are missing, and remove links that this tree no longer needs."""
        links = {name: self._identity(target, name) for name, target in wanted.items()}
        folders = sorted({"/".join(name.split("/")[:i]) for name in wanted for i in range(1, name.count("/") + 1)})
        new = [one for one in folders if not os.path.isdir(self._at(one))]
        before = {**self._before, **self._ours}
        is_as_made = {name for name in before if self._is_ours(name)}
        changed = {name: one for name, one in before.items() if name in links and one != links[name]}
        changed |= {name: one for name, one in self._before.items() if name in links}
        self._note({**before, **links}, [*self._folders, *new], changed)
        for name in sorted(before.keys() - links.keys()):
            if name in is_as_made and self._is_inside(name):
                os.unlink(self._at(name))
                done.removed.append(name)
            elif os.path.lexists(self._at(name)):
                done.left.append(f"{self._at(name)} stays, though its row is gone: somebody has changed it")
        for name, target in wanted.items():
            if name in is_as_made and self._is_as(name, links[name]):
                continue
            os.makedirs(os.path.dirname(self._at(name)), exist_ok=True)
            self._make(name, target, links[name])
            done.made.append(name)
        ours = sorted({*self._folders, *new} - set(folders), key=len, reverse=True)
        for one in ours:
            if not self._is_inside(one):
                continue
            try:
                os.rmdir(self._at(one))
            except OSError:  # somebody keeps something there, or it is gone
                continue
        self._note(links, [one for one in [*self._folders, *new] if os.path.isdir(self._at(one))])

    def _make(self, name: str, target: str, identity: _Identity) -> None:
        """Make a link, in place of the one that was made here before."""
        beside = f"{os.path.dirname(self._at(name))}{os.sep}.{os.getpid()}.entropic-view"
        try:
            os.unlink(beside)
        except FileNotFoundError:
            pass
        if isinstance(identity, str):
            os.symlink(identity, beside)
        else:
            try:
                os.link(target, beside, follow_symlinks=False)
            except OSError as error:
                raise StoreError(
                    f"{self._at(name)} cannot be a hard link to {target}: {error.strerror}; make symbolic links"
                ) from error
        os.replace(beside, self._at(name))

    def _note(
        self,
        links: Mapping[str, _Identity],
        folders: Sequence[str],
        before: Mapping[str, _Identity] = MappingProxyType({}),
    ) -> None:
        told = {
            "entropic": _VERSION,
            "about": "links that `entropic view` has made",
            "of": self._of,
            "links": links,
            "folders": sorted(set(folders)),
            **({"before": dict(before)} if before else {}),
        }
        descriptor, path = tempfile.mkstemp(prefix=f"{NOTED}.", dir=self._path)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
        os.replace(path, os.path.join(self._path, NOTED))


def _plain(links: Any) -> dict[str, _Identity]:
    return {str(name): one for name, one in links.items() if isinstance(one, str | list) and _is_below(str(name))}


def _is_below(name: str) -> bool:
    return not os.path.isabs(name) and not any(part in ("", os.curdir, os.pardir) for part in name.split("/"))
