"""`Store.delete`: the row goes first, then its file, so that no row ever points to a file that the store removed."""

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from entropic.db.claim_record import UNUSED, Claim, new_attempt
from entropic.db.connection import Connection
from entropic.db.raw import Raw, Recorded, told
from entropic.errors import PublishError
from entropic.files import checkpoints, logs
from entropic.files import place as places
from entropic.files.extent import extent_elsewhere
from entropic.params.keys import RESERVED
from entropic.params.model import Base, now_as_text
from entropic.protocol import publish
from entropic.protocol.claim import Busy, is_busy
from entropic.protocol.clear import finish_delete, slot_of
from entropic.protocol.context import StoreContext
from entropic.protocol.verify import Altered
from entropic.protocol.wait import act_when_free
from entropic.support.process import Call

T = TypeVar("T")
_BY_ID = {*RESERVED}


class Verdict(NamedTuple, Generic[T]):
    """What is to become of a key that nobody runs, decided under the lock on its claim.

    Attributes
    ----------
    said
        What the caller wants to know.
    goes
        Whether its row, if it has one, and its file are to go.
    """

    said: T
    goes: bool = False


class Gone(NamedTuple, Generic[T]):
    """What was said of a key, its claim if its file was to go, and whether nothing of that file is left."""

    said: T
    claim: Claim | None
    is_clean: bool


def delete(
    context: StoreContext[Base],
    params: Mapping[str, object],
    remove_file: bool,
    expected: Raw | None = None,
    along: Callable[[Connection], None] = lambda connection: None,
) -> bool:
    """Delete the row of these params, its checkpoints, and its file if asked; tell whether there was a row.

    If one is `expected`, only that: what it says may have changed since it was read. What is done `along` with it is in
    the same transaction.
    """
    context.must_write("delete() would have to remove a row")
    id = context.hasher(params)
    context.schema.fit(params, complete=False)
    at, attempt = "", ""

    def decide(connection: Connection, found: Claim | None, begun: bool) -> Busy | Verdict[tuple[bool, str | None]]:
        if found is not None and is_busy(found):
            return Busy(found)
        nonlocal at, attempt
        attempt = found.attempt if found is not None and found.attempt != UNUSED else ""
        at = now_as_text()  # under the lock: whatever is recorded later is of a later run
        raw = context.rows.read_within(connection, id)
        if raw is None:
            return Verdict((begun, None))  # what was begun was committed, and has been finished by now
        if expected is not None and told(raw) != told(expected):
            return Verdict((False, None))
        if not params.keys() <= _BY_ID:
            with contextlib.suppress(Altered):  # by its key it is the row that is meant
                context.verify(raw, params, connection)
        along(connection)
        is_ours = found is not None and found.published is not None and found.registered is None
        if remove_file and is_ours:
            return Verdict((True, None), goes=True)
        drop(context, connection, found, id)
        return Verdict((True, _removable(context, raw) if remove_file else None))

    deleted, file = delete_when_free(context, id, decide, discards=True).said
    if file is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)
    if attempt:  # and what an unfinished run has kept: its next one begins anew
        checkpoints.discard(context.staging, context.key_of(id), attempt)
    if deleted:
        if context.journal is not None:
            context.journal.add_deletion(context.model, id, at)
        logs.discard(context.staging, context.key_of(id))
    return deleted


def delete_when_free(
    context: StoreContext[Base],
    id: str,
    decide: Callable[[Connection, Claim | None, bool], Busy | Verdict[T]],
    *,
    keep_failure: bool = False,
    discards: bool = False,
) -> Gone[T]:
    """Let a result go, once nobody runs its key, if that is decided: lock, decide, delete the row, then its file.

    Parameters
    ----------
    decide
        Called under the lock with the claim, and with whether this call has begun to delete before: more than once
        only if a connection broke, or another transaction went first.
    keep_failure
        Whether only an old result goes: a failure recorded since then is still worth knowing.
    discards
        Whether a finished run that cannot be recorded goes, too; else that comes out as an error.
    """
    begun: list[str] = []
    with (call := Call()).under_way:

        def act(connection: Connection, found: Claim | None, _: set[str]) -> Busy | tuple[T, Claim | None]:
            verdict = decide(connection, found, bool(begun))
            if isinstance(verdict, Busy):
                return verdict
            if not verdict.goes or found is None:
                return verdict.said, None
            begun.append(f"{new_attempt(found, over=True)}.{call.name}")
            return verdict.said, begin(context, connection, found, begun[-1], keep_failure)

        while True:
            try:
                said, deleting = act_when_free(context, id, act)
                break
            except PublishError:
                if not discards:
                    raise
                publish.discard_finished(context, id)
        is_clean = deleting is None or finish_delete(context, deleting)
        for attempt in begun[:-1]:  # their transactions were rolled back, or all is done
            places.remove(context.staging.inside(slot_of(context, id, attempt)))
    return Gone(said, deleting, is_clean)


def begin(
    context: StoreContext[Base], connection: Connection, found: Claim, attempt: str, keep_failure: bool = False
) -> Claim:
    """Make the slot, delete the row if there is one, and mark the claim: from here on anyone can finish the delete."""
    slot(context, found.id, attempt)
    context.rows.delete(connection, found.id)
    context.ledger.mark_deleting(connection, found.id, attempt, keep_failure)
    found.attempt = attempt
    return found


def slot(context: StoreContext[Base], id: str, attempt: str) -> None:
    """Make the folder into which the file can be moved, once."""
    os.mkdir(context.staging.inside(slot_of(context, id, attempt)))


def drop(context: StoreContext[Base], connection: Connection, found: Claim | None, id: str) -> None:
    """Delete the row alone; its file, if it is ours, stays ours."""
    context.rows.delete(connection, id)
    if found is not None:
        context.ledger.drop(connection, found, id)


def _removable(context: StoreContext[Base], raw: Raw) -> str | None:
    """Return the path of a file that the store did not make, if it is still the one that was recorded.

    A row that is older than the ledger has nothing recorded: then the file must be in the results folder itself,
    since its path is all that such a row says, and a database may be anybody's.
    """
    recorded = Recorded.of(raw)
    path = context.rows.file_of(raw)
    found = extent_elsewhere(path, most=0)  # no folder is removed, whatever is in it
    if found is None or found.folder:
        return None
    if recorded.place is None:
        return path if os.path.dirname(path) == context.staging.results_dir else None
    return path if (recorded.size, recorded.mtime_ns) == (found.size, found.mtime_ns) else None
