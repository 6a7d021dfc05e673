"""`Slurm(time="learn", mem="learn")`: for what its jobs ask. Its scheduler has commands that say what they are told.

What real jobs do is in `tests/executors/test_slurm_left.py`.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entropic import ParameterError
from entropic.db.submissions import Submissions
from entropic.executors import scheduler
from entropic.executors.job_limits import bounds, parse_memory, parse_time
from entropic.executors.spool import SILENT_SECONDS
from entropic.slurm import Slurm
from entropic.support.job import ASKED
from entropic.sweep import learned
from entropic.sweep.learned import Learned

MINUTES = 10  # that a run of n = 1 takes; one of n = 2 takes twice as long
MEGABYTES = 1_000  # that it holds
LEARNS = Slurm(time="learn", mem="learn")
GB = 2**30


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


def take_long(params: dict[str, Any]) -> None:
    """Take as long as `n` says, by its own account."""
    Path(params["result_file"]).write_text("done")
    params["custom_data"]["elapsed_seconds"] = 60.0 * MINUTES * params["n"]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `sinfo` says; `sbatch` notes its options beside it, and all jobs have ended, as nobody knows."""
    said, folder = tmp_path / "sinfo", tmp_path / "bin"
    said.write_text("main*|infinite|64000\nshort|30:00|2000\nshort|30:00|8000\n")
    folder.mkdir()
    lines = {
        "sbatch": f'echo "$@" >> {said}.sbatch; wc -l < {said}.sbatch',
        "sinfo": f"echo >> {said}.asked; cat {said}",
        "squeue": "true",
        "scancel": "true",
    }
    for command, line in lines.items():
        (folder / command).write_text(f"#!/bin/bash\n{line}\n")
        (folder / command).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(scheduler, "POLL_SECONDS", 0.05)
    return said


def test_a_partition_is_found_whatever_the_user_has_sinfo_list(slurm, monkeypatch):
    (slurm.with_name("bin") / "sinfo").write_text(f'#!/bin/bash\n[ -n "$SINFO_PARTITION" ] || cat {slurm}\n')
    monkeypatch.setenv("SINFO_PARTITION", "main")
    assert bounds(Slurm(partition="short")) == (1800, 8000 * 2**20)


@pytest.fixture
def known(open_store: Any, place: Any) -> Any:
    """Return a store that knows what so many runs took."""

    def make(count: int = 16) -> Any:
        store = open_store(run=take_long)
        store.sweep([{"n": 1 + i % 4, "dt": float(i)} for i in range(count)])
        for row in store.select():
            place.execute(f"UPDATE entropic_ledger SET peak_memory = {row.n * MEGABYTES * 2**20} WHERE id = '{row.id}'")
        return store

    return make


def asked(said: Path) -> list[tuple[float | None, float | None]]:
    """Return for how many seconds and bytes each submission has asked."""
    found = []
    for line in said.with_name("sinfo.sbatch").read_text().splitlines():
        options = dict(re.findall(r"--(time|mem)=(\S+)", line))
        found.append((parse_time(options.get("time", "")), parse_memory(options.get("mem", ""))))
    return found


def wait_in_the_queue(said: Path) -> None:
    """Let all jobs wait, as `squeue` says from now on."""
    lines = f"""n=0
while read -r line; do
  n=$((n+1)); name=${{line#*--job-name=}}
  echo "$n PENDING 0 ${{name%% *}} Priority"
done < {said}.sbatch
"""
    said.with_name("bin").joinpath("squeue").write_text(f"#!/bin/bash\n{lines}")


def task(**params: Any) -> Any:
    """Return what is looked at of a task."""
    return SimpleNamespace(params=params, key="0123456789abcdef", attempt=f"1-{params}")


