"""SQLite: one file, one writer at a time."""

import contextlib
import functools
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection

from entropic.db.dialects.portable import Dialect, Query, T, Trouble
from entropic.db.dialects.sqlite_file import ReadOnlyFile, path_in
from entropic.db.dialects.types import ColumnType, Processor, only_utc, then, underlying
from entropic.db.raw import Recorded
from entropic.errors import ModelError, NetworkFileSystemWarning, ParameterError, StoreError, warn

READ_WITH_ROW = len(Recorded._fields)  # columns of the ledger that every query of rows reads as well: `db/rows.py`
HELPER_WAITS = 5.0  # s that the process which renews leases waits for the lock, before it tries again at its next beat
POLL = 0.5  # s; SQLite's own wait cannot be interrupted by Ctrl-C, so it is done in pieces

_NETWORK = {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "9p", "ncpfs", "gpfs", "lustre", "beegfs"}
_NETWORK |= {"ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "pvfs2", "orangefs", "webdav", "davfs"}

_BEGIN_NUMBERS = frozenset("-0123456789")
_JSON = {"number": ["integer", "real"], "text": ["text"], "boolean": ["true", "false"]}  # as `json_type` calls them


class _Strict(sa.types.UserDefinedType[Any]):
    """A type of tables that are made STRICT."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: object) -> str:
        """Return it as SQL has it."""
        return self.name


# As SQLite derives what any type of other tables means: https://www.sqlite.org/datatype3.html.
_STRICT = [
    (("INT",), _Strict("INTEGER")),
    (("CHAR", "CLOB", "TEXT"), _Strict("TEXT")),
    (("BLOB",), _Strict("BLOB")),
    (("REAL", "FLOA", "DOUB"), _Strict("REAL")),
]


@functools.cache
def _column_limit() -> int:
    """Return how many columns this SQLite, which may be made with other limits, has in a table, and in an answer."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        return connection.getlimit(sqlite3.SQLITE_LIMIT_COLUMN)


class SQLite(Dialect):
    """SQLite, in a file or in memory."""

    one_writer = True
    begin = "BEGIN IMMEDIATE"  # a deferred transaction that upgrades later may fail at any statement
    now = sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Float)
    key_counts = (500,)  # sorted lists of this size are as fast as a temporary table

    def __init__(self, url: sa.URL, wait: float, fsync: bool = False, read_only: bool = False) -> None:
        name = url.database or ""
        self.in_memory = not name or ":memory:" in name or url.query.get("mode") == "memory"
        try:
            os.fsencode(name)
        except UnicodeEncodeError as error:
            raise StoreError(f"db_url names a file that cannot exist, {name!a:.200}: {error.reason}") from error
        if "\0" in name:
            raise StoreError(f"db_url has a NUL character, which no path may have: {name!a:.200}")
        if name and name != ":memory:" and not name.startswith("file:"):
            url = url.set(database=os.path.abspath(name))
        super().__init__(url, wait, fsync, read_only and not self.in_memory)
        self._file = ReadOnlyFile(os.path.abspath(path_in(url.database or "")), wait)
        self.path = None if self.in_memory else self._file.path
        self._known: tuple[int, int] | None = None  # the file of a store that is open, and the uuid in it
        self._uuid = ""
        if not self.in_memory and not self.read_only:
            self.network = file_system(os.path.dirname(url.database or "") or ".")
            if self.network:
                warn(
                    f"{url} is on a network file system ({self.network}), where SQLite's locks cannot be trusted: "
                    "use it from one machine only, or move the database to a local disk (the results may stay)",
                    NetworkFileSystemWarning,
                )

    def options(self) -> dict[str, object]:
        """Return what `create_engine` is given."""
        return {"connect_args": {"timeout": min(self.wait, POLL), "check_same_thread": False}}

    def create(self) -> None:
        """Make the file as the umask says, so that a group can share it: SQLite itself never lets others write.

        What SQLite puts beside it gets the file's own mode. A file that exists is not even opened: closing it again
        would let go of the locks that this process holds on it.
        """
        path = self.url.database or ""
        if self.in_memory or path.startswith("file:"):
            return
        with contextlib.suppress(OSError):  # it is there; else SQLite says what is wrong
            if sys.platform == "linux":
                os.mknod(path, 0o666)  # which opens nothing, for a thread that is faster
            else:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))

    def configure(self, raw: DBAPIConnection) -> None:
        """Use the write-ahead log, unless the file is where its memory cannot be shared."""
        raw.isolation_level = None  # transactions begin where we say so, not where the driver guesses
        if self._known is not None and (found := self.file_there()) != self._known:
            self._adopt(raw, found)
        if self.read_only:
            raw.execute("PRAGMA query_only=ON")
        if self.in_memory or self.read_only or self.network:
            return
        mode = self._patiently(lambda: raw.execute("PRAGMA journal_mode").fetchone())
        if mode[0] != "wal":
            self._patiently(lambda: raw.execute("PRAGMA journal_mode=WAL").fetchone())
        raw.execute("PRAGMA synchronous=" + ("FULL" if self.fsync else "NORMAL"))

    def configure_own(self, raw: DBAPIConnection) -> None:
        """Have statements fail at once where another connection has the lock: `Connection` waits better than SQLite.

        SQLite sleeps for up to a tenth of a second between two looks, while a lock is held for a tenth of a
        millisecond, and Ctrl-C does not end it. Without the write-ahead log even a statement inside of a transaction
        may have to wait, and only SQLite can do that.
        """
        if not self.network:
            raw.execute("PRAGMA busy_timeout = 0")

    @property
    def columns(self) -> int:  # type: ignore[override]
        """How many columns a table may have so that it can be read together with its claim."""
        return _column_limit() - READ_WITH_ROW

    def told(self, driver: str, names: Sequence[str], arguments: dict[str, object]) -> dict[str, object]:
        """Return how to change a file that exists: one that was removed must not come back empty."""
        name = names[0] if names[0].startswith("file:") else "file:" + quote(names[0])
        if "mode=" not in name:
            name += ("&" if "?" in name else "?") + "mode=rw"
        arguments = {"database": name, "uri": True, "timeout": HELPER_WAITS, "isolation_level": None}
        before = ["PRAGMA synchronous = NORMAL", self.begin]  # a lease need not survive the power
        return {"driver": "sqlite3", "arguments": arguments, "before": before, "after": ["COMMIT"]}

    def check(self, engine: sa.Engine) -> None:
        """Every SQLite will do."""

    # ---- removed, or replaced, while a store is open ---------------------------------------------------------------
    def remember(self, uuid: str) -> None:
        """Know the file of an opened store again: what is written after somebody has removed it would be lost."""
        self._known, self._uuid = self.file_there(), uuid

    def file_there(self) -> tuple[int, int] | None:
        """Return what tells the file that is there now from any other; None if there is none."""
        if self.in_memory or self.read_only:
            return None
        try:
            found = os.stat(self._file.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _refuse_removed(self, *_: object) -> None:
        """Refuse to make an empty file in the place of one that held a store."""
        if self._known is not None and self.file_there() is None:
            raise StoreError(
                f"the database {self._file.path} was removed or moved while this store was open, so nothing can be "
                "recorded; put it back and call again, or open the store anew, which makes an empty one (rebuild() "
                "then makes its rows from the results)"
            )

    def _adopt(self, raw: DBAPIConnection, found: tuple[int, int] | None) -> None:
        """Go on with another file if it holds the same database: one that was put back, or a backup of it."""
        try:
            told = raw.execute("SELECT value FROM entropic_meta WHERE name = 'uuid'").fetchone()
        except sqlite3.DatabaseError as error:
            if self.trouble(error) is not None:
                raise
            told = None
        if told != (self._uuid,):
            raise StoreError(
                f"the database {self._file.path} was replaced by another one while this store was open, so nothing "
                "was done; open the store anew to work with what is there now, or put the first one back"
            )
        self._known = found

    # ---- looking only --------------------------------------------------------------------------------------------
    def schema_of(self, connection: sa.Connection, table: sa.Table) -> str | None:
        """Return what SQLite calls the file itself."""
        return "main"

    def listen(self, engine: sa.Engine) -> None:
        """Let the engine make connections that change nothing, if that is wanted."""
        if not self.read_only:
            sa.event.listen(engine, "do_connect", self._refuse_removed)
        else:

            def connect(dialect: object, record: object, given: object, options: dict[str, object]) -> Any:
                return self._file.connect(**{name: one for name, one in options.items() if name != "uri"})

            sa.event.listen(engine, "do_connect", connect)

    def exists(self) -> bool:
        """Tell whether there is such a file."""
        return self.in_memory or os.path.exists(self._file.path)

    def locked_up(self) -> str | None:
        """Return why the file cannot be written: it, its folder, where SQLite needs more files, or the URL says so."""
        if self.in_memory or not self.exists():
            return None
        if self.url.query.get("mode") == "ro" or "immutable" in self.url.query:
            return f"db_url opens {self._file.path} read-only"
        for path in (self._file.path, os.path.dirname(self._file.path)):
            if not os.access(path, os.W_OK):
                return f"{path} cannot be written"
        return None

    def read_steadily(self, act: Callable[[], T]) -> T:
        """Read, and read again until nobody has changed the file meanwhile."""
        return self._file.read_steadily(act) if self.read_only else act()

    def is_outdated(self, raw: DBAPIConnection) -> bool:
        """Tell, while looking, whether a connection does not show any more what is in the file."""
        return self.read_only and self._file.is_outdated(raw)

    def _patiently(self, action: Callable[[], object]) -> Any:
        """Repeat what SQLite refuses at once, without its own wait, while another connection uses the file."""
        deadline = time.monotonic() + self.wait
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                if self.trouble(error) is None or time.monotonic() > deadline:
                    raise
                time.sleep(0.002)

    @contextlib.contextmanager
    def exclusively(self, connection: sa.Connection) -> Iterator[None]:
        """Do something as the only writer, in one transaction."""
        raw: Any = connection.connection.driver_connection
        raw.execute(self.begin)
        try:
            yield
            raw.execute("COMMIT")
        except BaseException:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raise

    def trouble(self, error: BaseException) -> Trouble:
        """A locked file is all that passes by itself."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return "again" if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) else None

    def holds_any_type(self, connection: sa.Connection, table: sa.Table) -> bool:
        """Types are advice only, but in tables that are made STRICT: a column of whole numbers holds 1.5 as it is."""
        if sqlite3.sqlite_version_info < (3, 37):
            return True
        query = sa.text('SELECT max("strict") FROM pragma_table_list WHERE name = :name')
        return not connection.scalar(query, {"name": table.name})

    def type_to_add(self, connection: sa.Connection, column: sa.Column[Any]) -> ColumnType:
        """Return the type of a column; tables that are made STRICT have but five, and one for whatever it is."""
        if self.holds_any_type(connection, column.table):
            return column.type
        made = str(column.type.compile(dialect=connection.dialect)).upper()
        return next((kind for names, kind in _STRICT if any(name in made for name in names)), _Strict("ANY"))

    def retyping(self, column: sa.Column[Any], declared: str, dialect: sa.Dialect) -> str:
        """Refuse what SQLite cannot do.

        Raises
        ------
        ModelError
            Nothing was done.
        """
        raise ModelError(
            f"the table {column.table.name!r} is STRICT, and SQLite cannot change the type of {column.name!r} there; "
            "copy the store into a database of its own (copy_to), and retype it there. Nothing was done"
        )

    def advice(self, reason: object) -> str:
        """Return the end of the sentence that says that no store can be made here."""
        return (
            f"cannot be used as a database: {reason}; check that db_url names a SQLite file, or a new one in an "
            "existing folder that can be written"
        )

    def locked(self, select: Query) -> Query:
        """The transaction's begin was the lock."""
        return select

    def insert_new(self, table: sa.Table, values: Mapping[str, object]) -> sa.Insert:
        """Return the statement that inserts a row unless one with its key exists."""
        return sqlite.insert(table).values(dict(values)).on_conflict_do_nothing()

    def upserts(self, table: sa.Table, columns: Sequence[str]) -> list[object]:
        """Return the statement that inserts or overwrites a row."""
        return [on_conflict(sqlite.insert, table, columns)]

    def json_name(self, name: str, within: bool) -> str:
        """Return a name as it is stored, with all but ASCII escaped: SQLite before 3.45 compares it to the letter."""
        if '"' in name:
            raise ParameterError(f"SQLite finds no name with a double quote in JSON, such as {name!r:.80}")
        return json.dumps(name)[1:-1]

    def json_is(self, part: Any, kind: str) -> sa.ColumnElement[bool]:
        """Return the condition that a part of JSON is a number, text or a boolean."""
        return sa.func.json_type(part.left, part.right).in_(_JSON[kind])

    def bind_processor(self, kind: ColumnType, dialect: sa.Dialect, there: ColumnType | None = None) -> Processor:
        """Return what turns a Python value of a type into the driver's: SQLAlchemy knows nearly all of it."""
        found = only_utc(kind, kind.bind_processor(dialect))
        return then(found, _bare_number) if isinstance(underlying(kind), sa.JSON) else found

    def result_processor(self, kind: ColumnType, dialect: sa.Dialect, there: object) -> Processor:
        """Return what turns the driver's value of a type into Python's: it is an integer where the column was of such.

        A column of whole numbers keeps 1.0 as 1.
        """
        found = super().result_processor(kind, dialect, there)
        if isinstance(underlying(kind), sa.Float) and isinstance(there, sa.Integer):
            return then(_number, found) if found else _number
        return found

    def refuses(self, value: object) -> str | None:
        """SQLite has no NaN."""
        nan = isinstance(value, float) and value != value
        return "SQLite stores NaN as NULL; pass None or a number" if nan else None

    def refuses_id(self, id: str) -> str | None:
        """Ids may be of any length."""
        return None

    def is_exact(self, column: sa.Column[Any], found: object) -> bool:
        """Types are advice only; what a processor changes was refused already."""
        return True


def _number(value: Any) -> object:
    return float(value) if isinstance(value, int) else value


def _bare_number(text: object) -> object:
    """Return JSON so that SQLite keeps it: a column of JSON makes a number of a text that is one.

    3.0 would become 3, 2**70 a float, and -0.0 would become 0. The bytes of such a text it leaves as they are, and
    its functions read them as the text; four bytes could be JSON in SQLite's own form, five of them are none.
    """
    if not isinstance(text, str) or text[:1] not in _BEGIN_NUMBERS:
        return text
    number = json.loads(text)
    if isinstance(number, int):
        return text if -(2**63) <= number < 2**63 else text.encode()
    return f"{text} ".encode() if number.is_integer() else number


def on_conflict(insert: Callable[[sa.Table], Any], table: sa.Table, columns: Sequence[str]) -> Any:
    """Return the statement, as SQLite and PostgreSQL have it, that inserts a row or overwrites the one of its id."""
    statement = insert(table).values({name: sa.bindparam(f"v_{name}") for name in columns})
    changed = {name: statement.excluded[name] for name in columns if name != "id"}
    return statement.on_conflict_do_update(index_elements=["id"], set_=changed)


def file_system(path: str) -> str | None:
    """Return the type of the file system under a path if it is a network file system, else None.

    Where the operating system does not tell, nothing is known and None is returned.
    """
    import psutil

    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, NotImplementedError):
        return None
    real, best, kind = Path(os.path.realpath(path)), -1, ""
    for mount in mounts:
        inside = real.is_relative_to(mount.mountpoint)
        if inside and len(mount.mountpoint) >= best:  # a later mount over the same place hides the earlier
            best, kind = len(mount.mountpoint), mount.fstype.lower()
    return kind if kind in _NETWORK else None
