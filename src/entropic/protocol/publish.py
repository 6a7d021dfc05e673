"""Publication: from a finished attempt to a row and a file, by its owner or by anyone who finds it.

Every statement that the database may refuse comes first, then the file, then COMMIT. A crash anywhere leaves the
sidecar, from which the next caller does it again; each rename works once, so doing it again is harmless.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from entropic.db.connection import Connection
from entropic.db.ledger import RUNNING, Claim
from entropic.errors import DatabaseBusy, PublishError, ResultMissingError, note
from entropic.files import place as places
from entropic.files import sidecar as sidecars
from entropic.files.attempt import Task
from entropic.files.durable import sync
from entropic.files.measure import measure
from entropic.files.sidecar import Sidecar
from entropic.protocol.context import Parts
from entropic.support.failure import record as record_of

log = logging.getLogger("entropic")


class Held(Protocol):
    """What a publication needs to know of its claim: a `Claim` that was read, or the owner's `Task`."""

    path: Any
    published: str | None
    extra: bool | None


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


def publish(parts: Parts[Any], sidecar: Sidecar, held: Held | None = None) -> Any:
    """Publish an attempt and return its raw row; None if it does not hold the claim any more.

    Parameters
    ----------
    held
        What an owner knows of its claim, which nobody else changes while the attempt holds it (the fence tells).
        Others read it under the lock.

    Raises
    ------
    PublishError
        If the database, or a file that is not ours, refuses it; the result is kept.
    ResultMissingError
        If an outsider removed the result meanwhile.
    """

    def work(connection: Connection) -> Any:
        raw = publish_locked(parts, connection, held or held_claim(parts, connection, sidecar), sidecar)
        return raw or parts.rows.read(sidecar.id)

    while True:
        try:
            return parts.database.transact(work)
        except Fenced:
            return None
        except Visible:
            unpublish(parts, sidecar)
        except Vanished:
            vanished(parts, sidecar)
            raise ResultMissingError(
                f"the result of {parts.schema.name} {sidecar.id} was removed from {parts.area.results_dir} before it "
                "was recorded; call again to run it again"
            ) from None
        except parts.database.troubles as error:
            raise_explained(parts, sidecar, error)


def raise_explained(parts: Parts[Any], sidecar: Sidecar, error: Exception) -> NoReturn:
    """Raise what the database or the disk refused, with the word that the finished run is kept."""
    if isinstance(error, DatabaseBusy):
        note(error, f"entropic: {sidecar.id} ran, and its result is kept; the next call for it records it")
    if isinstance(error, DatabaseBusy | PublishError):
        raise error
    raise PublishError(
        f"{parts.schema.name} {sidecar.id} ran, but could not be recorded: {error}; its result is kept in "
        f"{parts.area.root}, and the next call for it records it without running it again; delete() discards it"
    ) from error


def held_claim(parts: Parts[Any], connection: Connection, sidecar: Sidecar) -> Claim:
    """Return the claim that an attempt holds, read under the lock."""
    claim, _ = parts.ledger.lock(connection, sidecar.id)
    if claim is None or claim.attempt != sidecar.attempt or claim.state != RUNNING:
        raise Fenced
    return claim


def publish_locked(parts: Parts[Any], connection: Connection, claim: Held, sidecar: Sidecar) -> Any:
    """Do all of a publication but its COMMIT, under the lock on its claim; return the raw row, if it is known."""
    visible = sidecar.slotted and parts.rows.exists(connection, sidecar.id) and _lies_at_place(parts, claim)
    raw = record(parts, connection, claim, sidecar)
    if visible:
        raise Visible(sidecar)  # and roll back: what the database refuses, it has refused by now
    move(parts, claim, sidecar)
    return raw


def _lies_at_place(parts: Parts[Any], claim: Held) -> bool:
    return claim.published is not None and measure(parts.area.path(claim.path or "")) is not None


def record(parts: Parts[Any], connection: Connection, claim: Held, sidecar: Sidecar) -> Any:
    """Execute every statement of a publication: the fence, then the row; return it raw, if it is known."""
    if not parts.ledger.publish(connection, *_result_of(parts, sidecar)):
        raise Fenced
    if parts.rows.has_defaults:  # of the database: a new row gets new ones
        parts.rows.delete(connection, sidecar.id)
    row = _row_of(parts, claim, sidecar)
    parts.rows.upsert(connection, row)
    return _raw_of(parts, claim, sidecar, row)


def record_many(parts: Parts[Any], connection: Connection, held: list[tuple[Task, Sidecar]]) -> list[Any]:
    """Execute every statement of many publications of our own: the fences, then the rows; return those as `record`."""
    if not parts.ledger.publish_many(connection, [_result_of(parts, sidecar) for _, sidecar in held]):
        raise Fenced
    if parts.rows.has_defaults:
        for _, sidecar in held:
            parts.rows.delete(connection, sidecar.id)
    rows = [_row_of(parts, task, sidecar) for task, sidecar in held]
    parts.rows.upsert_many(connection, rows)
    return [_raw_of(parts, task, sidecar, row) for (task, sidecar), row in zip(held, rows, strict=True)]


def _result_of(parts: Parts[Any], sidecar: Sidecar) -> tuple[Any, ...]:
    """Return what the ledger records of a result, as `Ledger.publish` takes it."""
    checksum = parts.rows.own_checksum(sidecar.values)
    return sidecar.id, sidecar.attempt, sidecar.size, sidecar.mtime_ns, sidecar.extra, checksum


