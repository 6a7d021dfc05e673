"""What is left to do once a row is deleted: its file goes into a slot, which is spent before the claim moves on."""

import os

from entropic.db.claim_record import Claim
from entropic.files import place as places
from entropic.files.durable import sync_names
from entropic.params.model import Base
from entropic.protocol.context import StoreContext


def slot_of(context: StoreContext[Base], id: str, attempt: str) -> str:
    """Return the name of the slot of a delete."""
    return f"{context.key_of(id)}.{attempt}.slot"


def finish_delete(context: StoreContext[Base], deleting: Claim) -> bool:
    """Remove a deleted row's file; the deleter does it, and anyone who finds it half done.

    False if something of it is left in the staging folder.
    """
    slot = slot_of(context, deleting.id, deleting.attempt)
    clear(context, deleting, slot)
    spend(context, slot)
    if context.fsync:  # else the file may be back after a power cut, as one that nobody knows
        sync_names(context.staging.results_dir)
    vacate(context, deleting)
    left = context.staging.inside(places.spent(slot))
    places.remove(left)
    return not os.path.lexists(left)


def clear(context: StoreContext[Base], deleting: Claim, slot: str) -> None:
    """Move the file into the slot, which works once."""
    if deleting.published is not None and deleting.path is not None:
        places.clear(context.staging, slot, deleting.path, deleting.published, bool(deleting.extra))


def spend(context: StoreContext[Base], slot: str) -> None:
    """End the time in which the file can be moved."""
    places.spend(context.staging, slot)


def vacate(context: StoreContext[Base], deleting: Claim) -> None:
    """End the delete: nothing of ours is left at its place, which is free again."""
    context.database.transact(lambda connection: context.ledger.vacate(connection, deleting.id, deleting.attempt))
