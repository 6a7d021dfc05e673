"""Recovery: what dead owners left behind is published if it is finished, and removed if it is not.

It happens by itself when a store opens and when a sweep begins. One listing of the staging folder shows, when all is
well, only the workspaces of living workers.
"""

import functools
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from entropic.db.claim_record import DELETING, RUNNING, Claim
from entropic.db.connection import Connection
from entropic.db.raw import PLACE, Raw, Recorded
from entropic.errors import (
    EntropicError,
    EntropicWarning,
    ResultLostWarning,
    StoreError,
    UnreadableError,
    warn,
)
from entropic.files import checkpoints, workspace
from entropic.files import sidecar as sidecars
from entropic.files.place import remove, spent
from entropic.files.sidecar import Sidecar, Unreadable
from entropic.files.staging import Found, key_of
from entropic.params.model import Base
from entropic.protocol import precedence, publish
from entropic.protocol.clear import finish_delete
from entropic.protocol.context import StoreContext
from entropic.support import names, process
from entropic.upkeep import unneeded

log = logging.getLogger("entropic")
SAMPLE = 20  # rows


@dataclass(frozen=True, slots=True)
class Left:
    """Something in the staging folder that belongs to nobody who lives.

    With `deleting`, a delete to be finished; with `finished`, an attempt to be published if it is `current` (it has
    its claim, or may have it back), and to be removed if not; with `unreadable`, a sidecar to be left alone, with all
    of its attempt; else a name to be removed.
    """

    found: Found
    finished: Sidecar | None = None
    current: bool = False
    deleting: Claim | None = None
    unreadable: Unreadable | None = None

    def __str__(self) -> str:
        if self.deleting is not None:
            return f"{self.found.name}: the delete of {self.deleting.id} is not finished"
        if self.unreadable is not None:
            return f"{self.found.name}: {self.unreadable.why}; it is left alone"
        if self.finished is not None and self.current:
            return f"{self.found.name}: {self.finished.id} is finished but not recorded"
        return f"{self.found.name}: left by an attempt that is over, or a worker that is gone"


def warn_of_strange_folder(context: StoreContext[Base], some: Sequence[Raw]) -> None:
    """Warn where a database has results, and none of some is in a folder that was never used with it before."""
    if not context.staging.is_strange:
        return
    workspace.forget(context.staging)
    context.staging.is_strange = bool(some) and not any(os.path.lexists(context.rows.file_of(raw)) for raw in some)
    if context.staging.is_strange:
        follows = "sets that are asked for run again" if context.read_only is None else "none of them can be loaded"
        warn(
            f"{context.database} holds rows of {context.schema.name}, but their results are not in "
            f"{context.staging.results_dir}, which was never used with it before: {follows}. Is results_dir "
            "right? (A relative path starts at the folder in which the program was started)",
            ResultLostWarning,
        )


def warn_of_other_suffix(context: StoreContext[Base], some: Sequence[Raw]) -> None:
    """Warn where some stored results end with something else than new ones would: a loader may not read both."""
    suffix = context.staging.suffix
    ours = [place for raw in some if (place := _own_place(context, raw))]
    if not ours or any(place.endswith(suffix) and ("/" in place) == ("/" in suffix) for place in ours):
        return
    _, slash, main = ours[0].partition("/")
    found = slash + main or os.path.splitext(ours[0])[1]
    warn(
        f"results of {context.schema.name} in {context.staging.results_dir} end with {found!r}, and this store was "
        f"opened with file_suffix={suffix!r}: stored ones are returned as they are, and new ones end with {suffix!r}. "
        "Is file_suffix right?",
        EntropicWarning,
    )


def _own_place(context: StoreContext[Base], raw: Raw) -> str | None:
    """Return the place of a row's result; None if that was registered, as what was kept of a run may be."""
    place = str(raw[PLACE])
    is_own = Recorded.of(raw).is_ours and (os.sep not in place or names.is_place(context.rows.id_of(raw), place))
    return place if is_own else None


def recover(context: StoreContext[Base]) -> list[str]:
    """Do with everything that is left what should be done with it; return that as sentences."""
    found = suspects(context) if context.read_only is None else []
    if not found:
        return []
    done = release_dead(context)  # first: a torn sidecar can go once its claim has moved on
    for left in sort_out(context, found):
        if left.unreadable is not None:
            _say(context.staging.inside(left.found.name), str(left))
            continue
        try:
            sentence = _take_in(context, left)
            if sentence is None:
                continue
        except (EntropicError, OSError) as error:  # its key's next caller meets it, and can tell the user
            log.warning("%s could not be recovered: %s", left.found.name, error)
            continue
        log.info("recovery: %s", sentence)
        done.append(sentence)
    unneeded.remove_reports(context)
    return done


@functools.cache
def _say(path: str, text: str) -> None:
    """Say once what is found again each time that somebody looks."""
    log.warning("recovery: %s (%s)", text, os.path.dirname(path))


