"""Recovery: what dead owners left behind is published if it is finished, and removed if it is not.

It happens by itself when a store opens and when a sweep begins. One listing of the area shows, when all is well,
only the workspaces of living workers.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from entropic.db.connection import Connection
from entropic.db.ledger import DELETING, RUNNING, Claim
from entropic.errors import EntropicError, ResultLostWarning, levels_to_user
from entropic.files import attempt
from entropic.files import sidecar as sidecars
from entropic.files.area import Found
from entropic.files.place import remove, spent
from entropic.files.sidecar import Sidecar
from entropic.protocol import publish
from entropic.protocol.clear import finish_delete
from entropic.protocol.context import Parts
from entropic.support import process

log = logging.getLogger("entropic")
SAMPLE = 20  # rows


@dataclass(frozen=True, slots=True)
class Left:
    """Something in the area that belongs to nobody who lives.

    With `deleting`, a delete to be finished; with `finished`, an attempt to be published if its claim is `current`,
    and to be removed if not; else a name to be removed.
    """

    found: Found
    finished: Sidecar | None = None
    current: bool = False
    deleting: Claim | None = None

    def __str__(self) -> str:
        if self.deleting is not None:
            return f"{self.found.name}: the delete of {self.deleting.id} is not finished"
        if self.finished is not None and self.current:
            return f"{self.found.name}: {self.finished.id} is finished and not recorded"
        return f"{self.found.name}: left by an attempt that is over, or a worker that is gone"


def look_at_folder(parts: Parts[Any]) -> None:
    """Warn where a database has results, and none of them lies in a folder that was never used with it before."""
    if not parts.area.is_strange:
        return
    attempt.forget(parts.area)
    raws = parts.rows.some(SAMPLE)
    parts.area.is_strange = bool(raws) and not any(os.path.lexists(parts.rows.file_of(raw)) for raw in raws)
    if parts.area.is_strange:
        warnings.warn(
            f"{parts.database} holds rows of {parts.schema.name} whose results do not lie in {parts.area.results_dir}, "
            "which was never used with it before: what is asked for is run again. Is results_dir right? (A relative "
            "one is meant from the folder in which the program was started)",
            ResultLostWarning,
            stacklevel=levels_to_user(),
        )


def collect(parts: Parts[Any]) -> list[str]:
    """Do with everything that is left what should be done with it; return that as sentences."""
    found = suspects(parts)
    if not found:
        return []
    done = release_dead(parts)  # first: a torn sidecar can go once its claim has moved on
    for left in judge(parts, found):
        try:
            sentence = _take_in(parts, left)
        except (EntropicError, OSError) as error:  # its key's next caller meets it, and can tell the user
            log.warning("%s could not be taken in: %s", left.found.name, error)
            continue
        log.info("recovery: %s", sentence)
        done.append(sentence)
    return done


def release_dead(parts: Parts[Any], even_without_row: bool = False) -> list[str]:
    """Give back the claims of dead owners that left nothing finished; return what was done, as sentences.

    By itself this happens only to re-runs, whose row is still served: a first run's claim does no harm until its key
    is asked for, and a worker of a cluster may still finish it.
    """
    done = []
    for claim in parts.ledger.pending().values():
        if claim.model != parts.model or claim.state != RUNNING or not claim.dead:
            continue
        if parts.database.transact(partial(_give_back, parts, claim, even_without_row)):
            done.append(f"gave back the claim on {claim.id}, whose owner is gone")
    return done


def _give_back(parts: Parts[Any], claim: Claim, even_without_row: bool, connection: Connection) -> bool:
    locked, _ = parts.ledger.lock(connection, claim.id)
    if locked is None or locked.attempt != claim.attempt or parts.is_finished(claim.id, claim.attempt):
        return False
    if not even_without_row and not parts.rows.exists(connection, claim.id):
        return False
    return parts.ledger.release(connection, claim.id, claim.attempt)


def _take_in(parts: Parts[Any], left: Left) -> str:
    if left.deleting is not None:
        finish_delete(parts, left.deleting)
        return f"finished the delete of {left.deleting.id}"
    if left.finished is None:
        remove(parts.area.inside(left.found.name))
        return f"removed {left.found.name}"
    if left.current and publish.publish(parts, left.finished) is not None:
        publish.clean(parts, left.finished)
        return f"recorded the finished run {left.finished.id}"
    publish.discard(parts, left.finished)
    return f"removed {left.found.name} and its result, which a newer one replaced"


def survey(parts: Parts[Any]) -> list[Left]:
    """Return what lies in the area and belongs to nobody who lives; change nothing."""
    found = suspects(parts)
    return judge(parts, found) if found else []


def suspects(parts: Parts[Any]) -> list[Found]:
    """Return what lies in the area and whose worker or owner is not known to live: nothing, when all is well."""
    return [found for found in parts.area.listing() if _is_suspect(parts, found)]


def judge(parts: Parts[Any], suspects: list[Found]) -> list[Left]:
    """Return which suspects belong to nobody.

    That their workers are dead was seen before; what their claims and sidecars say is read now. The order matters.
    """
    pending = {claim.attempt: claim for claim in parts.ledger.pending().values()}
    return [left for found in suspects if (left := _judge(parts, found, pending.get(found.attempt))) is not None]


def _is_suspect(parts: Parts[Any], found: Found) -> bool:
    if not found.sidecar:
        return process.state(found.worker) == "dead"
    finished = sidecars.read(parts.area, found.key, found.attempt)
    return finished is None or process.state(finished.owner) != "alive"


def _judge(parts: Parts[Any], found: Found, claim: Claim | None) -> Left | None:
    """Say what is left of an attempt, whose claim is given if the attempt is its current one."""
    finished = sidecars.read(parts.area, found.key, found.attempt) if not found.work else None
    if found.sidecar:
        return _judge_sidecar(parts, found, claim, finished)
    if found.delete and claim is not None and claim.state == DELETING:
        return Left(found, deleting=claim) if claim.model == parts.model else None
    if finished is not None and found.name in _names_of(finished):
        return None  # goes with its sidecar
    return Left(found)


def _judge_sidecar(parts: Parts[Any], found: Found, claim: Claim | None, finished: Sidecar | None) -> Left | None:
    if finished is None:
        return Left(found) if claim is None else None  # torn; being written, or burnt once its claim has moved on
    if claim is not None:
        return Left(found, finished, current=True) if claim.model == parts.model else None
    # Over: its owner removes it, unless that is gone; of another machine's owner nothing is known.
    return Left(found, finished) if process.state(finished.owner) == "dead" else None


def _names_of(finished: Sidecar) -> Iterator[str]:
    yield from (finished.result, finished.files, finished.slot, spent(finished.slot))
