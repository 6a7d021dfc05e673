"""Models and runners shared by the tests; importable as `contract.models`, by child processes too."""

from __future__ import annotations

import datetime
import enum
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import JSON, Computed

from entropic import Base, Mapped, mapped_column


class SimResult(Base):
    __tablename__ = "sim_results"

    n: Mapped[int]
    dt: Mapped[float]


class OtherResult(Base):
    """The same columns as `SimResult` in another table."""

    __tablename__ = "other_results"

    n: Mapped[int]
    dt: Mapped[float]


class LooseResult(Base):
    """Columns that a parameter set may leave out, and one that holds anything JSON."""

    __tablename__ = "loose_results"

    name: Mapped[str]
    note: Mapped[str | None]
    level: Mapped[int] = mapped_column(default=3)
    mode: Mapped[str] = mapped_column(server_default="fast")
    twice: Mapped[int] = mapped_column(Computed("level * 2"))
    flag: Mapped[bool] = mapped_column(default=False)
    grid: Mapped[Any] = mapped_column(JSON, default=None, nullable=True)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Scale(float, enum.Enum):
    HALF = 0.5
    FULL = 1.0


class Nested(enum.Enum):
    PAIR = (1, 2.0)
    OTHER = Colour.RED


def write_params(params: dict[str, Any]) -> None:
    """Write what the runner was given as JSON."""
    Path(params["result_file"]).write_text(json.dumps(params, default=str))


class CountingRunner:
    """Writes its params as JSON; `calls` holds a copy of each dict it was given, `during` runs inside each call."""

    def __init__(self, during: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self.during = during

    def __call__(self, params: dict[str, Any]) -> None:
        self.calls.append(dict(params))
        write_params(params)
        if self.during is not None:
            self.during(params)

    @property
    def ns(self) -> list[Any]:
        """The `n` of every call, in order."""
        return [call["n"] for call in self.calls]


class LoggingRunner:
    """Writes its params and one line `pid n` for each call to a log, so that other processes can be counted."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, params: dict[str, Any]) -> None:
        with self.log.open("a") as log:
            log.write(f"{os.getpid()} {params['n']}\n")
        write_params(params)

    def lines(self) -> list[tuple[int, int]]:
        text = self.log.read_text() if self.log.exists() else ""
        return [(int(pid), int(n)) for pid, n in (line.split() for line in text.splitlines())]


class ActingRunner(LoggingRunner):
    """As `LoggingRunner`; between the line and the result it does what `acts` says for that `n`."""

    def __init__(self, log: Path, acts: Mapping[int, Callable[[dict[str, Any]], None]]) -> None:
        super().__init__(log)
        self.acts = dict(acts)

    def __call__(self, params: dict[str, Any]) -> None:
        with self.log.open("a") as log:
            log.write(f"{os.getpid()} {params['n']}\n")
        if params["n"] in self.acts:
            self.acts[params["n"]](params)
        write_params(params)

    def ns(self) -> list[int]:
        """The `n` of every call, in order."""
        return [n for _, n in self.lines()]


class Refused(Exception):
    """What `refuse` raises: two arguments, and both come back from another process."""


def refuse(params: dict[str, Any]) -> None:
    raise Refused(f"refused {params['n']}", params["n"])


def write_folder(params: dict[str, Any]) -> None:
    """Leave a folder as the result, with a file of five bytes deep in it."""
    folder = Path(params["result_file"])
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "0.0").write_text("chunk")


def write_with_log(params: dict[str, Any]) -> None:
    """Leave a log beside a result of one byte."""
    Path(params["result_file"]).write_text("x")
    Path(params["result_file"]).with_name("solver.log").write_text("converged")


def content(row: Base) -> dict[str, Any]:
    """Read the params that `write_params` left in the result of `row`."""
    return json.loads(Path(row.result_file).read_text())


PATIENCE = 90.0  # seconds; whatever must happen happens sooner, however loaded the machine is


def wait_until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Return as soon as `condition()` holds; fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition never came true"
        time.sleep(0.005)


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has, whoever may reap it)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def run_python(code: str, *args: object, **env: str) -> str:
    """Run `code` in a fresh interpreter that can import this module; return what it prints."""
    tests, paths = Path(__file__).parent.parent, filter(None, [os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *paths]), **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Phase(enum.Enum):
    SOLID = "s"
    LIQUID = "l"


class TypedResult(Base):
    """One column of each kind that can refuse a value, or whose value is more than its JSON."""

    __tablename__ = "typed_results"

    count: Mapped[int] = mapped_column(default=0)
    size: Mapped[float] = mapped_column(default=0.0)
    title: Mapped[str] = mapped_column(default="")
    flag: Mapped[bool] = mapped_column(default=False)
    day: Mapped[datetime.date] = mapped_column(default=datetime.date(2024, 1, 2))
    moment: Mapped[datetime.datetime] = mapped_column(default=datetime.datetime(2024, 1, 2))
    raw: Mapped[bytes] = mapped_column(default=b"")
    phase: Mapped[Phase] = mapped_column(default=Phase.SOLID)
    tree: Mapped[Any] = mapped_column(JSON, default=None, nullable=True)


def run_at_once(target: Callable[..., None], url: str, folder: Path, count: int, meanwhile: Callable[[], Any]) -> None:
    """Do something here while so many new processes do `target(url, folder, together, part)`, each another part.

    All of them, and this one, begin once they have met at `together.wait(300)`.
    """
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(count + 1)
    children = [context.Process(target=target, args=(url, folder, together, part)) for part in range(count)]
    for child in children:
        child.start()
    together.wait(300)
    meanwhile()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * count
