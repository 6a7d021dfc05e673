"""Sweeps that submit jobs of a real Slurm and do not wait: the same line, later, goes on, and nothing runs twice.

What is `long` here is tried with a scheduler that says what it is told in `tests/contract/test_submitted.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.models import refuse, wait_until
from databases import until
from entropic import RunsFailedWarning, SlurmError
from entropic.executors import scheduler, submission
from entropic.protocol import wait
from entropic.slurm import Slurm
from executors import acts
from executors.test_slurm import MODEL
from slurm_cluster import LOOK, Cluster

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(600)]


@pytest.fixture
def slurm(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, whose submissions are looked at as often as its queue."""
    monkeypatch.setattr(wait, "WATCH_SECONDS", LOOK)
    return slurm


@pytest.fixture
def sweeping() -> Iterator[Any]:
    """Sweep in a thread; call what is returned for the rows, or for what was raised."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda store, *given, **options: pool.submit(store.sweep, *given, **options).result


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


def submissions(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "results" / ".entropic").glob("*/submissions/*"))


def test_a_sweep_that_does_not_wait_is_found_by_the_same_line_in_another_process(
    slurm, start, open_store, log, tmp_path
):
    note, gate, ns = tmp_path / "note", tmp_path / "gate", range(4)
    held = {str(n): ["end_or_last", str(note), str(gate)] for n in ns}
    order = {"client": {"array": 2, "look": LOOK}, "acts": held, "options": {"wait": False}}
    assert start(ns, **order).said()["submitted"]["new"] == 4
    wait_until(lambda: len(acts.lines(note)) == 2)
    again = start([*ns, 9], **order).said()["submitted"]
    assert (again["new"], again["running"]) == (1, 2), "only what is missing is submitted"
    assert len(slurm.jobs()) == 3
    status = open_store().status()
    assert len(status.running) + len(status.waiting) >= 4
    assert len(status.waiting) >= 2
    gate.touch()
    until(lambda: not slurm.jobs(), "the jobs end by themselves, when nothing is left")
    last = start([*ns, 9], **order).said()
    assert last["ns"] == [*ns, 9]
    assert last["submitted"]["new"] == 0
    assert Counter(acts.ns_in(log)) == Counter([*ns, 9])
    assert open_store().check().ok
    assert not submissions(tmp_path)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_moment_submits_no_set_twice(slurm, start, open_store, log, tmp_path, monkeypatch, when):
    """The process is killed just before its jobs are submitted, or just after that."""
    killing = tmp_path / "bin" / "sbatch"
    killing.parent.mkdir()
    lines = ["kill -9 $PPID", f'{shutil.which("sbatch")} "$@"']
    killing.write_text("\n".join(["#!/bin/bash", *(lines[:1] if when == "before" else reversed(lines))]) + "\n")
    killing.chmod(0o755)
    note, gate, ns = tmp_path / "note", tmp_path / "gate", range(2)
    held = {str(n): ["end_or_last", str(note), str(gate)] for n in ns}
    order = {"client": {"look": LOOK}, "acts": held, "options": {"wait": False}}
    with monkeypatch.context() as dying:
        dying.setenv("PATH", f"{killing.parent}{os.pathsep}{os.environ['PATH']}")
        assert start(ns, **order).status() == -9
    again = start(ns, **order).said()["submitted"]
    assert again["new"] == (2 if when == "before" else 0)
    assert len(slurm.jobs()) == 1
    gate.touch()
    until(lambda: not slurm.jobs(), "the jobs end by themselves")
    assert [row.n for row in open_store().iterate()] == list(ns), "opening the store takes them home"
    assert Counter(acts.ns_in(log)) == Counter(ns)
    assert open_store().check().ok


@pytest.mark.long
def test_what_failed_is_said_by_the_next_call_and_submitted_by_the_one_after(slurm, acting, log):
    store = acting({1: refuse})
    asked = {"client": Slurm(), "wait": False, "on_error": "continue"}
    first = store.sweep(sets(0, 1), **asked)
    assert (list(first), first.submitted.new) == ([], 2)
    until(lambda: not slurm.jobs(), "the job ends by itself")
    with pytest.warns(RunsFailedWarning, match="1 of 2 sets"):
        rows = store.sweep(sets(0, 1), **asked)
    assert [row.n for row in rows] == [0]
    assert (rows.submitted.failed, rows.submitted.new, rows.submitted.is_over) == (1, 0, True)
    [failure] = store.failures()
    assert (failure.error_type, failure.params) == ("Refused", {"n": 1, "dt": 0.5})
    assert failure.job is not None
    assert store.sweep(sets(0, 1), **asked, retry_failed=False).submitted.new == 0
    assert str(store.sweep(sets(0, 1), **asked).submitted).startswith("1 of 2 sets stored, 1 waiting in the queue; 1")
    until(lambda: not slurm.jobs(), "the job ends by itself")
    assert Counter(acts.ns_in(log)) == {0: 1, 1: 2}


@pytest.mark.long
def test_a_set_is_submitted_a_bounded_number_of_times_and_its_failure_has_slurms_reasons(slurm, acting, log):
    """Counted over submissions; a set that waits behind it is not lost."""
    store = acting({1: acts.hang_in_python})
    asked = {"client": Slurm(extra=["--no-requeue"]), "on_error": "continue", "retries": 1}
    for count in (1, 2):
        rows = store.sweep(sets(1, 2), **asked, wait=False)
        assert rows.submitted.new == 2, rows.submitted
        wait_until(lambda count=count: acts.ns_in(log).count(1) == count)
        job = slurm.running()
        node = slurm.node_of(job)
        slurm.lose_node(node)
        slurm.start_node(node)
        until(lambda: not slurm.jobs(), "the job is over")
    with pytest.warns(RunsFailedWarning):
        rows = store.sweep(sets(1, 2), **asked, wait=False)
    [failure] = store.failures()
    assert failure.message.startswith("2 jobs of Slurm ended in the middle of this run:")
    assert failure.message.count("NODE_FAIL") == 2
    assert rows.submitted.new == 1
    until(lambda: not slurm.jobs(), "the job ends by itself")
    assert [row.n for row in store.sweep(sets(2))] == [2]
    assert Counter(acts.ns_in(log)) == {1: 2, 2: 1}


def test_who_waits_for_submitted_sets_gets_them_and_runs_what_their_jobs_do_not(slurm, acting, log, tmp_path, sweeping):
    note, gate = tmp_path / "note", tmp_path / "gate"
    store = acting({n: partial(acts.end_or_last, note, gate) for n in range(2)})
    store.sweep(sets(0, 1), Slurm(array=2), wait=False)
    wait_until(lambda: len(acts.lines(note)) == 2)
    rows = sweeping(store, sets(0, 1, 2), Slurm())
    wait_until(lambda: 2 in acts.ns_in(log))
    of_0 = next(line.split()[2] for line in acts.lines(note) if line.split()[1] == "0")
    slurm.run("scancel", of_0)
    wait_until(lambda: acts.ns_in(log).count(0) == 2)
    gate.touch()
    assert [row.n for row in rows()] == [0, 1, 2]
    assert Counter(acts.ns_in(log)) == {0: 2, 1: 1, 2: 1}, "what was cancelled counts as no death, and runs again"
    assert acting().check().ok, "what the killed process has left is taken away by the next opening"


def test_jobs_that_nobody_waits_for_go_on_by_themselves(slurm, acting, log, tmp_path, monkeypatch):
    """There are two bundles, and the time of each job is over, as far as it knows, after one run."""
    monkeypatch.setattr(submission, "MOST_BUNDLES", 2)
    store = acting()
    asked = Slurm(array=2, setup="export ENTROPIC_JOB_END=$(date +%s)")
    assert store.sweep(sets(*range(6)), asked, wait=False).submitted.new == 6
    until(lambda: not slurm.jobs(), "the jobs end by themselves")
    begun = acts.ns_in(log)
    assert 2 <= len(set(begun)) == len(begun) < 6
    rows = store.sweep(sets(*range(6)), Slurm(), wait=False)
    assert rows.submitted.new == 6 - len(begun), "what no job has begun is missing, and nothing has failed"
    until(lambda: not slurm.jobs(), "the jobs end by themselves")
    assert len(store.sweep(sets(*range(6)), Slurm(), wait=False)) == 6
    assert sorted(acts.ns_in(log)) == list(range(6))
    assert not submissions(tmp_path)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Slurm(partition="short", time="2:00:00"), "can never start: PartitionTimeLimit"),
        (Slurm(setup="echo no such module; exit 3"), "ended at once(.|\n)*no such module"),
    ],
)
def test_jobs_that_can_run_nothing_are_said_by_the_next_call_and_hold_no_set(slurm, acting, tmp_path, asked, said):
    store = acting()
    store.sweep(sets(1), asked, wait=False)
    reasons = partial(slurm.run, "squeue", "--noheader", "--format=%r")
    until(lambda: not slurm.jobs() or "PartitionTimeLimit" in reasons(), "it is over, or will never be")
    with pytest.raises(SlurmError, match=said):
        store.sweep(sets(1), asked, wait=False)
    until(lambda: not slurm.jobs(), "they are cancelled")
    assert len(store.sweep(sets(1))) == 1
    assert not submissions(tmp_path)


def test_who_submits_is_the_user_on_the_cluster_as_slurm_names_it(slurm):
    assert scheduler.submitter() == f"{os.getuid()}@tests"


def test_sbatch_that_refuses_leaves_no_claim_behind(slurm, acting, tmp_path):
    store = acting()
    with pytest.raises(SlurmError, match="sbatch failed"):
        store.sweep(sets(1), Slurm(partition="nowhere"), wait=False)
    assert store.status().dead == []
    assert not submissions(tmp_path)
    assert len(store.sweep(sets(1))) == 1


@pytest.mark.long
def test_a_command_submits_and_the_same_command_goes_on(slurm, tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    sweep = ["sweep", "model.py:store", "--grid", "x=1,2,3", "--slurm", "time=5 mem=400M", "--no-wait"]

    def call(*words: str) -> str:
        command = [sys.executable, "-m", "entropic", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with slurm.full():
        assert "0 of 3 sets stored, 3 waiting in the queue; 3 submitted now, in job " in call(*sweep)
        assert "submitted to Slurm" in call("status", "model.py:store")
    until(lambda: not slurm.jobs(), "the job ends by itself")
    assert call(*sweep).strip() == "3 of 3 sets stored"


@pytest.mark.long
def test_a_set_that_is_out_of_memory_again_and_again_is_stopped_and_a_retry_starts_it_again(slurm, acting, log):
    """By the same line, three times; the other set of the line is done meanwhile."""
    store = acting({1: partial(acts.eat, 1_000)})
    asked = {"client": Slurm(mem="400M"), "wait": False, "on_error": "continue"}
    for death in range(1, 4):
        assert store.sweep(sets(1), **asked).submitted.new == 1
        until(lambda: not slurm.jobs(), "the job is over")
        assert acts.ns_in(log).count(1) == death
    with pytest.warns(RunsFailedWarning):
        stopped = store.sweep(sets(1), **asked).submitted
    assert (stopped.failed, stopped.new, stopped.is_over) == (1, 0, True)
    [failure] = store.failures()
    assert failure.message.startswith("3 jobs of Slurm ended in the middle of this run:")
    assert failure.message.count("OUT_OF_MEMORY") == 3
    assert store.sweep(sets(1), **asked, retry_failed=False).submitted.new == 0
    assert store.sweep(sets(1), **asked).submitted.new == 1, "and its deaths are counted anew"
    until(lambda: not slurm.jobs(), "the job is over")
    assert store.sweep(sets(1), **asked).submitted.new == 1


@pytest.mark.parametrize(("partition", "limit"), [(None, "6:00"), ("short", "1:00")])
def test_jobs_ask_for_what_stored_runs_tell_within_what_the_partition_allows(slurm, acting, place, partition, limit):
    """Three minutes, a tenth more, and two for the start."""
    store = acting({n: partial(acts.claim_to_take, 180) for n in range(17)})
    store.sweep(sets(*range(16)))
    place.execute(f"UPDATE entropic_ledger SET peak_memory = {300 * 2**20}")
    asked = Slurm(time="learn", mem="learn", partition=partition)
    with slurm.full():
        assert store.sweep(sets(16), asked, wait=False).submitted.new == 1
        assert slurm.run("squeue", "--noheader", "--format=%l %m").split()[0] == limit
        [memory] = slurm.run("squeue", "--noheader", "--format=%m").split()
        assert 500 <= int(memory.rstrip("M")) <= 700
        [one] = store.status().submissions
    until(lambda: not slurm.jobs(), "the job ends by itself")
    [row] = store.sweep(sets(16), asked, wait=False)
    assert store.provenance(row).job_asked == one.asked == f"time=0:0{limit} mem={memory}"


def test_a_set_that_was_killed_for_its_memory_has_twice_as_much_in_the_next_job_of_the_sweep(slurm, acting, log, place):
    store = acting({16: partial(acts.eat_where_there_is_little, 700)})
    store.sweep(sets(*range(16)))
    place.execute(f"UPDATE entropic_ledger SET peak_memory = {200 * 2**20}")
    [row] = store.sweep(sets(16), Slurm(mem="learn"))
    assert acts.ns_in(log).count(16) == 2
    assert store.provenance(row).job_asked == "mem=1000M", "in place of the 500M that are learned"
