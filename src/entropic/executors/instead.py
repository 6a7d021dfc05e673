"""What is taken for a client and is not one: what to write instead, so that nobody has to look for it."""

import concurrent.futures
import textwrap
import types

WORKERS = "rows = store.sweep(sets, workers=8)"
THREADS = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    rows = store.sweep(sets, pool)
"""
SLURM = """
from entropic.slurm import Slurm
rows = store.sweep(sets, Slurm(array=8, time="2:00:00"))
"""
DASK = """
from distributed import Client
with Client(cluster) as client:
    rows = store.sweep(sets, client)
"""
PARSL = """
from parsl.concurrent import ParslPoolExecutor
with ParslPoolExecutor(config) as pool:             # or ParslPoolExecutor(dfk=parsl.dfk())
    rows = store.sweep(sets, pool)
"""
RAY = """
from concurrent.futures import Executor
import ray

@ray.remote
def call(fn, *args, **kwargs):
    return fn(*args, **kwargs)

class RayExecutor(Executor):
    def submit(self, fn, /, *args, **kwargs):
        return call.remote(fn, *args, **kwargs).future()

rows = store.sweep(sets, RayExecutor())
"""
MPI = """
from mpi4py.futures import MPIPoolExecutor          # mpirun -n 64 python -m mpi4py.futures sweep.py
with MPIPoolExecutor() as pool:
    rows = store.sweep(sets, pool)
"""

# Which classes these are, by the beginnings of their full names, and why they cannot be used. The first one counts.
KINDS = [
    ("multiprocessing.pool.ThreadPool", "it is not an Executor", THREADS),
    ("multiprocess.pool.ThreadPool", "it is not an Executor", THREADS),
    ("multiprocessing.pool.Pool", "it never says that a process has died, so a sweep would wait for ever", WORKERS),
    ("multiprocess.pool.Pool", "it never says that a process has died, so a sweep would wait for ever", WORKERS),
    ("mpire.", "it is not an Executor", WORKERS),
    ("joblib.", "it is not an Executor", WORKERS),
    ("submitit.", "what it calls an executor is not one of Python's", SLURM),
    ("distributed.deploy.", "it is the cluster, not its client", DASK),
    ("parsl.", "it is not an Executor", PARSL),
    ("ray.", "it is not an Executor", RAY),
    ("mpi4py.MPI.", "it is not an Executor", MPI),
]


def refusal(client: object) -> str:
    """Return why this is not a client, and the lines to write instead."""
    if isinstance(client, type) and issubclass(client, concurrent.futures.Executor):
        name = client.__name__
        return f"client must be an executor, not its class: give {name}(...), or better {_block(name)}"
    if type(client) is int:
        return f"client must be an executor, not the int {client}; for a number of processes:{_lines(WORKERS)}"
    given = (
        "client must be a dask.distributed Client, a concurrent.futures.Executor or an entropic.slurm.Slurm, not "
        f"{_called(client)}"
    )
    for name in _names(client):
        for kind, why, lines in KINDS:
            if name.startswith(kind):
                return f"{given}: {why}. Instead:{_lines(lines)}"
    return given


def _block(name: str) -> str:
    return f"`with {name}(...) as pool: store.sweep(sets, pool)`"


def _called(client: object) -> str:
    if isinstance(client, types.ModuleType):
        return f"the module {client.__name__}"
    kind = client if isinstance(client, type) else type(client)
    return f"{kind.__module__.partition('.')[0]}'s {kind.__name__}" if "." in kind.__module__ else kind.__name__


def _names(client: object) -> list[str]:
    """Return the full names of what it is, the nearest first."""
    if isinstance(client, types.ModuleType):
        return [f"{client.__name__}."]
    kind = client if isinstance(client, type) else type(client)
    return [f"{one.__module__}.{one.__qualname__}" for one in kind.__mro__]


def _lines(lines: str) -> str:
    return "\n\n" + textwrap.indent(lines.strip("\n"), "    ")
