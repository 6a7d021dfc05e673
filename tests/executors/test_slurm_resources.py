"""What each run gets in jobs of a real Slurm: cores, memory and GPUs; and runs that start steps of their own."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.models import wait_until
from entropic import RunsFailedWarning, command
from entropic.slurm import Slurm
from executors import acts
from executors.test_resources import MIB, PROGRAM, sets, take_memory

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(600)]


def note_environment(path: Path, company: int, params: dict[str, Any]) -> None:
    """Leave a line with what Slurm says this run has; end only beside another one."""
    names = ("CUDA_VISIBLE_DEVICES", "SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    acts.append(path, json.dumps({name: os.environ.get(name) for name in names}))
    wait_until(lambda: len(acts.lines(path)) >= company)


@pytest.mark.parametrize("wait", [True, False])
def test_each_run_has_what_it_was_to_get(slurm, acting, tmp_path, monkeypatch, wait):
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    told = tmp_path / "told"
    store = acting(dict.fromkeys(range(2), partial(note_environment, told, 2)))
    store.sweep(sets(0, 1), Slurm(tasks_per_node=2), cores=3, memory="300MiB", gpus=1, wait=wait)
    wait_until(lambda: len(acts.lines(told)) == 2)
    one, other = map(json.loads, acts.lines(told))
    assert len({one["CUDA_VISIBLE_DEVICES"], other["CUDA_VISIBLE_DEVICES"]}) == 2
    assert all(found["CUDA_VISIBLE_DEVICES"] in ("0", "1", "2", "3") for found in (one, other))
    for found in (one, other):
        assert found["SLURM_CPUS_PER_TASK"] == found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == "3"
        assert found["SLURM_MEM_PER_NODE"] == str(2 * (300 + 256))


def test_a_run_that_uses_too_much_is_ended_and_its_job_goes_on(slurm, acting, log):
    store = acting({1: partial(take_memory, 400 * MIB)})
    with pytest.warns(RunsFailedWarning, match="1 of 4 sets"):
        rows = store.sweep(sets(1, 0, 2, 3), Slurm(), memory="300MiB", on_error="continue", retries=1)
    assert [row.n for row in rows] == [0, 2, 3]
    [failure] = store.failures()
    assert (failure.params["n"], failure.error_type) == (1, "RunOutOfMemory")
    assert "more than memory='300MiB' (" in failure.message
    assert acts.ns_in(log).count(1) == 1
    assert store.check().ok


def test_a_run_may_start_a_step_with_as_many_tasks_as_it_has_cores(slurm, open_store):
    """The line is that of the documents."""
    ranks = command("srun --overlap --mem=0 --ntasks=3 --cpus-per-task=1 sh -c 'echo rank $SLURM_PROCID'")
    [row] = open_store(run=ranks, file_suffix=".txt").sweep(sets(0), Slurm(), cores=3)
    assert sorted(Path(row.result_file).read_text().split("\n")) == ["", "rank 0", "rank 1", "rank 2"]


def test_mpirun_starts_the_ranks_of_a_run_in_a_job(slurm, open_store, tmp_path):
    pytest.importorskip("mpi4py")
    mpirun = Path(sys.executable).parent / "mpirun"
    if not mpirun.exists():
        pytest.skip("there is no mpirun beside this Python")
    (tmp_path / "solve.py").write_text(PROGRAM)
    line = f"{mpirun} -n 2 {sys.executable} {tmp_path / 'solve.py'} {tmp_path}/rank {{result_file}}"
    [row] = open_store(run=command(line)).sweep(sets(0), Slurm(), cores=2)
    ranks = json.loads(Path(row.result_file).read_text())
    assert len({pid for pid, *_ in ranks}) == 2