def release_dead(context: StoreContext[Base], even_without_row: bool = False, said: Collection[str] = ()) -> list[str]:
    """Release the claims of dead owners that left nothing finished; return what was done, as sentences.

    By itself this happens only to re-runs, whose row is still served: a first run's claim does no harm until its key
    is asked for, and a worker of a cluster may still finish it. `even_without_row`, if the user asks for a repair; of
    the keys in `said` it was told that they are free.
    """
    done = []
    for claim in context.ledger.pending().values():
        if claim.model != context.model or claim.state != RUNNING:
            continue
        if not (claim.gone if even_without_row else claim.dead):
            continue
        is_free = context.database.transact(partial(_release, context, claim, even_without_row))
        if is_free and claim.id not in said:
            done.append(f"released the claim on {claim.id}, whose owner is gone")
    return done


def _release(context: StoreContext[Base], claim: Claim, even_without_row: bool, connection: Connection) -> bool:
    locked, _ = context.ledger.lock(connection, claim.id)
    if locked is None or locked.attempt != claim.attempt or context.is_finished(claim.id, claim.attempt):
        return False
    if not even_without_row and not context.rows.exists(connection, claim.id):
        return False
    return context.ledger.release(connection, claim.id, claim.attempt)


def _take_in(context: StoreContext[Base], left: Left) -> str | None:
    """Do what is left to do, and say what was done; None if that is its owner's to do."""
    if left.deleting is not None:
        finish_delete(context, left.deleting)
        return f"finished the delete of {left.deleting.id}"
    if left.finished is None:
        _remove(context, left.found.name)
        return f"removed {left.found.name}"
    if left.current:
        if publish.publish(context, left.finished) is not None:
            checkpoints.discard(context.staging, left.finished.key, left.finished.attempt)
            publish.clean(context, left.finished)
            return f"recorded the finished run {left.finished.id}"
        if process.state(left.finished.owner) != "dead":
            return None  # it may be about to have its claim back: the model's `fenced` of a helper
    publish.note_published(context, left.finished)
    checkpoints.discard(context.staging, left.finished.key, left.finished.attempt)  # whoever opens the store
    publish.discard(context, left.finished)
    for name in _names_of(left.finished):
        _remove(context, name)  # or say why it is still there
    return f"removed {left.found.name} and its result, which a newer one replaced"


def _remove(context: StoreContext[Base], name: str) -> None:
    path = context.staging.inside(name)
    remove(path)
    if os.path.lexists(path):
        raise StoreError(f"{path} could not be removed completely: something in it may belong to another user")


def survey(context: StoreContext[Base]) -> list[Left]:
    """Return what is in the staging folder and belongs to nobody who lives, or tells nothing; change nothing."""
    found = suspects(context)
    return sort_out(context, found) if found else []


def suspects(context: StoreContext[Base]) -> list[Found]:
    """Return what is in staging and whose worker or owner is not known to live: nothing, when all is well."""
    return [found for found in context.staging.listing() if _is_suspect(context, found)]


def sort_out(context: StoreContext[Base], suspects: list[Found]) -> list[Left]:
    """Return which suspects belong to nobody.

    That their workers are dead was seen before; what their claims and sidecars say is read now. The order matters.
    """
    claims = context.ledger.pending().values()
    pending = {(key_of(claim.model, claim.id), claim.attempt): claim for claim in claims}
    sorted_out = (_sort_out_one(context, found, pending.get((found.key, found.attempt))) for found in suspects)
    return [left for left in sorted_out if left is not None]


def _is_suspect(context: StoreContext[Base], found: Found) -> bool:
    if not found.sidecar:
        return process.state(found.worker) == "dead"
    finished = sidecars.read(context.staging, found.key, found.attempt)
    return finished is None or process.state(finished.owner) != "alive"


def _sort_out_one(context: StoreContext[Base], found: Found, claim: Claim | None) -> Left | None:
    """Say what is left of an attempt, whose claim is given if the attempt is its current one."""
    finished = sidecars.inspect(context.staging, found.key, found.attempt) if not found.work else None
    if isinstance(finished, Unreadable):  # and what is beside it may be what it names
        return Left(found, unreadable=finished) if found.sidecar else None
    if found.sidecar:
        return _sort_out_sidecar(context, found, claim, finished)
    if found.delete and claim is not None and claim.state == DELETING:
        return Left(found, deleting=claim) if claim.model == context.model else None
    if finished is not None and found.name in _names_of(finished):
        return None  # goes with its sidecar
    return Left(found)


def _sort_out_sidecar(
    context: StoreContext[Base], found: Found, claim: Claim | None, finished: Sidecar | None
) -> Left | None:
    if finished is None:
        return Left(found) if claim is None else None  # torn; being written, or burnt once its claim has moved on
    if claim is not None:
        return Left(found, finished, current=True) if claim.model == context.model else None
    try:
        is_wanted = precedence.is_wanted(context, finished)
    except UnreadableError:  # a claim that entropic did not make, which acts on nothing
        return None
    if is_wanted:  # its claim was taken over, and nothing has come of that yet
        return Left(found, finished, current=True) if finished.model == context.model else None
    # Over: its owner removes it, unless that is gone; of another machine's owner nothing is known.
    return Left(found, finished) if process.state(finished.owner) == "dead" else None


def _names_of(finished: Sidecar) -> Iterator[str]:
    yield from (finished.result, finished.files, finished.slot, spent(finished.slot))
