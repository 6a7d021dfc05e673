"""Measure round by round: in each round every system does every workload, each in a fresh process.

The systems take turns within a workload, and begin with another one each round, so that whatever the
machine does meanwhile meets them all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from catalog import STORED, Competitor, Workload
from workloads import Order

HERE = Path(__file__).parent
PATIENCE = 300  # seconds; a worker that takes longer counts as crashed


@dataclass(frozen=True)
class Measurement:
    """What one worker reported; no seconds: it crashed, and `error` says how."""

    round: int
    workload: str
    system: str
    seconds: float | None = None
    cpu: float | None = None  # seconds, too, of its processor
    max_rss_kb: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Bench:
    """The systems with their interpreters, and where and how much they are measured."""

    interpreters: dict[Competitor, str]
    workloads: list[Workload]
    folder: Path
    scale: float

    def rounds(self, rounds: int) -> Iterator[Measurement]:
        """Every measurement, as it comes; a system that cannot even be filled is measured no further."""
        systems = list(self.interpreters)
        if any(workload.reads for workload in self.workloads):
            broken = {}
            for system in systems:
                filled = self._work(0, Workload("fill", STORED, reads=True), system)
                if filled.error:
                    broken[system] = filled
                    yield filled
            systems = [system for system in systems if system not in broken]
        for workload in self.workloads:
            for system in systems:
                if workload.name == "import" and system.does(workload):
                    self._import(0, system)  # not measured: it compiles what was changed since
        for number in range(1, rounds + 1):
            turn = number % len(systems) if systems else 0
            order = systems[turn:] + systems[:turn]
            for workload in [w for w in self.workloads if number <= w.most_rounds]:
                for system in order:
                    if workload.name == "import" and system.does(workload):
                        yield self._import(number, system)
                    elif system.does(workload):
                        yield self._work(number, workload, system)
            # Only now, so that no system is measured right after the files of another were removed.
            shutil.rmtree(self.folder / str(number), ignore_errors=True)

    def _work(self, number: int, workload: Workload, system: Competitor) -> Measurement:
        parts = ("stored",) if workload.reads else (str(number), workload.name.replace(" ", "-"))
        folder = self.folder.joinpath(*parts, system.name)
        folder.mkdir(parents=True, exist_ok=True)
        order = Order(
            system.module,
            workload.name,
            str(folder),
            count=self._scaled(workload.count),
            stored=self._scaled(STORED),
            seed=number,
        )
        return self._call(number, workload.name, system, "worker.py", json.dumps(asdict(order)))

    def _import(self, number: int, system: Competitor) -> Measurement:
        return self._call(number, "import", system, "import_time.py", str(system.imports))

    def _call(self, number: int, workload: str, system: Competitor, script: str, argument: str) -> Measurement:
        command = [self.interpreters[system], str(HERE / script), argument]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
                cwd=self.folder,
                env=environment(command[0]),
            )
        except subprocess.TimeoutExpired:
            return Measurement(number, workload, system.name, error=f"not done after {PATIENCE} s")
        if done.returncode != 0:
            print(done.stderr, file=sys.stderr)
            words = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            return Measurement(number, workload, system.name, error=words[-1])
        return Measurement(number, workload, system.name, **json.loads(done.stdout.splitlines()[-1]))

    def _scaled(self, count: int) -> int:
        return max(1, round(count * self.scale))


def environment(python: str) -> dict[str, str]:
    """The user's own, with a fixed hash seed, and with bytecode kept, as an installed package has it.

    A `PYTHONPATH` is for the project's own interpreter: it would make each version of entropic that of this checkout.
    """
    left_out = {"PYTHONDONTWRITEBYTECODE"} if python == sys.executable else {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}
    return {**{name: value for name, value in os.environ.items() if name not in left_out}, "PYTHONHASHSEED": "0"}
