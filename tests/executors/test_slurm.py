"""Sweeps in jobs of a real Slurm of two nodes: what a scheduler does to jobs, and that each set runs once for all that.

The jobs of these tests are looked at more often than those of users, but for the test that counts the looks.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.models import ActingRunner, Refused, content, gone, refuse, wait_until
from databases import until
from entropic import NotBegunWarning, RunsFailedWarning, SlurmError
from entropic.executors import jobs, scheduler
from entropic.executors.spool import SILENT_SECONDS
from entropic.slurm import Slurm
from entropic.sweep.options import RETRIES
from executors import acts
from slurm_cluster import LOOK

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(600)]
JOBS_SECONDS = 240.0  # in which jobs end that Slurm looks at each 30 s, and others take over, one after the other
TELL_END = (  # as this job has found it, and as Slurm says
    'echo "$ENTROPIC_JOB_END $(SLURM_TIME_FORMAT=standard squeue --noheader --format=%e --jobs={id})" >> {told}'
)


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


@pytest.fixture
def sweeping() -> Iterator[Any]:
    """Sweep in a thread; call what is returned for the rows, or for what was raised."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda store, *given, **options: pool.submit(store.sweep, *given, **options).result


def staging_in(tmp_path: Path) -> Path:
    [found] = (tmp_path / "results" / ".entropic").iterdir()
    return found


def noted(path: Path, what: str) -> list[tuple[int, str]]:
    """Return which runs have begun, or ended, and in which jobs."""
    lines = (line.split() for line in acts.lines(path))
    return [(int(n), job) for word, n, job in lines if word == what]


def spools(tmp_path: Path) -> list[Path]:
    return [path.parent for path in staging_in(tmp_path).glob("*.work/luggage")]


def test_each_set_runs_once_in_jobs_and_the_rows_come_in_order(slurm, acting, log, tmp_path):
    told, times = tmp_path / "told", tmp_path / "times"
    step = partial(run_a_step, told)
    store = acting({3: acts.speak, 4: step})
    asked = Slurm(nodes=2, mem="400M", time=5, setup=TELL_END.format(id="$SLURM_JOB_ID", told=times))
    rows = store.sweep(sets(5, 3, 9, 3, 4, 1, 8), asked, elapsed_seconds="a word of the user's own")
    assert [(row.n, content(row)["n"]) for row in rows] == [(n, n) for n in (5, 3, 9, 4, 1, 8)]
    assert sorted(acts.ns_in(log)) == [1, 3, 4, 5, 8, 9]
    assert os.getpid() not in {int(line.split()[0]) for line in acts.lines(log)}
    assert "print 3" in Path(store.log_file(sets(3)[0])).read_text()
    assert re.fullmatch(r"Slurm [0-9]+", store.provenance(rows[0]).job)
    assert acts.lines(told) == ["a step of its own"]
    [line] = acts.lines(times)
    ours, theirs = line.split()
    assert ours == f"EndTime={theirs}", "the job knows when Slurm ends it"
    assert store.check().ok
    assert not spools(tmp_path)
    until(lambda: not slurm.jobs(), "the job gives its place to others")
    assert len(store.sweep(sets(5, 3), Slurm(partition="nowhere"))) == 2, "nothing is missing, so no job is submitted"


def test_jobs_that_wait_beyond_the_deadline_are_taken_back(slurm, acting, log):
    store = acting()
    with pytest.warns(NotBegunWarning, match="3 of 3 sets"):
        assert store.sweep(sets(1, 2, 3), Slurm(extra=["--begin=now+3600"]), deadline=2.0) == []
    assert acts.ns_in(log) == []
    assert store.status().running == {}
    until(lambda: not slurm.jobs(), "nothing waits any more")


def run_a_step(told: Path, params: dict[str, Any]) -> None:
    """Start a program in the allocation of this run, as one that is itself parallel does."""
    os.system(f"srun --ntasks=1 sh -c 'echo a step of its own >> {told}'")


