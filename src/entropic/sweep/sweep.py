"""The sweep: plan, hand out, take home, return in order. One way through the code, whatever executes.

Several processes may sweep the same sets: each claims the next few that nobody has, so they share the work, and
nobody waits while there are unclaimed sets left.
"""

import atexit
import contextlib
import itertools
import logging
import time
import weakref
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from entropic.errors import (
    ClientLostError,
    EntropicError,
    FellBackWarning,
    NotBegunWarning,
    PublishError,
    ResultMissingError,
    RunsFailedWarning,
    hide_ours,
    note,
    noting,
    warn,
)
from entropic.executors.contract import Executor, ExecutorLost
from entropic.executors.serial import Serial
from entropic.files import workspace
from entropic.params.model import Base
from entropic.protocol import lookup, note_inputs, run
from entropic.protocol.claim import act_when_settled
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.current_code import Met
from entropic.protocol.find import accept_touched
from entropic.protocol.lookup import ABSENT, Hit, Suspect
from entropic.protocol.outcome_values import Gaps
from entropic.protocol.request import Request
from entropic.protocol.respelled import warn_of_other_spelling
from entropic.support.process import Call
from entropic.support.show import counted, duration, spelled
from entropic.support.signals import Terminable
from entropic.sweep.cost import MOST_ASKED, Costs
from entropic.sweep.deadline import Deadline
from entropic.sweep.missing import Planned, check_allowed, plan, rehearse_together
from entropic.sweep.options import Options, check_names
from entropic.sweep.order import arrange
from entropic.sweep.progress import Bar
from entropic.sweep.search import Searching, Source, counts
from entropic.sweep.share import Share
from entropic.upkeep.recover import recover

if TYPE_CHECKING:
    from entropic.sweep.learned import Learned
    from entropic.sweep.left import Leaving

log = logging.getLogger("entropic")
SPELLED_TOGETHER = 1_000  # missing sets that are looked for in other spellings
READ_TOGETHER = 500  # rows of a stream


class Stopped(Exception):
    """A run has failed, and the sweep with it. It carries the exception, which a generator may not raise itself."""

    def __init__(self, first: BaseException) -> None:
        super().__init__(first)
        self.first = first


def sweep(
    context: StoreContext[ModelT],
    params: Iterable[Any],
    options: Options,
    custom_data: Mapping[str, object],
) -> list[ModelT]:
    """Return one row for each distinct set, in the order in which they were first seen; run those that are missing."""
    check_names(custom_data)
    executor = options.make_executor(context) if options.wait else None
    given: dict[str, Mapping[str, object]] | None = {} if options.order == "spread" else None
    with context.current_code.gather_stale() as met:
        planned = plan(context, params, options.retry_failed, given=given, custom_data=custom_data, rerun=options.rerun)
    check_allowed(context, planned)
    arrange(context, planned, given or {}, options.order)
    if context.current_code.on_stale != "rerun":  # else it is said when they run
        context.current_code.settle(met)
    rows = planned.rows
    try:
        for id, row in carry_out(context, planned, options, executor):
            rows[id] = row
        return [row for row in rows.values() if row is not None]
    except Stopped as stopped:
        first = stopped.first
    raise first  # outside of the handler, which would change what it says of its cause


def stream(
    context: StoreContext[ModelT],
    params: Iterable[Any],
    options: Options,
    custom_data: Mapping[str, object],
    in_flight: int | None = None,
) -> Generator[ModelT, None, None]:
    """Yield the row of each distinct set as soon as it is there: first those that are stored.

    If so many may be in flight, they are asked for as there is room, and come out in the order in which they are there.
    """
    check_names(custom_data)
    executor = options.make_executor(context)
    source = None if in_flight is None else Source(context, params, in_flight, options, custom_data)
    if source is None:
        given: dict[str, Mapping[str, object]] | None = {} if options.order == "spread" else None
        with context.current_code.gather_stale() as met:
            retry, rerun = options.retry_failed, options.rerun
            planned = plan(context, params, retry, False, given=given, custom_data=custom_data, rerun=rerun)
        check_allowed(context, planned)
        arrange(context, planned, given or {}, options.order)
        if context.current_code.on_stale != "rerun":  # else it is said when they run
            context.current_code.settle(met)
    else:
        planned = source.planned

    def rows() -> Generator[ModelT, None, None]:
        try:
            yield from _stored(context, planned)
            with contextlib.closing(carry_out(context, planned, options, executor, source)) as coming:
                for id, row in coming:
                    if source is not None:
                        source.note_row(id, row)
                    yield from note_inputs.note_and_return(context, [row])
            return
        except Stopped as stopped:
            first = hide_ours(stopped.first)
        except (KeyboardInterrupt, EntropicError) as error:
            raise hide_ours(error)  # noqa: B904
        finally:
            if source is not None:
                source.close()
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


