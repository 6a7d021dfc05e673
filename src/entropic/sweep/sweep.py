"""The sweep: plan, hand out, take home, return in order. One way through the code, whatever executes.

Several processes may sweep the same sets: each claims the next few that nobody has, so they share the work, and
nobody waits while there are unclaimed sets left.
"""

import atexit
import concurrent.futures
import contextlib
import itertools
import logging
import time
import warnings
import weakref
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

from entropic.db.connection import Connection
from entropic.errors import (
    ParameterError,
    PublishError,
    ResultMissingError,
    RunsFailedWarning,
    levels_to_user,
    noting,
)
from entropic.executors.contract import Executor, ExecutorLost
from entropic.executors.serial import Serial
from entropic.files import attempt
from entropic.params.fields import is_duration, spelled
from entropic.params.keys import RESERVED
from entropic.params.same import same
from entropic.protocol import lookup, run, verify
from entropic.protocol.claim import rehearsal, rehearse, settled
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.find import accept_touched, find_many
from entropic.protocol.lookup import ABSENT, Absent, Hit, Suspect
from entropic.protocol.request import Request
from entropic.support.collector import paused
from entropic.support.process import Call
from entropic.support.signals import Terminable
from entropic.sweep.progress import Bar
from entropic.sweep.share import Share
from entropic.upkeep.recover import collect

log = logging.getLogger("entropic")
MOST_WORKERS = 10_000
PLANNED_TOGETHER = 5_000  # sets whose rows are looked up in one go


@dataclass(frozen=True, slots=True)
class Options:
    """How a sweep is carried out; checked before anything else.

    Raises
    ------
    ParameterError
        If they cannot be met, or contradict each other.
    """

    client: Any = None
    workers: int | None = None
    on_error: str = "raise"
    retry_failed: bool = True
    timeout: float | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        workers, timeout = self.workers, self.timeout
        if workers is not None and self.client is not None:
            raise ParameterError("give workers or client, not both: they are two ways of executing the same sweep")
        if workers is not None and (type(workers) is not int or not -1 <= workers <= MOST_WORKERS or workers == 0):
            raise ParameterError(
                f"workers is a number of processes, at most {MOST_WORKERS:,}, or -1 for one for each core, not "
                f"{spelled(workers)}"
            )
        if timeout is not None:
            if not is_duration(timeout):
                raise ParameterError(f"timeout is a number of seconds above 0, not {spelled(timeout)}")
            if workers is None:
                raise ParameterError(
                    "timeout needs processes that can be ended; use workers=1 (or more) to run the sets in such"
                )
        if self.on_error not in ("raise", "continue"):
            raise ParameterError(f"on_error is 'raise' or 'continue', not {self.on_error!r}")

    def executor(self, context: StoreContext[Any]) -> Executor | None:
        """Return what executes the sweep; None for this process itself."""
        if self.workers is not None:
            from entropic.executors.workers import Workers

            return Workers(self.workers, context.runner, self.timeout)
        if self.client is None:
            return None
        if isinstance(self.client, concurrent.futures.Executor):
            from entropic.executors.futures import Futures

            return Futures(self.client, context.runner)
        if all(hasattr(self.client, name) for name in ("map", "status", "nthreads", "cancel")):
            from entropic.executors.dask import Dask

            return Dask(self.client, context.runner)
        raise ParameterError(
            "client must be a dask.distributed Client or a concurrent.futures.Executor, not "
            f"{type(self.client).__name__}"
        )


class Stopped(Exception):
    """A run has failed, and the sweep with it. It carries the exception, which a generator may not raise itself."""

    def __init__(self, first: BaseException) -> None:
        super().__init__(first)
        self.first = first


@dataclass(slots=True)
class Planned(Generic[ModelT]):
    """The distinct sets of a sweep, checked.

    Attributes
    ----------
    rows
        Every key in the order in which it was first seen: its row, if rows are kept and it is stored.
    missing
        What has to be run, by key.
    known
        What is there, by key, of those that are not new: a row whose file is not as recorded, or about to be replaced.
    left_out
        The keys of sets that failed before and are not to be run again.
    """

    rows: dict[str, ModelT | None] = field(default_factory=dict)
    missing: dict[str, Request] = field(default_factory=dict)
    known: dict[str, Suspect | Absent] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def sweep(context: StoreContext[ModelT], params: Iterable[Mapping[str, Any]], options: Options) -> list[ModelT]:
    """Return one row for each distinct set, in the order in which they were first seen; run those that are missing."""
    executor = options.executor(context)
    planned = plan(context, params, options)
    _check_allowed(context, planned)
    rows = planned.rows
    try:
        for id, row in carry_out(context, planned, options, executor):
            rows[id] = row
        return [row for row in rows.values() if row is not None]
    except Stopped as stopped:
        first = stopped.first
    raise first  # outside of the handler, which would change what it says of its cause


