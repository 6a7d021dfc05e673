"""A plain run: most new runs, in one function that is made once for a store.

It is the life of a run as `run` tells it, with the same steps in the same order: claim, execute, finish, publish. A
call for each step, with all that it needs wrapped up for the next one, would be a fifth of what a short run costs. It
knows only what most short runs are: the first of their key, of plain values, without custom data, whose runner leaves
one file in less than a hundredth of a second; in a store whose rows come back as they were written. And it knows no
trouble: whatever is not as expected goes on in the general functions, at the step at which that was seen.

`tests/crash/test_every_call.py` kills it before each of its calls, and `tests/contract/test_plain_runs.py` compares
what both ways leave.
"""

import logging
import os
import stat
import time
from collections.abc import Callable

from entropic.db.binding import all_of
from entropic.db.checksum import checksum, checksum_of_canonical
from entropic.db.claim_record import new_attempt
from entropic.db.connection import Connection
from entropic.db.raw import Raw
from entropic.errors import DatabaseBusy
from entropic.executors import attempt as attempts
from entropic.files import environments, workspace
from entropic.files import place as places
from entropic.files import sidecar as sidecars
from entropic.files.finish import Executed, Torn, finish_otherwise
from entropic.files.sidecar import Origin, Sidecar
from entropic.files.task import Inside, Task, inside
from entropic.files.workspace import Workspace
from entropic.params.keys import Params
from entropic.params.model import now_as_text
from entropic.protocol import note_inputs, publish, run
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.note_inputs import under_way
from entropic.protocol.request import Progress, Request
from entropic.protocol.respelled import warn_of_other_spelling
from entropic.support import process
from entropic.support.importing import importer
from entropic.support.names import key_of
from entropic.support.signals import Terminable

# What a finished run has left: its sidecar's text; size, mtime and path of its result; its custom data as JSON, when it
# ended, and what made it.
Left = tuple[bytes, int, int, str, str, str, Origin]

log = logging.getLogger("entropic")
_NOTHING: dict[str, object] = {}  # the custom data of a plain run
is_used = True
"""Whether runs go this way; the tests that stop a run at a step which has a name have it go the other one."""


def make_plain_runner(context: StoreContext[ModelT]) -> Callable[[str, Params], ModelT | None] | None:
    """Return the function that runs a plain set, given its key, and returns its row; None if a store has no such sets.

    That returns None, and has done nothing, if the set is not plain, or its key was claimed before.
    """
    has_wishes = context.read_only is not None or context.fsync or context.checkpoints or context.checksum
    differs = context.hasher.typed or context.schema.changed.is_any or not context.rows.is_kept
    if has_wishes or differs or "/" in context.staging.suffix:
        return None
    made: list[Callable[[str, Params], ModelT | None]] = []

    def run_plain(id: str, params: Params) -> ModelT | None:
        if not made:  # here, since most stores never run anything, and have no need of the statements
            made.append(_made(context))
        return made[0](id, params) if is_used else None

    return run_plain


