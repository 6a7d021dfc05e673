"""furu: every process gets all artifacts, beginning with another one each.

It would look only every ten seconds whether another process is done with one; here, a thousand times as often.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("FURU_RECORD_GIT", "ignore")
os.environ.setdefault("FURU_LOG_LEVEL", "WARNING")
os.environ.setdefault("FURU_POLL_INTERVAL_SECS", "0.01")

import furu

from crowds.logged import compute
from experiment import Params


class Experiment(furu.Furu[bytes]):
    """The parameters of one run."""

    n: int = furu.chz.field()
    dt: float = furu.chz.field()
    name: str = furu.chz.field()

    def _create(self) -> bytes:
        result = compute(self.n)
        (self.furu_dir / "out").write_bytes(result)
        return result

    def _load(self) -> bytes:
        return (self.furu_dir / "out").read_bytes()


class Crowd:
    """Artifacts below one folder."""

    def __init__(self, folder: Path, url: str, sets: list[Params], member: int) -> None:
        furu.set_furu_root(folder / "furu")
        self.sets, self.first = sets, 157 * member % len(sets)

    def prepare(self) -> None:
        """Nothing."""

    def take_part(self) -> None:
        for params in self.sets[self.first :] + self.sets[: self.first]:
            Experiment(**params).get()

    def results(self) -> list[bytes]:
        return [Experiment(**params).load_existing() for params in self.sets]