def test_a_job_asks_for_what_holds_its_runs_as_stored_rows_tell(known, slurm):
    store = known()
    needed = store.plan(sets(2, 4)).cost()
    store.sweep(sets(2, 4), LEARNS, wait=False)
    [(seconds, memory)] = asked(slurm)
    assert needed.seconds.high + 60 < seconds < 1.5 * needed.seconds.high + 600, "with room for its start"
    assert 4 * MEGABYTES * 2**20 < memory < 8 * MEGABYTES * 2**20
    assert (
        store.status().submissions[0].asked
        == f"time={int(seconds) // 3600}:{int(seconds) % 3600 // 60:02d}:00 mem={int(memory) >> 20}M"
    )


@pytest.mark.slow
def test_tasks_share_the_time_and_add_up_their_memory(known, slurm):
    store = known()
    store.sweep(sets(*[1] * 1, 2, 3, 4), Slurm(time="learn", mem="learn", tasks_per_node=4), wait=False)
    store.sweep([{"n": 4, "dt": 100.5}], LEARNS, wait=False)
    (together, of_node), (alone, of_task) = asked(slurm)
    assert together < 60 * MINUTES * (1 + 2 + 3 + 4), "four sets, one for each task"
    assert together > 60 * MINUTES * 4
    assert alone > 60 * MINUTES * 4
    assert of_node == pytest.approx(4 * of_task, rel=0.2)


def test_what_takes_next_to_nothing_has_a_least(open_store, slurm):
    store = open_store()
    store.sweep([{"n": 1, "dt": float(i)} for i in range(16)])
    store.sweep([{"n": 1, "dt": 99.0}], Slurm(time="learn"), wait=False)
    [(seconds, memory)] = asked(slurm)
    assert seconds >= 300
    assert memory is None, "only what is to be learned is"


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize(
    ("client", "count", "why"),
    [
        (Slurm(time="learn"), 3, 'needs at least 8 stored runs .*, and there are 3. Give time="2:00:00"'),
        (Slurm(time="learn"), 0, "and there are 0"),
        (Slurm(mem="learn"), 3, 'how much memory they held .*, and there are 3. Give mem="4G"'),
    ],
)
def test_too_few_stored_runs_are_an_error_before_anything_is_submitted(known, slurm, client, count, why, wait):
    store = known(count)
    with pytest.raises(ParameterError, match=why):
        store.sweep(sets(4), client, wait=wait)
    assert not slurm.with_name("sinfo.sbatch").exists()
    assert store.status().waiting == []
    assert len(store.sweep([{"n": 1, "dt": 0.0}] * min(count, 1), client, wait=wait)) == min(count, 1), (
        "nothing is missing"
    )


def test_a_set_of_which_nothing_can_be_said_is_an_error(open_store, slurm):
    store = open_store()
    store.sweep([{"n": 1, "dt": float(i)} for i in range(16)])
    with pytest.raises(ParameterError, match=r"cannot judge 1 set: all 16 stored runs that tell .* have the same n"):
        store.sweep([{"n": 2, "dt": 99.0}], Slurm(time="learn"), wait=False)


@pytest.mark.parametrize("client", [{"partition": "short"}, {"extra": ["--part=short"]}])
def test_no_job_asks_for_more_than_its_partition_allows(known, slurm, client):
    store = known()
    store.sweep(
        [{"n": 4, "dt": 99.0}], Slurm(time="learn", mem="learn", nodes=1, tasks_per_node=4, **client), wait=False
    )
    [(seconds, memory)] = asked(slurm)
    assert (seconds, memory) == (1800, 8000 * 2**20)
    assert len(slurm.with_name("sinfo.asked").read_text().splitlines()) == 1, "which is asked once"


