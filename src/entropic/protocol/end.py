"""The end of a claim without a result: a failure that is recorded, or nothing."""

from collections.abc import Callable
from decimal import Decimal

from entropic.db.claim_record import RUNNING, Claim
from entropic.db.connection import Connection
from entropic.files import sidecar as sidecars
from entropic.files.packing import packed
from entropic.params.model import Base
from entropic.protocol.claim import find_sidecar, lock
from entropic.protocol.context import StoreContext
from entropic.protocol.request import Request, without_reserved
from entropic.support.failure import Record

_SCALARS = {bool, int, float, str, Decimal}


def end_claim(
    context: StoreContext[Base], request: Request, is_mine: Callable[[Claim], bool], failure: Record | None
) -> bool:
    """End a claim of ours without a result: record its failure, or, if there is none, release it.

    False if the attempt is finished all the same, or holds its claim no longer.
    """

    def work(connection: Connection) -> str | None:
        found, _ = lock(context, connection, request.id)
        if found is None or not is_mine(found) or found.state != RUNNING or find_sidecar(context, found) is not None:
            return None
        if failure is None:
            context.ledger.release(connection, request.id, found.attempt)
        else:
            before = context.ledger.failure(request.id, connection).get("times", 1) if found.failed else 0
            told = {**failure_of(context, failure, request, found.attempt), "times": int(before) + 1}
            context.ledger.fail(connection, request.id, found.attempt, told)
        return found.attempt

    ended = context.database.transact(work)
    if ended is not None:
        sidecars.discard(context.staging, context.key_of(request.id), ended)  # torn, if there is one
    return ended is not None


def failure_of(context: StoreContext[Base], failure: Record, request: Request, attempt: str) -> Record:
    """Return what the ledger keeps of a failure: how it went, and of which params."""
    values, given = request.row(), without_reserved(request.params)
    kept = {"values": packed(values), "given": list(request.params)}
    stored = context.rows.values_of(values, given)
    # A column may hold a value as another type than was asked, 1.0 for 1, which is another key.
    asked = {name: one for name, one in given.items() if type(one) in _SCALARS and type(one) is not type(stored[name])}
    return {**failure, "attempt": attempt, **kept, **({"asked": packed(asked)} if asked else {})}
