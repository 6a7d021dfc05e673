"""The grid of some runs: which parameters span it, where in it each run belongs, and what goes along.

Parameters that differ are dimensions. Those that change together (of a zipped sweep) share one, which the first of them
names. Numbers and times are sorted, everything else comes in the order of the runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from entropic.ask.columns import Column, columns
from entropic.errors import ParameterError
from entropic.params.fields import unknown_key
from entropic.params.model import Base, Schema
from entropic.support.show import counted

RUN = "run"
_SORTED = {"boolean", "integer", "float", "decimal", "datetime", "date", "time", "duration"}
_SPARSE, _FEW = 20, 1_000  # places for each run, of so many places: this is no grid


@dataclass(frozen=True, slots=True)
class Levels:
    """A parameter: its distinct values, and which of them each run has."""

    column: Column
    values: list[Any]
    codes: list[int]

    @property
    def name(self) -> str:
        """That of the parameter."""
        return self.column.name

    def __len__(self) -> int:
        return len(self.values)


@dataclass(slots=True)
class Grid:
    """The places of runs.

    Attributes
    ----------
    dims
        Names and lengths.
    places
        Of each run.
    coords
        Of each parameter that differs: the dimensions along which it runs, and its column with a value for each place
        on these.
    constants
        The parameters that do not differ.
    """

    dims: dict[str, int]
    places: list[tuple[int, ...]]
    coords: dict[str, tuple[tuple[str, ...], Column]] = field(default_factory=dict)
    constants: dict[str, Column] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        """How many places there are."""
        return math.prod(self.dims.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the dimensions."""
        return tuple(self.dims.values())


def grid(rows: Sequence[Base], model: type[Base], dims: str | Sequence[str] | None, without: str | None = None) -> Grid:
    """Return the grid of some runs, as if there were no parameter `without`.

    Raises
    ------
    ParameterError
        If two runs belong in one cell, if the grid would be almost empty, or if a dimension is not a parameter.
    """
    if not rows:
        raise ParameterError("there are no runs to make an array of")
    schema = Schema(model)
    wanted = schema.fields.keys() - {without}
    params = [levels(column) for column in columns(rows, model, False) if column.name in wanted]
    differing = [one for one in params if len(one) > 1]
    if dims is None:
        spanning = _spanning(differing)
        _refuse_sparse(spanning, len(rows))
    else:
        spanning = _named(schema, [dims] if isinstance(dims, str) else list(dims), params, rows)
    places: list[tuple[int, ...]] = [tuple(one.codes[i] for one in spanning) for i in range(len(rows))]
    _refuse_repeated(rows, places, spanning, differing)
    made = Grid({one.name: len(one) for one in spanning}, places)
    made.constants = {one.name: one.column for one in params if len(one) == 1 and one.name not in made.dims}
    for one in [*spanning, *(one for one in differing if one.name not in made.dims)]:
        made.coords[one.name] = _along(one, spanning, made)
    return made


def levels(column: Column) -> Levels:
    """Return the distinct values of a column; floats that differ by the noise of rounding are one."""
    if column.kind in ("json", "object"):
        column = _with(column, column.as_text(), "text")
    known: dict[Any, int] = {}
    values: list[Any] = []
    codes: list[int] = []
    for value in column.values:
        code = known.setdefault(_identity(value), len(values))
        if code == len(values):
            values.append(value)
        codes.append(code)
    if column.kind in _SORTED:
        order = sorted(range(len(values)), key=lambda i: (_is_none(values[i]), 0 if _is_none(values[i]) else values[i]))
        place = {old: new for new, old in enumerate(order)}
        values, codes = [values[i] for i in order], [place[code] for code in codes]
    return Levels(_with(column, values), values, codes)


def _identity(value: object) -> object:
    return f"{value:.11e}" if isinstance(value, float) else value


def _is_none(value: object) -> bool:
    return value is None or value != value


def _with(column: Column, values: list[Any], kind: str | None = None) -> Column:
    return Column(column.name, kind or column.kind, values, column.nullable, zone=column.zone)


