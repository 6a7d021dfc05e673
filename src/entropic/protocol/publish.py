"""Publication: from a finished attempt to a row and a file, by its owner or by anyone who finds it.

Every statement that the database may refuse comes first, then the file, then COMMIT. A crash anywhere leaves the
sidecar, from which the next caller does it again; each rename works once, so doing it again is harmless.
"""

import contextlib
import logging
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn, Protocol

from entropic.db.claim_record import RUNNING, Claim
from entropic.db.connection import Connection
from entropic.db.ledger import Result
from entropic.db.raw import Raw
from entropic.errors import DatabaseBusy, PublishError, ResultMissingError, note
from entropic.files import checkpoints, codes, environments
from entropic.files import place as places
from entropic.files import sidecar as sidecars
from entropic.files.durable import sync_names
from entropic.files.extent import extent
from entropic.files.packing import packed
from entropic.files.patience import REMEMBERED, list_repeatedly
from entropic.files.sidecar import NO_ORIGIN, Sidecar
from entropic.files.task import Task
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.protocol.outcome_values import outcome_values
from entropic.protocol.precedence import reclaim
from entropic.support.failure import record as record_of
from entropic.support.names import whole

log = logging.getLogger("entropic")


class Held(Protocol):
    """What a publication needs to know of its claim: a `Claim` that was read, or the owner's `Task`."""

    path: Any
    published: str | None
    extra: bool | None

    @property
    def own_size(self) -> int | None:
        """The recorded size of what lies at the place, if that is a result of ours."""
        ...  # pragma: no cover


class Fenced(Exception):
    """The attempt no longer holds its claim."""


class NotAtOnce(Exception):
    """The publication needs another transaction first."""

    def __init__(self, sidecar: Sidecar) -> None:
        super().__init__(sidecar.id)
        self.sidecar = sidecar


class Visible(NotAtOnce):
    """The row that a folder replaces is still visible, and must go."""


class Vanished(NotAtOnce):
    """Somebody removed the result before it was published."""


def publish(
    context: StoreContext[Base], sidecar: Sidecar, held: Held | None = None, forced: bool = False
) -> Raw | None:
    """Publish an attempt and return its raw row; None if another one's result counts, or will.

    Parameters
    ----------
    held
        What an owner knows of its claim, which nobody else changes while the attempt holds it (the fence tells).
        Others read it under the lock.
    forced
        Whether its result replaces that of an older attempt which it had taken over from.

    Raises
    ------
    PublishError
        If the database, or a file that is not ours, refuses it; the result is kept.
    ResultMissingError
        If an outsider removed the result meanwhile.
    """

    def work(connection: Connection) -> Raw | None:
        raw = publish_locked(context, connection, held or held_claim(context, connection, sidecar), sidecar)
        return raw or context.rows.read_within(connection, sidecar.id)

    while True:
        try:
            return context.database.transact(work)
        except Fenced:
            if not reclaim(context, sidecar, forced):
                return None
            held = None
        except Visible:
            unpublish(context, sidecar)
        except Vanished:
            if _turns_up(context, sidecar):
                continue
            record_vanished(context, sidecar)
            raise ResultMissingError(
                f"the result of {context.schema.name} {sidecar.id} was removed from {context.staging.results_dir} "
                "before it was recorded; call again to run it again"
            ) from None
        except context.database.troubles as error:
            raise_explained(context, sidecar, error)


def raise_explained(context: StoreContext[Base], sidecar: Sidecar, error: Exception) -> NoReturn:
    """Raise what the database or the disk refused, with the word that the finished run is kept."""
    if isinstance(error, DatabaseBusy):
        note(error, f"entropic: {sidecar.id} ran, and its result is kept; the next call for it records it")
    if isinstance(error, DatabaseBusy | PublishError):
        raise error
    raise PublishError(
        f"{context.schema.name} {sidecar.id} ran, but could not be recorded: {error}; its result is kept in "
        f"{context.staging.root}, and the next call for it records it without running it again; delete() discards it"
    ) from error


