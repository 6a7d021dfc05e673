"""The database that nothing is known of: standard SQL through SQLAlchemy, and the base of those that are known.

Everything here is asked of every database; what a class below leaves as it is, holds for it too.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from entropic.db.dialects.types import (
    ColumnType,
    Processor,
    only_utc,
    strict_json,
    then,
    underlying,
    without_zone,
)
from entropic.errors import ModelError, StoreError
from entropic.support.compact_json import compact
from entropic.support.show import spelled

# What an error of a driver means for what was under way: nothing of it has happened and it may be repeated; the
# connection, and with it the transaction, is lost; another program holds a lock for longer than we wait.
Trouble = Literal["again", "lost", "busy"] | None
T = TypeVar("T")
Query = TypeVar("Query", bound=sa.GenerativeSelect)
Pages = Iterator[list[Any]]
Condition = tuple[sa.ColumnElement[bool], Callable[[Sequence[str]], Mapping[str, object]]]

SILENCE = 5.0  # s beyond the wait for a lock, after which a server that does not answer is given up
TOGETHER = 20_000  # rows of a large answer that are in memory at a time
_LOST = ("connection refused", "server closed", "not connected", "broken pipe", "connection reset", "gone away")
_AGAIN = ("deadlock", "serializ", "could not obtain lock", "lock wait timeout")


class Dialect:
    """A kind of database: how it is opened, locked and asked, and what it cannot hold.

    Parameters
    ----------
    url
        Without what is meant for us.
    wait
        Seconds that a locked or silent database is waited for.
    fsync
        Whether a commit must reach the disk, where the database leaves that to us.
    read_only
        Whether nothing may be changed, be it by mistake.
    """

    one_writer = False
    """Whether a transaction's begin is the lock: there is one writer at a time, and nothing else to be locked."""
    begin = "BEGIN"
    now: Any = sa.cast(sa.extract("epoch", sa.func.current_timestamp()), sa.Float)
    """Seconds since 1970, by the database's clock, when the statement runs."""
    makes_at_once = False
    """Whether a table, a column or an index is there for good as soon as it is made, whatever becomes of the rest."""
    columns = 1_000_000  # that a table may have, as far as that is known
    key_counts: tuple[int, ...] = (20, 500)
    """How many keys a query asks for: the smallest that is enough, several times the largest if none is."""
    bindable: tuple[type, ...] = (type(None), int, float, str, bytes)
    """What the driver takes as a value."""
    usual: Mapping[type, Callable[[Any], bool]] = {}
    """For values of these types, a test that they may be stored as they are."""
    in_memory = False
    path: str | None = None  # of its file, if it is one
    network: str | None = None

    def __init__(self, url: sa.URL, wait: float, fsync: bool = False, read_only: bool = False) -> None:
        self.url, self.wait, self.fsync, self.read_only = url, wait, fsync, read_only

    # ---- opening -----------------------------------------------------------------------------------------------
    def options(self) -> dict[str, Any]:
        """Return what `create_engine` is given."""
        dialect: Any = self.url.get_dialect()
        return {"paramstyle": "format"} if dialect.default_paramstyle == "pyformat" else {}

    def configure(self, raw: DBAPIConnection) -> None:
        """Prepare each new driver connection, those of a `Session` included."""

    def create(self) -> None:
        """Make the database where a store may, if there is none."""

    def listen(self, engine: sa.Engine) -> None:
        """Change how the engine makes connections."""

    def remember(self, uuid: str) -> None:
        """Know the database of an opened store again: by its file, where it is one, and by its uuid."""

    def file_there(self) -> tuple[int, int] | None:
        """Return what tells the file that is there now from any other; None if there is none to look at."""
        return None

    def configure_own(self, raw: DBAPIConnection) -> None:
        """Prepare a driver connection for being ours: transactions begin and end where we say so."""
        raw.autocommit = True

    def end(self, raw: Any) -> None:
        """Close a driver connection of ours, also if an interrupt has come in the middle of that before."""
        raw.close()

    def told(self, driver: str, names: Sequence[str], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what `Database.told` does, given the driver and what SQLAlchemy would call its `connect` with."""
        return {"driver": driver, "arguments": {**arguments, "autocommit": True}, "before": [], "after": []}

    def compilers(self, dialect: sa.Dialect) -> None:
        """Change what SQLAlchemy makes of types in a table that is to be created."""

    def check(self, engine: sa.Engine) -> None:
        """Refuse a server that cannot hold a store.

        Raises
        ------
        StoreError
            With what it lacks.
        """
        if engine.dialect.positional is False or not engine.dialect.supports_sane_rowcount:
            raise StoreError(
                f"the driver {engine.dialect.driver!r} takes values by name, or does not count the rows that a "
                "statement changes; use SQLite, PostgreSQL or MariaDB"
            )

    @contextlib.contextmanager
    def exclusively(self, connection: sa.Connection) -> Iterator[None]:
        """Do in one transaction what no other process should do meanwhile, such as creating tables."""
        with connection.begin():
            yield

    def execute_all(self, connection: sa.Connection, statements: Sequence[str]) -> None:
        """Execute statements that have no values and no results."""
        for sql in statements:
            connection.exec_driver_sql(sql)

    def alter(self, connection: sa.Connection, sql: str) -> None:
        """Change a table within `exclusively`, without keeping others from it while somebody uses it."""
        connection.exec_driver_sql(sql)

    def holds_any_type(self, connection: sa.Connection, table: sa.Table) -> bool:
        """Tell whether the columns of a table hold numbers of any type, whatever type they were made with."""
        return False

    def type_to_add(self, connection: sa.Connection, column: sa.Column[Any]) -> ColumnType:
        """Return the type with which a column is added to its table."""
        return column.type

    def retyping(self, column: sa.Column[Any], declared: str, dialect: sa.Dialect) -> str:
        """Return what `ALTER TABLE` does to give a column, declared so in a new table, the type of its model."""
        name = dialect.identifier_preparer.quote(column.name)
        return f"ALTER COLUMN {name} SET DATA TYPE {dialect.type_compiler_instance.process(column.type)}"

    def renaming(self, column: sa.Column[Any], names: tuple[str, str], there: object, dialect: sa.Dialect) -> str:
        """Return the SQL that gives rows which hold a member of an enumeration, the first name, its second one."""
        quote = dialect.identifier_preparer
        old, new = (quoted(name, dialect) for name in names)
        name = quote.quote(column.name)
        return f"UPDATE {quote.format_table(column.table)} SET {name} = {new} WHERE {name} = {old}"

    def widening(self, column: sa.Column[Any], member: str, there: sa.Enum, dialect: sa.Dialect) -> str:
        """Return the SQL that lets a column, of this type in the database, take one more member of an enumeration."""
        raise NotImplementedError  # where no column has such a type

    def literal(self, value: object, kind: ColumnType, dialect: Any) -> str:
        """Return a value of a type, as the driver would store it, as SQL has it: for what takes no values beside it.

        Raises
        ------
        ModelError
            If it has no such form.
        """
        bound = self.stored(value, kind, dialect)
        if isinstance(bound, bool):
            return str(bound).lower()
        if isinstance(bound, int | float | Decimal) and math.isfinite(bound):
            return repr(bound) if isinstance(bound, float) else str(bound)
        if isinstance(bound, bytes):
            return self.bytes_literal(bound)
        if isinstance(bound, timedelta):
            return f"'{bound.days} days {bound.seconds}.{bound.microseconds:06} seconds'"
        if isinstance(bound, str | date | time | UUID):
            return quoted(str(bound), dialect)
        raise ModelError(f"added({spelled(value)}) cannot be written into a table; declare another default")

    def stored(self, value: object, kind: ColumnType, dialect: sa.Dialect) -> Any:
        """Return a value of a type as the driver stores it, as a plain one of Python."""
        if isinstance(underlying(kind), sa.JSON):
            return compact(value)
        process = self.bind_processor(kind.dialect_impl(dialect), dialect)
        bound: Any = process(value) if process else value
        bound = getattr(bound, "obj", bound)  # what psycopg wraps bytes into
        return bytes(bound) if isinstance(bound, bytearray | memoryview) else bound

    def bytes_literal(self, value: bytes) -> str:
        """Return bytes as SQL has them."""
        return f"X'{value.hex()}'"

    def table_fault(self, connection: sa.Connection, table: sa.Table) -> str | None:
        """Return why a table that exists cannot hold the rows of a store, if it cannot."""
        return None

    # ---- looking only --------------------------------------------------------------------------------------------
    def exists(self) -> bool:
        """Tell whether there is anything to look at, as far as that is known without a connection."""
        return True

    def locked_up(self) -> str | None:
        """Return why this user cannot write the database, as far as that is known without a connection."""
        return None

    def forbids(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> str | None:
        """Return why this user may not write tables that exist; None if that is allowed, or not known."""
        return None

    def is_forbidden(self, error: object) -> bool:
        """Tell whether an error of the driver says that this user may not change anything."""
        return False

    def null(self, kind: ColumnType) -> sa.ColumnElement[Any]:
        """Return the NULL of a type, for a column of a query without rows."""
        return sa.null()

    def constant(self, value: object, kind: ColumnType, dialect: sa.Dialect) -> sa.ColumnElement[Any]:
        """Return a value as a column of a query, which is read and compared as one of a table of that type."""
        return sa.literal_column(self.in_column(value, kind, dialect), kind)

    def in_column(self, value: object, kind: ColumnType, dialect: sa.Dialect) -> str:
        """Return a value as SQL has it, for a column that is compiled with the rest: that doubles each % by itself."""
        told = self.literal(value, kind, dialect)
        return told.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else told

    def schema_of(self, connection: sa.Connection, table: sa.Table) -> str | None:
        """Return the schema in which a table is found that names none."""
        return connection.dialect.default_schema_name

    def read_steadily(self, act: Callable[[], T]) -> T:
        """Read, in a database that is read-only, and read again if what was read may be wrong."""
        return act()

    def is_outdated(self, raw: DBAPIConnection) -> bool:
        """Tell, while looking, whether a connection does not show any more what is there."""
        return False

    # ---- trouble -----------------------------------------------------------------------------------------------
    def trouble(self, error: BaseException) -> Trouble:
        """Tell what an error of the driver means."""
        text = str(error).lower()
        if any(words in text for words in _LOST):
            return "lost"
        return "again" if any(words in text for words in _AGAIN) else None

    def advice(self, reason: object) -> str:
        """Return the end of the sentence that says that no store can be made here."""
        return f"cannot be used as a database: {reason}; check db_url, and what this user may do there"

    # ---- statements --------------------------------------------------------------------------------------------
    def execute(self, cursor: DBAPICursor, sql: str, values: Sequence[object], begin: bool) -> None:
        """Execute a statement; with `begin`, as the first of a transaction."""
        if begin:
            cursor.execute(self.begin)
        cursor.execute(sql, values)

    def execute_many(self, cursor: DBAPICursor, sql: str, values: Sequence[Sequence[object]]) -> int:
        """Execute a statement once for each set of values; return how many rows they changed together."""
        changed = 0
        for one in values:
            cursor.execute(sql, one)
            changed += cursor.rowcount
        return changed

    def pages(self, raw: Any, cursor: Any, sql: str, values: Sequence[object]) -> Generator[list[Any], None, None]:
        """Yield the rows of a query, some at a time, of which the driver has no more in memory either.

        Who does not read them to the end closes this, and then the connection.
        """
        cursor.execute(sql, values)
        while page := cursor.fetchmany(TOGETHER):
            yield page

    def locked(self, select: Query) -> Query:
        """Return a query that locks the rows it finds until the transaction ends."""
        return select.with_for_update()

    def insert_new(self, table: sa.Table, values: Mapping[str, object]) -> sa.Insert:
        """Return the statement that inserts a row unless one with its key, or another unique value of it, exists."""
        key = [column for column in table.primary_key if column.name in values]
        there = sa.exists().where(*(column == _typed(values[column.name], column) for column in key))
        chosen = [_typed(value, table.c[name]) for name, value in values.items()]
        return sa.insert(table).from_select(list(values), sa.select(*chosen).where(~there))

    def ensure(self, table: sa.Table, values: Mapping[str, object]) -> sa.Insert:
        """Return the statement that makes sure that there is a row, which is locked next."""
        return self.insert_new(table, values)

    def upserts(self, table: sa.Table, columns: Sequence[str]) -> list[object]:
        """Return the statements of which the first that changes a row has inserted or overwritten it.

        Values are named `v_<column>`. The caller holds the claim, so nobody else writes this row meanwhile.
        """
        values: dict[str, Any] = {name: sa.bindparam(f"v_{name}") for name in columns}
        changed = {name: value for name, value in values.items() if name != "id"}
        return [
            sa.update(table).where(table.c.id == sa.bindparam("v_id")).values(changed),
            sa.insert(table).values(values),
        ]

    def one_of(self, column: sa.ColumnElement[Any], count: int) -> Condition:
        """Return the condition that a column is one of some keys, and what makes its values from that many keys."""
        names = [f"k{i}" for i in range(count)]
        return column.in_([sa.bindparam(name) for name in names]), lambda keys: dict(zip(names, keys, strict=True))

    # ---- parts of JSON -----------------------------------------------------------------------------------------
    def json_name(self, name: str, within: bool) -> str:
        """Return a name in JSON as it is asked for, alone or `within` a path of several.

        Raises
        ------
        ParameterError
            If the database finds no such name.
        """
        return name

    def json_is(self, part: Any, kind: str) -> sa.ColumnElement[bool]:
        """Return the condition that a part of JSON is a `"number"`, `"text"` or `"boolean"`."""
        return sa.true()

    def json_equals(self, part: Any, text: str) -> sa.ColumnElement[bool]:
        """Return the condition that a part of JSON is this text, to the letter."""
        return sa.and_(self.json_is(part, "text"), part.as_string() == text)

    def json_number(self, part: sa.BinaryExpression[Any]) -> sa.ColumnElement[Any]:
        """Return a part of JSON that is a number as the type that was asked for."""
        return part

    # ---- values ------------------------------------------------------------------------------------------------
    def bind_processor(self, kind: ColumnType, dialect: sa.Dialect, there: ColumnType | None = None) -> Processor:
        """Return what turns a Python value of a type into the driver's; `there` is the type that the table has.

        That is not what the model would make today, if another version of SQLAlchemy, or somebody, made the table.
        """
        base, found = underlying(kind), only_utc(kind, kind.bind_processor(dialect))
        if isinstance(base, sa.JSON):
            return then(found, strict_json)
        if isinstance(base, sa.DateTime | sa.Time):
            return then(found, without_zone)
        return found

    def result_processor(self, kind: ColumnType, dialect: sa.Dialect, there: object) -> Processor:
        """Return what turns the driver's value of a type into Python's; `there` is the type that the table has."""
        try:
            found: Processor = kind.result_processor(dialect, None)
        except Exception as error:
            raise StoreError(
                f"the driver {dialect.driver!r} cannot say in advance how it reads {kind!r} ({error}); use "
                "SQLite, PostgreSQL or MariaDB"
            ) from error
        return found

    @property
    def refusals(self) -> tuple[type[Exception], ...]:
        """What the driver raises, beside the usual, for a row that breaks a rule."""
        return ()

    def refuses(self, value: object) -> str | None:
        """Return why the database has no such value; None if it has."""
        return None

    def refuses_id(self, id: str) -> str | None:
        """Return why an id cannot be a key in this database; None if it can."""
        return self.refuses(id) or too_long(id, 1_000)

    def is_exact(self, column: sa.Column[Any], found: object) -> bool:
        """Tell whether a column of the type that was found in the database holds whatever its Python type takes.

        What is not known to be exact is tried out before a run: inserted, read, and taken back.
        """
        return False


def _typed(value: object, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return value if isinstance(value, sa.ColumnElement) else sa.literal(value, column.type)


def quoted(text: str, dialect: sa.Dialect) -> str:
    """Return a text as SQL has it."""
    return str(sa.literal(text, sa.String()).compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def too_long(id: Sequence[object], most: int, unit: str = "characters") -> str | None:
    """Return the sentence that says that an id does not fit into an index."""
    if len(id) <= most:
        return None
    return f"it is longer than {most:,} {unit}, which is all that an index of this database takes; give a shorter one"
