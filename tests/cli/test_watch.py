"""`entropic status --watch`: what goes on, again every few seconds, until Ctrl-C."""

from __future__ import annotations

import os
import signal
from datetime import datetime, timedelta

import pytest

from contract.models import SimResult, wait_until, write_params
from entropic import Owner, Reported, Status, Store
from entropic.cli import watch
from entropic.cli.output import on_terminal

SETS = [{"n": n, "dt": 0.5} for n in (1, 2, 3, 4)]


@pytest.fixture
def place(tmp_path):
    return ["--db", f"sqlite:///{tmp_path}/watched.sqlite3", "--results", str(tmp_path / "watched")]


@pytest.fixture
def store(tmp_path, place):
    def run(params):
        params["custom_data"]["elapsed_seconds"] = 600.0
        write_params(params)

    return Store(run, SimResult, tmp_path / "watched", ".json", place[1])


@pytest.mark.slow
def test_it_looks_again_and_again_until_ctrl_c(commands, store, place, tmp_path):
    store.sweep(SETS[:2])
    out = tmp_path / "out"
    words = ["status", *place, "--watch", "--every", "0.2", "dt=0.5", "--grid", "n=1,2,3,4"]
    child = commands.start(
        "cli.child:command", words=words, cwd=str(tmp_path), env=dict(os.environ), out=str(out), err=str(tmp_path / "e")
    )
    wait_until(lambda: out.exists() and out.read_text().count("2 rows") >= 2)
    store.sweep(SETS[2:3])
    wait_until(lambda: "3 rows" in out.read_text() and "in a minute, seen for" in out.read_text())
    child.signal(signal.SIGINT)
    assert child.status() == 0, (tmp_path / "e").read_text()
    text = out.read_text()
    assert "left         2 of 4 sets, beside 0 running: about 20 minutes, one after another" in text
    assert "left         1 of 4 sets, beside 0 running: about 10 minutes, one after another" in text
    assert "host " in text


@pytest.mark.slow
def test_it_is_for_people(commands, store, place, tmp_path):
    store.sweep(SETS[:1])
    err = tmp_path / "e"
    words = ["status", *place, "--watch", "--json"]
    child = commands.start(
        "cli.child:command", words=words, cwd=str(tmp_path), env=dict(os.environ), out=str(tmp_path / "o"), err=str(err)
    )
    assert child.status() == 2
    assert "--watch is for people" in err.read_text()


def test_of_each_run_it_says_where_it_is_for_how_long_and_what_is_left():
    now = datetime(2026, 1, 1, 12)
    reports = watch.Reports()
    for step, ago in ((800, 20), (900, 10)):  # it has gone on from a checkpoint
        reports.add(
            Status(
                *("SimResult", 2, 10, 0),
                running={"a": Owner("login", 1, now - timedelta(seconds=30))},
                reported={"a": Reported(step, 1000, at=now - timedelta(seconds=ago))},
            )
        )
    found = Status(
        "SimResult",
        2,
        10,
        0,
        running={"a": Owner("login", 1, now - timedelta(seconds=30)), "b": Owner("here", 2, now - timedelta(hours=3))},
        reported={"a": Reported(900, 1000, host="node7", pid=9, job="Slurm 12_3")},
    )
    _, names, first, second = watch._running(found, now, reports)
    assert names.split() == ["running", "host", "process", "since", "(UTC)", "for", "how", "far", "left"]
    assert first.split()[:2] == ["b", "here"]
    assert "3 h" in first or "180 minutes" in first
    assert second.split()[:2] == ["a", "node7"]
    assert "pid 9, job Slurm 12_3" in second
    assert second.endswith(" 10 seconds")


def test_of_one_report_nothing_follows_nor_of_one_that_falls_back():
    since = datetime(2026, 1, 1, 12)

    def look(step, seconds):
        said = Reported(step, 100, at=since + timedelta(seconds=seconds))
        reports.add(Status("SimResult", 2, 10, 0, running={"a": Owner("here", 1, since)}, reported={"a": said}))
        return reports.left("a", since)

    reports = watch.Reports()
    found = [look(50, 10), look(50, 10), look(75, 20), look(60, 25), look(80, 35)]
    assert found == [None, None, pytest.approx(10), None, pytest.approx(10)]
    reports.add(Status("SimResult", 3, 10, 0))
    assert reports.left("a", since) is None


def test_what_is_claimed_and_waits_in_a_queue_does_not_count_as_running(store):
    store.sweep(SETS[:2])
    now = datetime(2026, 1, 1, 12)
    running = {str(i): Owner("login", 1, now) for i in range(64)}
    found = Status("SimResult", 2, 10, 0, running=running)
    ((_, said),) = watch.left_of(store, SETS, found)
    assert said.endswith("about 20 minutes, one after another")
    found = Status("SimResult", 2, 10, 0, running=running, reported={id: Reported(1, 2) for id in ("0", "1")})
    ((_, said),) = watch.left_of(store, SETS, found)
    assert said.endswith("about 10 minutes, with 2 at a time")
    ((_, said),) = watch.left_of(store, SETS, found, rate=0.1)
    assert said.endswith("about 20 seconds, as fast as rows come now")


def test_on_a_terminal_each_look_takes_the_place_of_the_one_before(monkeypatch, capsys):
    monkeypatch.setattr(watch, "on_terminal", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((20, 5)))
    watch._write([f"line {i} with \x1b[31m what a terminal obeys" for i in range(9)])
    text = capsys.readouterr().out
    assert text.startswith(watch.FROM_THE_TOP)
    lines = text.removeprefix(watch.FROM_THE_TOP).splitlines()
    assert len(lines) == 4
    assert all(len(line) <= 20 and "\x1b" not in line for line in lines)
    assert lines[-1] == "... and 6 more lines"
    assert not on_terminal()
