"""furu: an artifact for each set, with its result in a file `out` of the artifact's folder.

What it would say of git is left out, and its console is silent: both cost it time.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("FURU_RECORD_GIT", "ignore")
os.environ.setdefault("FURU_LOG_LEVEL", "WARNING")

import furu

from experiment import RESULT, Params, compute


class Experiment(furu.Furu[bytes]):
    """The parameters of one run."""

    n: int = furu.chz.field()
    dt: float = furu.chz.field()
    name: str = furu.chz.field()

    def _create(self) -> bytes:
        result = compute()
        (self.furu_dir / "out").write_bytes(result)
        return result

    def _load(self) -> bytes:
        return (self.furu_dir / "out").read_bytes()


class System:
    """Artifacts below one folder."""

    def __init__(self, folder: Path) -> None:
        furu.set_furu_root(folder)

    def get(self, params: Params) -> bytes:
        return Experiment(**params).get()

    def look(self, params: Params) -> bytes | None:
        experiment = Experiment(**params)
        return experiment.load_existing() if experiment.exists() else None

    def sweep(self, sets: list[Params]) -> list[bytes]:
        return [self.get(params) for params in sets]

    def match(self, answers: list[bytes], sets: list[Params]) -> bool:
        return answers == [RESULT] * len(sets)