def held_claim(context: StoreContext[Base], connection: Connection, sidecar: Sidecar) -> Claim:
    """Return the claim that an attempt holds, read under the lock."""
    claim, _ = context.ledger.lock(connection, sidecar.id)
    if claim is None or claim.attempt != sidecar.attempt or claim.state != RUNNING:
        raise Fenced
    return claim


def publish_locked(context: StoreContext[Base], connection: Connection, claim: Held, sidecar: Sidecar) -> Raw | None:
    """Do all of a publication but its COMMIT, under the lock on its claim; return the raw row, if it is known."""
    refuse_cut(context, sidecar)
    visible = sidecar.slotted and context.rows.exists(connection, sidecar.id) and _lies_at_place(context, claim)
    raw = record(context, connection, claim, sidecar)
    if visible:
        raise Visible(sidecar)  # and roll back: what the database refuses, it has refused by now
    move(context, claim, sidecar)
    if context.fsync:
        sync_places(context)
    return raw


def refuse_cut(context: StoreContext[Base], sidecar: Sidecar) -> None:
    """Refuse values that the model's columns do not take: a server would make 2 of 2.5, and say nothing.

    Raises
    ------
    PublishError
        It stays as it is, until a process records it whose model has been retyped.
    """
    if (name := context.rows.binding.cut(sidecar.values)) is not None:
        raise PublishError(
            f"{context.schema.name} {sidecar.id} ran with {name}={sidecar.values[name]!r}, but the model of this "
            f"program takes only whole numbers for {name!r}. Its result is kept; a program whose model has "
            f"{name}: Mapped[float] = retyped(int) records it"
        )


def _lies_at_place(context: StoreContext[Base], claim: Held) -> bool:
    return claim.published is not None and extent(context.staging.path(claim.path or "")) is not None


def record(context: StoreContext[Base], connection: Connection, claim: Held, sidecar: Sidecar) -> Raw | None:
    """Execute every statement of a publication: the fence, then the row; return it raw, if it is known."""
    result = _result_of(context, sidecar)
    if not context.ledger.publish(connection, result):
        raise Fenced
    if context.rows.has_defaults:  # of the database: a new row gets new ones
        context.rows.delete(connection, sidecar.id)
    place = claim.path or ""
    row = row_at(context, place, sidecar)
    context.rows.upsert(connection, row)
    if sidecar.digest is not None:
        record_digest(context, connection, claim.published, sidecar)
    if sidecar.inputs:
        context.origins.inputs.write(connection, sidecar.id, sidecar.inputs)
    return context.rows.written(row, result[-1], sidecar.size, sidecar.mtime_ns, place)


def record_many(
    context: StoreContext[Base], connection: Connection, held: list[tuple[Task, Sidecar]]
) -> list[Raw | None]:
    """Execute every statement of many publications of our own: the fences, then the rows; return those as `record`."""
    results = [_result_of(context, sidecar) for _, sidecar in held]
    if not context.ledger.publish_many(connection, results):
        raise Fenced
    if context.rows.has_defaults:
        for _, sidecar in held:
            context.rows.delete(connection, sidecar.id)
    rows = [row_at(context, task.path, sidecar) for task, sidecar in held]
    context.rows.upsert_many(connection, rows)
    for task, sidecar in held:
        if sidecar.digest is not None:
            record_digest(context, connection, task.published, sidecar)
    for _, sidecar in held:
        if sidecar.inputs:
            context.origins.inputs.write(connection, sidecar.id, sidecar.inputs)
    return [
        context.rows.written(row, result[-1], sidecar.size, sidecar.mtime_ns, task.path)
        for (task, sidecar), row, result in zip(held, rows, results, strict=True)
    ]


def record_digest(context: StoreContext[Base], connection: Connection, published: str | None, sidecar: Sidecar) -> None:
    """Record the digest of a result; see by that of what it replaces whether somebody has changed those bytes."""
    if sidecar.digest is None:
        return
    if sidecar.replaced is not None:
        told = context.digests.of([sidecar.id], connection).get(sidecar.id)
        is_its = told is not None and told.attempt == published
        sidecar.was_altered = told is not None and is_its and told.sha256 != sidecar.replaced
    context.digests.write(connection, sidecar.id, sidecar.attempt, sidecar.digest)


