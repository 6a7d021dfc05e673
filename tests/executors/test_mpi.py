"""Sweeps on ranks of a real MPI, as the documents show them, and runs that are MPI programs themselves.

On Linux both come with the packages of the tests. Elsewhere it is skipped if there is no mpi4py, or no `mpirun` beside
this Python or in the path.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CLUSTERS = Path(__file__).parents[2] / "docs" / "clusters.md"
PLACES = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
# Open MPI wants to be told that it may be run by root, and on fewer cores than there are ranks.
ALLOWED = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PATH": PLACES,
}


@pytest.fixture(autouse=True)
def mpirun() -> str:
    pytest.importorskip("mpi4py")
    found = shutil.which("mpirun", path=PLACES)
    if found is None:
        pytest.skip("there is no mpirun")
    return found


def documented(first: str) -> str:
    """Return the block of the documents that begins so."""
    [block] = re.findall(rf"```python\n({re.escape(first)}.*?)```", CLUSTERS.read_text(), re.DOTALL)
    return block


def started(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Start a command in a folder, and return what it said."""
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **ALLOWED}, capture_output=True, text=True, timeout=300, check=False
    )


def with_act(script: str, act: str) -> str:
    """Have each run leave a line, and then do something."""
    line = "open('log', 'a').write(f\"{params['n']} {__import__('os').getpid()}\\n\")"
    script = script.replace("def run(params):\n", f"def run(params):\n    {line}\n    {act}\n")
    return script.replace("range(100)", "range(12)")


def runs(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "log").read_text().splitlines()]


def test_the_documented_script_sweeps_on_ranks_and_a_run_that_raises_fails_alone(tmp_path, mpirun):
    act = "assert params['n'] != 5, 'five'"
    (tmp_path / "sweep.py").write_text(with_act(documented("# sweep.py"), act))
    done = started(tmp_path, mpirun, "-n", "3", sys.executable, "-m", "mpi4py.futures", "sweep.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["11"]
    assert "1 of 12 sets of Wave failed (AssertionError)" in done.stderr
    assert sorted(int(n) for n, _ in runs(tmp_path)) == list(range(12))
    assert 1 <= len({pid for _, pid in runs(tmp_path)}) <= 2, "rank 0 runs none"


@pytest.mark.parametrize("act", ["__import__('os')._exit(3)", "__import__('os').kill(__import__('os').getpid(), 9)"])
def test_a_rank_that_ends_takes_all_along_and_the_next_start_does_the_rest(tmp_path, mpirun, act):
    first = f"if params['n'] == 5 and not __import__('os').path.exists('died'): open('died', 'w'); {act}"
    (tmp_path / "sweep.py").write_text(with_act(documented("# sweep.py"), first))
    command = [mpirun, "-n", "3", sys.executable, "-m", "mpi4py.futures", "sweep.py"]
    assert started(tmp_path, *command).returncode != 0
    again = started(tmp_path, *command)
    assert again.stdout.split() == ["12"], again.stderr
    results = list((tmp_path / "waves").glob("*.txt"))
    assert len(results) == 12
    assert all(count <= 2 for count in Counter(n for n, _ in runs(tmp_path)).values())


def test_all_ranks_may_call_the_script_and_the_root_sweeps(tmp_path, mpirun):
    script = with_act(documented("# sweep.py"), "pass").partition("if __name__")[0]
    script += documented("from mpi4py import MPI").replace("range(100)", "range(12)") + "        print(len(rows))\n"
    (tmp_path / "sweep.py").write_text(script)
    done = started(tmp_path, mpirun, "-n", "3", sys.executable, "sweep.py")
    assert done.stdout.split() == ["12"], done.stderr
    assert sorted(int(n) for n, _ in runs(tmp_path)) == list(range(12))


PROGRAM = """
import sys
from mpi4py import MPI
ranks = MPI.COMM_WORLD.gather(MPI.COMM_WORLD.rank)
if ranks is not None:
    open(sys.argv[2], "w").write(f"{sys.argv[1]} of {sorted(ranks)}")
"""
RUNS = """
import sys
from entropic import Base, Mapped, Store, command

class Solved(Base):
    __tablename__ = "solved"
    n: Mapped[int]

solve = command(f"{sys.argv[1]} -n 2 {sys.executable} solve.py {{n}} {{result_file}}")
rows = Store(solve, Solved, "results", ".txt").sweep([{"n": n} for n in (1, 2)], workers=1)
print([open(row.result_file).read() for row in rows])
"""


def test_a_run_may_be_an_mpi_program(tmp_path, mpirun):
    (tmp_path / "solve.py").write_text(PROGRAM)
    (tmp_path / "sweep.py").write_text(RUNS)
    done = started(tmp_path, sys.executable, "sweep.py", mpirun)
    assert done.stdout.strip() == "['1 of [0, 1]', '2 of [0, 1]']", done.stderr
