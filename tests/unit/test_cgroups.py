"""How much memory and how many cores a container, a job or a scope leaves to this process."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from entropic.support import cgroups, process

GIB = 2**30
Tree = Callable[..., None]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Make a tree of control groups, in which this process is in those of `own`."""
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cgroups, "ROOT", str(tmp_path / "cgroup"))
    monkeypatch.setattr(cgroups, "OWN", str(tmp_path / "own"))

    def do(own: str, files: dict[str, object]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    return do


SLURM = "system.slice/slurmstepd.scope/job_7"


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (f"0::/{SLURM}/step_0/user\n", {f"{SLURM}/memory.max": GIB, f"{SLURM}/step_0/user/memory.max": "max"}),
        (f"0::/{SLURM}/step_0\n", {f"{SLURM}/memory.max": 2 * GIB, f"{SLURM}/step_0/memory.max": GIB}),
        ("0::/\n", {"memory.max": GIB}),
        ("0::/hidden/from/the/container\n", {"memory.max": GIB}),
        ("0::/../../elsewhere\n", {"memory.max": GIB}),
        (
            "4:memory:/slurm/uid_1/job_7/step_0\n1:name=systemd:/a\n0::/\n",
            {"memory/memory.limit_in_bytes": 2**63 - 4096, "memory/slurm/uid_1/job_7/memory.limit_in_bytes": GIB},
        ),
        ("4:cpu,memory:/a:b\n", {"memory/a:b/memory.limit_in_bytes": GIB}),
        ("0::/run.scope\n", {"unified/run.scope/memory.max": GIB}),
    ],
)
def test_the_smallest_limit_of_memory_from_the_own_group_to_the_root_counts(tree, own, files):
    tree(own, files)
    assert cgroups.memory() == GIB
    assert process.memory() == min(GIB, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def test_without_limits_all_of_the_machine_may_be_used(tree):
    tree("0::/a\n", {"a/memory.max": "max", "a/cpu.max": "max 100000", "cpu/cpu.cfs_quota_us": -1})
    assert cgroups.memory() == cgroups.cores() == math.inf
    assert process.memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert process.cores() >= 1


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/a/b\n", {"cpu.max": "300000 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": 150000, "cpu/a/cpu.cfs_period_us": 100000}),
    ],
)
def test_the_smallest_quota_of_cores_counts_and_a_part_of_one_is_one(tree, monkeypatch, own, files):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    tree(own, files)
    assert cgroups.cores() == 1.5
    assert process.cores() == 2


def test_what_a_job_of_slurm_was_given_counts_also_where_no_group_says_so(tree, monkeypatch):
    tree("0::/\n", {})
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "64")
    assert process.memory() == 64 * 2**20
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # all of it
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "10")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "3")
    assert process.memory() == 30 * 2**20