def _result_of(context: StoreContext[Base], sidecar: Sidecar) -> Result:
    """Return what the ledger records of a result, as `Ledger.publish` takes it."""
    checksum = context.rows.own_checksum(sidecar.values)
    later = *(sidecar.origin or NO_ORIGIN), len(sidecar.inputs) if sidecar.inputs else None
    return sidecar.id, sidecar.attempt, sidecar.size, sidecar.mtime_ns, sidecar.extra, checksum, later


def row_at(context: StoreContext[Base], place: str, sidecar: Sidecar) -> dict[str, object]:
    """Return the row of a result that lies at a place, as the driver stores it."""
    outcomes, custom_data = outcome_values(context, sidecar)
    binding, text = context.rows.binding, sidecar.custom_text
    is_written = text is not None and binding.keeps_json and custom_data is sidecar.custom_data
    return {
        "id": sidecar.id,
        "result_file": context.staging.file(place),
        "created_at": binding.created_at(sidecar.created_at),
        "custom_data": text if is_written else binding.custom_data(custom_data),
        **context.rows.whole(sidecar.values),
        **outcomes,
    }


def move(context: StoreContext[Base], claim: Held, sidecar: Sidecar) -> None:
    """Bring the result, and what else the runner left, to their place."""
    staging, where = context.staging, claim.path or ""
    sidecar.place = where
    if sidecar.slotted:
        if claim.published:
            places.move_aside(staging, sidecar, where)
        places.spend_slot(staging, sidecar)
        if claim.published:
            places.keep_changed_folder(staging, sidecar, where, claim.published, claim.own_size)
    elif claim.published:
        places.keep_changed(staging, sidecar, where, claim.published, claim.own_size)
    moved = places.place(staging, sidecar, where, first=claim.published is None)
    if not moved and not sidecar.matches(extent(staging.path(where))):
        raise Vanished(sidecar)
    if sidecar.extra or claim.extra:
        places.keep(staging, sidecar, where, claim.published if claim.extra else None)


def sync_places(context: StoreContext[Base]) -> None:
    """Return when what was moved to its place is there after a power cut too, if the store asks for that."""
    if context.fsync:
        sync_names(context.staging.results_dir)


def unpublish(context: StoreContext[Base], sidecar: Sidecar) -> None:
    """Delete the row of a result that a folder replaces: no reader may see it while its file is on the way."""

    def work(connection: Connection) -> None:
        claim, _ = context.ledger.lock(connection, sidecar.id)
        if claim is not None and claim.attempt == sidecar.attempt and claim.state == RUNNING:
            context.rows.delete(connection, sidecar.id)

    context.database.transact(work)


def clean(context: StoreContext[Base], sidecar: Sidecar) -> None:
    """Remove what is left of a published attempt, its sidecar, and the old folder that it moved aside; note its row.

    A kill between the two leaves the sidecar, and whoever removes that notes it once more, which does no harm.
    """
    if sidecar.origin is not None:
        record_environment(context, sidecar.origin.environment)
        record_code(context, sidecar.origin.code)
    if context.journal is not None:
        context.journal.add(sidecar, sidecar.place or _place_of(context, sidecar))
    if sidecar.slotted:
        places.remove(context.staging.inside(places.spent(sidecar.slot)))
    if context.checkpoints:  # before the sidecar, from which it is repeated
        checkpoints.discard(context.staging, sidecar.key, sidecar.attempt)
    sidecars.discard(context.staging, sidecar.key, sidecar.attempt)


def record_environment(context: StoreContext[Base], number: int | None) -> None:
    """Record the environment of a run, the first time that this process meets it; its file says what it is.

    It is no part of a publication: what cannot be recorded now stays in its file, where it is looked for, too.
    """
    if number is None or context.origins.knows(number):
        return
    text = environments.read(context.staging, number)
    if text is not None:
        with contextlib.suppress(*context.database.troubles):
            context.origins.add_environment(number, text, partial(environments.read_diff, context.staging))


