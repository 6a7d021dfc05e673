"""PostgreSQL, through psycopg 3: rows are locked one by one, in READ COMMITTED."""

import contextlib
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import psycopg
import psycopg.types.json
import sqlalchemy as sa
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import TextLoader
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from entropic.db.dialects.portable import SILENCE, TOGETHER, Condition, Dialect, Trouble, quoted, too_long
from entropic.db.dialects.sqlite import on_conflict
from entropic.db.dialects.types import ColumnType, Processor, is_exact_type, is_indexed, strict_json, then, underlying
from entropic.support.compact_json import compact, load_json

_AGAIN = {"40001", "40P01"}  # serialisation, deadlock
_FORBIDDEN = {"42501", "25006"}  # no privilege; a server, or a transaction, that is read-only
_BUSY = "55P03"  # a lock was waited for
_A_MOMENT = 200  # ms, for which a table that is to be changed is waited for at a time
_LOST = {
    "57P01",
    "57P02",
    "57P03",
    "57P05",
    "53300",
}  # shut down, crashed, starting up, idle for long, too many clients
_NUMERIC, _FLOAT8 = 1700, 701  # the types of results, as the catalogue numbers them
_IDLE = "120s"  # a session that says nothing for so long is ended: our process may be stuck in C code, or stopped

_DIGITS = 300  # of a number in JSON; more do not fit into a float, and one that does not fails the query


class _Types(PGTypeCompiler):
    """Whole numbers of 64 bits, as SQLite has them."""

    def visit_INTEGER(self, type_: object, **given: object) -> str:
        return "BIGINT"


