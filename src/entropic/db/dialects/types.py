"""Types of columns: what a type holds, and what is done to a value on its way into a database."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

Processor = Callable[[Any], object] | None


ColumnType = sa.types.TypeEngine[Any]  # whatever values it holds


INDEXED = 600  # characters that surely fit into an index


def underlying(kind: ColumnType) -> ColumnType:
    """Return the type that the driver sees under a type of the user's own."""
    while isinstance(kind, sa.TypeDecorator):
        kind = kind.impl_instance
    return kind


def then(first: Processor, second: Callable[[Any], object]) -> Callable[[Any], object]:
    """Return what does one thing after another, the first of which may be nothing."""
    return second if first is None else lambda value: second(first(value))


def strict_json(text: object) -> object:
    """Return JSON as a server reads it.

    Raises
    ------
    ValueError
        For NaN and infinity, which JSON has not.
    """
    if isinstance(text, str) and ("NaN" in text or "Infinity" in text):
        json.dumps(json.loads(text), allow_nan=False)
    return text


def only_utc(kind: ColumnType, process: Processor) -> Processor:
    """Refuse times of other zones, for columns with zones where the database keeps none: 3:00 at +2 would read 3:00."""
    base = underlying(kind)
    if not (isinstance(base, sa.DateTime | sa.Time) and base.timezone):
        return process

    def check(value: Any) -> object:
        if value is not None and value.tzinfo is not None and value.utcoffset() != timedelta(0):
            raise ValueError(
                "the database keeps no time zones; pass it in UTC, as .astimezone(timezone.utc) returns it"
            )
        return process(value) if process else value

    return check


def without_zone(value: Any) -> object:
    """Return a time as a column without time zones holds it: SQLite drops the zone as well."""
    return value if value is None or value.tzinfo is None else value.replace(tzinfo=None)


def surely_fits(found: object) -> Callable[[Any], bool]:
    """Return a test for values that a column which is not exact holds all the same."""
    if isinstance(found, sa.Integer):
        most = 2 ** (15 if isinstance(found, sa.SmallInteger) else 31)
        return lambda value: type(value) is int and -most <= value < most
    if isinstance(found, sa.String) and not isinstance(found, sa.Enum | sa.CHAR):
        length = found.length or INDEXED
        return lambda value: type(value) is str and value.isascii() and len(value) <= length and value[-1:] != " "
    return lambda value: False


def is_exact_type(column: sa.Column[Any], found: object) -> bool:
    """Tell, of types that servers share, whether a column as found holds whatever its Python type takes."""
    wanted = underlying(column.type)
    if isinstance(found, sa.Enum):
        return isinstance(wanted, sa.Enum) and set(wanted.enums) <= set(found.enums)
    if isinstance(found, sa.BigInteger):
        return isinstance(wanted, sa.Integer)
    if isinstance(found, sa.Double):
        return isinstance(wanted, sa.Float)
    return any(isinstance(found, one) and isinstance(wanted, one) for one in (sa.Boolean, sa.Date, sa.Uuid, sa.JSON))


def is_indexed(column: sa.Column[Any]) -> bool:
    """Tell whether a column is part of a key or an index, which limits how long it may be."""
    keys: list[object] = [*column.table.indexes, *column.table.constraints]
    return bool(column.index or column.unique or column.foreign_keys) or any(
        column.name in one.columns for one in keys if hasattr(one, "columns")
    )
