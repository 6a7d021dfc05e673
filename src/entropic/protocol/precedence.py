"""Which of several attempts at one row counts: a finished one whose claim was taken over may have it back."""

import os

from entropic.db.claim_record import DELETING, IDLE, RUNNING, Claim, generation
from entropic.db.connection import Connection
from entropic.files import sidecar as sidecars
from entropic.files.sidecar import Sidecar
from entropic.params.model import Base
from entropic.protocol.context import StoreContext


def reclaim(context: StoreContext[Base], sidecar: Sidecar, forced: bool = False) -> bool:
    """Let a finished attempt whose claim was taken over have it back, if nothing has come of that: the first one wins.

    Else two containers whose leases are too short would throw each other's results away, again and again. Nothing
    may have been published or deleted since it was claimed. From here on it is a finished attempt like any other,
    which anyone publishes.
    """

    def work(connection: Connection) -> bool:
        claim, _ = context.ledger.lock(connection, sidecar.id)
        if claim is None:
            return False
        if claim.attempt == sidecar.attempt and claim.state == RUNNING:
            return True
        if not _may_reclaim(context, claim, sidecar, forced):
            return False
        context.ledger.reclaim(connection, claim, sidecar.attempt, sidecar.owner)
        return True

    return context.database.transact(work)


def is_wanted(context: StoreContext[Base], sidecar: Sidecar) -> bool:
    """Tell, without a lock, whether a finished attempt of any model that does not hold its claim may have it back."""
    claim = context.ledger.of(sidecar.model).find(sidecar.id)
    return claim is not None and _may_reclaim(context, claim, sidecar, forced=False)


def gave_way(context: StoreContext[Base], sidecar: Sidecar) -> bool:
    """Tell whether a result counts in place of this one that is of an attempt from which this one had taken over."""
    claim = context.ledger.find(sidecar.id)
    return claim is not None and claim.published is not None and _is_before(claim.published, sidecar.attempt)


def _is_before(one: str, other: str) -> bool:
    """Tell whether of two attempts that compete for the same row one was claimed first."""
    return generation(one) == generation(other) and one < other


def _may_reclaim(context: StoreContext[Base], claim: Claim, sidecar: Sidecar, forced: bool) -> bool:
    ours = generation(sidecar.attempt)
    if claim.state == DELETING or claim.path is None or generation(claim.attempt) != ours:
        return False
    if claim.state == RUNNING and sidecars.read(context.staging, sidecar.key, claim.attempt) is not None:
        return False  # that one lacks just its publication
    found = sidecars.read(context.staging, sidecar.key, sidecar.attempt)
    if found is None or found.execution != sidecar.execution:
        return False  # ours was removed while it was torn
    if not os.path.lexists(context.staging.inside(sidecar.result)):
        return False  # it was placed, and is somebody else's to deal with now
    if claim.published is None or generation(claim.published) != ours:
        return True
    # One that this had taken over from was first, and nothing has been claimed since.
    replaces = forced and claim.state == IDLE and claim.published == claim.attempt
    if not replaces or not _is_before(claim.published, sidecar.attempt):
        return False
    return not (sidecar.folder or os.path.isdir(context.staging.path(claim.path)))  # there is no slot for these
