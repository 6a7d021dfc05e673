"""`Store.delete`: the row goes first, then its file, so that no row ever points to a file that the store removed."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from entropic.db.connection import Connection
from entropic.db.ledger import Claim, new_attempt
from entropic.db.raw import Raw, Recorded
from entropic.errors import PublishError
from entropic.files import logs
from entropic.files import place as places
from entropic.files.measure import measure
from entropic.protocol import publish
from entropic.protocol.claim import Busy, is_busy
from entropic.protocol.clear import finish_delete, slot_of
from entropic.protocol.context import StoreContext
from entropic.protocol.wait import act_when_free
from entropic.support.process import Call

# What a transaction has left to do with files, once it is committed.
Rest = Claim | str | None


def delete(context: StoreContext[Any], params: Mapping[str, Any], remove_file: bool) -> bool:
    """Delete the row of these params, and its file if asked; tell whether there was one."""
    context.must_write("delete() has to remove a row")
    id = context.hasher(params)
    context.schema.fit(params, complete=False)
    begun: list[str] = []  # more than one only if a connection broke, or another transaction went first
    with (call := Call()).under_way:

        def act(connection: Connection, found: Claim | None, _: set[str]) -> Busy | tuple[bool, Rest]:
            if found is not None and is_busy(found, call.name):
                return Busy(found)
            raw = context.rows.read_within(connection, id)
            if raw is None:
                return bool(begun), None  # what was begun was committed, and has been finished by now
            context.verify(raw, params)
            is_ours = found is not None and found.published is not None and found.registered is None
            if remove_file and found is not None and is_ours:
                begun.append(f"{new_attempt(found, over=True)}.{call.name}")
                return True, begin(context, connection, found, begun[-1])
            drop(context, connection, found, id)
            return True, _removable(context, raw) if remove_file and not is_ours else None

        while True:
            try:
                deleted, rest = act_when_free(context, id, act)
                break
            except PublishError:  # a finished run that cannot be recorded goes too
                publish.discard_finished(context, id)
        if isinstance(rest, Claim):
            finish_delete(context, rest)
        elif rest is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(rest)
        for attempt in begun[:-1]:  # their transactions were rolled back, or all is done
            places.remove(context.staging.inside(slot_of(context, id, attempt)))
        if deleted:
            logs.discard(context.staging, context.key_of(id))
    return deleted


def begin(
    context: StoreContext[Any], connection: Connection, found: Claim, attempt: str, keep_failure: bool = False
) -> Claim:
    """Make the slot, delete the row if there is one, and mark the claim: from here on anyone can finish the delete."""
    slot(context, found.id, attempt)
    context.rows.delete(connection, found.id)
    context.ledger.deleting(connection, found.id, attempt, keep_failure)
    found.attempt = attempt
    return found


def slot(context: StoreContext[Any], id: str, attempt: str) -> None:
    """Make the folder into which the file can be moved, once."""
    os.mkdir(context.staging.inside(slot_of(context, id, attempt)))


def drop(context: StoreContext[Any], connection: Connection, found: Claim | None, id: str) -> None:
    """Delete the row alone; its file, if it is ours, stays ours."""
    context.rows.delete(connection, id)
    if found is not None:
        context.ledger.drop(connection, found, id)


def _removable(context: StoreContext[Any], raw: Raw) -> str | None:
    """Return the path of a file that the store did not make, if it is still the one that was recorded.

    A row that is older than the ledger has nothing recorded: then the file must lie in the results folder itself,
    since its path is all that such a row says, and a database may be anybody's.
    """
    recorded = Recorded.of(raw)
    path = context.rows.file_of(raw)
    found = measure(path)
    if found is None or found.folder:
        return None
    if recorded.place is None:
        return path if os.path.dirname(path) == context.staging.results_dir else None
    return path if (recorded.size, recorded.mtime_ns) == (found.size, found.mtime_ns) else None
