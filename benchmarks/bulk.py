"""What many sets cost at once, beside entropic as it was before: a plan and a sweep of a grid that is all stored.

Beside them, in this entropic alone: the memory of a row that a sweep returns, and what a set costs in a plan whose runs
have failed. Time is that of the processor, and the best of several rounds; each measurement is a process of its own.
The results are empty files, so that 500,000 of them need no room.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

from bars import verdicts_of
from catalog import COMPETITORS
from entropic import Base, Mapped, Store
from environments import Unavailable, interpreter_of
from figures import Record, name
from machine import describe
from measure import environment
from memory import peak_kb

SETS = 500_000
FAILED = 10  # as many times fewer sets fail: they take long to fill
TOGETHER = 50_000  # sets in one sweep that fills
ROUNDS = 3
OURS, BEFORE = "entropic", "before"

Params = dict[str, Any]


class Point(Base):
    """A point of the grid."""

    __tablename__ = "grid_points"
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


def main() -> int:
    options = parse()
    if options.order:
        print(json.dumps(one_thing(*json.loads(options.order))))
        return 0
    with tempfile.TemporaryDirectory(prefix="entropic-bulk-", dir=options.dir) as folder:
        machine = describe(Path(folder))
        print("machine: " + ", ".join(f"{what} {fact}" for what, fact in machine.items()), flush=True)
        pythons = dict(interpreters())
        least = measured(pythons, folder, options.sets, options.rounds)
    for (what, who), taken in least.items():
        print(f"{what:28} {who:10} {taken['seconds'] * 1e6:8.1f} µs a set  {taken['bytes']:8,.0f} bytes a set")
    record = Record("bulk", machine, options.sets / SETS, ratios(least), {"taken": spoken(least)})
    print(f"\n{verdicts_of(record)}")
    record.write(options.json)
    return 0


def interpreters() -> Iterator[tuple[str, str]]:
    """The two systems, or the one that there is."""
    for system in COMPETITORS:
        if system.name in (OURS, BEFORE):
            try:
                yield system.name, interpreter_of(system)
            except Unavailable as reason:
                print(f"left out: {system.name}, which could not be installed ({reason})")


Least = dict[tuple[str, str], dict[str, float]]


def measured(pythons: dict[str, str], folder: str, sets: int, rounds: int) -> Least:
    """The least that each thing took, for each system."""
    least: Least = {}
    failed = max(1, sets // FAILED)
    for who, python in pythons.items():
        work(python, "fill", f"{folder}/{who}", sets)
    work(pythons[OURS], "fail", f"{folder}/{OURS}", failed)
    wanted = [(what, who, sets) for what in ("plan of stored sets", "sweep of stored sets") for who in pythons]
    wanted += [(what, OURS, failed) for what in ("plan of fewer stored sets", "plan of failed sets")]
    for _, (what, who, count) in itertools.product(range(rounds), wanted):
        found = work(pythons[who], what, f"{folder}/{who}", count)
        least[what, who] = {kind: min(value, least.get((what, who), found)[kind]) for kind, value in found.items()}
    return least


def ratios(least: Least) -> dict[str, float]:
    """What the bars are set for."""
    found = {
        name("kB in a swept row", OURS, "1 kB"): least["sweep of stored sets", OURS]["bytes"] / 1000,
        name("plan of failed sets", OURS, "plan of stored sets"): least["plan of failed sets", OURS]["seconds"]
        / least["plan of fewer stored sets", OURS]["seconds"],
    }
    for what in ("plan of stored sets", "sweep of stored sets"):
        if (what, BEFORE) in least:
            found[name(what, OURS, BEFORE)] = least[what, OURS]["seconds"] / least[what, BEFORE]["seconds"]
    return found


def spoken(least: Least) -> dict[str, dict[str, float]]:
    """The figures with their names in one."""
    return {f"{what}, {who}": taken for (what, who), taken in least.items()}


def work(python: str, what: str, folder: str, count: int) -> dict[str, float]:
    """Do one thing in a process of its own."""
    command = [python, __file__, "--order", json.dumps([what, folder, count])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment(command[0]))
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def one_thing(what: str, folder: str, count: int) -> dict[str, float]:
    """Do one thing in this process; return what a set took."""
    store = opened(folder)
    if what in ("fill", "fail"):
        sets = grid(count, failing=what == "fail")
        warnings.simplefilter("ignore")  # that sets fail is what was asked for
        for first in range(0, count, TOGETHER):
            store.sweep(sets[first : first + TOGETHER], on_error="continue")
        return {}
    sets = grid(count, failing=what == "plan of failed sets")
    act: Callable[[Any], Any] = store.sweep if what.startswith("sweep") else store.plan
    act(sets[:10])  # what is made at first
    before, start = peak_kb(), process_time()
    made = act(sets)
    taken = {"seconds": (process_time() - start) / count, "bytes": 1024 * (peak_kb() - before) / count}
    seen = len(made) if what.startswith("sweep") else len(made.failed if "failed" in what else made.stored)
    assert seen == count, f"{what}: {seen} of {count}"
    return taken


def grid(count: int, *, failing: bool = False) -> list[Params]:
    """So many sets of a grid, whose values repeat."""
    sign = -1 if failing else 1
    steps, names = [0.001 * (step + 1) for step in range(10)], [f"case {letter}" for letter in "abcdefghij"]
    whole = itertools.product(range(1, count // 100 + 2), steps, names)
    return [{"n": sign * n, "dt": dt, "name": text} for n, dt, text in itertools.islice(whole, count)]


def run(params: Params) -> None:
    """Leave an empty result, or fail."""
    if params["n"] < 0:
        raise ValueError("this set fails")
    Path(params["result_file"]).touch()


def opened(folder: str) -> Store[Point]:
    """Return the store in a folder, of the entropic that this interpreter has."""
    Path(folder).mkdir(exist_ok=True)
    return Store(run, Point, f"{folder}/results", ".bin", f"sqlite:///{folder}/db.sqlite3")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", type=int, default=SETS, help=f"that are stored ({SETS:,})")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dir", help="where the stores are made (the temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--order", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
