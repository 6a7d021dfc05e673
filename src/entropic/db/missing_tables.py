"""Tables that a database lacks and that nobody may make: they read as empty ones, and columns as NULL or their default.

Each statement gets them as named queries in front, under which the database finds them by name.
"""

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from entropic.db.columns import comes_later, lacking_columns
from entropic.db.dialects.portable import Dialect
from entropic.db.tables import LATER, ledger
from entropic.params.changed import ADDED

FIND_AGAIN = 1.0  # s after which somebody else may have made them


class MissingTables:
    """The tables that a database lacks, of those that a store needs."""

    def __init__(self, engine: sa.Engine, dialect: Dialect) -> None:
        self._engine, self._dialect = engine, dialect
        self.fills = False
        """Whether a table of the user's has its default in each column that came later and that it lacks."""
        self._tables: Sequence[sa.Table] = ()
        self._missing: list[sa.Table] = []
        self._text, self._found_at = "", 0.0

    def find(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> None:
        """Find out which tables are missing, and whether the ledger lacks what earlier versions did not record."""
        inspector = sa.inspect(connection)
        self._tables = tables
        self._missing = [table for table in tables if not inspector.has_table(table.name, schema=table.schema)]
        made = [self._empty(table) for table in self._missing]
        if ledger in tables and ledger not in self:
            lacking = lacking_columns(connection, ledger, LATER)
            made += [self._widened(connection, ledger, lacking)] if lacking else []
        for table in tables if self.fills else ():
            if table.metadata is not ledger.metadata and table not in self:
                later = [column for column in table.c if comes_later(column)]
                lacking = lacking_columns(connection, table, later)
                made += [self._widened(connection, table, lacking)] if lacking else []
        self._text = ", ".join(made)
        self._found_at = time.monotonic()

    def __contains__(self, table: sa.Table) -> bool:
        return any(table is one for one in self._missing)

    def amend(self, sql: str) -> str:
        """Return a query that finds the missing tables, too, without rows."""
        if not self._text:
            return sql
        if time.monotonic() - self._found_at > FIND_AGAIN:
            with self._engine.connect() as connection:
                self.find(connection, self._tables)
        if not self._text:
            return sql
        for begin in ("WITH RECURSIVE ", "WITH "):
            if sql.startswith(begin):
                return f"{begin}{self._text}, {sql.removeprefix(begin)}"
        return f"WITH {self._text} {sql}"

    def _widened(self, connection: sa.Connection, table: sa.Table, lacking: Sequence[sa.Column[object]]) -> str:
        """Return the name of a table, and a query of it with the columns that it lacks."""
        there = sa.table(table.name, schema=self._dialect.schema_of(connection, table))  # or it would name itself
        more = [self._value(column).label(column.name) for column in lacking]
        query = sa.select(sa.text("*"), *more).select_from(there).compile(dialect=self._engine.dialect)
        return f"{self._engine.dialect.identifier_preparer.quote(table.name)} AS ({query})"

    def _value(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """Return what a column has in the rows of a table that lacks it."""
        if (default := column.info.get(ADDED)) is None:
            return self._dialect.null(column.type)
        return self._dialect.constant(default, column.type, self._engine.dialect)

    def _empty(self, table: sa.Table) -> str:
        """Return the name of a table, and a query with its columns and no rows."""
        columns = [self._dialect.null(column.type).label(column.name) for column in table.c]
        query = sa.select(*columns).where(sa.false()).compile(dialect=self._engine.dialect)
        return f"{self._engine.dialect.identifier_preparer.quote(table.name)} AS ({query})"