@pytest.mark.slow
@pytest.mark.parametrize(("printed", "grows"), [("DUE TO TIME LIMIT", 0), ("exceeded memory limit", 1)])
def test_a_set_that_had_too_little_gets_twice_as_much_the_next_time(known, slurm, printed, grows):
    """And no more of what was enough; twice as much again after that, until it has failed."""
    store = known()
    store.sweep(sets(2), LEARNS, wait=False, retries=2)
    for job in ("1", "2"):
        [spool] = Path(store._context.staging.root, "submissions").iterdir()
        spool.joinpath("1.todo").rename(spool / f"1.{job}-0-0.doing")
        sign = spool / f"{job}-0-0.alive"
        sign.touch()
        os.utime(sign, (time.time() - 2 * SILENT_SECONDS,) * 2)
        spool.joinpath(f"job-{job}.out").write_text(f"slurmstepd: error: JOB {job} {printed}\n")
        store.sweep(sets(2), LEARNS, wait=False, retries=2)
    first, second, third = asked(slurm)
    assert second[grows] == pytest.approx(2 * first[grows], abs=60)
    assert third[grows] == pytest.approx(4 * first[grows], abs=120)
    assert {one[1 - grows] for one in (first, second, third)} == {first[1 - grows]}


@pytest.mark.slow
def test_a_row_says_for_what_its_job_had_asked(open_store, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv(ASKED, "time=0:12:00 mem=900M")
    store = open_store(run=take_long)
    [row] = store.sweep(sets(1), workers=1)
    found = store.provenance(row)
    assert (found.job, found.job_asked) == ("Slurm 7", "time=0:12:00 mem=900M")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-0", 86400), ("1-12:30", 131400), ("2-00:00:00", 172800)],
)
def test_times_are_read_as_slurm_means_them(text, seconds):
    assert parse_time(text) == seconds
    assert parse_time("infinite") is None


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 * GB), ("400", 400 * 2**20), ("1024K", 2**20), ("8000+", 8000 * 2**20)]
)
def test_memory_is_read_as_slurm_means_it(text, size):
    assert parse_memory(text) == size
    assert parse_memory("all") is None


@pytest.mark.slow
def test_a_waiting_sweep_learns_too(known, slurm):
    """Its only job ends at once; it is what the job has asked for that counts here."""
    store = known()
    with pytest.raises(Exception, match="jobs in a row ended"):
        store.sweep(sets(4), LEARNS)
    assert all(seconds > 60 * MINUTES * 4 for seconds, _ in asked(slurm))
    assert not list(Submissions(store._context.database).all())


@pytest.mark.slow
def test_jobs_that_replace_others_ask_for_their_share_of_all_that_is_left(known, slurm):
    """And not only of what was handed out by then, which is less."""
    store = known()
    with pytest.raises(Exception, match="jobs in a row ended"):
        store.sweep([{"n": 4, "dt": 100.5 + i} for i in range(40)], Slurm(time="learn"))
    first, *others = [seconds for seconds, _ in asked(slurm)]
    assert first > 40 * 4 * 60 * MINUTES
    assert others
    assert set(others) == {first}


def test_a_submission_asks_for_its_own_sets_and_not_for_those_that_others_have(known, slurm):
    store, long = known(), [{"n": 4, "dt": 100.5 + i} for i in range(50)]
    store.sweep(long, LEARNS, wait=False)
    wait_in_the_queue(slurm)
    assert store.sweep([*long, {"n": 1, "dt": 300.5}], LEARNS, wait=False).submitted.new == 1
    [(of_all, most), (seconds, memory)] = asked(slurm)
    assert of_all > 50 * 4 * 60 * MINUTES
    assert 60 * MINUTES < seconds < 4 * 60 * MINUTES
    assert memory < most / 2


@pytest.mark.slow
def test_a_set_that_others_have_need_not_be_known(open_store, slurm):
    store, unlike = open_store(), {"n": 2, "dt": 99.0}
    store.sweep([{"n": 1, "dt": float(i)} for i in range(16)])
    store.sweep([unlike], Slurm(time="2:00:00"), wait=False)
    wait_in_the_queue(slurm)
    assert store.sweep([unlike, {"n": 1, "dt": 99.5}], Slurm(time="learn"), wait=False).submitted.new == 1
    assert store.sweep([unlike], Slurm(time="learn"), wait=False).submitted.new == 0


