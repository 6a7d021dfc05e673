"""What the children of these tests do, each with a store of its own on the database of a URL."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from contract.models import LoggingRunner, SimResult, write_params
from entropic import Store
from entropic.provenance.code import code_of


def prepare() -> None:
    """Import what children need, the drivers too, and read what their runner reaches, so that they inherit it."""
    import databases

    for server in databases.SERVERS.values():
        server.driver()
    code_of(LoggingRunner(Path("log")))


def sets(ns: Iterable[int]) -> list[dict[str, Any]]:
    """Return a set of params for each of these n."""
    return [{"n": n, "dt": 0.5} for n in ns]


def open_store(folder: str, url: str, runner: Any = None, **options: Any) -> Store[SimResult]:
    """Open the store of a test, with a runner that leaves a line for each run in its log."""
    return Store(runner or LoggingRunner(Path(folder) / "log"), SimResult, f"{folder}/results", ".json", url, **options)


def find_in_memory(patterns: list[bytes]) -> int:
    """Count the places in the memory of this process that match one of some patterns."""
    wanted, found = re.compile(b"|".join(patterns)), 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps.read().splitlines():
            where, mode = line.split()[:2]
            first, last = (int(number, 16) for number in where.split("-"))
            if mode.startswith("rw") and last < 1 << 63:
                with contextlib.suppress(OSError):  # not all of it can be read
                    memory.seek(first)
                    found += len(wanted.findall(memory.read(last - first)))
    return found


class Searching:
    """A runner that looks for something in the memory of its process, and says who it is and what it found."""

    def __init__(self, patterns: list[bytes]) -> None:
        self.patterns = patterns

    def __call__(self, params: dict[str, Any]) -> None:
        Path(params["result_file"]).write_text(f"{os.getpid()} {find_in_memory(self.patterns)}")


def sweep(folder: str, url: str, ns: list[int]) -> list[int]:
    """Sweep over some sets; return the n of the rows."""
    return [row.n for row in open_store(folder, url).sweep(sets(ns))]


def ask(folder: str, url: str, ns: list[int]) -> list[int]:
    """Ask for some sets one by one, in an order of its own; return the n of the rows."""
    store = open_store(folder, url)
    return [store.run_or_retrieve(one).n for one in sets(random.Random(os.getpid()).sample(ns, len(ns)))]


def open_together(folder: str, url: str) -> list[int]:
    """Open a store at the same moment as others, and use it."""
    import racers

    racers.at_the_gate(folder)
    return sweep(folder, url, [1, 2, 3])


def hold_the_gil(folder: str, url: str, seconds: float, marker: str, lease: float) -> int:
    """Run something that lets no other thread of this process do anything."""

    def runner(params: dict[str, Any]) -> None:
        write_params(params)
        Path(marker).touch()
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))

    return open_store(folder, url, runner, lease=lease).run_or_retrieve({"n": 1, "dt": 0.5}).n


def run_until(folder: str, url: str, marker: str, until: str, lease: float) -> int:
    """Run something that lasts until a file is there."""
    import faults

    def runner(params: dict[str, Any]) -> None:
        write_params(params)
        faults.touch(marker)
        faults.wait_for(until)

    return open_store(folder, url, runner, lease=lease).run_or_retrieve({"n": 1, "dt": 0.5}).n


def hit_until(folder: str, url: str, marker: str, until: str, lease: float) -> int:
    """Ask for a stored set again and again until a file is there."""
    store, count = open_store(folder, url, lease=lease), 0
    while not os.path.exists(until):
        store.run_or_retrieve({"n": 1, "dt": 0.5})
        count += 1
        Path(marker).touch()
    return count


def node(
    folder: str, url: str, results: str, boot: str, ns: list[int], seconds: float = 0.0, longer: bool = False
) -> list[int]:
    """Sweep, as another host that sees the results folder in its own way; `longer`: run again, with longer results."""
    import faults
    import work

    work.be_elsewhere(boot)
    log = LoggingRunner(Path(folder) / "log")

    def runner(params: dict[str, Any]) -> None:
        log(params)
        time.sleep(seconds)
        if longer:
            with open(params["result_file"], "a") as file:
                file.write(" " * 1000)

    store = Store(runner, SimResult, results, ".json", url)
    faults.touch(f"{folder}/ready-{os.getpid()}")
    faults.wait_for(f"{folder}/go")
    return [store.run(one).n for one in sets(ns)] if longer else [row.n for row in store.sweep(sets(ns))]
