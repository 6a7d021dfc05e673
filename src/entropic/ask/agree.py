"""Whether two results agree, as the readers have read them: numbers within a relative tolerance, all else equal."""

import math
from collections.abc import Mapping
from numbers import Number
from typing import Any

from entropic.formats.libraries import library
from entropic.support.show import spelled

_DEEPEST = 50  # of what is nested; beyond that only what says itself that it is equal is


def difference(stored: Any, made: Any, rtol: float, where: str = "", depth: int = 0) -> str | None:
    """Say where a result that was made again differs from the stored one; None if the two agree.

    NaN agrees with NaN. Attributes of labelled arrays, such as a history with dates, do not count.

    Parameters
    ----------
    where
        What is compared, as the sentence names it.
    """
    stored, made = _plain(stored), _plain(made)
    if isinstance(stored, Mapping) and isinstance(made, Mapping):
        if stored.keys() != made.keys():
            unlike = sorted(map(str, stored.keys() ^ made.keys()))
            return (
                f"{where or 'the result'} has other names: {', '.join(unlike[:5])} {'are' if unlike[1:] else 'is'} "
                "on one side only"
            )
        pairs = [(f"{where}[{name!r}]", stored[name], made[name]) for name in stored]
    elif isinstance(stored, list | tuple) and isinstance(made, list | tuple):
        if len(stored) != len(made):
            return f"{where or 'the result'} has {len(made):,} entries instead of {len(stored):,}"
        pairs = [(f"{where}[{i}]", one, made[i]) for i, one in enumerate(stored)]
    elif _is_array(stored) and _is_array(made):
        return _between_arrays(stored, made, rtol, where)
    elif _is_close(stored, made, rtol):
        return None
    elif type(stored) is type(made) and hasattr(stored, "__dict__") and depth < _DEEPEST and vars(stored):
        return difference(vars(stored), vars(made), rtol, where, depth + 1)
    else:
        return f"{where or 'the result'} is {spelled(made)} instead of {spelled(stored)}"
    if depth >= _DEEPEST:
        return f"{where or 'the result'} is nested too deep to be compared"
    return next((found for name, one, two in pairs if (found := difference(one, two, rtol, name, depth + 1))), None)


def _plain(value: Any) -> Any:
    """Return a table, or labelled arrays, as a dict of what is in it; anything else as it is."""
    if hasattr(value, "data_vars"):  # a Dataset of xarray
        return {str(name): _plain(one) for name, one in value.variables.items()}
    if hasattr(value, "dims") and hasattr(value, "values") and not callable(value.values):
        axes = {str(name): one.values for name, one in getattr(value, "coords", {}).items()}
        return {"dims": list(map(str, value.dims)), "values": value.values, **({"coords": axes} if axes else {})}
    if hasattr(value, "iloc") and hasattr(value, "columns"):  # a table of pandas
        columns = {str(name): value[name].to_numpy() for name in value.columns} if value.columns.is_unique else {}
        return {
            "columns": columns or [list(map(str, value.columns)), value.to_numpy()],
            "index": value.index.to_numpy(),
        }
    if hasattr(value, "iloc"):
        return {"values": value.to_numpy(), "index": value.index.to_numpy()}
    if hasattr(value, "to_pydict"):  # of Arrow
        return value.to_pydict()
    if hasattr(value, "to_dicts") and hasattr(value, "columns"):  # of Polars
        return value.to_dict(as_series=False)
    return value


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and hasattr(value, "shape")


def _is_close(stored: Any, made: Any, rtol: float) -> bool:
    if isinstance(stored, Number) and isinstance(made, Number) and not isinstance(stored, bool | int):
        one, two = (complex(value) for value in (stored, made))  # type: ignore[call-overload]
        near = abs(one) < math.inf and abs(one - two) <= rtol * abs(one)
        return bool(near or one == two or (one != one and two != two))
    try:
        return bool(stored == made)
    except Exception:  # noqa: BLE001  (of anybody's objects)
        return False


def _between_arrays(stored: Any, made: Any, rtol: float, where: str) -> str | None:
    np = library("numpy", "numpy", "to compare arrays")
    one, two, name = np.asarray(stored), np.asarray(made), where or "the result"
    if one.shape != two.shape:
        return f"{name} has the shape {two.shape} instead of {one.shape}"
    if one.dtype.names is not None or two.dtype.names is not None:
        if one.dtype.names != two.dtype.names:
            return f"{name} has the fields {two.dtype.names} instead of {one.dtype.names}"
        found = (difference(one[field], two[field], rtol, f"{where}[{field!r}]") for field in one.dtype.names or ())
        return next((text for text in found if text), None)
    if one.dtype.kind == "O" or two.dtype.kind == "O":
        return difference(one.tolist(), two.tolist(), rtol, where, 1)
    numbers = set("biufc")
    if one.dtype.kind in numbers and two.dtype.kind in numbers and {one.dtype.kind, two.dtype.kind} & set("fc"):
        with np.errstate(all="ignore"):
            near = np.isfinite(one) & (abs(one - two) <= rtol * abs(one))
            agrees = (one == two) | (np.isnan(one) & np.isnan(two)) | near
    elif one.dtype.kind in "mM" and two.dtype.kind == one.dtype.kind:
        agrees = (one == two) | (np.isnat(one) & np.isnat(two))
    elif (one.dtype.kind in numbers) == (two.dtype.kind in numbers):
        agrees = np.asarray(one == two) if one.dtype.kind in "biuSUV" else np.zeros(one.shape, bool)
    else:
        return f"{name} holds {two.dtype} instead of {one.dtype}"
    count = int(agrees.size - np.count_nonzero(agrees))
    if not count:
        return None
    place = tuple(int(i) for i in np.argwhere(~np.atleast_1d(agrees))[0])
    at = f"{name}[{', '.join(map(str, place))}]" if one.ndim else name
    some = f" ({count:,} of {agrees.size:,} numbers differ)" if one.ndim else ""
    return f"{at} is {np.atleast_1d(two)[place]} instead of {np.atleast_1d(one)[place]}{some}"
