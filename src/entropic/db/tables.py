"""Our own tables, `entropic_*`, and how tables come to be.

The ledger holds one row per key for ever; 10^7 of them must be bearable, so a finished run keeps only what a hit
needs, and everything else is NULL.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from entropic.errors import ModelError

SCHEMA_VERSION = 1

metadata = sa.MetaData()

meta = sa.Table(
    "entropic_meta",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sqlite_with_rowid=False,
)

models = sa.Table(
    "entropic_models",
    metadata,
    sa.Column("model", sa.String, primary_key=True, comment="name of the user's table"),
    sa.Column("float_rounding", sa.String, nullable=False),
    sqlite_with_rowid=False,
)

# By id first: ids are hashes, so the table can be partitioned by prefix, and all models' claims of one id lie together.
ledger = sa.Table(
    "entropic_ledger",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("model", sa.String, primary_key=True, comment="name of the user's table"),
    sa.Column("attempt", sa.String, nullable=False, comment="the newest; a name is never used again"),
    sa.Column("state", sa.String, nullable=False, comment="idle, running, deleting, failed"),
    sa.Column("owner", sa.String, comment="the call that runs it; NULL: it gave up"),
    sa.Column("since", sa.Float, comment="when it was claimed, seconds since 1970"),
    sa.Column("lease_until", sa.Float, comment="seen from another machine, the owner is dead after this"),
    sa.Column("waits_for", sa.String, comment="model and id that the running call needs first"),
    sa.Column("path", sa.String, comment="the place of this key's results, below results_dir"),
    sa.Column("published", sa.String, comment="the attempt whose result lies at path"),
    sa.Column("size", sa.BigInteger, comment="bytes of the result file that the row points to"),
    sa.Column("mtime_ns", sa.BigInteger),
    sa.Column("extra", sa.Boolean, comment="whether the runner left more files than its result"),
    sa.Column("registered", sa.String, comment="where the registered file lies, if the row was registered"),
    sa.Column("checksum", sa.BigInteger, comment="of the user's columns, as they were published"),
    sa.Column("failure", sa.JSON(none_as_null=True), comment="the newest attempt's, if it failed"),
    sqlite_with_rowid=False,
)


def create_tables(
    engine: sa.Engine,
    metadata: Sequence[sa.MetaData],
    begin: str,
    patient: Callable[[Callable[[], Any]], Any],
) -> None:
    """Create the tables that do not exist yet, as one transaction that other processes wait for.

    Where all exist nothing is locked: a store can be opened, and its hits served, beside a long writer.
    """
    wanted = [table for tables in metadata for table in tables.tables.values()]

    def exist() -> bool:
        inspector = sa.inspect(engine)
        return all(inspector.has_table(table.name, schema=table.schema) for table in wanted)

    if patient(exist):
        return

    def create() -> None:
        with engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            raw.execute(begin)
            try:
                for tables in metadata:
                    tables.create_all(connection)
                raw.execute("COMMIT")
            except BaseException:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                raise

    patient(create)


def check_columns(engine: sa.Engine, table: sa.Table, model: str) -> None:
    """Compare the table in the database with the model: an insert must not fail after hours of computing.

    Raises
    ------
    ModelError
        If the model has columns that the table lacks, or the table requires some that the model lacks.
    """
    found = {column["name"]: column for column in sa.inspect(engine).get_columns(table.name, schema=table.schema)}
    lacking = [name for name in table.c.keys() if name not in found]  # noqa: SIM118  (not a dict)
    if lacking:
        raise ModelError(
            f"the table {table.name!r} was made without {', '.join(map(repr, lacking))}, which {model} has now; add "
            "the column with ALTER TABLE, or give the changed model another __tablename__"
        )
    for name, column in found.items():
        if name not in table.c and not column["nullable"] and column["default"] is None:
            raise ModelError(
                f"the table {table.name!r} requires {name!r}, which {model} no longer has; restore that column, or "
                "give the changed model another __tablename__"
            )