def _stored(context: StoreContext[ModelT], planned: Planned[ModelT]) -> Iterator[ModelT]:
    """Read again, a few at a time, what was seen to be stored when the sets were checked."""
    without = {*planned.missing, *planned.left_out}
    ids = (id for id in planned.rows if id not in without)
    while batch := list(itertools.islice(ids, READ_TOGETHER)):
        by_id = dict(lookup.read_many(context, batch))
        for id in batch:
            looked_up = by_id.get(id, ABSENT)
            if not isinstance(looked_up, Hit):  # a newer result may lack just its publication
                if context.read_only is None:
                    act_when_settled(context, id, lambda *_: True)
                looked_up = lookup.read(context, id)
            if isinstance(looked_up, Suspect):  # as `plan` has found it, or copied since
                looked_up = accept_touched(context, {id: looked_up}).get(id, looked_up)
            if not isinstance(looked_up, Hit):
                raise ResultMissingError(
                    f"the result of {context.schema.name} {id} was removed while the sweep was running; call again to "
                    "run it"
                )
            yield from note_inputs.note_and_return(context, [context.rows.build(looked_up.raw, looked_up.path)])


def carry_out(
    context: StoreContext[ModelT],
    planned: Planned[ModelT],
    options: Options,
    executor: Executor | None,
    source: Source[ModelT] | None = None,
) -> Generator[tuple[str, ModelT], None, None]:
    """Run what is missing; yield the key and the row of each set as it comes, and say how it went."""
    began, missing = time.perf_counter(), planned.missing
    stored, missed = counts(planned, source)
    ran, failures, gaps, left, of_other_code = 0, {}, Gaps(), list[str](), Met()
    used: Executor | Leaving | None = None
    wanted = options.progress if missing or source or options.progress else False
    total = None if source else len(planned.rows) - len(planned.left_out)
    bar = Bar(wanted, context.schema.name, total, stored)
    with Terminable(), bar, (call := Call()).under_way:
        if missing or source:
            lost = [(missing[id], one) for id, one in planned.known.items() if type(one) is Suspect]
            if lost:
                run.warn_of_loss(context, lost)
            new = (one for one in missing.items() if not options.rerun or one[0] not in planned.known)
            some = itertools.islice(new, SPELLED_TOGETHER)
            warn_of_other_spelling(context, {id: request.params for id, request in some})
            learned = _learned(context, planned, options, executor)  # before anything is claimed
            keep_going, here = options.on_error == "continue", options.client is None
            until, retries = options.until, options.retries or 0
            if source is not None:
                share: Share[ModelT] = Searching(context, source, call.name, bar, keep_going, here, retries)
            else:
                if here:  # else it is for its workers to have the libraries
                    run.check_runner(context)
                rehearse_together(context, missing)
                workspace.prepare(context.staging, context.database.stay_current)
                context.current_code.prepare()
                if options.until is not None:
                    options.until.learn_from(Costs(context, [id for id in planned.rows if id not in missing]))
                share = Share(context, missing, planned.known, call.name, bar, keep_going, until, retries)
            call.ends_without_us = share.goes_on
            used, steps = _steps(context, share, executor, options, missing, call.name, learned)
            try:
                for _ in steps:
                    bar.show(0, share.under_way, len(share.failures), share.elsewhere, used.standing)
                    while share.arrived:
                        bar.show(1, share.under_way, len(share.failures), share.elsewhere, used.standing)
                        yield share.arrived.popleft()
            except BaseException as error:
                steps.close()
                used.close()
                share.end_early(error.first if isinstance(error, Stopped) else error, used.ends)
                if options.workers is not None:
                    tidy(context)
                if isinstance(error, KeyboardInterrupt):
                    kept = f"{stored + share.ran:,} of {len(planned.rows):,} sets are stored"
                    note(error, f"entropic: interrupted; {kept}, and the same call goes on with the rest")
                raise
            finally:
                try:
                    used.close()
                finally:
                    share.close()
            ran, failures, gaps, left = share.ran, share.failures, share.gaps, share.left
            of_other_code = share.of_other_code
            # One whose runs have limited memory may have ended some of them, and begun these anew.
            if share.went_astray or failures or share.has_retried or options.resources.memory is not None:
                tidy(context)
    elapsed, (stored, missed) = time.perf_counter() - began, counts(planned, source)
    log.info(
        "swept %s of %s in %.3g s: %d stored before, %d run here, %d elsewhere, %d failed, %d left out, %d not begun",
        *(counted(len(planned.rows), "set"), context.schema.name, elapsed, stored, ran),
        *(missed - ran - len(failures) - len(left), len(failures), len(planned.left_out), len(left)),
    )
    gaps.warn()
    _warn(context, planned, failures)
    context.current_code.tell_of_workers(of_other_code)
    if not options.wait:
        from entropic.sweep.left import describe_standing

        options.told.append(
            describe_standing(context, len(planned.rows) - len(planned.left_out), left, len(failures), used)
        )
        log.info("%s", options.told[-1])
    elif left:
        _warn_of_left(context, planned, left, share.left_running, options)