@pytest.mark.parametrize("wait", [True, False])
def test_each_of_very_many_sets_is_looked_at_before_anything_is_submitted(open_store, slurm, monkeypatch, wait):
    monkeypatch.setattr(learned, "MOST_ASKED", 2)
    store, many = open_store(), [{"n": 1, "dt": 100.5 + i} for i in range(40)]
    store.sweep([{"n": 1, "dt": float(i)} for i in range(16)])
    with pytest.raises(ParameterError, match=r"cannot judge 1 set: all 16 stored runs that tell .* have the same n"):
        store.sweep([*many, {"n": 2, "dt": 99.5}], Slurm(time="learn"), wait=wait)
    assert not slurm.with_name("sinfo.sbatch").exists()
    assert len(store.sweep(many)) == 40, "no claim is left behind"


def test_memory_is_for_the_largest_of_very_many_sets_and_time_for_all_with_the_longest_last(known, slurm, monkeypatch):
    store, many = known(), [{"n": 1, "dt": 100.5 + i} for i in range(40)]
    largest = {"n": 4, "dt": 99.5}
    store.sweep([*many, largest], LEARNS, wait=False)
    monkeypatch.setattr(learned, "MOST_ASKED", 2)
    wait_in_the_queue(slurm)
    store.sweep([{**one, "dt": one["dt"] + 0.25} for one in (*many, largest)], LEARNS, wait=False)
    [(seconds, memory), (about, of_some)] = asked(slurm)
    assert of_some == pytest.approx(memory, rel=0.01)
    assert about == pytest.approx(seconds, rel=0.1)


@pytest.mark.slow
def test_a_search_learns_when_it_asks_for_something(known, slurm):
    store = known()
    with pytest.raises(Exception, match="jobs in a row ended"):
        list(store.stream(iter(sets(4)), LEARNS, in_flight=2))
    assert all(seconds > 60 * MINUTES * 4 for seconds, _ in asked(slurm))
    assert asked(slurm)


def test_a_search_is_refused_only_when_it_asks_for_what_is_not_stored(known, slurm):
    store, stored = known(3), {"n": 1, "dt": 0.0}
    assert len(list(store.stream(iter([stored]), LEARNS, in_flight=2))) == 1
    found = store.stream(iter([stored, *sets(4)]), LEARNS, in_flight=1)
    assert next(found).dt == 0
    with pytest.raises(ParameterError, match="there are 3"):
        next(found)
    assert not slurm.with_name("sinfo.sbatch").exists()
    assert sorted(one.state for one in store._context.ledger.all()) == ["idle"] * 4, "it is released"
    assert len(store.sweep(sets(4))) == 1


def test_once_jobs_run_a_set_of_which_nothing_can_be_said_changes_nothing(open_store, slurm):
    store = open_store(run=take_long)
    store.sweep([{"n": 1, "dt": float(i)} for i in range(16)])
    found = Learned(store._context, Slurm(time="learn"))
    before = found.of([task(n=1, dt=99.5)], Slurm(time="learn"))
    assert found.of([task(n=1, dt=99.5), task(n=2, dt=99.5)], Slurm(time="learn")) == before
    assert found.of([task(n=2, dt=98.5)], Slurm(time="learn")) == before


def test_nothing_needs_the_least(known, slurm):
    assert Learned(known()._context, LEARNS).of([], LEARNS).time == "0:05:00"


@pytest.mark.parametrize("factor", [1e10, 1e160, 1e300])
def test_where_nothing_has_an_end_a_job_asks_for_a_year_at_most(open_store, slurm, factor):
    def take_ages(params: dict[str, Any]) -> None:
        Path(params["result_file"]).write_text("done")
        params["custom_data"]["elapsed_seconds"] = factor * params["n"]

    store = open_store(run=take_ages)
    store.sweep([{"n": 1 + i % 4, "dt": float(i)} for i in range(16)])
    store.sweep(sets(1, 2), Slurm(time="learn"), wait=False)
    assert asked(slurm) == [(365 * 86400, None)]