class PostgreSQL(Dialect):
    """PostgreSQL 15 and later."""

    now = sa.literal_column("extract(epoch from clock_timestamp())::float8", sa.Float)  # now() is the transaction's
    columns = 1_600  # what PostgreSQL takes
    key_counts = (5_000,)  # one array, of any length up to this
    bindable = (type(None), int, float, str, bytes, Decimal, datetime, date, time, timedelta, UUID)
    usual: Mapping[type, Callable[[Any], bool]] = {str: lambda value: value.isascii() and "\0" not in value}
    most_id = "2,500 bytes"

    def options(self) -> dict[str, object]:
        """Return what `create_engine` is given."""
        connect = {"connect_timeout": max(2, min(10, int(self.wait)))}
        return {"paramstyle": "format", "json_deserializer": None, "connect_args": connect}

    def configure(self, raw: DBAPIConnection) -> None:
        """Let the server refuse all changes, if none are wanted."""
        if self.read_only:
            raw.autocommit = True
            raw.execute("SET default_transaction_read_only = on")
            raw.autocommit = False

    def listen(self, engine: sa.Engine) -> None:
        """Let the engine make connections that do not wait for ever."""

        def connect(dialect: object, record: object, given: Any, options: Any) -> Any:
            return _Connection.connect(*given, **options)

        sa.event.listen(engine, "do_connect", connect)

    def configure_own(self, raw: DBAPIConnection) -> None:
        """Make a driver connection ours: JSON stays text, and no statement is prepared, since that gains nothing."""
        raw.autocommit = True
        raw.prepare_threshold = None
        raw.adapters.register_loader("json", TextLoader)
        raw.adapters.register_loader("jsonb", TextLoader)
        raw.adapters.register_dumper(int, Int8Dumper)  # else each size of number makes a statement of its own
        raw.silence = self.wait + SILENCE
        raw.execute(
            f"SET idle_session_timeout = '{_IDLE}'; SET idle_in_transaction_session_timeout = '{_IDLE}'; "
            f"SET lock_timeout = {max(1, round(self.wait * 1000))}"
        )

    def compilers(self, dialect: sa.Dialect) -> None:
        """Change what SQLAlchemy makes of types in a table that is to be created."""
        dialect.type_compiler_instance = _Types(dialect)

    def check(self, engine: sa.Engine) -> None:
        """Every PostgreSQL that psycopg connects to will do."""

    @contextlib.contextmanager
    def exclusively(self, connection: sa.Connection) -> Iterator[None]:
        """Do in one transaction what only one process does at a time, such as creating tables."""
        with connection.begin():
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(zlib.crc32(b"entropic"))))
            yield

    def execute_all(self, connection: sa.Connection, statements: Sequence[str]) -> None:
        """Execute statements that have no values and no results, in one round trip."""
        if statements:
            connection.exec_driver_sql(";".join(statements), execution_options={"no_parameters": True})

    def alter(self, connection: sa.Connection, sql: str) -> None:
        """Change a table; who waits for it keeps all others waiting behind, so it is a moment at a time."""
        deadline = monotonic() + self.wait
        while True:
            try:
                with connection.begin_nested():
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_A_MOMENT}")
                    connection.exec_driver_sql(sql)
                return
            except sa.exc.DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _BUSY or monotonic() > deadline:
                    raise
            sleep(_A_MOMENT / 1000)

    def renaming(self, column: sa.Column[Any], names: tuple[str, str], there: object, dialect: sa.Dialect) -> str:
        """Return the SQL that renames a member: of the type itself, if the column is of one."""
        if not isinstance(there, sa.Enum) or names[1] in there.enums:
            return super().renaming(column, names, there, dialect)
        old, new = (quoted(name, dialect) for name in names)
        return f"ALTER TYPE {_type_name(there, dialect)} RENAME VALUE {old} TO {new}"

    def widening(self, column: sa.Column[Any], member: str, there: sa.Enum, dialect: sa.Dialect) -> str:
        """Return the SQL that adds a member to a type."""
        return f"ALTER TYPE {_type_name(there, dialect)} ADD VALUE {quoted(member, dialect)}"

    def bytes_literal(self, value: bytes) -> str:
        """Return bytes as SQL has them."""
        return f"'\\x{value.hex()}'"

    # ---- looking only --------------------------------------------------------------------------------------------
    def forbids(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> str | None:
        """Ask the server, which says so also if it is a standby that only follows another."""
        names = [connection.dialect.identifier_preparer.format_table(table) for table in tables]
        allowed = [sa.func.has_table_privilege(name, kind) for name in names for kind in ("INSERT", "UPDATE")]
        read_only = sa.func.current_setting("transaction_read_only") == "on"
        says_so, may = connection.execute(sa.select(read_only, sa.and_(*allowed))).one()
        if says_so:
            return "its server allows only reading"
        return None if may else f"the user {self.url.username!r} may not write its tables"

    def is_forbidden(self, error: object) -> bool:
        """Tell whether an error of the driver says that this user may not change anything."""
        return getattr(error, "sqlstate", None) in _FORBIDDEN

    def null(self, kind: ColumnType) -> sa.ColumnElement[Any]:
        """Return the NULL of a type: one without a type would be text, which is not compared with a number."""
        found = underlying(kind)
        return sa.cast(sa.null(), sa.String() if isinstance(found, sa.Enum) else found)  # its table would make the type

    def constant(self, value: object, kind: ColumnType, dialect: sa.Dialect) -> sa.ColumnElement[Any]:
        """Return a value as a column of a query: a number alone would be read as a decimal."""
        found = underlying(kind)
        made: sa.ColumnElement[Any] = sa.literal_column(self.in_column(value, kind, dialect))
        return sa.cast(made, sa.String() if isinstance(found, sa.Enum) else found)

    def schema_of(self, connection: sa.Connection, table: sa.Table) -> str | None:
        """Return the schema on the search path in which a table is found that names none."""
        found = "SELECT nspname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE pg_class.oid ="
        name = connection.dialect.identifier_preparer.format_table(table)
        return str(connection.scalar(sa.text(f"{found} to_regclass(:name)"), {"name": name}))

    # ---- trouble -----------------------------------------------------------------------------------------------
    def trouble(self, error: BaseException) -> Trouble:
        """Tell what an error of the driver means."""
        if not isinstance(error, psycopg.Error):
            return None
        if error.sqlstate in _AGAIN or (
            isinstance(error, psycopg.errors.UniqueViolation) and error.diag.constraint_name == "entropic_ledger_path"
        ):
            return "again"  # with the path: another model has taken it just now, and is seen when we look again
        if error.sqlstate == _BUSY:
            return "busy"
        if error.diag.source_function == "RevalidateCachedQuery":
            return "lost"  # a column has got another type since a statement was prepared; a new session knows it
        if error.sqlstate is not None:
            return "lost" if error.sqlstate in _LOST or error.sqlstate.startswith("08") else None
        if isinstance(error, psycopg.errors.ConnectionTimeout):
            return "lost"
        fatal = "password" in str(error) or "no pg_hba" in str(error) or "does not exist" in str(error)
        broken = isinstance(error, psycopg.OperationalError) and not fatal and "resolve host" not in str(error)
        return "lost" if broken else None

    # ---- statements --------------------------------------------------------------------------------------------
    def execute(self, cursor: Any, sql: str, values: Sequence[object], begin: bool) -> None:
        """Execute a statement in one round trip, also if it begins a transaction."""
        if not begin:
            cursor.execute(sql, values)
            return
        with cursor.connection.pipeline():
            cursor.execute(self.begin)
            cursor.execute(sql, values)

    def execute_many(self, cursor: DBAPICursor, sql: str, values: Sequence[Sequence[object]]) -> int:
        """Execute a statement once for each set of values, without waiting in between."""
        cursor.executemany(sql, values)
        changed: int = cursor.rowcount
        return changed

    def pages(self, raw: Any, cursor: Any, sql: str, values: Sequence[object]) -> Generator[list[Any], None, None]:
        """Yield the rows of a query, some at a time, from a cursor of the server, which all of them are asked of."""
        with cursor.connection.pipeline():
            cursor.execute(self.begin)
            cursor.execute("SET LOCAL cursor_tuple_fraction = 1")
            cursor.execute(f"DECLARE entropic_rows NO SCROLL CURSOR FOR {sql}", values)
        while page := cursor.execute(f"FETCH {TOGETHER} FROM entropic_rows").fetchall():
            yield page
        cursor.execute("COMMIT")

    def insert_new(self, table: sa.Table, values: Mapping[str, object]) -> sa.Insert:
        """Return the statement that inserts a row unless one with its key, or another unique value of it, exists."""
        return postgresql.insert(table).values(dict(values)).on_conflict_do_nothing()

    def upserts(self, table: sa.Table, columns: Sequence[str]) -> list[object]:
        """Return the statement that inserts or overwrites a row."""
        return [on_conflict(postgresql.insert, table, columns)]

    def one_of(self, column: sa.ColumnElement[Any], count: int) -> Condition:
        """Return the condition that a column is one of some keys, given as one array."""
        keys = sa.bindparam("keys", type_=postgresql.ARRAY(sa.String))
        return column == sa.func.any(keys), lambda given: {"keys": list(given)}

    def json_name(self, name: str, within: bool) -> str:
        """Return a name as it is, alone, or quoted as a member of an array, which a path is."""
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' if within else name

    def json_is(self, part: Any, kind: str) -> sa.ColumnElement[bool]:
        """Return the condition that a part of JSON is a number, text or a boolean."""
        whole = sa.cast(_part_as(part, sa.JSON()), sa.JSON)  # the column may be JSONB
        is_it = sa.func.json_typeof(whole) == {"text": "string"}.get(kind, kind)
        if kind != "number":
            return is_it
        return sa.and_(is_it, sa.func.length(sa.cast(whole, sa.Text)) < _DIGITS)

    def json_number(self, part: sa.BinaryExpression[Any]) -> sa.ColumnElement[Any]:
        """Return a part of JSON that is a number as the type that was asked for; whole numbers as others cut them."""
        return sa.func.trunc(_part_as(part, sa.Numeric())) if isinstance(part.type, sa.Integer) else part

    # ---- values ------------------------------------------------------------------------------------------------
    def bind_processor(self, kind: ColumnType, dialect: sa.Dialect, there: ColumnType | None = None) -> Processor:
        """Return what turns a Python value of a type into the driver's; `there` is the type that the table has."""
        base = underlying(kind)
        if isinstance(base, sa.JSON | sa.LargeBinary):
            return then(kind.bind_processor(dialect), _unwrapped)
        if isinstance(base, sa.DateTime | sa.Time) and base.timezone:
            return then(kind.bind_processor(dialect), _with_zone)
        if isinstance(base, sa.Numeric) and not isinstance(base, sa.Float) and not isinstance(there, sa.Float):
            return then(kind.bind_processor(dialect), _decimal)  # SQLAlchemy 2.0 makes a Numeric of a Float, too
        return super().bind_processor(kind, dialect, there)

    def result_processor(self, kind: ColumnType, dialect: sa.Dialect, there: object) -> Processor:
        """Return what turns the driver's value of a type into Python's."""
        base = underlying(kind)
        brought = None
        if isinstance(base, sa.Float | sa.Numeric):  # they ask what the driver brings
            brought = _FLOAT8 if isinstance(there, sa.Float) else _NUMERIC
        found: Processor = kind.result_processor(dialect, brought)
        return then(load_json, found or _same) if isinstance(base, sa.JSON) else found

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        """What the driver raises, beside the usual, for a row that breaks a rule: text too long for an index."""
        return (psycopg.errors.ProgramLimitExceeded,)

    def refuses(self, value: object) -> str | None:
        """PostgreSQL has no text with a NUL in it."""
        return "PostgreSQL cannot hold text with a NUL character" if isinstance(value, str) and "\0" in value else None

    def refuses_id(self, id: str) -> str | None:
        """Return why an id cannot be a key: an index takes 2,700 bytes, of which the model's name needs some."""
        return self.refuses(id) or too_long(id.encode(), 2_500, "bytes")

    def is_exact(self, column: sa.Column[Any], found: object) -> bool:
        """Tell whether a column of the type that was found holds whatever its Python type takes."""
        wanted = underlying(column.type)
        if isinstance(found, sa.DateTime | sa.Time):
            if not isinstance(wanted, sa.DateTime if isinstance(found, sa.DateTime) else sa.Time):
                return False
            return getattr(found, "precision", None) in (None, 6) and found.timezone == wanted.timezone
        if isinstance(found, postgresql.INTERVAL):
            return isinstance(wanted, sa.Interval) and found.precision in (None, 6)
        if isinstance(found, sa.String) and not isinstance(found, sa.Enum):
            return isinstance(wanted, sa.String) and found.length is None and not is_indexed(column)
        if isinstance(found, sa.LargeBinary):
            return isinstance(wanted, sa.LargeBinary)
        if isinstance(found, sa.Numeric) and not isinstance(found, sa.Float):
            return isinstance(wanted, sa.Numeric) and found.precision is None
        return is_exact_type(column, found)


class _Connection(psycopg.Connection[Any]):
    """A connection that gives up a server which does not answer: psycopg itself would wait for ever."""

    silence = 30.0  # s

    def wait(self, gen: Any, *given: Any, **options: Any) -> Any:
        """Wait as psycopg does, but for so long only."""
        return super().wait(self._limited(gen), *given, **options)

    def _limited(self, gen: Any) -> Any:
        deadline = monotonic() + self.silence
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and monotonic() > deadline:
                    raise psycopg.OperationalError(f"no answer for {self.silence:g} s")
                state = gen.send(ready)
        except StopIteration as end:
            return end.value


def _type_name(kind: sa.Enum, dialect: sa.Dialect) -> str:
    """Return the name of a type, with that of its schema, if it is not looked in by itself."""
    preparer: Any = dialect.identifier_preparer
    return str(preparer.format_type(kind))


def _part_as(part: sa.BinaryExpression[Any], kind: ColumnType) -> sa.BinaryExpression[Any]:
    """Return a part of JSON as another type than was asked for."""
    return sa.BinaryExpression(part.left, part.right, part.operator, type_=kind)


def _same(value: object) -> object:
    return value


def _unwrapped(value: object) -> object:
    """Return what a sidecar can keep of what SQLAlchemy wraps for psycopg."""
    if isinstance(value, psycopg.types.json.Json):
        return strict_json(compact(value.obj))
    return value.obj if isinstance(value, psycopg.Binary) else value


def _decimal(value: object) -> object:
    """Return a float for a column of decimals: the server itself would keep 15 of its digits."""
    return Decimal(repr(value)) if isinstance(value, float) else value


def _with_zone(value: Any) -> object:
    if value is not None and value.utcoffset() is None:
        raise ValueError("the column holds times with a zone, and this has none; give it one, such as UTC")
    return value
