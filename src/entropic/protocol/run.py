"""The life of one run, from a key to its row. Read aloud, it is the protocol (`docs/protocol.md`).

read      the row and its claim; a row whose file is as recorded is a hit
claim     lock, look, decide: run it, wait for who runs it, or read again
execute   the runner writes a file of its own, in a workspace
finish    the sidecar is created, once: from here on nobody needs to run it again
publish   the row, then the file, in one transaction; then the sidecar goes
"""

import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from entropic.db.connection import Connection
from entropic.db.ledger import RUNNING, Claim
from entropic.errors import DatabaseBusy, ResultLostWarning, levels_to_user, note
from entropic.files import attempt
from entropic.files import sidecar as sidecars
from entropic.files.attempt import Task, Torn
from entropic.files.measure import measure
from entropic.files.sidecar import Sidecar
from entropic.params.fields import as_custom_data
from entropic.protocol import lookup, publish
from entropic.protocol.claim import Busy, Want, claim, confirm, lock, look, own
from entropic.protocol.context import ModelT, Parts
from entropic.protocol.wait import wait
from entropic.support import process
from entropic.support.failure import Record, describe

log = logging.getLogger("entropic")
_SCALARS = {bool, int, float, str, Decimal}
TORN_SECONDS = 1.0  # how long another execution may take between creating its sidecar and writing it


def run_or_retrieve(
    parts: Parts[ModelT],
    params: Mapping[str, Any],
    custom_data: Mapping[str, Any],
    find: Callable[[Mapping[str, Any]], lookup.Found[ModelT]],
) -> ModelT:
    """Return the row of these params, run by whoever came first; `find` is what `lookup.finder` made."""
    id, row, suspect = find(params)
    if row is not None:
        return row
    if suspect is not None and lookup.is_touched(parts, suspect):
        standing = confirm(parts, {id: suspect})
        if standing:
            return parts.row(standing[id], params)
    want = prepare(parts, id, params, custom_data)
    want.suspect, want.fresh = suspect, suspect is None
    return begin(parts, want)


def run(parts: Parts[ModelT], params: Mapping[str, Any], custom_data: Mapping[str, Any]) -> ModelT:
    """Run these params in any case, and return their new row."""
    return begin(parts, prepare(parts, parts.hasher(params), params, custom_data, forced=True))


def begin(parts: Parts[ModelT], want: Want) -> ModelT:
    """Return the row of a wanted key, which has to be run, by this call or by another."""
    attempt.prepare(parts.area)
    with process.Call() as call:
        return fulfil(parts, want, call.name)


def retrieve(parts: Parts[ModelT], params: Mapping[str, Any]) -> ModelT | None:
    """Return the row as it stands; a set that lacks a column merely has none."""
    id = parts.hasher(params)
    raw = parts.rows.read(id)
    if raw is not None:
        return parts.row(raw, params)
    if parts.rows.bind_plain(params) is None:  # else they fit, which is seen sooner so
        parts.schema.fit(params, complete=False)
    return None


def prepare(
    parts: Parts[Any],
    id: str,
    params: Mapping[str, Any],
    custom_data: Mapping[str, Any],
    forced: bool = False,
) -> Want:
    """Check everything that can be checked before anything is claimed, let alone run."""
    rows = parts.rows
    columns, values = rows.columns, rows.bind_plain(params)
    if values is None:
        bound = rows.bind(parts.schema.fit(params), parts.schema.name)
        columns, values = rows.shared(tuple(bound)), tuple(bound.values())
    return Want(id, params, columns, values, as_custom_data(custom_data), forced)


def fulfil(parts: Parts[ModelT], want: Want, owner: str) -> ModelT:
    """Run, wait and read until the wanted key has its row; leave nothing claimed behind, whatever happens."""
    try:
        while True:
            found = claim(parts, want, owner)
            if isinstance(found, Busy):
                want.waited = wait(parts, found)
            elif isinstance(found, Task):
                raw = carry_out(parts, found, want)
                if raw is not None:
                    return parts.row(raw, want.params)
            if not want.forced:
                want.suspect, path = lookup.read(parts, want.id)
                if path is not None:
                    return parts.row(want.suspect, want.params, path)
    except BaseException as error:
        give_up(parts, want, owner, error)
        raise


