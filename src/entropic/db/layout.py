"""The version of our own tables: who may open them, and when they count as those of now.

1
    Tables and columns that came until runs told what they had read; who lacks one of these gets it.
2
    `entropic_inputs`, and how many inputs a claim has: an earlier version would replace a result, and leave those of
    the old one beside it.

What a version lacks is added before the number is raised, so a crash in between leaves the earlier number, and the next
opening goes on (`tests/migration/test_layouts.py`). So a ledger of the version of now is not looked at for columns that
came later, and whoever adds one to it raises the number.
"""

from typing import TYPE_CHECKING

import sqlalchemy as sa

from entropic.db.statement import Statement
from entropic.db.tables import meta
from entropic.errors import StoreError
from entropic.support import names

if TYPE_CHECKING:
    from entropic.db.engine import Database

VERSION = 2
NAME = "schema_version"


def refuse_later(connection: sa.Connection, database: object) -> bool:
    """Refuse the tables of a later version, before anything is made, or added, there; tell if they are those of now.

    Raises
    ------
    StoreError
        Nothing was done.
    """
    if not sa.inspect(connection).has_table(meta.name):
        return False
    # As plain text: to compile it would take longer than to read it, at every opening.
    found = connection.exec_driver_sql(f"SELECT value FROM entropic_meta WHERE name = '{NAME}'").scalar()
    check(found, database)
    return found == str(VERSION)


def check(version: object, database: object) -> None:
    """Refuse the version of tables that a later entropic has made, or none.

    Raises
    ------
    StoreError
        If it is one of these.
    """
    if version is None:  # of an opening that has not come so far
        return
    if not isinstance(version, str) or not names.is_one("[0-9]{1,9}", version):
        raise StoreError(f"{database} was not made by entropic: its {NAME} is {version!r:.80}; nothing was done")
    if int(version) > VERSION:
        raise StoreError(
            f"{database} was made by a later version of entropic (its tables are version {version}, this one knows "
            f"{VERSION}); upgrade entropic. Nothing was done"
        )


def advance(database: "Database", version: str) -> None:
    """Record that tables of an earlier version have all that those of now have; by one process, whoever is first."""
    which = (meta.c.name == NAME) & (meta.c.value == sa.bindparam("before"))
    change = Statement(sa.update(meta).where(which).values(value=sa.bindparam("now")), database.sql)
    database.connection().change(change.sql, change.values({"before": version, "now": str(VERSION)}))
