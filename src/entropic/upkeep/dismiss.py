"""`Store.dismiss`: failures that are of no interest any more are forgotten, as if these sets had never run."""

from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from entropic.ask.failures import Failure, Sets, failures
from entropic.db.claim_record import FAILED, IDLE
from entropic.db.connection import Connection
from entropic.db.statement import Statement
from entropic.db.tables import ledger
from entropic.files import logs
from entropic.params.model import Base, utcnow
from entropic.protocol.context import StoreContext


def dismiss(context: StoreContext[Base], params: Sets | None, older_than: timedelta | None) -> list[Failure]:
    """Forget failures; return those that were forgotten. One that was recorded meanwhile, or runs now, stays."""
    context.must_write("dismiss() has to change what is recorded of failures")
    found: list[Failure] = failures(context, params)
    if older_than is not None:
        found = [one for one in found if utcnow() - one.started_at > older_than]
    return [one for one in found if _forget(context, one)]


def _forget(context: StoreContext[Base], failure: Failure) -> bool:
    forgotten: bool = context.database.transact(partial(_forget_locked, context, failure))
    if forgotten and failure.log_file is not None and not context.rows.read(failure.id):
        logs.discard(context.staging, context.key_of(failure.id))
    return forgotten


def _forget_locked(context: StoreContext[Base], failure: Failure, connection: Connection) -> bool:
    claim, _ = context.ledger.lock(connection, failure.id)
    if claim is None or not claim.failed or claim.state not in (FAILED, IDLE):
        return False
    if context.ledger.failure(failure.id, connection).get("started_at") != failure.began:
        return False
    c = ledger.c
    mine = (c.id == sa.bindparam("key")) & (c.model == sa.literal(context.model))
    values: dict[str, Any] = {"state": sa.bindparam("state_"), "failure": sa.null()}
    forget = Statement(sa.update(ledger).where(mine).values(**values), context.database.sql)
    connection.execute(forget.sql, forget.values({"key": failure.id, "state_": IDLE}))
    return True
