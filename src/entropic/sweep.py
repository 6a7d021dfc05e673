"""The sweep: plan, hand out, take home, return in order. One way through the code, whatever executes.

Several processes may sweep the same sets: each claims the next few that nobody has, so they share the work, and
nobody waits while there are unclaimed sets left.
"""

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from entropic import lookup, match, run
from entropic.claim import Want, rehearsal, rehearse
from entropic.collect import collect
from entropic.errors import ParameterError
from entropic.executors.contract import Executor, ExecutorLost
from entropic.executors.serial import Serial
from entropic.files import attempt
from entropic.garbage import paused
from entropic.keys import RESERVED
from entropic.parts import ModelT, Parts
from entropic.process import Call
from entropic.same import same
from entropic.share import Share

log = logging.getLogger("entropic")
PLANNED_TOGETHER = 5_000  # sets whose rows are looked up in one go


def sweep(parts: Parts[ModelT], params: Iterable[Mapping[str, Any]], client: Any = None) -> list[ModelT]:
    """Return one row for each distinct set, in the order in which they were first seen; run those that are missing."""
    executor = None if client is None else executor_of(client, parts)
    began = time.perf_counter()
    rows, missing = plan(parts, params)
    stored = len(rows) - len(missing)
    ran = 0
    if missing:
        rehearse_together(parts, missing)
        attempt.prepare(parts.area)
        with Call() as call:
            share = Share(parts, rows, missing, call.name)
            try:
                fulfil(parts, share, executor or Serial(share.execute))
            except BaseException as error:
                share.give_up(error)
                raise
            finally:
                share.close()
            ran = share.ran
        if share.went_astray:  # what was given up elsewhere may have left something behind
            collect(parts)
    elapsed = time.perf_counter() - began
    log.info(
        "swept %d sets of %s in %.3g s: %d were stored, %d ran here, %d elsewhere",
        *(len(rows), parts.schema.name, elapsed, stored, ran, len(rows) - stored - ran),
    )
    return list(rows.values())  # type: ignore[arg-type]  # none is None any more


def rehearse_together(parts: Parts[Any], missing: Mapping[str, Want]) -> None:
    """Insert all missing rows and take them back: sets that break a constraint against each other run neither."""
    if parts.rows.is_constrained and len(missing) > 1:
        with parts.database.transaction() as connection, rehearsal(connection):
            for want in missing.values():
                rehearse(parts, connection, want)


def executor_of(client: Any, parts: Parts[Any]) -> Executor:
    """Return the executor for what a user gives as `client`.

    Raises
    ------
    ParameterError
        If it is nothing that tasks can be handed to.
    """
    if not all(hasattr(client, name) for name in ("map", "status", "nthreads", "cancel")):
        raise ParameterError(f"client must be a dask.distributed Client, not {type(client).__name__}")
    from entropic.executors.dask import Dask

    return Dask(client, parts.runner)


def plan(parts: Parts[ModelT], params: Iterable[Mapping[str, Any]]) -> tuple[dict[str, ModelT | None], dict[str, Want]]:
    """Check every set, and find the rows that are there, in a few queries.

    Returns
    -------
    rows, missing
        `rows` has every key, in the order in which it was first seen, with None for those in `missing`.
    """
    rows: dict[str, ModelT | None] = {}
    missing: dict[str, Want] = {}
    given = iter(params)
    while batch := list(itertools.islice(given, PLANNED_TOGETHER)):
        with paused():
            _plan_batch(parts, batch, rows, missing)
    return rows, missing


def _plan_batch(
    parts: Parts[ModelT],
    batch: list[Mapping[str, Any]],
    rows: dict[str, ModelT | None],
    missing: dict[str, Want],
) -> None:
    fresh: dict[str, Mapping[str, Any]] = {}
    for one in batch:
        id = parts.hasher(one)
        if id not in rows:
            rows[id] = None
            fresh[id] = one
        else:
            _check_repeated(parts, id, one, rows[id], fresh, missing)
    found = {parts.rows.id_of(raw): raw for raw in parts.rows.read_many(fresh)}
    for id, one in fresh.items():
        raw = found.get(id)
        suspect, path = (None, None) if raw is None else lookup.judge(parts, raw)
        if path is not None:
            rows[id] = parts.row(raw, one, path)
            continue
        if raw is not None:
            parts.verify(raw, one)
        missing[id] = run.prepare(parts, id, one, {})
        missing[id].suspect, missing[id].fresh = suspect, raw is None


def _check_repeated(
    parts: Parts[Any],
    id: str,
    one: Mapping[str, Any],
    row: Any,
    fresh: Mapping[str, Mapping[str, Any]],
    missing: Mapping[str, Want],
) -> None:
    """Compare a set with the earlier one of the same key."""
    if row is not None:
        match.verify(
            parts.schema, parts.rows, {name: getattr(row, name) for name in parts.schema.attributes.values()}, one
        )
        return
    earlier = fresh[id] if id in fresh else missing[id].params
    for name in {**earlier, **one}:
        if name in RESERVED:
            continue
        if name not in earlier or name not in one or not same(earlier[name], one[name]):
            raise match.collision(parts.schema, id, earlier, one, name)


def fulfil(parts: Parts[Any], share: Share, executor: Executor) -> None:
    """Hand out and take home until every set has its row."""
    while share.is_open:
        outcomes = executor.run(share.tasks())
        try:
            for outcome in outcomes:
                share.take(outcome)
        except ExecutorLost as lost:
            log.warning("the rest of the sweep runs in this process: %s", lost)
            share.miss(str(lost))
            executor = Serial(share.execute)
        finally:
            _close(outcomes)
        share.reraise()
        share.publish()
        if share.astray:
            executor = Serial(share.execute)
            share.bring_home()
        else:
            share.wait()


def _close(outcomes: Iterator[Any]) -> None:
    close = getattr(outcomes, "close", None)
    if close is not None:
        close()
