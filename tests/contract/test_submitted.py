"""`sweep(..., wait=False)`: whose the sets are that jobs run. Its scheduler has commands that say what they are told.

What real jobs do is in `tests/executors/test_slurm_left.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from contract.models import CountingRunner
from entropic import ParameterError, Replicates, RunsFailedWarning, SlurmError
from entropic.db.claim_record import IDLE, RUNNING
from entropic.db.submissions import Submissions
from entropic.executors import scheduler
from entropic.executors.node import Said
from entropic.executors.spool import SILENT_SECONDS, Spool
from entropic.executors.submission import Submission
from entropic.executors.work import Report
from entropic.files.place import remove_tree
from entropic.protocol import holders, submitted, wait
from entropic.slurm import Slurm
from entropic.support import process
from entropic.support.failure import record
from entropic.sweep.share import Share
from entropic.upkeep import repair

MODEL = """
from entropic import Base, Mapped, Store

class Left(Base):
    __tablename__ = "left_by_a_command"
    x: Mapped[int]

store = Store(print, Left, "results", ".txt", "sqlite:///db.sqlite3")
"""


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `squeue` says; `sbatch` adds a job that waits, and `scancel` removes it."""
    said, folder = tmp_path / "queue", tmp_path / "bin"
    said.touch()
    folder.mkdir()
    name = 'for one in "$@"; do case $one in --job-name=*|--name=*) name=${one#*=};; esac; done'
    commands = {
        "sbatch": f"id=$(($(cat {said}.id 2>/dev/null || echo 0) + 1)); echo $id | tee {said}.id; "
        f'echo "$name $id PENDING 0 Priority" >> {said}',
        "squeue": f'echo "$name" >> {said}.asked; for one in ${{name//,/ }}; do grep "^$one " {said}; done | '
        "while read one id state restarts reason; do echo $id $state $restarts $one $reason; done",
        "scancel": f'sed -i "/^$name /d" {said}',
        "scontrol": f'echo "ClusterName             = $(cat {said}.cluster 2>/dev/null || echo one)"',
    }
    for command, line in commands.items():
        (folder / command).write_text(f"#!/bin/bash\n{name}\n{line}\n")
        (folder / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(wait, "WATCH_SECONDS", 0.05)
    return said


def recorded(store: Any) -> int:
    return len(list(Submissions(store._context.database).all()))


def spools(store: Any) -> list[Path]:
    return list(Path(store._context.staging.root, "submissions").iterdir())


@pytest.mark.slow
def test_sets_belong_to_their_jobs_as_long_as_slurm_knows_these_and_are_free_after_that(open_store, queue):
    runner = CountingRunner()
    store = open_store(run=runner)
    first = store.sweep(sets(0, 1), Slurm(), wait=False)
    assert (list(first), str(first.submitted)) == (
        [],
        "0 of 2 sets stored, 2 waiting in the queue; 2 submitted now, in job 1",
    )
    assert len(store.status().waiting) == 2
    assert (store.status().running, store.status().dead) == ({}, [])
    later = open_store(run=runner)
    assert later.check().ok, "what waits is nothing to complain of"
    later.repair()
    again = later.sweep(sets(1, 2), Slurm(), wait=False)
    assert (again.submitted.waiting, again.submitted.new, again.submitted.jobs) == (2, 1, ["2"])
    assert recorded(later) == 2
    queue.write_text(
        "".join(queue.read_text().splitlines(keepends=True)[1:])
    )  # the first one is over, and nobody remembers it
    third = later.sweep(sets(0, 1, 2), Slurm(), wait=False)
    assert (third.submitted.waiting, third.submitted.new) == (3, 2)
    queue.write_text("")
    assert [row.n for row in later.sweep(sets(0, 1, 2))] == [0, 1, 2], "who waits for them runs them here"
    assert runner.ns == [0, 1, 2]
    assert recorded(later) == 0
    assert not spools(later)


@pytest.mark.slow
def test_the_queue_is_asked_once_for_all_submissions(open_store, queue):
    """By the line that has submitted them; and by who waits for some of their sets, each time."""
    store, asked = open_store(), queue.with_name("queue.asked")
    for n in range(4):
        store.sweep(sets(n), Slurm(), wait=False)
    asked.unlink()
    assert store.sweep(sets(*range(4)), Slurm(), wait=False).submitted.waiting == 4
    assert [line.count(",") for line in asked.read_text().splitlines()] == [3]
    asked.unlink()
    queue.write_text("")
    assert [row.n for row in store.sweep(sets(*range(4)))] == [0, 1, 2, 3]
    assert {line.count(",") for line in asked.read_text().splitlines()} == {3}


def test_an_answer_is_handed_out_before_the_queue_is_asked_again(queue, monkeypatch):
    """A question that is asked in between may be for fewer names, and is one too many."""
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.0)  # so that another one is always due
    inquiry = scheduler.Inquiry()
    inquiry.add("b")
    with contextlib.closing(inquiry):
        while inquiry.poll("a") is None:
            time.sleep(0.01)
        assert inquiry.poll("b") == {}
        assert inquiry._polling is None, "nobody has asked anew"


