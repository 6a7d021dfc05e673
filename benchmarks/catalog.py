"""The systems and the workloads by name: who is compared, in what, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    looks: bool = True  # whether it can look without running
    dask: bool = False
    executors: bool = False  # whether it also runs sweeps on workers and pools
    server: bool = False  # whether it needs the server that `run.py` starts

    def does(self, workload: Workload) -> bool:
        """Whether the system has a figure for this workload."""
        if workload.name == "import":
            return self.imports is not None
        if workload.name == "retrieve miss":
            return self.looks
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

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "1a50d3d0273409d3a3a87294022746b12a38e226"
"""The commit that the goals of speed were set against: it is installed from the history of this checkout."""

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
    Competitor(
        "before",
        "entropic_store",
        requirements=(f"git+{ROOT.as_uri()}@{BEFORE}", "sqlalchemy>=2.0.49", "distributed>=2026.3"),
        like_project=("sqlalchemy", "distributed"),
    ),
    Competitor("postgresql", "entropic_postgresql", server=True),
    LIMIT,
    Competitor("joblib", "joblib_memory", "joblib", ("joblib>=1.4",)),
    Competitor("diskcache", "diskcache_cache", "diskcache", ("diskcache>=5.6.3",)),
    Competitor("signac", "signac_project", "signac", ("signac>=2.2",)),
    Competitor("furu", "furu_artifacts", "furu", ("furu==0.0.12",)),  # later ones need a later Python
    Competitor("cachau", "cachau_cache", "cachau", ("cachau>=0.7",)),
    Competitor("cachier", "cachier_pickles", "cachier", ("cachier>=4.2",), looks=False),
)

FILES = "files"
KINDS = ("sqlite", "postgresql", "mariadb")
"""The kinds of databases that crowds are measured on."""


@dataclass(frozen=True)
class Crowd:
    """A system by which many processes share the same sets."""

    name: str
    module: str  # in crowds/
    kinds: tuple[str, ...]  # of databases; or FILES, if it has none
    requirements: tuple[str, ...] = ()  # none: it lives in the project's own environment


CROWDS = (
    Crowd("entropic", "entropic_sweep", KINDS),
    Crowd("optuna", "optuna_trials", ("sqlite", "postgresql"), ("optuna>=5", "psycopg[binary]>=3.3")),
    Crowd("jug", "jug_tasks", (FILES,), ("jug>=2.7",)),
    Crowd("furu", "furu_artifacts", (FILES,), ("furu==0.0.12",)),  # later ones need a later Python
)
