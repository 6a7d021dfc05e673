"""Where the rain goes: every cell of a terrain drains, over real valleys and lakes, to an outlet at the edge.

Water takes the steepest way down to one of the eight neighbours (D8). Real topography has hollows, where that
ends in a pit; each hollow then spills over its lowest pass, as a lake does. The passes are found on the small
graph of basins rather than on cells: the only Python loop is over hollows, everything else is numpy.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

EAST, SOUTH, SOUTH_EAST, SOUTH_WEST = (0, 1), (1, 0), (1, 1), (1, -1)


@dataclass(frozen=True)
class Drainage:
    """Flow over one terrain; all arrays are flat, one entry per cell."""

    receiver: Ints  # the cell that the water goes to next; an outlet is its own receiver
    distance: Floats  # m, to the receiver; 1 at an outlet, where it has no meaning
    water: Floats  # m, elevation of the water surface: the ground, or the level of the lake above it
    area: Floats  # m^2, the area that drains through the cell, its own included


def drain(elevation: Floats, outlets: Bools, dx: float, dy: float) -> Drainage:
    """Route the water of every cell to an outlet.

    Parameters: elevation in m, outlets (True where water leaves the map, at least one), both of shape (rows,
    columns); dx, dy, the size of a cell in m.

    Raises ArithmeticError if rain is lost: the outlets together must drain exactly the area of the map.
    """
    z, sinks = elevation.ravel(), np.flatnonzero(outlets)
    receiver = steepest(elevation, dx, dy).ravel()
    receiver[sinks] = sinks
    water = np.maximum(z, spill(elevation, receiver, sinks))

    row, column = np.divmod(np.arange(z.size), elevation.shape[1])
    distance = np.hypot((column - column[receiver]) * dx, (row - row[receiver]) * dy)
    distance[sinks] = 1.0
    area = accumulate(receiver, sinks, dx * dy)
    if not np.isclose(area[sinks].sum(), z.size * dx * dy, rtol=1e-9):
        raise ArithmeticError("the flow routing lost some of the rain")
    return Drainage(receiver, distance, water, area)


def steepest(elevation: Floats, dx: float, dy: float) -> Ints:
    """Return, for each cell, the flat index of its steepest lower neighbour; its own where none is lower."""
    rows, columns = elevation.shape
    walled = np.pad(elevation, 1, constant_values=np.inf)
    own = np.arange(elevation.size).reshape(elevation.shape)
    best, target = np.zeros(elevation.shape), own.copy()
    for down, right in (EAST, SOUTH, SOUTH_EAST, SOUTH_WEST):
        for i, j in ((down, right), (-down, -right)):
            drop = elevation - walled[1 + i : 1 + i + rows, 1 + j : 1 + j + columns]
            slope = drop / np.hypot(i * dy, j * dx)
            steeper = slope > best
            best[steeper] = slope[steeper]
            target[steeper] = own[steeper] + i * columns + j
    return target


def spill(elevation: Floats, receiver: Ints, sinks: Ints) -> Floats:
    """Let each hollow spill over its lowest pass, and return the water level of each cell's basin in m.

    This is a priority flood from the outlets inwards, with basins in place of cells: the basin behind the
    lowest pass floods next. Its water is led from the pit up to the pass by turning round the path that went
    down (`receiver` is changed in place), so that the river that leaves a lake wears down the pass.
    """
    z = elevation.ravel()
    pit = receiver
    while not np.array_equal(pit, further := pit[pit]):  # twice the distance downstream in each round
        pit = further

    passes: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
    for height, inside, outside in zip(*lowest_passes(elevation, pit), strict=True):
        passes[int(pit[outside])].append((height, inside, outside))

    level = np.full(z.size, -np.inf)  # at the pits; outlets are no lakes
    flooded = set(sinks.tolist())
    front = [edge for sink in flooded for edge in passes[sink]]
    heapq.heapify(front)
    while front:
        height, cell, downstream = heapq.heappop(front)
        basin = int(pit[cell])
        if basin in flooded:
            continue
        flooded.add(basin)
        level[basin] = height
        for over, inside, outside in passes[basin]:
            heapq.heappush(front, (max(over, height), inside, outside))
        while True:
            upstream, receiver[cell] = int(receiver[cell]), downstream
            if cell == basin:
                break
            cell, downstream = upstream, cell
    return level[pit]


def lowest_passes(elevation: Floats, pit: Ints) -> tuple[list[float], list[int], list[int]]:
    """Return the lowest pass between any two basins that touch: its height in m, and the cells on both sides.

    Each pass is listed twice, once in either direction.
    """
    z, cells = elevation.ravel(), np.arange(elevation.size).reshape(elevation.shape)
    rows, columns = elevation.shape
    pairs = []
    for down, right in (EAST, SOUTH, SOUTH_EAST, SOUTH_WEST):
        here = cells[: rows - down, max(0, -right) : columns - max(0, right)].ravel()
        pairs.append((here, here + down * columns + right))
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    between = pit[one] != pit[other]
    one, other = one[between], other[between]
    inside, outside = np.concatenate([one, other]), np.concatenate([other, one])
    height = np.maximum(z[inside], z[outside])
    order = np.lexsort((inside, height))
    _, first = np.unique(pit[inside[order]] * z.size + pit[outside[order]], return_index=True)
    kept = order[first]
    return height[kept].tolist(), inside[kept].tolist(), outside[kept].tolist()


def accumulate(receiver: Ints, sinks: Ints, cell: float) -> Floats:
    """Return the area in m^2 that drains through each cell, its own `cell` m^2 included.

    Each round doubles how far upstream the sum reaches, so that there are only as many rounds as the
    logarithm of the longest river. What leaves by an outlet goes to one extra place at the end, and is
    dropped.
    """
    nowhere = receiver.size
    hop = np.append(receiver, nowhere)
    hop[sinks] = nowhere
    area = np.append(np.full(receiver.size, cell), 0.0)
    while (hop != nowhere).any():
        area += np.bincount(hop, weights=area, minlength=area.size)
        area[nowhere] = 0.0
        hop = hop[hop]
    return area[:nowhere]