def _steps(
    context: StoreContext[ModelT],
    share: Share[ModelT],
    executor: Executor | None,
    options: Options,
    missing: Mapping[str, Request],
    owner: str,
    learned: "Learned | None",
) -> "tuple[Executor | Leaving, Generator[None, None, None]]":
    """Return what executes a sweep, and the steps in which it is carried out."""
    if learned is not None:
        learned.rest = share.not_handed_out
    if not options.wait:
        from entropic.sweep.left import Leaving

        leaving = Leaving(options.make_submission_options(context), learned)
        return leaving, _leave(share, leaving.submit(context, share, missing, owner))
    used = executor or Serial(share.execute)
    local = (
        None if options.fallback == "raise" else lambda: options.make_local_executor(context) or Serial(share.execute)
    )
    return used, drive(share, used, local)


def _learned(
    context: StoreContext[Base], planned: Planned[ModelT], options: Options, executor: Executor | None
) -> "Learned | None":
    """Return what tells for how much jobs ask, if that is to be learned; raise if stored runs do not tell it."""
    if not options.learns:
        return None
    from entropic.sweep.learned import learn

    return learn(context, planned, options.client, executor)


def _leave(share: Share[ModelT], steps: Generator[None, None, None]) -> Generator[None, None, None]:
    """Submit what is missing, and wait for nothing."""
    yield from steps
    yield
    if share.stops:
        yield from _stop(share)


def tidy(context: StoreContext[Base]) -> None:
    """Remove what runs that were ended, or abandoned elsewhere, have left behind; a later sweep can do it as well."""
    try:
        recover(context)
    except Exception as error:  # noqa: BLE001
        log.warning("could not remove what ended runs left behind, so a later sweep has to: %s", error)


def _warn(context: StoreContext[Base], planned: Planned[ModelT], failures: Mapping[str, BaseException]) -> None:
    if not failures:
        return
    kinds = Counter(type(error).__name__ for error in failures.values())
    refused = [error for error in failures.values() if isinstance(error, PublishError)]
    why = [f"{len(refused)} could not be recorded, for example: {refused[0]}"] if refused else []
    why += ["store.failures() says why"] if len(refused) < len(failures) else []
    shown = ", ".join(f"{kind} x {count}" if count > 1 else kind for kind, count in kinds.most_common(5))
    warn(
        f"{len(failures)} of {counted(len(planned.rows), 'set')} of {context.schema.name} failed ({shown}); "
        f"{'; '.join(why)}",
        RunsFailedWarning,
    )


