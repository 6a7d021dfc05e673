"""Whether suspects that have their size, and another time, hold the bytes that were recorded: read before any lock.

Reading may take long, and all others would wait meanwhile. What was found counts under the lock as long as attempt,
size and time are those with which the bytes were read; otherwise they are read again, without the lock.
"""

from collections.abc import Mapping

from entropic.db.claim_record import DELETING, RUNNING, Claim
from entropic.db.digests import Digest, Seen
from entropic.db.raw import Raw, Recorded
from entropic.files.content import Strange
from entropic.files.digest import digest
from entropic.files.extent import Extent
from entropic.params.model import Base
from entropic.protocol import lookup
from entropic.protocol.context import StoreContext

DIFFERENCE = "has the size that was stored, but not the bytes"  # after its path


def differing(context: StoreContext[Base], suspects: Mapping[str, Raw]) -> set[str]:
    """Return the keys of those suspects, given raw, whose time alone differs, and whose bytes are not as recorded.

    One without a digest is never among them, nor one that is just being replaced.
    """
    told = context.digests.of(suspects)
    claims = {claim.id: claim for claim in context.ledger.find_many(told)} if told else {}
    own = {id: (one, claims[id]) for id, one in told.items() if one.is_of(claims.get(id))}
    return {id for id, (one, claim) in own.items() if _differs(context, suspects[id], one, claim)}


def is_as_stored(context: StoreContext[Base], suspect: Raw) -> bool:
    """Tell whether a suspect's file merely has another time, and all bytes that are recorded of it."""
    return lookup.only_mtime_differs(context, suspect) and not differing(
        context, {context.rows.id_of(suspect): suspect}
    )


def is_comparable(recorded: Recorded, found: Extent) -> bool:
    """Tell whether a file has its size, and another time, so that only its bytes can say what it is."""
    return recorded.is_ours and found.size == recorded.size and found.mtime_ns != recorded.mtime_ns


def known(context: StoreContext[Base], claim: Claim, found: Extent) -> Seen | None:
    """Return what the bytes of a claim's result were found to be, if its file is as it was then."""
    seen = context.digests.seen(claim.id)
    return seen if seen is not None and seen[:3] == (claim.published, found.size, found.mtime_ns) else None


def is_known_to_differ(context: StoreContext[Base], id: str, found: Extent) -> bool:
    """Tell whether what lies at the place of a key was found to hold other bytes than were recorded."""
    seen = context.digests.seen(id)
    return seen is not None and seen.is_same is False and (seen.size, seen.mtime_ns) == (found.size, found.mtime_ns)


def _differs(context: StoreContext[Base], suspect: Raw, told: Digest, claim: Claim) -> bool:
    found = context.extent_of(suspect)
    if found is None or not is_comparable(Recorded.of(suspect), found):
        return False
    seen = known(context, claim, found)
    if seen is None or seen.is_same is None:
        seen = Seen(told.attempt, found.size, found.mtime_ns, _is_same(context.path_of(suspect), told.sha256))
        if seen.is_same is False and _is_replaced(context, suspect, claim, found):
            return False
        context.digests.remember(claim.id, seen)
    return seen.is_same is False


def _is_same(path: str, sha256: str) -> bool | None:
    """Compare a result with its digest; None if it cannot be read: nobody can be given wrong bytes of it, either."""
    try:
        return digest(path) == sha256
    except (OSError, Strange):
        return None


def _is_replaced(context: StoreContext[Base], suspect: Raw, claim: Claim, found: Extent) -> bool:
    """Tell whether a result was replaced, or written to, while it was read, or is about to be."""
    now = context.ledger.find(claim.id)
    if now is None or now.published != claim.published or now.state == DELETING:
        return True
    return context.extent_of(suspect) != found or (now.state == RUNNING and context.is_finished(now.id, now.attempt))
