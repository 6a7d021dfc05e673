"""A result that lies elsewhere becomes one of this store: it goes through the life of a run that only brings its file.

It is claimed, brought into a workspace, lifted, finished and published, so whatever a kill leaves behind is what a kill
of a run leaves behind, and is put in order in the same way (`tests/crash/test_kills_during_merges.py`).
"""

import os
from dataclasses import replace

from entropic.db.claim_record import UNUSED, Claim
from entropic.db.connection import Connection
from entropic.db.raw import Raw
from entropic.db.raw import told as told_of
from entropic.errors import (
    KeyCollisionError,
    ParameterError,
    PublishError,
    RegisterError,
    ResultMissingError,
    UnreadableError,
    noting,
)
from entropic.executors import attempt
from entropic.files import checkpoints, workspace
from entropic.files import sidecar as sidecars
from entropic.files.digest import digest_or_none
from entropic.files.extent import extent
from entropic.files.finish import Executed, describe, discard, finish, lift
from entropic.files.paths import refuses_path
from entropic.files.sidecar import Origin, Sidecar
from entropic.files.task import Task
from entropic.params.model import Base
from entropic.protocol import publish, register, run
from entropic.protocol.claim import Busy, act_when_settled, claim, is_busy
from entropic.protocol.context import StoreContext
from entropic.protocol.end import end_claim
from entropic.protocol.outcome_values import bound_outcomes
from entropic.protocol.request import Progress, Request
from entropic.support.names import whole
from entropic.upkeep.imports.foreign_result import NotTaken, Result


def request_for(context: StoreContext[Base], result: Result) -> Request:
    """Return the key of a result as a wanted one, with all that its row will say.

    Raises
    ------
    NotTaken
        If this database cannot hold it.
    """
    try:
        return run.prepare(context, result.id, result.params, result.custom_data, is_run=False)
    except ParameterError as error:
        raise NotTaken(str(error)) from error


def adopt(
    context: StoreContext[Base], result: Result, origin: Origin, owner: str, progress: Progress, link: bool
) -> bool | Busy:
    """Take in a result with its file; False if its key has a row by now, `Busy` if somebody runs it here.

    Raises
    ------
    NotTaken
        If it cannot be taken in; nothing is left claimed.
    """
    request = request_for(context, result)
    if result.suffix != context.staging.suffix:
        context = replace(context, staging=context.staging.with_suffix(result.suffix))
    try:
        claimed = claim(context, request, owner, progress)
    except KeyCollisionError:  # as whoever compares the two says
        return False
    except (ParameterError, PublishError, UnreadableError) as error:
        raise NotTaken(str(error)) from error
    if not isinstance(claimed, Task):
        return claimed or False
    try:
        context.lease_keeper.add(claimed.id, claimed.attempt, owner)
        finished = _made(context, result, origin, claimed, link)
        raw = publish.publish(context, finished, claimed)
    except BaseException as error:
        _release(context, request, claimed, error)
        if isinstance(error, PublishError | ResultMissingError):
            raise NotTaken(str(error)) from error
        raise
    finally:
        context.lease_keeper.stop(claimed.attempt)
    if raw is None:
        run.settle_superseded(context, finished)
        now = context.ledger.find(claimed.id)
        return now is not None and now.published == claimed.attempt  # a helper was sooner with the last step
    publish.clean(context, finished)
    return True


def _release(context: StoreContext[Base], request: Request, task: Task, error: BaseException) -> None:
    """Let anyone claim the key again: that its file could not be brought is no failure of a run."""
    if not context.is_finished(task.id, task.attempt):
        with noting(error):
            end_claim(context, request, lambda found: found.attempt == task.attempt, None)


def _made(context: StoreContext[Base], result: Result, origin: Origin, task: Task, link: bool) -> Sidecar:
    """Bring a result into a workspace, and finish the attempt with it; return its sidecar."""
    space = workspace.take(context.staging)
    execution = attempt.start(task, space)
    try:
        brought = f"{space.path}{os.sep}{whole(task.path)}"
        result.bring(brought, space.path, link)
        said = result.outcomes if context.schema.outcomes else None
        done = Executed(result.seconds or 0.0, said, result.custom_data, origin, result.inputs)
        sidecar = describe(task, space, execution, done, lift(task, space, execution))
        sidecar.custom_data, sidecar.created_at = result.custom_data, result.created_at
        if sidecar.digest is not None and result.digest not in (None, sidecar.digest):
            raise NotTaken("its bytes are not those that were recorded there; check(deep=True) there names them all")
        sidecar.digest = sidecar.digest or result.digest
        if (field := sidecars.flaw(sidecar, task.key, task.attempt)) is not None:
            raise NotTaken(f"its {field} there is not as entropic writes it: {getattr(sidecar, field)!r:.80}")
        finished = finish(task, sidecar, space)
    except BaseException:
        space.close()
        if sidecars.read(context.staging, task.key, task.attempt) is None:
            discard(task, execution)
        raise
    if space.reserve.spent:
        space.close()
    else:
        workspace.free(context.staging, space)
    return finished


def leave(context: StoreContext[Base], result: Result, origin: Origin, owner: str, lost: Raw | None) -> bool | Busy:
    """Register a result where it is; False if its key has a row by now, `Busy` if somebody runs it here.

    Parameters
    ----------
    lost
        The row that its key has here, whose file is gone.

    Raises
    ------
    NotTaken
        If it cannot be registered; nothing was changed.
    """
    request, path = request_for(context, result), result.file
    if (refusal := refuses_path(path)) is not None:
        raise NotTaken(f"{path!a:.200} cannot be registered: it {refusal}")
    found_file = extent(path)
    if found_file is None:
        raise NotTaken(f"its result there, {path}, is gone")
    before: list[Claim] = []
    outcomes, custom_data = bound_outcomes(context, result.outcomes, dict(request.custom_data))
    bound = context.rows.binding
    row = {
        "id": request.id,
        "result_file": path,
        "created_at": bound.created_at(result.created_at),
        "custom_data": bound.custom_data(custom_data),
        **request.row(),
        **outcomes,
    }
    checksum = context.rows.own_checksum(request.row())
    told = result.digest if result.file == result.path or result.stays else None  # else it is that of the folder
    sha256 = told or (digest_or_none(path) if context.checksum else None)

    def act(connection: Connection, found: Claim | None, _: set[str]) -> bool | Busy:
        if found is not None and is_busy(found, owner):
            return Busy(found)
        raw = context.rows.read_within(connection, request.id)
        if raw is not None and (lost is None or told_of(raw) != told_of(lost) or context.extent_of(raw) is not None):
            return False
        register.insert_row(context, connection, found, request, row, checksum, found_file)
        context.ledger.set_origin(connection, request.id, (*origin, len(result.inputs) or None))
        if result.inputs:
            context.origins.inputs.write(connection, request.id, result.inputs)
        register.record_digest(context, connection, request.id, sha256)
        before[:] = [found] if found is not None else []
        return True

    try:
        register.refuse_own(context, request.id, path)
        while (done := act_when_settled(context, request.id, act)) is None:
            pass
    except (ParameterError, RegisterError, PublishError, UnreadableError) as error:
        raise NotTaken(str(error)) from error
    if done is True and before and before[0].attempt != UNUSED:
        checkpoints.discard(context.staging, context.key_of(request.id), before[0].attempt)
    return done
