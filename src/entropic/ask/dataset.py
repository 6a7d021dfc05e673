"""`Runs.to_xarray`: a labelled array of many runs, loaded now or, with Dask, when it is needed."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from entropic.ask.alike import Results
from entropic.ask.axes import Grid, grid, refuse_large
from entropic.ask.columns import Column, columns
from entropic.ask.common_type import calendar, convert, equal, missing_type
from entropic.ask.load import load_row
from entropic.ask.replicates import grid_of, reduced
from entropic.ask.shared import Given, SharedAxes
from entropic.ask.stack import Stack
from entropic.ask.variables import UNDECLARED, Variable, variables
from entropic.errors import LoadError, ParameterError
from entropic.formats.libraries import library
from entropic.formats.read import Loader
from entropic.params.model import Base, Schema

if TYPE_CHECKING:
    import xarray

CUSTOM = "custom_data."
MOST_BYTES = 100 * 2**20  # of an array that is mostly empty
MOST_LAZY_CELLS = 100_000  # of one made of chunks
CHUNK = 4 * 2**20  # bytes of the runs that a lazy array reads together

Dims = str | Sequence[str] | None
Rows = Sequence[Base]


def to_xarray(
    rows: Rows,
    model: type[Base],
    loader: Loader | None,
    dims: Dims,
    only: Sequence[str] | str | None,
    lazy: bool,
    axes: Given | None = None,
    replicates: str | None = None,
) -> "xarray.Dataset":
    """Return the results of some runs as a data set over the parameters that differ."""
    xr, np = library("xarray", "xarray", "to_xarray"), library("numpy", "xarray", "to_xarray")
    if lazy:
        library("dask.array", "xarray", "to_xarray(lazy=True)")
    wanted = [only] if isinstance(only, str) else None if only is None else list(only)
    schema = Schema(model)
    of_rows = [name for name in schema.outcomes if wanted is None or name in wanted]
    wanted = None if wanted is None else [name for name in wanted if name not in of_rows]
    found = grid(rows, model, dims) if replicates is None else grid_of(rows, model, dims, replicates)
    refuse_large(found, len(rows), *((MOST_BYTES, MOST_BYTES * MOST_LAZY_CELLS) if lazy else (8, MOST_BYTES)))
    taken = {*schema.fields, *found.dims}
    shared = SharedAxes(axes)
    is_general = loader is not None or any(name.startswith(CUSTOM) for name in wanted or ())
    general = partial(results_of, loader=loader, only=wanted, taken=taken, shared=shared)
    results = Results(general, wanted, taken, is_general)
    made = _lazily(np, rows, found, results, wanted, taken) if lazy else _at_once(np, rows, found, results, wanted)
    columns_ = dict(outcome_columns(np, rows, model, found, of_rows))
    made |= {name: one for name, one in columns_.items() if name not in made or {*made[name].dims} <= {*one.dims}}
    if replicates is not None:
        made = reduced(np, made, rows, found)
    coords = {
        name: (along, coordinate(np, column).reshape([found.dims[dim] for dim in along]))
        for name, (along, column) in found.coords.items()
    }
    given = {name: one for name, one in made.items() if one.is_coord}
    dataset: xarray.Dataset = xr.Dataset(
        {name: (one.dims, one.values, one.attrs) for name, one in made.items() if not one.is_coord},
        coords={**coords, **{name: (one.dims, one.values, one.attrs) for name, one in given.items()}},
        attrs=dict(constants(found.constants)),
    )
    return dataset


# ---- parameters --------------------------------------------------------------------------------------------------
def coordinate(np: Any, column: Column) -> Any:
    """Return the values of a parameter as an array, in which no two are one.

    Whole numbers of which some are missing become floats, and None among text becomes "None"; where that would be
    another number or another text, they are objects.
    """
    values, kind = column.values, column.kind
    has_none = any(value is None for value in values)
    if kind in ("integer", "float", "decimal") or (kind == "boolean" and not has_none):
        return _numbers(np, values, kind, has_none)
    if kind in ("datetime", "date"):
        return np.array(
            [_naive(value) for value in values], "datetime64[us]" if kind == "datetime" else "datetime64[s]"
        )
    if kind == "duration":
        return np.array(values, "timedelta64[us]")
    texts = [str(value) for value in values]
    if has_none and any(text == "None" and value is not None for text, value in zip(texts, values, strict=True)):
        return np.array([None if value is None else text for text, value in zip(texts, values, strict=True)], object)
    return np.array(texts)


def _numbers(np: Any, values: Sequence[Any], kind: str, has_none: bool) -> Any:
    given = [np.nan if value is None else value for value in values]
    if kind == "boolean":
        return np.array(given, bool)
    if kind == "integer" and has_none and any(value is not None and float(value) != value for value in values):
        return np.array(given, object)
    if kind == "decimal" and len({float(value) for value in values if value is not None}) < len(values) - has_none:
        return np.array(given, object)
    return np.array(given, None if kind == "integer" else float)


def outcome_columns(
    np: Any, rows: Rows, model: type[Base], found: Grid, names: Sequence[str]
) -> Iterator[tuple[str, Variable]]:
    """Yield outcome columns over the parameters that differ; no result is read for them."""
    columns_of = {column.name: column for column in columns(rows, model, False)} if names else {}
    for name in names:
        values = _of_outcomes(np, columns_of[name])
        type_ = values.dtype if len(rows) == found.cells else missing_type(np, values.dtype)
        made = np.full(found.shape, _missing(np, type_), type_)
        for value, place in zip(values, found.places, strict=True):
            made[place] = value
        yield name, Variable(tuple(found.dims), made)


def _of_outcomes(np: Any, column: Column) -> Any:
    """Return an outcome column as an array: what is missing is NaN among truths, as among numbers, and None in text."""
    values = column.values
    if column.kind == "boolean":
        return np.array([np.nan if value is None else value for value in values], None if None not in values else float)
    if column.kind in ("integer", "float", "decimal", "datetime", "date", "duration"):
        return coordinate(np, column)
    texts = np.array([value if value is None else str(value) for value in values], object)
    return texts if None in values else texts.astype(str)


def _naive(value: object) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def constants(columns: Mapping[str, Column]) -> Iterator[tuple[str, Any]]:
    """Yield what is the same in all runs as attributes that a file can hold; what is None is left out."""
    for name, column in columns.items():
        value = column.values[0]
        if isinstance(value, bool):
            yield name, int(value)
        elif isinstance(value, int | float | str):
            yield name, value
        elif value is not None:
            yield name, float(value) if column.kind == "decimal" else str(value)


# ---- results -----------------------------------------------------------------------------------------------------
def results_of(
    row: Base, loader: Loader | None, only: Sequence[str] | None, taken: set[str], shared: SharedAxes
) -> dict[str, Variable]:
    """Return the variables of one run: those of its result, and the fields of custom data that are asked for."""
    found: dict[str, Variable] = {}
    from_file = None if only is None else [name for name in only if not name.startswith(CUSTOM)]
    if from_file is None or from_file:
        names = None if from_file is None else {*from_file, *(_bare(name) for name in from_file)}
        beside = set() if names is None else shared.beside(names) - names
        loaded = load_row(row, loader, only=None if names is None else names | beside)
        found = variables(loaded, None if names is None else list(names), row.result_file)
        for name in sorted(beside):  # which nobody has asked for, so it may be anything
            with suppress(LoadError):
                found |= variables(loaded, [name], row.result_file)
        shared.name(found, is_all=names is None)
        found = _renamed(found, taken)
    if from_file:
        found = {name: one for name, one in found.items() if one.is_coord or name in from_file}
    for name in only or ():
        if name.startswith(CUSTOM):
            found |= variables({name: _custom(row, name)}, [name], row.result_file)
    return found


def _custom(row: Base, name: str) -> Any:
    value: object = row.custom_data
    for part in name.removeprefix(CUSTOM).split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _renamed(found: Mapping[str, Variable], taken: set[str]) -> dict[str, Variable]:
    """Give what has the name of a parameter another: results often repeat what they were made from."""
    called = {name: f"result_{name}" for name in taken}
    for name in called.keys() & found.keys():
        if called[name] in found:
            raise LoadError(
                f"a result holds {name!r}, which is called {called[name]!r} since {name!r} is a parameter, and "
                f"{called[name]!r} as well; give one of them another name in the runner, or by Store(..., loader=...)"
            )
    return {
        called.get(name, name): replace(one, dims=tuple(called.get(dim, dim) for dim in one.dims))
        for name, one in found.items()
    }


def _bare(name: str) -> str:
    return name.removeprefix("result_")


def _at_once(
    np: Any, rows: Rows, found: Grid, results: Callable[..., dict[str, Variable]], wanted: Sequence[str] | None
) -> dict[str, Variable]:
    """Load one result after another into arrays of them all."""
    stacks: dict[str, Stack] = {}
    for row, place in zip(rows, found.places, strict=True):
        for name, one in results(row).items():
            if name not in stacks:
                refuse_large(found, len(rows), one.values.nbytes, MOST_BYTES)
                stacks[name] = Stack(np, name, one, found, row)
            stacks[name].put(place, one, row)
    refuse_unknown(wanted, stacks, lambda: results(rows[0], only=None))
    made: dict[str, Variable] = {}
    for stack in stacks.values():
        for name, one in stack.variable(len(rows)).items():
            if name in made:
                raise LoadError(
                    f"two variables would be called {name!r}: one that a result holds, and a coordinate that differs "
                    "between the runs; choose with variables=[...], or give one another name in the runner"
                )
            made[name] = one
    return made


def refuse_unknown(wanted: Sequence[str] | None, made: Container[str], all_of: Callable[[], Any]) -> None:
    """Refuse the names of what no result has, with those that there are."""
    lacking = [name for name in wanted or () if name not in made]
    if lacking:
        there = ", ".join(map(repr, all_of())) or "nothing"
        raise ParameterError(f"no result has {', '.join(map(repr, lacking))}; the first one has {there}")


def _lazily(
    np: Any,
    rows: Rows,
    found: Grid,
    results: Callable[..., dict[str, Variable]],
    wanted: Sequence[str] | None,
    taken: Container[str],
) -> dict[str, Variable]:
    """Load the first result, and lay out arrays of chunks that each load the results of some runs.

    What lies along a coordinate has that of the first result, and a result that has another one is refused when it is
    read. Only a coordinate without dimensions that repeats a parameter lies along the runs.
    """
    if found.cells > MOST_LAZY_CELLS and found.cells > 10 * len(rows):
        refuse_large(found, len(rows), MOST_BYTES, 0)
    array = library("dask.array", "xarray", "to_xarray(lazy=True)")
    by_place = dict(zip(found.places, rows, strict=True))
    made: dict[str, Variable] = {}
    first = results(rows[0])
    coords = {name: one for name, one in first.items() if one.is_coord and (one.dims or _bare(name) not in taken)}
    for name, one in first.items():
        if name in coords:
            made[name] = one
            continue
        undeclared = rows[0].result_file.lower().endswith(UNDECLARED) or name.startswith(CUSTOM)
        type_ = np.dtype(float) if undeclared and one.values.dtype.kind in "iub" else one.values.dtype
        if len(rows) < found.cells or type_.kind in "US":  # the first text may be the shortest
            type_ = missing_type(np, type_)
        axes = {axis: along for axis, along in coords.items() if {*along.dims} <= {*one.dims} and not one.is_coord}
        cells = Cells(by_place, partial(_only, results, name, axes), name, found.shape, one.values, type_)
        chunks = chunk(found.shape, one.values.size * type_.itemsize) + one.values.shape
        dims = (*found.dims, *one.dims)
        made[name] = Variable(dims, array.from_array(cells, chunks, name=False, asarray=False), one.attrs, one.is_coord)
    refuse_unknown(wanted, made, lambda: results(rows[0], only=None))
    return made


def chunk(grid: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Return over how many runs along each dimension a chunk goes, given the bytes of one: small ones are together."""
    room, made = max(1, CHUNK // max(1, size)), []
    for length in reversed(grid):
        made.append(max(1, min(length, room)))
        room //= made[-1]
    return tuple(reversed(made))


def _only(results: Any, name: str, axes: Mapping[str, Variable], row: Base) -> Variable | None:
    """Return one variable of a run, without reading the others where the format allows that."""
    np = library("numpy", "xarray", "to_xarray")
    found: dict[str, Variable] = results(row, only=[name])
    for axis, first in axes.items() if name in found else ():
        if axis not in found or not equal(np, found[axis].values, first.values):
            way_out = "say axes={}, so that no axis is shared" if first.is_found else "give the store a loader"
            raise LoadError(
                f"{name!r} of {row.id} lies along another {axis!r} than that of the first run; leave lazy=True out, or "
                + way_out
            )
    return found.get(name)


class Cells:
    """An array of the results of many runs, each of which is loaded when a part of it is asked for."""

    def __init__(
        self,
        rows: Mapping[tuple[int, ...], Base],
        one_of: Callable[[Base], Variable | None],
        name: str,
        grid: tuple[int, ...],
        first: Any,
        dtype: Any,
    ) -> None:
        self._rows, self._one_of, self._name = rows, one_of, name
        self._grid, self._inner, self._calendar = len(grid), first.shape, calendar(first)
        self.shape, self.dtype, self.ndim = (*grid, *first.shape), dtype, len(grid) + first.ndim

    def __getitem__(self, index: Any) -> Any:
        np = library("numpy", "xarray", "to_xarray")
        wanted = [_positions(one, size) for one, size in zip(index, self.shape, strict=True)]
        outer, inner = wanted[: self._grid], np.ix_(*wanted[self._grid :])
        made = np.full([len(one) for one in wanted], _missing(np, self.dtype), self.dtype)
        if made.size:
            for at in np.ndindex(*map(len, outer)):
                row = self._rows.get(tuple(one[i] for one, i in zip(outer, at, strict=True)))
                if row is not None:
                    made[at] = self._values(np, row)[inner]
        return made[tuple(0 if isinstance(one, int) else slice(None) for one in index)]

    def _values(self, np: object, row: Base) -> Any:
        one = self._one_of(row)
        if one is None or one.values.shape != self._inner:
            there = "is missing" if one is None else f"has the shape {one.values.shape}"
            raise LoadError(f"{self._name!r} {there} in the run {row.id}, and has the shape {self._inner} in the first")
        values = self._converted(np, one.values)
        if values is None:
            raise LoadError(
                f"{self._name!r} is {one.values.dtype} in the run {row.id}, but became {self.dtype} by the first run, "
                "which does not hold it unchanged; write one type in all results, or leave lazy=True out"
            )
        return values

    def _converted(self, np: Any, values: Any) -> Any:
        kinds = values.dtype.kind + self.dtype.kind
        if kinds in ("MM", "mm") or np.can_cast(values.dtype, self.dtype, "safe"):
            is_other = kinds in ("MO", "mO") or (kinds == "OO" and calendar(values) != self._calendar)
            return None if is_other else convert(np, values, self.dtype)
        return None


def _positions(one: Any, size: int) -> Any:
    """Return the places along an axis that an index means: a slice, a number, or an array of these."""
    if isinstance(one, slice):
        return range(size)[one]
    return [range(size)[int(i)] for i in ([one] if isinstance(one, int) else one)]


def _missing(np: Any, dtype: Any) -> Any:
    if dtype.kind in "mM":
        return np.array("NaT", dtype)
    return np.nan if dtype.kind in "fcO" else np.zeros((), dtype)[()]
