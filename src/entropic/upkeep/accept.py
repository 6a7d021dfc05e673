"""`Store.stale` and `Store.accept`: which rows other code has made, and that these are right under the code of now."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import sqlalchemy as sa

from entropic.ask import select
from entropic.db.connection import Connection
from entropic.db.statement import Statement
from entropic.db.tables import ledger
from entropic.errors import StoreError
from entropic.protocol.context import ModelT, StoreContext

TOGETHER = 500  # rows in one transaction


def stale(context: StoreContext[ModelT], where: tuple[Any, ...], equal: Mapping[str, Any]) -> Iterator[ModelT]:
    """Yield the rows that meet all conditions and were made by other code than that of now."""
    context.maker.look()
    found = select.select(context, where, equal, None, None)
    codes = {id: code for id, _, code, *_ in context.origins.of([row.id for row in found])}
    return (row for row in found if context.maker.is_other(codes.get(row.id)))


def accept(context: StoreContext[Any], where: tuple[Any, ...], equal: Mapping[str, Any]) -> int:
    """Let rows count as made by the code of now; return how many did not before.

    Raises
    ------
    StoreError
        If the code of now cannot be told.
    """
    context.must_write("rows were to be accepted")
    context.maker.prepare()
    now = context.maker.number
    if now is None:
        raise StoreError(f"the code that makes rows of {context.schema.name} cannot be told; nothing was accepted")
    found = select.select(context, where, equal, None, None)
    told = context.origins.of([row.id for row in found])
    todo = iter(sorted((id, code) for id, _, code, *_ in told if code != now))
    c, count = ledger.c, 0
    mine = (c.id == sa.bindparam("key")) & (c.model == sa.bindparam("m")) & c.registered.is_(None)
    same = sa.case((c.code.is_(None), -1), else_=c.code) == sa.bindparam("before")
    change = Statement(sa.update(ledger).where(mine & same).values(code=sa.bindparam("now")), context.database.sql)
    while some := list(islice(todo, TOGETHER)):

        def work(connection: Connection, some: list[Any] = some) -> int:
            done = 0
            for id, code in some:  # in the order of the keys: who locks several in another order meets a deadlock
                given = {"key": id, "m": context.model, "before": -1 if code is None else code, "now": now}
                done += connection.execute(change.sql, change.values(given)).rowcount
            return done

        count += context.database.transact(work)
    return count