def _warn_of_left(
    context: StoreContext[Base], planned: Planned[ModelT], left: list[str], elsewhere: set[str], options: Options
) -> None:
    begun = [id for id in left if id in elsewhere]
    unbegun = [id for id in left if id not in elsewhere]
    of, by = f"of {counted(len(planned.rows), 'set')} of {context.schema.name}", str(options.until)
    said = []
    if unbegun:
        example = spelled(dict(planned.missing[unbegun[0]].params), 200)
        said.append(f"{_were(len(unbegun), of)} not begun, by {by}: for example {example}")
        said += _too_long(planned, unbegun, options.until)
    if begun:
        still = f"still {'runs' if len(begun) == 1 else 'run'} elsewhere"
        said.append(f"{len(begun):,} {still}" if unbegun else f"{len(begun):,} {of} {still} after {by}")
    said.append("the same call goes on with the rest")
    warn("; ".join(said), NotBegunWarning)


def _were(count: int, of: str) -> str:
    return f"{count:,} {of} {'was' if count == 1 else 'were'}"


def _too_long(planned: Planned[ModelT], left: list[str], until: Deadline | None) -> list[str]:
    """Say which sets no call with this deadline would ever begin."""
    some = left[:MOST_ASKED]
    needed = {id: until.too_long(planned.missing[id].params) for id in some} if until is not None else {}
    long = {id: seconds for id, seconds in needed.items() if seconds is not None}
    if not long:
        return []
    longest = max(long, key=lambda id: long[id])
    more, need = " or more" if len(some) < len(left) else "", "needs" if len(long) == 1 else "need"
    example = spelled(dict(planned.missing[longest].params), 200)
    return [
        f"{len(long):,}{more} of these {need} more than the whole deadline, such as {example} with about "
        f"{duration(long[longest])}: raise it for them"
    ]


def drive(
    share: Share[ModelT], executor: Executor, local: Callable[[], Executor] | None
) -> Generator[None, None, None]:
    """Hand out and take home until every set has its row, has failed, or is left; give way after each ending.

    `local` makes what runs on this machine what does not come back from the executor; None: then that is an error.
    """
    with contextlib.ExitStack() as stack:
        used = executor
        while share.is_open:
            lost = ""
            try:
                with contextlib.closing(used.run(share.tasks())) as endings:
                    for ending in endings:
                        if ending is None:
                            share.reraise()
                            share.publish_if_due()
                        else:
                            share.take(ending, used.falls_back, local is not None, used.ends)
                        yield
            except ExecutorLost as error:
                lost = str(error)
                share.miss(lost)
            if share.stops:
                break
            share.reraise()
            share.publish()
            yield
            if share.stops or not (lost or share.astray):
                continue
            share.leave_late(astray=local is not None)
            share.ask_for_more()  # else a search seems to go on that has come to its end
            yield
            if not share.is_open:  # all that was begun is found on the disk, and the rest is too late
                if lost:
                    log.info("%s; by then nothing was left to run", lost)
                continue
            if local is None:
                raise ClientLostError(_lost(share, lost))
            if used is executor:
                used = stack.enter_context(contextlib.closing(local()))
            where = "in this process" if isinstance(used, Serial) else "in a separate process on this machine"
            if lost:
                warn(
                    f"the rest of the sweep runs {where}: {lost}",
                    FellBackWarning,
                )
            if share.astray:
                share.bring_home(where)
    if share.left and not share.stops:
        share.read_left()
        yield
    if share.stops:
        yield from _stop(share)


def _stop(share: Share[ModelT]) -> Generator[None, None, None]:
    """End a sweep by its first failure."""
    first = next(iter(share.failures.values()))
    with noting(first):
        share.publish()
    yield
    raise Stopped(first)


def _lost(share: Share[ModelT], lost: str) -> str:
    """Say what a client did not bring home, and what to do."""
    many, which = share.told_astray
    told = f"{many}: {which}" if share.astray else lost
    return (
        f"{told}. Nothing is run in its place, as fallback='raise' asks; what is finished is stored, and the same call "
        "goes on with the rest"
    )
