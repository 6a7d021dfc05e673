"""Our own tables, `entropic_*`, and how tables come to be.

The ledger holds one row per key for ever; 10^7 of them must be bearable, so a finished run keeps only what a hit
needs, and everything else is NULL.
"""

import warnings
import weakref
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.mock import MockConnection

from entropic.db.dialects.portable import Dialect
from entropic.db.wording import KEPT, Wording
from entropic.errors import ModelError

metadata = sa.MetaData()


def _text(length: int) -> Any:
    """Return the type of a text of any length; MariaDB and MySQL keep, and index, only short ones in the row."""
    return sa.String().with_variant(sa.String(length), "mysql", "mariadb")


_NAME = _text(64)  # of a table, which is as long as they take
_WHO = _text(255)  # attempts, calls, and names of files

meta = sa.Table(
    "entropic_meta",
    metadata,
    sa.Column("name", _NAME, primary_key=True),
    sa.Column("value", _WHO, nullable=False),
    sqlite_with_rowid=False,
)

models = sa.Table(
    "entropic_models",
    metadata,
    sa.Column("model", _NAME, primary_key=True, comment="name of the user's table"),
    sa.Column("float_rounding", _NAME, nullable=False),
    sqlite_with_rowid=False,
)

outcomes = sa.Table(
    "entropic_outcomes",
    metadata,
    sa.Column("model", _NAME, primary_key=True, comment="name of the user's table"),
    sa.Column("name", _NAME, primary_key=True, comment="of the column"),
    sa.Column("code", _WHO, comment="fingerprint of the function that computes it; NULL: it is returned by runs"),
    sqlite_with_rowid=False,
)

changes = sa.Table(
    "entropic_changes",
    metadata,
    sa.Column("model", _NAME, primary_key=True, comment="name of the user's table"),
    sa.Column("name", _NAME, primary_key=True, comment="of the column"),
    sa.Column("told", sa.String, nullable=False, comment="JSON: the default of a parameter that was added"),
    sqlite_with_rowid=False,
)

# Numbers are made of contents (`provenance/`), so whoever records the same environment, or code, records it once.
environments = sa.Table(
    "entropic_environments",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("told", sa.String, nullable=False, comment="JSON: versions, host, argv, git, packages"),
    sqlite_with_rowid=False,
)

code = sa.Table(
    "entropic_code",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("told", sa.String, nullable=False, comment="JSON: name, digest and text of each of its parts"),
    sqlite_with_rowid=False,
)

sources = sa.Table(
    "entropic_sources",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("text", sa.String, nullable=False, comment="of a function, a class or a constant; what git diff says"),
    sqlite_with_rowid=False,
)

# A key has a note, which has no tag, and any number of tags. They are the user's, and outlive a re-run.
notes = sa.Table(
    "entropic_notes",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("model", _NAME, primary_key=True, comment="name of the user's table"),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False, comment="of the tag; 0: the note"),
    sa.Column("tag", _NAME, nullable=False),
    sa.Column("text", sa.String, comment="of the note"),
    sqlite_with_rowid=False,
)

# Only of stores that ask for it.
digests = sa.Table(
    "entropic_digests",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("model", _NAME, primary_key=True, comment="name of the user's table"),
    sa.Column("attempt", _WHO, nullable=False, comment="whose result it is of; 'registered': of a registered file"),
    sa.Column("sha256", _NAME, nullable=False, comment="of the result, as it was published"),
    sa.Column("found", _WHO, comment="what differed when it was last compared; NULL: nothing"),
    sqlite_with_rowid=False,
)

comparisons = sa.Table(
    "entropic_comparisons",
    metadata,
    sa.Column("model", _NAME, primary_key=True, comment="name of the user's table"),
    sa.Column("after", sa.String, nullable=False, comment="the key up to which all results have been compared"),
    sa.Column("compared", sa.BigInteger, nullable=False),
    sa.Column("without", sa.BigInteger, nullable=False, comment="how many had no digest"),
    sa.Column("began", sa.Float, nullable=False, comment="seconds since 1970"),
    sqlite_with_rowid=False,
)

