"""Measure entropic against the limit and its peers, and print one table: `make bench`.

`python benchmarks/run.py --dir /dev/shm` does it on tmpfs; `--rounds 1 --scale 0.2` is a quick look.
A slow machine fails nothing: the exit code is 1 only if a worker crashed or gave a wrong answer.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from bars import verdicts_of
from catalog import COMPETITORS, LIMIT, WORKLOADS, Competitor, Workload
from environments import Unavailable, interpreter_of, version_of
from figures import Record
from machine import describe
from measure import Bench, Measurement
from plot import draw
from report import Figures, memory, ratios, table


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="entropic-bench-", dir=options.dir) as name:
        folder = Path(name)
        machine = describe(folder)
        print("machine: " + ", ".join(f"{what} {fact}" for what, fact in machine.items()), flush=True)
        interpreters = installed(options.systems)
        bench = Bench(interpreters, options.workloads, folder, options.scale)
        with server(folder, interpreters):
            measurements = watched(bench, options.rounds)
    figures = Figures(measurements)
    rows, columns = [w.name for w in options.workloads], [s.name for s in interpreters]
    taken = [asdict(m) for m in measurements]
    record = Record("run", machine, options.scale, ratios(figures, rows, columns), {"measurements": taken})
    print(f"\n{table(figures, rows, columns)}\n\n{memory(figures, rows, columns)}\n\n{verdicts_of(record)}")
    record.write(options.json)
    if options.plot:
        draw(figures, rows, columns, machine, options.plot)
    crashed = [m for m in measurements if m.error]
    for m in crashed:
        print(f"crashed: {m.system}, {m.workload}, round {m.round}: {m.error}")
    return 1 if crashed else 0


def installed(systems: list[Competitor]) -> dict[Competitor, str]:
    """The systems that can be measured, with their interpreters; those that cannot are said, not fatal."""
    interpreters, versions = {}, []
    for system in systems:
        try:
            interpreters[system] = interpreter_of(system)
        except Unavailable as reason:
            print(f"left out: {system.name}, which could not be installed ({reason})")
        else:
            if system.package:
                versions.append(f"{system.package} {version_of(system, interpreters[system])}")
    print(f"systems: {', '.join(versions)}", flush=True)
    return interpreters


@contextmanager
def server(folder: Path, systems: dict[Competitor, str]) -> Iterator[None]:
    """Have a PostgreSQL server, if a system needs one; leave those out that do, if there is none."""
    wanting = [system for system in systems if system.server]
    if not wanting:
        yield
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from databases import Missing, Servers

    servers = Servers(folder)
    try:
        os.environ.setdefault("ENTROPIC_TEST_POSTGRESQL", servers.shared("postgresql").url())
    except Missing as reason:
        print(f"left out: {', '.join(system.name for system in wanting)} ({reason})")
        for system in wanting:
            del systems[system]
    try:
        yield
    finally:
        servers.close()


def watched(bench: Bench, rounds: int) -> list[Measurement]:
    """All measurements, with a line on stderr for each round that begins: it takes minutes."""
    start, number, taken = monotonic(), 0, []
    for measurement in bench.rounds(rounds):
        if measurement.round > number:
            number = measurement.round
            print(f"round {number} of {rounds}, {monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        taken.append(measurement)
    print(f"done after {monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return taken


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = ", ".join
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which medians are shown (5)")
    parser.add_argument(
        "--workloads",
        type=lambda text: chosen(text, WORKLOADS),
        default=list(WORKLOADS),
        help=f"some of: {names(w.name for w in WORKLOADS)}",
    )
    parser.add_argument(
        "--systems",
        type=lambda text: chosen(text, COMPETITORS),
        default=list(COMPETITORS),
        help=f"some of: {names(s.name for s in COMPETITORS)} (the limit is always measured)",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor for all counts (1.0)")
    parser.add_argument("--dir", type=Path, help="where the stores are made (the temporary folder)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios there (needs matplotlib)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement there as well")
    options = parser.parse_args()
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no such folder")  # now, not after four minutes
    options.systems = [s for s in COMPETITORS if s in options.systems or s is LIMIT]
    return options


def chosen(text: str, known: Sequence[Workload] | Sequence[Competitor]) -> list[Workload | Competitor]:
    """The known ones that are named in `text`, in the order in which they are known."""
    wanted = [name.strip() for name in text.split(",")]
    strange = sorted(set(wanted) - {item.name for item in known})
    if strange:
        raise argparse.ArgumentTypeError(f"{', '.join(strange)}: not one of {[i.name for i in known]}")
    return [item for item in known if item.name in wanted]


if __name__ == "__main__":
    sys.exit(main())
