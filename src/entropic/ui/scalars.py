"""Single numbers of results, as columns of a plot: read from the files, of some runs only, and kept for the next plot.

What may be read is decided as for a result that is shown (`result`): nothing is unpickled, and no loader is asked.
"""

import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from entropic.ask.variables import variables
from entropic.db.query import fetch
from entropic.files.extent import extent
from entropic.formats.arrays import RESULT
from entropic.formats.part import parts
from entropic.formats.read import read
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import visible
from entropic.ui.columns import OF_RESULT, Column, place
from entropic.ui.result import Unshowable, size_when_read, where

MOST_READ = 2_000  # results that one plot is made of
LARGEST = 4_000_000  # bytes in memory of a result that is read whole for a number in it
SECONDS = 10.0  # that one plot reads; the next one goes on from what was read
_READ_WHOLE = (".json", ".npz", ".nc", ".txt")  # what else may hold a single number is opened in parts
_SAMPLE = 5  # newest results, which say what numbers there are
_MOST_KEPT = 50_000

_kept: OrderedDict[tuple[str, int, int], dict[str, float]] = OrderedDict()
_kept_lock = threading.Lock()


def columns_of_results(context: StoreContext[Base]) -> list[Column]:
    """Return the numbers that the newest results hold, as columns."""
    table = context.schema.table
    newest = sa.select(table.c.id).order_by(table.c.created_at.desc(), table.c.id).limit(_SAMPLE)
    ids = [id for (id,) in fetch(context.database, newest)]
    names = {name for found in _numbers(context, ids) for name in found}
    return [Column(f"{OF_RESULT}{name}", "result", "float") for name in sorted(names) if visible(name) == name]


def values_of_results(
    context: StoreContext[Base], ids: Sequence[str], columns: Sequence[Column]
) -> list[list[float | None]]:
    """Return the values of some numbers of the results of some runs; None where there is none, or none can be read."""
    names = [column.name.removeprefix(OF_RESULT) for column in columns]
    found = list(_numbers(context, ids))
    return [[one.get(name) for one in found] for name in names]


def _numbers(context: StoreContext[Base], ids: Sequence[str]) -> Iterator[Mapping[str, float]]:
    """Yield the numbers of the result of each run, in the order of the keys."""
    rows, until = context.rows, time.monotonic() + SECONDS
    raws = {rows.id_of(raw): raw for raw in rows.read_many(ids)}
    for id in ids:
        try:
            if id not in raws or time.monotonic() > until:
                raise Unshowable("it is gone, or takes too long")
            yield _of_file(where(context, raws[id]))
        except Exception:  # noqa: BLE001  (libraries of formats raise whatever they like; the page of the run says it)
            yield {}


def _of_file(path: str) -> Mapping[str, float]:
    seen = extent(path)
    if seen is None or not (
        seen.folder or stat.S_ISREG(os.stat(path).st_mode)
    ):  # whoever opens a pipe may wait forever
        return {}
    key = path, seen.size, seen.mtime_ns
    with _kept_lock:
        if key in _kept:
            return _kept[key]
    made = {name: at for name, value in _read(path, seen.size) if (at := place(value)) is not None}
    with _kept_lock:
        _kept[key] = made
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    return made


def _read(path: str, size: int) -> Iterator[tuple[str, Any]]:
    with parts(path) as found:
        if found is not None:
            for one in found:
                if not one.shape:
                    yield one.name or RESULT, _plain(one.read(()))
            return
    if not path.lower().endswith(_READ_WHOLE) or size_when_read(path, size) > LARGEST:
        return
    for name, variable in variables(read(path), None, path).items():
        if not variable.values.ndim:
            yield name, _plain(variable.values)


def _plain(value: Any) -> Any:
    """Return a value of numpy as Python has it; a time that Python has not is left out."""
    kind = value.dtype.kind if hasattr(value, "dtype") else ""
    made = value.astype(f"{kind}8[us]").item() if kind in ("m", "M") else value.item() if kind else value
    return None if kind in ("m", "M") and isinstance(made, int) else made