def test_what_runs_raise_comes_home_and_a_crash_takes_nothing_along(slurm, acting, log):
    store = acting({1: refuse, 2: acts.segfault, 3: acts.hang_in_python})
    with pytest.warns(RunsFailedWarning):
        rows = store.sweep(sets(0, 1, 2, 3, 4), Slurm(), on_error="continue", timeout=10.0)
    assert [row.n for row in rows] == [0, 4]
    assert Counter(acts.ns_in(log)) == Counter(range(5))
    failures = {failure.params["n"]: failure for failure in store.failures()}
    assert {n: one.error_type for n, one in failures.items()} == {1: "Refused", 2: "WorkerDied", 3: "RunTimeout"}
    assert "SIGSEGV" in failures[2].message
    assert all(re.fullmatch(r"Slurm [0-9]+", one.job) for one in failures.values())
    with pytest.raises(Refused, match="refused 1") as raised:
        store.sweep(sets(1), Slurm())
    assert [note.partition(" on ")[0] for note in raised.value.__notes__ if "worker" in note] == [
        "entropic: raised in a worker"
    ]
    assert store.check().ok


def test_a_job_that_ends_takes_no_set_along(slurm, start, open_store, tmp_path, log):
    """One job ends by its time, one is requeued, one loses its node, one is cancelled; another process joins in."""
    note, gate, ns = tmp_path / "note", tmp_path / "gate", range(200)
    held = {str(n): ["end_or_last", str(note), str(gate)] for n in ns}
    first = start(ns, client={"array": 4, "cpus_per_task": 3, "look": LOOK}, acts=held)
    wait_until(lambda: len(noted(note, "begin")) == 4)
    pids = [int(line.split()[0]) for line in acts.lines(log)]
    nodes = {job: slurm.node_of(job) for _, job in noted(note, "begin")}
    second = start(ns, client={"look": LOOK}, acts=held)
    wait_until(lambda: len(noted(note, "begin")) == 5)
    busy = slurm.node_of(noted(note, "begin")[4][1])
    timed, requeued = (job for job, node in nodes.items() if node == busy)
    lost, cancelled = (job for job, node in nodes.items() if node != busy)  # what a node loses waits for two minutes
    slurm.end_time_of(timed)
    slurm.run("scancel", cancelled)
    slurm.requeue(requeued)
    slurm.lose_node(nodes[lost])
    slurm.start_node(nodes[lost])
    wait_until(lambda: all(map(gone, pids)), JOBS_SECONDS)
    gate.touch()
    assert first.said(JOBS_SECONDS)["ns"] == second.said(JOBS_SECONDS)["ns"] == list(ns)
    assert Counter(n for n, _ in noted(note, "end")) == Counter(ns), "each ends once"
    assert {n: count for n, count in Counter(n for n, _ in noted(note, "begin")).items() if count > 1}.keys() >= {
        n for n, _ in noted(note, "begin")[:4]
    }, "and what was lost begins again"
    store = open_store()
    assert len(store.select()) == len(ns)
    assert store.check().ok


def test_a_set_that_loses_its_jobs_again_and_again_fails_with_slurms_reason(slurm, acting, log):
    store = acting({2: partial(acts.eat, 1_000)})
    with pytest.warns(RunsFailedWarning):
        rows = store.sweep(sets(1, 2, 3), Slurm(mem="400M"), on_error="continue")
    assert [row.n for row in rows] == [1, 3]
    assert Counter(acts.ns_in(log)) == {1: 1, 2: 1 + RETRIES, 3: 1}
    [failure] = store.failures()
    assert failure.error_type == "WorkerDied"
    assert failure.message.count("FAILED (NonZeroExitCode)") == 1 + RETRIES, failure.message
    assert "exceeded memory limit" in failure.message
    assert store.check().ok


