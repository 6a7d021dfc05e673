"""The claim: lock, look, decide. Who wants a key learns here whether to run it, to wait, or to read its row again.

Here, too, the claim of an owner that is dead is taken over. Whether it is dead, the claim itself says:
`db/claim_record.py`.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from entropic.db.claim_record import DELETING, FAILED, RUNNING, Claim
from entropic.db.connection import Connection
from entropic.db.digests import Digest
from entropic.db.raw import Raw, Recorded, told
from entropic.errors import ForeignFileError, ResultMissingError, RunFailed, UnreadableError
from entropic.files import checkpoints
from entropic.files import sidecar as sidecars
from entropic.files.sidecar import Sidecar, Unreadable
from entropic.files.staging import key_of
from entropic.files.task import Task, inside
from entropic.params.model import Base
from entropic.protocol import compare, publish
from entropic.protocol.clear import finish_delete
from entropic.protocol.context import StoreContext
from entropic.protocol.rehearse import rehearsal, rehearse
from entropic.protocol.request import Progress, Request, without_reserved
from entropic.protocol.verify import Altered
from entropic.support.names import whole

T = TypeVar("T")
# Of a suspect, under the lock: its row can be served, or its result is lost, or its bytes have yet to be compared.
STANDS: Literal["stands"] = "stands"
LOST: Literal["lost"] = "lost"
UNKNOWN: Literal["unknown"] = "unknown"
Rechecked = Literal["stands", "lost", "unknown"]


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else runs the key."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Pending:
    """The key's attempt is finished, or its row deleted, and only the rest is left to do, by anyone."""

    claim: Claim
    finished: Sidecar | None


Act = Callable[[Connection, Claim | None, set[str]], T]


def act_when_settled(context: StoreContext[Base], id: str, act: Act[T]) -> T | None:
    """Lock the claim of a key, look, and act under the lock; None if something half done was finished instead.

    What somebody else has left half done lacks only what anyone can do, whether its owner lives or not: a finished
    attempt is published, a deleted row's file is removed. Then the caller must look again.
    """
    pending: Pending | None = None

    def work(connection: Connection) -> T | None:
        nonlocal pending
        found, taken = lock(context, connection, id)
        pending = find_pending(context, found)
        if pending is None:
            return act(connection, found, taken)
        if pending.finished is not None:
            publish.publish_locked(context, connection, pending.claim, pending.finished)
        return None

    try:
        result = context.database.transact(work)
    except publish.NotAtOnce as pause:
        with contextlib.suppress(ResultMissingError):  # recorded, and not the error of this call
            publish.publish(context, pause.sidecar)  # takes more than one transaction
        return None
    except context.database.troubles as error:
        if pending is None or pending.finished is None:
            raise
        publish.raise_explained(context, pending.finished, error)
    if pending is not None:
        tidy(context, pending)
    return result


def lock(context: StoreContext[Base], connection: Connection, id: str) -> tuple[Claim | None, set[str]]:
    """Read the claim under the lock, and the places that other models hold for the same id."""
    return context.ledger.lock(connection, id)


def find_pending(context: StoreContext[Base], found: Claim | None) -> Pending | None:
    """Look whether the claim lacks only what anyone can do."""
    if found is None or found.state not in (RUNNING, DELETING):
        return None
    finished = find_sidecar(context, found) if found.state == RUNNING else None
    return Pending(found, finished) if finished is not None or found.state == DELETING else None


def tidy(context: StoreContext[Base], pending: Pending) -> None:
    """Do what is left after somebody else's transaction was finished."""
    if pending.finished is None:
        finish_delete(context, pending.claim)
    elif pending.claim.dead or pending.claim.submission is not None:  # a living owner does it itself
        checkpoints.discard(context.staging, pending.finished.key, pending.finished.attempt)
        publish.clean(context, pending.finished)


def claim(context: StoreContext[Base], request: Request, owner: str, known: Progress) -> Task | Busy | None:
    """Claim a wanted key: its task, who is at it, or None if its row is to be read again."""
    first = begin_first(context, context.database.connection(), request, owner, known)
    if first is not None:
        return first

    def act(connection: Connection, found: Claim | None, taken: set[str]) -> Task | Busy | None:
        return decide(context, connection, request, owner, known, found, taken)

    return act_when_settled(context, request.id, act)


def is_busy(found: Claim | None, owner: str | None = None) -> bool:
    """Tell whether somebody else runs the key and lives."""
    return found is not None and found.state == RUNNING and found.owner != owner and not found.dead


