"""A job array is the same script started many times: the example script, with a stand-in for `srun`."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRUN = """#!/bin/bash
count="${1#--ntasks=}"; shift 2
for rank in $(seq 0 $((count - 1))); do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" > "rank-$rank.json" &
done
wait
"""
SCRIPT = """
import json, os, time
from entropic import Base, Mapped, Store

class Row(Base):
    __tablename__ = "rows"
    x: Mapped[int]

def runner(params):
    with open("runs", "a") as file:
        file.write(f"{params['x']} {os.environ['SLURM_PROCID']}\\n")
    deadline = time.monotonic() + 90
    while len({line.split()[1] for line in open("runs")}) < 3:  # none ends before all three tasks have begun one
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with open(params["result_file"], "w") as file:
        file.write("done")

store = Store(runner, Row, "results", ".txt", "sqlite:///db.sqlite3")
rows = store.sweep([{"x": x} for x in range(60)], workers=int(os.environ.get("SLURM_CPUS_PER_TASK", 1)))
print(json.dumps([row.x for row in rows]))
"""


@pytest.mark.slow
def test_the_tasks_of_a_job_share_one_sweep_and_each_returns_all_of_it(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "srun").chmod(0o755)
    (tmp_path / "sweep.py").write_text(SCRIPT)
    path = f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    slurm = {"SLURM_NTASKS": "3", "SLURM_CPUS_PER_TASK": "1"}
    job = ["bash", str(ROOT / "examples" / "slurm.sh"), "sweep.py"]
    subprocess.run(job, cwd=tmp_path, env={**os.environ, **slurm, "PATH": path}, check=True, timeout=100)

    returned = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(3)]
    assert returned == [list(range(60))] * 3
    runs = [line.split() for line in (tmp_path / "runs").read_text().splitlines()]
    assert Counter(int(x) for x, _ in runs) == dict.fromkeys(range(60), 1)
    assert {rank for _, rank in runs} == {"0", "1", "2"}, "everybody ran some"
