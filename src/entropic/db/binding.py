"""Values of the user's columns on their way to the driver, and what is refused because it would not come back."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, time
from decimal import Decimal
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from entropic.db.build import bind_processor, is_plain, result_processor
from entropic.db.dialects.types import surely_fits, underlying
from entropic.db.engine import Database
from entropic.errors import ParameterError
from entropic.params.keys import plain
from entropic.params.model import Schema
from entropic.params.same import is_told_by_text, same
from entropic.support.compact_json import compact
from entropic.support.show import spelled

_CUSTOM_DATA = {"text": "ä", "number": 1.5, "list": [None, True]}  # by which it is seen how they are stored
_NOTHING: Mapping[str, object] = {}
_AS_IS = {type(None)}  # what every database takes


class Binding:
    """What brings the values of one model to the driver, and back.

    Attributes
    ----------
    columns
        Names of the user's columns.
    is_plain
        Whether all of these give back what they were given, as far as they take values as they are.
    back
        By column, what makes Python's value of the driver's; None where they are the same.
    doubtful
        By the names of columns that may hold something else than what is inserted, what tells that a value is safe.
    custom_data
        Returns checked custom data as the driver stores it.
    keeps_json
        Whether that is their text as JSON.
    created_at
        Returns a time, given as ISO 8601 with microseconds, as the driver stores it.
    """

    def __init__(self, database: Database, schema: Schema) -> None:
        self._database, self._schema = database, schema
        table, found = schema.table, database.types
        self.back = {column.name: result_processor(column, database) for column in table.c}
        self._bind = {column.name: bind_processor(column, database, found[column.name]) for column in table.c}
        self._columns = {key: table.c[name] for name, key in schema.attributes.items()}
        self._made_here = {column.name for column in table.c if is_made_here(column)}
        asked = {key: field for key, field in schema.fields.items() if key not in schema.changed.removed}
        self.made_here = frozenset(key for key, field in asked.items() if field.column.name in self._made_here)
        """Names of the parameters that have a default which Python makes."""
        self.custom_data: Callable[[Any], object] = self._bind["custom_data"] or _itself
        self.keeps_json = self.custom_data(_CUSTOM_DATA) == compact(_CUSTOM_DATA)
        self.created_at = self._time_from_text()
        self.columns = tuple(field.column.name for field in schema.fields.values())
        self.is_plain = all(is_plain(field.column, database) for field in schema.fields.values())
        usual = [(key, *field.usual) for key, field in schema.fields.items()]
        usual = [(key, kind, database.dialect.usual.get(kind, check)) for key, kind, check in usual]
        self._is_plain = self.is_plain and bool(usual)
        self._kinds = [kind for _, kind, _ in usual]
        self._checks = [check for _, _, check in usual]
        self._pick = all_of([key for key, _, _ in usual])
        self.doubtful = {
            column.name: surely_fits(found[column.name])
            for column in (field.column for field in schema.fields.values())
            if not database.dialect.is_exact(column, found[column.name])
        }
        self._whole = [c.name for c in self._columns.values() if isinstance(c.type, sa.Integer)]
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def _time_from_text(self) -> Callable[[str], object]:
        bind = self._bind["created_at"] or _itself
        text = "2001-02-03T04:05:06.000700"
        if bind(datetime.fromisoformat(text)) == text.replace("T", " "):  # SQLite's form, in a tenth of the time
            return lambda text: text.replace("T", " ")
        return lambda text: bind(datetime.fromisoformat(text))

    def bind_plain(self, params: Mapping[str, object]) -> tuple[object, ...] | None:
        """Return what `bind` would return of a set of plain values for all of the user's columns; else None."""
        if not self._is_plain or len(params) != len(self._kinds):
            return None
        try:
            values = self._pick(params)
        except KeyError:
            return None
        if list(map(type, values)) != self._kinds:
            return None
        for check, value in zip(self._checks, values):  # noqa: B905  (as many)
            if not check(value):
                return None
        return values

    def bind(
        self, values: Mapping[str, object], name: str, given: Mapping[str, object] = _NOTHING
    ) -> dict[str, object]:
        """Return the values of the user's columns as the driver stores them, defaults included.

        Parameters
        ----------
        values
            As `Schema.fit` returns them.
        name
            Of the model, for the message.
        given
            What the values were made from: a float may lose the noise of its last digits, a decimal nothing.

        Raises
        ------
        ParameterError
            If the database would not give one of them back.
        """
        bound: dict[str, Any] = {}
        so_far = {self._columns[key].name: value for key, value in values.items()}  # what a default may ask for
        for key, field in self._schema.fields.items():
            column, where = field.column, f"{name}.{key}"
            if key in values:
                bound[column.name] = self._bound(column, values[key], where)
                noisy = isinstance(plain(given.get(key)), float)
                self._check_back(column, bound[column.name], values[key], where, noisy)
            elif column.name in self._made_here:
                default = so_far[column.name] = _default(column, so_far)
                bound[column.name] = self._bound(column, field.take(default, name), where)
            elif column.default is not None or column.server_default is not None or field.generated:
                continue  # the database makes it
            else:
                bound[column.name] = None
            if not column.nullable and bound[column.name] is None:
                raise ParameterError(f"{where} would be NULL, which its column does not allow; nothing was run")
        return bound

    def _check_back(self, column: sa.Column[Any], bound: object, value: object, where: str, noisy: bool) -> None:
        """Refuse a value that the column would not give back: its row would never match what was asked."""
        back = self.back[column.name]
        if back is None and bound == value and type(bound) is type(value) and not getattr(value, "tzinfo", None):
            return  # most values
        try:
            got = back(bound) if back else bound
            if self._is_given_back(column, bound, value, got, where, noisy):
                return
        except ParameterError:
            raise
        except Exception as error:
            raise ParameterError(f"{where} cannot hold {spelled(value)}: it cannot be read back ({error})") from error
        if isinstance(value, datetime | time) and value.tzinfo is not None:
            raise ParameterError(
                f"{where} cannot hold {spelled(value)}: its column keeps no zones, so it would read {got}; pass it in "
                "UTC and without a zone, as value.astimezone(timezone.utc).replace(tzinfo=None), or make the column a "
                f"{type(value).__name__.title().replace('time', 'Time')}(timezone=True)"
            )
        if isinstance(bound, str) and not is_told_by_text(value):
            raise ParameterError(
                f"{where} keeps only a text of {spelled(value)}, and others of its kind may have the same; pass "
                "str(...) of it, which has the same key, if that text identifies it, or make the column a PickleType"
            )
        raise ParameterError(
            f"{where} cannot hold {spelled(value)}: it would come back as {spelled(got)}; round it, or give the column "
            "a type with more digits, or text"
        )

    def _is_given_back(
        self, column: sa.Column[Any], bound: object, value: Any, got: Any, where: str, noisy: bool
    ) -> bool:
        if isinstance(value, Decimal) and not noisy:
            return bool(got == value)
        if isinstance(value, datetime | time) and value.tzinfo is not None and got.tzinfo is None:
            return getattr(underlying(column.type), "timezone", False)  # of these only UTC is taken, and meant
        if same(got, value):
            return True
        alike = not isinstance(value, float | Decimal) and self._bound(column, got, where) == bound
        return alike and (is_told_by_text(value) or bound != str(value))

    def may_change(self, columns: tuple[str, ...], values: tuple[object, ...]) -> bool:
        """Tell whether the table may hold something else than what is inserted."""
        doubtful = self.doubtful
        return any(
            column in doubtful and value is not None and not doubtful[column](value)
            for column, value in zip(columns, values, strict=True)
        )

    def cut(self, values: Mapping[str, Any]) -> str | None:
        """Return a column of whole numbers, of values by column as the driver has them, whose value is none."""
        for name in self._whole:
            value = values.get(name)
            if isinstance(value, float) and not value.is_integer():
                return name
        return None

    def shared(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return the one copy of some names: a million sets that are to be run hold it once."""
        return self._shared.setdefault(columns, columns)

    def _bound(self, column: sa.Column[Any], value: object, where: str) -> object:
        process = self._bind[column.name]
        if process is None and type(value) in _AS_IS:
            return value
        try:
            result = process(value) if process else value
        except Exception as error:
            raise ParameterError(f"{where} cannot hold {spelled(value)}: {error}") from error
        if isinstance(result, bytearray | memoryview):
            result = bytes(result)
        refusal = self._database.dialect.refuses(result)
        if refusal is not None:
            raise ParameterError(f"{where} cannot hold {spelled(value)}: {refusal}")
        if not isinstance(result, self._database.dialect.bindable) or (
            isinstance(result, int) and not -(2**63) <= result < 2**63
        ):
            raise ParameterError(
                f"{where} cannot hold {spelled(value)}: the database has no values of type {type(result).__name__}; "
                "pass a number or text, or give the column a type that converts it"
            )
        return result

    def bound(self, key: str, value: object) -> object:
        """Return a value of one of the user's columns as the driver stores it."""
        return self._bound(self._columns[key], value, key)


def all_of(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what picks the values of some keys, or places, as a tuple, of one alone, too."""
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda given: tuple([given[key] for key in keys])


def _itself(value: object) -> object:
    return value


def is_made_here(column: sa.Column[Any]) -> bool:
    """Tell whether a column has a default that Python makes."""
    default: Any = column.default
    return default is not None and not (default.is_clause_element or default.is_sequence)


class _Context:
    """What a column default that takes a context may ask for."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.current_parameters = dict(values)

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> dict[str, object]:
        return self.current_parameters


def _default(column: sa.Column[Any], values: Mapping[str, object]) -> object:
    default: Any = column.default
    return default.arg(_Context(values)) if default.is_callable else default.arg