# What came of runs that were done again beside stored results.
audits = sa.Table(
    "entropic_audits",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("model", _NAME, primary_key=True, comment="name of the user's table"),
    sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False, comment="microseconds since 1970"),
    sa.Column("attempt", _WHO, comment="that had made the stored result"),
    sa.Column("host", _WHO, nullable=False),
    sa.Column("agreed", sa.Boolean, nullable=False),
    sa.Column("told", sa.String, nullable=False, comment="how the two agree, or what differs"),
    sqlite_with_rowid=False,
)

# What a run has read. Of a key whose claim has no `inputs` they are left over from an earlier result, and count for
# nothing. A number stands for what was read in the key: an index of InnoDB has no room for three more texts.
inputs = sa.Table(
    "entropic_inputs",
    metadata,
    sa.Column("id", sa.String, primary_key=True, comment="of the row whose run has read it"),
    sa.Column("model", _NAME, primary_key=True, comment="of that row: name of the user's table"),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False, index=True, comment="of what was read"),
    sa.Column("of_database", _NAME, nullable=False, comment="uuid; empty: this database"),
    sa.Column("of_model", _NAME, nullable=False),
    sa.Column("of_id", sa.String, nullable=False),
    sa.Column("made_at", _NAME, nullable=False, comment="when it was made, as it was read: ISO 8601, naive UTC"),
    sa.Column("stale_as", sa.BigInteger, comment="why it was stale when it was read, as a number; NULL: it was not"),
    sqlite_with_rowid=False,
)

# Of rows that got another key: what has read one, in another database perhaps, knows it by that which it had then.
former_keys = sa.Table(
    "entropic_former_keys",
    metadata,
    sa.Column("id", sa.String, primary_key=True, comment="that it had"),
    sa.Column("model", _NAME, primary_key=True, comment="name of the user's table"),
    sa.Column("now", sa.String, nullable=False, index=True, comment="the key that it has"),
    sqlite_with_rowid=False,
)

# By id first: ids are hashes, so the table can be partitioned by prefix; all models' claims of one id are adjacent.
ledger = sa.Table(
    "entropic_ledger",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("model", _NAME, primary_key=True, comment="name of the user's table"),
    sa.Column("attempt", _WHO, nullable=False, comment="the newest; a name is never used again"),
    sa.Column("state", _WHO, nullable=False, comment="idle, running, deleting, failed"),
    sa.Column("owner", _WHO, comment="the call that runs it; NULL: abandoned"),
    sa.Column("since", sa.Float, comment="when it was claimed, seconds since 1970"),
    sa.Column("lease_until", sa.Float, comment="seen from another machine, the owner is dead after this"),
    sa.Column("waits_for", sa.String, comment="model and id that the running call needs first"),
    sa.Column("path", _WHO, comment="the place of this key's results, below results_dir"),
    sa.Column("published", _WHO, comment="the attempt whose result is at path"),
    sa.Column("size", sa.BigInteger, comment="bytes of the result file that the row points to"),
    sa.Column("mtime_ns", sa.BigInteger),
    sa.Column("extra", sa.Boolean, comment="whether the runner left more files than its result"),
    sa.Column("registered", sa.String, comment="where the registered file is, if the row was registered"),
    sa.Column("checksum", sa.BigInteger, comment="of the user's columns, as they were published"),
    sa.Column("failure", sa.JSON(none_as_null=True), comment="the newest attempt's, if it failed"),
    # Added later, so NULL where an earlier version has made the row. Who adds one raises `layout.VERSION`.
    sa.Column("environment", sa.BigInteger, comment="in which its result was made"),
    sa.Column("code", sa.BigInteger, comment="that made it, or under which it was accepted"),
    sa.Column("cpu_seconds", sa.Float, comment="of its run, with the programs that it has started"),
    sa.Column("peak_memory", sa.BigInteger, comment="bytes of the process, when its run ended"),
    sa.Column("inputs", sa.Integer, comment="how many results its run has read (entropic_inputs); NULL: none"),
    sqlite_with_rowid=False,
)

ORIGIN: list[sa.Column[Any]] = [ledger.c[name] for name in ("environment", "code", "cpu_seconds", "peak_memory")]
"""What the ledger says of where a result comes from."""
LATER: list[sa.Column[Any]] = [*ORIGIN, ledger.c.inputs]
"""What earlier versions did not record of a claim."""
USED = 2
"""The place among these from which on they say what a run used: nothing, of one that ended at once and read nothing."""

