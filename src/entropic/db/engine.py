"""The database under a store: where it is, how it is opened, and the way in for everything that is done there."""

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.pool import NullPool, StaticPool

from entropic.db import layout
from entropic.db import recorded_changes as changes
from entropic.db.columns import check_columns, gain_later
from entropic.db.connection import Connection, T
from entropic.db.dialects import dialect as dialect_of
from entropic.db.dialects.portable import too_long
from entropic.db.missing_tables import MissingTables
from entropic.db.tables import changes as changes_table
from entropic.db.tables import check_width, create_tables, ledger
from entropic.db.tables import metadata as own
from entropic.db.wording import Wording
from entropic.errors import DatabaseBusy, ParameterError, ReadOnlyError, StoreError
from entropic.support.compact_json import compact, load_json
from entropic.support.passwords import for_pickle, shown

_NOTHING: Mapping[str, Any] = {}


class _OfThread(threading.local):
    """Made anew in each thread that looks at it."""

    def __init__(self, database: "Database") -> None:
        self.connection = database.kind(database)


class Database:
    """The database under a store, and its connections.

    Parameters
    ----------
    db_url
        A SQLAlchemy URL. `?timeout=SECONDS` says how long a locked or silent database is waited for (default 60 s).
    fsync
        Whether a commit waits for the disk, where the database leaves that to us.
    read_only
        Whether it is only looked at: then nothing in it or beside it changes, and tables that are missing are empty.
    """

    def __init__(self, db_url: str, fsync: bool = False, read_only: bool = False) -> None:
        self.dialect = dialect_of(db_url, fsync, read_only)
        self.url, self.wait, self.in_memory = self.dialect.url, self.dialect.wait, self.dialect.in_memory
        options = {"json_serializer": compact, "json_deserializer": load_json} | self.dialect.options()
        try:
            self.engine = sa.create_engine(self.url, poolclass=StaticPool if self.in_memory else NullPool, **options)
        except (sa.exc.ArgumentError, ImportError, TypeError) as error:
            raise StoreError(
                f"{self} cannot be opened: {error}; see the documentation of its driver for what db_url may be"
            ) from error
        self.dialect.listen(self.engine)
        configure = self.dialect.configure
        sa.event.listen(self.engine, "connect", lambda raw, _: configure(raw))
        self.sql = self.engine.dialect
        """SQLAlchemy's own dialect, for which statements are compiled."""
        driver: Any = self.sql.dbapi
        self.driver_error: type[Exception] = driver.Error
        self.refusals: tuple[type[Exception], ...] = (
            *(driver.IntegrityError, driver.DataError),
            *self.dialect.refusals,
        )
        """What a driver raises for a row that breaks a rule."""
        self.failures: tuple[type[Exception], ...] = (driver.OperationalError, driver.InternalError)
        """What a driver raises for a database that is not well."""
        self.types: Mapping[str, object] = {}
        """Those of the columns of the store's table, as they are in the database, by name."""
        self.wording: Wording
        """What the texts of statements depend on; known when it is open."""
        self.missing_tables = MissingTables(self.engine, self.dialect)
        self.kind = self._kind_of_connection()
        weakly = cast(Database, weakref.proxy(self))
        self.mine: Any = SimpleNamespace(connection=self.kind(weakly)) if self.in_memory else _OfThread(weakly)
        """Its `connection` is that of this thread."""

    def _kind_of_connection(self) -> type[Connection]:
        if self.dialect.read_only:
            from entropic.db.read_only import ReadOnlyConnection, ReadOnlyServerConnection

            return ReadOnlyConnection if self.dialect.one_writer else ReadOnlyServerConnection
        if self.dialect.one_writer:
            return Connection
        from entropic.db.server import ServerConnection

        return ServerConnection

    def __str__(self) -> str:
        return shown(self.url)

    @property
    def is_shared(self) -> bool:
        """Whether other machines can use it."""
        return not self.dialect.one_writer

    @property
    def troubles(self) -> tuple[type[Exception], ...]:
        """What may be raised while a finished run is recorded: by the database, by the disk, or by its values.

        A sidecar may be of a process whose model had other columns, or hold whatever somebody has written into it.
        """
        values = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
        return StoreError, self.driver_error, OSError, sa.exc.SQLAlchemyError, *values

    # ---- connections -------------------------------------------------------------------------------------------
    def connect(self) -> tuple[Any, Any]:
        """Open a connection that is ours to close; return SQLAlchemy's wrapper, to be kept, and the driver's own."""
        raw: Any = None
        try:
            pooled = self.engine.raw_connection()
            raw = pooled.driver_connection
            if not self.in_memory:
                pooled.detach()
            self.dialect.configure_own(raw)
        except BaseException as error:
            if raw is not None:
                raw.close()
            if isinstance(error, Exception):
                self._raise_interrupted(error)
            raise
        return pooled, raw

    def _raise_interrupted(self, error: Exception) -> None:
        """Raise what says that it may go better in a moment, if it may."""
        if self.dialect.one_writer:
            return
        from entropic.db.server import Conflict, Lost

        reason = getattr(error, "orig", None) or error
        trouble = self.dialect.trouble(reason)
        if trouble == "busy":
            raise self.locked() from error
        if trouble is not None:
            raise (Lost if trouble == "lost" else Conflict)(str(reason)) from error
        if isinstance(reason, self.driver_error):
            raise StoreError(f"{self} {self.dialect.advice(reason)}") from error

    def locked(self) -> DatabaseBusy:
        """Return the error that says that somebody else holds a lock for too long."""
        return DatabaseBusy(
            f"{self} was locked by another program for {self.wait:g} s; end that program's transaction and call again, "
            "or wait longer with ?timeout=SECONDS in db_url"
        )

    def connection(self) -> Connection:
        """Return the connection of this thread; one beside it, if the thread is in the middle of using it.

        What belongs to a transaction is asked of the transaction's own connection instead.
        """
        found: Connection = self.mine.connection
        return found.beside() if found.in_use() else found

    @contextlib.contextmanager
    def without_waiting(self) -> Iterator[None]:
        """During the block, raise at once for this thread what a database that is locked or gone is else waited for."""
        connection = self.connection()
        before, connection.wait = connection.wait, 0.0
        try:
            yield
        finally:
            connection.wait = before

    def free_connection(self) -> None:
        """Close this thread's connection to a server: others may need it more than who is going to wait."""
        connection = self.connection()
        if self.is_shared:
            with connection.lock:
                connection.close()

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Do some work in a transaction, and commit at its end; roll back on any exception.

        Where another transaction has to go first, or the connection breaks, the work is done again from its
        beginning: it may change nothing else but what can be done twice.
        """
        return self.connection().transact(work)

    def stay_current(self) -> None:
        """Leave a file that is no longer there for the one in its place, if that is the same database.

        Raises
        ------
        StoreError
            If it is none, or another one.
        """
        self.connection().stay_current()

    # ---- opening -----------------------------------------------------------------------------------------------
    def open(self, table: sa.Table, model: str, *metadata: sa.MetaData, told: changes.Told = _NOTHING) -> None:
        """Create the tables that do not exist yet, safe while other processes do the same, and look at one of them.

        `told` is what is to be recorded of the parameters that the model has gained.

        Raises
        ------
        ModelError
            If the table does not fit the model.
        ReadOnlyError
            If it holds one, and this user cannot write it.
        StoreError
            If this is no database, or cannot hold a store.
        """
        if self.dialect.read_only:
            self.types = self._explained(lambda: self._open_read_only(table, model, told))
            return
        if (reason := self.dialect.locked_up()) is not None:
            raise ReadOnlyError(reason)

        def action() -> Mapping[str, object]:
            self.dialect.create()
            with self.engine.connect() as connection:
                self.dialect.check(self.engine)
                self._word()
                self._create(connection, table, model, told, *metadata)
                self._check(connection, table)
                if (reason := self.dialect.forbids(connection, [table, ledger])) is not None:
                    raise ReadOnlyError(f"{self} cannot be written: {reason}")
                return check_columns(connection, table, model, self.dialect)

        check_width(table, model, self.dialect)
        self.types = self._explained(action)

    def _open_read_only(self, table: sa.Table, model: str, told: changes.Told) -> Mapping[str, object]:
        with self.engine.connect() as connection:
            self.dialect.check(self.engine)
            self._word()  # for the SQL that is shown, too
            layout.refuse_later(connection, self)
            self.missing_tables.find(connection, [table, *own.tables.values()])
            if table in self.missing_tables:
                return {column.name: column.type for column in table.c}
            self._check(connection, table)
            if changes_table not in self.missing_tables:
                changes.check(connection, table, model, told)
            return check_columns(connection, table, model, self.dialect, True, self.missing_tables.fills)

    def _word(self) -> None:
        """Find out how it has statements written, once a connection has told."""
        self.dialect.compilers(self.sql)
        self.wording = Wording.of(self.dialect, self.sql)

    def _create(
        self, connection: sa.Connection, table: sa.Table, model: str, told: changes.Told, *metadata: sa.MetaData
    ) -> None:
        is_of_now = layout.refuse_later(connection, self)
        try:
            create_tables(connection, metadata, self.dialect, self.wording, table)
            changes.gain(connection, table, model, told, self.dialect)
            if not is_of_now:
                gain_later(connection, self.dialect)
        except sa.exc.DBAPIError as error:
            connection.rollback()
            there = self.dialect.is_forbidden(error.orig) and sa.inspect(connection).has_table(table.name, table.schema)
            if not there:
                raise
            raise ReadOnlyError(f"{self} cannot be written: {error.orig}") from error

    def _check(self, connection: sa.Connection, table: sa.Table) -> None:
        fault = self.dialect.table_fault(connection, table)
        if fault is not None:
            raise StoreError(f"the table {table.name!r} in {self} {fault}")

    def _explained(self, action: Callable[[], T]) -> T:
        """Do what opens the database, and say what its errors mean."""
        try:
            return self.persist(action)
        except (sa.exc.DBAPIError, self.driver_error, OSError) as error:
            if isinstance(error, StoreError):
                raise
            reason = getattr(error, "orig", None) or error
            if self.dialect.trouble(reason) is not None:
                raise self.locked() from error
            cause = reason.with_traceback(None)  # how SQLAlchemy connects, in a hundred lines, helps nobody
            raise StoreError(f"{self} {self.dialect.advice(reason)}") from cause

    def persist(self, action: Callable[[], T]) -> T:
        """Repeat what goes through SQLAlchemy's engine while trouble may pass."""

        def once() -> T:
            try:
                return action()
            except (sa.exc.DBAPIError, self.driver_error) as error:
                self._raise_interrupted(error)
                raise

        if not self.dialect.one_writer:
            return self.connection().persist(once)
        deadline = time.monotonic() + self.wait
        while True:
            try:
                return self.dialect.read_steadily(once)
            except (sa.exc.DBAPIError, self.driver_error) as error:
                reason = getattr(error, "orig", None) or error
                if self.dialect.trouble(reason) is None or time.monotonic() > deadline:
                    raise
                time.sleep(0.002)

    def check_id(self, id: str) -> None:
        """Refuse an id that this database cannot hold.

        Raises
        ------
        ParameterError
            Before anything runs.
        """
        refusal = self.dialect.refuses_id(id)
        length = None if self.dialect.one_writer else getattr(self.types["id"], "length", None)
        if length is not None:  # in a table that was made by somebody else
            refusal = refusal or too_long(id, length)
        if refusal is not None:
            raise ParameterError(f"the id {id[:40]!r}{'...' * (len(id) > 40)} cannot be stored here: {refusal}")

    def told(self) -> dict[str, object]:
        """Return how a process that has nothing else of this changes something here, as plain data.

        The module of the driver, the arguments of its `connect`, and the statements around those that change.
        """
        names, arguments = self.sql.create_connect_args(self.url)
        arguments |= self.dialect.options().get("connect_args", {})
        plain = {name: value for name, value in arguments.items() if isinstance(value, str | int | float | dict)}
        return self.dialect.told(self.sql.driver, [str(name) for name in names], plain)

    @property
    def address(self) -> str:
        """The URL that opens this database again, from any working directory; with its password, unless withheld."""
        url = self.url.update_query_dict({"timeout": f"{self.wait:g}"})
        return for_pickle(url).render_as_string(hide_password=False)
