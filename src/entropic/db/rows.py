"""Rows: the read path, from a key to a detached instance of the user's model, and the statements that write rows.

A read is one statement on the driver's cursor that joins the row with its claim, then one look at the file; the
instance is made as SQLAlchemy's own loader would leave it (`tests/contract/test_rows.py` compares them).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import bindparam

from entropic.db.binding import Binding, is_made_here
from entropic.db.build import builder, comparable, is_direct, unreadable
from entropic.db.checksum import canonical, checksum, sorted_json
from entropic.db.claim_record import RUNNING
from entropic.db.connection import Connection
from entropic.db.dialects.types import underlying
from entropic.db.engine import Database
from entropic.db.raw import PLACE, Raw
from entropic.db.statement import ByKeys, Statement, fixed, texts_on
from entropic.db.tables import LATER, ledger
from entropic.params.changed import is_added
from entropic.params.model import Base, Schema
from entropic.params.outcomes import restore

_c = ledger.c
_RUNNING = sa.case((_c.state == fixed(RUNNING), _c.attempt))
_PLACE = sa.case((_c.registered.is_(None) & _c.published.is_not(None), _c.path), else_=_c.registered)
_PLAIN = _c.registered.is_(None) & _c.published.is_not(None) & (_c.state != fixed(RUNNING)) & _c.inputs.is_(None)
_OURS = sa.case((_PLAIN, _c.path))
ModelT_co = TypeVar("ModelT_co", bound=Base, covariant=True)
_Taking = tuple[str, Callable[..., tuple[object, ...]]]  # a statement, and what takes its values
_STORED_AS: dict[type, Any] = {int: sa.Integer, float: sa.Float, str: sa.String}  # and given back as what they were
_NOTHING: Mapping[str, Any] = {}
_AS_IS = {type(None)}  # what every database takes
_INPUTS, _CODE = LATER.index(_c.inputs), LATER.index(_c.code)


class Rows(Generic[ModelT_co]):
    """The rows of one model.

    A raw row has no more than every hit needs (`Recorded` names what follows its columns), since a column costs a hit
    more than a call: `result_file` is None where the ledger has published a place of ours.
    """

    def __init__(self, database: Database, schema: Schema, results_dir: str) -> None:
        self._database, self._schema, self._dir = database, schema, results_dir
        table, sql = schema.table, database.sql
        columns = list(table.c)
        names = [column.name for column in columns]

        # ---- statements
        texts = self._texts = texts_on(table, database.wording)

        def kept(name: str, statement: object) -> Statement:
            return Statement(statement, sql, texts, name)

        def by_keys(name: str, query: object) -> Callable[[Iterable[str]], Iterator[Raw]]:
            return partial(ByKeys(database.wording, query, table.c.id, texts, name).fetch, database)

        on = (_c.id == table.c.id) & (_c.model == fixed(schema.table_name))
        file = sa.case((_c.published.is_(None), table.c.result_file))
        asked = [file if column.name == "result_file" else column for column in columns]
        joined, is_key = table.outerjoin(ledger, on), table.c.id == bindparam("key")
        asked += [_c.inputs, _c.code, _RUNNING, _c.size, _c.mtime_ns, _PLACE]
        read = self.query = sa.select(*asked).select_from(joined)
        """That of all raw rows."""
        shown = [table.c.id, *(column for column in columns if column.name not in ("id", "result_file"))]
        brief = sa.select(*shown, _c.code, _c.size, _c.mtime_ns, _OURS).select_from(joined)
        self.brief = _reader(database, kept("brief", brief.where(is_key)))
        """Returns of a key as much as most hits need, or None: the key, the other columns without `result_file`,
        the code, and the size, the mtime and the place of its file. The place is None if there is more to know: then
        `read` it."""
        self.brief_many = by_keys("brief of many", brief)
        """Returns the same of those keys that have a row, in a few queries, in any order."""
        self._read = kept("read", read.where(is_key))
        self.read = _reader(database, self._read)
        """Returns the raw row of a key, or None; what belongs to a transaction is `read_within` it."""
        self._read_many = by_keys("read many", read)
        self._all = kept("all", read)
        self._some = kept("some", read.limit(bindparam("count")))
        self._exists = kept("exists", sa.select(table.c.result_file).where(is_key))
        self._delete = kept("delete", sa.delete(table).where(is_key))
        self._upserts: dict[tuple[str, ...], list[_Taking]] = {}

        # ---- reading
        self._file, self._custom_data = names.index("result_file"), names.index("custom_data")
        self.id_of: Callable[[Raw], str] = itemgetter(names.index("id"))
        """Returns the key of a raw row."""
        self.is_direct = is_direct(schema)
        self.build: Callable[[Raw, str], ModelT_co] = builder(schema, database, columns)
        """Makes the detached instance of a raw row, given where its file is."""
        self.build_brief: Callable[[Raw, str], ModelT_co] = builder(schema, database, shown)
        """The same of what `brief` returned."""
        self.values_brief: Callable[[Raw, str], Any] = (
            comparable(schema, database, shown) if self.is_direct else self.build_brief
        )
        """Makes an object with just the values of what `brief` returned, to be compared and dropped."""
        self.binding = Binding(database, schema)
        """What brings values to the driver, and back."""
        self._back = self.binding.back

        # ---- writing
        self._columns = {key: table.c[name] for name, key in schema.attributes.items()}
        self._own = [i for i, column in enumerate(columns) if _is_given(schema, column) and not is_added(column)]
        self._added = self._added_columns(columns)
        self._json = {i for i, column in enumerate(columns) if isinstance(underlying(column.type), sa.JSON)}
        self._has_json = not self._json.isdisjoint(self._own)
        self.own_names = [names[i] for i in self._own]
        """Those of the user's columns, as far as runs fill them, in the order of their checksum."""
        made = [column for column in columns if not _is_given(schema, column)]
        self.has_defaults = any(schema.attributes.get(column.name) in schema.fields for column in made)
        indexes = any(index.unique for index in table.indexes)
        self.is_constrained = indexes or any(not isinstance(c, sa.PrimaryKeyConstraint) for c in table.constraints)
        self.names = names
        """Those of the columns of a raw row."""
        self.kinds = self._kept_kinds(names)
        """By column, the Python types of values that the table gives back as they were written; None: not of all."""
        self._kinds = None if self.kinds is None else list(self.kinds.values())
        self._floats = [i for i, kind in enumerate(self._kinds or ()) if kind is float]
        self._in_order = itemgetter(*names)
        self._doubtful = {name: names.index(name) for name in self.binding.doubtful}
        is_tried = self.is_constrained or bool(self._doubtful)
        self.is_kept = self.kinds is not None and self.binding.keeps_json and self.is_direct and not is_tried
        """Whether every row of plain values is taken, and comes back, as it is written."""

    def _kept_kinds(self, names: list[str]) -> dict[str, type] | None:
        is_lean = self.binding.is_plain and not self.has_defaults and not self._schema.outcomes
        if not is_lean or not self._database.dialect.one_writer:
            return None  # (what a server gives back is asked of it)
        found = self._database.types
        kinds: dict[str, type] = dict.fromkeys(names, str)  # all of Base's columns are text in SQLite
        for field in self._schema.fields.values():
            kind = field.usual[0]
            if not isinstance(found[field.column.name], _STORED_AS.get(kind, ())):
                return None
            kinds[field.column.name] = kind
        return kinds

    # ---- reading -----------------------------------------------------------------------------------------------
    def read_within(self, connection: Connection, id: str) -> Raw | None:
        """Return, inside a transaction, the raw row of a key, or None."""
        rows = connection.execute(self._read.sql, self._read.values({"key": id})).fetchall()
        return rows[0] if rows else None

    def read_many(self, ids: Iterable[str]) -> Iterator[Raw]:
        """Return the raw rows of those keys that have one, in a few queries, in any order."""
        return self._read_many(ids)

    def all(self) -> Iterator[Raw]:
        """Return all raw rows."""
        yield from self._database.connection().fetch(self._all.sql, self._all.values({}))

    def some(self, count: int) -> list[Raw]:
        """Return a few raw rows, whichever come first."""
        return self._database.connection().fetch(self._some.sql, self._some.values({"count": count}))

    def exists(self, connection: Connection, id: str) -> bool:
        """Tell, inside a transaction, whether the key has a row."""
        return bool(connection.fetch(self._exists.sql, (id,)))

    def file_of(self, raw: Raw) -> str:
        """Return the absolute path of a raw row's result file, wherever the project has been moved to."""
        place = raw[PLACE]
        if place is not None:
            return place if str(place).startswith(os.sep) else f"{self._dir}{os.sep}{place}"
        return self._before_ledger(raw[self._file])

    def files_of(self, places: Iterable[Any], stored: Iterable[Any]) -> list[str]:
        """Return the absolute paths of many result files, given their places and the `result_file` of their rows."""
        before, sep = f"{self._dir}{os.sep}", os.sep
        return [
            self._before_ledger(file) if place is None else place if str(place).startswith(sep) else f"{before}{place}"
            for place, file in zip(places, stored, strict=True)
        ]

    def _before_ledger(self, stored: object) -> str:
        """Return the path of a result that was made before there was a ledger: relative to a folder of that time."""
        stored = str(stored)
        beside = os.path.join(self._dir, os.path.basename(stored))
        return beside if os.path.lexists(beside) else os.path.abspath(stored)

    def plain(self, raw: Raw) -> dict[str, Any]:
        """Return the values of a raw row by attribute, without an instance."""
        values = {}
        for column, value in zip(self._schema.table.c, raw, strict=False):
            if column.name in self._schema.attributes:
                back = self._back[column.name]
                try:
                    values[self._schema.attributes[column.name]] = back(value) if back else value
                except (LookupError, ValueError, TypeError, ArithmeticError) as error:
                    raise unreadable(self._schema, self._database, list(self._schema.table.c), raw) from error
        if self._schema.float_outcomes:
            restore(values, values["custom_data"], self._schema.float_outcomes)
        return values

    def seconds(self, raw: Raw) -> float | None:
        """Return how long the run of a raw row took, if it says so, whatever the user's columns hold."""
        back = self._back["custom_data"]
        try:
            told = back(raw[self._custom_data]) if back else raw[self._custom_data]
            found = (told or {}).get("elapsed_seconds")
        except (LookupError, ValueError, TypeError, AttributeError):
            return None
        return found if isinstance(found, int | float) else None

    def values_of(self, bound: Mapping[str, object], attributes: Iterable[str]) -> dict[str, Any]:
        """Return the values of some of the user's columns, by attribute, from what `bind` returned by column."""
        values = {}
        for name in attributes:
            column = self._columns[name].name
            back = self._back[column]
            values[name] = back(bound[column]) if back else bound[column]
        return values

    def checksum(self, raw: Raw) -> int:
        """Return a checksum of the user's columns of a raw row."""
        values = [raw[i] if i not in self._json else sorted_json(raw[i]) for i in self._own]
        return checksum(values + self._beyond({name: raw[i] for name, (i, _) in self._added.items()}))

    # ---- writing -----------------------------------------------------------------------------------------------
    def must_be_tried(self, columns: tuple[str, ...], values: tuple[object, ...]) -> bool:
        """Tell whether the table may refuse a row, or hold something else than what is inserted."""
        if self.is_constrained or not self._doubtful:
            return self.is_constrained
        return self.binding.may_change(columns, values)

    def altered(self, connection: Connection, values: Mapping[str, object]) -> str | None:
        """Return a column that does not hold what the transaction has just inserted into it; None if there is none."""
        raw = self.read_within(connection, str(values["id"])) if self._doubtful else None
        if raw is None:
            return None
        for name, place in self._doubtful.items():
            if name in values and canonical(raw[place]) != canonical(values[name]):
                return name
        return None

    def upsert(self, connection: Connection, values: Mapping[str, object]) -> None:
        """Insert or overwrite a row, given by column name as the driver stores it."""
        for sql, in_order in self._upsert(tuple(values)):
            if connection.execute(sql, in_order(*values.values())).rowcount:
                return

    def upsert_many(self, connection: Connection, rows: Iterable[Mapping[str, object]]) -> None:
        """Insert or overwrite many rows."""
        alike: dict[tuple[str, ...], list[Mapping[str, object]]] = {}
        for values in rows:
            alike.setdefault(tuple(values), []).append(values)
        for columns, several in alike.items():
            statements = self._upsert(columns)
            if len(statements) > 1:
                for values in several:
                    self.upsert(connection, values)
                continue
            sql, in_order = statements[0]
            connection.execute_many(sql, [in_order(*values.values()) for values in several])

    def upsert_of(self, columns: tuple[str, ...]) -> "_Taking":
        """Return the one statement that inserts or overwrites a row, and what takes the values of these columns."""
        (only,) = self._upsert(columns)
        return only

    def _upsert(self, columns: tuple[str, ...]) -> "list[_Taking]":
        found = self._upserts.get(columns)
        if found is None:
            made = self._database.dialect.upserts(self._schema.table, columns)
            names = [("upsert", columns, len(made), number) for number in range(len(made))]
            statements = [Statement(made[n], self._database.sql, self._texts, name) for n, name in enumerate(names)]
            found = [(one.sql, one.taking(*(f"v_{name}" for name in columns))) for one in statements]
            self._upserts[columns] = found
        return found

    def written(
        self, values: Mapping[str, object], later: Sequence[object], size: int, mtime_ns: int, place: str
    ) -> Raw | None:
        """Return the raw row of a run that was recorded just now, without reading it; None if it must be read.

        Parameters
        ----------
        values
            As they were given to `upsert`.
        later
            What the ledger says of it of `tables.LATER`.
        """
        if self._kinds is None:
            return None
        try:
            row = self._in_order(values)
        except KeyError:  # finished by a process whose model had fewer columns
            return None
        for i in self._floats:
            if row[i] == 0.0:  # SQLite knows no -0.0
                return None
        if list(map(type, row)) != self._kinds:
            return None
        return (*row, later[_INPUTS], later[_CODE], None, size, mtime_ns, place)

    def delete(self, connection: Connection, id: str) -> None:
        """Delete a row."""
        connection.execute(self._delete.sql, (id,))

    def own_checksum(self, bound: Mapping[str, object]) -> int:
        """Return the checksum that a row will have, from what `bind` returned."""
        if not self._has_json and not self._added:
            return checksum(map(bound.get, self.own_names))
        named = zip(self._own, map(bound.get, self.own_names), strict=True)
        values = [value if i not in self._json else sorted_json(value) for i, value in named]
        return checksum(values + self._beyond(bound))

    # ---- parameters that were added ----------------------------------------------------------------------------
    def _added_columns(self, columns: list[sa.Column[Any]]) -> dict[str, tuple[int, Any]]:
        """Return, by name, where each is in a raw row, and its default as the driver stores it."""
        places = {column.name: i for i, column in enumerate(columns)}
        defaults = {self._columns[key].name: (key, one) for key, one in self._schema.changed.defaults.items()}
        return {name: (places[name], self.binding.bound(key, one)) for name, (key, one) in defaults.items()}

    def whole(self, bound: Mapping[str, object]) -> Mapping[str, object]:
        """Return values with the defaults of what was added since they were recorded; themselves, if nothing was."""
        if not self._added:
            return bound
        lacking = {name: default for name, (_, default) in self._added.items() if name not in bound}
        return {**bound, **lacking} if lacking else bound

    def _beyond(self, values: Mapping[str, object]) -> list[object]:
        """Return what a checksum has of added columns: nothing of a default, as before there were such columns."""
        found: list[object] = []
        for name, (i, default) in sorted(self._added.items()):
            make = sorted_json if i in self._json else canonical
            if name in values and (value := make(values[name])) != make(default):
                found += [name, value]
        return found


def _reader(database: Database, statement: Statement) -> Callable[[str], Raw | None]:
    """Return the function that reads the raw row of a key; all that it needs is looked up here, once."""
    mine, sql, values = database.mine, statement.sql, statement.taking("key")

    def read(id: str) -> Raw | None:
        connection = mine.connection
        if connection.in_use():
            connection = connection.beside()
        rows = connection.fetch(sql, values(id))
        return rows[0] if rows else None

    return read


def _is_given(schema: Schema, column: sa.Column[Any]) -> bool:
    """Tell whether a column of the user's is written by us, not made by the database."""
    field = schema.fields.get(schema.attributes.get(column.name, ""))
    default: object = column.default
    made = column.server_default is not None or (default is not None and not is_made_here(column))
    return field is not None and not (made or field.generated)
