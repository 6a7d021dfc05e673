"""What a person types as values, and as conditions on columns: the command line's words, and the page's filters."""

import enum
import json
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa

from entropic.ask.select import custom
from entropic.db.dialects.types import underlying
from entropic.errors import ParameterError
from entropic.params.fields import unknown_key
from entropic.params.keys import CUSTOM
from entropic.params.model import Base
from entropic.protocol.context import StoreContext

_NOTHING = ("null", "none")


def _boolean(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise ValueError("true or false")
    return known[text.lower()]


def _number(kind: Callable[[str], object], wanted: str) -> Callable[[str], object]:
    def parse(text: str) -> Any:
        try:
            return kind(text)
        except (ValueError, InvalidOperation, OverflowError, RecursionError):
            raise ValueError(wanted) from None

    return parse


def _iso(kind: Any, wanted: str) -> Callable[[str], object]:
    def parse(text: str) -> Any:
        try:
            return kind.fromisoformat(text)
        except ValueError:
            raise ValueError(wanted) from None

    return parse


def _member(kind: sa.Enum) -> Callable[[str], object]:
    members: type[enum.Enum] | None = kind.enum_class

    def parse(text: str) -> Any:
        found: list[object]
        if members is None:
            found = [one for one in kind.enums if one == text]
        else:
            found = [one for one in members if text == one.name] or [m for m in members if text == str(m.value)]
        if not found:
            raise ValueError("one of " + ", ".join(map(str, kind.enums)))
        return found[0]

    return parse


def _refuse(_: str) -> Any:
    raise ValueError("bytes, which nobody can type")


_PARSERS: list[tuple[Any, Callable[[Any], Callable[[str], object]]]] = [
    (sa.Boolean, lambda _: _boolean),
    (sa.Integer, lambda _: _number(int, "a whole number")),
    (sa.Float, lambda _: _number(float, "a number")),
    (sa.Numeric, lambda kind: _number(Decimal if kind.asdecimal else float, "a number")),
    (sa.Enum, _member),
    (sa.String, lambda _: str),
    (sa.LargeBinary, lambda _: _refuse),
    (sa.DateTime, lambda _: _iso(datetime, "a time, such as 2024-01-31T12:00")),
    (sa.Date, lambda _: _iso(date, "a date, such as 2024-01-31")),
    (sa.Time, lambda _: _iso(time, "a time of day, such as 12:30")),
    (sa.Interval, lambda _: _number(lambda text: timedelta(seconds=float(text)), "a number of seconds")),
    (sa.Uuid, lambda kind: _number(uuid.UUID, "a UUID") if kind.as_uuid else str),
    (sa.JSON, lambda _: _number(json.loads, "JSON")),
]


def column_of(context: StoreContext[Base], name: str) -> sa.Column[object]:
    """Return the column that a person calls so.

    Raises
    ------
    ParameterError
        With the names that there are, if there is none.
    """
    schema = context.schema
    for column, attribute in schema.attributes.items():
        if attribute == name:
            return schema.table.c[column]
    raise ParameterError(unknown_key(name, schema.name, schema.columns))


def kind_typed(column: sa.Column[Any]) -> object:
    """Return the type of what a user types: of a duration, not of the time that databases without durations hold."""
    return column.type if isinstance(column.type, sa.Interval) else underlying(column.type)


def parsed(context: StoreContext[Base], name: str, text: str) -> Any:
    """Return the value of a column that a text means.

    Raises
    ------
    ParameterError
        With what the column takes.
    """
    column = column_of(context, name)
    kind = kind_typed(column)
    if text.lower() in _NOTHING and column.nullable and not isinstance(kind, sa.JSON):
        return None
    parser = next((make(kind) for types, make in _PARSERS if isinstance(kind, types)), str)
    try:
        return parser(text)
    except ValueError as error:
        raise ParameterError(f"{name}={text}: the column {name!r} takes {error}") from None


# ---- conditions ---
def condition(context: StoreContext[Base], name: str, op: str, text: str) -> Any:
    """Return the condition that a column, or a field of custom data, compares so with what a text means.

    Parameters
    ----------
    name
        Of a column, or `custom_data.` and that of a field.
    op
        One of `= == != < <= > >=`.

    Raises
    ------
    ParameterError
        If there is no such column, or it takes no such value.
    """
    if name.startswith(CUSTOM):
        return _of_custom_data(context, name, op, text)
    column: Any = column_of(context, name)
    value = parsed(context, name, text)
    if value is None:
        if op in ("=", "==", "!="):
            return column.is_not(None) if op == "!=" else column.is_(None)
        raise ParameterError(f"{name}{op}{text}: null has no order; use = or !=")
    return _compared(column, op, value)


def _of_custom_data(context: StoreContext[Base], name: str, op: str, text: str) -> Any:
    """Return a condition on a field of custom data; what is of another type is neither less nor more, but not equal."""
    field, value = name.removeprefix(CUSTOM), json_or_text(text)
    part = context.schema.table.c.custom_data[field]
    if op in ("=", "=="):
        return custom(context, field, value)
    if op == "!=":
        return sa.and_(
            ~custom(context, field, None), sa.func.coalesce(custom(context, field, value), sa.false()) == sa.false()
        )
    if isinstance(value, str):
        return sa.and_(context.database.dialect.json_is(part, "text"), _compared(part.as_string(), op, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParameterError(f"{name}{op}{text}: {text} has no order; use = or !=")
    return _compared(part.as_float(), op, value)


def _compared(column: Any, op: str, value: object) -> Any:
    compared: dict[str, Callable[[], object]] = {
        "<": lambda: column < value,
        "<=": lambda: column <= value,
        ">": lambda: column > value,
        ">=": lambda: column >= value,
        "!=": lambda: column != value,
        "=": lambda: column == value,
        "==": lambda: column == value,
    }
    return compared[op]()


def json_or_text(text: str) -> Any:
    """Return what a text says as JSON; the text itself, if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