# ---- dimensions --------------------------------------------------------------------------------------------------
def _spanning(differing: Sequence[Levels]) -> list[Levels]:
    """Return the parameters that differ, without those that merely go along with an earlier one."""
    found: list[Levels] = []
    for one in differing:
        if not any(len(other) == len(one) and _determines(other, one) for other in found):
            found.append(one)
    return found


def _determines(one: Levels, other: Levels) -> bool:
    """Tell whether runs with the same value of one have the same value of the other."""
    return len(set(zip(one.codes, other.codes, strict=True))) == len(one)


def _named(schema: Schema, names: list[str], params: Sequence[Levels], rows: Sequence[Base]) -> list[Levels]:
    by_name = {one.name: one for one in params}
    if names == [RUN] and RUN not in by_name:
        ids = [row.id for row in rows]
        return [levels(Column(RUN, "text", ids, False))]
    for name in names:
        if name not in by_name:
            raise ParameterError(f"dims names {name!r}, but {unknown_key(name, schema.name, list(by_name))}")
    if len(set(names)) < len(names):
        raise ParameterError(f"dims names a parameter twice: {names!r}")
    return [by_name[name] for name in names]


def _refuse_sparse(spanning: Sequence[Levels], count: int) -> None:
    cells = math.prod(map(len, spanning))
    if cells > _FEW and cells > _SPARSE * count:
        raise ParameterError(
            f"{counted(count, 'run')} would fill only {count / cells:.2g} of the {cells:,} cells of "
            f"{_spell(spanning)}; {_sampled()}, or name the dimensions that you want: dims=[...]"
        )


def refuse_large(found: Grid, count: int, cell_bytes: int, most_bytes: int) -> None:
    """Refuse a grid that is mostly empty and takes much memory all the same."""
    if found.cells > 10 * count and found.cells * cell_bytes > most_bytes:
        raise ParameterError(
            f"an array of {' x '.join(f'{size:,}' for size in found.shape)} cells would be almost empty: there are "
            f"{counted(count, 'run')} for {found.cells:,} cells of {cell_bytes:,} bytes; {_sampled()}, or select fewer"
        )


def _sampled() -> str:
    return f"if the runs are a sample and not a grid, put them along one dimension with dims={RUN!r}"


def _spell(several: Sequence[Levels]) -> str:
    return " x ".join(f"{one.name} ({len(one):,})" for one in several)


_TWICE = (
    "they are one set with two keys, written in two ways, such as 1 and 1.0, or a default given and left out "
    "(explain() says which): delete one,"
)


def _refuse_repeated(
    rows: Sequence[Base],
    places: Sequence[tuple[int, ...]],
    spanning: Sequence[Levels],
    differing: Sequence[Levels],
) -> None:
    seen: dict[tuple[int, ...], int] = {}
    for i, place in enumerate(places):
        first = seen.setdefault(place, i)
        if first == i:
            continue
        at = ", ".join(f"{one.name}={one.values[code]}" for one, code in zip(spanning, place, strict=True))
        if rows[first].id == rows[i].id:
            raise ParameterError(f"the run {rows[i].id} ({at}) appears twice; pass each run once")
        apart = [one.name for one in differing if one.codes[first] != one.codes[i]]
        cell = f"the same cell ({at})" if at else "the only cell of the array"
        why = f"they differ in {', '.join(apart)}: add that to dims," if apart else _TWICE
        raise ParameterError(
            f"the runs {rows[first].id} and {rows[i].id} belong in {cell}; {why} select fewer runs, or put them along "
            f"one dimension with dims={RUN!r}"
        )


def _along(one: Levels, spanning: Sequence[Levels], made: Grid) -> tuple[tuple[str, ...], Column]:
    """Return along what a parameter runs: a dimension that determines it, else the whole grid."""
    for dim in spanning:
        if _determines(dim, one):
            value_of = dict(zip(dim.codes, one.codes, strict=True))
            return (dim.name,), _with(one.column, [one.values[value_of[i]] for i in range(len(dim))])
    found = dict(zip(made.places, one.codes, strict=True))
    strides = [math.prod(made.shape[i + 1 :]) for i in range(len(made.shape))]
    values: list[Any] = [None] * made.cells
    for place, code in found.items():
        values[sum(map(int.__mul__, place, strides))] = one.values[code]
    return tuple(made.dims), _with(one.column, values)