def decide(
    context: StoreContext[Base],
    connection: Connection,
    request: Request,
    owner: str,
    known: Progress,
    found: Claim | None,
    taken: set[str],
) -> Task | Busy | None:
    """Decide, under the lock and with nothing half done, what becomes of a wanted key.

    Raises
    ------
    RunFailed
        If the attempt that this call waited for failed.
    ParameterError, KeyCollisionError, ForeignFileError
        Before anything runs.
    """
    raw = context.rows.read_within(connection, request.id)
    if raw is not None:
        is_lost = known.forced
        try:
            context.verify(raw, request.params, connection)
        except Altered:
            is_lost = True  # whatever its file is like
        if known.suspect is not None and known.suspect.stale:
            is_unchanged = bool(known.suspect.since) and told(raw) == told(known.suspect.raw)
            is_lost = is_lost or is_unchanged or context.current_code.refuses(Recorded.of(raw).code)
        if known.suspect is not None and known.suspect.unwanted:
            is_lost = is_lost or told(raw) == told(known.suspect.raw)
        if not is_lost and (known.suspect is None or not _is_lost(context, connection, known.suspect.raw, raw, found)):
            return None  # to be read again, and compared, if that is what it lacks
    if found is not None and is_busy(found, owner):
        return Busy(found)
    if found is not None and found.state == FAILED and found.attempt == known.waited and not known.forced:
        raise failed(context, request, context.ledger.failure(request.id, connection))
    return begin(context, connection, found, taken, request, owner)


def find_sidecar(context: StoreContext[Base], found: Claim) -> Sidecar | None:
    """Return the sidecar of a running claim, if its attempt is finished.

    Raises
    ------
    UnreadableError
        If a later version of entropic has finished it: it must not run again, and only that version can record it.
    """
    told = sidecars.inspect(context.staging, context.key_of(found.id), found.attempt)
    if not isinstance(told, Unreadable):
        return told
    if not told.newer:  # as good as torn: this attempt has said nothing
        return None
    path = context.staging.inside(sidecars.name(context.key_of(found.id), found.attempt))
    raise UnreadableError(
        f"{context.schema.name} {found.id} ran, but its result is not recorded yet, and {path} cannot be read: "
        f"{told.why}. Nothing was run"
    )


def confirm(context: StoreContext[Base], suspects: Mapping[str, Raw]) -> dict[str, Raw]:
    """Record anew, under the lock, the time of files that only bear another than was recorded.

    Parameters
    ----------
    suspects
        The raw rows, by key. Those that have a digest were compared with it.

    Returns
    -------
    dict[str, Raw]
        The raw rows that stand. Another row, or a run that lacks just its publication, is looked for elsewhere.
    """

    def work(connection: Connection) -> dict[str, Raw]:
        locked: dict[str, tuple[Claim | None, Raw]] = {}
        for id in sorted(suspects):  # in the order of the keys: who locks several in another order meets a deadlock
            try:
                found, _ = lock(context, connection, id)
                raw = context.rows.read_within(connection, id) if find_pending(context, found) is None else None
            except UnreadableError:  # the fault of this one alone, as whoever claims it is told
                continue
            if raw is not None:
                locked[id] = found, raw
        told = context.digests.of(locked, connection)
        return {
            id: raw
            for id, (found, raw) in locked.items()
            if _recheck(context, connection, suspects[id], raw, found, told.get(id)) == STANDS
        }

    return context.database.transact(work)


def _is_lost(context: StoreContext[Base], connection: Connection, suspect: Raw, raw: Raw, claim: Claim | None) -> bool:
    """Tell whether the row is still the one whose file was not as recorded, and that is known to be lost."""
    id = context.rows.id_of(raw)
    told = context.digests.of([id], connection).get(id)
    return _recheck(context, connection, suspect, raw, claim, told) == LOST


def _recheck(
    context: StoreContext[Base],
    connection: Connection,
    suspect: Raw,
    raw: Raw,
    claim: Claim | None,
    told: Digest | None,
) -> Rechecked:
    """Check a suspect again, under the lock: is it still the one whose file was not as recorded?

    Nothing is read here but what was found before of the bytes: see `compare`.
    """
    recorded = Recorded.of(raw)
    if Recorded.of(suspect)[3:] != recorded[3:]:  # whatever runs
        return STANDS
    found = context.extent_of(raw)
    if found is None or (recorded.size is not None and found.size != recorded.size):
        return LOST
    if claim is not None and told is not None and told.is_of(claim) and compare.is_comparable(recorded, found):
        seen = compare.known(context, claim, found)
        if seen is None:
            return UNKNOWN
        if seen.is_same is not True:  # what cannot be read stands, and its time is not recorded
            return STANDS if seen.is_same is None else LOST
    if recorded.is_ours:
        id = context.rows.id_of(raw)
        context.ledger.record_extent(connection, id, found.size, found.mtime_ns)  # a copied project
    return STANDS