@pytest.mark.filterwarnings("ignore::entropic.RunsFailedWarning")
def test_the_failure_of_a_set_whose_job_ended_has_slurms_reason(slurm, acting, log, sweeping):
    store = acting({1: acts.hang_in_python})
    rows = sweeping(store, sets(0, 1), Slurm(extra=["--no-requeue"]), on_error="continue", retries=0)
    wait_until(lambda: 1 in acts.ns_in(log))
    job = slurm.running()
    node = slurm.node_of(job)
    slurm.lose_node(node)
    slurm.start_node(node)
    assert [row.n for row in rows()] == [0]
    [failure] = store.failures()
    assert failure.message.startswith(f"1 job of Slurm ended in the middle of this run: {job}: NODE_FAIL")
    assert store.check().ok


def test_an_unfinished_run_goes_on_in_another_job_from_its_checkpoint(slurm, open_store, log, tmp_path, sweeping):
    """The job is started again in the middle of the run."""
    steps = log.with_name("steps")
    store = open_store(run=ActingRunner(log, {1: partial(acts.train, steps, "hangs")}), checkpoints=True)
    rows = sweeping(store, sets(1), Slurm())
    wait_until(lambda: any(file.read_text() == "2" for file in staging_in(tmp_path).glob("checkpoints/*/step")))
    slurm.requeue(slurm.running())
    assert [row.n for row in rows()] == [1]
    assert acts.lines(steps) == ["1 from 0", "1 from 2"]
    assert open_store().check().ok, "what the killed process has left is taken away by the next opening"


def test_a_run_that_may_not_end_in_time_is_left_to_another_job(slurm, acting, log, tmp_path):
    """The time of each of these jobs is over when it begins, as far as it knows: one run is all that it may begin."""
    note, gate = tmp_path / "note", tmp_path / "gate"
    gate.touch()
    store = acting({n: partial(acts.end_or_last, note, gate) for n in range(2)})
    rows = store.sweep(sets(0, 1), Slurm(setup="export ENTROPIC_JOB_END=$(date +%s)"))
    assert [row.n for row in rows] == [0, 1]
    assert acts.ns_in(log) == [0, 1], "none was begun in vain"
    assert len({job for _, job in noted(note, "end")}) == 2
    assert store.check().ok


def test_each_job_of_an_array_knows_when_slurm_ends_it_and_not_another_one(slurm, acting, tmp_path):
    """One of them has the id of the whole array, by which Slurm shows all of them."""
    told, both = tmp_path / "told", tmp_path / "both"
    id = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    store = acting({n: partial(acts.meet, both, 2) for n in range(2)})
    asked = Slurm(time=5, array=2, setup=TELL_END.format(id=id, told=told))
    assert len(store.sweep(sets(0, 1), asked)) == 2
    lines = acts.lines(told)
    assert len(lines) == 2, lines
    assert all(line == f"EndTime={line.split()[1]} {line.split()[1]}" for line in lines), lines


@pytest.mark.long
def test_no_job_is_ended_by_its_time_where_runs_take_as_long_as_others(slurm, acting, log, tmp_path):
    """Each takes a quarter of what a job may take; Slurm ends one that takes longer half a minute later at most."""
    note = tmp_path / "note"
    store = acting({n: partial(acts.note_and_sleep, note, 13.0) for n in range(8)})
    rows = store.sweep(sets(*range(8)), Slurm(time=1, array=2))
    assert [row.n for row in rows] == list(range(8))
    assert sorted(acts.ns_in(log)) == list(range(8)), "none was begun in vain"
    assert len({job for _, job in noted(note, "end")}) >= 2
    assert store.check().ok


def test_a_task_that_dies_while_its_job_goes_on_takes_no_set_along(slurm, acting, log, tmp_path, sweeping):
    """As where the kernel has killed it for its memory; that it is silent shows it."""
    store = acting({1: partial(acts.hang_once, tmp_path / "once")})
    rows = sweeping(store, sets(1), Slurm(tasks_per_node=2))
    wait_until((tmp_path / "once").exists)
    [worker] = [int(line.split()[0]) for line in acts.lines(log)]
    psutil.Process(worker).parent().kill()
    wait_until(lambda: gone(worker))
    [spool] = spools(tmp_path)
    [taken] = spool.glob("*.doing")
    sign = spool / f"{taken.name.split('.')[1]}.alive"
    long_ago = sign.stat().st_mtime - 2 * SILENT_SECONDS
    os.utime(sign, (long_ago, long_ago))
    assert [row.n for row in rows()] == [1]
    assert acts.ns_in(log) == [1, 1]
    assert acting().check().ok