def test_who_looks_no_more_leaves_no_question_behind(open_store, queue, monkeypatch):
    """Also after an interrupt when the first of several was looked at; what is over is forgotten."""
    (queue.with_name("bin") / "squeue").write_text("#!/bin/bash\nexec sleep 600\n")
    store, poll = open_store(), Submission.poll
    for n in range(2):
        submitted_alone(store, n, monkeypatch)
    watch = submitted.Watch(store._context)
    try:
        with monkeypatch.context() as interrupting:
            interrupting.setattr(Submission, "poll", lambda one: (poll(one), interrupt()))
            with pytest.raises(KeyboardInterrupt):
                watch.tend()
        [over] = [one for one in watch._known.values() if one._queue is None]
        Submissions(store._context.database).remove(over.number)
        watch.tend()
        assert set(watch._inquiry._asked) == {one.index.jobs for one in watch._known.values()}
        assert watch._inquiry._polling is not None
        watch._inquiry.add("of a submission that was never looked at")
        watch.close()
        assert watch._inquiry._polling is None
    finally:
        watch._inquiry.close()


def submitted_alone(store: Any, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submit a set while nobody looks after the others."""
    with monkeypatch.context() as alone:
        alone.setattr(submitted.Watch, "tend", lambda *_, **__: [])
        store.sweep(sets(n), Slurm(), wait=False)


@pytest.mark.slow
def test_a_submission_of_which_nothing_is_left_holds_no_set(open_store, queue):
    """Somebody has removed its folder; or its record, as where a database was restored."""
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    remove_tree(str(spools(store)[0]))
    assert [row.n for row in store.sweep(sets(0))] == [0]
    assert queue.read_text() == "", "its job, which would find nothing, is cancelled"
    store.sweep(sets(1), Slurm(), wait=False)
    [one] = Submissions(store._context.database).all()
    Submissions(store._context.database).remove(one.number)
    assert [row.n for row in store.sweep(sets(1))] == [1]
    assert store.check().ok


@pytest.mark.slow
def test_a_submission_that_somebody_is_just_making_is_left_to_them(open_store, queue):
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    [one] = Submissions(store._context.database).all()
    call = process.Call()
    records = Submissions(store._context.database)
    records.remove(one.number)
    store._context.database.transact(lambda connection: records.add(connection, one._replace(creator=call.name)))
    queue.write_text("")
    stray, new = (Path(store._context.staging.root, "submissions", name) for name in ("5", "6"))
    stray.mkdir()
    new.mkdir()
    long_ago = time.time() - 2 * submitted.OLD_SECONDS
    os.utime(stray, (long_ago, long_ago))
    with call.under_way:
        assert store.sweep(sets(0), Slurm(), wait=False).submitted.new == 0
    assert (stray.exists(), new.exists()) == (False, True), "one was killed before it was recorded, one may be working"
    assert store.sweep(sets(0), Slurm(), wait=False).submitted.new == 1, "it was killed before its jobs were there"


def test_a_scheduler_that_does_not_answer_frees_no_set(open_store, queue):
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    squeue = queue.with_name("bin") / "squeue"
    squeue.write_text("#!/bin/bash\necho Unable to contact slurm controller; exit 1\n")
    rows = store.sweep(sets(0), Slurm(), wait=False)
    assert (rows.submitted.waiting, rows.submitted.new) == (1, 0)


@pytest.mark.slow
def test_what_cannot_be_seen_from_here_frees_no_set(open_store, queue, monkeypatch):
    """The spool is another user's; or Slurm is another one, or does not show the job, which is at work."""
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    queue.write_text("")
    with monkeypatch.context() as unseen:
        unseen.setattr(Spool, "get", refuse_to_read)
        assert store.sweep(sets(0), Slurm(), wait=False).submitted.new == 0
    [spool] = spools(store)
    spool.joinpath("1.todo").rename(spool / "1.7-0-0.doing")
    sign = spool / "7-0-0.alive"
    sign.touch()
    rows = store.sweep(sets(0), Slurm(), wait=False)
    assert (rows.submitted.running, rows.submitted.new) == (1, 0)
    with monkeypatch.context() as without_slurm:
        without_slurm.setenv("PATH", str(spool.parent))
        assert store.repair().done == []
    silent = sign.stat().st_mtime - 2 * SILENT_SECONDS
    os.utime(sign, (silent, silent))
    assert store.sweep(sets(0), Slurm(), wait=False).submitted.new == 1
    [claim] = store._context.ledger.all()
    assert dataclasses.replace(claim, state=IDLE, published=claim.attempt).placed_elsewhere, "anybody may have done it"


def refuse_to_read(*_: Any) -> bytes:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_repair_frees_what_no_task_is_at_where_there_is_no_slurm(open_store, queue, monkeypatch, tmp_path):
    """As on a laptop to which a project has come; a job that begins later finds nothing."""
    store = open_store()
    store.sweep(sets(0, 1), Slurm(), wait=False)
    assert store.repair().done == [], "here Slurm says that the job waits"
    with monkeypatch.context() as without_slurm:
        without_slurm.setenv("PATH", str(tmp_path / "nowhere"))
        said, *_ = store.repair().done
        assert said.startswith("freed 2 sets submitted to Slurm")
        assert (recorded(store), spools(store)) == (0, [])
        assert [row.n for row in store.sweep(sets(0, 1))] == [0, 1]


def test_a_submission_that_somebody_else_ends_meanwhile_is_no_error(open_store, queue, monkeypatch):
    store, poll = open_store(), Submission.poll
    store.sweep(sets(0), Slurm(), wait=False)
    queue.write_text("")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Submission, "poll", lambda one: (poll(one), remove_tree(one.folder)))
        store.sweep(sets(0), Slurm(), wait=False)
    assert store.sweep(sets(0), Slurm(), wait=False).submitted.new == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "calls", "said"),
    [("WorkerDied", 2, "it went wrong"), ("NODE_FAIL", 2, "2 jobs of Slurm ended in"), ("Refused", 1, "it went wrong")],
)
def test_what_a_machine_did_is_tried_again_as_often_as_retries_says(open_store, queue, how, calls, said):
    """To a run alone, or with its job; what a run raises is not tried again by itself."""
    store = open_store()

    def call() -> Any:
        return store.sweep(sets(0), Slurm(), wait=False, retries=1, on_error="continue")

    for job in range(1, calls + 1):
        assert (call().submitted.new, store.failures()) == (1, [])
        go_wrong(store, queue, job, how)
    with pytest.warns(RunsFailedWarning):
        last = call().submitted
    assert (last.failed, last.new, last.is_over) == (1, 0, True)
    [failure] = store.failures()
    assert failure.message.startswith(said)
    assert failure.message.count("NODE_FAIL") == (calls if how == "NODE_FAIL" else 0)
    assert call().submitted.new == 1, "the call after the one that has said it tries again"


