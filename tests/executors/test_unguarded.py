"""A script without a main guard: what only imports it runs nothing of it, hangs nowhere, and says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each starts a few interpreters

HEAD = """
import json, os, sys
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from entropic import Base, Mapped, Store

class Point(Base):
    __tablename__ = "points"
    n: Mapped[int]

def run(params):
    with open("log", "a") as file:
        file.write(f"{params['n']}\\n")
    with open(params["result_file"], "w") as file:
        json.dump(params["n"], file)

store = Store(run, Point, file_suffix=".json")
sets = [{"n": 1}, {"n": 2}, {"n": 3}]
"""
CALLS = {
    "sweep": "store.sweep(sets)",
    "sweep with workers": "store.sweep(sets, workers=2)",
    "stream": "list(store.stream(sets, workers=2))",
    "run": "store.run(sets[0])",
    "run_or_retrieve": "store.run_or_retrieve(sets[0])",
}
HINT = "__name__"


def write(folder: Path, body: str, name: str = "study.py") -> None:
    (folder / name).write_text(f"{HEAD}\n{body}\n")


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder; fail if it takes as long as only what hangs does."""
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )


def ran(folder: Path) -> list[str]:
    return (folder / "log").read_text().split() if (folder / "log").exists() else []


# ---- the command line --------------------------------------------------------------------------------------------
COMMANDS = ["gc", "repair", "rm 1234", "check", "ls"]


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize("command", COMMANDS[:1])
def test_a_command_runs_nothing_of_a_script_that_it_imports(tmp_path, command, call):
    write(tmp_path, call)
    done = python(tmp_path, "-m", "entropic", *command.split(), "study.py")
    assert done.returncode == 2
    assert HINT in done.stderr
    assert ran(tmp_path) == []


@pytest.mark.each
@pytest.mark.parametrize("command", COMMANDS[1:])
def test_nor_does_any_other_command(tmp_path, command):
    write(tmp_path, CALLS["sweep with workers"])
    first, *rest = command.split()
    done = python(tmp_path, "-m", "entropic", first, "study.py", *rest)
    assert done.returncode == 2
    assert HINT in done.stderr
    assert ran(tmp_path) == []


def test_nor_does_an_audit_though_it_runs_things(tmp_path):
    write(tmp_path, "store.run(sets[0])")
    assert python(tmp_path, "study.py").returncode == 0
    write(tmp_path, "store.run(sets[1])")
    done = python(tmp_path, "-m", "entropic", "audit", "study.py", "--fraction", "1")
    assert done.returncode == 2
    assert HINT in done.stderr
    assert ran(tmp_path) == ["1"]


def test_a_command_that_only_looks_tells_of_the_guard_and_not_of_a_read_only_store(tmp_path):
    write(tmp_path, CALLS["sweep"])
    done = python(tmp_path, "-m", "entropic", "status", "study.py")
    assert done.returncode == 2
    assert HINT in done.stderr
    assert "read-only" not in done.stderr
    assert ran(tmp_path) == []


def test_a_script_whose_sets_are_all_stored_can_be_looked_at_as_it_is(tmp_path):
    write(tmp_path, CALLS["sweep with workers"])
    assert python(tmp_path, "study.py").returncode == 0
    done = python(tmp_path, "-m", "entropic", "ls", "study.py")
    assert done.returncode == 0, done.stderr
    assert python(tmp_path, "-c", "import study; print(len(study.store.select()))").stdout == "3\n"
    assert sorted(ran(tmp_path)) == ["1", "2", "3"]


