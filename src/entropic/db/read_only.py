"""Connections that only read: a change is refused here before the database is asked, which would refuse it as well."""

from collections.abc import Callable, Sequence
from typing import NoReturn

from entropic.db.connection import Connection, T
from entropic.db.dialects.portable import Pages
from entropic.db.server import ServerConnection
from entropic.errors import ReadOnlyError


class _ReadOnly(Connection):
    """What differs from a connection that may write."""

    def fetch(self, sql: str, values: Sequence[object] = ()) -> list[object]:
        """Run one query and return all its rows; tables that are missing have none."""
        return self._read_steadily(
            lambda: super(_ReadOnly, self).fetch(self._database.missing_tables.amend(sql), values)
        )

    def scan(self, sql: str, values: Sequence[object], take: Callable[[Pages], T]) -> T:
        """Run one query, and return what is made of its rows; tables that are missing have none."""
        return self._read_steadily(
            lambda: super(_ReadOnly, self).scan(self._database.missing_tables.amend(sql), values, take)
        )

    def _read_steadily(self, act: Callable[[], T]) -> T:
        dialect = self._database.dialect

        def read() -> T:
            if self._raw is not None and dialect.is_outdated(self._raw):
                with self.lock:
                    self.close()
            return act()

        return dialect.read_steadily(read)

    def begin(self) -> None:
        """Refuse a transaction: none is needed for reading."""
        self._refuse()

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """Refuse a change."""
        self._refuse()

    def execute_many(self, sql: str, values: Sequence[Sequence[object]]) -> int:
        """Refuse changes."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ReadOnlyError(f"{self._database} was opened read-only; nothing was changed")


class ReadOnlyConnection(_ReadOnly):
    """One to a SQLite file."""


class ReadOnlyServerConnection(_ReadOnly, ServerConnection):
    """One to a server."""
