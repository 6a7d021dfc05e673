"""How fast the page is with many runs: first rows, a sorted page, a scatter plot of all points.

    python benchmarks/page.py --runs 100000

Makes a store of as many rows as are asked for in a temporary folder, serves its page in a process of its own, and opens
it in the system's Chromium (Debian: chromium; and `pip install playwright`). Prints seconds, medians of several.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.request import HTTPCookieProcessor, build_opener

import sqlalchemy as sa
from playwright.sync_api import Page, sync_playwright

from browser import chromium, memory, seen
from entropic import Base, Mapped, Store, outcome
from entropic.db.tables import ledger
from entropic.store import context_of


class Run(Base):
    __tablename__ = "runs"

    alpha: Mapped[float]
    beta: Mapped[float]
    size: Mapped[int]
    seed: Mapped[int]
    method: Mapped[str]
    gravity: Mapped[float]
    error: Mapped[float | None] = outcome()
    energy: Mapped[float | None] = outcome()


def values_of(count: int) -> Iterator[dict[str, Any]]:
    """Yield what the runs have: parameters, outcomes, custom data."""
    random.seed(1)
    for i in range(count):
        alpha = random.lognormvariate(0, 1)
        yield {
            "alpha": alpha, "beta": random.random(), "size": i % 50, "seed": i, "method": f"m{i % 4}", "gravity": 9.81,
            "error": alpha * random.random(), "energy": random.gauss(0, 1), "tag": f"t{i % 7}",
        }  # fmt: skip


def make(folder: Path, count: int) -> None:
    """Fill a store with rows, without running anything: what is measured only reads."""
    store = Store(print, Run, folder / "results", ".json", f"sqlite:///{folder / 'runs.sqlite3'}")
    result = folder / "result.json"
    result.write_text("1")
    keys = random.Random(2)
    start = datetime(2026, 1, 1)
    made = enumerate(values_of(count))
    with context_of(store).database.engine.begin() as connection:
        while some := list(islice(made, 10_000)):
            rows, claims = [], []
            for i, values in some:
                id = f"{keys.getrandbits(64):016x}"
                custom = {"elapsed_seconds": keys.random(), "tag": values.pop("tag")}
                rows.append({"id": id, "result_file": str(result), "created_at": start + timedelta(seconds=i),
                             "custom_data": custom, **values})  # fmt: skip
                claims.append({"id": id, "model": "runs", "attempt": "1-0000000a", "state": "idle",
                               "registered": str(result), "size": 1, "mtime_ns": 1})  # fmt: skip
            connection.execute(sa.insert(Run.__table__), rows)
            connection.execute(sa.insert(ledger), claims)


ROWS = ":is(.preview, .tabulator-tableholder) .tabulator-row"  # which are shown before the table is built
PLOT = "#chart[data-state=drawn]"
_SORT = """name => new Promise(resolve => {
  const first = () => document.querySelector(".tabulator-tableholder .tabulator-row .id")?.title;
  const head = `.tabulator-col[tabulator-field=${name}]`;
  const before = first();
  const began = performance.now();
  const look = () => {
    if (document.querySelector(`${head}[aria-sort=ascending]`) && first() && first() !== before) {
      setTimeout(() => resolve((performance.now() - began) / 1000));
    } else requestAnimationFrame(look);
  };
  document.querySelector(`${head} button.name`).click();
  requestAnimationFrame(look);
})"""


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """Serve the page of a store in a process of its own; yields its address, with the token, and the process's id."""
    command = [sys.executable, "-m", "entropic", "ui", "--no-browser", "--port", "0"]
    command += ["--db", f"sqlite:///{folder / 'runs.sqlite3'}", "--results", str(folder / "results")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield next(line.strip() for line in server.stdout if line.startswith("http")), server.pid
    finally:
        server.terminate()
        server.wait()


def measured(page: Page, url: str) -> dict[str, list[float]]:
    """Return what each look took."""
    address = url.partition("?")[0]
    found: dict[str, list[float]] = {"first rows, empty cache": [seen(page, url, ROWS)]}
    found["first rows"] = [seen(page, address, ROWS) for _ in range(5)]
    found["a sorted page"] = []
    for name in ("alpha", "energy", "alpha", "energy"):
        seen(page, address, ROWS)
        page.wait_for_timeout(1_000)  # until what else a page asks at first is answered
        found["a sorted page"].append(page.evaluate(_SORT, name))
    scatter = f"{address}explore?x=alpha&y=error&c=energy&logx=1"
    found["a scatter plot of all points"] = [seen(page, scatter, PLOT) for _ in range(4)]
    return found


def main() -> None:
    """Make, serve, look, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    count = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name, sync_playwright() as running:
        make(Path(name), count)
        browser = chromium(running)
        with served(Path(name)) as (url, server):
            build_opener(HTTPCookieProcessor()).open(url).read()
            before = memory(server)
            found = measured(browser.new_page(viewport={"width": 1400, "height": 900}), url)
            after = memory(server)
        browser.close()
    print(f"{count:,} runs")
    for what, took in found.items():
        print(f"  {what:32} {statistics.median(took):6.2f} s  ({min(took):.2f} to {max(took):.2f})")
    print(f"  {'memory of the server':32} {before / 1e6:6.0f} MB at first, {after / 1e6:.0f} MB at the end")


if __name__ == "__main__":
    main()
