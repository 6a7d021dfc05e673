"""`Store.to_arrow` and its like: tables of rows that are never made, from the driver's cursor straight into Arrow.

What `Runs.to_arrow` would return comes page by page; each page becomes Arrow's before the next is read. Whatever cannot
be told from one page alone (a value that its column's type has not, a row that the model cannot read) goes the general
way, through rows: it is rare, and there its error or its warning is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import sqlalchemy as sa

from entropic.ask import frames
from entropic.ask.columns import (
    AnyColumn,
    Column,
    Fields,
    Packed,
    label_of,
    names_of,
    of_any_digits,
    of_column,
    refuse_clash,
)
from entropic.ask.runs import Runs
from entropic.ask.select import Order, chosen, select
from entropic.ask.unsaid import Unsaid, options
from entropic.db.build import NOT_READ, is_listened_to, result_processor
from entropic.db.dialects.portable import Pages
from entropic.db.query import scan
from entropic.errors import LibraryMissingError, ParameterError
from entropic.formats.libraries import library
from entropic.params.keys import CUSTOM
from entropic.params.outcomes import restore
from entropic.protocol.context import StoreContext
from entropic.protocol.note_inputs import under_way
from entropic.support.collector import paused
from entropic.support.compact_json import load_json
from entropic.support.show import spelled

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

_UNPACKED = frozenset({"object"})  # kinds whose values no type of Arrow's has
_OBJECTS_IN_PANDAS = _UNPACKED | {"bytes", "decimal", "json", "time"}
MakeRuns = Callable[[Sequence[Any]], Runs[Any]]


class Asked(NamedTuple):
    """Which rows become a table, and what of them."""

    where: Sequence[object]
    equals: Mapping[str, object]
    order_by: Order
    limit: int | None
    custom_data: bool = False
    results: str | Sequence[str] = ()
    provenance: bool = False
    replicates: str | None = None


def asked(
    context: StoreContext[Any], where: Sequence[object], given: Sequence[object], equals: dict[str, Any]
) -> Asked:
    """Return what the arguments of `Store.to_arrow` ask for.

    Parameters
    ----------
    given
        Its options, in order; those that `equals` has with a `_` behind their names are taken out of it.
    """
    told = dict(zip(Asked._fields[2:], given, strict=True))
    fields = told.pop("custom_data")  # a column of every model, so that it would always be refused
    if not isinstance(fields, bool | Unsaid):
        raise ParameterError(
            f"custom_data={spelled(fields)} is True or False here: whether its fields become columns. For a condition "
            f"on them write {{'custom_data': {spelled(fields)}}} among the conditions"
        )
    found = dict(zip(told, options(context.schema, told, equals), strict=True))
    return Asked(where, equals, **found, custom_data=fields is True)


# ---- the three ways ----------------------------------------------------------------------------------------------
def to_arrow(context: StoreContext[Any], runs: MakeRuns, asked: Asked) -> "pyarrow.Table":
    """Return stored rows as a table of Arrow."""
    library("pyarrow", "arrow", "to_arrow")
    return frames.to_arrow(columns(context, runs, asked))


def to_polars(context: StoreContext[Any], runs: MakeRuns, asked: Asked) -> "polars.DataFrame":
    """Return stored rows as a data frame of Polars."""
    library("polars", "polars", "to_polars")
    return frames.to_polars(_drained(columns(context, runs, asked)))


def to_pandas(context: StoreContext[Any], runs: MakeRuns, asked: Asked) -> "pandas.DataFrame":
    """Return stored rows as a data frame of pandas."""
    library("pandas", "pandas", "to_pandas")
    return frames.to_pandas(_drained(columns(context, runs, asked, _OBJECTS_IN_PANDAS)))


def _drained(made: list[AnyColumn]) -> Iterator[AnyColumn]:
    """Yield the columns one by one, so that each may go before the next is converted."""
    made.reverse()
    while made:
        yield made.pop()


def columns(
    context: StoreContext[Any], runs: MakeRuns, asked: Asked, unpacked: frozenset[str] = _UNPACKED
) -> list[AnyColumn]:
    """Return the columns of stored rows, as `Runs` has them of rows that were made.

    Parameters
    ----------
    runs
        Makes the list of rows that goes the general way.
    unpacked
        Kinds whose values are wanted as Python has them.
    """
    names = [asked.results] if isinstance(asked.results, str) else asked.results
    needs_rows = bool(under_way) or asked.provenance or asked.replicates is not None
    needs_rows = needs_rows or any(name.startswith(CUSTOM) for name in names)
    found = None if needs_rows else _without_rows(context, asked, unpacked)
    if found is None:
        rows = runs(select(context, asked.where, asked.equals, asked.order_by, asked.limit))
        return [*rows._columns(asked.custom_data, names, asked.provenance, asked.replicates)]
    if not names:
        return found
    from entropic.ask.scalars import scalars  # here: it brings all that reads results

    taken = {column.name: column for column in found}
    one: Any = type(context.schema.name, (_Stored,), {})  # errors say whose result it is
    stored = list(map(one, taken["id"].values, taken["result_file"].values))
    return [*found, *scalars(stored, runs([])._loader, names, set(taken))]


class _Stored(NamedTuple):
    """As much of a row as it takes to read its result."""

    id: str
    result_file: str


def _without_rows(context: StoreContext[Any], asked: Asked, unpacked: frozenset[str]) -> list[AnyColumn] | None:
    """Return the columns from the driver's values; None if these rows must go the general way."""
    if not context.rows.is_direct or is_listened_to(context.schema):
        return None
    try:
        pa = library("pyarrow", "arrow", "a table")
    except LibraryMissingError:
        return None
    reading = _Reading(context, asked, pa, unpacked)
    try:
        return scan(context.database, reading.query, reading.read)
    except _GeneralWay:
        return None


