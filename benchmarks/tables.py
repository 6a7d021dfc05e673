"""How long `Store.to_pandas` and its like take for many rows, and how much memory, beside other ways to a table.

Each way runs in a process of its own, in turn; time is that of its processor, the best of several, and memory the most
that it held beyond what it held before.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

from bars import verdicts_of
from entropic import Base, Mapped, Store
from figures import Record, name
from measure import environment
from memory import peak_kb

ROWS = 1_000_000
REPEATS = 3
READ_SQL = "pandas.read_sql_query"
WAYS = {"to_arrow": "pyarrow", "to_pandas": "pandas", "to_polars": "polars"}
OTHERS = ("select().to_pandas", READ_SQL)


class Measured(Base):
    """A row of three values."""

    __tablename__ = "measured"
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


def touch(params: dict[str, Any]) -> None:
    """Leave an empty result."""
    Path(params["result_file"]).touch()


def opened(folder: str) -> Store[Measured]:
    """Return the store in a folder."""
    return Store(touch, Measured, f"{folder}/results", ".bin", f"sqlite:///{folder}/db.sqlite3")


def fill(folder: str, rows: int) -> None:
    """Store one run, and many rows like it, without their files: no table looks at them."""
    opened(folder).sweep([{"n": 0, "dt": 0.0, "name": "run 0"}])
    database = sqlite3.connect(f"{folder}/db.sqlite3")
    for table in ("measured", "entropic_ledger"):
        row = database.execute(f"SELECT * FROM {table}")
        names, values = [column[0] for column in row.description], row.fetchone()
        first = dict(zip(names, values, strict=True))
        sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(f':{column}' for column in names)})"
        database.executemany(sql, (like(first, i) for i in range(1, rows)))
    database.commit()
    database.close()


def like(first: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the row of another run, whose key is as scattered as a hash."""
    id = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"
    made = {"id": id, "n": number, "dt": number * 0.1, "name": f"run {number % 1000}"}
    clock = ":".join(f"{part:02}" for part in (number // 3600 % 24, number // 60 % 60, number % 60))
    made["created_at"] = f"2026-01-01 {clock}.{number % 10**6:06}"
    made["path"] = f"{id}.bin"
    return {column: made.get(column, value) for column, value in first.items()}


def one(way: str, folder: str) -> dict[str, float]:
    """Make a table in one way, in this process; return what it took."""
    store = opened(folder)
    rows = store.select(limit=10)
    for each in WAYS:  # what it imports, and makes at first
        getattr(rows, each)()
    database = sqlite3.connect(f"{folder}/db.sqlite3")
    query = "SELECT id, n, dt, name, created_at, result_file FROM measured ORDER BY created_at, id"
    if way == READ_SQL:
        import pandas

        pandas.read_sql_query(f"{query} LIMIT 10", database)
    before, start = peak_kb(), process_time()
    if way == READ_SQL:
        made: Any = pandas.read_sql_query(query, database)
    elif way.startswith("select"):
        made = getattr(store.select(), way.partition(".")[2])()
    else:
        made = getattr(store, way)()
    taken = process_time() - start
    return {"CPU": taken, "memory": (peak_kb() - before) / 1024, "rows": len(made)}


def measure(folder: str, rows: int) -> dict[str, float]:
    """Print what each way takes; return the ratios."""
    least: dict[str, dict[str, float]] = {}
    for _ in range(REPEATS):
        for way in (*OTHERS, *WAYS):
            order = [sys.executable, __file__, "--way", way, "--folder", folder]
            told = subprocess.run(order, stdout=subprocess.PIPE, text=True, check=True, env=environment(order[0]))
            found = json.loads(told.stdout)
            assert found.pop("rows") == rows, f"{way} made another number of rows"
            least[way] = {what: min(value, least.get(way, found)[what]) for what, value in found.items()}
    for way, found in least.items():
        print(f"{way:22} {found['CPU']:7.2f} s {found['memory']:8.0f} MB")
    return {
        name(f"{way}, {what}", "entropic", other): mine / least[other][what]
        for way in WAYS
        for other in OTHERS
        for what, mine in least[way].items()
        if least[other][what]
    }


def main() -> int:
    """Measure all ways on one store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"of the store ({ROWS:,})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(one(options.way, options.folder)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, options.rows)
        record = Record.taken("tables", Path(folder), options.rows / ROWS, measure(folder, options.rows))
    print(f"\n{verdicts_of(record)}")
    record.write(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
