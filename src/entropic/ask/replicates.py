"""Runs that differ only in their seed, as one: mean, deviation and number of what came out of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from entropic.ask.axes import Grid, grid, levels
from entropic.ask.columns import Column, columns
from entropic.ask.variables import Variable
from entropic.errors import ParameterError
from entropic.params.fields import unknown_key
from entropic.params.model import Base, Schema

REPLICATE = "replicate of a set"  # the dimension that they have until they are one: no parameter is called so
_NUMBERS = ("integer", "float", "decimal", "boolean")


def check(schema: Schema, name: str) -> None:
    """Refuse a column that is no parameter.

    Raises
    ------
    ParameterError
        With those that there are.
    """
    if not isinstance(name, str) or name not in schema.fields:
        raise ParameterError(
            f"replicates names the parameter in which the runs of a set differ, replicates='seed', and "
            f"{unknown_key(name, schema.name, list(schema.fields))}"
        )


def _groups(params: Sequence[Column], count: int) -> list[list[int]]:
    """Return the places of the rows of each set, in the order in which they first occur."""
    codes = [levels(column).codes for column in params]
    found: dict[tuple[int, ...], list[int]] = {}
    for i in range(count):
        found.setdefault(tuple(one[i] for one in codes), []).append(i)
    return list(found.values())


# ---- tables ----------------------------------------------------------------------------------------------------------
def aggregated(found: Sequence[Column], schema: Schema, name: str) -> list[Column]:
    """Return a table with a row for each set: its params, and of each number mean, deviation and how many there are.

    Raises
    ------
    ParameterError
        If there is no such parameter, or if two columns would have one name.
    """
    check(schema, name)
    params = [column for column in found if column.name in schema.fields and column.name != name]
    groups = _groups(params, len(found[0]) if found else 0)
    made = [replace(column, values=[column.values[group[0]] for group in groups]) for column in params]
    for column in found:
        if column.kind in _NUMBERS and column.name not in schema.fields:
            told = [_told([column.values[i] for i in group]) for group in groups]
            made.append(Column(f"{column.name}_mean", "float", [one[0] for one in told], True))
            made.append(Column(f"{column.name}_std", "float", [one[1] for one in told], True))
            made.append(Column(f"{column.name}_n", "integer", [one[2] for one in told], False))
    _refuse_clash([column.name for column in made])
    return made


def _told(values: Sequence[Any]) -> tuple[float | None, float | None, int]:
    """Return mean, deviation and number of some values; what is missing does not count, what is not finite does."""
    there = [float(value) for value in values if value is not None]
    if not there:
        return None, None, 0
    if not all(map(math.isfinite, there)):
        return sum(there) / len(there), math.nan if len(there) > 1 else None, len(there)
    if len(there) == 1:
        return there[0], None, 1
    return *mean_and_deviation(there), len(there)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return both of two or more finite numbers, however large: of what diverges, it may be infinite."""
    count = len(values)
    try:
        mean = math.fsum(values) / count
    except OverflowError:
        mean = math.fsum(value / count for value in values)
    return mean, math.hypot(*(value - mean for value in values)) / math.sqrt(count - 1)


def _refuse_clash(names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ParameterError(
            f"two columns would be called {twice!r}: that of a parameter or an outcome, and one of replicates=...; "
            "leave out what has that name"
        )


# ---- labelled arrays -------------------------------------------------------------------------------------------------
def grid_of(rows: Sequence[Base], model: type[Base], dims: str | Sequence[str] | None, name: str) -> Grid:
    """Return the grid of some runs without that parameter: runs that differ only in it are along a last dimension."""
    schema = Schema(model)
    check(schema, name)
    if not rows:
        raise ParameterError("there are no runs to make an array of")
    params = [column for column in columns(rows, model, False) if column.name in schema.fields and column.name != name]
    groups = _groups(params, len(rows))
    made = grid([rows[group[0]] for group in groups], model, dims, without=name)
    places: list[tuple[int, ...]] = [()] * len(rows)
    for group, place in zip(groups, made.places, strict=True):
        for number, i in enumerate(group):
            places[i] = (*place, number)
    return Grid({**made.dims, REPLICATE: max(map(len, groups))}, places, made.coords, made.constants)


def reduced(np: Any, made: Mapping[str, Variable], rows: Sequence[Base], found: Grid) -> dict[str, Variable]:
    """Return variables over sets: of each number its mean, deviation and how many there are; others are left out."""
    present = np.zeros(found.shape, bool)
    for place in found.places:
        present[place] = True
    result: dict[str, Variable] = {}
    for name, one in made.items():
        if REPLICATE not in one.dims:
            result[name] = one
            continue
        if one.values.dtype.kind not in "biufc":
            continue
        mask = present
        if all(hasattr(type(row), name) for row in rows):  # an outcome: NULL is missing, and NaN is not
            mask = present.copy()
            for row, place in zip(rows, found.places, strict=True):
                mask[place] = getattr(row, name) is not None
        for ending, variable in _reduced(np, one, mask).items():
            if f"{name}_{ending}" in made or f"{name}_{ending}" in result:
                _refuse_clash([f"{name}_{ending}"] * 2)
            result[f"{name}_{ending}"] = variable
    return result


def _reduced(np: Any, one: Variable, mask: Any) -> dict[str, Variable]:
    axis = one.dims.index(REPLICATE)
    dims = tuple(dim for dim in one.dims if dim != REPLICATE)
    values = one.values if one.values.dtype.kind in "fc" else one.values.astype(float)
    there = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
    count = there.sum(axis)
    mean = np.where(there, values, 0).sum(axis) / np.where(count > 0, count, np.nan)
    apart = np.where(there, abs(values - np.expand_dims(mean, axis)) ** 2, 0).sum(axis)
    std = np.sqrt(apart / np.where(count > 1, count - 1, np.nan))
    number = Variable(one.dims[:axis], mask.sum(axis))
    return {"mean": replace(one, dims=dims, values=mean), "std": replace(one, dims=dims, values=std), "n": number}
