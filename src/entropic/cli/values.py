"""What a user types, as the values that the model's columns hold."""

import enum
import json
import re
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa

from entropic.ask.select import custom
from entropic.cli.errors import UsageError
from entropic.db.dialects.portable import underlying
from entropic.params.fields import unknown_key
from entropic.params.model import Base, Schema
from entropic.store import Store, context_of

_NOTHING = ("null", "none")
_CONDITION = re.compile(r"\s*(?P<name>[A-Za-z_][\w.]*)\s*(?P<op><=|>=|!=|==|=|<|>)\s*(?P<text>.*)", re.DOTALL)
_PAIR = re.compile(r"(?P<name>[A-Za-z_][\w.]*)=(?P<text>.*)", re.DOTALL)
_CUSTOM = "custom_data."
MOST_VALUES = 10_000_000  # of a grid


def schema_of(store: Store[Base]) -> Schema:
    """Return what a store knows of its model."""
    return context_of(store).schema


# ---- one value ---------------------------------------------------------------------------------------------------
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
    raise ValueError("bytes, which cannot be given on the command line")


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


def _column(store: Store[Base], name: str) -> sa.Column[object]:
    schema = schema_of(store)
    for column, attribute in schema.attributes.items():
        if attribute == name:
            return schema.table.c[column]
    raise UsageError(unknown_key(name, schema.name, schema.columns))


def _kind(column: sa.Column[Any]) -> object:
    """Return the type of what a user types: of a duration, not of the time that databases without durations hold."""
    return column.type if isinstance(column.type, sa.Interval) else underlying(column.type)


def parsed(store: Store[Base], name: str, text: str) -> object:
    """Return the value of a column that a text means."""
    column = _column(store, name)
    kind = _kind(column)
    if text.lower() in _NOTHING and column.nullable and not isinstance(kind, sa.JSON):
        return None
    parser = next((make(kind) for types, make in _PARSERS if isinstance(kind, types)), str)
    try:
        return parser(text)
    except ValueError as error:
        raise UsageError(f"{name}={text}: the column {name!r} takes {error}") from None


# ---- conditions and sets -----------------------------------------------------------------------------------------
def filters(store: Store[Base], words: list[str], where: list[str]) -> list[object]:
    """Return `name=value` words and `--where` texts as the conditions of a query."""
    given, equal = list[object](), dict[str, Any]()
    for word in words:
        name, text = _pair(word)
        if name.startswith(_CUSTOM):
            equal.setdefault("custom_data", {})[name.removeprefix(_CUSTOM)] = _json_or_text(text)
        else:
            equal[name] = parsed(store, name, text)
    for one in where:
        name, op, text = _split(one)
        if op in ("=", "==") and name not in equal and not name.startswith(_CUSTOM):
            equal[name] = parsed(store, name, text)  # the library knows when two floats are the same
        else:
            given.append(_condition(store, one))
    return [*given, equal] if equal else given


def _split(given: str) -> tuple[str, str, str]:
    match = _CONDITION.fullmatch(given)
    if match is None:
        raise UsageError(f"--where {given!r} is not a condition; write NAME OP VALUE, as in 'dt<0.1' (= != < <= > >=)")
    return match["name"], match["op"], match["text"].strip()


def _condition(store: Store[Base], given: str) -> object:
    name, op, text = _split(given)
    if name.startswith(_CUSTOM):
        return _custom_condition(store, given)
    column: Any = _column(store, name)
    value = parsed(store, name, text)
    if value is None:
        if op in ("=", "==", "!="):
            return column.is_not(None) if op == "!=" else column.is_(None)
        raise UsageError(f"--where {given!r}: null has no order; use = or !=")
    return _compared(column, op, value)


