"""entropic: every process sweeps all sets, and gets all rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crowds.logged import compute
from entropic import Base, Mapped, Store
from experiment import Params


class Shared(Base):
    """The row of one run."""

    __tablename__ = "shared_sets"
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


def run_to_file(params: dict[str, Any]) -> None:
    """Run the experiment."""
    with open(params["result_file"], "wb") as file:
        file.write(compute(params["n"]))


class Crowd:
    """One store with its defaults."""

    def __init__(self, folder: Path, url: str, sets: list[Params], member: int) -> None:
        self.store = Store(run_to_file, Shared, folder / "results", ".bin", url)
        self.sets = sets

    def prepare(self) -> None:
        """Opening it has made its tables."""

    def take_part(self) -> None:
        rows = self.store.sweep(self.sets)
        assert [row.n for row in rows] == [params["n"] for params in self.sets]

    def results(self) -> list[bytes]:
        return [Path(self.store.retrieve(params).result_file).read_bytes() for params in self.sets]
