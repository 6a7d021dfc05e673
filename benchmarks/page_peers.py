"""Our page beside Optuna's dashboard and MLflow's, with the same runs in each, in one browser.

    python benchmarks/page_peers.py --folder FOLDER

Installs the newest of both into environments of their own in the folder, fills a store, a study and an experiment with
the same parameters and outcomes, serves all three as their commands do by default, and looks at them in turn, in the
system's Chromium (Debian: chromium; and `pip install playwright psutil`). The folder is used again by the next call;
without one, all is made in a temporary folder.

A table counts when its first rows are painted; Optuna's is the list of trials, since nothing comes at the address of
its table. A plot counts when it is painted: entropic's is a scatter plot of all runs, Optuna's the history of all
trials, MLflow's bars of the newest ten runs, as both show first. What has not come after three minutes counts as that.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil
from playwright.sync_api import Error, Page, sync_playwright

from browser import LONGEST, chromium, memory, seen, wait_until_idle
from environments import interpreter_in, version_in
from page import PLOT, ROWS, make, served, values_of

TIMES_FASTER = 5
MEMORY_SHARE = 0.5


@dataclass(frozen=True)
class Peer:
    """Another page that shows runs."""

    package: str
    requirements: tuple[str, ...]
    fill: str  # in peers/
    command: tuple[str, ...]
    table: tuple[str, str]  # where it is, and what names its first row
    plot: tuple[str, str]


PEERS = (
    Peer(
        "optuna-dashboard",
        ("optuna", "optuna-dashboard"),
        "optuna_study.py",
        ("optuna-dashboard", "sqlite:///{database}", "--port", "{port}", "--quiet"),
        ("dashboard/studies/1/trials", "main li .MuiListItemText-primary"),
        ("dashboard/studies/1", "#plot-history .scatterlayer .points path"),
    ),
    Peer(
        "mlflow",
        ("mlflow",),
        "mlflow_runs.py",
        ("mlflow", "server", "--backend-store-uri", "sqlite:///{database}", "--port", "{port}"),
        ("#/experiments/1/runs", ".ag-center-cols-container .ag-row"),
        ("#/experiments/1/runs?compareRunsMode=CHART", ".js-plotly-plot .barlayer .point path"),
    ),
)


@dataclass
class Shown:
    """A page that is served, and what was measured of it."""

    name: str
    pid: int
    table: tuple[str, str]
    plot: tuple[str, str]
    tab: Page
    first_visit: float = 0.0
    tables: list[float] | None = None
    plots: list[float] | None = None
    bytes: int = 0


def filled(peer: Peer, folder: Path, runs: Path) -> tuple[str, Path]:
    """Return the interpreter of a peer and its database, with the runs in it."""
    python = interpreter_in(folder / f"venv-{peer.package}", peer.requirements)
    database = folder / f"{runs.stem}-{peer.package}.sqlite3"
    if not database.exists():
        print(f"filling {database} ...", file=sys.stderr, flush=True)
        half = folder / "half.sqlite3"
        for one in folder.glob("half.sqlite3*"):
            one.unlink()
        program = Path(__file__).parent / "peers" / peer.fill
        subprocess.run([python, str(program), str(runs), str(half)], check=True, cwd=folder, env=_quiet())
        half.rename(database)
    return python, database


@contextmanager
def peer_served(peer: Peer, python: str, database: Path) -> Iterator[tuple[str, int]]:
    """Serve a peer's page as its command does; yields its address and the process's id."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    name, *rest = (part.format(database=database, port=port) for part in peer.command)
    command = [str(Path(python).parent / name), *rest]
    with (database.parent / f"{peer.package}.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=database.parent, env=_quiet())
        try:
            _wait_for(f"http://127.0.0.1:{port}/", server)
            yield f"http://127.0.0.1:{port}/", server.pid
        finally:
            theirs = psutil.Process(server.pid).children(recursive=True)
            server.terminate()
            server.wait()
            for one in psutil.wait_procs(theirs, timeout=10)[1]:
                one.kill()


def _quiet() -> dict[str, str]:
    """The environment of a peer: it tells nobody that it is used, and finds none of our packages."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + LONGEST / 1000
    while True:
        try:
            urlopen(address, timeout=10).read()
        except OSError:
            if server.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return


def look(pages: list[Shown], rounds: int) -> None:
    """Look at the pages in turn."""
    for one in pages:
        wait_until_idle([other.pid for other in pages])
        one.first_visit = _took(one.tab, one.table)
    for _ in range(rounds):
        for kind in ("table", "plot"):
            for one in pages:
                one.tab.goto("about:blank")
                wait_until_idle([other.pid for other in pages])
                if kind == "table":
                    one.tables = [*(one.tables or ()), _took(one.tab, one.table)]
                else:
                    one.plots = [*(one.plots or ()), _took(one.tab, one.plot)]
                one.tab.goto("about:blank")
    wait_until_idle([one.pid for one in pages])
    for one in pages:
        one.bytes = memory(one.pid)


def _took(tab: Page, what: tuple[str, str]) -> float:
    try:
        return seen(tab, *what)
    except Error as error:
        print(f"{what[0]}: {error.message.splitlines()[0]}", file=sys.stderr)
        return LONGEST / 1000


def tell(pages: list[Shown], heading: str) -> None:
    """Print the figures of all, how often ours fit into the others', and whether that is what was promised."""
    ours, *theirs = pages
    print(heading)
    print(f"{'':28}" + "".join(f"{one.name:>28}" for one in pages))
    rows = {
        "first table, first visit": [[one.first_visit] for one in pages],
        "first table": [one.tables or [] for one in pages],
        "first plot": [one.plots or [] for one in pages],
        "memory of the server": [[one.bytes / 1e6] for one in pages],
    }
    for what, figures in rows.items():
        first = statistics.median(figures[0])
        cells = []
        for i, several in enumerate(figures):
            middle = statistics.median(several)
            text = f"{middle:.0f} MB" if what.startswith("memory") else f"{middle:.2f} s"
            cells.append(text if i == 0 else f"{text} ({middle / first:.1f} times)")
        print(f"{what:28}" + "".join(f"{cell:>28}" for cell in cells))
    for what in ("first table", "first plot"):
        least = min(statistics.median(some) for some in rows[what][1:]) / statistics.median(rows[what][0])
        print(f"{what}: {least:.1f} times faster than the faster: {_met(least >= TIMES_FASTER)}")
    share = ours.bytes / min(one.bytes for one in theirs)
    print(f"memory: {share:.2f} of the smaller: {_met(share <= MEMORY_SHARE)}")
    for what, figures in rows.items():
        if len(figures[0]) > 1:
            told = (
                f"{one.name} {min(some):.2f} to {max(some):.2f} s" for one, some in zip(pages, figures, strict=True)
            )
            print(f"range of {what}: {'; '.join(told)}")


def _met(is_met: bool) -> str:
    return "as promised" if is_met else "NOT as promised"


def main() -> None:
    """Make what is not made yet, serve all, look, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where all is made, and kept for the next call")
    parser.add_argument("--fill-only", action="store_true", help="make all, and look at nothing")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = (asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        runs, own = folder / f"runs-{asked.runs}.json", folder / f"entropic-{asked.runs}"
        if not runs.exists():  # which is written last
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir()
            make(own, asked.runs)
            runs.write_text(json.dumps(list(values_of(asked.runs))))
        ready = [(peer, *filled(peer, folder, runs)) for peer in PEERS]
        if asked.fill_only:
            return
        browser = chromium(stack.enter_context(sync_playwright()))
        stack.callback(browser.close)

        def tab() -> Page:
            return browser.new_context(viewport={"width": 1400, "height": 900}).new_page()

        url, pid = stack.enter_context(served(own))
        address = url.partition("?")[0]
        ours = Shown("entropic", pid, (url, ROWS), (f"{address}explore?x=seed&y=error", PLOT), tab())
        pages = [ours]
        for peer, python, database in ready:
            base, pid = stack.enter_context(peer_served(peer, python, database))
            name = f"{peer.package} {version_in(python, peer.package)}"
            table, plot = ((base + where, what) for where, what in (peer.table, peer.plot))
            pages.append(Shown(name, pid, table, plot, tab()))
        look(pages, asked.rounds)
        tell(pages, f"{asked.runs:,} runs, medians of {asked.rounds}, Chromium {browser.version}")


if __name__ == "__main__":
    main()
