"""What the page Explore draws: values of many runs, packed as doubles, grouped and averaged here."""

import json
import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from sys import byteorder
from typing import Any

from entropic.errors import ParameterError
from entropic.ui.columns import Column
from entropic.ui.query import MOST_POINTS, Query

MOST_LINES = 60  # groups of a plot of lines
MOST_CELLS = 200  # of an axis of a heatmap, before it is binned
BINS = 60
MOST_PARALLEL = 5_000
MOST_AXES = 12


def packed(told: Mapping[str, Any], columns: Sequence[Sequence[float | None]]) -> bytes:
    """Return a description and columns of doubles, little-endian, as one body.

    The length of the description (4 bytes), the description as JSON, padded to 8 bytes, then one column after another.
    """
    text = json.dumps(told, separators=(",", ":")).encode()
    text += b" " * (-(4 + len(text)) % 8)
    made = [array("d", [math.nan if value is None else value for value in column]) for column in columns]
    if byteorder == "big":
        for one in made:
            one.byteswap()
    return b"".join([len(text).to_bytes(4, "little"), text, *(one.tobytes() for one in made)])


def points(query: Query) -> bytes:
    """Return the points of a scatter plot: x, y, the colour if one is asked for, and the keys of their runs."""
    options = [one for one in ("x", "y", "c") if query.asked.get(one)]
    columns = [query.column(option) for option in options]
    ids, values = query.values(columns, MOST_POINTS)
    found = [query.places(column, one) for column, one in zip(columns, values, strict=True)]
    told = {"total": _total(query, ids), "ids": ids, "axes": _axes(options, columns, [names for _, names in found])}
    return packed(told | {"count": len(ids)}, [places for places, _ in found])


def _total(query: Query, ids: Sequence[str]) -> int:
    return query.count() if query.is_sample else len(ids)


def _axes(options: Sequence[str], columns: Sequence[Column], names: Sequence[list[str]]) -> dict[str, Any]:
    return {
        option: {"name": column.name, "kind": column.kind, "categories": several}
        for option, column, several in zip(options, columns, names, strict=True)
    }


def lines(query: Query) -> dict[str, Any]:
    """Return lines of y over x, one for each value of `by`: the mean and the spread of the runs at each place."""
    options = [one for one in ("x", "y", "by") if query.asked.get(one)]
    columns = [query.column(option) for option in options]
    if not columns[1].is_number:
        raise ParameterError(f"{columns[1].name!r} is not a number, so it has no mean")
    ids, values = query.values(columns, MOST_POINTS)
    (xs, x_names), (ys, _) = (query.places(columns[i], values[i]) for i in (0, 1))
    by = [_group(value) for value in values[2]] if len(columns) > 2 else [""] * len(ids)
    groups: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for group, x, y in zip(by, xs, ys, strict=True):
        if x is not None and y is not None and math.isfinite(x) and math.isfinite(y):
            groups[group][x].append(y)
    told = []
    for group in sorted(groups, key=_natural)[:MOST_LINES]:
        told.append({"by": group, "points": [[x, *_spread(groups[group][x])] for x in sorted(groups[group])]})
    return {
        "total": _total(query, ids),
        "count": len(ids),
        "axes": _axes(options, columns, [x_names, [], []][: len(columns)]),
        "lines": told,
        "left_out": max(0, len(groups) - MOST_LINES),
    }


def _group(value: Any) -> str:
    return (
        f"{value:.6g}"
        if isinstance(value, float)
        else "(none)"
        if value is None
        else str(getattr(value, "name", value))
    )


def _natural(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def _spread(values: list[float]) -> list[float]:
    """Return mean, standard deviation, least, most, and how many there are."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) if len(values) > 1 else 0.0
    return [mean, math.sqrt(variance), min(values), max(values), len(values)]


_AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "mean": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
    "count": lambda values: float(len(values)),
}


def grid(query: Query) -> dict[str, Any]:
    """Return a heatmap of z over x and y: one value for each cell in which there are runs."""
    options = ["x", "y", "z"]
    columns = [query.column(option) for option in options]
    name = query.asked.get("how", "mean")
    if name not in _AGGREGATES:
        raise ParameterError(f"how is one of {', '.join(_AGGREGATES)}, not {name!r:.80}")
    if not columns[2].is_number:
        raise ParameterError(f"{columns[2].name!r} is not a number, so it has no {name}")
    ids, values = query.values(columns, MOST_POINTS)
    sides = [_cells(query, column, one) for column, one in zip(columns[:2], values, strict=False)]
    zs, _ = query.places(columns[2], values[2])
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for i, j, z in zip(sides[0][0], sides[1][0], zs, strict=True):
        if i is not None and j is not None and z is not None and math.isfinite(z):
            cells[i, j].append(z)
    aggregate = _AGGREGATES[name]
    return {
        "total": _total(query, ids),
        "count": len(ids),
        "axes": _axes(options, columns, [[], [], []]),
        "x": sides[0][1],
        "y": sides[1][1],
        "binned": [side[2] for side in sides],
        "cells": [[i, j, aggregate(several), len(several)] for (i, j), several in cells.items()],
    }


def _cells(query: Query, column: Column, values: Sequence[Any]) -> tuple[list[int | None], list[Any], bool]:
    """Return the number of the cell of each value, where each cell is, and whether several values share one."""
    places, names = query.places(column, values)
    if names:
        if len(names) > MOST_CELLS:
            raise ParameterError(
                f"{column.name!r} has more than {MOST_CELLS} values, too many for an axis; filter them"
            )
        return [None if place is None else int(place) for place in places], names, False
    good = [place for place in places if place is not None and math.isfinite(place)]
    distinct = sorted(set(good))
    if len(distinct) <= MOST_CELLS:
        at = {place: i for i, place in enumerate(distinct)}
        return [None if place is None else at.get(place) for place in places], distinct, False
    least, width = distinct[0], (distinct[-1] - distinct[0]) / BINS
    number = [
        min(BINS - 1, int((place - least) / width)) if place is not None and math.isfinite(place) else None
        for place in places
    ]
    return number, [least + (i + 0.5) * width for i in range(BINS)], True


def parallel(query: Query) -> bytes:
    """Return the values of several columns for a plot of parallel coordinates."""
    names = [one for one in query.asked.get("columns", "").split(",") if one]
    if not 2 <= len(names) <= MOST_AXES:
        raise ParameterError(f"choose 2 to {MOST_AXES} columns for parallel coordinates")
    query.asked |= {f"axis{i}": name for i, name in enumerate(names)}
    options = [f"axis{i}" for i in range(len(names))]
    columns = [query.column(option) for option in options]
    ids, values = query.values(columns, MOST_PARALLEL)
    found = [query.places(column, one) for column, one in zip(columns, values, strict=True)]
    told = {"total": _total(query, ids), "count": len(ids), "ids": ids}
    told["axes"] = _axes(options, columns, [several for _, several in found])
    return packed(told, [places for places, _ in found])