def carry_out(parts: Parts[Any], task: Task, want: Want) -> Any:
    """Execute and publish a claimed attempt; return its raw row, or None if there is none to return yet."""
    if want.suspect is not None:
        warn_of_loss(parts, [want])
    want.waited, want.attempt, want.began = None, task.attempt, time.time()
    parts.heart.add(task.id, task.attempt)
    try:
        finished = execute(parts, task)
        if finished is None:
            return None  # torn: its own claim is no reason to wait, the next look claims anew
        raw = publish.publish(parts, finished, task)
    finally:
        parts.heart.drop(task.attempt)
    if raw is None:
        superseded(parts, finished)
        want.forced = False  # the newer row is the answer
        return None
    publish.clean(parts, finished)
    if log.isEnabledFor(logging.DEBUG):
        log.debug("ran %s in %s s", parts.describe(want.params, want.id), finished.custom_data["elapsed_seconds"])
    return raw


def execute(parts: Parts[Any], task: Task) -> Sidecar | None:
    """Execute a claimed attempt; what its runner raises comes out with a note that says which params it was."""
    try:
        return attempt.run(task, parts.runner)
    except Torn:
        return await_sidecar(task)
    except BaseException as error:
        note_params(parts, error, task)
        raise


def note_params(parts: Parts[Any], error: BaseException, task: Task) -> None:
    """Add to what a runner raised, once, which params it was."""
    text = f"entropic: raised while running {parts.describe(task.params, task.id)}"
    if text not in getattr(error, "__notes__", ()):
        note(error, text)


def await_sidecar(task: Task) -> Sidecar | None:
    """Give another execution, which was first, the time to write its sidecar."""
    deadline = time.monotonic() + TORN_SECONDS
    while (found := sidecars.read(task.area, task.key, task.attempt)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def superseded(parts: Parts[Any], finished: Sidecar) -> None:
    """Clear up after an attempt that does not hold its claim: a helper has published it, or a later one replaced it."""
    if os.path.lexists(parts.area.inside(finished.result)):
        publish.discard(parts, finished)
    else:
        publish.clean(parts, finished)


def give_up(parts: Parts[Any], want: Want, owner: str, error: BaseException) -> None:
    """Let go of a key on the way out: record a failure, or, after an interrupt, let others run it at once.

    A finished attempt is left as it is: whoever asks for its key next publishes it.
    """
    if isinstance(error, DatabaseBusy) and want.attempt is None:
        return  # nothing was claimed; asking the locked database again would only take as long again
    if want.attempt is not None and parts.is_finished(want.id, want.attempt):
        return
    failure = describe(error, want.began or time.time()) if isinstance(error, Exception) else None
    try:
        end_claim(parts, want, lambda found: found.owner == owner, failure)
    except Exception as second:  # noqa: BLE001  (the first error is the one to see)
        note(error, f"entropic: and its claim could not be given back: {second}")


def end_claim(parts: Parts[Any], want: Want, is_mine: Callable[[Claim], bool], failure: Record | None) -> bool:
    """End a claim of ours without a result: record its failure, or, if there is none, let others run it at once.

    False if the attempt is finished all the same, or holds its claim no longer.
    """

    def work(connection: Connection) -> str | None:
        found, _ = lock(parts, connection, want.id)
        if found is None or not is_mine(found) or found.state != RUNNING or look(parts, found) is not None:
            return None
        if failure is None:
            parts.ledger.release(connection, want.id, found.attempt)
        else:
            parts.ledger.fail(connection, want.id, found.attempt, failure_of(parts, failure, want, found.attempt))
        return found.attempt

    ended = parts.database.transact(work)
    if ended is not None:
        sidecars.discard(parts.area, parts.key_of(want.id), ended)  # torn, if there is one
    return ended is not None


def failure_of(parts: Parts[Any], failure: Record, want: Want, attempt: str) -> Record:
    """Return what the ledger keeps of a failure: how it went, and of which params."""
    values, given = want.row(), own(want.params)
    kept = {"values": sidecars.packed(values), "given": list(want.params)}
    stored = parts.rows.values_of(values, given)
    # A column may hold a value as another type than was asked, 1.0 for 1, which is another key.
    asked = {name: one for name, one in given.items() if type(one) in _SCALARS and type(one) is not type(stored[name])}
    return {**failure, "attempt": attempt, **kept, **({"asked": sidecars.packed(asked)} if asked else {})}


def warn_of_loss(parts: Parts[Any], lost: Sequence[Want]) -> None:
    """Say, once for all of them, that stored results are lost and are run again."""
    path = parts.rows.file_of(lost[0].suspect)
    recorded, found = parts.rows.seen_of(lost[0].suspect)[1], measure(path)
    what = "is gone" if found is None else f"has {found.size} bytes instead of {recorded}"
    more = f", and {len(lost) - 1} other results are lost as well: they are" if len(lost) > 1 else ": it is"
    warnings.warn(
        f"the result file {path} of {parts.describe(lost[0].params, lost[0].id)} {what}{more} run again",
        ResultLostWarning,
        stacklevel=levels_to_user(),
    )
