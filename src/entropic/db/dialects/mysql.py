"""MariaDB and MySQL, through PyMySQL: InnoDB, READ COMMITTED, and text that is compared to the letter."""

import contextlib
import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import pymysql
import sqlalchemy as sa
from pymysql.constants import CLIENT
from pymysql.cursors import SSCursor
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql.base import MySQLTypeCompiler
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from entropic.db.dialects.portable import SILENCE, TOGETHER, Dialect, Trouble, too_long
from entropic.db.dialects.types import ColumnType, Processor, is_exact_type, is_indexed, then, underlying
from entropic.errors import StoreError

_AGAIN = {1020, 1213, 1684}  # changed since it was read, deadlock, being made or altered by others
_FORBIDDEN = {(1142,), (1143,), (1290,), (1792,), (1836,)}  # no privilege; a server or session that is read-only
_BUSY = 1205  # a lock was waited for
# Too many connections, shutting down, killed, gone away, lost, not to be reached.
_LOST = {1040, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226, 1927, 2002, 2003, 2006, 2013, 2014, 2055}
_KEY = 700  # characters of an id: four bytes each, beside the model's name, are what an index of InnoDB takes
_PIECE = 1_000_000  # characters of statements sent together; a server takes 16 MB and more by default
_IDLE = 120  # s; a session that says nothing for so long is ended: our process may be stuck in C code, or stopped

_NUMBERS = ["INTEGER", "UNSIGNED INTEGER", "DOUBLE", "DECIMAL"]
_JSON = {"number": _NUMBERS, "text": ["STRING"], "boolean": ["BOOLEAN"]}  # as `json_type` calls them


def _collation(dialect: sa.Dialect) -> str:
    """Return what compares texts to the letter."""
    return "utf8mb4_nopad_bin" if dialect.is_mariadb else "utf8mb4_0900_bin"  # type: ignore[attr-defined]


class _Types(MySQLTypeCompiler):
    """Types that hold what Python's do: text of any length and to the letter, 64 bits, microseconds."""

    collation = ""

    def _text(self, type_: sa.String) -> str:
        return "" if type_.collation or getattr(type_, "charset", None) else self.collation

    def visit_VARCHAR(self, type_: Any, **given: object) -> str:
        column = given.get("type_expression")
        if type_.length:
            return str(super().visit_VARCHAR(type_, **given)) + self._text(type_)
        if isinstance(column, sa.Column) and is_indexed(column):
            return f"VARCHAR({_KEY})" + self._text(type_)
        return "LONGTEXT" + self._text(type_)

    def visit_TEXT(self, type_: Any, **given: object) -> str:
        return "LONGTEXT" + self._text(type_) if type_.length is None else str(super().visit_TEXT(type_, **given))

    def visit_enum(self, type_: Any, **given: object) -> str:
        made = str(super().visit_enum(type_, **given))
        return made + self._text(type_) if type_.native_enum else made  # else it is a VARCHAR, which has it

    def visit_INTEGER(self, type_: object, **given: object) -> str:
        return "BIGINT"

    def visit_FLOAT(self, type_: Any, **given: object) -> str:
        return "DOUBLE" if getattr(type_, "precision", None) is None else str(super().visit_FLOAT(type_, **given))

    def visit_NUMERIC(self, type_: Any, **given: object) -> str:
        return "DECIMAL(65, 30)" if type_.precision is None else str(super().visit_NUMERIC(type_, **given))

    def visit_DECIMAL(self, type_: Any, **given: object) -> str:
        return "DECIMAL(65, 30)" if type_.precision is None else str(super().visit_DECIMAL(type_, **given))

    def visit_DATETIME(self, type_: Any, **given: object) -> str:
        return "DATETIME(6)" if getattr(type_, "fsp", None) is None else str(super().visit_DATETIME(type_, **given))

    def visit_TIME(self, type_: Any, **given: object) -> str:
        return "TIME(6)" if getattr(type_, "fsp", None) is None else str(super().visit_TIME(type_, **given))

    def visit_BLOB(self, type_: object, **given: object) -> str:
        return "LONGBLOB"

    def visit_large_binary(self, type_: object, **given: object) -> str:
        return "LONGBLOB"