def test_ctrl_c_cancels_the_jobs_and_the_same_call_goes_on(slurm, start, tmp_path, log):
    note, gate, ns = tmp_path / "note", tmp_path / "gate", range(6)
    held = {str(n): ["end_or_last", str(note), str(gate)] for n in ns if n}
    order = {"client": {"look": LOOK}, "acts": held}
    first = start(ns, **order)
    wait_until(lambda: len(noted(note, "begin")) == 1)
    first.process.send_signal(signal.SIGINT)
    assert first.status() != 0
    assert "1 of 6 sets are stored" in first.err()
    assert not spools(tmp_path)
    until(lambda: not slurm.jobs(), "the jobs are cancelled, and what they run is ended")
    gate.touch()
    assert start(ns, **order).said()["ns"] == list(ns)
    assert Counter(n for n, _ in noted(note, "end")) == Counter(ns[1:])
    assert acts.ns_in(log).count(0) == 1, "what was finished is kept"


def test_a_sweep_that_is_killed_leaves_its_finished_runs_to_the_next_and_its_jobs_begin_no_more(
    slurm, start, open_store, tmp_path, log
):
    note, gate, ns = tmp_path / "note", tmp_path / "gate", range(4)
    held = {str(n): ["end_or_last", str(note), str(gate)] for n in ns}
    first = start(ns, client={"look": LOOK}, acts=held)
    wait_until(lambda: len(noted(note, "begin")) == 1)
    first.process.kill()
    first.status()
    assert len(spools(tmp_path)) == 1
    store = open_store()
    assert not spools(tmp_path), "whoever opens the store clears up after it"
    gate.touch()
    until(lambda: not slurm.jobs(), "the job sees that its sweep is gone, when its run has ended")
    [(done, _)] = noted(note, "end")
    assert [row.n for row in open_store().iterate()] == [done]
    assert [row.n for row in store.sweep(sets(*ns))] == list(ns)
    assert acts.ns_in(log).count(done) == 1
    assert store.check().ok


def test_all_jobs_cancelled_by_somebody_end_the_sweep(slurm, acting, log, tmp_path, sweeping):
    store = acting({1: partial(acts.run_a_program, tmp_path / "pids")})
    rows = sweeping(store, sets(0, 1), Slurm())
    wait_until(lambda: "all" in acts.lines(tmp_path / "pids"))
    slurm.run("scancel", *slurm.jobs())
    with pytest.raises(SlurmError, match="all jobs of this sweep were cancelled"):
        rows()
    assert [row.n for row in store.select()] == [0], "what is finished is stored"
    assert store.failures() == [], "a program that Slurm has ended is no failure"
    assert sorted(acts.ns_in(log)) == [0, 1]
    assert acting().check().ok


def test_the_scheduler_is_asked_every_few_seconds_at_most(slurm, acting, log, tmp_path, monkeypatch, sweeping):
    """While a job waits for a node, and while it runs: whatever is called of Slurm stands in a list."""
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 5.0)
    calls, gate = tmp_path / "calls", tmp_path / "gate"
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct"):
        if real := shutil.which(name):
            wrapper = tmp_path / "bin" / name
            wrapper.parent.mkdir(exist_ok=True)
            wrapper.write_text(f'#!/bin/bash\necho "$(date +%s.%N) {name}" >> {calls}\nexec {real} "$@"\n')
            wrapper.chmod(0o755)
    looks, begin = [], scheduler.Inquiry._begin  # by our own clock: a wrapper may take long to start
    monkeypatch.setattr(scheduler.Inquiry, "_begin", lambda self: (looks.append(time.monotonic()), begin(self))[1])
    store = acting({1: partial(acts.wait_for, gate)})
    with slurm.full():
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        rows = sweeping(store, sets(*range(20)), Slurm())
        wait_until(lambda: sum("squeue" in line for line in acts.lines(calls)) >= 2)
        assert acts.ns_in(log) == []
    gate.touch()
    assert len(rows()) == 20
    called = [(float(at), name) for at, name in map(str.split, acts.lines(calls))]
    # (The job itself asks once, when it begins, until when it may run.)
    assert Counter(name for _, name in called if name != "squeue") <= Counter(sbatch=1, scancel=1, scontrol=1)
    assert len(looks) >= 2
    assert all(later - earlier >= 5.0 for earlier, later in pairwise(looks)), looks


