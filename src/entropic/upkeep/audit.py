"""`Store.audit`: a sample of stored sets, run again beside what is stored, and compared with it.

Nothing of it gets into the store but what came of it. The runs are executed in a workspace of this process, with a
staging folder of their own in it, and without a claim: so whatever ends this, its results go with the workspace, and
nobody ever takes them for those of a run.
"""

import hashlib
import heapq
import os
import platform
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from entropic.ask.agree import difference
from entropic.ask.given import set_of
from entropic.ask.select import matching
from entropic.db import audits
from entropic.db.query import fetch
from entropic.db.raw import Recorded
from entropic.errors import ParameterError, UnreadableError
from entropic.executors.contract import Ending, Executor
from entropic.executors.serial import Serial
from entropic.files import place as places
from entropic.files import workspace
from entropic.files.content import Strange, are_alike
from entropic.files.sidecar import Sidecar
from entropic.files.staging import Staging, key_of
from entropic.files.task import Task
from entropic.params.model import Base, naive_utc
from entropic.params.outcomes import NOT_RECORDED, NOTED
from entropic.protocol import compare, lookup, run, stale_rows
from entropic.protocol.claim import with_defaults
from entropic.protocol.context import StoreContext
from entropic.support.failure import describe, message_of
from entropic.support.process import Call
from entropic.support.show import spelled
from entropic.support.signals import Terminable
from entropic.upkeep.reports.audited import Audit, Audited

_ATTEMPT = "1-00000000"  # of each of the runs: there is but one of a key
_OURS = ("elapsed_seconds", NOT_RECORDED, NOTED)  # in custom data
Read = Callable[[str], object]


def audit(
    context: StoreContext[Base],
    where: Sequence[object],
    equal: Mapping[str, object],
    fraction: object,
    rtol: object,
    seed: object,
    executor_of: Callable[[], Executor | None],
    read: Read,
) -> Audit:
    """Run a sample again, compare and record; the meaning of the other arguments is that of `Store.audit`.

    Parameters
    ----------
    executor_of
        Makes what executes the runs; None for this process itself.
    """
    if not isinstance(fraction, int | float) or isinstance(fraction, bool) or not 0 < fraction <= 1:
        raise ParameterError(f"fraction is a number above 0, and at most 1, not {spelled(fraction)}")
    if not isinstance(rtol, int | float) or isinstance(rtol, bool) or not 0 <= rtol < 1:
        raise ParameterError(f"rtol is a number from 0 on, and below 1, not {spelled(rtol)}")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise ParameterError(f"seed is a whole number, or None for another sample each time, not {spelled(seed)}")
    context.must_run("audit() would have to run a sample again")
    run.check_runner(context)
    executor = executor_of()
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    ids = [context.rows.id_of(raw) for raw in fetch(context.database, matching(context, where, equal))]
    done = Audit(len(ids), seed)
    chosen = sample(ids, fraction, seed)
    if not chosen:
        return done
    context.current_code.refresh()
    with Terminable(), Call().under_way:
        space = workspace.take(context.staging)
        try:
            staging = Staging(os.path.join(space.path, "audit"), "0" * 32, context.staging.suffix)
            try:
                _Auditing(context, staging, done, float(rtol), read).go_through(chosen, executor)
            finally:
                workspace.forget(staging)
        finally:
            space.close()
    return done


def sample(ids: Sequence[str], fraction: float, seed: int) -> list[str]:
    """Return some of the keys, at least one, if there is any; which, the seed tells, whatever their order."""
    count = max(1, round(fraction * len(ids)))

    def drawn(id: str) -> bytes:
        return hashlib.sha256(f"{seed}:{id}".encode()).digest()

    return heapq.nsmallest(count, ids, key=drawn)


