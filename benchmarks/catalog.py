"""The systems and the workloads by name: who is compared, in what, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

STORED = 2_000
"""Rows in the store that hits, looks and cached sweeps meet."""


@dataclass(frozen=True)
class Workload:
    """One row of the table."""

    name: str
    count: int  # operations in one pass; a cached sweep takes all that is stored
    reads: bool = False  # from a folder that was filled once; the others get an empty one each time
    most_rounds: int = 1_000  # for what takes long and varies little


@dataclass(frozen=True)
class Competitor:
    """One column of the table."""

    name: str
    module: str  # in systems/
    package: str | None = None  # whose version is shown
    requirements: tuple[str, ...] = ()  # none: it lives in the project's own environment
    like_project: tuple[str, ...] = ()  # packages in the very version that the project has
    imports: str | None = None  # what `import` times
    dask: bool = False
    executors: bool = False  # whether it also runs sweeps on workers and pools
    server: bool = False  # whether it needs the server that `run.py` starts

    def does(self, workload: Workload) -> bool:
        """Whether the system has a figure for this workload."""
        if workload.name == "import":
            return self.imports is not None
        if workload.name == "dask sweep":
            return self.dask
        return self.executors or workload.name not in ("workers sweep", "pool sweep")


WORKLOADS = (
    Workload("hit", 200, reads=True),
    Workload("retrieve miss", 200, reads=True),
    Workload("miss", 150),
    Workload("cached sweep", STORED, reads=True),
    Workload("new sweep", 800),
    Workload("eight at once", 800),
    Workload("workers sweep", 3_000, most_rounds=3),
    Workload("pool sweep", 3_000, most_rounds=3),
    Workload("dask sweep", 2_000, most_rounds=3),
    Workload("import", 1),
)

LIMIT = Competitor("limit", "bare_sqlite", imports="sqlalchemy.orm", dask=True, executors=True)

COMPETITORS = (
    Competitor("entropic", "entropic_store", "entropic", imports="entropic", dask=True, executors=True),
    Competitor(
        "2.3.0",
        "entropic_store",
        "entropic",
        ("entropic==2.3.0", "sqlalchemy>=2.0.49", "distributed>=2026.3"),
        like_project=("sqlalchemy", "distributed"),
        imports="entropic",
        dask=True,
    ),
    Competitor("postgresql", "entropic_postgresql", server=True),
    LIMIT,
    Competitor("joblib", "joblib_memory", "joblib", ("joblib>=1.4",)),
    Competitor("diskcache", "diskcache_cache", "diskcache", ("diskcache>=5.6.3",)),
    Competitor("signac", "signac_project", "signac", ("signac>=2.2",)),
)
