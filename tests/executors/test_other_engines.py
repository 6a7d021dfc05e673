"""Engines that are not ours: those that are no executors are refused with the lines to write, others get on with us.

`benchmarks/engines.py` tries whole sweeps on each engine, also on those that are no packages of these tests.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest

from entropic import ParameterError
from entropic.executors import instead
from executors import acts

CLUSTERS = Path(__file__).parents[2] / "docs" / "clusters.md"


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


# ---- what is no executor -----------------------------------------------------------------------------------------
@contextmanager
def pool_of_processes(folder: Path) -> Iterator[Any]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


@contextmanager
def pool_of_threads(folder: Path) -> Iterator[Any]:
    with ThreadPool(1) as pool:
        yield pool


@contextmanager
def mpire(folder: Path) -> Iterator[Any]:
    with pytest.importorskip("mpire").WorkerPool(1) as pool:
        yield pool


@contextmanager
def joblib(folder: Path) -> Iterator[Any]:
    yield pytest.importorskip("joblib").Parallel(2)


@contextmanager
def submitit(folder: Path) -> Iterator[Any]:
    yield pytest.importorskip("submitit").LocalExecutor(folder)


@contextmanager
def submitit_by_itself(folder: Path) -> Iterator[Any]:
    yield pytest.importorskip("submitit").AutoExecutor(folder, cluster="local")


@contextmanager
def cluster_of_dask(folder: Path) -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster:
        yield cluster


@contextmanager
def parsl(folder: Path) -> Iterator[Any]:
    yield made("parsl.dataflow.dflow", "DataFlowKernel")


@contextmanager
def parsl_executor(folder: Path) -> Iterator[Any]:
    base = type(made("parsl.executors.base", "ParslExecutor"))
    yield type("Mine", (base,), {})()


@contextmanager
def ray(folder: Path) -> Iterator[Any]:
    yield types.ModuleType("ray")


@contextmanager
def pool_of_ray(folder: Path) -> Iterator[Any]:
    yield made("ray.util.multiprocessing.pool", "Pool")


@contextmanager
def ranks(folder: Path) -> Iterator[Any]:
    yield made("mpi4py.MPI", "Intracomm")


@contextmanager
def pool_of_threads_of_multiprocess(folder: Path) -> Iterator[Any]:
    pool = type("Pool", (), {"__module__": "multiprocess.pool"})
    yield type("ThreadPool", (pool,), {"__module__": "multiprocess.pool"})()


@contextmanager
def number(folder: Path) -> Iterator[Any]:
    yield 8


def made(module: str, name: str) -> Any:
    """Return an instance of a class of this name: its library is too heavy for the tests, or starts something."""
    return type(name, (), {"__module__": module})()


REFUSED = {
    pool_of_processes: ("not multiprocessing's Pool: it never says that a process has died", instead.WORKERS),
    pool_of_threads: ("not multiprocessing's ThreadPool: it is not an Executor", instead.THREADS),
    pool_of_threads_of_multiprocess: ("not multiprocess's ThreadPool: it is not an Executor", instead.THREADS),
    mpire: ("not mpire's WorkerPool: it is not an Executor", instead.WORKERS),
    joblib: ("not joblib's Parallel: it is not an Executor", instead.WORKERS),
    submitit: ("not submitit's LocalExecutor: what it calls an executor is not one of Python's", instead.SLURM),
    submitit_by_itself: ("not submitit's AutoExecutor: what it calls", instead.SLURM),
    cluster_of_dask: ("not distributed's LocalCluster: it is the cluster, not its client", instead.DASK),
    parsl: ("not parsl's DataFlowKernel: it is not an Executor", instead.PARSL),
    parsl_executor: ("not Mine: it is not an Executor", instead.PARSL),
    ray: ("not the module ray: it is not an Executor", instead.RAY),
    pool_of_ray: ("not ray's Pool: it is not an Executor", instead.RAY),
    ranks: ("not mpi4py's Intracomm: it is not an Executor", instead.MPI),
    number: ("client must be an executor, not the int 8; for a number of processes", instead.WORKERS),
}


@pytest.mark.parametrize("what", [pytest.param(one, id=one.__name__) for one in REFUSED])
@pytest.mark.filterwarnings("ignore::UserWarning:distributed")
def test_what_is_no_executor_is_refused_at_once_with_the_lines_to_write(acting, log, tmp_path, what):
    why, lines = REFUSED[what]
    store = acting()
    with what(tmp_path) as client:
        for call, more in [(store.sweep, {}), (store.stream, {}), (store.sweep, {"cores": 1, "memory": "4GB"})]:
            with pytest.raises(ParameterError) as refused:
                call(sets(1, 2), client, **more)
            assert why in str(refused.value)
            assert str(refused.value).endswith(textwrap.indent(lines.strip("\n"), "    "))
    assert acts.ns_in(log) == []


def test_what_is_of_no_engine_is_refused_without_lines(acting):
    with pytest.raises(ParameterError, match=r"or an entropic\.slurm\.Slurm, not Fraction$"):
        acting().sweep(sets(1), Fraction(1))


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_the_class_of_an_executor_is_no_executor(acting, kind):
    with pytest.raises(ParameterError, match=rf"not its class.*with {kind.__name__}\(\.\.\.\) as pool"):
        acting().sweep(sets(1), kind)


@pytest.mark.parametrize("lines", [pytest.param(lines, id=name.__name__) for name, (_, lines) in REFUSED.items()])
def test_the_lines_to_write_are_python(lines):
    ast.parse(lines)


@pytest.mark.parametrize("lines", [instead.RAY, instead.PARSL])
def test_the_documents_have_the_same_lines(lines):
    assert lines.strip() in CLUSTERS.read_text()


# ---- executors with ways of their own ----------------------------------------------------------------------------
class CannotBeCancelled(Future[Any]):
    """A future as those of parsl."""

    def cancel(self) -> bool:
        raise NotImplementedError("Cancel not implemented")


class Slow(Executor):
    """An executor that begins the first calls, and never the others."""

    def __init__(self, begins: int) -> None:
        self.begins = begins

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = CannotBeCancelled()
        if self.begins:
            self.begins -= 1
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.slow
def test_a_stream_can_be_closed_where_calls_cannot_be_cancelled(acting, log):
    store = acting()
    stream = store.stream(sets(1, 2, 3), Slow(1))
    first = next(stream).n
    stream.close()
    assert acts.ns_in(log) == [first]


def test_what_ended_a_sweep_comes_out_where_calls_cannot_be_cancelled(acting, log):
    class Interrupted(Slow):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if self.begins:
                self.begins -= 1
                return CannotBeCancelled()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        acting().sweep(sets(*range(8)), Interrupted(1))
    assert acts.ns_in(log) == []


# ---- engines that call the store themselves ----------------------------------------------------------------------
STUDY = """
import os
from entropic import Base, Mapped, Store

