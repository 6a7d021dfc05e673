"""The limit: a bare `sqlite3` loop on one kept connection that stores and finds the same rows and files.

WAL, synchronous=NORMAL, keys by `json.dumps` and SHA-256, results by temporary file and rename. It gives
untyped tuples; it has no claims, looks at no file, and guards against nothing. Nobody can be much faster
and still write the files and find the rows.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from experiment import RESULT, Params, compute, run_to_file

BATCH = 500
COLUMNS = "id, n, dt, name, result_file"
CREATE = """CREATE TABLE IF NOT EXISTS results
    (id TEXT PRIMARY KEY, n INTEGER, dt REAL, name TEXT, result_file TEXT) WITHOUT ROWID"""
SELECT = f"SELECT {COLUMNS} FROM results WHERE id = ?"
INSERT = f"INSERT INTO results ({COLUMNS}) VALUES (?, ?, ?, ?, ?)"

Row = tuple[Any, ...]


class System:
    """Rows in one table of SQLite, results in one folder."""

    def __init__(self, folder: Path) -> None:
        self.results = str(folder)
        self.connection = sqlite3.connect(folder / "limit.sqlite3", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute(CREATE)
        self.cursor = self.connection.cursor()

    def get(self, params: Params) -> Row:
        key = key_of(params)
        row = self.cursor.execute(SELECT, (key,)).fetchone()
        if row is None:
            row = self._run(key, params)
            self.cursor.execute(INSERT, row)
        return row

    def look(self, params: Params) -> Row | None:
        return self.cursor.execute(SELECT, (key_of(params),)).fetchone()

    def sweep(self, sets: list[Params]) -> list[Row]:
        keyed = {key_of(params): params for params in sets}
        rows: dict[str, Row] = {}
        for keys in batches(sorted(keyed)):  # sorted: neighbours in the table are read together
            marks = ", ".join("?" * len(keys))
            found = self.cursor.execute(f"SELECT {COLUMNS} FROM results WHERE id IN ({marks})", keys)
            rows.update((row[0], row) for row in found)
        for keys in batches([key for key in keyed if key not in rows]):
            new = [self._run(key, keyed[key]) for key in keys]
            self.cursor.execute("BEGIN")
            self.cursor.executemany(INSERT, new)
            self.cursor.execute("COMMIT")
            rows.update(zip(keys, new, strict=True))
        return [rows[key] for key in keyed]

    def sweep_on(self, client: Any, sets: list[Params]) -> list[Any]:
        """Bare Dask: the runner by `map` and `gather`, nothing stored but its files."""
        runs = [{**params, "result_file": f"{self.results}/{params['n']}.bin"} for params in sets]
        client.gather(client.map(run_to_file, runs, pure=False))
        return [(None, run["n"], run["dt"], run["name"], run["result_file"]) for run in runs]

    def sweep_in_workers(self, sets: list[Params]) -> list[Any]:
        """A bare pool of two processes."""
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            return self.sweep_in_pool(pool, sets)

    def sweep_in_pool(self, pool: Any, sets: list[Params]) -> list[Any]:
        """A bare pool: the runner by `map`, nothing stored but its files."""
        runs = [{**params, "result_file": f"{self.results}/{params['n']}.bin"} for params in sets]
        list(pool.map(run_to_file, runs))
        return [(None, run["n"], run["dt"], run["name"], run["result_file"]) for run in runs]

    def match(self, answers: list[Row], sets: list[Params]) -> bool:
        asked = [(params["n"], params["dt"], params["name"]) for params in sets]
        return [row[1:4] for row in answers] == asked and all(Path(row[4]).read_bytes() == RESULT for row in answers)

    def _run(self, key: str, params: Params) -> Row:
        final = f"{self.results}/{key}.bin"
        with open(final + ".tmp", "wb") as file:
            file.write(compute())
        os.rename(final + ".tmp", final)
        return (key, params["n"], params["dt"], params["name"], final)


def key_of(params: Params) -> str:
    canonical = json.dumps(params, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def batches(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))