@pytest.mark.slow
def test_deaths_are_counted_anew_after_a_set_has_failed_by_what_it_raised(open_store, queue):
    store = open_store()
    asked = {"client": Slurm(), "wait": False, "retries": 1, "on_error": "continue"}
    for job, how in enumerate(["NODE_FAIL", "Refused"], start=1):
        assert store.sweep(sets(0), **asked).submitted.new == 1
        go_wrong(store, queue, job, how)
    with pytest.warns(RunsFailedWarning):
        assert store.sweep(sets(0), **asked).submitted.failed == 1
    assert store.sweep(sets(0), **asked).submitted.new == 1
    go_wrong(store, queue, 3, "NODE_FAIL")
    again = store.sweep(sets(0), **asked).submitted
    assert (again.failed, again.new) == (0, 1), "that was the first death since"


def go_wrong(store: Any, queue: Path, job: int, how: str) -> None:
    """Let the only set be lost with its job, or end with a failure of that kind."""
    [one] = Submissions(store._context.database).all()
    [spool], [claim] = spools(store), store._context.ledger.all()
    if how == "NODE_FAIL":
        spool.joinpath("1.todo").rename(spool / f"1.{job}-0-0.doing")
        queue.write_text(queue.read_text().replace("PENDING 0 Priority", "NODE_FAIL 0 None"))
    else:
        spool.joinpath("1.todo").unlink()
        report = Report(reason="it ended", failure=record(how, "it went wrong", "", time.time()))
        Spool(str(spool), one.secret).put(f"0.{job}-0-0.said", pickle.dumps(Said([(claim.attempt, report)])))
        queue.write_text("")


