"""Outcomes: columns that say what came out of a run. They are no parameters, and never part of a key."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import MappedColumn, mapped_column

from entropic.errors import ParameterError
from entropic.params.fields import as_json
from entropic.params.keys import plain
from entropic.support.show import visible

NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""What the row notes of numbers that a column does not hold, since databases differ in how they compare them."""
NOTED = "not_finite"
"""The field of `custom_data` that has those notes, by column."""
NOT_RECORDED = "not_recorded"
"""The field of `custom_data` that says why a column, or what the runner left in `custom_data`, has no value."""

_LONGEST = 500  # characters of a reason

Measure = Callable[[Any], Any]


class Outcome(NamedTuple):
    """One outcome column, as it travels to where the run is: its name, and what computes it, if anything does."""

    name: str
    measure: Measure | None


class Outcomes(NamedTuple):
    """What a run has said of its outcome columns: plain values by name, and why others have none."""

    values: dict[str, Any]
    missing: dict[str, str]


class Explained(dict[str, Any]):
    """What a runner returned by name, if it can tell why it has no entry of some other name."""

    def why_not(self, name: str) -> str:
        """Return why there is no entry of a name, for a reader who knows the name."""
        return f"what the runner returned has no entry {name!r}"


def outcome(
    measure: Measure | None = None, *, type_: object = None, index: bool = False, comment: str | None = None
) -> MappedColumn[Any]:
    """Declare a column that is filled by what a run returns, or computed from its result.

    ::

        class Training(Base):
            __tablename__ = "training"

            rate: Mapped[float]
            accuracy: Mapped[float] = outcome()
            peak: Mapped[float] = outcome(lambda result: float(result["u"].max()))

    It is not a parameter: it is not part of the key, and params may not hold it. A run that returns nothing for it is
    stored all the same; the column is then NULL, and `custom_data["not_recorded"]` says why.

    Parameters
    ----------
    measure
        Called as `measure(result)` after the run, where it ran, with what `Store.load` returns of its result. Without
        it the column takes the entry of its own name from what the runner returned: a mapping, a dataclass, or a
        `Dataset` (its scalar variables and attributes).
    type_
        The column's SQLAlchemy type, if it is not that of the annotation.
    index
        Whether the database gets an index of it, for conditions on many rows.
    comment
        Kept with the column, in databases that do so.

    Returns
    -------
    MappedColumn
        For the body of a model.
    """
    if measure is not None and not callable(measure):
        raise ParameterError(f"outcome(...) takes a function of the result, not {measure!r:.80}")
    arguments = () if type_ is None else (type_,)
    return mapped_column(
        *arguments, nullable=True, index=index, comment=comment, info={"entropic": "outcome", "measure": measure}
    )


def is_outcome(column: sa.Column[Any]) -> bool:
    """Tell whether a column was declared by `outcome`."""
    return column.info.get("entropic") == "outcome"


def gather(
    outcomes: Iterable[Outcome], returned: object, load: Callable[[], object], kept: str | None = None
) -> Outcomes:
    """Return what a finished run says of its outcome columns; whatever goes wrong here is said, and never raised.

    Parameters
    ----------
    returned
        What the runner returned.
    load
        Reads the result, for columns that are computed from it; called once, if at all.
    kept
        What `returned` was taken from later, as a sentence calls it; None if the runner has just returned it.
    """
    found, loaded = Outcomes({}, {}), _Once(load)
    named = _entries(returned)
    for name, measure in outcomes:
        try:
            if measure is not None:
                value = measure(loaded())
            elif named is None:
                given = "nothing" if returned is None else f"a value of type {type(returned).__qualname__}"
                is_what = f"{kept} is" if kept else "the runner returned"
                found.missing[name] = f"{is_what} {given}, which has no entry {name!r}"
                continue
            elif name in named:
                value = named[name]
            else:
                told = returned if isinstance(returned, Explained) else Explained()
                why = f"{kept} has no entry {name!r}" if kept else told.why_not(name)
                found.missing[name] = visible(why)[:_LONGEST]
                continue
            found.values[name] = _recordable(value)
        except Exception as error:  # noqa: BLE001  (of the user's function, of a reader, of a value's own methods)
            found.missing[name] = visible(f"{type(error).__qualname__}: {error}")[:_LONGEST]
    return found


class _Once:
    def __init__(self, load: Callable[[], object]) -> None:
        self._load, self._loaded = load, False
        self._value: object = None

    def __call__(self) -> object:
        if not self._loaded:
            self._value, self._loaded = self._load(), True
        return self._value


def _entries(returned: Any) -> Mapping[Any, object] | None:
    """Return what was returned by name, or None if it has no names."""
    if isinstance(returned, Mapping) and not hasattr(returned, "data_vars"):
        return returned
    if dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        return {field.name: getattr(returned, field.name) for field in dataclasses.fields(returned)}
    if isinstance(returned, tuple) and hasattr(returned, "_asdict"):
        entries: Mapping[Any, Any] = returned._asdict()
        return entries
    if hasattr(returned, "data_vars") and hasattr(returned, "attrs"):  # a Dataset
        scalars = {name: value for name, value in returned.variables.items() if not value.ndim}
        return {**returned.attrs, **scalars}
    return None


def _recordable(value: object) -> object:
    """Return a value as plain Python, as a sidecar holds it."""
    if isinstance(value, Enum):
        return value.name
    if getattr(value, "ndim", None) == 0 and hasattr(value, "values"):
        value = value.values[()]  # of xarray: numpy's scalar, which knows its kind
    value = plain(value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # an array or a tensor without axes
    if isinstance(value, str):
        value.encode()  # else no database, and no sidecar, takes it
        return str.__str__(value)
    if value is None or isinstance(value, bool | int | float | bytes | _PLAIN):
        return value
    if isinstance(value, list | tuple | Mapping):
        return as_json(value, "it")
    raise TypeError(f"it is of type {type(value).__qualname__}, which no column holds")


_PLAIN = datetime | date | time | timedelta | Decimal | UUID


def read_notes(custom_data: object, key: str) -> Mapping[str, Any]:
    """Return what custom data, which are the user's to change, note under `NOTED` or `NOT_RECORDED`, by column."""
    found = custom_data.get(key) if isinstance(custom_data, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def restore(values: dict[str, Any], custom_data: object, floats: Iterable[str]) -> None:
    """Put the numbers that are not finite back where a row notes them."""
    found = read_notes(custom_data, NOTED)
    for name in floats if found else ():
        if values.get(name) is None and isinstance(found.get(name), str) and found[name] in NOT_FINITE:
            values[name] = NOT_FINITE[found[name]]
