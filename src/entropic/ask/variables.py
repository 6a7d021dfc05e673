"""What a result holds, as named arrays with named dimensions."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from entropic.ask.common_type import NoCommonTypeError, in_unit_of_xarray
from entropic.errors import LoadError
from entropic.formats import image
from entropic.formats.arrays import RESULT, Arrays
from entropic.formats.libraries import library
from entropic.formats.lossless import is_from
from entropic.formats.suffixes import FormatError, find

UNDECLARED = (".json", ".txt", ".md", ".log", ".csv", ".tsv", ".csv.gz", ".tsv.gz")  # a number may be whole by chance


@dataclass(slots=True)
class Variable:
    """An array (numpy's), the names of its dimensions, and whether it is a coordinate of others."""

    dims: tuple[str, ...]
    values: Any
    attrs: dict[str, object] = field(default_factory=dict)
    is_coord: bool = False
    is_found: bool = False
    """Whether the format did not say that it is a coordinate."""


def variables(loaded: object, only: Sequence[str] | None, path: str) -> dict[str, Variable]:
    """Return the arrays of a result, by name.

    Parameters
    ----------
    loaded
        As it was read: a number, an array, a dict of these, a data set, a data frame, an image.
    only
        The names that are wanted; None for all.
    path
        Of its file, for messages.

    Raises
    ------
    LoadError
        If something that is wanted is no array.
    """
    np = library("numpy", "xarray", "to_xarray")
    found: dict[str, Variable] = {}
    for name, value in _context(loaded, path):
        one = value if isinstance(value, Variable) else None
        if only is not None and name not in only and not (one and one.is_coord):
            continue
        if name in found:
            raise LoadError(
                f"{path} holds two values that are both called {name!r}, so one would hide the other; give them other "
                "names in the runner, or let Store(..., loader=...) return them under others"
            )
        found[name] = _with_times(np, name, one or _array(np, name, value, path), path)
    return found


def _with_times(np: object, name: str, one: Variable, path: str) -> Variable:
    if one.values.dtype.kind in "mM":
        try:
            one.values = in_unit_of_xarray(np, one.values)
        except NoCommonTypeError as error:
            raise LoadError(_no_array(name, path, str(error))) from error
    return one


def _by_format(loaded: Any, path: str) -> Any:
    """Return arrays by name where the format knows them; else what was loaded."""
    if image.is_of_pillow(loaded):
        arrays_of: Any = image.arrays_of_image
    else:
        try:
            found = find(path)
        except FormatError:  # a loader has read it
            found = None
        arrays_of = found and found[1].arrays
    try:
        made = arrays_of(loaded) if arrays_of else None
    except ValueError as error:
        raise LoadError(_no_array(RESULT, path, str(error))) from error
    return loaded if made is None else made


def _context(loaded: Any, path: str) -> Iterator[tuple[str, Any]]:
    loaded = _by_format(loaded, path)
    if hasattr(loaded, "subtree"):
        yield from _of_tree(loaded)
    elif hasattr(loaded, "data_vars") or hasattr(loaded, "to_dataset"):
        yield from _of_dataset(
            loaded if hasattr(loaded, "data_vars") else loaded.to_dataset(name=loaded.name or RESULT)
        )
    elif _is_frame(loaded):
        yield from _of_frame(loaded)
    elif isinstance(loaded, Arrays):
        yield from _of_arrays(loaded, path)
    elif isinstance(loaded, Mapping):
        yield from _of_mapping(loaded, "")
    elif isinstance(loaded, str) and os.path.splitext(path)[1].lower() in UNDECLARED:
        yield RESULT, _numbers(loaded)
    elif getattr(getattr(loaded, "dtype", None), "names", None):
        yield from ((name, loaded[name]) for name in loaded.dtype.names)
    else:
        yield RESULT, loaded


def _of_dataset(dataset: Any) -> Iterator[tuple[str, Variable]]:
    for name, one in dataset.variables.items():
        yield str(name), Variable(tuple(map(str, one.dims)), one.values, dict(one.attrs), name in dataset.coords)


def _of_tree(tree: Any) -> Iterator[tuple[str, Variable]]:
    """Yield the variables of all groups by their path; a dimension is that of the group that has its coordinate."""
    for node in tree.subtree:
        prefix = f"{node.path.strip('/')}/".lstrip("/")
        for name, one in _of_dataset(node.to_dataset(inherit=False)):
            one.dims = tuple(_dim_of(node, dim) for dim in one.dims)
            yield prefix + name, one


def _dim_of(node: Any, dim: str) -> str:
    for group in (node, *node.parents):
        if dim in group.to_dataset(inherit=False).coords:
            return f"{group.path.strip('/')}/{dim}".lstrip("/")
    return f"{node.path.strip('/')}/{dim}".lstrip("/")


def _of_arrays(arrays: Arrays, path: str) -> Iterator[tuple[str, Variable]]:
    np = library("numpy", "xarray", "to_xarray")
    for name, values in arrays.items():
        one = _array(np, name, values, path)
        given = arrays.dims.get(name, ())
        one.dims = tuple(dim or own for dim, own in zip(given, one.dims, strict=True)) if given else one.dims
        one.attrs, one.is_coord = arrays.attrs.get(name, {}), given == (name,)
        yield name, one


def _is_frame(loaded: object) -> bool:
    return hasattr(loaded, "columns") and hasattr(loaded, "index")


def _of_frame(frame: Any) -> Iterator[tuple[str, Variable]]:
    index, columns = frame.index, [str(name) for name in frame.columns]
    dim = str(index.name) if index.name is not None else "index" if "row" in columns else "row"
    if index.nlevels > 1:
        for i, name in enumerate(index.names):
            level = index.get_level_values(i).to_numpy()
            yield str(name or f"level_{i}"), Variable((dim,), level, is_coord=True)
    elif index.name is not None or not _is_count(index):
        yield dim, Variable((dim,), _of_column(index), is_coord=True)
    for i, name in enumerate(columns):
        yield name, Variable((dim,), _of_column(frame.iloc[:, i]))


def _is_count(index: Any) -> bool:
    """Tell whether the labels of rows only count them, and say nothing."""
    return getattr(index, "start", None) == 0 and getattr(index, "step", None) == 1


def _of_column(column: Any) -> Any:
    """Return the values of a column; whole numbers beside missing ones are floats only if these are the same."""
    np = library("numpy", "xarray", "to_xarray")
    if getattr(column.dtype, "kind", "") not in "iub" or not hasattr(column.dtype, "na_value") or not column.hasnans:
        values = column.to_numpy()
        return _days(np, values) if values.dtype.kind == "O" else values
    return _with_nan(np, column.to_numpy(object, na_value=None))


def _days(np: Any, values: Any) -> Any:
    """Return dates, as which pandas reads the days of Arrow and Polars, as times; other objects as they are."""
    is_day = [type(one) is date for one in values]
    if not any(is_day) or not all(one or other is None for one, other in zip(is_day, values, strict=True)):
        return values
    return np.array(values, "datetime64[s]")


def _of_mapping(loaded: Mapping[Any, object], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in loaded.items():
        if isinstance(value, Mapping):
            yield from _of_mapping(value, f"{prefix}{name}.")
        elif _is_frame(value):
            for column, one in _of_frame(value):
                one.dims = tuple(f"{prefix}{name}.{dim}" for dim in one.dims)
                yield f"{prefix}{name}.{column}", one
        else:
            yield f"{prefix}{name}", value


def _numbers(text: str) -> object:
    """Return the number, or the table of numbers, that a text is; else the text."""
    try:
        rows = [[float(word) for word in line.split()] for line in text.splitlines() if line.strip()]
    except ValueError:
        return text
    if len(rows) == 1:
        return rows[0][0] if len(rows[0]) == 1 else rows[0]
    return [row[0] for row in rows] if rows and all(len(row) == 1 for row in rows) else rows or text


def _array(np: Any, name: str, value: Any, path: str) -> Variable:
    if value is None or is_from(value, "h5py.Empty"):  # a data set of HDF5 that holds nothing, and has no shape
        value = np.nan
    if np.ma.isMaskedArray(value) and value.dtype.kind in "biuf":  # as what is missing elsewhere is
        mask, value = np.ma.getmaskarray(value), value.data.astype(object)
        value[mask] = None
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise LoadError(_no_array(name, path, "its lists have different lengths")) from error
    if array.dtype == object and all(one is None or isinstance(one, int | float) for one in array.flat):
        array = _with_nan(np, array)
    elif array.dtype == object and not all(isinstance(one, str | bytes) for one in array.flat):
        raise LoadError(_no_array(name, path, f"it holds {type(value).__name__} that are neither numbers nor text"))
    if array.dtype.kind == "V":
        raise LoadError(_no_array(name, path, "its fields have different types"))
    return Variable(tuple(f"{name}_{i}" for i in range(array.ndim)), array)


def _with_nan(np: Any, array: Any) -> Any:
    """Return numbers and None as floats; as objects if there are whole numbers that no float is."""
    there = np.array([np.nan if one is None else one for one in array.flat], object).reshape(array.shape)
    try:
        floats = there.astype(float)
    except OverflowError:
        return there
    pairs = zip(there.flat, floats.ravel().tolist(), strict=True)  # Python's own, which compare as they are
    return floats if all(one == other or one != one for one, other in pairs) else there


def _no_array(name: str, path: str, why: str) -> str:
    return (
        f"{name!r} in {path} cannot be made an array: {why}; choose others with variables=[...], or let "
        "Store(..., loader=...) return arrays"
    )