class MySQL(Dialect):
    """MariaDB 10.11 and later, MySQL 8."""

    now = sa.literal_column("(unix_timestamp(sysdate(6)) + 0e0)", sa.Float)  # now() is the statement's begin
    makes_at_once = True
    columns = 1_017  # what InnoDB takes
    key_counts = (20, 500, 5_000)
    bindable = (type(None), int, float, str, bytes, Decimal, datetime, date, time, timedelta)
    usual: Mapping[type, Callable[[Any], bool]] = {float: math.isfinite}

    def options(self) -> dict[str, object]:
        """Return what `create_engine` is given."""
        connect = {
            "charset": "utf8mb4",
            "binary_prefix": True,
            "client_flag": CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
            "connect_timeout": max(1, min(10, int(self.wait))),
            "read_timeout": self.wait + SILENCE,
            "write_timeout": self.wait + SILENCE,
            # No gap locks and no stale snapshots; times are UTC; what does not fit is an error.
            "init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET time_zone = '+00:00', "
            f"sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), wait_timeout = {_IDLE}, "
            f"innodb_lock_wait_timeout = {max(1, round(self.wait))}, lock_wait_timeout = {max(1, round(self.wait))}"
            + ("; SET SESSION TRANSACTION READ ONLY" if self.read_only else ""),
        }
        if self.url.host in ("localhost", "127.0.0.1", "::1") and not any("ssl" in name for name in self.url.query):
            connect["ssl_disabled"] = True  # on one machine; else the driver reads all certificates at each connect
        return {"paramstyle": "format", "connect_args": connect}

    def configure_own(self, raw: DBAPIConnection) -> None:
        """Prepare a driver connection for being ours: transactions begin and end where we say so."""
        raw.autocommit(True)

    def end(self, raw: Any) -> None:
        """Close a driver connection of ours, also if an interrupt has come in the middle of that before."""
        if raw.open:
            try:
                raw.close()
            except pymysql.err.Error:  # closed already, so it says; but an interrupt has left the socket open
                raw._force_close()

    def compilers(self, dialect: sa.Dialect) -> None:
        """Change what SQLAlchemy makes of types in a table that is to be created."""
        types = dialect.type_compiler_instance = _Types(dialect)
        types.collation = f" CHARACTER SET utf8mb4 COLLATE {_collation(dialect)}"

    def check(self, engine: sa.Engine) -> None:
        """Refuse servers that are too old."""
        version: Any = engine.dialect.server_version_info
        mariadb: bool = engine.dialect.is_mariadb  # type: ignore[attr-defined]
        if version < ((10, 5) if mariadb else (8, 0, 17)):
            kind = "MariaDB" if mariadb else "MySQL"
            raise StoreError(
                f"this is {kind} {'.'.join(map(str, version))}; a store needs MariaDB 10.5 or MySQL 8.0.17, or newer"
            )

    @contextlib.contextmanager
    def exclusively(self, connection: sa.Connection) -> Iterator[None]:
        """Do in one transaction, but for creating tables, what only one process does at a time."""
        got = connection.scalar(sa.select(sa.func.get_lock(f"entropic {self.url.database}"[:60], self.wait)))
        try:
            if not got:
                raise StoreError(
                    f"another program has been creating tables in {self.url} for {self.wait:g} s; call again later"
                )
            yield
            connection.commit()
        finally:
            connection.execute(sa.select(sa.func.release_lock(f"entropic {self.url.database}"[:60])))

    def alter(self, connection: sa.Connection, sql: str) -> None:
        """Change a table; who waits for it keeps all others waiting behind, so it is a second at a time."""
        deadline = monotonic() + self.wait
        before = connection.scalar(sa.text("SELECT @@SESSION.lock_wait_timeout"))
        connection.exec_driver_sql("SET SESSION lock_wait_timeout = 1")
        try:
            while True:
                try:
                    connection.exec_driver_sql(sql)
                    return
                except sa.exc.DBAPIError as error:
                    if self.trouble(error.orig) != "busy" or monotonic() > deadline:  # type: ignore[arg-type]
                        raise
                sleep(0.2)
        finally:
            connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {before}")

    def retyping(self, column: sa.Column[Any], declared: str, dialect: sa.Dialect) -> str:
        """Return what `ALTER TABLE` does to give a column the type of its model: all that it is is said again."""
        return f"MODIFY COLUMN {declared}"

    def renaming(self, column: sa.Column[Any], names: tuple[str, str], there: object, dialect: sa.Dialect) -> str:
        """Return the SQL that renames a member; a column of an enumeration has to take the new name first."""
        update = super().renaming(column, names, there, dialect)
        if not isinstance(there, sa.Enum) or names[1] in there.enums:
            return update
        return f"{self.widening(column, names[1], there, dialect)}; {update}"

    def widening(self, column: sa.Column[Any], member: str, there: sa.Enum, dialect: sa.Dialect) -> str:
        """Return the SQL that gives a column one more member: all that it is is said again."""
        like = column.table.to_metadata(sa.MetaData()).c[column.name]
        like.type = sa.Enum(*there.enums, member)
        declared = str(sa.schema.CreateColumn(like).compile(dialect=dialect)).strip()
        return f"ALTER TABLE {dialect.identifier_preparer.format_table(column.table)} MODIFY COLUMN {declared}"

    def literal(self, value: object, kind: ColumnType, dialect: Any) -> str:
        """Return a value as SQL has it; MySQL takes as the default of a long text only an expression."""
        found = super().literal(value, kind, dialect)
        return found if dialect.is_mariadb else f"({found})"

    def constant(self, value: object, kind: ColumnType, dialect: sa.Dialect) -> sa.ColumnElement[Any]:
        """Return a value as a column of a query: as it stands there it would be a decimal, or a text of any case."""
        bound, told = self.stored(value, kind, dialect), self.in_column(value, kind, dialect)
        if isinstance(bound, float):
            told = f"({told} + 0e0)"
        elif isinstance(bound, datetime):
            told = f"CAST({told} AS DATETIME(6))"
        elif isinstance(bound, date):
            told = f"CAST({told} AS DATE)"
        elif isinstance(bound, str):
            told = f"(CONVERT({told} USING utf8mb4) COLLATE {_collation(dialect)})"
        return sa.literal_column(told, kind)

    def table_fault(self, connection: sa.Connection, table: sa.Table) -> str | None:
        """Tables need transactions, and ids that are compared to the letter."""
        found = connection.execute(
            sa.text(
                "SELECT t.engine, c.collation_name FROM information_schema.tables t JOIN information_schema.columns c "
                "USING (table_schema, table_name) WHERE t.table_schema = coalesce(:schema, database()) "
                "AND t.table_name = :name AND c.column_name = 'id'"
            ),
            {"schema": table.schema, "name": table.name},
        ).first()
        if found is not None and str(found[0]).lower() != "innodb":
            return f"uses the engine {found[0]}, which has no transactions; run ALTER TABLE {table.name} ENGINE=InnoDB"
        if found is not None and not str(found[1]).endswith(("_nopad_bin", "_0900_bin")):  # others ignore last spaces
            return (
                f"compares ids by {found[1]}, which takes different ids for the same; make id a column with COLLATE "
                "utf8mb4_nopad_bin (MariaDB) or utf8mb4_0900_bin (MySQL)"
            )
        return None

    # ---- looking only --------------------------------------------------------------------------------------------
    def forbids(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> str | None:
        """Try to change no row: what a user may do, by roles and patterns of names, only the server can tell."""
        for table in tables:
            try:
                connection.execute(sa.update(table).values({"id": table.c.id}).where(sa.false()))
            except sa.exc.DBAPIError as error:
                if self.is_forbidden(error.orig):
                    return str(error.orig.args[1] if error.orig and len(error.orig.args) > 1 else error.orig)
                raise
        return None

    def is_forbidden(self, error: object) -> bool:
        """Tell whether an error of the driver says that this user may not change anything."""
        return isinstance(error, pymysql.err.MySQLError) and error.args[:1] in _FORBIDDEN

    # ---- trouble -----------------------------------------------------------------------------------------------
    def trouble(self, error: BaseException) -> Trouble:
        """Tell what an error of the driver means."""
        if not isinstance(error, pymysql.err.MySQLError) or not error.args:
            return None
        code = error.args[0]
        if isinstance(error, pymysql.err.InterfaceError) and code == 0:
            return "lost"  # the connection was closed before
        if code in _LOST:
            unknown = code in (2002, 2003) and "not known" in str(error)  # no such host
            return None if unknown else "lost"
        if code == 1062 and "entropic_ledger_path" in str(error):
            return "again"  # another model has taken the path just now, and is seen when we look again
        if code == _BUSY:
            return "busy"
        return "again" if code in _AGAIN else None

    # ---- statements --------------------------------------------------------------------------------------------
    def execute(self, cursor: DBAPICursor, sql: str, values: Sequence[object], begin: bool) -> None:
        """Execute a statement, with the begin of its transaction in the same round trip."""
        if begin:
            cursor.execute(f"{self.begin};{cursor.mogrify(sql, values)}")
            cursor.nextset()
        else:
            cursor.execute(sql, values)

    def execute_many(self, cursor: DBAPICursor, sql: str, values: Sequence[Sequence[object]]) -> int:
        """Execute a statement once for each set of values, many in one round trip."""
        changed, piece, size = 0, list[str](), 0
        for one in values:
            piece.append(cursor.mogrify(sql, one))
            size += len(piece[-1])
            if size > _PIECE:
                changed += _together(cursor, piece)
                piece, size = [], 0
        return changed + (_together(cursor, piece) if piece else 0)

    def pages(self, raw: Any, cursor: Any, sql: str, values: Sequence[object]) -> Generator[list[Any], None, None]:
        """Yield the rows of a query, some at a time, by a cursor that leaves the others with the server."""
        rows = raw.cursor(SSCursor)
        try:
            rows.execute(sql, values)
            while page := rows.fetchmany(TOGETHER):
                yield page
            rows.close()
        except BaseException:
            for result in (rows._result, raw._result):
                if result is not None:
                    result.unbuffered_active = False  # else it would read the rest, even of a connection that is closed
            rows.connection = None
            raise

    def insert_new(self, table: sa.Table, values: Mapping[str, object]) -> sa.Insert:
        """Return the statement that inserts a row unless one with its key, or another unique value of it, exists."""
        return sa.insert(table).values(dict(values)).prefix_with("IGNORE")

    def ensure(self, table: sa.Table, values: Mapping[str, object]) -> sa.Insert:
        """Return the statement that makes sure that there is a row, and locks it at once.

        `IGNORE` would take a shared lock on a row that is there, and two who then want it for themselves a deadlock.
        """
        key = table.primary_key.columns.keys()[-1]
        statement = mysql.insert(table).values(dict(values))
        return statement.on_duplicate_key_update({key: statement.inserted[key]})

    def upserts(self, table: sa.Table, columns: Sequence[str]) -> list[object]:
        """Return the statements that insert or overwrite a row.

        `ON DUPLICATE KEY UPDATE` would overwrite the row of another id that has the same unique value.
        """
        if is_unique(table):
            return super().upserts(table, columns)
        statement = mysql.insert(table).values({name: sa.bindparam(f"v_{name}") for name in columns})
        return [statement.on_duplicate_key_update({n: statement.inserted[n] for n in columns if n != "id"})]

    def json_name(self, name: str, within: bool) -> str:
        """Return a name as it is stored, with all but ASCII escaped: MariaDB compares it so."""
        return json.dumps(name)[1:-1]

    def json_is(self, part: Any, kind: str) -> sa.ColumnElement[bool]:
        """Return the condition that a part of JSON is a number, text or a boolean."""
        return sa.func.json_type(sa.func.json_extract(part.left, part.right)).in_(_JSON[kind])

    def json_equals(self, part: Any, text: str) -> sa.ColumnElement[bool]:
        """Return the condition that a part of JSON is this text, with its last spaces, which collations pass over."""
        return sa.and_(self.json_is(part, "text"), sa.cast(part.as_string(), sa.LargeBinary) == text.encode())

    # ---- values ------------------------------------------------------------------------------------------------
    def bind_processor(self, kind: ColumnType, dialect: sa.Dialect, there: ColumnType | None = None) -> Processor:
        """Return what turns a Python value of a type into the driver's; `there` is the type that the table has."""
        found = super().bind_processor(kind, dialect, there)
        return then(found, _hyphenated if _has_hyphens(there) else _bare) if _is_uuid(kind) else found

    def result_processor(self, kind: ColumnType, dialect: sa.Dialect, there: object) -> Processor:
        """Return what turns the driver's value of a type, or what we gave it, into Python's."""
        found = super().result_processor(kind, dialect, there)
        if found is None and isinstance(kind, sa.Numeric) and isinstance(there, sa.Float):
            return lambda value: None if value is None else Decimal(repr(value))
        if found is None and isinstance(kind, sa.Uuid) and kind.as_uuid:  # the driver does not know it
            return lambda value: None if value is None else UUID(value)
        if found is not None and isinstance(kind, sa.Time):  # the driver brings a duration
            return lambda value: value if isinstance(value, time) else found(value)
        return found

    def refuses(self, value: object) -> str | None:
        """MariaDB and MySQL have neither NaN nor infinity."""
        if isinstance(value, float) and not math.isfinite(value):
            return "MariaDB and MySQL have neither NaN nor infinity; pass None or a number"
        return None

    def refuses_id(self, id: str) -> str | None:
        """Return why an id cannot be a key."""
        return too_long(id, _KEY)

    def is_exact(self, column: sa.Column[Any], found: object) -> bool:
        """Tell whether a column of the type that was found holds whatever its Python type takes."""
        wanted = underlying(column.type)
        if isinstance(found, mysql.DATETIME | mysql.TIME):
            kind = sa.DateTime if isinstance(found, mysql.DATETIME) else sa.Time
            return found.fsp == 6 and isinstance(wanted, kind)
        if isinstance(found, mysql.TINYINT):
            return isinstance(wanted, sa.Boolean)
        if isinstance(found, mysql.LONGTEXT):
            return isinstance(wanted, sa.JSON) or (
                isinstance(wanted, sa.String) and str(found.collation).startswith("utf8mb4")
            )
        if isinstance(found, mysql.LONGBLOB):
            return isinstance(wanted, sa.LargeBinary)
        if isinstance(found, sa.CHAR):
            return isinstance(wanted, sa.Uuid) and found.length in (32, 36)
        return not getattr(found, "unsigned", False) and is_exact_type(column, found)


def _is_uuid(kind: Any) -> bool:
    return isinstance(underlying(kind), sa.Uuid)


def _has_hyphens(there: Any) -> bool:
    """Tell how a column keeps a UUID: SQLAlchemy 2.0 makes a CHAR(32) on MariaDB, 2.1 a UUID, somebody a CHAR(36).

    A UUID is compared with either.
    """
    return isinstance(there, sa.Uuid) or (isinstance(there, sa.String) and (there.length or 36) >= 36)


def _bare(value: Any) -> Any:
    return None if value is None else str(value).replace("-", "")


def _hyphenated(value: Any) -> Any:
    bare = _bare(value)
    if bare is None or len(bare) != 32:
        return value
    return "-".join((bare[:8], bare[8:12], bare[12:16], bare[16:20], bare[20:]))


def is_unique(table: sa.Table) -> bool:
    """Tell whether a table has unique values beside its primary key."""
    return any(index.unique for index in table.indexes) or any(
        isinstance(one, sa.UniqueConstraint) for one in table.constraints
    )


def _together(cursor: DBAPICursor, statements: list[str]) -> int:
    cursor.execute(";".join(statements))
    changed: int = cursor.rowcount
    while cursor.nextset():
        changed += cursor.rowcount
    return changed
