"""What holds of a sweep on an engine that is not ours, tried on the engine itself: `python benchmarks/engines.py loky`.

Each line is a case, and what came of it; the table in docs/clusters.md is made of them. Without a name all engines are
tried. What is not installed is skipped, with the reason: an engine, the `mpirun` of `mpi4py`, a Slurm for those that
submit to one.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from entropic import Base, FellBackWarning, Mapped, Store

SECONDS = 300.0  # that a case may take
FOLDER = "ENGINES_FOLDER"


class EngineRow(Base):
    """A set, and what its run is to do."""

    __tablename__ = "engine_rows"
    n: Mapped[int]
    does: Mapped[str]


def run(params: dict[str, Any]) -> None:
    """Leave a line, and do what the set says."""
    with Path(os.environ[FOLDER], "log").open("a") as log:
        log.write(f"{params['n']} {os.getpid()}\n")
    if params["does"] == "raise":
        raise ValueError("this set is wrong")
    if params["does"] == "die":
        time.sleep(0.5)  # beside others
        os.kill(os.getpid(), signal.SIGKILL)
    if params["does"] == "sleep":
        time.sleep(2.0)
    if params["does"] == "pool":
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            assert list(pool.map(abs, [-1, -2])) == [1, 2]
    Path(params["result_file"]).write_text(str(params["n"]))


# ---- engines -----------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def _dask() -> Iterator[Any]:
    distributed = importlib.import_module("distributed")
    made = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with made as cluster, distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


@contextlib.contextmanager
def _dask_executor() -> Iterator[Any]:
    with _dask() as client:
        yield client.get_executor()


@contextlib.contextmanager
def _loky() -> Iterator[Any]:
    pool = importlib.import_module("loky").ProcessPoolExecutor(2)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)


@contextlib.contextmanager
def _dask_jobqueue() -> Iterator[Any]:
    distributed = importlib.import_module("distributed")
    made = importlib.import_module("dask_jobqueue").SLURMCluster(
        cores=1,
        memory="300MB",
        walltime="00:10:00",
        interface="lo",
        local_directory=os.environ[FOLDER],
        log_directory=os.environ[FOLDER],
        job_directives_skip=["--mem"],
        scheduler_options={"dashboard_address": ":0"},
    )
    with made as cluster, distributed.Client(cluster) as client:
        cluster.adapt(maximum_jobs=2)
        yield client


def _executorlib(kind: str, **options: Any) -> Callable[[], Any]:
    def make() -> Any:
        made = getattr(importlib.import_module("executorlib"), kind)
        return made(**{name: one() if callable(one) else one for name, one in options.items()})

    return make


@contextlib.contextmanager
def _parsl() -> Iterator[Any]:
    parsl = importlib.import_module("parsl")
    executors = importlib.import_module("parsl.executors")
    concurrent = importlib.import_module("parsl.concurrent")
    providers = importlib.import_module("parsl.providers")
    local = providers.LocalProvider(init_blocks=1, max_blocks=1)
    workers = executors.HighThroughputExecutor(
        label="local", max_workers_per_node=2, address="127.0.0.1", loopback_address="127.0.0.1", provider=local
    )
    config = parsl.Config(executors=[workers], run_dir=os.environ[FOLDER] + "/parsl")
    with concurrent.ParslPoolExecutor(config) as pool:
        yield pool


@contextlib.contextmanager
def _ray() -> Iterator[Any]:
    """By the lines that docs/clusters.md has, and the error of `client=ray`."""
    ray = importlib.import_module("ray")
    instead = importlib.import_module("entropic.executors.instead")
    lines, _, _ = instead.RAY.partition("rows = ")
    made: dict[str, Any] = {"__name__": "__main__"}
    exec(lines, made)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        yield made["RayExecutor"]()
    finally:
        ray.shutdown()


ENGINES: dict[str, Callable[[], Any]] = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2, get_context("spawn")),
    "processes by fork": lambda: ProcessPoolExecutor(2, get_context("fork")),
    "processes by forkserver": lambda: ProcessPoolExecutor(2, get_context("forkserver")),
    "processes, each for one task": lambda: ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=1),
    "loky": _loky,
    "executorlib": _executorlib("SingleNodeExecutor", max_workers=2),
    "executorlib, blocks": _executorlib("SingleNodeExecutor", max_workers=2, block_allocation=True),
    "executorlib by srun": _executorlib("SlurmJobExecutor", max_workers=2, block_allocation=True),
    "executorlib by sbatch": _executorlib(  # whose script always names a partition
        "SlurmClusterExecutor",
        cache_directory=lambda: os.environ[FOLDER] + "/cache",
        resource_dict={"partition": "main"},
    ),
    "dask": _dask,
    "dask executor": _dask_executor,
    "dask-jobqueue": _dask_jobqueue,
    "parsl": _parsl,
    "ray": _ray,
    "mpi4py": lambda: importlib.import_module("mpi4py.futures").MPIPoolExecutor(),
}
# What each needs: packages, whose versions are told, and programs.
NEEDS: dict[str, tuple[list[str], list[str]]] = {
    "loky": (["loky"], []),
    "executorlib": (["executorlib"], []),
    "executorlib, blocks": (["executorlib"], []),
    "executorlib by srun": (["executorlib"], ["srun"]),
    "executorlib by sbatch": (["executorlib", "pysqa", "h5py"], ["sbatch"]),
    "dask": (["distributed"], []),
    "dask executor": (["distributed"], []),
    "dask-jobqueue": (["dask-jobqueue", "distributed"], ["sbatch"]),
    "parsl": (["parsl"], []),
    "ray": (["ray"], []),
    "mpi4py": (["mpi4py"], ["mpirun"]),
}


def versions(engine: str) -> dict[str, str]:
    """Return the versions of the packages of an engine; raise `LookupError` with the reason why it cannot be tried."""
    packages, programs = NEEDS.get(engine, ([], []))
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise LookupError(f"{name} is not installed") from None
    for name in programs:
        if shutil.which(name) is None:
            raise LookupError(f"there is no {name}")
    if {"srun", "sbatch"} & set(programs) and subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        raise LookupError("no Slurm answers")
    return found


# ---- cases -------------------------------------------------------------------------------------------------------
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "order": (["write"] * 20, {}),
    "raise": (["write", "raise", *["write"] * 6], {"on_error": "continue"}),
    "pool in a run": (["pool", "write"], {"on_error": "continue"}),
    "a worker dies": (["write", "die", *["write"] * 6], {"on_error": "continue"}),
    "a worker dies, fallback='raise'": (
        ["write", "die", *["write"] * 6],
        {"on_error": "continue", "fallback": "raise"},
    ),
    "Ctrl-C": (["sleep"] * 8, {}),
}


def carry_out(engine: str, case: str) -> None:
    """Sweep the sets of a case, and say what came of it: in a process of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    does, options = CASES[case]
    store, sets = _store(), _sets(case)
    said: dict[str, Any] = {}
    with ENGINES[engine]() as client, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        began = time.monotonic()
        try:
            rows = store.sweep(sets, client, **options)
            said["in order"] = [row.n for row in rows] == [n for n in range(len(does)) if n in {row.n for row in rows}]
            if case == "order":
                again = time.monotonic()
                store.sweep(sets, client)
                said["seconds of all hits"] = round(time.monotonic() - again, 1)
        except BaseException as error:  # noqa: BLE001
            said["raised"] = f"{type(error).__name__}: {str(error)[:300]}"
        said["seconds"] = round(time.monotonic() - began, 1)
        fell_back = [str(one.message)[:300] for one in caught if issubclass(one.category, FellBackWarning)]
        said |= {"fell back": fell_back} if fell_back else {}
    print("said", json.dumps(said), flush=True)


