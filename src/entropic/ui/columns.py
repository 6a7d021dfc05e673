"""The columns that the page may name: nothing else of a request reaches a statement, but as a bound value."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import sqlalchemy as sa

from entropic.ask.columns import kind_of_type, label_of
from entropic.db.dialects.types import underlying
from entropic.db.query import careful, fetch, spelled_names
from entropic.errors import ParameterError
from entropic.params.keys import CUSTOM
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import visible

SAMPLE = 200  # newest rows, by whose custom data it is seen which fields there are
MOST_FIELDS = 200
_WIDEST = 2_000  # characters of a value in a table
_EXACT = 2**53  # up to here a browser's numbers are whole numbers
NUMBERS = ("integer", "float", "decimal", "datetime", "date", "duration", "boolean")
"""Kinds whose values are places on an axis; the others are categories."""
ELAPSED = f"{CUSTOM}elapsed_seconds"
OF_RESULT = "result."
"""Before the names of numbers that are in results, and in no column."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the model, or a field of custom data.

    Attributes
    ----------
    name
        As requests call it: the attribute, or `custom_data.` or `result.` and the name in it.
    role
        `param`, `outcome`, `own` (of entropic), `custom` or `result`.
    kind
        As in the tables of `to_arrow`; of custom data, what the newest rows say.
    choices
        Of an enumeration, and of true or false.
    """

    name: str
    role: str
    kind: str
    choices: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether its values are places on an axis."""
        return self.kind in NUMBERS

    def told(self) -> dict[str, Any]:
        """Return what the page is told of it."""
        return {
            "name": self.name,
            "role": self.role,
            "kind": self.kind,
            "choices": list(self.choices),
            "number": self.is_number,
        }


def columns_of(context: StoreContext[Base]) -> dict[str, Column]:
    """Return all columns of a store that the page shows, by name."""
    schema = context.schema
    found = [Column("id", "own", "text")]
    roles = [(schema.fields, "param"), (schema.outcomes, "outcome")]
    found += [_of_field(name, field.column, role) for fields, role in roles for name, field in fields.items()]
    found += [Column("created_at", "own", "datetime"), *_of_custom_data(context)]
    return {column.name: column for column in found}


def _of_field(name: str, column: "sa.Column[Any]", role: str) -> Column:
    type_: Any = column.type if isinstance(column.type, sa.Interval) else underlying(column.type)
    kind = kind_of_type(type_)
    choices = tuple(map(str, type_.enums)) if kind == "label" else ("true", "false") if kind == "boolean" else ()
    return Column(name, role, kind, choices)


def _of_custom_data(context: StoreContext[Base]) -> Iterator[Column]:
    """Yield the fields of custom data that hold numbers, texts, or true or false, in the newest rows."""
    table = context.schema.table
    back = context.rows.binding.back["custom_data"]
    query = sa.select(table.c.custom_data).order_by(table.c.created_at.desc()).limit(SAMPLE)
    seen: dict[str, set[str]] = {}
    for (raw,) in fetch(context.database, query):
        data = back(raw) if back else raw
        for name, value in (data if isinstance(data, Mapping) else {}).items():
            if len(seen) < MOST_FIELDS or name in seen:
                seen.setdefault(name, set()).add(_kind_of_value(value))
    for name, kinds in seen.items():
        kinds.discard("nothing")
        if len(kinds) == 1 and (kind := kinds.pop()) != "json" and _has_name(context, name):
            yield Column(f"{CUSTOM}{name}", "custom", kind, ("true", "false") if kind == "boolean" else ())


def _kind_of_value(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "boolean"
    return "float" if isinstance(value, int | float) else "text" if isinstance(value, str) else "json"


def _has_name(context: StoreContext[Base], name: str) -> bool:
    try:
        context.database.dialect.json_name(name, False)
    except ParameterError:
        return False
    return True


def named(context: StoreContext[Base], columns: Mapping[str, Column], name: str) -> Column:
    """Return the column of a name.

    Raises
    ------
    ParameterError
        If the store has none.
    """
    if name in columns:
        return columns[name]
    if name.startswith(CUSTOM) and len(name) < 200 and _has_name(context, name.removeprefix(CUSTOM)):
        return Column(name, "custom", "float")  # a field that only older rows have
    if name.startswith(OF_RESULT) and len(name) < 200:
        return Column(name, "result", "float")
    raise ParameterError(f"{context.schema.name} has no column {name!r:.80}")


def clause_of(context: StoreContext[Base], column: Column) -> Any:
    """Return a column as part of a statement.

    Raises
    ------
    ParameterError
        If it is no column of the database.
    """
    if column.role == "result":
        raise ParameterError(f"{column.name!r:.80} is in results; rows are sorted and filtered by what is in the table")

    schema, dialect = context.schema, context.database.dialect
    if column.role != "custom":
        return next(schema.table.c[c] for c, attribute in schema.attributes.items() if attribute == column.name)
    part: Any = schema.table.c.custom_data[column.name.removeprefix(CUSTOM)]
    asked = {"boolean": part.as_boolean, "text": part.as_string}.get(column.kind, part.as_float)()
    return spelled_names(careful(asked, dialect), dialect)


def values_back(context: StoreContext[Base], column: Column) -> Any:
    """Return what turns the driver's value of a column into Python's; None where they are the same."""
    if column.role == "custom":
        return bool if column.kind == "boolean" else None
    return context.rows.binding.back[clause_of(context, column).name]


# ---- values ------------------------------------------------------------------------------------------------------
def shown(value: Any, most: int = _WIDEST) -> Any:
    """Return a value as the page is told it: a number where a browser has it, else text in which nothing hides."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return visible(value.name)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int):
        return value if abs(value) <= _EXACT else str(value)
    if isinstance(value, Mapping):
        return {visible(str(name)): shown(inner, most) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [shown(inner, most) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    text = visible(f"0x{value[:most].hex()}" if isinstance(value, bytes) else str(value))
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def place(value: Any) -> float | None:
    """Return a value as a place on an axis: times in milliseconds since 1970, as browsers have them."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).timestamp() * 1000
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp() * 1000
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return place(value.value)
    if not isinstance(value, bool | int | float | Decimal):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def category(value: Any, kind: Any) -> str:
    """Return a value as the name of a category."""
    type_ = underlying(kind)
    if isinstance(type_, sa.Enum):
        value = label_of(value, type_)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "(none)" if value is None else str(shown(value, 100))
