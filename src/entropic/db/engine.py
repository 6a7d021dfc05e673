"""Connections: one kept per thread, none ever carried over a fork, each transaction begun with its lock."""

import contextlib
import json
import os
import sqlite3
import threading
import time
import warnings
import weakref
from collections.abc import Iterator, Sequence
from json.scanner import make_scanner
from types import SimpleNamespace
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, StaticPool

from entropic.db import dialects
from entropic.db.tables import create_tables
from entropic.errors import DatabaseBusy, NetworkFileSystemWarning, StoreError, levels_to_user
from entropic.text import compact

_POLL = 0.5  # s; SQLite's own wait cannot be interrupted by Ctrl-C, so it is done in pieces
_open: "weakref.WeakSet[Connection]" = weakref.WeakSet()


class Connection:
    """A driver connection of one thread (of all threads, for a database in memory).

    `lock` is held during every transaction and every read, so that a fork in another thread waits for it.
    """

    def __init__(self, database: "Database") -> None:
        self._database = database
        self.lock = threading.RLock()
        self._pooled: Any = None
        self._raw: Any = None
        self._cursor: Any = None
        self._begun_by: int | None = None  # the thread, since one in memory is shared
        self._dead = False
        _open.add(self)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement on the kept cursor and return the cursor; read it to its end before the next."""
        try:
            return (self._cursor or self._connect()).execute(sql, values)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise self._explained(error) from error
            return self._patiently(sql, values)

    def execute_many(self, sql: str, values: Sequence[Sequence[Any]]) -> int:
        """Run one statement for each of many sets of values, inside a transaction; return how many rows it changed."""
        cursor = self._cursor or self._connect()
        try:
            changed: int = cursor.executemany(sql, values).rowcount
        except sqlite3.OperationalError as error:  # never that it is busy: the transaction holds the lock
            raise self._explained(error) from error
        return changed

    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run one query and return all its rows."""
        with self.lock:
            return self.execute(sql, values).fetchall()  # type: ignore[no-any-return]

    def begin(self) -> None:
        """Begin a transaction with the lock that makes it the only writer; waits for other writers.

        Call it inside the `try` that rolls back: an interrupt may come as soon as it has begun.
        """
        self.lock.acquire()
        try:
            self._begun_by = threading.get_ident()
            self.execute(dialects.BEGIN)
        except BaseException:
            self.rollback()
            raise

    def commit(self) -> None:
        """Make the transaction's changes visible."""
        self.execute("COMMIT")
        self._end()

    def rollback(self) -> None:
        """Undo the transaction; nothing, if it has ended (an interrupt may come just after a commit)."""
        if self._begun_by == threading.get_ident():
            try:
                if self._raw is not None and self._raw.in_transaction:
                    self._cursor.execute("ROLLBACK")
            finally:
                self._end()

    def _end(self) -> None:
        self._begun_by = None
        self.lock.release()

    def _patiently(self, sql: str, values: Sequence[Any]) -> Any:
        deadline = time.monotonic() + self._database.wait
        while True:
            try:
                return self._cursor.execute(sql, values)
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise self._explained(error) from error
                if time.monotonic() > deadline:
                    raise DatabaseBusy(
                        f"{self._database} was locked by another program for {self._database.wait:g} s; end that "
                        "program's transaction and call again, or wait longer with ?timeout=SECONDS in db_url"
                    ) from error

    def _explained(self, error: sqlite3.OperationalError) -> StoreError:
        return StoreError(
            f"{self._database} failed: {error}; look at its disk (is it full, is it writable), then call again"
        )

    def _connect(self) -> Any:
        if self._dead:
            raise StoreError("a store in memory works only in the process that made it; give db_url a file")
        self._pooled, self._raw = self._database.connect()
        self._cursor = self._raw.cursor()
        return self._cursor

    def close(self) -> None:
        """Close it; the next statement opens it again."""
        raw, self._pooled, self._raw, self._cursor = self._raw, None, None, None
        if raw is not None:
            raw.close()

    def abandon(self) -> None:
        """Refuse all further use, after a fork."""
        self._dead, self._cursor = True, None

    def __del__(self) -> None:
        if not self._dead:
            self.close()


_scan_json = cast(Any, make_scanner)(json.JSONDecoder())


def load_json(text: str | None) -> Any:
    """Decode what was encoded here, without the search for white space that takes half of `json.loads`."""
    if text is None:
        return None
    try:
        value, end = _scan_json(text, 0)
    except StopIteration:  # its word for what is no JSON
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def _is_busy(error: Any) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class _OfThread(threading.local):
    """Made anew in each thread that looks at it."""

    def __init__(self, database: "Database") -> None:
        self.connection = Connection(database)


