"""How fast the page is with many runs: first rows, a sorted page, a scatter plot of all points.

    python benchmarks/page.py --runs 100000

Makes a store of as many rows as are asked for in a temporary folder, serves its page in a process of its own, and opens
it in the system's Chromium (Debian: chromium; and `pip install playwright`). Prints seconds, medians of several.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import psutil
import sqlalchemy as sa
from playwright.sync_api import Page, expect, sync_playwright

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


def make(folder: Path, count: int) -> None:
    """Fill a store with rows, without running anything: what is measured only reads."""
    store = Store(print, Run, folder / "results", ".json", f"sqlite:///{folder / 'runs.sqlite3'}")
    result = folder / "result.json"
    result.write_text("1")
    random.seed(1)
    start = datetime(2026, 1, 1)
    with context_of(store).database.engine.begin() as connection:
        for first in range(0, count, 10_000):
            rows, claims = [], []
            for i in range(first, min(first + 10_000, count)):
                id = f"{random.getrandbits(64):016x}"
                alpha = random.lognormvariate(0, 1)
                rows.append({
                    "id": id, "result_file": str(result), "created_at": start + timedelta(seconds=i),
                    "custom_data": {"elapsed_seconds": random.random(), "tag": f"t{i % 7}"}, "alpha": alpha,
                    "beta": random.random(), "size": i % 50, "seed": i, "method": f"m{i % 4}", "gravity": 9.81,
                    "error": alpha * random.random(), "energy": random.gauss(0, 1),
                })  # fmt: skip
                claims.append({"id": id, "model": "runs", "attempt": "1-0000000a", "state": "idle",
                               "registered": str(result), "size": 1, "mtime_ns": 1})  # fmt: skip
            connection.execute(sa.insert(Run.__table__), rows)
            connection.execute(sa.insert(ledger), claims)


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def measured(page: Page, address: str, url: str) -> dict[str, list[float]]:
    """Return what each look took."""
    found: dict[str, list[float]] = {}

    def note(name: str, took: float) -> None:
        found.setdefault(name, []).append(took)

    row = page.locator(".tabulator-tableholder .tabulator-row")

    def first(at: str) -> None:
        page.goto(at)
        expect(row.first).to_be_visible(timeout=120_000)

    note("first rows, empty cache", seconds(lambda: first(url)))
    for _ in range(5):
        page.goto("about:blank")
        note("first rows", seconds(lambda: first(address)))
    for name in ("alpha", "energy", "alpha", "energy"):

        def sort(name: str = name) -> None:
            with page.expect_response(lambda answer: "/api/rows" in answer.url and f"sort={name}" in answer.url):
                page.get_by_role("button", name=name, exact=True).click()
            expect(page.locator(f".tabulator-col[tabulator-field={name}][aria-sort=ascending]")).to_be_visible()

        first(address)
        note("a sorted page", seconds(sort))

    def scatter() -> None:
        page.goto(f"{address}explore?x=alpha&y=error&c=energy&logx=1")
        expect(page.locator("#chart[data-state=drawn]")).to_be_visible(timeout=120_000)

    for _ in range(4):
        page.goto("about:blank")
        note("a scatter plot of all points", seconds(scatter))
    return found


def main() -> None:
    """Make, serve, look, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    count = parser.parse_args().runs
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, count)
        command = [sys.executable, "-m", "entropic", "ui", "--no-browser", "--port", "0"]
        command += ["--db", f"sqlite:///{folder / 'runs.sqlite3'}", "--results", str(folder / "results")]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = next(line.strip() for line in server.stdout if line.startswith("http"))
            build_opener(HTTPCookieProcessor()).open(url).read()
            before = psutil.Process(server.pid).memory_info().rss
            with sync_playwright() as running:
                browser = running.chromium.launch(
                    executable_path=browser_path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
                )
                found = measured(browser.new_page(viewport={"width": 1400, "height": 900}), url.partition("?")[0], url)
                browser.close()
            after = psutil.Process(server.pid).memory_info().rss
        finally:
            server.terminate()
            server.wait()
    print(f"{count:,} runs")
    for what, took in found.items():
        print(f"  {what:32} {statistics.median(took):6.2f} s  ({min(took):.2f} to {max(took):.2f})")
    print(f"  {'memory of the server':32} {before / 1e6:6.0f} MB at first, {after / 1e6:.0f} MB at the end")


if __name__ == "__main__":
    main()
