"""Rows as typed columns, by the types of the model: what data frames and Arrow tables are made of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from entropic.db.dialects.types import underlying
from entropic.errors import ParameterError
from entropic.params.model import Base, Schema
from entropic.support.compact_json import compact

if TYPE_CHECKING:
    import pyarrow

Kind = str  # a key of `_HOLDS`, "decimal", "label", "json" (anything JSON), or "object" (anything)
MOST_DIGITS = 38  # of a decimal number in 128 bits
_USUAL_SCALE = 10

_KINDS: list[tuple[Any, Kind]] = [  # in this order: Enum and Float are kinds of String and Numeric
    (sa.Boolean, "boolean"),
    (sa.Integer, "integer"),
    (sa.Float, "float"),
    (sa.Numeric, "decimal"),
    (sa.Enum, "label"),
    (sa.String, "text"),
    (sa.LargeBinary, "bytes"),
    (sa.DateTime, "datetime"),
    (sa.Date, "date"),
    (sa.Time, "time"),
    (sa.Interval, "duration"),
    (sa.Uuid, "text"),
    (sa.JSON, "json"),
]
_HOLDS: dict[Kind, Any] = {
    "boolean": bool,
    "integer": int,
    "float": (int, float),
    "decimal": Decimal,
    "text": str,
    "bytes": bytes,
    "datetime": datetime,
    "date": date,
    "time": time,
    "duration": timedelta,
}


@dataclass(frozen=True, slots=True)
class Column:
    """A name and the values of all rows, which are None or what the kind says."""

    name: str
    kind: Kind
    values: list[Any]
    nullable: bool
    labels: tuple[str, ...] = ()
    """Of an enumeration, all that it has."""
    digits: tuple[int, int] = (MOST_DIGITS, _USUAL_SCALE)
    """Of decimal numbers: all, and those behind the point."""
    zone: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def as_text(self) -> list[str | None]:
        """Return the values of what is no type of a table as text."""
        write = compact if self.kind == "json" else str
        return [None if value is None else write(value) for value in self.values]


@dataclass(frozen=True, slots=True)
class Packed:
    """A column whose values are Arrow's already: JSON as text, whatever else as `frames.arrow_array` has it."""

    like: Column
    """The column without its values."""
    chunks: "pyarrow.ChunkedArray"

    def __len__(self) -> int:
        return len(self.chunks)

    @property
    def name(self) -> str:
        """As the table calls it."""
        return self.like.name

    @property
    def kind(self) -> Kind:
        """That of all values."""
        return self.like.kind

    @property
    def values(self) -> Iterator[Any]:
        """The values as Python has them, of which only some are in memory at a time."""
        return (value for chunk in self.chunks.chunks for value in chunk.to_pylist())

    def as_text(self) -> Iterator[Any]:
        """Yield JSON as text."""
        return self.values


AnyColumn = Column | Packed


def names_of(schema: Schema) -> dict[str, "sa.Column[Any]"]:
    """Return the columns of a table of rows, by attribute: `id`, those of the user, `created_at`, `result_file`."""
    found = {name: schema.table.c[column] for column, name in schema.attributes.items()}
    attributes = schema.mapper.column_attrs
    own = [name for name in (*schema.fields, *schema.outcomes) if not attributes[name].deferred]
    return {name: found[name] for name in ("id", *own, "created_at", "result_file")}


def columns(rows: Sequence[Base], model: type[Base], custom_data: bool) -> list[Column]:
    """Return the columns of some rows: `id`, those of the user, `created_at`, `result_file`, and custom data if asked.

    Raises
    ------
    ParameterError
        If two columns would have one name.
    """
    made = [of_column(name, one, [getattr(row, name) for row in rows]) for name, one in names_of(Schema(model)).items()]
    if custom_data:
        fields = Fields()
        fields.add(row.custom_data or {} for row in rows)
        made += fields.columns()
        refuse_clash(column.name for column in made)
    return made


def kind_of_type(type_: Any) -> Kind:
    """Return the kind of a column of a type, which is none of the user's own."""
    kind = next((kind for types, kind in _KINDS if isinstance(type_, types)), "object")
    return "float" if kind == "decimal" and not type_.asdecimal else kind


def label_of(value: object, kind: sa.Enum) -> str | None:
    """Return how the database calls a member of an enumeration: by its name, unless the model says otherwise."""
    if value is None or (isinstance(value, str) and value in kind.enums):
        return value
    members = list(kind.enum_class.__members__.values()) if kind.enum_class else []
    return str(kind.enums[members.index(value)]) if value in members else str(value)