def test_what_cannot_be_submitted_is_free(open_store, queue):
    (queue.with_name("bin") / "sbatch").write_text("#!/bin/bash\necho no such account >&2; exit 1\n")
    store = open_store()
    with pytest.raises(SlurmError, match="no such account"):
        store.sweep(sets(0), Slurm(), wait=False)
    assert [claim.state for claim in store._context.ledger.all()] != [RUNNING]
    assert recorded(store) == 0


def test_an_interrupt_while_jobs_are_submitted_frees_their_sets(open_store, queue, monkeypatch):
    store = open_store()
    with monkeypatch.context() as interrupting:
        interrupting.setattr(Submission, "submit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.sweep(sets(0, 1), Slurm(), wait=False)
    assert [claim.state for claim in store._context.ledger.all()] == ["idle", "idle"]
    assert recorded(store) == 0


def test_an_interrupt_after_jobs_were_submitted_frees_no_set(open_store, queue, monkeypatch):
    store = open_store()
    with monkeypatch.context() as interrupting:
        interrupting.setattr(Share, "leave", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.sweep(sets(0), Slurm(), wait=False)
    rows = store.sweep(sets(0), Slurm(), wait=False)
    assert (rows.submitted.waiting, rows.submitted.new) == (1, 0)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"wait": False}, "wait=False is for Slurm"),
        ({"wait": False, "workers": 2}, "wait=False is for Slurm"),
        ({"wait": False, "client": Slurm(), "deadline": "2h"}, "deadline cannot be combined with wait=False"),
        ({"wait": False, "client": Slurm(), "rerun": True}, "rerun cannot be combined with wait=False"),
        ({"wait": "no", "client": Slurm()}, "wait must be True or False, not 'no'"),
        ({"retries": 2}, "retries is for workers and Slurm"),
        ({"retries": -1, "workers": 1}, "retries must be a whole number from 0"),
        ({"retries": True, "workers": 1}, "retries must be a whole number from 0"),
    ],
)
def test_options_that_cannot_be_met_are_refused_before_anything(store, options, why):
    with pytest.raises(ParameterError, match=re.escape(why)):
        store.sweep(sets(0), **options)


