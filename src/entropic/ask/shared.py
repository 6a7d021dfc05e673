"""Axes that the arrays of a result share, where its format has no names for them: `t`, for `prey` and `predator`.

Which they are is said by the user, or found by a rule that leaves alone whatever could be meant otherwise. The first
result decides for all: an axis must not come and go with the numbers of a run.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from entropic.ask.variables import Variable
from entropic.errors import ParameterError

Given = Mapping[str, "str | Sequence[str | None]"]
USUAL = ("t", "time", "times", "x", "y", "z", "lat", "lon", "latitude", "longitude", "freq", "frequency", "wavelength")
_PARENT = re.compile(r"^(.*[/.])?([^/.]*)$", re.DOTALL)


class SharedAxes:
    """Names for the axes of arrays.

    Parameters
    ----------
    given
        What the user says: the name of the axis, or of each axis, of some arrays; None to find what is obvious.
    """

    def __init__(self, given: Given | None) -> None:
        self._given = given
        self._dims: dict[str, tuple[str | None, ...]] | None = None
        self.coords: set[str] = set()
        """Arrays that are axes of others."""

    def beside(self, names: Iterable[str]) -> set[str]:
        """Return the names of what may be, or in the first result is, an axis of some arrays, to be read with them."""
        if self._dims is not None:
            return {
                axis for name in names for axis in self._dims.get(name, ()) if axis is not None and axis in self.coords
            }
        if self._given is not None:
            given = [self._given[name] for name in names if name in self._given]
            return {axis for one in given for axis in _named(one) if axis is not None}
        spelled = [spelling for usual in USUAL for spelling in (usual, usual.upper(), usual.capitalize())]
        return {os.path.join(_split(name)[0], one) for name in names for one in spelled}

    def name(self, found: dict[str, Variable], is_all: bool) -> None:
        """Name the axes of the arrays of a result, or of some of them; those of the first say how.

        Raises
        ------
        ParameterError
            If what the user says does not fit to the first result.
        """
        if self._dims is None:
            lacking = [name for name in self._given or () if is_all and name not in found]
            if lacking:
                raise ParameterError(f"axes names {', '.join(map(repr, lacking))}, but there is {', '.join(found)}")
            self._dims = self._find(found) if self._given is None else self._said(found)
            named = {axis for dims in self._dims.values() for axis in dims if axis is not None}
            self.coords = {axis for axis in named if axis in found and found[axis].values.ndim == 1}
            self._dims |= {axis: (axis,) for axis in self.coords}
        for name in self._dims.keys() & found.keys():
            one, dims = found[name], self._dims[name]
            if len(dims) == one.values.ndim:
                laid = tuple(axis or own for axis, own in zip(dims, one.dims, strict=True))
                is_found = name in self.coords and not one.is_coord
                found[name] = replace(one, dims=laid, is_coord=one.is_coord or is_found, is_found=is_found)

    def _said(self, found: Mapping[str, Variable]) -> dict[str, tuple[str | None, ...]]:
        assert self._given is not None
        dims = {name: _named(self._given[name]) for name in self._given if name in found}
        for name, axes in dims.items():
            shape = found[name].values.shape
            if len(axes) != len(shape):
                raise ParameterError(f"axes names {len(axes)} of {name!r}, of the shape {shape}: name each, or None")
            if len(set(axes) - {None}) < len([axis for axis in axes if axis]):
                raise ParameterError(f"axes gives two axes of {name!r} one name: {axes}")
            for axis, size in zip(axes, shape, strict=True):
                if (
                    axis is not None
                    and axis in found
                    and found[axis].values.ndim == 1
                    and len(found[axis].values) != size
                ):
                    length = len(found[axis].values)
                    raise ParameterError(f"axes lays {name!r}, {size} long there, along {axis!r}, which has {length}")
        return dims

    def _find(self, found: Mapping[str, Variable]) -> dict[str, tuple[str | None, ...]]:
        candidates: dict[tuple[str, int], list[str]] = {}
        for name, one in found.items():
            if _has_no_names(name, one) and one.values.ndim == 1 and _split(name)[1].lower() in USUAL:
                candidates.setdefault((_split(name)[0], len(one.values)), []).append(name)
        alone = {place: names[0] for place, names in candidates.items() if len(names) == 1}
        dims: dict[str, tuple[str | None, ...]] = {}
        for name, one in found.items():
            if not _has_no_names(name, one) or name in alone.values():
                continue
            shape = one.values.shape
            axes = [alone.get((_split(name)[0], size)) if shape.count(size) == 1 else None for size in shape]
            if any(axes):
                dims[name] = tuple(axis if axis and _is_monotonic(found[axis].values) else None for axis in axes)
        return dims


def _named(given: "str | Sequence[str | None]") -> tuple[str | None, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _split(name: str) -> tuple[str, str]:
    parent, own = _PARENT.fullmatch(name).groups()  # type: ignore[union-attr]  # matches anything
    return parent or "", own


def _has_no_names(name: str, one: Variable) -> bool:
    return not one.is_coord and one.dims == tuple(f"{name}_{i}" for i in range(one.values.ndim))


def _is_monotonic(values: Any) -> bool:
    if values.dtype.kind not in "iufM" or len(values) < 2:
        return False
    return bool((values[1:] > values[:-1]).all() or (values[1:] < values[:-1]).all())
