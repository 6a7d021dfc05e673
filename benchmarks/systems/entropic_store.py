"""entropic by its public API: the checkout and the published 2.3.0 run these same lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from entropic import Base, Mapped, Store
from experiment import RESULT, Params, run_to_file


class Result(Base):
    """The row of one run."""

    __tablename__ = "results"

    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


class System:
    """One store with its defaults, on SQLite unless the URL of another database is given."""

    def __init__(self, folder: Path, db_url: str | None = None) -> None:
        self.store = Store(
            run_to_file,
            Result,
            results_dir=folder / "results",
            file_suffix=".bin",
            db_url=db_url or f"sqlite:///{folder / 'db.sqlite3'}",
        )
        self.get = self.store.run_or_retrieve  # bound once: the harness adds no call of its own
        self.look = self.store.retrieve
        self.sweep = self.store.sweep

    def sweep_on(self, client: Any, sets: list[Params]) -> list[Result]:
        return self.store.sweep(sets, client=client)

    def sweep_in_workers(self, sets: list[Params]) -> list[Result]:
        return self.store.sweep(sets, workers=2)

    def sweep_in_pool(self, pool: Any, sets: list[Params]) -> list[Result]:
        return self.store.sweep(sets, pool)

    def match(self, answers: list[Result], sets: list[Params]) -> bool:
        """Whether these rows are those of the sets, in any order: 2.3.0 promises none."""
        stored = sorted((row.n, row.dt, row.name) for row in answers)
        asked = sorted((params["n"], params["dt"], params["name"]) for params in sets)
        return stored == asked and all(Path(row.result_file).read_bytes() == RESULT for row in answers)