def stream(
    context: StoreContext[ModelT], params: Iterable[Mapping[str, Any]], options: Options
) -> Generator[ModelT, None, None]:
    """Yield the row of each distinct set as soon as it is there: first those that are stored."""
    executor = options.executor(context)
    planned = plan(context, params, options, keep_rows=False)
    _check_allowed(context, planned)

    def rows() -> Generator[ModelT, None, None]:
        yield from _stored(context, planned)
        try:
            with contextlib.closing(carry_out(context, planned, options, executor)) as coming:
                for _, row in coming:
                    yield row
            return
        except Stopped as stopped:
            first = stopped.first
        raise first

    made = rows()
    _open.add(made)
    return made


_open: "weakref.WeakSet[Generator[Any, None, None]]" = weakref.WeakSet()


def _close_all() -> None:
    """End the streams that nobody has read to their end, while this process still can."""
    for one in list(_open):
        with contextlib.suppress(ValueError):  # another thread is inside of it
            one.close()


atexit.register(_close_all)


def _check_allowed(context: StoreContext[Any], planned: Planned[Any]) -> None:
    """Refuse to run anything in a store that is read-only."""
    if planned.missing and context.read_only is not None:
        first = next(iter(planned.missing.values()))
        more = f" and {len(planned.missing) - 1:,} more" if len(planned.missing) > 1 else ""
        what = f"{context.describe(first.params, first.id)}{more}"
        context.must_write(f"{what} {'have' if more else 'has'} to be run")


