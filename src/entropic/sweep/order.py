"""In which order the sets of a sweep run: as given, the longest first, or spread over their space.

The rows come back in the order in which the sets were given, whatever this is.
"""

import random
from collections.abc import Hashable, Mapping, Sequence

from entropic.params.keys import RESERVED, Params
from entropic.protocol.context import ModelT, StoreContext
from entropic.sweep.cost import Costs
from entropic.sweep.forecast import SEED, kind_of
from entropic.sweep.missing import Planned


def arrange(context: StoreContext[ModelT], planned: Planned[ModelT], given: Mapping[str, Params], order: str) -> None:
    """Bring the missing sets of a sweep into an order.

    Parameters
    ----------
    given
        All sets of the sweep by key, for `"spread"`, so that what is stored by now has its place, too.
    """
    missing = planned.missing
    if order == "spread":
        keys = list(given)
        wanted = [keys[i] for i in spread(list(given.values()))]
        planned.missing = {id: missing[id] for id in wanted if id in missing}
    elif order == "longest" and missing:
        costs = Costs(context, [id for id in planned.rows if id not in missing])
        expected = {id: costs.seconds.value(costs.spelled(request.params)) for id, request in missing.items()}
        # Those of which nothing is known may be long; they come first, and say something of the others.
        known = sorted(missing, key=lambda id: float("-inf") if expected[id] is None else -(expected[id] or 0.0))
        planned.missing = {id: missing[id] for id in known}


def spread(sets: Sequence[Params]) -> list[int]:
    """Return the places of some sets in an order in which each beginning covers their space as evenly as it can.

    First the corners, then what lies in the middle, then quarters: each step halves the distances of a grid, of which
    each cell has the set that is nearest to its point. Sets that differ only in their seed come after all others.
    """
    columns = _ranks(sets)
    if not columns:
        return list(range(len(sets)))
    places = list(zip(*(ranks for ranks, _ in columns), strict=True))
    sizes = [size for _, size in columns]
    order: list[int] = []
    left, steps, is_last = list(range(len(sets))), 1, False
    draw = random.Random(0)  # the same in all who share a sweep
    while left and not is_last:
        is_last = steps >= 2 * max(sizes)  # then each set has a cell of its own, but for seeds
        covered = {_cell(places[i], sizes, steps)[0] for i in order}
        nearest: dict[tuple[int, ...], tuple[float, int]] = {}
        for i in left:
            cell, distance = _cell(places[i], sizes, steps)
            if cell not in covered and (cell not in nearest or distance < nearest[cell][0]):
                nearest[cell] = distance, i
        chosen = [i for _, i in nearest.values()]
        draw.shuffle(chosen)  # so that what is done of this step is spread, too
        order += chosen
        taken = set(chosen)
        left = [i for i in left if i not in taken]
        steps *= 2
    return order + left


def _cell(place: Sequence[int], sizes: Sequence[int], steps: int) -> tuple[tuple[int, ...], float]:
    """Return the cell of a grid of so many steps that a set is in, and how far it is from the point of it."""
    cell, distance = [], 0.0
    for rank, size in zip(place, sizes, strict=True):
        at = rank * steps / (size - 1)
        nearest = int(at + 0.5)
        cell.append(nearest)
        distance += abs(rank - (2 * nearest * (size - 1) + steps) // (2 * steps))
    return tuple(cell), distance


def _ranks(sets: Sequence[Params]) -> list[tuple[list[int], int]]:
    """Return, of each parameter that differs, the rank of each set's value among all, and how many there are."""
    names = {name: None for one in sets for name in one if name not in RESERVED and name != SEED}
    found = []
    for name in names:
        values = [kind_of(one.get(name)) for one in sets]
        distinct: dict[Hashable, None] = dict.fromkeys(values)
        if len(distinct) > 1:
            numbers = sorted(one for one in distinct if isinstance(one, float))
            named = [one for one in distinct if not isinstance(one, float)]
            ranks: dict[Hashable, int] = {one: rank for rank, one in enumerate([*numbers, *named])}
            found.append(([ranks[one] for one in values], len(distinct)))
    return found
