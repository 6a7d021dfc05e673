"""A sweep of replicates: each set with so many seeds, or with more and more until an error is small enough.

How many seeds a set gets depends only on the outcomes of its first ones, never on who ran them, or when. So several
processes that do the same come to the same seeds, share them as they share any sweep, and each seed runs once.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

from entropic.ask.given import set_of
from entropic.ask.replicates import mean_and_deviation
from entropic.errors import ErrorBarWarning, ParameterError, warn
from entropic.protocol.context import ModelT, StoreContext
from entropic.support.show import counted, spelled
from entropic.sweep.deadline import Deadline
from entropic.sweep.missing import keys_of, plan, sets_of
from entropic.sweep.options import Options
from entropic.sweep.seeds import Replicates, seeds
from entropic.sweep.sweep import sweep


@dataclass(slots=True)
class _Point(Generic[ModelT]):
    """One set, and the runs that it has.

    Attributes
    ----------
    wanted
        How many seeds it is to have.
    rows
        Of each seed so far, in their order; None where the run failed.
    is_over, is_met
        Whether it needs no more of them, and whether that is since its error is small enough.
    """

    params: Mapping[str, object]
    wanted: int
    rows: list[ModelT | None] = field(default_factory=list)
    is_over: bool = False
    is_met: bool = False


def sweep_replicates(
    context: StoreContext[ModelT],
    params: Iterable[Any],
    replicates: Replicates,
    options: Options,
    custom_data: Mapping[str, object],
) -> list[ModelT]:
    """Return the rows of all seeds of each set, set by set, in the order of the seeds; run those that are missing."""
    replicates.check(context.schema)
    if replicates.outcome is not None and not options.wait:
        raise ParameterError(
            "with wait=False, give a number of replicates: how many an error bound needs is known only once the first "
            "have run. Or leave wait=False out"
        )
    points = [_Point[ModelT](one, replicates.n) for one in _distinct(context, params, replicates.column)]
    while growing := [point for point in points if not point.is_over]:
        _run(context, growing, replicates, options, custom_data)
        for point in growing:
            _decide(point, replicates)
        if options.until is not None and options.until.left:
            break
    _warn(context, points, replicates, options.until)
    return [row for point in points for row in point.rows if row is not None]


def planned_sets(
    context: StoreContext[ModelT], params: Iterable[Any], replicates: Replicates
) -> list[Mapping[str, object]]:
    """Return the sets with their seeds that a sweep of replicates would ask for, as far as that is known by now.

    Up to which seed an error bound needs them is known only once all before have run.
    """
    replicates.check(context.schema)
    points = [_Point[ModelT](one, replicates.n) for one in _distinct(context, params, replicates.column)]
    sets: dict[int, list[Mapping[str, object]]] = {id(point): [] for point in points}
    while growing := [point for point in points if not point.is_over]:
        known = seeds(max(point.wanted for point in growing), replicates.root)
        for point in growing:
            more = [{**point.params, replicates.column: seed} for seed in known[len(point.rows) : point.wanted]]
            sets[id(point)] += more
            if replicates.outcome is not None:
                planned = plan(context, more, changes=False)
                point.rows += planned.rows.values()
            if None in point.rows:
                point.is_over = True
            else:
                _decide(point, replicates)
    return [one for point in points for one in sets[id(point)]]


def _distinct(context: StoreContext[ModelT], params: Iterable[Any], column: str) -> list[Mapping[str, object]]:
    """Return the sets, each once, without seeds."""
    found: list[Mapping[str, object]] = []
    for one in sets_of(params):
        given = set_of(context, one)
        if column in given or "id" in given:
            name = column if column in given else "id"
            raise ParameterError(
                f"{name}={spelled(given[name])} is in a set, and each replicate of it has one of its own; leave it out"
            )
        found.append(given)
    ids, _ = keys_of(context, [{**one, column: 0} for one in found])
    first: dict[str, Mapping[str, object]] = {}
    for id, one in zip(ids, found, strict=True):
        first.setdefault(id, one)
    return list(first.values())


def _run(
    context: StoreContext[ModelT],
    points: list[_Point[ModelT]],
    replicates: Replicates,
    options: Options,
    custom_data: Mapping[str, object],
) -> None:
    """Let each point have the rows of all seeds that it is to have."""
    known = seeds(max(point.wanted for point in points), replicates.root)
    sets = [
        {**point.params, replicates.column: seed} for point in points for seed in known[len(point.rows) : point.wanted]
    ]
    ids, _ = keys_of(context, list(sets))
    rows = {row.id: row for row in sweep(context, sets, options, custom_data)}
    coming = iter(ids)
    for point in points:
        point.rows += [rows.get(next(coming)) for _ in range(point.wanted - len(point.rows))]


def _decide(point: _Point[ModelT], replicates: Replicates) -> None:
    """Say whether a point has enough, or how many seeds it is to have next."""
    if replicates.outcome is None:
        point.is_over = point.is_met = True
        return
    said = [getattr(row, replicates.outcome) for row in point.rows if row is not None]
    values = [float(value) for value in said if value is not None]
    if not all(map(math.isfinite, values)):  # no number of further runs makes such a mean better
        point.is_over = True
        return
    if not values:  # they fail, or say nothing, and further ones would, too
        point.is_over = True
        return
    more = len(point.rows)
    if len(values) > 1:
        mean, deviation = mean_and_deviation(values)
        allowed = max(replicates.error, replicates.relative * abs(mean))
        if deviation <= allowed * math.sqrt(len(values)):
            point.is_over = point.is_met = True
            return
        if allowed > 0:
            ratio = deviation / allowed
            more = max(1, math.ceil(min(more, ratio * ratio - len(values))))
    if point.wanted >= replicates.most:
        point.is_over = True
        return
    point.wanted = min(replicates.most, point.wanted + more)


def _warn(
    context: StoreContext[ModelT], points: list[_Point[ModelT]], replicates: Replicates, until: Deadline | None
) -> None:
    unmet = [point for point in points if not point.is_met]
    if not unmet:
        return
    first = unmet[0]
    runs = sum(row is not None for row in first.rows)
    why = f"has most={replicates.most:,} runs, or an outcome that is missing or not finite"
    if until is not None and until.left:
        why = f"lacks runs that did not start, or finish, by {until}, or {why}"
    warn(
        f"the error of {replicates.outcome!r} is not as small as asked for in {counted(len(unmet), 'set')} of "
        f"{len(points):,} of {context.schema.name}: for example "
        f"{spelled(dict(first.params), 200)} has {counted(runs, 'run')}. Each of these sets {why}",
        ErrorBarWarning,
    )
