"""A program that a run has started ends with it: by a timeout, Ctrl-C, and the death of the worker or of the sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.models import PATIENCE, SimResult, gone, wait_until
from entropic import RunTimeout, Store, command

pytestmark = pytest.mark.slow
# It refuses to end when it is asked to, and has a child.
STUBBORN = "trap '' TERM INT; sleep 600 & echo $! > pids.new; echo $$ >> pids.new; mv pids.new {pids}; wait; wait"
SCRIPT = """
import sys
from entropic import Base, Mapped, Store, command

class SimResult(Base):
    __tablename__ = "sim_results"
    n: Mapped[int]
    dt: Mapped[float]

if __name__ == "__main__":
    store = Store(command(["sh", "-c", sys.argv[1]]), SimResult, "results", ".txt", "sqlite:///db.sqlite3")
    store.sweep([{"n": 1, "dt": 0.5}], workers=int(sys.argv[2]) or None)
"""


def stubborn(folder: Path) -> str:
    return STUBBORN.format(pids=folder / "pids")


def pids_in(folder: Path) -> list[int]:
    """Wait until the program runs, and return its pids."""
    wait_until((folder / "pids").exists)
    return [int(line) for line in (folder / "pids").read_text().split()]


@pytest.fixture
def sweeping(tmp_path: Path) -> Any:
    """A process that sweeps, and the pids of what its program has started."""
    (tmp_path / "script.py").write_text(SCRIPT)

    def start(workers: int) -> tuple[subprocess.Popen[bytes], list[int]]:
        line = [sys.executable, "script.py", stubborn(tmp_path), str(workers)]
        process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
        return process, pids_in(tmp_path)

    return start


def store_in(folder: Path) -> Store[SimResult]:
    url = f"sqlite:///{folder / 'db.sqlite3'}"
    return Store(command("echo {n}"), SimResult, folder / "results", ".txt", url)


@pytest.mark.parametrize(("workers", "name"), [(1, "SIGKILL"), (1, "SIGINT"), (0, "SIGINT"), (0, "SIGTERM")])
def test_it_ends_with_the_sweep(sweeping: Any, tmp_path: Path, workers: int, name: str) -> None:
    process, pids = sweeping(workers)
    process.send_signal(getattr(signal, name))
    process.wait()
    wait_until(lambda: all(map(gone, pids)))
    assert store_in(tmp_path).run_or_retrieve({"n": 1, "dt": 0.5}).n == 1
    assert store_in(tmp_path).check().ok


@pytest.mark.parametrize("running", [False, True], ids=["before it runs", "when it runs"])
def test_an_interrupt_while_it_is_started_ends_it(tmp_path, monkeypatch, running):
    met = threading.Event()

    def interrupt(_number: int, _frame: object) -> None:
        met.set()
        raise KeyboardInterrupt

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, words: list[str], **options: Any) -> None:
            is_it = Path(words[0]).name == "sh"  # and not git, which tells where the runner comes from
            if is_it and not running:
                self.interrupt()
            super().__init__(words, **options)
            if is_it and running:
                self.interrupt()

        def interrupt(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            assert met.wait(PATIENCE)

    store = Store(
        command(["sh", "-c", stubborn(tmp_path)]), SimResult, tmp_path / "r", ".txt", f"sqlite:///{tmp_path}/d"
    )
    theirs = set(psutil.Process().children())
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.run({"n": 1, "dt": 0.5})
    finally:
        signal.signal(signal.SIGINT, before)
    if (tmp_path / "pids").exists():
        wait_until(lambda: all(map(gone, pids_in(tmp_path))))
    assert not [one for one in psutil.Process().children() if one not in theirs and one.name() == "sh"]


def test_it_ends_with_its_worker(sweeping: Any, tmp_path: Path) -> None:
    process, pids = sweeping(1)
    worker = psutil.Process(pids[-1]).parent()
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    process.wait()
    assert all(map(gone, pids))
    (failure,) = store_in(tmp_path).failures()
    assert "was killed by SIGKILL" in failure.message


def test_it_ends_when_it_takes_too_long(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    solve = command(["sh", "-c", stubborn(tmp_path)])
    store = Store(solve, SimResult, tmp_path / "results", ".txt", url)
    with pytest.raises(RunTimeout):
        store.sweep([{"n": 1, "dt": 0.5}], workers=1, timeout=3)
    assert all(map(gone, pids_in(tmp_path)))
    assert store.check().ok