def _stored(context: StoreContext[ModelT], planned: Planned[ModelT]) -> Iterator[ModelT]:
    """Read again, a few at a time, what was seen to be stored when the sets were checked."""
    without = {*planned.missing, *planned.left_out}
    ids = (id for id in planned.rows if id not in without)
    while batch := list(itertools.islice(ids, PLANNED_TOGETHER // 10)):
        looks = dict(lookup.read_many(context, batch))
        for id in batch:
            look = looks.get(id, ABSENT)
            if not isinstance(look, Hit):  # a newer result may lack just its publication
                if context.read_only is None:
                    settled(context, id, lambda *_: True)
                look = lookup.read(context, id)
            if isinstance(look, Suspect):  # as `plan` has found it, or copied since
                look = accept_touched(context, {id: look}).get(id, look)
            if not isinstance(look, Hit):
                raise ResultMissingError(
                    f"the result of {context.schema.name} {id} was removed while the sweep went on; call again to "
                    "run it"
                )
            yield context.rows.build(look.raw, look.path)


def carry_out(
    context: StoreContext[ModelT], planned: Planned[ModelT], options: Options, executor: Executor | None
) -> Generator[tuple[str, ModelT], None, None]:
    """Run what is missing; yield the key and the row of each set as it comes, and say how it went."""
    began, missing = time.perf_counter(), planned.missing
    stored = len(planned.rows) - len(missing) - len(planned.left_out)
    ran, failures = 0, {}
    wanted = options.progress if missing or options.progress else False
    bar = Bar(wanted, context.schema.name, len(planned.rows) - len(planned.left_out), stored)
    with Terminable(), bar, (call := Call()).under_way:
        if missing:
            lost = [(missing[id], one) for id, one in planned.known.items() if type(one) is Suspect]
            if lost:
                run.warn_of_loss(context, lost)
            rehearse_together(context, missing)
            attempt.prepare(context.staging)
            coming: deque[tuple[str, ModelT]] = deque()
            keep_going = options.on_error == "continue"
            share = Share(
                context, missing, planned.known, call.name, lambda id, row: coming.append((id, row)), keep_going
            )
            call.ends_without_us = share.goes_on
            used = executor or Serial(share.execute)
            steps = drive(share, used)
            try:
                for _ in steps:
                    bar.show(0, len(share.under_way), len(share.failures), share.elsewhere)
                    while coming:
                        bar.show(1, len(share.under_way), len(share.failures), share.elsewhere)
                        yield coming.popleft()
            except BaseException as error:
                steps.close()
                used.close()
                share.give_up(error.first if isinstance(error, Stopped) else error, used.ends)
                if options.workers is not None:
                    tidy(context)
                raise
            finally:
                try:
                    used.close()
                finally:
                    share.close()
            ran, failures = share.ran, share.failures
            if share.went_astray or failures:
                tidy(context)
    elapsed = time.perf_counter() - began
    log.info(
        "swept %d sets of %s in %.3g s: %d were stored, %d ran here, %d elsewhere, %d failed, %d were left out",
        *(len(planned.rows), context.schema.name, elapsed, stored, ran),
        *(len(missing) - ran - len(failures), len(failures), len(planned.left_out)),
    )
    _warn(context, planned, failures)


def tidy(context: StoreContext[Any]) -> None:
    """Remove what runs that were ended, or given up elsewhere, have left behind; a later sweep can do it as well."""
    try:
        collect(context)
    except Exception as error:  # noqa: BLE001
        log.warning("what is left of ended runs could not be removed yet: %s", error)


def _warn(context: StoreContext[Any], planned: Planned[Any], failures: Mapping[str, BaseException]) -> None:
    if not failures:
        return
    kinds = Counter(type(error).__name__ for error in failures.values())
    refused = [error for error in failures.values() if isinstance(error, PublishError)]
    why = [f"{len(refused)} cannot be recorded, such as: {refused[0]}"] if refused else []
    why += ["failures() says why"] if len(refused) < len(failures) else []
    shown = ", ".join(f"{kind} x {count}" if count > 1 else kind for kind, count in kinds.most_common(5))
    warnings.warn(
        f"{len(failures)} of {len(planned.rows)} sets of {context.schema.name} failed ({shown}); {'; '.join(why)}",
        RunsFailedWarning,
        stacklevel=levels_to_user(),
    )


def rehearse_together(context: StoreContext[Any], missing: Mapping[str, Request]) -> None:
    """Insert all missing rows and take them back: sets that break a constraint against each other run neither."""
    if context.rows.is_constrained and len(missing) > 1:

        def work(connection: Connection) -> None:
            with rehearsal(connection):
                for request in missing.values():
                    rehearse(context, connection, request)

        context.database.transact(work)


def plan(
    context: StoreContext[ModelT],
    params: Iterable[Mapping[str, Any]],
    options: Options,
    keep_rows: bool = True,
    given: dict[str, Mapping[str, Any]] | None = None,
    changes: bool = True,
) -> Planned[ModelT]:
    """Check every set, and find the rows that are there, in a few queries.

    Parameters
    ----------
    given
        Gets the first set of each key, if the caller wants to have them.
    changes
        Whether the time of a file that was copied may be recorded anew.
    """
    planned: Planned[ModelT] = Planned()
    coming = iter(params)
    while batch := list(itertools.islice(coming, PLANNED_TOGETHER)):
        with paused():
            fresh = _plan_batch(context, batch, planned, keep_rows, changes)
        if given is not None:
            given.update(fresh)
    if not options.retry_failed:
        failed = {found.id for found in context.ledger.find_many(planned.missing) if found.failed}
        planned.left_out = [id for id in planned.missing if id in failed]
        for id in planned.left_out:
            del planned.missing[id]
            planned.known.pop(id, None)
    return planned


def _plan_batch(
    context: StoreContext[ModelT],
    batch: list[Mapping[str, Any]],
    planned: Planned[ModelT],
    keep_rows: bool,
    changes: bool,
) -> dict[str, Mapping[str, Any]]:
    """Plan some sets; return those that were not seen before, by key."""
    rows, missing = planned.rows, planned.missing
    fresh: dict[str, Mapping[str, Any]] = {}
    for id, one in zip(context.hasher.many(batch), batch, strict=True):
        if id not in rows:
            rows[id] = None
            fresh[id] = one
        else:
            _check_repeated(context, id, one, rows[id], fresh, missing)
    absent, known = dict(fresh), planned.known
    for id, found in find_many(context, fresh, changes):
        if type(found) is Suspect or type(found) is Absent:
            known[id] = found
            continue
        del absent[id]
        if keep_rows:
            rows[id] = found
    for id, one in absent.items():
        missing[id] = run.prepare(context, id, one, {})
    return fresh


def _check_repeated(
    context: StoreContext[Any],
    id: str,
    one: Mapping[str, Any],
    row: Any,
    fresh: Mapping[str, Mapping[str, Any]],
    missing: Mapping[str, Request],
) -> None:
    """Compare a set with the earlier one of the same key."""
    if row is not None:
        verify.verify(
            context.schema, context.rows, {name: getattr(row, name) for name in context.schema.attributes.values()}, one
        )
        return
    if id not in fresh and id not in missing:  # its row was seen, and is not kept
        raw = context.rows.read(id)
        if raw is not None:
            context.verify(raw, one)
        return
    earlier = fresh[id] if id in fresh else missing[id].params
    for name in {**earlier, **one}:
        if name in RESERVED:
            continue
        if name not in earlier or name not in one or not same(earlier[name], one[name]):
            raise verify.collision(context.schema, id, earlier, one, name)


def drive(share: Share, executor: Executor) -> Generator[None, None, None]:
    """Hand out and take home until every set has its row, or has failed; give way after each outcome."""
    serial = Serial(share.execute)
    while share.is_open:
        try:
            with contextlib.closing(executor.run(share.tasks())) as outcomes:
                for outcome in outcomes:
                    if outcome is None:
                        share.reraise()
                        share.publish_if_due()
                    else:
                        share.take(outcome, executor.falls_back)
                    yield
        except ExecutorLost as lost:
            log.warning("the rest of the sweep runs in this process: %s", lost)
            share.miss(str(lost))
            executor = serial
        if share.stops:
            break
        share.reraise()
        share.publish()
        yield
        if share.astray and not share.stops:
            executor = serial
            share.bring_home()
    if share.stops:
        first = next(iter(share.failures.values()))
        with noting(first):
            share.publish()
        yield
        raise Stopped(first)
