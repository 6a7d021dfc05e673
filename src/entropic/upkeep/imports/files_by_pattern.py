"""A tree of files whose paths say what they are of, as a source of results."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from entropic.errors import ParameterError
from entropic.files.extent import is_of_others
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.upkeep.imports.pattern import Pattern, Segment, Texts, value_of, ways
from entropic.upkeep.imports.source import Found, NoResult, Unfit


@dataclass(frozen=True, slots=True)
class Tree:
    """The files that a pattern names.

    Attributes
    ----------
    pattern : str
        As the user wrote it.
    """

    pattern: str
    kind = "files"
    keeps_pickles = False
    has_files = True

    def find(self, context: StoreContext[Base]) -> Iterator[Found | Unfit | NoResult]:
        """Yield what matches the pattern, in the order of the names.

        Raises
        ------
        ParameterError
            If it is no pattern of this model, or if there is no such folder.
        """
        pattern = Pattern.of(os.path.expanduser(self.pattern))
        for column in pattern.columns:
            if column not in context.schema.fields:
                raise ParameterError(context.schema.unknown(column))
        if not os.path.isdir(pattern.root):
            raise ParameterError(f"there is no folder {pattern.root}, with which the pattern {self.pattern!r} begins")
        walk = _Walk(context, pattern)
        known: dict[str, Found | Unfit] = {}
        for one in walk.below(pattern.root, 0, {}, None):
            before = known.get(one.name)
            if before is None:
                known[one.name] = one
            elif isinstance(before, Found) and (isinstance(one, Unfit) or one.params != before.params):
                known[one.name] = Unfit(one.name, _two_ways(before.params, one))
        yield from known.values()


def _two_ways(params: dict[str, Any], other: Found | Unfit) -> str:
    return f"its path can be read in two ways, as {params} and as {other.params if isinstance(other, Found) else other}"


class _Walk:
    """One walk through the folders of a pattern."""

    def __init__(self, context: StoreContext[Base], pattern: Pattern) -> None:
        self._context, self._pattern = context, pattern
        self._root = os.path.realpath(pattern.root)
        self._values: dict[tuple[str, str], object] = {}
        self._unfit: dict[tuple[str, str], str] = {}

    def below(self, folder: str, at: int, texts: Texts, why: str | None) -> Iterator[Found | Unfit]:
        """Yield what is in a folder.

        Parameters
        ----------
        at
            Which part of the pattern names what is in it.
        texts
            What its path says so far.
        why
            Why that cannot be, if it cannot.
        """
        segment, is_last = self._pattern.segments[at], at == len(self._pattern.segments) - 1
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except PermissionError as error:
            yield Unfit(os.path.normpath(folder), f"{error.strerror}")
            return
        if segment is None:
            yield from self.below(folder, at + 1, texts, why)
            for entry in inside:
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    yield from self.below(os.path.join(folder, entry.name), at, texts, why)
            return
        for entry in inside:
            path = os.path.normpath(os.path.join(folder, entry.name))
            if is_of_others(entry.name) or (entry.name.startswith(".") and not _begins_with_dot(segment)):
                continue
            found = ways(segment, entry.name, self._fits) or ways(segment, entry.name, lambda *_: True)[:1]
            if not found:
                continue
            bad = why or self._why(found, texts)
            now = {**texts, **found[0]}
            is_folder = os.path.isdir(path)  # of a link in a circle: no
            if is_last and (not is_folder or self._may_be_folder(segment)):
                yield self._found(path, now, bad)
            elif not is_last and is_folder:
                yield from self.below(path, at + 1, now, bad)

    def _may_be_folder(self, segment: Segment) -> bool:
        """Tell whether a folder may be a result: the pattern ends with a `/`, or with a suffix such as `.zarr`."""
        return self._pattern.of_folders or "." in (segment[-1].literal or "")

    def _why(self, found: list[Texts], texts: Texts) -> str | None:
        """Say why what a name says cannot be, if it cannot."""
        if len(found) > 1:
            return f"its path can be read in two ways, as {found[0]} and as {found[1]}"
        for column, text in found[0].items():
            if not self._fits(column, text):
                return self._unfit[column, text]
            before = texts.get(column, text)
            if before != text and self._values.get((column, before)) != self._values[column, text]:
                return f"its path says {column}={before} and {column}={text}"
        return None

    def _fits(self, column: str, text: str) -> bool:
        given = (column, text)
        if given not in self._values and given not in self._unfit:
            try:
                self._values[given] = value_of(self._context, column, text)
            except ParameterError as error:
                self._unfit[given] = str(error)
        return given in self._values

    def _found(self, path: str, texts: Texts, why: str | None) -> Found | Unfit:
        if why is not None:
            return Unfit(path, why)
        real = os.path.realpath(path)
        if not real.startswith(self._root.rstrip(os.sep) + os.sep):
            return Unfit(path, f"it is a link that leads out of {self._root}; put what it leads to in its place")
        if self._pattern.of_folders and not os.path.isdir(real):
            return Unfit(path, "it is not a folder, and the pattern ends with a /")
        return Found(name=path, params={name: self._values[name, text] for name, text in texts.items()}, path=real)


def _begins_with_dot(segment: Segment) -> bool:
    return (segment[0].literal or "").startswith(".")
