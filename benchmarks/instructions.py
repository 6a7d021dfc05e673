"""Count the instructions of hits and of new runs, outside of the kernel: no other load on the machine can change them.

Nor can the clock, which does not go by itself in there: a store looks at its code, at leases and at the second of the
day now and then, which would be the more often per operation the slower the machine is.

`python benchmarks/instructions.py` runs each under valgrind, for entropic and for the limit, with few and with many
operations; the difference is what an operation takes. All that is counted of one system is forked from one process,
which has imported it: under valgrind that takes longer than the rest. The exit code is 1 if the ratio of the two has
grown by more than the margin beyond what `RATIOS` says, which is to be lowered whenever the code gets better. The
ratio, not the count, since that depends on the builds of Python and SQLite.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
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
_COUNTED = re.compile(r"==(\d+)== I\s+refs:\s+([\d,]+)")
WITH_THE_FIRST_STORE = (
    *("entropic.ask.load", "entropic.ask.runs", "entropic.ask.select", "entropic.protocol.plain_run"),
    *("entropic.sweep.sweep", "entropic.upkeep.open_store", "entropic.executors.serial", "entropic.db.dialects.sqlite"),
    *("concurrent.futures.thread", "psutil", "sqlalchemy.dialects.sqlite"),
)
MODULES = {"limit": "bare_sqlite", "entropic": "entropic_store"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--do", nargs=2, help=argparse.SUPPRESS)  # module, folder
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    given = parser.parse_args()
    if given.do:
        module, folder = given.do
        do_all(module, Path(folder))
        return 0
    if shutil.which("valgrind") is None:
        print("valgrind is not installed, so instructions cannot be counted")
        return 2
    with tempfile.TemporaryDirectory(prefix="entropic-instructions-") as folder:
        for system in MODULES:  # whatever is to be compiled first would count
            subprocess.run(command(system, Path(folder, f"first {system}")), check=True, stdout=subprocess.DEVNULL)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            counts = dict(zip(MODULES, threads.map(lambda one: counted(one, Path(folder, one)), MODULES), strict=True))
    worse, found = False, {}
    for what, bar in RATIOS.items():
        each = {one: (counts[one][what, MANY] - counts[one][what, FEW]) / (MANY - FEW) for one in MODULES}
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


def command(system: str, folder: Path) -> list[str]:
    """The command that does all with a system, in a new folder."""
    folder.mkdir()
    return [sys.executable, __file__, "--do", MODULES[system], str(folder)]


def counted(system: str, folder: Path) -> dict[tuple[str, int], int]:
    """The instructions of each process that does something so often with a system."""
    done = subprocess.run(
        [
            "valgrind",
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
            *command(system, folder),
        ],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc"},
        capture_output=True,
        text=True,
        check=False,
    )
    counts = {int(pid): int(count.replace(",", "")) for pid, count in _COUNTED.findall(done.stderr)}
    did = [line.split("\t") for line in done.stdout.splitlines()]
    if done.returncode or not {int(pid) for one in did for pid in one[:2]} <= counts.keys():
        raise SystemExit(f"{system} failed under valgrind:\n{done.stderr[-2000:]}")
    # What this process had done at each fork counts for both, and so does the fork.
    return {(what, int(count)): counts[int(pid)] - counts[int(idle)] for idle, pid, what, count in did}


def do_all(module: str, folder: Path) -> None:
    """Do each so often, in a process of its own; print which that was, and before it one that does nothing."""
    stop_clocks()
    # No store is opened here: what runs in a process with a second one takes more, as its code serves both.
    for imported in (f"systems.{module}", *(WITH_THE_FIRST_STORE if module == MODULES["entropic"] else ())):
        import_module(imported)
    gc.collect()
    gc.freeze()  # else each child, and this process, would look at all of it at other moments
    for what in RATIOS:
        for count in (FEW, MANY):
            place = folder / f"{what} {count}".replace(" ", "-")
            place.mkdir()
            print(fork(lambda: None), fork(partial(do, what, module, place, count)), what, count, sep="\t", flush=True)


def fork(act: Callable[[], None]) -> int:
    """Do something in a process of its own; return its number."""
    pid = os.fork()
    if pid == 0:
        act()
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("what was to be counted has failed")
    return pid


def do(what: str, module: str, folder: Path, count: int) -> None:
    """Do something `count` times, for a sweep: with sets, in this process; what comes before is the same for all."""
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
