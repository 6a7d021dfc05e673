"""Ten million rows without ten million files: how big the database gets, and what looking and running cost in it.

`python benchmarks/ledger.py --rows 10000000` writes finished claims and their rows straight into the tables of a
store, with keys spread as hashes are; then it looks up stored and missing keys, runs new sets, and sweeps new sets,
by the public API, and says the same for a store of a thousand rows. There are no files for those rows, so hits are
not measured here: `growth.py` does that.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from experiment import parameter_sets
from machine import describe
from systems.entropic_store import System

SMALL = 1_000
LOOKS, RUNS, SWEPT = 5_000, 1_000, 10_000
ROW = "INSERT INTO results (id, n, dt, name, result_file, created_at, custom_data) VALUES (?, ?, ?, ?, ?, ?, ?)"
CLAIM = """INSERT INTO entropic_ledger (id, model, attempt, state, path, published, size, mtime_ns, extra, checksum)
    VALUES (?, 'results', ?, 'idle', ?, ?, 100, ?, 0, ?)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dir", type=Path, help="where the stores are made (the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="entropic-ledger-", dir=options.dir) as name:
        print("machine: " + ", ".join(f"{what} {fact}" for what, fact in describe(Path(name)).items()), flush=True)
        told = {size: measured(Path(name, str(size)), size) for size in (SMALL, options.rows)}
    print(f"\n{'':34}" + "".join(f"{size:>14,}" for size in told))
    for what in told[SMALL]:
        print(f"{what:34}" + "".join(f"{figures[what]:14,.1f}" for figures in told.values()))


def measured(folder: Path, rows: int) -> dict[str, float]:
    """All figures of a store of so many rows."""
    folder.mkdir()
    system = System(folder)
    database = folder / "db.sqlite3"
    start = perf_counter()
    fill(database, rows)
    print(f"{rows:,} rows and claims written in {perf_counter() - start:.0f} s", flush=True)
    size = os.path.getsize(database)
    start = perf_counter()
    system = System(folder)
    opened = perf_counter() - start
    look = system.store.retrieve
    keys = [
        {"id": key} for key in random.Random(1).sample(range(rows), min(LOOKS, rows)) for key in [key_of(key, rows)]
    ]
    absent = parameter_sets(LOOKS, first=20_000_000)
    new, swept = parameter_sets(RUNS, first=30_000_000), parameter_sets(SWEPT, first=40_000_000)
    return {
        "database, bytes a row": size / rows,
        "opening the store, ms": opened * 1e3,
        "look for a stored key, µs": each(look, keys),
        "look for a missing set, µs": each(look, absent),
        "new run, µs": each(system.get, new),
        "new sweep of 10,000, µs a run": timed(lambda: system.sweep(swept)) / len(swept),
    }


def fill(database: Path, rows: int) -> None:
    """Write finished claims and their rows, in the order of the keys."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    for statement, values in ((ROW, row_values), (CLAIM, claim_values)):
        for first in range(0, rows, 500_000):
            connection.execute("BEGIN")
            connection.executemany(statement, values(first, min(first + 500_000, rows), rows))
            connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def row_values(first: int, end: int, rows: int) -> Iterator[tuple[Any, ...]]:
    for n in range(first, end):
        key = key_of(n, rows)
        yield (
            key,
            n,
            0.001 * n,
            f"case {n:07d}",
            f"/results/{key}.bin",
            "2026-01-01 00:00:00.000000",
            ('{"elapsed_seconds":0.000123}'),
        )


def claim_values(first: int, end: int, rows: int) -> Iterator[tuple[Any, ...]]:
    for n in range(first, end):
        key, attempt = key_of(n, rows), f"1-{n * 2654435761 % 2**32:08x}"
        yield key, attempt, f"{key}.bin", attempt, 1_790_000_000_000_000_000 + n, n * 2654435761 % 2**32


def key_of(n: int, rows: int) -> str:
    """The n-th of so many keys, spread evenly."""
    return f"{n * (2**64 // rows) + n * 2654435761 % 1000:016x}"


def each(operation: Callable[[Any], Any], arguments: list[Any]) -> float:
    """Microseconds of one operation: the whole divided by the count, a few before it unmeasured."""
    for argument in arguments[:20]:
        operation(argument)
    return timed(lambda: [operation(argument) for argument in arguments[20:]]) / len(arguments[20:])


def timed(operation: Callable[[], Any]) -> float:
    """Microseconds of an operation."""
    start = perf_counter()
    operation()
    return (perf_counter() - start) * 1e6


if __name__ == "__main__":
    main()
