"""What holds of a sweep on an engine that is not ours, tried on the engine itself: `python benchmarks/engines.py loky`.

It needs the engine beside entropic; `mpi4py` also an MPI, whose `mpirun` is in the path. Each line is a case, and what
came of it. The table in docs/clusters.md is made of them.
"""

import contextlib
import importlib
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

from entropic import Base, Mapped, Store

SECONDS = 150.0  # that a case may take
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


ENGINES: dict[str, Callable[[], Any]] = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2, get_context("spawn")),
    "loky": _loky,
    "executorlib": lambda: importlib.import_module("executorlib").SingleNodeExecutor(max_workers=2),
    "dask": _dask,
    "dask executor": _dask_executor,
    "parsl": _parsl,
    "mpi4py": lambda: importlib.import_module("mpi4py.futures").MPIPoolExecutor(),
}

# ---- cases -------------------------------------------------------------------------------------------------------
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "order": (["write"] * 12, {}),
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
    warnings.simplefilter("ignore")
    does, options = CASES[case]
    store, sets = _store(), _sets(case)
    said: dict[str, Any] = {}
    with ENGINES[engine]() as client:
        began = time.monotonic()
        try:
            rows = store.sweep(sets, client, **options)
            said["in order"] = [row.n for row in rows] == [n for n in range(len(does)) if n in {row.n for row in rows}]
        except BaseException as error:  # noqa: BLE001
            said["raised"] = type(error).__name__
        said["seconds"] = round(time.monotonic() - began, 1)
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
    """Try all cases, or those that are named."""
    engine, *cases = sys.argv[1:]
    if FOLDER in os.environ:
        carry_out(engine, cases[0])
        return
    for case in cases or CASES:
        print(json.dumps({"engine": engine, **try_out(engine, case)}), flush=True)
        os.environ.pop(FOLDER)


if __name__ == "__main__":
    main()
