"""The life of one run, from a key to its row. Read aloud, it is the protocol (`docs/protocol.md`).

read      the row and its claim; a row whose file is as recorded is a hit
claim     lock, look, decide: run it, wait for who runs it, or read again
execute   the runner writes a file of its own, in a workspace
finish    the sidecar is created, once: from here on nobody needs to run it again
publish   the row, then the file, in one transaction; then the sidecar goes

Most short runs pass these steps in `plain_run`, and come here when they meet what that does not know.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence

from entropic.db.claim_record import RUNNING
from entropic.db.raw import Raw, Recorded
from entropic.errors import DatabaseBusy, ResultLostWarning, note, warn
from entropic.executors import attempt
from entropic.files import sidecar as sidecars
from entropic.files import workspace
from entropic.files.checkpoints import FolderGone
from entropic.files.finish import Torn
from entropic.files.place import is_changed
from entropic.files.sidecar import Sidecar
from entropic.files.task import Task
from entropic.params.fields import as_custom_data
from entropic.params.model import Base
from entropic.params.outcomes import NOT_RECORDED
from entropic.protocol import compare, lookup, note_inputs, precedence, publish
from entropic.protocol.claim import Busy, claim
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.current_code import Met
from entropic.protocol.end import end_claim
from entropic.protocol.find import Found, find_slowly
from entropic.protocol.lookup import Absent, Suspect
from entropic.protocol.note_inputs import under_way
from entropic.protocol.outcome_values import Gaps
from entropic.protocol.request import Progress, Request
from entropic.protocol.respelled import warn_of_other_spelling
from entropic.protocol.verify import Altered
from entropic.protocol.wait import wait
from entropic.support import process
from entropic.support.failure import describe
from entropic.support.importing import importer
from entropic.support.show import counted
from entropic.support.signals import Terminable

log = logging.getLogger("entropic")
KEPT = "it is kept beside the new one, with 'changed' in its name"
TORN_SECONDS = 1.0  # how long another execution may take between creating its sidecar and writing it


def run_or_retrieve(
    context: StoreContext[ModelT],
    params: Mapping[str, object],
    custom_data: Mapping[str, object],
    find: Callable[[Mapping[str, object]], Found[ModelT]],
    run_plain: Callable[[str, Mapping[str, object]], ModelT | None] | None = None,
) -> ModelT:
    """Return the row of these params, run by whoever came first.

    `find` is what `find.make_finder` made, and `run_plain` what `plain_run.make_plain_runner` made.
    """
    id, found = find(params)
    if type(found) is Absent:
        if run_plain is not None and not custom_data:
            row = run_plain(id, params)
            if row is not None:
                return row
        if not context.schema.spelling.warned and context.schema.spelling.may_differ(params):
            context.schema.spelling.warned = warn_of_other_spelling(context, {id: params})
        return begin(context, prepare(context, id, params, custom_data), Progress(is_new=True))
    if type(found) is Suspect:
        return begin(context, prepare(context, id, params, custom_data), Progress(suspect=found))
    if under_way:
        note_inputs.note(context, [found])
    return found


def run(context: StoreContext[ModelT], params: Mapping[str, object], custom_data: Mapping[str, object]) -> ModelT:
    """Run these params in any case, and return their new row."""
    return begin(context, prepare(context, context.hasher(params), params, custom_data), Progress(forced=True))


def begin(context: StoreContext[ModelT], request: Request, progress: Progress) -> ModelT:
    """Return the row of a wanted key, which has to be run, by this call or by another."""
    if context.read_only is not None or importer() is not None:  # said only then: a description costs more than a look
        context.must_run(f"{context.describe(request.params, request.id)} would have to run")
    check_runner(context)
    workspace.prepare(context.staging, context.database.stay_current)
    context.current_code.prepare()
    with Terminable(), (call := process.Call()).under_way:
        row = obtain_row(context, request, call.name, progress)
    if under_way:
        note_inputs.note(context, [row])
    return row


def check_runner(context: StoreContext[Base]) -> None:
    """Refuse, before anything is claimed, runs whose results nothing here could write."""
    check = getattr(context.runner, "check", None)
    if check is not None:
        check(context.staging.suffix)


def retrieve(context: StoreContext[ModelT], params: Mapping[str, object]) -> ModelT | None:
    """Return the row as it stands; a set that lacks a column merely has none."""
    id = context.hasher(params)
    raw = context.rows.read(id)
    if raw is not None:
        try:
            row = context.row(raw, params)
        except Altered as altered:
            warn(str(altered), ResultLostWarning)
            return None
        if under_way:
            note_inputs.note(context, [row])
        return row
    if context.rows.binding.bind_plain(params) is None:  # else they fit, which is seen sooner so
        context.schema.fit(params, complete=False)
    return None


def prepare(
    context: StoreContext[Base],
    id: str,
    params: Mapping[str, object],
    custom_data: Mapping[str, object],
    *,
    is_run: bool = True,
) -> Request:
    """Check everything that can be checked before anything is claimed, let alone run.

    Without `is_run`, a set may have another value of a parameter that was removed: it has run when that was there.
    """
    rows = context.rows
    changed = context.schema.changed
    if context.hasher.typed or changed.is_any:
        params = context.whole(params)
    values = rows.binding.bind_plain(params)
    if values is not None and not changed.removed:  # most of them, and nobody can change what they hold
        return Request(id, dict(params), rows.binding.columns, values, as_custom_data(custom_data))
    bound = rows.binding.bind(context.schema.fit(params), context.schema.name, params)
    columns, values = rows.binding.shared(tuple(bound)), tuple(bound.values())
    # Copied here, before the claim: what cannot be copied is refused while nothing is claimed.
    if is_run or changed.can_run(params):
        params = changed.for_runner(params)
    return Request(id, attempt.copied(params), columns, values, as_custom_data(custom_data))


def obtain_row(context: StoreContext[ModelT], request: Request, owner: str, progress: Progress) -> ModelT:
    """Run, wait and read until the wanted key has its row; leave nothing claimed behind, whatever happens."""
    try:
        while True:
            claimed = claim(context, request, owner, progress)
            progress.is_new = False
            if isinstance(claimed, Busy):
                progress.waited = wait(context, claimed)
            elif isinstance(claimed, Task):
                raw = carry_out(context, claimed, request, progress)
                if raw is not None:
                    return warn_of_gaps(context.row(raw, request.params))
            if not progress.forced:
                found = find_slowly(context, request.id, request.params)
                if not isinstance(found, Suspect | Absent):
                    return found
                progress.suspect = found if isinstance(found, Suspect) else None
    except BaseException as error:
        end_early(context, request, owner, error, progress.attempt, progress.began)
        raise


def warn_of_gaps(row: ModelT) -> ModelT:
    """Return a new row, and warn if it lacks something that it should say."""
    if NOT_RECORDED not in row.__dict__["custom_data"]:  # sooner than by its attribute: every run comes by
        return row
    gaps = Gaps()
    gaps.see(row)
    gaps.warn()
    return row


def carry_out(context: StoreContext[Base], task: Task, request: Request, progress: Progress) -> Raw | None:
    """Execute and publish a claimed attempt; return its raw row, or None if there is none to return yet."""
    if progress.suspect is not None:
        warn_of_loss(context, [(request, progress.suspect)])
    progress.waited, progress.attempt, progress.began = None, task.attempt, time.time()
    if task.resumes and progress.forced:
        task.resumes = False
    try:
        context.lease_keeper.add(task.id, task.attempt, task.owner)
        finished = execute(context, task)
        if finished is None:  # torn: its own claim is no reason to wait, the next look claims anew
            if task.resumes is not None and progress.forced:  # or superseded: then a newer row is the answer
                found = context.ledger.find(task.id)
                progress.forced = found is not None and found.attempt == task.attempt
            return None
        raw = publish.publish(context, finished, task, progress.forced)
    finally:
        context.lease_keeper.stop(task.attempt)
    return settle(context, finished, raw, request, progress)


def settle(
    context: StoreContext[Base], finished: Sidecar, raw: Raw | None, request: Request, progress: Progress
) -> Raw | None:
    """Clear up after a finished attempt, given the raw row that its publication returned; return that."""
    if raw is None:
        settle_superseded(context, finished)
        # A newer row is the answer. One of an older attempt, which was first, is none for who wants a run in any case.
        progress.forced = progress.forced and precedence.gave_way(context, finished)
        return None
    publish.clean(context, finished)
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "ran %s in %s s", context.describe(request.params, request.id), finished.custom_data.get("elapsed_seconds")
        )
    return raw


def execute(context: StoreContext[Base], task: Task) -> Sidecar | None:
    """Execute a claimed attempt; what its runner raises comes out with a note that says which params it was."""
    try:
        return attempt.run(task, context.runner)
    except Torn:
        return await_sidecar(task)
    except FolderGone as gone:
        found = context.ledger.find(task.id)
        if found is None or found.attempt != task.attempt or found.state != RUNNING:
            return None  # superseded, and whoever has its claim has its folder
        raised = gone.error  # of a runner that has removed the folder itself
    except BaseException as error:
        note_params(context, error, task)
        raise
    note_params(context, raised, task)
    raise raised


def note_params(context: StoreContext[Base], error: BaseException, task: Task) -> None:
    """Add to what a runner raised, once, which params it was."""
    notes = getattr(error, "__notes__", ())
    doing = "recording" if attempt.RETURNED in notes else "running"
    text = f"entropic: raised while {doing} {context.describe(task.params, task.id)}"
    if text not in notes:
        note(error, text)


def await_sidecar(task: Task) -> Sidecar | None:
    """Give another execution, which was first, the time to write its sidecar."""
    deadline = time.monotonic() + TORN_SECONDS
    while (found := sidecars.read(task.staging, task.key, task.attempt)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def settle_superseded(context: StoreContext[Base], finished: Sidecar) -> None:
    """Clear up after an attempt that does not hold its claim: a helper has published it, or a later one replaced it."""
    if os.path.lexists(context.staging.inside(finished.result)):
        publish.discard(context, finished)
    else:
        publish.clean(context, finished)


def end_early(
    context: StoreContext[Base],
    request: Request,
    owner: str,
    error: BaseException,
    attempt: str | None,
    began: float | None,
) -> None:
    """End the claim on a key on the way out: record a failure, or, after an interrupt, release it.

    A finished attempt is left as it is: whoever asks for its key next publishes it.

    Parameters
    ----------
    attempt, began
        Which attempt was begun last, if one was, and when, in seconds since 1970.
    """
    if isinstance(error, DatabaseBusy) and attempt is None:
        return  # nothing was claimed; asking the locked database again would only take as long again
    if attempt is not None and context.is_finished(request.id, attempt):
        return
    failure = describe(error, began or time.time()) if isinstance(error, Exception) else None
    try:
        end_claim(context, request, lambda found: found.owner == owner, failure)
    except Exception as second:  # noqa: BLE001  (the first error is the one to see)
        note(error, f"entropic: its claim could not be ended either: {second}")


def warn_of_loss(context: StoreContext[Base], lost: Sequence[tuple[Request, Suspect]]) -> None:
    """Say, once for all of them, that stored results are lost and are run again."""
    stale = [suspect for _, suspect in lost if suspect.stale]
    if stale:
        met: Met = {}
        for one in stale:
            met.setdefault(one.since or Recorded.of(one.raw).code or 0, []).append(context.rows.id_of(one.raw))
        context.current_code.warn(met)
    lost = [one for one in lost if not one[1].stale and not one[1].unwanted]
    if not lost:
        return
    request, suspect = lost[0]
    more = (
        f", and {counted(len(lost) - 1, 'other result')} as well; these sets run" if len(lost) > 1 else "; the set runs"
    )
    if suspect.altered:
        warn(
            f"the row of {context.describe(request.params, request.id)} was changed by hand, and does not hold these "
            f"values any more{more} again",
            ResultLostWarning,
        )
        return
    path = context.rows.file_of(suspect.raw)
    recorded, found = Recorded.of(suspect.raw), context.extent_of(suspect.raw)
    what = "is gone" if found is None else lookup.difference(found.size, recorded.size)
    if found is not None and compare.is_known_to_differ(context, request.id, found):
        what = f"{compare.DIFFERENCE} ({KEPT})"
    elif found is not None and recorded.size == found.size:
        what = "was not as recorded when it was looked at"  # and is by now, or its claim cannot be read
    elif is_changed(found, recorded.size):
        what += f" ({KEPT})"
    warn(
        f"the result file {path} of {context.describe(request.params, request.id)} {what}{more} again",
        ResultLostWarning,
    )