def record_code(context: StoreContext[Base], number: int | None) -> None:
    """Record the code of a worker that had loaded other code than was sent to it, as its file says it."""
    if number is None or number == context.current_code.number or context.origins.knows_code(number):
        return
    parts = codes.read(context.staging, number)
    with contextlib.suppress(*context.database.troubles):
        context.origins.add_code(number, parts)


def note_published(context: StoreContext[Base], sidecar: Sidecar) -> None:
    """Note a row whose owner was killed between its COMMIT and its note."""
    if sidecar.origin is not None:
        record_environment(context, sidecar.origin.environment)
        record_code(context, sidecar.origin.code)
    claim = context.ledger.of(sidecar.model).find(sidecar.id) if context.journal is not None else None
    if context.journal is not None and claim is not None and claim.published == sidecar.attempt and claim.path:
        context.journal.add(sidecar, claim.path)


def _place_of(context: StoreContext[Base], sidecar: Sidecar) -> str:
    """Return where the result of an attempt lies that somebody else has published."""
    try:
        claim = context.ledger.find(sidecar.id)
    except context.database.troubles:  # what was published stays published
        claim = None
    return (claim and claim.path) or context.staging.place(sidecar.id)


def discard(context: StoreContext[Base], sidecar: Sidecar) -> None:
    """Remove all of an attempt that was superseded: the result before the sidecar that names it.

    A sidecar of another execution stays, with what it names: that was written after ours was removed while torn.
    """
    for name in (sidecar.result, sidecar.files, sidecar.slot, places.spent(sidecar.slot)):
        places.remove(context.staging.inside(name))
    if context.checkpoints:
        checkpoints.discard(context.staging, sidecar.key, sidecar.attempt)
    found = sidecars.read(context.staging, sidecar.key, sidecar.attempt)
    if found is None or found.execution == sidecar.execution:
        sidecars.discard(context.staging, sidecar.key, sidecar.attempt)


def discard_finished(context: StoreContext[Base], id: str) -> None:
    """Discard the finished attempt that a key has and the database refuses, because the user says so."""

    def work(connection: Connection) -> Sidecar | None:
        claim, _ = context.ledger.lock(connection, id)
        if claim is None or claim.state != RUNNING:
            return None
        sidecar = sidecars.read(context.staging, context.key_of(id), claim.attempt)
        if sidecar is not None:
            context.ledger.withdraw(connection, claim)
        return sidecar

    finished = context.database.transact(work)
    if finished is not None:
        discard(context, finished)


def _turns_up(context: StoreContext[Base], sidecar: Sidecar) -> bool:
    """Tell whether a result that is neither in staging nor at its place is there after all, and is seen late.

    Another host that died before its COMMIT may have placed it.
    """
    age = time.time() - datetime.fromisoformat(sidecar.created_at).replace(tzinfo=UTC).timestamp()
    if not context.database.is_shared or age > REMEMBERED:
        return False
    context.database.free_connection()
    for names in list_repeatedly(context.staging.results_dir, REMEMBERED - max(0.0, age)):
        claim = context.ledger.find(sidecar.id)
        if claim is None or claim.path is None or claim.attempt != sidecar.attempt:
            return True  # somebody else has gone on, as the next try will tell
        if sidecar.matches(extent(context.staging.path(claim.path))):
            return True
        if whole(claim.path) not in names:
            return False
    return False


def record_vanished(context: StoreContext[Base], sidecar: Sidecar) -> None:
    """Record that an outsider removed a result before its row was there; a later call runs it again."""
    message = f"the finished result was removed from {context.staging.results_dir} before it was recorded"
    failure = {**record_of("ResultMissingError", message, "", time.time()), "attempt": sidecar.attempt}
    failure |= {
        "values": packed(sidecar.values),
        "given": [context.schema.attributes[name] for name in sidecar.values],
    }
    context.database.transact(
        lambda connection: context.ledger.record_vanished(connection, sidecar.id, sidecar.attempt, failure)
    )
    discard(context, sidecar)