def _store() -> Store[EngineRow]:
    folder = Path(os.environ[FOLDER])
    return Store(run, EngineRow, folder / "results", ".txt", f"sqlite:///{folder / 'db.sqlite3'}")


def _sets(case: str) -> list[dict[str, Any]]:
    return [{"n": n, "does": what} for n, what in enumerate(CASES[case][0])]


def try_out(engine: str, case: str) -> dict[str, Any]:
    """Have a case carried out, and look at what is left."""
    folder = Path(tempfile.mkdtemp(prefix="engines"))
    os.environ[FOLDER] = str(folder)
    before = ["mpirun", "-n", "3", sys.executable, "-m", "mpi4py.futures"] if engine == "mpi4py" else [sys.executable]
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(
            [*before, __file__, engine, case], stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )
    found: dict[str, Any] = {"case": case}
    try:
        if case == "Ctrl-C":
            while process.poll() is None and len(_lines(folder)) < 2:
                time.sleep(0.05)
            began = time.monotonic()
            os.kill(process.pid, signal.SIGINT)
            process.wait(SECONDS)
            found["ended after"] = round(time.monotonic() - began, 1)
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        found["hangs"] = True
        os.killpg(process.pid, signal.SIGKILL)
    found["exit"] = process.wait()
    said = [line for line in (folder / "out").read_text().splitlines() if line.startswith("said ")]
    found |= json.loads(said[-1].removeprefix("said ")) if said else {"last": (folder / "out").read_text()[-300:]}
    time.sleep(2.5)  # what is under way may finish
    store = _store()
    found["stored"] = f"{len(store.select())} of {len(CASES[case][0])}"
    found["failures"] = [failure.error_type for failure in store.failures()]
    if case in ("order", "Ctrl-C"):
        store.sweep(_sets(case), workers=2)
    found["runs of a set, at most"] = max(Counter(line.split()[0] for line in _lines(folder)).values(), default=0)
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _lines(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


def main() -> None:
    """Try all cases of all engines, or those that are named."""
    engine, cases = [*sys.argv[1:], ""][0], sys.argv[2:]
    if FOLDER in os.environ:
        carry_out(engine, cases[0])
        return
    # Programs of an engine are beside this Python, whether its environment is active or not.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for name in [engine] if engine else ENGINES:
        try:
            what = {"engine": name, **versions(name)}
        except LookupError as missing:
            print(json.dumps({"engine": name, "skipped": str(missing)}), flush=True)
            continue
        for case in cases or CASES:
            print(json.dumps({**what, **try_out(name, case)}), flush=True)
            os.environ.pop(FOLDER)


if __name__ == "__main__":
    main()
