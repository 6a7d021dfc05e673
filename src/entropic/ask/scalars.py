"""Single values of results as typed columns, which stand beside the parameters in a table."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from entropic.ask.columns import Column, kind_of
from entropic.ask.common_type import convert
from entropic.ask.dataset import refuse_unknown, results_of
from entropic.ask.shared import SharedAxes
from entropic.ask.variables import Variable
from entropic.errors import LoadError
from entropic.formats.libraries import library
from entropic.formats.read import Loader
from entropic.params.model import Base

_MOST_THREADS = 16  # reading waits for disks and networks more than it computes
_OTHER_KINDS: dict[str, type] = {"datetime": datetime, "duration": timedelta, "bytes": bytes}


def scalars(rows: Sequence[Base], loader: Loader | None, names: str | Sequence[str], taken: set[str]) -> list[Column]:
    """Return a column for each of some values of the results, which are read side by side.

    Parameters
    ----------
    names
        What the results call them, as in `to_xarray`; `result_` goes before a name that is taken.
    taken
        The names of the other columns.

    Raises
    ------
    LoadError
        If a result cannot be read, or holds an array under such a name.
    ParameterError
        If no result has such a name.
    """
    given = [names] if isinstance(names, str) else names
    called = list(dict.fromkeys(f"result_{name}" if name in taken else name for name in given))
    read = partial(results_of, loader=loader, taken=taken, shared=SharedAxes({}))
    pool = ThreadPoolExecutor(min(_MOST_THREADS, 4 * (os.cpu_count() or 1)), "entropic-load")
    try:
        results = pool.map(partial(read, only=called), rows)
        found = [_values(row, one) for row, one in zip(rows, results, strict=True)]
    finally:
        pool.shutdown(cancel_futures=True)
    there = {name for one in found for name in one}
    if rows:
        refuse_unknown(called, there, lambda: read(rows[0], only=None))
    return [_column(name, [one.get(name) for one in found]) for name in called]


def _values(row: Base, found: Mapping[str, Variable]) -> dict[str, Any]:
    np = library("numpy", "numpy", "a table of results")
    for name, one in found.items():
        if one.values.ndim:
            raise LoadError(
                f"{name!r} of the run {row.id} is an array of the shape {one.values.shape}, but a table has one value "
                "for each run; choose others with results=[...], or use to_xarray"
            )
    return {name: _plain(np, one.values) for name, one in found.items()}


def _plain(np: Any, value: Any) -> Any:
    """Return a value as Python has it; a time that Python has not stays as it is."""
    if value.dtype.kind not in "mM":
        return value.item()
    in_microseconds = convert(np, value, np.dtype(f"{value.dtype.kind}8[us]"))
    made = None if in_microseconds is None else in_microseconds.item()
    return value[()] if isinstance(made, int) or (made is None and not np.isnat(value)) else made


def _column(name: str, values: list[Any]) -> Column:
    there = [value for value in values if value is not None]
    for kind, type_ in _OTHER_KINDS.items():
        if there and all(isinstance(value, type_) for value in there):
            return Column(name, kind, values, True)
    if all(isinstance(value, bool | int | float | str) for value in there):
        kind, values = kind_of(values)
        return Column(name, kind, values, None in values)
    return Column(name, "object", values, True)
