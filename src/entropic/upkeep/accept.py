"""`Store.stale` and `Store.accept`: which rows are stale, and that these are right as they are.

A row is stale if other code than the current code has made it, or if its run has read what has changed since.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import sqlalchemy as sa

from entropic.ask import select
from entropic.db.connection import Connection
from entropic.db.statement import Statement
from entropic.db.tables import ledger
from entropic.errors import StoreError
from entropic.protocol import stale_rows as why_stale
from entropic.protocol.context import ModelT, StoreContext
from entropic.provenance.input import Input

TOGETHER = 500  # rows in one transaction


def stale(context: StoreContext[ModelT], where: tuple[Any, ...], equal: Mapping[str, Any]) -> Iterator[ModelT]:
    """Yield the rows that meet all conditions and are stale."""
    context.current_code.refresh()
    found = select.select(context, where, equal, None, None)
    codes = {id: code for id, _, code, *_ in context.origins.of([row.id for row in found])}
    readers = with_inputs(context)
    since = why_stale.find_reasons(context, [id for id in codes if id in readers])
    return (row for row in found if row.id in since or context.current_code.is_other(codes.get(row.id)))


def with_inputs(context: StoreContext[Any]) -> dict[str, int | None]:
    """Return the keys whose runs have read something, and the code of each."""
    return context.origins.inputs.with_some()


def accept(context: StoreContext[Any], where: tuple[Any, ...], equal: Mapping[str, Any]) -> int:
    """Let rows count as made by the code of now; return how many did not before.

    Raises
    ------
    StoreError
        If the code of now cannot be told.
    """
    context.must_write("accept() would have to change what is recorded of rows")
    context.current_code.prepare()
    now = context.current_code.number
    if now is None:
        raise StoreError(f"the code that makes rows of {context.schema.name} cannot be told; nothing was accepted")
    found = select.select(context, where, equal, None, None)
    told = {id: code for id, _, code, *_ in context.origins.of([row.id for row in found])}
    accepted = _accept_inputs(context, told)
    todo = iter(sorted((id, code) for id, code in told.items() if code != now))
    c = ledger.c
    mine = (c.id == sa.bindparam("key")) & (c.model == sa.bindparam("m")) & c.registered.is_(None)
    same = sa.case((c.code.is_(None), -1), else_=c.code) == sa.bindparam("before")
    change = Statement(sa.update(ledger).where(mine & same).values(code=sa.bindparam("now")), context.database.sql)
    while some := list(islice(todo, TOGETHER)):

        def work(connection: Connection, some: list[Any] = some) -> set[str]:
            done = set()
            for id, code in some:  # in the order of the keys: who locks several in another order meets a deadlock
                given = {"key": id, "m": context.model, "before": -1 if code is None else code, "now": now}
                if connection.execute(change.sql, change.values(given)).rowcount:
                    done.add(id)
            return done

        accepted |= context.database.transact(work)
    return len(accepted)


def _accept_inputs(context: StoreContext[Any], told: Mapping[str, int | None]) -> set[str]:
    """Let some rows count as made from what they have read as it is now; return those that were stale for it."""
    since = why_stale.find_reasons(context, [id for id in with_inputs(context) if id in told])
    read: dict[str, list[Input]] = {}
    for id, one in context.origins.inputs.of(since):
        read.setdefault(id, []).append(one)
    todo = iter(sorted(why_stale.now_of(context, read).items()))
    while some := list(islice(todo, TOGETHER)):

        def work(connection: Connection, some: list[Any] = some) -> None:
            for id, now in some:
                for before, one in zip(read[id], now, strict=True):
                    if before != one:
                        context.origins.inputs.accept(connection, id, before, one)

        context.database.transact(work)
    return set(since)
