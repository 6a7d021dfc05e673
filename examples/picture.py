"""The picture of a sweep: a map of each outcome, and two plots of what the maps have to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LightSource, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.lib.stride_tricks import sliding_window_view

from drainage import Floats
from erosion import DURATION, Terrain

LAND = LinearSegmentedColormap.from_list(
    "land", ["#22524a", "#4a7c59", "#96ab68", "#dcc98c", "#c4935c", "#94603f", "#744c40", "#f2ece6"]
)
HEIGHTS = Normalize(250, 1100)  # m
SUN = LightSource(azdeg=315, altdeg=42)
EXAGGERATION = 4.0
NEIGHBOURHOOD = 1000.0  # m
INK, FAINT = "#2b2b2b", "#8a8a8a"
STYLE: dict[Any, Any] = {
    "font.size": 12,
    "axes.titlesize": 15,
    "axes.labelsize": 12,
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "lines.linewidth": 2,
}


class Outcome(Protocol):
    """What the picture needs to know of a run."""

    diffusivity: Any
    erodibility: Any
    time_step: Any
    result_file: Any


@dataclass(frozen=True)
class Atlas:
    """The final elevations (m) of a full grid of parameters, the values on its axes, and where all began."""

    start: Terrain
    maps: dict[tuple[float, float, float], Floats]
    diffusivities: list[float]
    erodibilities: list[float]
    time_steps: list[float]

    @classmethod
    def of(cls, start: Terrain, outcomes: Iterable[Outcome]) -> Atlas:
        """Load the result files."""
        maps = {
            (outcome.diffusivity, outcome.erodibility, outcome.time_step): np.load(outcome.result_file)
            for outcome in outcomes
        }
        return cls(start, maps, *(sorted(set(axis)) for axis in zip(*maps, strict=True)))

    def best(self, diffusivity: float, erodibility: float) -> Floats:
        """Return the map made with the shortest time step."""
        return self.maps[diffusivity, erodibility, self.time_steps[0]]


@rc_context(STYLE)
def draw(start: Terrain, outcomes: Iterable[Outcome], path: Path) -> None:
    """Draw the outcomes of a full grid of parameters to a PNG file."""
    atlas = Atlas.of(start, outcomes)
    # A Figure that pyplot does not know is drawn by Agg, whatever the backend: no display is needed.
    layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0, hspace=0)
    figure = Figure(figsize=(17, 13.8), layout=layout, facecolor="white")
    figure.suptitle(f"{DURATION:,.0f} years over the Jacksboro fault, Tennessee", fontsize=24)
    left, right = figure.subfigures(1, 2, width_ratios=[2.9, 1])
    futures(left, atlas)
    today, relief, error = right.subplots(3, 1, height_ratios=[1.25, 1, 0.8])
    now(today, start)
    relief_table(relief, atlas)
    convergence(error, atlas)
    figure.savefig(path, dpi=130)


def futures(figure: SubFigure, atlas: Atlas) -> None:
    """Draw the final terrain for each pair of parameters: downwards more creep, to the right more erosion."""
    ds, ks = atlas.diffusivities, atlas.erodibilities
    panels = figure.subplots(len(ds), len(ks), squeeze=False)
    for row, d in enumerate(ds):
        for column, k in enumerate(ks):
            hillshade(panels[row, column], atlas.start, atlas.best(d, k))
    for axes, k in zip(panels[0], ks, strict=True):
        axes.set_title(f"$K$ = {scientific(k)} yr$^{{-1}}$")
    for axes, d in zip(panels[:, 0], ds, strict=True):
        axes.set_ylabel(f"$D$ = {d:g} m$^2$ yr$^{{-1}}$", fontsize=15)
    figure.supxlabel("weaker rock: rivers cut faster  →", fontsize=15, color=FAINT)
    figure.supylabel("←  soil creeps faster", fontsize=15, color=FAINT)


def hillshade(axes: Axes, terrain: Terrain, elevation: Floats) -> None:
    """Draw an elevation map, lit from the north-west and coloured by height, in kilometres."""
    picture = SUN.shade(
        elevation, LAND, HEIGHTS, blend_mode="soft", vert_exag=EXAGGERATION, dx=terrain.dx, dy=terrain.dy
    )
    rows, columns = elevation.shape
    width, height = columns * terrain.dx / 1000, rows * terrain.dy / 1000
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.imshow(picture, extent=(0, width, 0, height), interpolation="lanczos")


def now(axes: Axes, start: Terrain) -> None:
    """Draw today's terrain, with the scale of all maps and the key to their colours."""
    hillshade(axes, start, start.elevation)
    axes.set_title("today")
    axes.plot([23.5, 28.5], [1.5, 1.5], color="white", linewidth=3, solid_capstyle="butt")
    axes.text(26, 2.0, "5 km", color="white", ha="center", va="bottom", fontsize=13, weight="bold")
    land = ScalarMappable(HEIGHTS, LAND)
    bar = axes.figure.colorbar(land, ax=axes, orientation="horizontal", aspect=40, pad=0.02)
    bar.set_label("elevation (m), the same on all maps")
    bar.outline.set_visible(False)


