"""The stored sets that differ the least from one that is not stored, found by the database."""

import functools
import itertools
import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

import sqlalchemy as sa

from entropic.ask.select import equal
from entropic.db.query import fetch
from entropic.errors import ParameterError, UnreadableError
from entropic.params.model import Base
from entropic.params.same import same
from entropic.protocol.context import StoreContext
from entropic.support.show import brief

COUNT = 3
_MOST_CHANGES = 3  # of types at once, that are tried to explain a key
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Nearest:
    """A stored set: its key, its values, and how it differs from the one that was asked for."""

    id: str
    params: dict[str, Any]
    differences: list[str]


def nearest(context: StoreContext[Base], params: Mapping[str, object], id: str) -> list[Nearest]:
    """Return the stored sets that differ from some params in the fewest columns, and of these the closest."""
    table = context.schema.table
    order = _order(context, params)
    if not order:
        return []
    query = sa.select(*table.c).where(table.c.id != id).order_by(*order, table.c.id).limit(COUNT)
    found = []
    for raw in fetch(context.database, query):
        try:
            values = context.rows.plain(raw)
        except UnreadableError:
            continue
        stored = {name: values[name] for name in context.schema.fields}
        found.append(Nearest(values["id"], stored, _differences(context, params, stored, values["id"])))
    return found


def _order(context: StoreContext[Base], params: Mapping[str, object]) -> list[Any]:
    """Return the order of stored sets: most equal columns first, then the least distance of the numbers that differ."""
    alike, distances = [], []
    for name, field in context.schema.fields.items():
        if name not in params:
            continue
        try:
            is_equal = equal(context, name, params[name])
        except ParameterError:
            continue  # JSON, which no database compares
        alike.append(sa.case((is_equal, 1), else_=0))
        number = _number(params[name])
        if number is not None and isinstance(field.type, sa.Integer | sa.Numeric):
            column = sa.type_coerce(field.column, sa.Float) * sa.literal(1.0)
            apart = sa.func.abs(column - number) / (sa.func.abs(column) + abs(number))
            distances.append(sa.case((is_equal, 0.0), (field.column.is_(None), 1.0), else_=apart))
    added = [sum_of(terms) for terms in (alike, distances) if terms]
    return [added[0].desc(), *added[1:]] if added else []


def sum_of(terms: list[Any]) -> Any:
    """Add up terms, a few at a time: SQLite takes expressions that are at most 1,000 deep."""
    groups = [functools.reduce(operator.add, terms[i : i + 50]) for i in range(0, len(terms), 50)]
    if len(groups) == 1:
        return groups[0]
    one: object = sa.literal_column("1")  # a product keeps the parentheses, which SQLAlchemy leaves out of sums
    return functools.reduce(operator.add, [group * one for group in groups])


def _number(value: object) -> float | None:
    value = value.value if isinstance(value, Enum) else value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return float(value) if math.isfinite(value) else None


def _differences(
    context: StoreContext[Base], params: Mapping[str, object], stored: Mapping[str, object], id: str
) -> list[str]:
    """Return what tells two sets apart, as sentences."""
    fitted = context.schema.fit(params, complete=False)
    apart = [
        f"{name}: {brief(params[name])} vs {brief(value)}"
        for name, value in stored.items()
        if name in params and not same(fitted[name], value) and not same(params[name], value)
    ]
    return apart or tells_apart(context, params, stored, id) or [f"the same values, stored under the id {id!r}"]


def tells_apart(
    context: StoreContext[Base], params: Mapping[str, object], stored: Mapping[str, object], id: str
) -> list[str]:
    """Tell why sets of the same values have two keys: a type, or a value that was given instead of left out.

    Nothing is returned where that cannot be told: somebody chose the key, or it was made from what is not stored.
    """
    changes = [
        (name, other)
        for name, value in stored.items()
        for other in _others(params.get(name, _ABSENT), value, context.schema.fields[name].required)
    ]
    for count in range(1, _MOST_CHANGES + 1):
        for some in itertools.combinations(changes, count):
            changed = {**params, **dict(some)}
            if _key(context, {name: value for name, value in changed.items() if value is not _ABSENT}) == id:
                return [_sentence(name, params.get(name, _ABSENT), other, stored[name]) for name, other in some]
    return []


def _key(context: StoreContext[Base], params: Mapping[str, object]) -> str | None:
    try:
        return context.hasher(params)
    except ParameterError:
        return None


def _others(given: object, stored: object, required: bool) -> Iterator[Any]:
    """Yield what else somebody may have written for the same value."""
    absent = [] if required or given is _ABSENT else [_ABSENT]
    candidates = [*(_as_other_types(given) if given is not _ABSENT else ()), stored, *absent]
    for i, one in enumerate(candidates):
        if not _is_same_text(one, given) and not any(_is_same_text(one, other) for other in candidates[:i]):
            yield one


def _is_same_text(one: object, other: object) -> bool:
    return one is other or (type(one) is type(other) and one is not _ABSENT and repr(one) == repr(other))


def _as_other_types(value: object) -> Iterator[Any]:
    if isinstance(value, Enum):
        yield from (value.value, value.name)
    elif isinstance(value, int | float | Decimal) and math.isfinite(value):
        yield float(value)
        if value == int(value):
            yield int(value)
        if value in (0, 1):
            yield bool(value)
        yield str(value)


def _sentence(name: str, given: object, other: object, stored: object) -> str:
    if given is _ABSENT:
        return f"{name}: not given, stored with {brief(stored)} given"
    if other is _ABSENT:
        return f"{name}: {brief(given)} is given, stored without {name}"
    shown = f"{other!r:.60}" if isinstance(other, float | str) else brief(other)
    return f"{name}: {brief(given)} is {type(given).__name__}, stored {shown}"
