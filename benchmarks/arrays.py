"""How long `to_xarray` takes for many small results, beside a bare loop of `np.load` and `np.stack` over their files.

Each ratio is that of CPU times of one process, taken in turn, the best of several.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from bars import verdicts_of
from entropic import Base, Mapped, Runs, Store
from figures import Record, name

REPEATS, COUNT = 3, 10_000


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


def measure(suffix: str, count: int) -> dict[str, float]:
    """Print what each way takes for one format; return the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(WRITE[suffix], Trace, f"{folder}/results", suffix, f"sqlite:///{folder}/db.sqlite3")
        runs = store.sweep([{"seed": seed} for seed in range(count)])
        ways: dict[str, Callable[[], Any]] = {
            "bare loop": lambda: BARE[suffix](runs),
            "to_xarray": runs.to_xarray,
            "lazy and computed": lambda: runs.to_xarray(lazy=True).compute(scheduler="synchronous"),
        }
        taken = {way: float("inf") for way in ways}
        for _ in range(REPEATS + 1):  # the first one imports what it needs, too, and is never the best
            made = {}
            for way, act in ways.items():
                start = process_time()
                made[way] = act()
                taken[way] = min(taken[way], process_time() - start)
        for way in ("to_xarray", "lazy and computed"):
            for variable, values in made["bare loop"].items():
                np.testing.assert_array_equal(made[way][variable], values)
    for way, seconds in taken.items():
        print(f"{suffix}  {way:18} {seconds / count * 1e6:7.1f} µs a run")
    bare = taken.pop("bare loop")
    return {name(f"{suffix}, {way}", "entropic", "bare loop"): seconds / bare for way, seconds in taken.items()}


def main() -> int:
    """Measure both formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help=f"results ({COUNT:,})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    found = {figure: ratio for suffix in WRITE for figure, ratio in measure(suffix, options.count).items()}
    record = Record.taken("arrays", Path(tempfile.gettempdir()), options.count / COUNT, found)
    print(f"\n{verdicts_of(record)}")
    record.write(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