def _custom_condition(store: Store[Base], given: str) -> Any:
    """Return a condition on a field of custom data; what is of another type is neither less nor more, but not equal."""
    name, op, text = _split(given)
    context, name, value = context_of(store), name.removeprefix(_CUSTOM), _json_or_text(text)
    part = schema_of(store).table.c.custom_data[name]
    if op in ("=", "=="):
        return custom(context, name, value)
    if op == "!=":
        return sa.and_(
            ~custom(context, name, None), sa.func.coalesce(custom(context, name, value), sa.false()) == sa.false()
        )
    if isinstance(value, str):
        return sa.and_(context.database.dialect.json_is(part, "text"), _compared(part.as_string(), op, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"--where {given!r}: {text} has no order; use = or !=")
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


def params(store: Store[Base], words: list[str]) -> dict[str, Any]:
    """Return `name=value` words as a set of params."""
    found: dict[str, Any] = {}
    for word in words:
        name, text = _pair(word)
        if name in found:
            raise UsageError(f"{name!r} is given twice; give it once")
        found[name] = text if name == "id" else parsed(store, name, text)
    return found


def grid(store: Store[Base], texts: list[str]) -> dict[str, list[object]]:
    """Return `--grid` texts as a grid: values by commas, a JSON list, or `first:last:count`."""
    found: dict[str, list[object]] = {}
    for given in texts:
        name, text = _pair(given)
        if name in found:
            raise UsageError(f"{name!r} is given two grids; give it one")
        found[name] = _values(store, name, text)
    return found


def _values(store: Store[Base], name: str, text: str) -> list[object]:
    kind = _kind(_column(store, name))
    if isinstance(kind, sa.Integer | sa.Float | sa.Numeric) and text.count(":") == 2:
        return [parsed(store, name, one) for one in _spaced(name, text, isinstance(kind, sa.Integer))]
    if text.startswith("["):
        try:
            return [parsed(store, name, one if isinstance(one, str) else json.dumps(one)) for one in json.loads(text)]
        except (ValueError, RecursionError):
            raise UsageError(f"{name}={text:.80} is not a JSON list") from None
    return [parsed(store, name, one.strip()) for one in text.split(",")]


def _spaced(name: str, text: str, whole: bool) -> list[str]:
    """Return evenly spaced numbers, exact in their decimals: 0.1:0.5:5 has the 0.3 that a person would type."""
    try:
        first, last, count = (Decimal(part) for part in text.split(":"))
        if not 1 <= count <= MOST_VALUES or count != int(count) or (count == 1 and first != last):
            raise ValueError
        if whole and max(abs(first), abs(last)) >= 2**63:
            raise ValueError
    except (ValueError, InvalidOperation, OverflowError):
        raise UsageError(f"{name}={text}: write first:last:count, with a count of 2 to {MOST_VALUES:,}") from None
    step = (last - first) / (count - 1) if count > 1 else Decimal(0)
    values = [first + step * i for i in range(int(count) - 1)] + [last]
    if whole and any(value != int(value) for value in values):
        raise UsageError(f"{name}={text}: {name!r} takes whole numbers, but the steps of this grid are {step}")
    return [str(int(value)) if whole else str(value) for value in values]


def _pair(word: str) -> tuple[str, str]:
    match = _PAIR.fullmatch(word)
    if match is None:
        raise UsageError(f"{word!r} is not of the form NAME=VALUE")
    return match["name"], match["text"]


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# ---- amounts -----------------------------------------------------------------------------------------------------
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "": 1}
_BYTES = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def seconds(text: str) -> float:
    """Return how long `30d`, `12h`, `90m` or `45s` is."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", text.lower())
    if match is None:
        raise UsageError(f"{text!r} is not a length of time; write it as 30d, 12h, 90m or 45s")
    return float(match[1]) * _SECONDS[match[2]]


def size(text: str) -> int:
    """Return how many bytes `10GB`, `500MB` or `1GiB` is."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text.lower())
    if match is None or (match[3] and not match[2]):
        raise UsageError(f"{text!r} is not a size; write it as 10GB, 500MB or 1GiB")
    return int(Decimal(match[1]) * (_BINARY if match[3] else _BYTES)[match[2]])
