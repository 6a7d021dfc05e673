"""What becomes slower when a store grows: hits, looks and plans among a thousand rows and among many.

`python benchmarks/growth.py --rows 1000000` fills one folder and one database with that many results, for the limit
and for entropic, and measures both at both sizes, each in a fresh process, in turn. Filling takes most of the time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import workloads
from catalog import COMPETITORS, LIMIT
from experiment import Params, parameter_sets
from machine import describe
from measure import environment
from memory import peak_kb
from systems import open_system

SMALL = 1_000
FILLED_TOGETHER = 50_000  # sets in one sweep: the limit keeps all of their rows
DRAWS = 5_000  # hits and looks in one measurement
SYSTEMS = [system for system in COMPETITORS if system is LIMIT or system.name == "entropic"]


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="entropic-growth-", dir=options.dir) as name:
        machine = describe(Path(name))
        print("machine: " + ", ".join(f"{what} {fact}" for what, fact in machine.items()), flush=True)
        sizes = (SMALL, options.rows)
        for size in sizes:
            for system in SYSTEMS:
                told = work("fill", system.module, Path(name, str(size), system.name), size, 0)
                print(f"{system.name}: {size:,} rows filled in {told['seconds']:.1f} s", flush=True)
        taken = list(measured(Path(name), sizes, options.rounds))
        print("\n" + "\n".join(lines(taken, sizes)))
        told = work("whole", "entropic_store", Path(name, str(options.rows), "entropic"), options.rows, 0)
        print("\n" + "\n".join(f"{what:38}{figure}" for what, figure in told.items()))


def measured(folder: Path, sizes: tuple[int, int], rounds: int) -> Iterator[dict[str, Any]]:
    """Every measurement: systems and sizes in turn within a round."""
    for number in range(1, rounds + 1):
        for workload in ("hit", "retrieve miss"):
            for size in sizes:
                for system in SYSTEMS:
                    place = folder / str(size) / system.name
                    told = work(workload, system.module, place, size, number)
                    yield {"round": number, "workload": workload, "size": size, "system": system.name, **told}


def lines(taken: list[dict[str, Any]], sizes: tuple[int, int]) -> Iterator[str]:
    """A line for each workload and system: microseconds at both sizes, and how much more it is at the greater one."""
    small, large = sizes
    yield f"{'µs per operation':26}{small:>14,}{large:>14,}   ratio, median of rounds"
    for workload in ("hit", "retrieve miss"):
        for system in SYSTEMS:
            mine = [one for one in taken if (one["workload"], one["system"]) == (workload, system.name)]
            rounds = {one["round"] for one in mine}
            by = {(one["round"], one["size"]): one["seconds"] * 1e6 for one in mine}
            at = {size: median(by[number, size] for number in rounds) for size in sizes}
            ratio = median(by[number, large] / by[number, small] for number in rounds)
            yield f"{workload + ', ' + system.name:26}{at[small]:14.1f}{at[large]:14.1f}   {ratio:.2f}"


def work(workload: str, module: str, folder: Path, rows: int, seed: int) -> dict[str, Any]:
    """Do one thing in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    order = json.dumps({"workload": workload, "module": module, "folder": str(folder), "rows": rows, "seed": seed})
    command = [sys.executable, __file__, "--order", order]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment(command[0]))
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def one_thing(order: dict[str, Any]) -> dict[str, Any]:
    """Do what the order says, in this process."""
    system, rows = open_system(order["module"], Path(order["folder"])), order["rows"]
    if order["workload"] == "fill":
        start = perf_counter()
        for first in range(0, rows, FILLED_TOGETHER):
            system.sweep(parameter_sets(min(FILLED_TOGETHER, rows - first), first))
        return {"seconds": perf_counter() - start}
    if order["workload"] == "whole":
        return whole(system, parameter_sets(rows))
    name = order["workload"]
    told = workloads.Order(order["module"], name, order["folder"], DRAWS, rows, order["seed"])
    spent: workloads.Spent = getattr(workloads, name.replace(" ", "_"))(system, told)
    return {"seconds": spent.seconds}


def whole(system: Any, sets: list[Params]) -> dict[str, str]:
    """What is done with all sets at once: plan them, and sweep them when all are stored."""
    told, count = {}, len(sets)
    before, start = peak_kb(), perf_counter()
    plan = system.store.plan(sets)
    took = perf_counter() - start
    workloads.expect(len(plan.stored) == count, "a plan did not see what is stored")
    told[f"planning {count:,} stored sets"] = f"{took:.1f} s, {1024 * (peak_kb() - before) / count:.0f} bytes a set"
    del plan
    before, start = peak_kb(), perf_counter()
    rows = system.sweep(sets)
    took = perf_counter() - start
    workloads.expect(len(rows) == count, "a sweep lost rows")
    told[f"sweeping {count:,} stored sets"] = f"{took:.1f} s, {1024 * (peak_kb() - before) / count:.0f} bytes a row"
    absent = parameter_sets(count, first=workloads.ABSENT)
    start = perf_counter()
    plan = system.store.plan(absent)
    told[f"planning {count:,} missing sets"] = f"{perf_counter() - start:.1f} s"
    workloads.expect(len(plan.missing) == count, "a plan saw what is not stored")
    return told


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="of the great store (100,000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where the stores are made (the temporary folder)")
    parser.add_argument("--order", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.order:
        print(json.dumps(one_thing(json.loads(options.order))))
        sys.exit()
    return options


if __name__ == "__main__":
    main()
