"""A landscape that rises, creeps and is cut by rivers: the model behind `landscape.py`.

    dz/dt = U + D laplacian(z) - K A^m S^n

z is the elevation (m), U the uplift (m/yr), D the diffusivity of soil creep (m^2/yr), K the erodibility
of the rock (1/yr, as m is 1/2), A the drainage area (m^2), S the slope to the next cell downstream, and
n is 1. The places where rivers leave the map keep their elevation; no soil creeps over the edge of the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil

import numpy as np
from matplotlib.cbook import get_sample_data

from drainage import Bools, Drainage, Floats, drain, steepest

UPLIFT = 1e-4  # m/yr
DURATION = 1_000_000.0  # yr
EARTH_RADIUS = 6_371_000.0  # m
COARSEN = 2  # cells of the survey that make one cell of the model, each way
RIVER = 1e6  # m^2; a stream that drains less where it crosses the edge of the map is not held


@dataclass(frozen=True)
class Terrain:
    """A map to start from: north up, elevation and the size of a cell in m, and where the rivers leave it."""

    elevation: Floats
    dx: float
    dy: float
    outlets: Bools


@cache
def jacksboro() -> Terrain:
    """Return the terrain around the Jacksboro fault in Tennessee, which comes with matplotlib."""
    # A path, not an open file: how get_sample_data opens .npz files has changed between versions.
    with np.load(get_sample_data("jacksboro_fault_dem.npz", asfileobj=False)) as survey:
        fine = survey["elevation"].astype(float)
        degree = np.radians(1.0) * EARTH_RADIUS
        latitude = np.radians((survey["ymin"] + survey["ymax"]) / 2)
        dx = float(survey["dx"] * degree * np.cos(latitude)) * COARSEN
        dy = float(survey["dy"] * degree) * COARSEN
    rows, columns = (size // COARSEN for size in fine.shape)
    blocks = fine[: rows * COARSEN, : columns * COARSEN].reshape(rows, COARSEN, columns, COARSEN)
    elevation = blocks.mean(axis=(1, 3))
    return Terrain(elevation, dx, dy, river_mouths(elevation, dx, dy))


def river_mouths(elevation: Floats, dx: float, dy: float) -> Bools:
    """Return where rivers leave the map: at the low points of its edge that drain at least RIVER m^2."""
    edge = np.ones(elevation.shape, bool)
    edge[1:-1, 1:-1] = False
    own = np.arange(elevation.size).reshape(elevation.shape)
    low = edge & (steepest(elevation, dx, dy) == own)
    area = drain(elevation, low, dx, dy).area.reshape(elevation.shape)
    mouths: Bools = low & (area >= RIVER)
    return mouths


def evolved(terrain: Terrain, diffusivity: float, erodibility: float, time_step: float) -> Floats:
    """Return the elevation in m after DURATION years.

    Parameters: diffusivity in m^2/yr, erodibility in 1/yr, time_step in yr (a divisor of DURATION).

    Raises ValueError for a time step that does not divide DURATION, and ArithmeticError if the books of the
    volume do not balance: all that the terrain gained or lost is uplift, incision, or creep at a river mouth.
    """
    steps = round(DURATION / time_step)
    if steps < 1 or not np.isclose(steps * time_step, DURATION):
        raise ValueError(f"a time step of {time_step} yr does not divide {DURATION} yr")
    z, booked = terrain.elevation.copy(), 0.0
    for _ in range(steps):
        raised = np.where(terrain.outlets, 0.0, UPLIFT * time_step)
        z = z + raised
        z, creep = diffused(z, terrain, diffusivity * time_step)
        z, incision = incised(z, terrain, erodibility * time_step)
        booked += raised.sum() + creep - incision
    if not np.isclose(z.sum() - terrain.elevation.sum(), booked, rtol=1e-6, atol=1e-6 * z.size):
        raise ArithmeticError("the volume of the terrain changed by more than was eroded and uplifted")
    return z


def diffused(z: Floats, terrain: Terrain, amount: float) -> tuple[Floats, float]:
    """Let the soil creep by `amount` = D dt (m^2); return the terrain, and what the mouths gave (m, summed).

    Explicit, hence stable only if D dt (1/dx^2 + 1/dy^2) <= 1/2: the step is made in as many equal parts
    as it takes to stay at half of that, where not even a chequerboard overshoots.
    """
    stiffness = amount * (terrain.dx**-2 + terrain.dy**-2)
    parts = max(1, ceil(stiffness / 0.25))
    east, south = amount / parts / terrain.dx**2, amount / parts / terrain.dy**2
    held, given = z[terrain.outlets], 0.0
    z = z.copy()
    for _ in range(parts):
        # What leaves one cell enters the next, so the sum of z does not change, and nothing crosses the edge.
        along, down = east * np.diff(z, axis=1), south * np.diff(z, axis=0)
        z[:, :-1] += along
        z[:, 1:] -= along
        z[:-1] += down
        z[1:] -= down
        given += float((held - z[terrain.outlets]).sum())
        z[terrain.outlets] = held
    return z, given


def incised(z: Floats, terrain: Terrain, amount: float) -> tuple[Floats, float]:
    """Let the rivers cut by `amount` = K dt; return the terrain, and what they took away (m, summed).

    Implicit, hence stable for any step (Braun and Willett 2013): with F = K dt sqrt(A) / distance, a cell
    comes to (z + F z') / (1 + F), where z' is the new elevation of its receiver. Lake beds are not cut,
    and a stream that enters a lake cuts down to its surface only.
    """
    flow = drain(z, terrain.outlets, terrain.dx, terrain.dy)
    factor = amount * np.sqrt(flow.area) / flow.distance
    lake = flow.water > z.ravel()
    factor[terrain.outlets.ravel() | lake] = 0.0
    surface = downstream_first(flow, factor)
    bed = np.where(lake, z.ravel(), surface)
    # The law itself at the new surface, not the difference of elevations: so the books check the solution.
    taken = factor * (surface - surface[flow.receiver])
    return bed.reshape(z.shape), float(taken.sum())


def downstream_first(flow: Drainage, factor: Floats) -> Floats:
    """Return the x with x = (water + factor x[receiver]) / (1 + factor); factor is 0 at the outlets.

    Instead of going upstream cell by cell, each round puts the equation of a cell and that of the cell to
    which it refers into one, which doubles the reach.
    """
    x, share, receiver = flow.water / (1 + factor), factor / (1 + factor), flow.receiver
    while share.any():
        x = x + share * x[receiver]
        share = share * share[receiver]
        receiver = receiver[receiver]
    return x