class _Auditing:
    """One audit, on its way."""

    def __init__(self, context: StoreContext[Base], staging: Staging, done: Audit, rtol: float, read: Read) -> None:
        self._context, self._staging, self._done = context, staging, done
        self._rtol, self._read = rtol, read
        self._back, self._under_way = deque[Task](), 0

    def go_through(self, ids: Sequence[str], executor: Executor | None) -> None:
        """Run these sets, and take in what comes of each."""
        used = executor or Serial(self._execute)
        try:
            for ending in used.run(self._tasks(ids)):
                if ending is None:
                    continue
                self._under_way -= 1
                if ending.unbegun:  # behind one that failed, or that takes long
                    self._back.append(ending.task)
                else:
                    self._take(ending)
        finally:
            used.close()

    def _tasks(self, ids: Sequence[str]) -> Iterator[Task | None]:
        coming = self._made_of(ids)
        while True:
            task = self._back.popleft() if self._back else next(coming, None)
            if task is not None:
                self._under_way += 1
            elif not self._under_way:
                return
            yield task

    def _made_of(self, ids: Sequence[str]) -> Iterator[Task]:
        for id in ids:
            raw = self._context.rows.read(id)
            looked_up = lookup.ABSENT if raw is None else lookup.classify(self._context, raw)
            is_there = isinstance(looked_up, lookup.Hit) or (
                isinstance(looked_up, lookup.Suspect) and compare.is_as_stored(self._context, looked_up.raw)
            )
            if raw is None or not is_there:
                self._done.skipped.append(f"{id}: its result is gone, or not as recorded; check() says more")
                continue
            try:
                task = self._task(id, raw)
            except (ParameterError, UnreadableError) as error:  # of what its model does not run any more
                self._done.skipped.append(f"{id}: {error}")
                continue
            yield task

    def _task(self, id: str, raw: Any) -> Task:
        context = self._context
        row = context.rows.build(raw, context.rows.file_of(raw))
        given = {name: value for name, value in row.custom_data.items() if name not in _OURS}
        request = run.prepare(context, id, set_of(context, row), given)
        params = with_defaults(context, request)
        names = context.ledger.model, id, key_of(context.ledger.model, id), _ATTEMPT, Call().name
        where = self._staging.place(id), None, None, None
        told = params, request.custom_data, request.row(), False
        resumes = False if context.checkpoints else None  # it begins with an empty folder of its own
        return Task(self._staging, *names, *where, *told, resumes=resumes)

    def _execute(self, task: Task) -> Ending:
        began = time.time()
        try:
            return Ending(task, run.execute(self._context, task))
        except Exception as error:  # noqa: BLE001  (whatever a runner raises)
            return Ending(task, None, message_of(error), describe(error, began), error)

    def _take(self, ending: Ending) -> None:
        id, context = ending.task.id, self._context
        raw, claim = context.rows.read(id), context.ledger.find(id)
        if raw is None:
            self._done.skipped.append(f"{id}: it was deleted meanwhile")
            return
        if ending.finished is None and ending.failure is None:
            self._done.skipped.append(f"{id}: its run did not come back: {ending.reason}")
            return
        if ending.finished is None:
            kind, message = (ending.failure or {}).get("type"), (ending.failure or {}).get("message")
            agreed, text = False, f"its run raised {kind}: {message}"
        else:
            agreed, text = self._compared(ending.finished, raw)
            places.remove(self._staging.inside(ending.finished.result))
        if not agreed and context.current_code.is_other(Recorded.of(raw).code):
            text += " (different code made the stored one)"
        if not agreed and Recorded.of(raw).inputs:
            text += self._of_inputs(id)
        attempt = claim.published if claim is not None and claim.registered is None else None
        at = time.time_ns() // 1000
        told = {"attempt": attempt, "at": at, "host": platform.node(), "agreed": agreed, "told": text}
        audits.record(context.database, context.model, id=id, **told)
        found = Audited(id, agreed, text, naive_utc(at / 1e6), platform.node(), attempt)
        (self._done.agreed if agreed else self._done.differing).append(found)

    def _of_inputs(self, id: str) -> str:
        """Say, of a result that differs, how what its run had read stands now, in this database and in others."""
        context = self._context
        read = [one for _, one in context.origins.inputs.of([id])]
        if reasons := stale_rows.find_reasons(context, [id]).get(id):
            return f" ({stale_rows.sentence(reasons)})"
        states = stale_rows.states(context, id, read)
        told = [f"{one.model} {states[one[:3]][0]}" for one in read if states[one[:3]][1] in ("unknown", "gone")]
        if not told:
            return ""
        more = f" and {len(told) - 1:,} more" if len(told) > 1 else ""
        return f" (its run had read {told[0]}{more}, which cannot be looked up here now and may have changed)"

    def _compared(self, made: Sidecar, raw: Any) -> tuple[bool, str]:
        """Tell whether a result agrees with the stored one, and say how."""
        context = self._context
        whole, path = self._staging.inside(made.result), context.path_of(raw)
        main = self._staging.suffix.partition("/")[2]
        try:
            if are_alike(os.path.realpath(whole), os.path.realpath(path)):
                return True, "the two are identical"
        except (OSError, Strange):  # what cannot be read is said below
            pass
        try:
            stored = self._read(context.rows.file_of(raw))
            again = self._read(os.path.join(whole, main) if main else whole)
            found = difference(stored, again, self._rtol)
        except Exception as error:  # noqa: BLE001  (of anybody's loader, and of what it returns)
            return False, f"the bytes of the two differ, and what they hold cannot be compared: {error}"[:500]
        if found is None:
            return True, f"the two agree within a relative {self._rtol:g}"
        return False, found[:500]


def recorded(context: StoreContext[Base]) -> list[Audited]:
    """Return what came of all audits, oldest first."""
    found = audits.recorded(context.database, context.model)
    return [
        Audited(id, bool(agreed), told, naive_utc(at / 1e6), host, attempt)
        for id, attempt, at, host, agreed, told in found
    ]