@pytest.mark.slow
def test_a_command_submits_and_returns(queue, tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    sweep = ["sweep", "model.py:store", "--grid", "x=1,2,3", "--slurm", "time=5", "--no-wait"]
    assert call(tmp_path, *sweep).strip() == "0 of 3 sets stored, 3 waiting in the queue; 3 submitted now, in job 1"
    name, *_ = queue.read_text().split()
    shown = call(tmp_path, "status", "model.py:store")
    assert f"jobs {name} since " in shown
    assert "0 running, 3 waiting, asks for time=5" in shown
    [one] = json.loads(call(tmp_path, "status", "model.py:store", "--json"))["submissions"]
    assert (one["jobs"], len(one["waiting"]), one["place"]) == (name, 3, "here")
    queue.write_text("")
    assert "no job is left in the queue" in call(tmp_path, "repair", "model.py:store", "--dry-run", status=1)
    assert "no job is left in the queue" in call(tmp_path, "check", "model.py:store", status=1)


def call(folder: Path, *words: str, status: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "entropic", *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout


def test_an_error_bar_needs_a_sweep_that_waits(store):
    several = Replicates(2, outcome="n", error=0.1, column="n")
    with pytest.raises(ParameterError):
        store.sweep([{"dt": 0.5}], Slurm(), replicates=several, wait=False)


# ---- what holds sets of which nothing comes ------------------------------------------------------------------------
@pytest.mark.slow
def test_what_waits_in_the_queue_is_shown_with_its_jobs_and_what_they_ask_for(open_store, queue):
    store = open_store()
    store.sweep(sets(0, 1), Slurm(time="2:00:00", mem="4G"), wait=False)
    [one] = store.status().submissions
    assert queue.read_text().startswith(f"{one.jobs} "), "as squeue --name takes it"
    assert (one.running, sorted(one.waiting), one.place) == ({}, sorted(store.status().waiting), "here")
    assert one.asked == "time=2:00:00 mem=4G"
    reader = open_store(read_only=True)
    assert reader.status().submissions == [one]
    assert reader.check().ok
    [spool] = spools(store)
    spool.joinpath("1.todo").rename(spool / "1.7-0-0.doing")
    [one] = store.status().submissions
    assert list(one.running.values()) == ["7"]


@pytest.mark.slow
def test_a_check_says_of_which_submissions_no_job_is_left_and_a_dry_run_what_would_be_freed(open_store, queue):
    store = open_store()
    store.sweep(sets(0, 1), Slurm(), wait=False)
    assert (store.check().ok, store.repair(dry_run=True).done) == (True, [])
    queue.write_text("")
    report = store.check()
    assert not report.ok
    assert [one.text.partition(", of which")[2] for one in report.dead_claims] == [
        " no job is left in the queue; it runs again when asked for"
    ] * 2
    assert store.repair(dry_run=True).done == [one.text for one in report.dead_claims]
    assert recorded(store) == 1, "nothing was changed"
    assert len(store.repair().done) == 2
    assert store.check().ok
    assert (recorded(store), spools(store)) == (0, [])


def test_a_check_where_no_slurm_can_be_asked_says_what_nobody_can_tell_and_finds_no_disorder(
    open_store, queue, monkeypatch, tmp_path
):
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    report = store.check()
    assert report.ok
    [one] = report.unseen
    assert "Slurm says nothing of its jobs" in str(report)
    [said] = store.repair(dry_run=True).done
    assert said.startswith(f"{one.id}: submitted to Slurm as ")
    assert recorded(store) == 1
    assert store.repair().left.unseen == []
    assert recorded(store) == 0


def test_a_folder_that_was_deleted_holds_no_set_where_there_is_no_slurm(open_store, queue, monkeypatch, tmp_path):
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    remove_tree(str(spools(store)[0]))
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    [one] = store.check().dead_claims
    assert "whose folder was removed from this results folder" in one.text
    assert store.status().submissions[0].place == "removed"
    store.repair()
    assert (store.check().ok, recorded(store)) == (True, 0)
    assert [row.n for row in store.sweep(sets(0))] == [0]


@pytest.mark.slow
@pytest.mark.parametrize("slurm", ["knows its job", "knows no job", "is not there"])
def test_a_submission_of_another_results_folder_is_freed_by_a_repair_where_no_job_of_it_is_left(
    open_store, queue, monkeypatch, tmp_path, slurm
):
    """As where the folder was deleted, and the script goes on with a new one."""
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    remove_tree(str(tmp_path / "results"))
    other = open_store(results_dir=tmp_path / "others")
    if slurm == "knows no job":
        queue.write_text("")
    if slurm == "is not there":
        monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    is_copied = slurm == "is not there" and not other._context.database.is_shared
    is_free = slurm == "knows no job" or is_copied
    assert len(other.repair(dry_run=True).done) == is_free
    assert len(other.repair().done) == is_free, "which is said once"
    assert recorded(other) == (not is_free)
    if is_free:
        assert [row.n for row in other.sweep(sets(0))] == [0]
    elif slurm == "knows its job":
        assert other.check().ok
    else:
        assert len(other.check().unseen) == 1


@pytest.mark.parametrize(
    "why", ["the folder is there", "of before", "another cluster", "another user", "a second look"]
)
def test_a_submission_of_another_results_folder_keeps_its_sets_where_jobs_of_it_may_be_left(
    open_store, queue, monkeypatch, tmp_path, why
):
    """Slurm, as it is seen from here, knows no job; only the last time, it knows it again."""
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    [spool], said = spools(store), queue.read_text()
    begin(spool)
    queue.write_text("")
    other = open_store(results_dir=tmp_path / "others")
    if why != "the folder is there":
        remove_tree(str(tmp_path / "results"))
    if why == "of before":
        forget_origins(other)
    if why == "another cluster":
        queue.with_name("queue.cluster").write_text("two")
    if why == "another user":
        monkeypatch.setattr(os, "getuid", lambda: -1)
    if why == "a second look":
        appear(queue, said, asked=3)
    done = other.repair()
    assert (done.done, recorded(other)) == ([], 1)
    assert [claim.state for claim in other._context.ledger.all()] == [RUNNING]
    if why == "the folder is there":
        assert spool.joinpath("1.7-0-0.doing").exists()
    if why != "a second look":
        [one] = done.left.unseen
        assert "with another results folder than this one" in one.text
        assert (str(tmp_path / "results") in one.text) == (why != "of before")
        assert [left.text for left in other.check().unseen] == [one.text]


def begin(spool: Path) -> None:
    """Let a task take the only set, and give a sign of life."""
    spool.joinpath("1.todo").rename(spool / "1.7-0-0.doing")
    spool.joinpath("7-0-0.alive").touch()


def forget_origins(store: Any) -> None:
    """Leave of what is recorded of submissions what was recorded of the first ones."""
    context = store._context
    name = f"submitted.{next(iter(Submissions(context.database).all())).number}"
    connection = context.database.connection()
    marker = context.database.sql.paramstyle
    text = {"qmark": "?", "format": "%s", "pyformat": "%s"}[marker]
    assert connection.change(f"DELETE FROM entropic_meta WHERE name = {text}", (name,))
    [one] = Submissions(context.database).all()
    assert (one.by, one.folder) == ("", "")


def appear(queue: Path, said: str, asked: int) -> None:
    """Let Slurm know a job from the time on when it is asked so often."""
    queue.with_name("queue.asked").unlink(missing_ok=True)
    name, id, state, restarts, reason = said.split()
    squeue = queue.with_name("bin") / "squeue"
    count = f"echo >> {queue}.asked; [ $(wc -l < {queue}.asked) -ge {asked} ]"
    squeue.write_text(f"#!/bin/bash\nif {count}; then echo {id} {state} {restarts} {name} {reason}; fi\n")


def test_a_job_that_begins_during_the_check_of_a_repair_keeps_its_sets(open_store, queue, monkeypatch, tmp_path):
    """The check reads all rows and files, which may take long."""
    store, check = open_store(), repair.check
    store.sweep(sets(0), Slurm(), wait=False)
    [spool] = spools(store)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(repair, "check", lambda *a, **k: (begin(spool), meanwhile.undo(), check(*a, **k))[2])
        done = store.repair()
    assert (done.done, spools(store), recorded(store)) == ([], [spool], 1)
    assert done.left.unseen == []


def test_nothing_is_freed_that_is_at_work_when_it_comes_to_that(open_store, queue):
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    [one], [spool] = Submissions(store._context.database).all(), spools(store)
    begin(spool)
    with contextlib.closing(submitted.Watch(store._context)) as watch:
        assert not watch.end(one.number)
        spool.joinpath("1.7-0-0.doing").rename(spool / "1.todo")
        assert watch.end(one.number)
    assert spools(store) == []


@pytest.mark.slow
@pytest.mark.parametrize("slurm", ["knows no job", "is not there"])
def test_of_a_submission_that_is_at_work_nobody_says_that_it_gives_no_sign_of_life(
    open_store, queue, monkeypatch, tmp_path, slurm
):
    """Neither after a repair, nor in a read-only store, which does not look for signs of life, and says so."""
    store = open_store()
    store.sweep(sets(0), Slurm(), wait=False)
    begin(spools(store)[0])
    queue.write_text("")
    if slurm == "is not there":
        monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    for report in (store.check(), store.repair().left, store.check()):
        assert (report.ok, report.unseen) == (True, []), report
    reader = open_store(read_only=True)
    assert reader.check().ok
    [one] = reader.check().unseen
    assert "whose signs of life cannot be seen from here" in one.text


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "moment"), [(Submissions, "all"), (holders, "_where"), (scheduler.Inquiry, "poll")])
def test_a_submission_that_ends_in_the_middle_of_a_check_is_no_disorder(open_store, queue, monkeypatch, owner, moment):
    store, real = open_store(), getattr(owner, moment)
    store.sweep(sets(0), Slurm(), wait=False)
    queue.write_text("")
    with monkeypatch.context() as meanwhile:

        def ending(*arguments: Any) -> Any:
            meanwhile.undo()
            assert len(open_store().sweep(sets(0))) == 1
            return real(*arguments)

        meanwhile.setattr(owner, moment, ending)
        report = store.check()
    assert (report.ok, report.unseen) == (True, []), report


@pytest.mark.parametrize("folder", ["results", "with a space, 100 % of it", "Größe", f"{'d' * 100}/{'e' * 200}"])
def test_it_is_recorded_by_whom_and_with_which_results_folder_sets_were_submitted(open_store, queue, tmp_path, folder):
    """A path that is too long for the table is left out: then nothing of it is freed by guess."""
    store = open_store(results_dir=tmp_path / folder)
    store.sweep(sets(0), Slurm(), wait=False)
    [one] = Submissions(store._context.database).all()
    assert one.folder == ("" if "/" in folder else os.path.realpath(tmp_path / folder))
    assert (one.by, one.creator) == (f"{os.getuid()}@one", None)
    Submissions(store._context.database).remove(one.number)
    meta = store._context.database.connection().fetch("SELECT name FROM entropic_meta", ())
    assert not [name for (name,) in meta if str(one.number) in name]