# Two models that claim one id at the same moment want the same place; SQLite has one writer, who sees the other's.
_place: Any = sa.Index("entropic_ledger_path", ledger.c.path, unique=True)
_place.ddl_if(callable_=lambda ddl, target, bind, dialect, **_: dialect.name != "sqlite")


# Tables of the program that a kind of database cannot hold.
_never_made: "defaultdict[tuple[Any, ...], weakref.WeakSet[sa.Table]]" = defaultdict(weakref.WeakSet)


def create_tables(
    connection: sa.Connection, metadata: Sequence[sa.MetaData], dialect: Dialect, wording: Wording, needed: sa.Table
) -> None:
    """Create the tables that do not exist yet, while other processes that would do the same wait.

    Where all exist nothing is locked: a store can be opened, and its hits served, beside a long writer. The tables of
    other models of the program are made too, unless this database cannot hold them, or lacks their schema: that is not
    this store's concern.
    """
    inspector = sa.inspect(connection)
    absent = {
        name
        for name in {table.schema for tables in metadata for table in tables.tables.values() if table is not needed}
        if name is not None and not inspector.has_schema(name)
    }
    there = frozenset(inspector.get_table_names())  # all at once; each of the others is asked for, as views are tables
    # Our own tables are asked for only if there are any: no view stands for one of them in a database that is new.
    has_ours = meta.name in there or inspector.has_table(meta.name)
    # Asked for once only: of a table that MariaDB lacks SQLAlchemy learns by an error, which keeps all callers' frames,
    # and with them the store, until Python's collector comes.
    never = _never_made[connection.dialect.name, connection.dialect.server_version_info]
    lacking = [
        table
        for tables in metadata
        for table in tables.tables.values()
        if table is needed or (table not in never and table.schema not in absent)
        if not (table.schema is None and table.name in there)
        if (table.metadata is ledger.metadata and not has_ours)
        or not inspector.has_table(table.name, schema=table.schema)
    ]
    for table in lacking:
        is_ours = table.metadata is ledger.metadata  # which each database can hold
        if table is not needed and not is_ours and not can_be_made(table, connection, dialect):
            never.add(table)
    lacking = [table for table in lacking if table is needed or table not in never]
    if not lacking:
        return
    connection.rollback()
    with dialect.exclusively(connection), warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # of columns that this database makes in its own way
        for tables in metadata:
            wanted = [table for table in lacking if table.metadata is tables]
            if tables is ledger.metadata:  # all are asked for at once: others may have made them before the lock
                there = frozenset(sa.inspect(connection).get_table_names())
                names = tuple(table.name for table in wanted if table.name not in there)
                dialect.execute_all(connection, _creating(wording, names))
            elif absent.isdisjoint(table.schema for table in tables.tables.values()):
                tables.create_all(connection, wanted)
            else:  # one by one: else the types of columns of those others would be made, too
                for table in sa.schema.sort_tables(wanted):
                    table.create(connection, checkfirst=True)


@lru_cache(KEPT)
def _creating(wording: Wording, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the SQL that creates some of our own tables."""
    made: list[str] = []

    def take(element: Any, *_: object, **__: object) -> None:
        made.append(str(element.compile(dialect=wording.sql)))

    metadata.create_all(MockConnection(wording.sql, take), [metadata.tables[name] for name in names], checkfirst=False)
    return tuple(made)


def check_width(table: sa.Table, model: str, dialect: Dialect) -> None:
    """Refuse a table with more columns than a database takes, or a store can read.

    Raises
    ------
    ModelError
        Before the database is opened.
    """
    if len(table.c) > dialect.columns:
        backend = dialect.url.get_backend_name()
        raise ModelError(
            f"{model} has {len(table.c):,} columns, those of Base among them, and {backend} holds at most "
            f"{dialect.columns:,} for a store; put some of them into one column of JSON"
        )


def can_be_made(table: sa.Table, connection: sa.Connection, dialect: Dialect) -> bool:
    """Tell whether a database can hold a table, as far as that is known before."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sa.exc.SAWarning)  # of columns that this database makes in its own way
            sa.schema.CreateTable(table).compile(dialect=connection.dialect)
    except sa.exc.SQLAlchemyError:  # it has no such type, or what the table refers to is not there
        return False
    return len(table.c) <= dialect.columns