def _made(context: StoreContext[ModelT]) -> Callable[[str, Params], ModelT | None]:
    rows, staging, ledger, database = context.rows, context.staging, context.ledger, context.database
    runner, model, suffix, binding, columns = (
        context.runner,
        ledger.model,
        staging.suffix,
        rows.binding,
        rows.binding.columns,
    )
    names = (*columns, "id", "result_file", "created_at", "custom_data")
    floats_of = all_of([i for i, name in enumerate(columns) if rows.kinds and rows.kinds[name] is float])
    in_sum_order = all_of([columns.index(name) for name in rows.own_names])
    in_row_order = all_of([names.index(name) for name in rows.names])
    (first, first_values), (fence, fence_values) = ledger.first_claim, ledger.publication_of_short
    upsert, upsert_values = rows.upsert_of(names)
    encode, staged, placed = sidecars.make_plain_encoder(model, suffix), staging.inside(""), staging.path("")
    mine, current_code, lease_keeper, journal = (
        database.mine,
        context.current_code,
        context.lease_keeper,
        context.journal,
    )
    check_runner, origins, spelling = getattr(runner, "check", None), context.origins, context.schema.spelling
    refused: tuple[type[Exception], ...] = (publish.Fenced, *database.troubles)

    def run_plain(id: str, params: Params) -> ModelT | None:
        values = binding.bind_plain(params)
        if values is None or importer() is not None or log.isEnabledFor(logging.DEBUG):
            return None
        params = dict(params)  # so that neither the caller nor the runner can change what a failure says
        numbers = floats_of(values)
        if 0.0 in numbers:  # SQLite knows no -0.0, so the row would have to be read
            return None
        is_natural = spelling.is_strict and not any(map(float.is_integer, numbers))  # see `Spelling.may_differ`
        if not is_natural and not spelling.warned:
            spelling.warned = warn_of_other_spelling(context, {id: params})
        if check_runner is not None:
            check_runner(suffix)
        workspace.prepare(staging, database.stay_current)
        current_code.prepare()
        with Terminable(), (call := process.Call()).under_way:
            begun, began, raw = None, None, None
            try:
                task = claim(id, params, values, call.name)
                if task is None:
                    return None
                begun, began = task.attempt, time.time()
                try:
                    lease_keeper.add(id, task.attempt, task.owner)
                    left = execute(task)
                    if isinstance(left, tuple):
                        raw = record(task, values, left, checksum_of_canonical if is_natural else checksum)
                        if raw is None:
                            left = sidecars.decode(left[0])
                    if isinstance(left, Sidecar):
                        raw = publish.publish(context, left, task)
                finally:
                    lease_keeper.stop(task.attempt)
                if isinstance(left, tuple) and raw is not None:
                    clean(task, left)
                    row: ModelT | None = rows.build(raw, placed + task.path)
                else:
                    row = settle(task, left, raw)
            except BaseException as error:
                request = Request(id, params, columns, values, _NOTHING)
                run.end_early(context, request, call.name, error, begun, began)
                raise
            if row is None:
                request, progress = request_of(task), Progress(attempt=begun, began=began)
                row = run.obtain_row(context, request, call.name, progress)
        if under_way:
            note_inputs.note(context, [row])
        return row

    def claim(id: str, params: dict[str, object], values: tuple[object, ...], owner: str) -> Task | None:
        """Claim a key that was never claimed; see `claim.begin_first`."""
        connection: Connection = mine.connection
        place = id + suffix
        if connection.in_use() or staging.is_taken(place):
            return None
        attempt = new_attempt(None)
        if connection.change(first, first_values(id, attempt, owner, place)) != 1:
            return None
        bound = dict(zip(columns, values))  # noqa: B905  (as many: `bind_plain` has made them)
        return Task(  # in the order of its fields, as in `claim`
            staging,
            model,
            id,
            key_of(model, id),
            attempt,
            owner,
            place,
            None,
            None,
            None,
            params,
            _NOTHING,
            bound,
            False,
            inside.get(),
            None,
            current_code.number,
        )

    def execute(task: Task) -> Left | Sidecar | None:
        """Execute and finish an attempt; see `run.execute`. A plain run has left something, others their sidecar."""
        try:
            space = workspace.take(staging)
        except BaseException as error:
            run.note_params(context, error, task)
            raise
        execution, target, returned = space.execution(), f"{space.path}{os.sep}{task.path}", False
        try:
            given: dict[str, object] = {}
            passed = {**task.params, "id": task.id, "result_file": target, "custom_data": given}
            environment = environments.begin(staging, runner)
            called = attempts.call(runner, passed, Inside(staging.root, model, task.id, task.attempt), task.inside)
            returned, elapsed, inputs = True, called[1], called[3]
            has_said_nothing = passed.get("custom_data") is given and not given and not inputs
            if not has_said_nothing or elapsed >= attempts.MEASURABLE:
                done = attempts.describe_run(task, runner, environment, passed, given, called)
                del passed, called
                found: Left | Sidecar = attempts.conclude(task, space, execution, done)
            else:
                # A runner may leave its open file among its params: it is written when that goes, before the look.
                del passed, called
                if environment is None:
                    environment = environments.current(staging, runner)
                origin = attempts.origin_of_short(environment, task.code)
                source = f"{staged}{task.key}.{task.attempt}.{execution}{suffix}"
                seen = lifted(space, target, source)
                if seen is None:
                    done = Executed(elapsed, None, task.custom_data, origin)
                    found = attempts.conclude(task, space, execution, done)
                else:
                    found = finish(task, space, execution, origin, elapsed, seen, source)
        except BaseException as error:
            attempts.give_up(task, space, execution, None, returned, error)
            if isinstance(error, Torn):
                return run.await_sidecar(task)
            run.note_params(context, error, task)
            raise
        attempts.leave(staging, space)
        return found

    def finish(
        task: Task, space: Workspace, execution: str, origin: Origin, elapsed: float, seen: os.stat_result, source: str
    ) -> Left | Sidecar:
        """Create and write the sidecar of what was lifted; see `finish.describe` and `finish.finish`."""
        seconds = round(elapsed * 1e6) / 1e6
        created_at, custom_text = now_as_text(), f'{{"elapsed_seconds":{seconds!r}}}'
        size, mtime_ns = seen.st_size, seen.st_mtime_ns
        text = encode(task, custom_text, created_at, execution, size, mtime_ns, origin)
        created = False
        try:
            descriptor = sidecars.create(staging, task.key, task.attempt)
            created = True
            sidecars.write(descriptor, text, False)
        except OSError as error:
            sidecar = sidecars.decode(text)
            if sidecar is None:
                raise
            sidecar = finish_otherwise(task, sidecar, space, error, created)
            sidecar.seconds = elapsed
            return sidecar
        return text, size, mtime_ns, source, custom_text, created_at, origin

    def record(
        task: Task, values: tuple[object, ...], left: Left, sum_of: Callable[[tuple[object, ...]], int]
    ) -> Raw | None:
        """Publish a plain run, in the order of `publish.publish_locked`; None if that is to look at it."""
        _, size, mtime_ns, source, custom_text, created_at, origin = left
        id, attempt, place, target = task.id, task.attempt, task.path, placed + task.path
        row = (*values, id, target, binding.created_at(created_at), custom_text)
        sum_ = sum_of(in_sum_order(values))

        def work(connection: Connection) -> None:
            fenced = fence_values(id, attempt, size, mtime_ns, 0, sum_, *origin, None)
            if connection.execute(fence, fenced).rowcount != 1:
                raise publish.Fenced
            connection.execute(upsert, upsert_values(*row))
            places.link(source, target)
            places.unlink_t(source)

        try:
            mine.connection.transact(work)
        except DatabaseBusy as error:
            sidecar = sidecars.decode(left[0])
            if sidecar is None:
                raise
            publish.raise_explained(context, sidecar, error)
        except refused:
            return None
        return (*in_row_order(row), None, origin.code, None, size, mtime_ns, place)

    def clean(task: Task, left: Left) -> None:
        """Remove what is left of a plain run; see `publish.clean`."""
        text, *_, origin = left
        if origin.environment is not None and not origins.knows(origin.environment):
            publish.record_environment(context, origin.environment)
        if journal is not None:
            journal.note(text)
        sidecars.discard(staging, task.key, task.attempt)

    def request_of(task: Task) -> Request:
        return Request(task.id, task.params, columns, tuple(task.values.values()), _NOTHING)

    def settle(task: Task, finished: object, raw: Raw | None) -> ModelT | None:
        """End, as `run.carry_out` does, a run that was not plain after all; None if its row is to be looked for."""
        if not isinstance(finished, Sidecar):  # torn
            return None
        raw = run.settle(context, finished, raw, request_of(task), Progress())
        return None if raw is None else run.warn_of_gaps(context.row(raw, task.params))

    return run_plain


def lifted(space: Workspace, source: str, target: str) -> os.stat_result | None:
    """Move a result out of its workspace, and return what it is like, if it is one file and nothing is beside it.

    None, and nothing is moved, if it is anything else: then `finish.lift` looks at it.
    """
    try:
        seen = os.lstat(source)
        if not stat.S_ISREG(seen.st_mode) or len(os.listdir(space.path)) != 1:
            return None
        os.rename(source, target)
    except OSError:
        return None
    return seen
