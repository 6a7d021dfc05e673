"""What can be said of sweeps on Slurm without one: the folder, what jobs ask for, and what the queue says."""

from __future__ import annotations

import os
import pickle
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from databases import until
from entropic import ParameterError
from entropic.executors.contract import Ending
from entropic.executors.node import Desk, Given
from entropic.executors.pickling import packed
from entropic.executors.queue import printed
from entropic.executors.scheduler import Job, _sorted
from entropic.executors.spool import SWEEP, Forged, Heart, Name, Spool, job_of
from entropic.slurm import Slurm


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path), b"k" * 32)


def test_what_somebody_puts_into_the_spool_is_not_unpickled(spool, tmp_path):
    probe = tmp_path / "probe"
    harmless = pickle.dumps(_Making(probe))
    of_another = Spool(str(tmp_path), b"another key")._seal("7.todo", harmless)
    for text in (harmless, b"", b"x" * 32 + harmless, of_another + harmless):
        (tmp_path / "7.todo").write_bytes(text)
        with pytest.raises(Forged, match=r"7\.todo in .* is not what this sweep has put there"):
            spool.get("7.todo")
    assert not probe.exists()


class _Making:
    """What makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


def next_descriptor() -> int:
    """Return the number that the next file gets."""
    os.close(number := os.open(os.devnull, os.O_RDONLY))
    return number


def test_nothing_is_written_or_read_through_a_link_in_the_spool(spool, tmp_path, beside):
    (tmp_path / "1.todo").symlink_to(beside / "probe.txt")
    (tmp_path / f".1.todo.{threading.get_ident()}.new").symlink_to(beside / "probe.txt")
    spool.put("1.todo", b"one")
    assert spool.get("1.todo") == b"one"
    (tmp_path / "2.todo").symlink_to(tmp_path / "1.todo")
    os.mkfifo(tmp_path / "3.todo")
    (tmp_path / "4.todo").mkdir()
    before = next_descriptor()
    for name in ("2.todo", "3.todo", "4.todo"):
        with pytest.raises(OSError, match=r"[234]\.todo"):
            spool.get(name, "1.todo")
    assert next_descriptor() == before, "none stays open"


def test_a_spool_whose_folder_became_a_link_is_gone(tmp_path, beside):
    (tmp_path / "spool").mkdir()
    spool = Spool(str(tmp_path / "spool"), b"k" * 32)
    spool.beat(SWEEP)
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    (tmp_path / "spool").symlink_to(beside)
    for act in (spool.listing, lambda: spool.put("end", b""), lambda: spool.get("old"), lambda: spool.beat(SWEEP)):
        with pytest.raises(FileNotFoundError):
            act()
    spool.remove(["old"])
    assert not spool.rename("old", "new")


def test_what_a_job_has_printed_is_read_from_no_link(tmp_path, beside):
    (tmp_path / "job-7.out").write_text("x" * 100_000 + "\x1b[2J told")
    assert printed(str(tmp_path), "7").endswith("x\\x1b[2J told") and len(printed(str(tmp_path), "7")) < 3_000
    (tmp_path / "job-8.out").symlink_to(beside / "probe.txt")
    assert printed(str(tmp_path), "8") == ""


def test_a_file_of_the_sweep_counts_only_under_the_name_by_which_it_was_put(spool):
    spool.put("1.todo", b"one")
    spool.put("2.todo", b"two")
    assert spool.rename("1.todo", "1.12-0-3.doing")
    assert spool.get("1.12-0-3.doing", "1.todo") == b"one"
    spool.rename("2.todo", "3.todo")
    with pytest.raises(Forged):
        spool.get("3.todo")


def test_one_of_many_takes_a_bundle(spool):
    """Also one that has taken it, and is asked by a network folder to do so again."""
    spool.put("1.todo", b"one")
    assert spool.rename("1.todo", "1.12-0-3.doing")
    assert not spool.rename("1.todo", "1.12-0-4.doing")
    assert spool.rename("1.todo", "1.12-0-3.doing")


def test_names_that_nobody_here_makes_are_passed_over(spool, tmp_path):
    ours = ("10.todo", "9.todo", "2.12_3-1-0.doing", "0.7-0-0.said", "7-0-0.alive")
    for name in (*ours, "job-12.out", ".1.todo.new", "x.todo", "1.a-0-0.said", "end", "luggage"):
        (tmp_path / name).touch()
    found = spool.listing()
    assert [one.number for one in found if one.kind == "todo"] == [9, 10]
    assert {one for one in found if one.kind != "todo"} == {
        Name("said", 0, "7-0-0"),
        Name("alive", 0, "7-0-0"),
        Name("doing", 2, "12_3-1-0"),
    }
    assert job_of("12_3-1-0") == ("12_3", 1)


def test_silence_is_measured_by_the_clock_of_the_folder(spool, tmp_path):
    spool.beat("sweep")
    spool.beat("7-0-0")
    now = (tmp_path / "sweep.alive").stat().st_mtime
    os.utime(tmp_path / "7-0-0.alive", (now - 500, now - 500))
    assert spool.silence("7-0-0", "sweep") == pytest.approx(500, abs=1)


@pytest.mark.parametrize(
    ("line", "job"),
    [
        ("12_3       RUNNING       2     entropic-rows-1f   None", Job("12_3", "RUNNING", 2, "None")),
        (
            "7  PENDING  0  entropic-rows-1f  ReqNodeNotAvail, May be reserved",
            Job("7", "PENDING", 0, "ReqNodeNotAvail, May be reserved"),
        ),
        ("7  OUT_OF_MEMORY  0  entropic-rows-1f  OutOfMemory", Job("7", "OUT_OF_MEMORY", 0, "OutOfMemory")),
    ],
)
def test_what_the_queue_says_of_a_job_is_read(line, job):
    assert _sorted(line, ["entropic-rows-1f", "another"]) == {"entropic-rows-1f": {job.id: job}, "another": {}}
    assert (job.goes_on, job.waits) == {"RUNNING": (True, False), "PENDING": (True, True)}.get(
        job.state, (False, False)
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"nodes": 0},
        {"nodes": True},
        {"nodes": None},
        {"array": "3"},
        {"tasks_per_node": 10**6},
        {"mem": "4 G"},
        {"time": 1.5},
        {"partition": "main\n"},
        {"extra": "--account=x"},
        {"extra": ["account=x"]},
        {"extra": ["--job-name=mine"]},
        {"extra": ["-J", "mine"]},
        {"extra": ["--array=0-9"]},
        {"extra": ["--arr=0-9"]},
        {"extra": ["--clusters=other"]},
        {"extra": ["-M", "other"]},
        {"extra": None},
        {"setup": None},
    ],
)
def test_what_slurm_could_not_be_asked_is_refused_at_once(asked):
    [name] = asked
    with pytest.raises(ParameterError, match=r"of Slurm") as error:
        Slurm(**asked)
    assert name in str(error.value) or "-" in str(error.value)


def test_slurm_is_asked_for_what_was_said_and_nothing_else():
    assert Slurm(nodes=2, time=90, extra=["--account=physics"]).options() == [
        "--nodes=2",
        "--ntasks-per-node=1",
        "--cpus-per-task=1",
        "--time=90",
        "--account=physics",
    ]


def test_a_task_gives_signs_of_life_for_as_long_as_its_folder_is_there(spool, tmp_path, monkeypatch):
    """Though a rename of them fails, as where two threads give one, or a network loses the answer."""
    monkeypatch.setattr("entropic.executors.spool.BEAT_SECONDS", 0.001)
    calls = []

    def beat(self, who):
        calls.append(who)
        if 1 < len(calls) < 5:
            raise FileNotFoundError

    monkeypatch.setattr(Spool, "beat", beat)
    heart = Heart(spool, "7-0-0")
    try:
        until(lambda: len(calls) > 9, "there are signs of life")
    finally:
        heart.close()


def begun(spool: Spool, span: float, seconds: list[float], longest: float = 0.0, recent: tuple[float, ...] = ()) -> int:
    """Return how many runs, which say that they take so long, a task begins whose job ends in so many seconds."""
    for one in (SWEEP, "7-0-0"):
        spool.beat(one)
    for number in range(len(seconds)):
        task = packed([SimpleNamespace(attempt=f"a{number}")])
        spool.put(f"{number}.todo", pickle.dumps(Given(task, longest, list(recent))))
    desk, count = Desk(spool, "7-0-0", time.time() + span), 0
    for task in desk.tasks():
        if task is not None:
            desk.say(Ending(task, None, seconds=seconds[count]))
            count += 1
            if count == len(seconds):
                break
    return count


HOUR, MOST_OF_IT = 3600.0, 3480.0


def test_one_long_run_leaves_the_others_their_jobs(spool):
    assert begun(spool, HOUR, [1.0] * 30, longest=MOST_OF_IT, recent=(MOST_OF_IT,)) == 30


def test_a_long_run_of_this_very_job_leaves_the_others_theirs(spool):
    assert begun(spool, HOUR, [1.0, MOST_OF_IT, *[1.0] * 30]) == 32


@pytest.mark.parametrize(
    ("longest", "recent"),
    [
        (0.9 * HOUR, [0.9 * HOUR] * 20),
        (0.9 * HOUR, [1.0, 0.9 * HOUR] * 10),
        (0.6 * HOUR, [0.5 * HOUR, 0.6 * HOUR, 0.55 * HOUR]),
    ],
)
def test_where_many_runs_take_most_of_a_job_each_has_its_own(spool, longest, recent):
    """As seen by a job that has not even half of its time left, but for the first run, which begins in any case."""
    assert begun(spool, 0.45 * HOUR, [1.0, 1.0], longest, recent) == 1


def test_where_two_runs_fit_into_a_job_the_longest_is_the_measure_of_all(spool):
    """What is left is no waste then: each job has been busy for more than half of its time."""
    desk = Desk(spool, "7-0-0", time.time() + HOUR)
    desk.say(Ending(SimpleNamespace(attempt="a"), None, seconds=0.4 * HOUR))
    for _ in range(30):
        desk.say(Ending(SimpleNamespace(attempt="a"), None, seconds=1.0))
    assert desk._expected() == 0.4 * HOUR


def test_a_set_that_had_too_little_time_is_for_a_task_that_has_nearly_all_of_its_own(spool):
    for one in (SWEEP, "7-0-0", "8-0-0", "9-0-0"):
        spool.beat(one)
    for name in ("1.todo", "2.todo", "3.again", "4.again", "5.again", "6.again", "7.todo"):
        spool.put(name, pickle.dumps(Given(packed([SimpleNamespace(attempt=name)]), 0.0, [])))
    began = {}
    for name, end, passes in (("7-0-0", HOUR, HOUR / 2), ("8-0-0", HOUR, HOUR / 20), ("9-0-0", None, 0.0)):
        desk = Desk(spool, name, end and time.time() + end)
        taking = (task.attempt for task in desk.tasks() if task is not None)
        first = next(taking)
        if desk._end is not None:
            desk._end -= passes
        began[name] = [first, next(taking)]
    assert began == {"7-0-0": ["3.again", "1.todo"], "8-0-0": ["4.again", "5.again"], "9-0-0": ["6.again", "2.todo"]}
