"""Everything in one script: its runners ask stores of the script, whose models no worker can import."""

from __future__ import annotations

import pytest

from contract.models import run_python

SCRIPT = """if True:
    import enum, json, os, sys, warnings
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    import sqlalchemy as sa
    from sqlalchemy.ext.hybrid import hybrid_property
    from entropic import Base, Mapped, Store, mapped_column

    folder, executor = sys.argv[1:3]

    class Phase(enum.Enum):
        SOLID = 1
        LIQUID = 2

    class Celsius(sa.TypeDecorator):
        impl, cache_ok = sa.Float, True

        def process_bind_param(self, value, dialect):
            return None if value is None else value + 273.25

        def process_result_value(self, value, dialect):
            return None if value is None else value - 273.25

    def half():
        return 0.5

    class Step(Base):
        __tablename__ = "steps"
        __table_args__ = (sa.UniqueConstraint("n", "phase"), Base.__table_args__)

        n: Mapped[int]
        phase: Mapped[Phase]
        heat: Mapped[float] = mapped_column("heat_k", Celsius, default=half)

        def older(self):
            return steps.run_or_retrieve({"n": self.n - 1, "phase": self.phase})

        @hybrid_property
        def twice(self):
            return 2 * self.n

        @classmethod
        def name(cls):
            return cls.__name__ + Step.__tablename__

    class Total(Base):
        __tablename__ = "totals"

        n: Mapped[int]

    def step(params):
        with open(params["result_file"], "w") as file:
            json.dump(params["n"], file)

    def total(params):
        row = steps.run_or_retrieve({"n": params["n"], "phase": Phase.LIQUID})
        assert type(row) is Step and row.phase is Phase.LIQUID and row.heat == 0.5 and row.twice == 2 * row.n
        assert row.name() == "Stepsteps"
        row.custom_data["seen"] = True
        assert sa.inspect(row).modified
        older = row.older() if row.n else None
        smaller = totals.run_or_retrieve({"n": params["n"] - 1}) if params["n"] % 4 else None
        found = [row.n, older and older.n, smaller and json.load(open(smaller.result_file))[0], os.getpid()]
        with open(params["result_file"], "w") as file:
            json.dump(found, file)

    if executor in ("workers", "pool"):  # Dask warns of itself
        warnings.simplefilter("error")
    place = (f"{folder}/results", ".json", f"sqlite:///{folder}/db.sqlite3")
    steps, totals = Store(step, Step, *place), Store(total, Total, *place)
    for sets in ([{"n": n} for n in (0, 4, 8)], [{"n": n} for n in (1, 5, 9)]):
        if executor == "workers":
            rows = totals.sweep(sets, workers=2)
        elif executor == "pool":
            with ProcessPoolExecutor(2, get_context("spawn")) as pool:
                rows = totals.sweep(sets, pool)
        else:
            from distributed import Client, LocalCluster
            with LocalCluster(n_workers=2, threads_per_worker=1, processes=executor == "cluster",
                              dashboard_address=":0", local_directory=folder) as cluster, Client(cluster) as client:
                rows = totals.sweep(sets, client)
        for row in rows:
            n, older, smaller, pid = totals.load(row)
            assert n == row.n and older == (n - 1 if n else None) and smaller == (n - 1 if n % 4 else None)
            assert (pid == os.getpid()) == (executor == "threads"), "it ran at home"
    assert totals.check().ok and steps.check().ok, (totals.check(), steps.check())
    assert not totals.failures()
    assert steps.retrieve({"n": 3, "phase": Phase.LIQUID}).heat == 0.5
    print("fine")
"""


ON_A_CLUSTER = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]  # one cluster at a time
EXECUTORS = ["workers", "pool", *(pytest.param(one, marks=ON_A_CLUSTER) for one in ("cluster", "threads"))]


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_runners_of_a_script_ask_stores_of_the_script_wherever_they_run(tmp_path, executor):
    if executor in ("cluster", "threads"):
        pytest.importorskip("distributed")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("if True:\n", 'if __name__ == "__main__":\n', 1))
    start = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    assert run_python(start, script, tmp_path, executor).strip().endswith("fine")
