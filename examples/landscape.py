"""Forty-eight futures of a real landscape, each computed once: `python landscape.py`.

How does the land around the Jacksboro fault in Tennessee look in a million years, for four rates of soil
creep, four strengths of rock, and three time steps to see whether the numbers can be trusted? The model
is in `erosion.py` and `drainage.py`, the drawing in `picture.py`; none of them knows of entropic. This
file is all that a sweep takes: a runner, a table, a store; and three lines make a labelled array of it, and a figure.

It uses all cores. Start it again and nothing is computed. Stop it half-way, or kill it, and it goes on where
it was. Start it twice at once and the two share the work. Change the numbers below and only what is new is
run. If you change the *model*, name a new output folder: entropic knows a run by its parameters, not by the
code.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from entropic import Base, Mapped, Store, expand_grid

try:
    import matplotlib
    import numpy as np
    import xarray  # noqa: F401  (what `to_xarray` returns; said here rather than after a minute)

    import erosion
    import picture
except ModuleNotFoundError as missing:
    if missing.name not in ("numpy", "matplotlib", "xarray"):
        raise
    sys.exit(f"This example needs {missing.name}, which is not installed: pip install 'entropic[demo]'")

GRID: dict[str, list[Any]] = {
    "diffusivity": [0.01, 0.03, 0.1, 0.3],  # m^2/yr
    "erodibility": [3e-7, 1e-6, 2e-6, 4e-6],  # 1/yr
    "time_step": [100_000.0, 50_000.0, 25_000.0],  # yr
}
STOPPED_BY_CTRL_C = 130
matplotlib.use("agg")  # no display is needed


class Landscape(Base):
    """One future: the parameters that it was made with; its elevation is in `result_file`."""

    __tablename__ = "landscapes"

    diffusivity: Mapped[float]
    erodibility: Mapped[float]
    time_step: Mapped[float]


def evolve(params: dict[str, Any]) -> None:
    """Run the model once, and write the final elevation (m) to params["result_file"]."""
    elevation = erosion.evolved(erosion.jacksboro(), params["diffusivity"], params["erodibility"], params["time_step"])
    np.save(params["result_file"], elevation.astype(np.float32))  # to a tenth of a millimetre


def report(row: Landscape, count: int, total: int) -> None:
    """Say in a plain line that a landscape is there, where no bar is shown."""
    print(
        f"  {count:3} of {total}  diffusivity={row.diffusivity:<5g} erodibility={row.erodibility:<6g}"
        f" time_step={row.time_step:<7g} {row.custom_data['elapsed_seconds']:5.2f} s",
        flush=True,
    )


def main(out: Path) -> None:
    """Make sure that every landscape of the grid exists, and draw them."""
    out.mkdir(parents=True, exist_ok=True)
    store = Store(
        evolve,
        Landscape,
        results_dir=out / "results",
        file_suffix=".npy",
        db_url=f"sqlite:///{out / 'landscape.sqlite3'}",
    )
    sets = expand_grid(GRID)
    plan = store.plan(sets)
    print(f"{len(sets)} landscapes wanted, {len(plan.stored)} of them stored in {out}", flush=True)

    started = perf_counter()
    for count, row in enumerate(store.stream(sets, workers=-1), 1):
        if count > len(plan.stored) and not sys.stderr.isatty():
            report(row, count, len(sets))
    rows = store.sweep(sets)  # all stored by now, and in the order of the grid
    seconds = perf_counter() - started
    if len(plan.stored) == len(rows):
        print(f"{len(rows)} results, all reused, 0 run, {seconds:.2f} s")
    else:
        new = len(rows) - len(plan.stored)
        print(f"{len(rows)} results: {new} run, here or beside, {len(plan.stored)} reused, {seconds:.2f} s")

    picture.draw(erosion.jacksboro(), rows, out / "landscape.png")
    print(f"picture: {out / 'landscape.png'}")

    # The same results as one array with named dimensions: how far do they depend on the time step, and where?
    elevation = rows.to_xarray(axes={"result": ("y", "x")}).result.rename("spread over time steps (m)")
    here = erosion.jacksboro()
    for axis, size in (("x", here.dx), ("y", here.dy)):
        elevation[axis] = (axis, (np.arange(elevation.sizes[axis]) + 0.5) * size / 1000, {"units": "km"})
    panels = elevation.std("time_step").plot.imshow(row="diffusivity", col="erodibility", robust=True, yincrease=False)
    panels.fig.savefig(out / "spread.png")
    print(f"picture: {out / 'spread.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default="landscape", metavar="DIR", help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        main(arguments.out)
    except KeyboardInterrupt:
        print(f"\nStopped. What is finished is kept in {arguments.out}; the same command goes on from there.")
        sys.exit(STOPPED_BY_CTRL_C)
