"""What came of runs that were done again beside stored results, in a table of its own."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from entropic.db.connection import Connection
from entropic.db.engine import Database
from entropic.db.flaws import is_sound_audit
from entropic.db.statement import Statement
from entropic.db.tables import audits

_c = audits.c


def record(database: Database, model: str, **told: object) -> None:
    """Record what came of one run; `told` has the other columns."""
    values: dict[str, object] = {"model": sa.literal(model), **{name: bindparam(f"{name}_") for name in told}}
    add = Statement(database.dialect.insert_new(audits, values), database.sql)
    database.connection().change(add.sql, add.values({f"{name}_": value for name, value in told.items()}))


def recorded(database: Database, model: str) -> Iterator[tuple[Any, ...]]:
    """Yield of all that was recorded: key, attempt, time in microseconds since 1970, host, whether it agreed, how.

    What entropic did not write is left out.
    """
    query = sa.select(_c.id, _c.attempt, _c.at, _c.host, _c.agreed, _c.told).where(_c.model == model)
    asked = Statement(query.order_by(_c.at, _c.id), database.sql)
    yield from filter(is_sound_audit, database.connection().fetch(asked.sql, asked.values({})))


def move(database: Database, connection: Connection, model: str, old: str, new: str) -> None:
    """Let, in a transaction, what came of runs of a key be said of another one."""
    mine = (_c.model == bindparam("whose")) & (_c.id == bindparam("key"))
    change = Statement(sa.update(audits).where(mine).values({"id": bindparam("id_")}), database.sql)
    connection.execute(change.sql, change.values({"whose": model, "key": old, "id_": new}))
