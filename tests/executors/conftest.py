"""Processes that sweep: started, heard, and surely ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.models import PATIENCE, ActingRunner, gone
from databases import Place, Servers
from entropic.executors import scheduler
from executors import acts
from slurm_cluster import LOOK, Cluster, present, shared

HERE = Path(__file__).parent


class Sweeper:
    """A process that runs `sweeper.py`, in a session of its own."""

    def __init__(self, folder: Path, name: str, order: dict[str, Any]) -> None:
        self.log = Path(order["log"])
        self._out, self._err = folder / f"out of {name}", folder / f"err of {name}"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "sweeper.py"), json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")])),
                },
            )

    def said(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for its good end; return what it said of its sweep."""
        assert self.status(seconds) == 0, self.err()
        return json.loads(self._out.read_text())

    def status(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; return its exit code, negative for a signal."""
        return self.process.wait(seconds)

    def err(self) -> str:
        return self._err.read_text()

    def workers(self) -> set[int]:
        """The pids of the processes in which something ran, without that of the test."""
        return {int(line.split()[0]) for line in acts.lines(self.log)} - {os.getpid()}

    def left(self) -> set[int]:
        """The pids of all that is still alive of it, beside itself."""
        found = {pid for pid in self.workers() if not gone(pid)}
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid and not gone(process.pid):
                    found.add(process.pid)
            except ProcessLookupError:
                pass
        return found - {self.process.pid}

    def end(self) -> None:
        """End whatever is left."""
        for pid in {self.process.pid, *self.left()}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A file: what executors do is the same on every database."""
    return Place.on_sqlite(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where each run leaves a line."""
    return tmp_path / "log"


@pytest.fixture
def acting(open_store: Any, log: Path) -> Any:
    """Open a store whose runner does this for these `n`."""
    return lambda some=(): open_store(run=ActingRunner(log, dict(some)))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start a process that sweeps over the store of this test; see `sweeper.py` for what it may be told."""
    started: list[Sweeper] = []

    def do(ns: Any, **order: Any) -> Sweeper:
        name = f"sweeper {len(started)}"
        full = {"folder": str(tmp_path), "ns": list(ns), "log": str(tmp_path / "log"), **order}
        started.append(Sweeper(tmp_path, name, full))
        return started[-1]

    yield do
    for sweeper in started:
        sweeper.end()


@pytest.fixture
def slurm(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, with no jobs on it."""
    cluster = present(lambda: shared(servers))
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    monkeypatch.setattr(scheduler, "POLL_SECONDS", LOOK)
    yield cluster
    cluster.clear()
