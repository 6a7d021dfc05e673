"""Let 32 processes sweep the same 200 sets on each kind of database, and print how many runs a second that gave.

`make bench` does it after its table. PostgreSQL comes from a wheel, MariaDB from the system if it is there; each also
by a URL in `ENTROPIC_TEST_POSTGRESQL` or `ENTROPIC_TEST_MARIADB`. The exit code is 1 if a set ran twice or was lost.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from entropic import Base, Mapped, Store
from machine import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


class Shared(Base):
    __tablename__ = "shared_sets"
    n: Mapped[int]


def main() -> int:
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--processes", type=int, default=32)
    given.add_argument("--sets", type=int, default=200)
    given.add_argument("--dir", help="where results lie, and SQLite's database")
    given.add_argument("--url", help=argparse.SUPPRESS)  # of a process of the crowd
    given.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = given.parse_args()
    if options.url:
        take_part(options.url, options.folder, options.sets)
        return 0
    from databases import KINDS, Missing, Place, Servers

    wrong = 0
    with tempfile.TemporaryDirectory(prefix="entropic-crowd-", dir=options.dir) as name:
        print("machine: " + ", ".join(f"{what} {fact}" for what, fact in describe(Path(name)).items()), flush=True)
        print(f"{options.processes} processes, {options.sets} sets that all of them want")
        servers = Servers(Path(name))
        try:
            for kind in KINDS:
                folder = Path(name, kind)
                folder.mkdir()
                try:
                    place = Place.on_sqlite(folder) if kind == "sqlite" else Place.on_server(servers.shared(kind))
                except Missing as reason:
                    print(f"{kind:12} left out: {reason}")
                    continue
                seconds, runs = measure(place.url, folder, options.processes, options.sets)
                right = sorted(runs) == list(range(options.sets))
                wrong += not right
                verdict = "each ran once" if right else f"WRONG: {len(runs)} runs"
                print(f"{kind:12} {options.sets / seconds:7.0f} runs/s   {seconds:5.2f} s   {verdict}", flush=True)
        finally:
            servers.close()
    return 1 if wrong else 0


def measure(url: str, folder: Path, processes: int, sets: int) -> tuple[float, list[int]]:
    """Return the seconds from the word go to the end of the last process, and which sets ran."""
    from databases import until

    command = [sys.executable, __file__, "--folder", str(folder), "--sets", str(sets), "--url", url]
    crowd = [subprocess.Popen(command) for _ in range(processes)]
    until(lambda: len(list(folder.glob("ready-*"))) == processes, "all processes have opened their store", 300)
    began = time.monotonic()
    (folder / "go").touch()
    for process in crowd:
        if process.wait():
            raise SystemExit(f"a process of the crowd failed: {process.returncode}")
    seconds = time.monotonic() - began
    return seconds, [int(line) for line in (folder / "log").read_text().split()]


def take_part(url: str, folder: Path, sets: int) -> None:
    """Open a store, wait for the word, and sweep."""
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def runner(params: dict[str, object]) -> None:
        os.write(log, f"{params['n']}\n".encode())
        Path(str(params["result_file"])).write_bytes(b"x" * 100)

    store = Store(runner, Shared, folder / "results", ".bin", url)
    (folder / f"ready-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.005)
    rows = store.sweep([{"n": n} for n in range(sets)])
    assert [row.n for row in rows] == list(range(sets))


if __name__ == "__main__":
    sys.exit(main())