def test_commands_that_run_may_import_what_runs(tmp_path):
    write(tmp_path, CALLS["sweep with workers"])
    done = python(tmp_path, "-m", "entropic", "sweep", "study.py", "n=4", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert sorted(ran(tmp_path)) == ["1", "2", "3", "4"]


# ---- an import ---------------------------------------------------------------------------------------------------
ELSEWHERE = {
    "workers": "store.sweep(sets, workers=2)",
    "stream": "list(store.stream(sets, workers=2))",
    "spawn": "store.sweep(sets, ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('spawn')))",
    "fork": "store.sweep(sets, ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork')))",
    "Dask in threads": "import distributed\n"
    "store.sweep(sets, distributed.Client(processes=False, dashboard_address=':0'))",
}


@pytest.mark.parametrize("how", ELSEWHERE)
def test_an_import_that_sweeps_elsewhere_is_an_error_and_runs_nothing(tmp_path, how):
    if how == "Dask in threads":
        pytest.importorskip("distributed")
    write(tmp_path, ELSEWHERE[how])
    done = python(tmp_path, "-c", "import study")
    assert done.returncode == 1
    assert "UnguardedError" in done.stderr.splitlines()[-1]
    assert HINT in done.stderr
    assert ran(tmp_path) == []


def test_an_import_may_sweep_in_its_own_process(tmp_path):
    write(tmp_path, CALLS["sweep"])
    assert python(tmp_path, "-c", "import study").returncode == 0
    assert ran(tmp_path) == ["1", "2", "3"]


def test_a_worker_that_imports_a_script_runs_nothing_of_it(tmp_path):
    write(tmp_path, CALLS["sweep with workers"], "first.py")
    write(tmp_path, "")
    (tmp_path / "second.py").write_text(
        "import sys, study\n"
        "study.run.__module__, sys.modules['first'] = 'first', study\n"  # as if this process had the first one's
        "study.store.sweep(study.sets, workers=2)\n"
    )
    done = python(tmp_path, "second.py")
    assert done.returncode == 1
    assert HINT in done.stderr
    assert ran(tmp_path) == []


# ---- pools that import the script again --------------------------------------------------------------------------
POOL = """
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context({kind!r})) as pool:
    print(len(list(store.{call})))
"""
KINDS = ["spawn", "forkserver"]


@pytest.mark.each("call")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", ["sweep(sets, pool)", "stream(sets, pool)"])
def test_a_pool_whose_processes_come_upon_the_sweep_again_is_an_error(tmp_path, kind, call):
    write(tmp_path, POOL.format(kind=kind, call=call))
    done = python(tmp_path, "study.py")
    assert done.returncode == 1
    assert "UnguardedError" in done.stderr.splitlines()[-1]
    assert HINT in done.stderr
    assert ran(tmp_path) == []


@pytest.mark.each
@pytest.mark.parametrize("kind", KINDS)
def test_a_pool_of_a_script_with_a_guard_works(tmp_path, kind):
    body = POOL.format(kind=kind, call="sweep(sets, pool)").strip().replace("\n", "\n    ")
    write(tmp_path, f"if __name__ == '__main__':\n    {body}")
    done = python(tmp_path, "study.py")
    assert done.stdout == "3\n", done.stderr
    assert sorted(ran(tmp_path)) == ["1", "2", "3"]


# ---- classes of the script ---------------------------------------------------------------------------------------
CLASSES = """
import dataclasses, enum, multiprocessing, os, sys
import sqlalchemy as sa
from concurrent.futures import ProcessPoolExecutor
from entropic import Base, Mapped, Store, mapped_column

class Scheme(enum.Enum):
    EULER = 1
    RK4 = 2

@dataclasses.dataclass(frozen=True)
class Grid:
    size: int

class Point(Base):
    __tablename__ = "points"
    scheme: Mapped[Scheme]
    grid: Mapped[Grid] = mapped_column(sa.PickleType)

def run(params):
    found = f"{params['scheme'] == Scheme.RK4} {params['grid'] == Grid(3)} {os.getpid()}"
    with open(params["result_file"], "w") as file:
        file.write(found)

store = Store(run, Point, file_suffix=".txt")
sets = [{"scheme": scheme, "grid": Grid(size)} for scheme in Scheme for size in (3, 4)]
if __name__ == "__main__":
    where = sys.argv[1]
    if where == "workers":
        rows = store.sweep(sets, workers=2)
    elif where == "Dask":
        import distributed
        rows = store.sweep(sets, distributed.Client(n_workers=1, dashboard_address=":0"))
    elif where == "loky":
        import loky
        rows = store.sweep(sets, loky.ProcessPoolExecutor(2))
    else:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(where.split()[0])) as pool:
            if where.endswith("used before"):
                pool.submit(os.getpid).result()
            rows = store.sweep(sets, pool)
    for row in rows:
        scheme, grid, pid = open(row.result_file).read().split()
        print(row.scheme is Scheme.RK4, row.grid == Grid(3), scheme, grid, int(pid) != os.getpid())
"""


@pytest.mark.parametrize("where", ["workers", "spawn", "forkserver", "fork", "fork used before", "loky", "Dask"])
def test_params_of_classes_of_the_script_are_of_those_that_the_runner_knows(tmp_path, where):
    if where in ("loky", "Dask"):
        pytest.importorskip({"Dask": "distributed"}.get(where, where))
    (tmp_path / "study.py").write_text(CLASSES)
    done = python(tmp_path, "study.py", where)
    assert done.stdout.splitlines() == [
        "False True False True True",
        "False False False False True",
        "True True True True True",
        "True False True False True",
    ], done.stderr