class Database:
    """The database under a store: where it is, how it is opened, and its connections.

    Parameters
    ----------
    db_url
        A SQLAlchemy URL. `?timeout=SECONDS` says how long to wait for a lock (default 60 s).
    fsync
        Whether a commit waits for the disk.
    """

    refusals = (
        sqlite3.IntegrityError,
        sqlite3.DataError,
    )  # what a driver raises for a row that breaks a rule

    def __init__(self, db_url: str, fsync: bool = False) -> None:
        self.url, self.wait = dialects.parse(db_url)
        self.in_memory = dialects.in_memory(self.url)
        self._fsync = fsync
        self._network = None if self.in_memory else self._warn_of_network()
        self.engine = sa.create_engine(
            self.url,
            poolclass=StaticPool if self.in_memory else NullPool,
            json_serializer=compact,
            json_deserializer=load_json,
            connect_args={"timeout": min(self.wait, _POLL), "check_same_thread": False},
        )
        sa.event.listen(self.engine, "connect", self._configure)
        self.dialect = self.engine.dialect
        self.mine: Any = SimpleNamespace(connection=Connection(self)) if self.in_memory else _OfThread(self)
        """Its `connection` is that of this thread."""

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def _warn_of_network(self) -> str | None:
        kind = dialects.file_system(os.path.dirname(self.url.database or "") or ".")
        if kind:
            warnings.warn(
                f"{self} lies on a network file system ({kind}), where SQLite's locks cannot be trusted: use it from "
                "one machine only, or move the database to a local disk (the results may stay)",
                NetworkFileSystemWarning,
                stacklevel=levels_to_user(),
            )
        return kind

    def _configure(self, raw: Any, _: Any) -> None:
        raw.isolation_level = None  # transactions begin where we say so, not where the driver guesses
        if self.in_memory:
            return
        if not self._network:  # the write-ahead log needs memory that all its processes share
            mode = self._patient(lambda: raw.execute("PRAGMA journal_mode").fetchone())
            if mode[0] != "wal":
                self._patient(lambda: raw.execute("PRAGMA journal_mode=WAL").fetchone())
            raw.execute("PRAGMA synchronous=" + ("FULL" if self._fsync else "NORMAL"))

    def _patient(self, action: Any) -> Any:
        """Repeat what SQLite refuses at once, without its own wait, while another connection uses the file."""
        deadline = time.monotonic() + self.wait
        while True:
            try:
                return action()
            except (sqlite3.OperationalError, sa.exc.OperationalError) as error:
                if not _is_busy(getattr(error, "orig", error)) or time.monotonic() > deadline:
                    raise
                time.sleep(0.002)

    def connect(self) -> tuple[Any, Any]:
        """Open a connection that is ours to close; return SQLAlchemy's wrapper, to be kept, and the driver's own."""
        pooled = self.engine.raw_connection()
        raw = pooled.driver_connection
        if not self.in_memory:
            pooled.detach()
        return pooled, raw

    def connection(self) -> Connection:
        """Return the connection of this thread."""
        found: Connection = self.mine.connection
        return found

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Hold the lock, commit at the end, roll back on any exception."""
        connection = self.connection()
        try:
            connection.begin()
            yield connection
            connection.commit()
        except BaseException:
            connection.rollback()
            raise

    @property
    def address(self) -> str:
        """The URL that opens this database again, from any working directory, password included."""
        url = self.url.update_query_dict({"timeout": f"{self.wait:g}"})
        return url.render_as_string(hide_password=False)

    def create(self, *metadata: sa.MetaData) -> None:
        """Create the tables that do not exist yet; safe while other processes do the same.

        Raises
        ------
        StoreError
            If this is no database, or it cannot be written.
        """
        try:
            create_tables(self.engine, metadata, dialects.BEGIN, self._patient)
        except (sa.exc.DBAPIError, sqlite3.Error, OSError) as error:
            reason = getattr(error, "orig", None) or error
            if isinstance(reason, sqlite3.OperationalError) and _is_busy(reason):
                raise DatabaseBusy(f"{self} was locked by another program for {self.wait:g} s") from error
            raise StoreError(
                f"{self} cannot be used as a database: {reason}; check that db_url names a SQLite file, or a new one "
                "in an existing folder that can be written"
            ) from error


def _before_fork() -> None:
    """Close every idle connection and hold the rest: SQLite's locks do not survive a fork.

    A child that inherits an open database file believes that it holds its parent's locks, and may then write
    beside it. `tests/race/test_forks.py` shows both sides working on after a fork.
    """
    _one_fork.acquire()
    _forking[:] = list(_open)
    for connection in _forking:
        connection.lock.acquire()
        if connection._database.in_memory:
            continue
        connection.close()


def _after_fork() -> None:
    for connection in _forking:
        connection.lock.release()
    _forking.clear()
    _one_fork.release()


def _after_fork_in_child() -> None:
    for connection in _forking:
        if connection._database.in_memory:
            connection.abandon()
    _after_fork()


_forking: list[Connection] = []
_one_fork = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