class _GeneralWay(Exception):
    """These rows hold what cannot be told from their values alone."""


# ---- reading -----------------------------------------------------------------------------------------------------
class _Reading:
    """The query of a table, and what becomes of its answer."""

    def __init__(self, context: StoreContext[Any], asked: Asked, pa: Any, unpacked: frozenset[str]) -> None:
        self._context, self._pa, self._unpacked = context, pa, unpacked
        schema, database = context.schema, context.database
        table = schema.table
        self._columns = names_of(schema)
        self._names = list(self._columns)
        self._back = {name: result_processor(column, database) for name, column in self._columns.items()}
        self._floats = [name for name in schema.float_outcomes if name in self._columns]
        self._custom_data = asked.custom_data
        every = context.rows.query.selected_columns
        clauses = dict(zip(table.c.keys(), every, strict=False))  # `result_file` is none of the table's own
        wanted = [clauses[column.name] for column in self._columns.values()]
        wanted.append(list(every)[-1])  # the place
        if asked.custom_data:
            wanted.append(table.c.custom_data)
        elif self._floats:  # what a row notes of numbers that are not finite, where it may
            gaps = sa.or_(*(self._columns[name].is_(None) for name in self._floats))
            wanted.append(sa.case((gaps, table.c.custom_data)))
        self.query = chosen(context, asked.where, asked.equals, asked.order_by, asked.limit).with_only_columns(*wanted)

    def read(self, pages: Pages) -> list[AnyColumn]:
        """Return the columns; anew, if asked again."""
        making = [self._maker(name) for name in self._names]
        fields = Fields()
        for page in pages:
            try:
                self._take(page, making, fields)
            except NOT_READ as error:
                raise _GeneralWay from error
        made: list[AnyColumn] = [one.made() for one in making]
        if self._custom_data:
            made += fields.columns()
            refuse_clash(column.name for column in made)
        return made

    def _maker(self, name: str) -> "_Making":
        column = self._columns[name]
        empty = of_column(name, column, [])
        is_known = type(column.type).__module__.startswith("sqlalchemy.")  # one of the user's may give back anything
        if not is_known or empty.kind in self._unpacked or (empty.kind == "decimal" and of_any_digits(column)):
            return _Making(empty, column)
        return _Packing(empty, column, self._pa)

    def _take(self, page: list[Any], making: Sequence["_Making"], fields: Fields) -> None:
        with paused():
            found: list[Any] = list(zip(*page, strict=True))
        values = dict(zip(self._names, found, strict=False))
        places, *data = found[len(self._names) :]
        for name, one in zip(self._names, making, strict=True):
            values[name] = one.back(self._back[name], values[name])
        values["result_file"] = self._context.rows.files_of(places, values["result_file"])
        if data:
            self._note(data[0], values, fields)
        for name, one in zip(self._names, making, strict=True):
            one.add(values[name])

    def _note(self, texts: Sequence[Any], values: dict[str, Any], fields: Fields) -> None:
        """Look at custom data: for numbers that are not finite, and for its fields."""
        for i, text in enumerate(texts):
            data = None if text is None else load_json(text)
            if data is not None and not isinstance(data, dict):
                raise _GeneralWay
            if self._floats and data:
                row = {name: values[name][i] for name in self._floats}
                before = dict(row)
                restore(row, data, self._floats)
                for name in self._floats:
                    if row[name] is not before[name]:
                        values[name][i] = row[name]
            if self._custom_data:
                fields.add((data or {},))


class _Making:
    """A column whose values are kept as Python has them, until all are there."""

    def __init__(self, empty: Column, column: "sa.Column[Any]") -> None:
        self._empty, self._column = empty, column
        self._values: list[Any] = []

    def back(self, process: Any, values: Sequence[Any]) -> list[Any]:
        """Return the driver's values as Python has them."""
        return [*values] if process is None else [*map(process, values)]

    def add(self, values: list[Any]) -> None:
        """Add the values of the next rows."""
        self._values += values

    def made(self) -> AnyColumn:
        """Return the column."""
        return of_column(self._empty.name, self._column, self._values)


class _Packing(_Making):
    """A column whose values become Arrow's, page by page."""

    def __init__(self, empty: Column, column: "sa.Column[Any]", pa: Any) -> None:
        super().__init__(empty, column)
        self._pa = pa
        self._type = frames.arrow_array(pa, empty).type
        self._chunks: list[Any] = []
        self._is_label = type(column.type) is sa.Enum
        self._labels: dict[Any, Any] = {}

    def back(self, process: Any, values: Sequence[Any]) -> list[Any]:
        """Return the driver's values as Python has them; of an enumeration, as the table has them."""
        if not self._is_label:
            return super().back(process, values)
        known, type_ = self._labels, cast("sa.Enum", self._column.type)
        for value in {*values} - known.keys():
            known[value] = label_of(process(value) if process else value, type_)
        return [known[value] for value in values]

    def add(self, values: list[Any]) -> None:
        """Add the values of the next rows."""
        one = of_column(self._empty.name, self._column, values)
        if replace(one, values=[]) != self._empty or (not one.nullable and None in values):
            raise _GeneralWay
        self._chunks.append(frames.arrow_array(self._pa, one))

    def made(self) -> AnyColumn:
        """Return the column."""
        return Packed(self._empty, self._pa.chunked_array(self._chunks, self._type))
