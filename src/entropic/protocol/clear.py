"""What is left to do once a row is deleted: its file goes into a slot, which is spent before the claim moves on."""

from typing import Any

from entropic.db.ledger import Claim
from entropic.files import place as places
from entropic.protocol.context import Parts


def slot_of(parts: Parts[Any], id: str, attempt: str) -> str:
    """Return the name of the slot of a delete."""
    return f"{parts.key_of(id)}.{attempt}.slot"


def finish_delete(parts: Parts[Any], deleting: Claim) -> None:
    """Remove a deleted row's file; the deleter does it, and anyone who finds it half done."""
    slot = slot_of(parts, deleting.id, deleting.attempt)
    clear(parts, deleting, slot)
    spend(parts, slot)
    release(parts, deleting)
    places.remove(parts.area.inside(places.spent(slot)))


def clear(parts: Parts[Any], deleting: Claim, slot: str) -> None:
    """Move the file into the slot, which works once."""
    if deleting.published is not None and deleting.path is not None:
        places.clear(parts.area, slot, deleting.path, deleting.published, bool(deleting.extra))


def spend(parts: Parts[Any], slot: str) -> None:
    """End the time in which the file can be moved."""
    places.spend(parts.area, slot)


def release(parts: Parts[Any], deleting: Claim) -> None:
    """Let the claim move on: nothing of ours is left at its place."""
    parts.database.transact(lambda connection: parts.ledger.cleared(connection, deleting.id, deleting.attempt))