@pytest.mark.parametrize("for_ever", [False, True])
def test_a_scheduler_that_is_away_keeps_no_row_away_and_ends_the_sweep_only_after_long(
    slurm, acting, log, tmp_path, monkeypatch, sweeping, for_ever
):
    gate, calls = tmp_path / "gate", tmp_path / "calls"
    store = acting({1: partial(acts.wait_for, gate)})
    rows = sweeping(store, sets(0, 1, 2), Slurm())
    wait_until(lambda: 1 in acts.ns_in(log))
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text(f"#!/bin/bash\necho call >> {calls}\necho Unable to contact slurm controller >&2\nexit 1\n")
    squeue.chmod(0o755)
    with monkeypatch.context() as away:
        away.setenv("PATH", f"{squeue.parent}{os.pathsep}{os.environ['PATH']}")
        wait_until(lambda: len(acts.lines(calls)) >= 3)
        if for_ever:
            away.setattr(jobs, "LOST_SECONDS", 0.1)
            with pytest.raises(SlurmError, match=r"has not answered.*Unable to contact"):
                rows()
            assert [row.n for row in store.select()] == [0]
            gate.touch()
        else:
            gate.touch()
            assert [row.n for row in rows()] == [0, 1, 2]
    assert len(store.sweep(sets(0, 1, 2))) == 3
    assert acting().check().ok


def test_a_job_that_can_never_start_ends_the_sweep_with_the_reason(slurm, acting, log):
    store = acting()
    with pytest.raises(SlurmError, match="can never start: PartitionTimeLimit"):
        store.sweep(sets(1), Slurm(partition="short", time="2:00:00"))
    assert acts.ns_in(log) == []
    until(lambda: not slurm.jobs(), "no job is left, nor one that is completing")
    assert len(store.sweep(sets(1))) == 1, "nobody holds its claim"
    assert store.check().ok


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Slurm(partition="nowhere"), "sbatch failed.*invalid partition"),
        (Slurm(setup="echo no such module; exit 3"), "jobs in a row ended before(.|\n)*no such module"),
    ],
)
def test_nothing_runs_here_where_no_job_does(slurm, acting, log, asked, said):
    store = acting()
    with pytest.raises(SlurmError, match=said):
        store.sweep(sets(1, 2, 3), asked)
    assert acts.ns_in(log) == []
    until(lambda: not slurm.jobs(), "no job is left, nor one that is completing")
    assert len(store.sweep(sets(1))) == 1, "nobody holds its claim"
    assert store.check().ok


MODEL = """
from entropic import Base, Mapped, Store

class Row(Base):
    __tablename__ = "rows"
    x: Mapped[int]

def runner(params):
    import os
    open(params["result_file"], "w").write(os.environ["SLURM_JOB_NAME"])

store = Store(runner, Row, "results", ".txt", "sqlite:///db.sqlite3")
"""


def test_a_command_runs_the_sets_of_a_script_in_jobs(slurm, tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    command = ["sweep", "model.py:store", "--grid", "x=1,2,3", "--slurm", "time=5 mem=400M"]
    done = subprocess.run(
        [sys.executable, "-m", "entropic", *command], cwd=tmp_path, capture_output=True, text=True, env=os.environ
    )
    assert "3 sets: 0 already stored, 3 run in" in done.stdout, done.stderr
    assert all(file.read_text().startswith("entropic-rows-") for file in (tmp_path / "results").glob("*.txt"))
