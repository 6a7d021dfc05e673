"""Measure everything, and print for each goal whether it is met: `make bench`.

What writes files is measured in memory (`/dev/shm`) and on a disk (the temporary folder, unless `--disk` says
otherwise). `--scale 0.01` is a quick look, whose figures mean little. `--record` keeps the figures in `history/`, under
the version that was measured; `--record entropic,2.3.0` also those of the published 2.3.0 from the same run. A slow
machine fails nothing: the exit code is 1 only if a program failed, or if entropic gave a wrong answer.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import history
from arrays import COUNT
from bars import verdicts
from bulk import SETS
from crowd import PROCESSES
from crowd import SETS as SHARED
from figures import Record
from measure import HERE
from tables import ROWS

MEMORY = Path("/dev/shm")
PROGRAMS = ["run", "crowd", "bulk", "arrays", "tables", "instructions"]


@dataclass(frozen=True)
class Step:
    """One program, as it is called."""

    program: str
    arguments: list[str]


def main() -> int:
    options = parse()
    records, failed = [], []
    for step in (step for step in steps(options) if step.program.removesuffix(".py") in options.only):
        print(f"\n=== {' '.join([step.program, *step.arguments])}", flush=True)
        started = monotonic()
        with tempfile.TemporaryDirectory(prefix="entropic-bench-") as folder:
            told = Path(folder) / "record.json"
            command = [sys.executable, str(HERE / step.program), *step.arguments, "--json", str(told)]
            if subprocess.run(command, check=False).returncode:
                failed.append(step)
            if told.exists():
                records.append(Record.read(told))
        print(f"=== {monotonic() - started:.0f} s", flush=True)
    print(f"\n{verdicts(records)}")
    for who in options.record:
        print(f"kept in {history.keep(records, who)}")
    for step in failed:
        print(f"FAILED: {' '.join([step.program, *step.arguments])}")
    return 1 if failed else 0


def steps(options: argparse.Namespace) -> Iterator[Step]:
    """All programs, those that write files once for each place."""
    scale = options.scale
    places = [str(place) for place in (options.disk, options.memory) if place and os.access(place, os.W_OK)]
    for place in places:
        yield Step("run.py", ["--dir", place, "--scale", f"{scale:g}", "--rounds", str(options.rounds)])
    for place in places:
        crowd = [
            "--processes",
            str(scaled(PROCESSES, min(1.0, 10 * scale), 4)),
            "--sets",
            str(scaled(SHARED, scale, 40)),
        ]
        yield Step("crowd.py", [*crowd, "--dir", place])
    yield Step("bulk.py", ["--sets", str(scaled(SETS, scale, 100)), *(["--dir", places[-1]] if places else [])])
    yield Step("arrays.py", ["--count", str(scaled(COUNT, scale, 100))])
    yield Step("tables.py", ["--rows", str(scaled(ROWS, scale, 1_000))])
    if shutil.which("valgrind"):
        yield Step("instructions.py", [])
    else:
        print("left out: instructions.py, which needs valgrind")


def scaled(count: int, scale: float, least: int) -> int:
    """So much of a count, but not so little that nothing is measured."""
    return max(least, round(count * scale))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=PROGRAMS, help=f"some of {', '.join(PROGRAMS)}"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor for all counts (1.0)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of run.py, of which medians are shown (5)")
    parser.add_argument("--memory", type=Path, default=MEMORY, help=f"a folder in memory ({MEMORY})")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="a folder on a disk")
    parser.add_argument(
        "--record",
        type=lambda text: text.split(","),
        nargs="?",
        const=[history.OURS],
        default=[],
        metavar="SYSTEMS",
        help="keep the figures of these systems of the run (entropic) in history/",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