def of_column(name: str, column: "sa.Column[Any]", values: list[Any]) -> Column:
    """Return the values that rows have in a column of the model as a column of a table."""
    type_: Any = column.type if isinstance(column.type, sa.Interval | sa.PickleType) else underlying(column.type)
    kind = kind_of_type(type_)
    nullable = bool(column.nullable)
    if kind == "label":
        labels = tuple(map(str, type_.enums))
        texts = [label_of(value, type_) for value in values]
        if all(text is None or text in labels for text in texts):
            return Column(name, kind, texts, nullable, labels=labels)
        return Column(name, "text", texts, nullable)
    if isinstance(type_, sa.Uuid):
        values = [str(value) if isinstance(value, UUID) else value for value in values]
    if kind in _HOLDS and not _holds(_HOLDS[kind], values):
        return Column(name, "object", values, nullable)  # a type of the user's own may give back anything
    if kind == "decimal":
        return _of_decimals(name, type_, values, nullable)
    if kind == "datetime":
        return _of_datetimes(name, type_, values, nullable)
    return Column(name, kind, values, nullable)


def _holds(types: Any, values: list[Any]) -> bool:
    """Tell whether all values are None or of some types."""
    return all(issubclass(one, types) or one is type(None) for one in set(map(type, values)))


def of_any_digits(column: "sa.Column[Any]") -> bool:
    """Tell whether a column of decimals has as many digits as its values need."""
    type_: Any = underlying(column.type)
    precision = type_.precision or 0
    return not 0 < precision <= MOST_DIGITS


def _of_decimals(name: str, type_: Any, values: list[Any], nullable: bool) -> Column:
    digits = [_digits(value) for value in values if value is not None]
    before, behind = (max(one, default=0) for one in (zip(*digits, strict=True) if digits else ((), ())))
    precision, scale = type_.precision or 0, type_.scale or 0
    if before <= precision - scale and behind <= scale and 0 < precision <= MOST_DIGITS:
        return Column(name, "decimal", values, nullable, digits=(precision, scale))
    if before + behind > MOST_DIGITS:
        return Column(name, "object", values, nullable)
    return Column(name, "decimal", values, nullable, digits=(MOST_DIGITS, behind if digits else _USUAL_SCALE))


def _digits(value: Decimal) -> tuple[int, int]:
    """Return how many digits a number has before and behind the point."""
    _, digits, exponent = value.as_tuple()
    behind = max(0, -int(exponent))
    return max(0, len(digits) + int(exponent)), behind


def _of_datetimes(name: str, type_: Any, values: list[Any], nullable: bool) -> Column:
    """Return times as the column's type says: with a zone all in UTC, else none has one."""
    zone = bool(type_.timezone)
    if zone:
        values = [v if v is None else v.replace(tzinfo=UTC) if v.tzinfo is None else v.astimezone(UTC) for v in values]
    else:
        values = [v if v is None or v.tzinfo is None else v.astimezone(UTC).replace(tzinfo=None) for v in values]
    return Column(name, "datetime", values, nullable, zone=zone)


# ---- custom data -------------------------------------------------------------------------------------------------
class Fields:
    """The fields of custom data, of row after row, as columns."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, ...], list[Any]] = {}
        self._count = 0

    def add(self, data: Iterable[Mapping[str, object]]) -> None:
        """Add those of the next rows."""
        found = self._values
        for one in data:
            for path, value in _flat(("custom_data",), one):
                values = found.get(path)
                if values is None:
                    values = found[path] = []
                if len(values) < self._count:
                    values.extend([None] * (self._count - len(values)))
                values.append(value)
            self._count += 1

    def columns(self) -> Iterator[Column]:
        """Yield a column for each field, in the order in which they first occur."""
        for path, there in self._values.items():
            kind, values = kind_of(there + [None] * (self._count - len(there)))
            yield Column(".".join(path), kind, values, None in values)


def _flat(path: tuple[str, ...], data: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flat((*path, name), value)
        else:
            yield (*path, name), value


def kind_of(values: list[Any]) -> tuple[Kind, list[Any]]:
    """Return the kind of some values that JSON has, and the values as that kind has them."""
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, bool) for value in there):
        return "boolean", values
    if there and all(type(value) is int and -(2**63) <= value < 2**63 for value in there):
        return "integer", values
    if there and all(type(value) in (int, float) and _is_float(value) for value in there):
        return "float", [None if value is None else float(value) for value in values]
    if all(isinstance(value, str) for value in there):
        return "text", values
    return "json", values


def _is_float(value: float) -> bool:
    """Tell whether a number is one that a float holds as it is, as 2**53 + 1 is not."""
    try:
        return float(value) == value or value != value
    except OverflowError:
        return False


def refuse_clash(names: Iterable[str]) -> None:
    """Refuse two columns of one name."""
    seen = set()
    for name in names:
        if name in seen:
            raise ParameterError(
                f"two columns would be called {name!r}: custom data has a field with a dot in its name beside a dict "
                "that gives the same name, or the model has such a column; leave custom_data=True out"
            )
        seen.add(name)