def _row_of(parts: Parts[Any], claim: Held, sidecar: Sidecar) -> dict[str, Any]:
    """Return the row of a result, as the driver stores it."""
    return {
        "id": sidecar.id,
        "result_file": parts.area.path(claim.path or ""),
        "created_at": parts.rows.created_at(sidecar.created_at),
        "custom_data": parts.rows.custom_data(sidecar.custom_data),
        **sidecar.values,
    }


def _raw_of(parts: Parts[Any], claim: Held, sidecar: Sidecar, row: dict[str, Any]) -> Any:
    return parts.rows.written(row, sidecar.size, sidecar.mtime_ns, claim.path or "")


def move(parts: Parts[Any], claim: Held, sidecar: Sidecar) -> None:
    """Bring the result, and what else the runner left, to their place."""
    area, where = parts.area, claim.path or ""
    if sidecar.slotted:
        if claim.published:
            places.move_aside(area, sidecar, where)
        places.spend_slot(area, sidecar)
    moved = places.place(area, sidecar, where, first=claim.published is None)
    if not moved and not sidecar.matches(measure(area.path(where))):
        raise Vanished(sidecar)
    if sidecar.extra or claim.extra:
        places.keep(area, sidecar, where, claim.published if claim.extra else None)
    if parts.fsync:
        sync(area.results_dir, deep=False)


def unpublish(parts: Parts[Any], sidecar: Sidecar) -> None:
    """Delete the row of a result that a folder replaces: no reader may see it while its file is on the way."""

    def work(connection: Connection) -> None:
        claim, _ = parts.ledger.lock(connection, sidecar.id)
        if claim is not None and claim.attempt == sidecar.attempt and claim.state == RUNNING:
            parts.rows.delete(connection, sidecar.id)

    parts.database.transact(work)


def clean(parts: Parts[Any], sidecar: Sidecar) -> None:
    """Remove what is left of a published attempt: its sidecar, and the old folder that it moved aside."""
    if sidecar.slotted:
        places.remove(parts.area.inside(places.spent(sidecar.slot)))
    sidecars.discard(parts.area, sidecar.key, sidecar.attempt)


def discard(parts: Parts[Any], sidecar: Sidecar) -> None:
    """Remove all of an attempt that was superseded: the result before the sidecar that names it."""
    for name in (sidecar.result, sidecar.files, sidecar.slot, places.spent(sidecar.slot)):
        places.remove(parts.area.inside(name))
    sidecars.discard(parts.area, sidecar.key, sidecar.attempt)


def discard_finished(parts: Parts[Any], id: str) -> None:
    """Discard the finished attempt that a key has and the database refuses, because the user says so."""

    def work(connection: Connection) -> Sidecar | None:
        claim, _ = parts.ledger.lock(connection, id)
        if claim is None or claim.state != RUNNING:
            return None
        sidecar = sidecars.read(parts.area, parts.key_of(id), claim.attempt)
        if sidecar is not None:
            parts.ledger.release(connection, id, claim.attempt)
        return sidecar

    finished = parts.database.transact(work)
    if finished is not None:
        discard(parts, finished)


def vanished(parts: Parts[Any], sidecar: Sidecar) -> None:
    """Record that an outsider removed a result before its row was there; a later call runs it again."""
    message = f"the finished result was removed from {parts.area.results_dir} before it was recorded"
    failure = {**record_of("ResultMissingError", message, "", time.time()), "attempt": sidecar.attempt}
    failure |= {
        "values": sidecars.packed(sidecar.values),
        "given": [parts.schema.attributes[name] for name in sidecar.values],
    }
    parts.database.transact(lambda connection: parts.ledger.vanished(connection, sidecar.id, sidecar.attempt, failure))
    discard(parts, sidecar)


@dataclass(slots=True)
class Published:
    """What has become of many attempts, by key.

    Attributes
    ----------
    raws
        The raw rows of those that were recorded; None for what must be read.
    superseded
        Those that a later attempt has replaced.
    refused
        Why some could not be recorded; what these name is kept.
    """

    raws: dict[str, Any] = field(default_factory=dict)
    superseded: dict[str, Sidecar] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)


def publish_many(parts: Parts[Any], finished: Iterable[tuple[Task, Sidecar]], published: Published) -> None:
    """Publish many attempts of our own, in one transaction where that is possible.

    Parameters
    ----------
    published
        Is told as it goes, so that an interrupt loses nothing of it.
    """
    ordered = sorted(finished, key=lambda one: one[0].id)
    if len(ordered) > 1 and not any(sidecar.slotted for _, sidecar in ordered):
        try:
            _publish_together(parts, ordered, published)
            return
        except Exception as error:  # noqa: BLE001  (one by one shows which of them it was)
            log.debug("a batch of %d could not be published together (%s); one by one", len(ordered), error)
    for task, sidecar in ordered:
        if task.id in published.raws:  # only what is left of it could not be removed
            clean(parts, sidecar)
            continue
        try:
            raw = publish(parts, sidecar, task)
            if raw is None:
                published.superseded[task.id] = sidecar
                continue
            published.raws[task.id] = raw
            clean(parts, sidecar)
        except (PublishError, ResultMissingError) as error:
            published.refused[task.id] = error


def _publish_together(parts: Parts[Any], ordered: list[tuple[Task, Sidecar]], published: Published) -> None:
    def work(connection: Connection) -> list[Any]:
        raws = record_many(parts, connection, ordered)
        for task, sidecar in ordered:
            move(parts, task, sidecar)
        return raws

    raws = parts.database.transact(work)
    published.raws.update(zip((task.id for task, _ in ordered), raws, strict=True))
    for _, sidecar in ordered:
        clean(parts, sidecar)