def begin(
    context: StoreContext[Base],
    connection: Connection,
    found: Claim | None,
    taken: set[str],
    request: Request,
    owner: str,
) -> Task:
    """Claim the key for a new attempt, and return its task.

    Raises
    ------
    ParameterError
        If the database would refuse their row.
    ForeignFileError
        If files that are not ours are at every place that the result could have.
    """
    if context.rows.must_be_tried(request.columns, request.values):
        with rehearsal(connection):
            rehearse(context, connection, request)
    old = found if found is not None and found.published is not None else None
    place = (old and old.path) or _free_place(context, request, taken)
    attempt = context.ledger.claim(connection, found, request.id, owner, place)
    return _task(context, request, owner, attempt, place, old)


def begin_first(
    context: StoreContext[Base], connection: Connection, request: Request, owner: str, known: Progress
) -> Task | None:
    """Claim a key that was never claimed, in one statement, which needs no look: there can be no sidecar yet.

    None if it was claimed before, or might be refused; then `act_when_settled` decides.
    """
    if not known.is_new:
        return None
    place = context.staging.place(request.id)
    if context.rows.must_be_tried(request.columns, request.values) or context.staging.is_taken(place):
        return None
    attempt = context.ledger.claim_first(connection, request.id, owner, place)
    return None if attempt is None else _task(context, request, owner, attempt, place, None)


def begin_first_many(
    context: StoreContext[Base], connection: Connection, requests: Iterable[Request], owner: str
) -> dict[str, Task]:
    """Claim those of many keys that were never claimed, inside a transaction; return their tasks by id."""
    places: dict[str, str] = {}
    by_id = {request.id: request for request in requests}
    for id, request in by_id.items():
        place = context.staging.place(id)
        if not context.rows.must_be_tried(request.columns, request.values) and not context.staging.is_taken(place):
            places[id] = place
    if not places:
        return {}
    attempts = context.ledger.claim_first_many(connection, places, owner)
    return {id: _task(context, by_id[id], owner, attempt, places[id], None) for id, attempt in attempts.items()}


def _task(
    context: StoreContext[Base], request: Request, owner: str, attempt: str, place: str, old: Claim | None
) -> Task:
    model, id = context.ledger.model, request.id
    published, extra, own_size = (None, None, None) if old is None else (old.published, old.extra, old.own_size)
    return Task(  # in the order of its fields: by name it would take three times as long
        context.staging,
        model,
        id,
        key_of(model, id),
        attempt,
        owner,
        place,
        published,
        extra,
        own_size,
        with_defaults(context, request),
        request.custom_data,
        request.row(),
        context.fsync,
        inside.get(),
        True if context.checkpoints else None,
        context.current_code.number,
        context.checksum or (old is not None and _is_altered(context, old)),
    )


def _is_altered(context: StoreContext[Base], old: Claim) -> bool:
    """Tell whether the result that is replaced holds other bytes than were recorded: then it is kept, by its digest."""
    seen = context.digests.seen(old.id)
    return seen is not None and seen.is_same is False and seen.attempt == old.published


def with_defaults(context: StoreContext[Any], request: Request) -> dict[str, object]:
    """Return what a runner gets: what was asked for, and the defaults of columns that were left out."""
    params = without_reserved(request.params)
    if len(params) < len(request.columns):
        lacking = context.rows.binding.made_here - params.keys()
        params = {**params, **context.rows.values_of(request.row(), lacking)} if lacking else params
    return params


def _free_place(context: StoreContext[Base], request: Request, taken: set[str]) -> str:
    first, taken = "", set(map(whole, taken))
    for place in context.staging.places(request.id):
        first = first or place
        if whole(place) not in taken and not context.staging.is_taken(place):
            return place
    raise ForeignFileError(
        f"{context.staging.path(first)} and every other place for the result of "
        f"{context.describe(request.params, request.id)} is taken by files that this store did "
        "not make; move them away. Nothing was run"
    )


def failed(context: StoreContext[Base], request: Request, failure: dict[str, Any]) -> RunFailed:
    """Return the error for a call that waited for an attempt which failed."""
    return RunFailed(
        f"the attempt that this call waited for failed: {context.describe(request.params, request.id)} raised "
        f"{failure.get('type')}: {failure.get('message')} on {failure.get('host')} (pid {failure.get('pid')}); call "
        f"again to try again. Its traceback:\n{failure.get('traceback', '')}",
        failure,
    )
