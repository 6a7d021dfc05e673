"""Forty-eight futures of a real landscape, each computed once: `python landscape.py`.

How does the land around the Jacksboro fault in Tennessee look in a million years, for four rates of soil
creep, four strengths of rock, and three time steps to see whether the numbers can be trusted? The model
is in `erosion.py` and `drainage.py`, the drawing in `picture.py`; none of them knows of entropic. This
file is all that a sweep takes: a runner, a table, a store.

Start it again and nothing is computed. Stop it half-way and it goes on where it was. Start it twice at
once and the two share the work. Change the numbers below and only what is new is run. If you change the
*model*, name a new output folder: entropic knows a run by its parameters, not by the code.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from entropic import Base, Mapped, Store, expand_grid

try:
    import numpy as np

    import erosion
    import picture
except ModuleNotFoundError as missing:
    if missing.name not in ("numpy", "matplotlib"):
        raise
    sys.exit(f"This example needs {missing.name}, which is not installed: pip install 'entropic[demo]'")

GRID: dict[str, list[Any]] = {
    "diffusivity": [0.01, 0.03, 0.1, 0.3],  # m^2/yr
    "erodibility": [3e-7, 1e-6, 2e-6, 4e-6],  # 1/yr
    "time_step": [100_000.0, 50_000.0, 25_000.0],  # yr
}
STOPPED_BY_CTRL_C = 130

Key = tuple[float, float, float]
made_here: list[Key] = []  # what this process ran, as against what it found or what another one made


class Landscape(Base):
    """One future: the parameters that it was made with; its elevation is in `result_file`."""

    __tablename__ = "landscapes"

    diffusivity: Mapped[float]
    erodibility: Mapped[float]
    time_step: Mapped[float]


terrain = cache(erosion.jacksboro)


def evolve(params: dict[str, Any]) -> None:
    """Run the model once, and write the final elevation (m) to params["result_file"]."""
    key = params["diffusivity"], params["erodibility"], params["time_step"]
    started = perf_counter()
    elevation = erosion.evolved(terrain(), *key)
    np.save(params["result_file"], elevation.astype(np.float32))  # to a tenth of a millimetre
    made_here.append(key)
    print(
        f"  run {len(made_here):3}  diffusivity={key[0]:<5g} erodibility={key[1]:<6g} time_step={key[2]:<7g}"
        f" {perf_counter() - started:5.2f} s",
        flush=True,
    )


def stored(store: Store[Landscape], sets: list[dict[str, Any]]) -> set[Key]:
    """Return which of the sets the store already has a result for."""
    rows = [store.retrieve(params) for params in sets]
    return {
        (row.diffusivity, row.erodibility, row.time_step)
        for row in rows
        if row is not None and Path(row.result_file).exists()
    }


def summary(total: int, before: set[Key], seconds: float) -> str:
    """Say in one line where the results came from."""
    here = len(made_here)
    found = len(before.difference(made_here))
    elsewhere = total - here - found
    if found == total:
        return f"{total} results, all reused, 0 run, {seconds:.2f} s"
    reused = f"{total - here} reused ({found} stored before, {elsewhere} made by another process meanwhile)"
    return f"{total} results: {here} run here, {reused}, {seconds:.2f} s"


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
    before = stored(store, sets)
    print(f"{len(sets)} landscapes wanted, {len(before)} of them stored in {out}", flush=True)

    started = perf_counter()
    rows = store.sweep(sets)
    print(summary(len(rows), before, perf_counter() - started), flush=True)

    picture.draw(terrain(), rows, out / "landscape.png")
    print(f"picture: {out / 'landscape.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default="landscape", metavar="DIR", help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        main(arguments.out)
    except KeyboardInterrupt:
        print(f"\nStopped. What is finished is kept in {arguments.out}; the same command goes on from there.")
        sys.exit(STOPPED_BY_CTRL_C)