class Wave(Base):
    __tablename__ = "waves"
    n: Mapped[int]

def run(params):
    with open("log", "a") as log:
        log.write(f"{os.getpid()} {params['n']}\\n")
    with open(params["result_file"], "w") as file:
        file.write(str(params["n"]))

store = Store(run, Wave, "waves", ".txt", "sqlite:///db.sqlite3")
sets = [{"n": n} for n in range(8)]
"""
CALLS = {
    "joblib": """
from joblib import Parallel, delayed
rows = Parallel(n_jobs=2)(delayed(store.run_or_retrieve)(one) for one in sets)
""",
    "mpire": """
from mpire import WorkerPool
with WorkerPool(2) as pool:
    rows = pool.map(store.run_or_retrieve, [(one,) for one in sets])
""",
    "submitit": """
import submitit
executor = submitit.LocalExecutor("submitted")
executor.update_parameters(timeout_min=10)
rows = executor.submit(store.sweep, sets, workers=2).result()
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", CALLS)
def test_an_engine_may_call_a_store_of_a_module_itself(tmp_path, engine):
    pytest.importorskip(engine)
    (tmp_path / "study.py").write_text(STUDY)
    lines = f"from study import Wave, sets, store\n{CALLS[engine]}"
    told = "print([row.n for row in rows], {type(row) is Wave for row in rows})"
    (tmp_path / "script.py").write_text(lines + told)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "[0, 1, 2, 3, 4, 5, 6, 7] {True}\n"
    assert sorted(acts.ns_in(tmp_path / "log")) == list(range(8))
