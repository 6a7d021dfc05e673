"""Count the instructions of hits and of new runs, outside of the kernel: no other load on the machine can change them.

Nor can the clock, which does not go by itself in there: a store looks at its code, at leases and at the second of the
day now and then, which would be the more often per operation the slower the machine is.

`python benchmarks/instructions.py` runs each under valgrind, for entropic and for the limit, with few and with many
operations; the difference is what an operation takes. The exit code is 1 if the ratio of the two has grown by more
than the margin beyond what `RATIOS` says, which is to be lowered whenever the code gets better. The ratio, not the
count, since that depends on the builds of Python and SQLite.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bars import verdicts_of
from experiment import parameter_sets
from figures import Record, name
from systems import open_system
from workloads import ABSENT

RATIOS = {"hit": 1.78, "cached sweep": 1.67, "miss": 4.18}  # a new run tells where it comes from, and how far it is
MARGIN = 0.1
STORED = 200
FEW, MANY = 400, 1_200
MODULES = {"limit": "bare_sqlite", "entropic": "entropic_store"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--do", nargs=4, help=argparse.SUPPRESS)  # what, module, folder, how often
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    if given.do:
        what, module, folder, count = given.do
        do(what, module, Path(folder), int(count))
        return 0
    if shutil.which("valgrind") is None:
        print("valgrind is not installed, so instructions cannot be counted")
        return 2
    with tempfile.TemporaryDirectory(prefix="entropic-instructions-") as folder:
        for system in MODULES:  # whatever is to be compiled first would count, in only one of two processes
            for what in RATIOS:
                subprocess.run(child(Path(folder), what, system, STORED), check=True)
        wanted = [(what, system, count) for what in RATIOS for system in MODULES for count in (FEW, MANY)]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            counts = dict(zip(wanted, threads.map(lambda one: counted(Path(folder), *one), wanted), strict=True))
    worse, found = False, {}
    for what, bar in RATIOS.items():
        each = {one: (counts[what, one, MANY] - counts[what, one, FEW]) / (MANY - FEW) for one in MODULES}
        ratio = each["entropic"] / each["limit"]
        found[name(what, "entropic", "limit")] = ratio
        verdict = "ok" if ratio <= bar * (1 + MARGIN) else "WORSE"
        worse |= verdict != "ok"
        print(
            f"{what:14}{each['entropic']:10,.0f} instructions, limit {each['limit']:8,.0f}: ratio {ratio:.2f}, "
            f"bar {bar:.2f} + {MARGIN:.0%}: {verdict}"
        )
    record = Record.taken("instructions", Path(tempfile.gettempdir()), 1.0, found)
    print(f"\n{verdicts_of(record)}")
    record.write(given.json)
    return int(worse)


def child(folder: Path, what: str, system: str, count: int) -> list[str]:
    """The command that does something so often, in a new folder."""
    place = folder / f"{what} {system} {count}".replace(" ", "-")
    place.mkdir()
    return [sys.executable, __file__, "--do", what, MODULES[system], str(place), str(count)]


def counted(folder: Path, what: str, system: str, count: int) -> int:
    """The instructions of a whole process that does something so often."""
    command = child(folder, what, system, count)
    done = subprocess.run(
        ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", *command],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"{' '.join(command)} failed under valgrind:\n{done.stderr[-2000:]}")
    return int(found[1].replace(",", ""))


def do(what: str, module: str, folder: Path, count: int) -> None:
    """Do something `count` times, for a sweep: with sets, in this process; what comes before is the same for all."""
    stop_clocks()
    system, sets = open_system(module, folder), parameter_sets(STORED)
    system.sweep(sets)
    gc.collect()
    gc.disable()  # one full collection more, or less, between the two counts would be most of the difference
    if what == "hit":
        for number in range(count):
            system.get(sets[number % STORED])
    elif what == "cached sweep":
        for _ in range(count // STORED):
            system.sweep(sets)
    else:
        for params in parameter_sets(count, first=ABSENT):
            system.get(params)


def stop_clocks() -> None:
    """Let all that is opened from now on see the same moment, and a tenth of a millisecond go by for each run."""
    moment = time.time()
    for function, clock in {
        "time": itertools.repeat(moment),
        "time_ns": itertools.repeat(int(moment * 1e9)),
        "monotonic": itertools.repeat(time.monotonic()),
        "perf_counter": itertools.count(0.0, 0.000123456),
    }.items():
        setattr(time, function, clock.__next__)


if __name__ == "__main__":
    sys.exit(main())