def relief_table(axes: Axes, atlas: Atlas) -> None:
    """Show the mean local relief of each outcome, as a colour and as a number."""
    ds, ks = atlas.diffusivities, atlas.erodibilities
    values = np.array([[local_relief(atlas.start, atlas.best(d, k)) for k in ks] for d in ds])
    axes.imshow(values, cmap="BuPu", vmin=0, vmax=values.max() * 1.15, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value > 0.7 * values.max() else INK
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=13)
    axes.set_xticks(range(len(ks)), [scientific(k) for k in ks])
    axes.set_yticks(range(len(ds)), [f"{d:g}" for d in ds])
    axes.set(xlabel="erodibility $K$ (yr$^{-1}$)", ylabel="diffusivity $D$ (m$^2$ yr$^{-1}$)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"relief within 1 km (m): today {local_relief(atlas.start, atlas.start.elevation):.0f}")


def convergence(axes: Axes, atlas: Atlas) -> None:
    """Show how far longer time steps end from the shortest one, averaged over diffusivity."""
    steps, ks = atlas.time_steps, atlas.erodibilities
    for k, shade in zip(ks, np.linspace(0.4, 1, len(ks)), strict=True):
        off = [np.mean([rms(atlas.maps[d, k, step] - atlas.best(d, k)) for d in atlas.diffusivities]) for step in steps]
        axes.plot(np.array(steps) / 1000, off, "o-", color=colormaps["Blues"](shade))
        end = (steps[-1] / 1000, off[-1])
        axes.annotate(f"$K$ = {scientific(k)}", end, (8, -4), textcoords="offset points", fontsize=11)
    axes.set_xlim(0, 1.55 * steps[-1] / 1000)  # room for the labels
    axes.set_xticks([step / 1000 for step in steps])
    axes.set(xlabel="time step (thousand years)", ylabel="RMS over the map (m)")
    axes.set_title(f"difference from steps of {steps[0]:,.0f} yr")


def local_relief(terrain: Terrain, elevation: Floats) -> float:
    """Return the mean, over all squares of about 1 km, of highest minus lowest elevation (m)."""
    window = tuple(2 * round(NEIGHBOURHOOD / size / 2) + 1 for size in (terrain.dy, terrain.dx))
    squares = sliding_window_view(elevation, window)
    return float(np.mean(squares.max(axis=(2, 3)) - squares.min(axis=(2, 3))))


def rms(difference: Floats) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(difference**2)))


def scientific(value: float) -> str:
    """Write a number as people do: 2 x 10^-6."""
    power = floor(log10(value))
    return f"${value / 10**power:.3g}\\times10^{{{power}}}$"
