"""How long `to_xarray` takes for many small results, beside a bare loop of `np.load` and `np.stack` over their files.

Each ratio is that of CPU times of one process, taken in turn, the best of several; fails if one is above its bar.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np

from entropic import Base, Mapped, Runs, Store

BARS = {".npy": 0.5, ".npz": 0.2}
LAZY = 1.0
REPEATS = 3


class Trace(Base):
    """A hundred numbers a run."""

    __tablename__ = "traces"
    seed: Mapped[int]


def write_npy(params: dict[str, Any]) -> None:
    """Leave one array."""
    np.save(params["result_file"], np.random.default_rng(params["seed"]).random(100))


def write_npz(params: dict[str, Any]) -> None:
    """Leave two arrays."""
    values = np.random.default_rng(params["seed"]).random((2, 100))
    np.savez(params["result_file"], u=values[0], v=values[1])


def bare_npy(runs: Runs[Trace]) -> dict[str, Any]:
    """Read them as one would by hand."""
    return {"result": np.stack([np.load(row.result_file) for row in runs])}


def bare_npz(runs: Runs[Trace]) -> dict[str, Any]:
    """Read them as one would by hand."""
    found: dict[str, list[Any]] = {"u": [], "v": []}
    for row in runs:
        with np.load(row.result_file) as archive:
            for name, values in found.items():
                values.append(archive[name])
    return {name: np.stack(values) for name, values in found.items()}


WRITE = {".npy": write_npy, ".npz": write_npz}
BARE = {".npy": bare_npy, ".npz": bare_npz}


def measure(suffix: str, count: int) -> bool:
    """Print the ratios for one format; tell whether all are within their bars."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(WRITE[suffix], Trace, f"{folder}/results", suffix, f"sqlite:///{folder}/db.sqlite3")
        runs = store.sweep([{"seed": seed} for seed in range(count)])
        ways: dict[str, Callable[[], Any]] = {
            "bare loop": lambda: BARE[suffix](runs),
            "to_xarray": runs.to_xarray,
            "lazy, computed": lambda: runs.to_xarray(lazy=True).compute(scheduler="synchronous"),
        }
        taken = {name: float("inf") for name in ways}
        for _ in range(REPEATS + 1):  # the first one imports what it needs, too, and is never the best
            made = {}
            for name, act in ways.items():
                start = process_time()
                made[name] = act()
                taken[name] = min(taken[name], process_time() - start)
        for name in ("to_xarray", "lazy, computed"):
            for variable, values in made["bare loop"].items():
                np.testing.assert_array_equal(made[name][variable], values)
    bars = {"bare loop": 1.0, "to_xarray": BARS[suffix], "lazy, computed": LAZY}
    for name, seconds in taken.items():
        ratio = seconds / taken["bare loop"]
        verdict = "" if name == "bare loop" else f"  bar {bars[name]:g}: {'met' if ratio <= bars[name] else 'MISSED'}"
        print(f"{suffix}  {name:15} {seconds / count * 1e6:7.1f} µs a run  {ratio:5.2f}{verdict}")
    return all(taken[name] <= bars[name] * taken["bare loop"] for name in ways)


def main() -> int:
    """Measure both formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="results (10,000)")
    count = parser.parse_args().count
    met = [measure(suffix, count) for suffix in BARS]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
