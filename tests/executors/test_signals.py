"""A sweep that is told to end, or is killed: what it has claimed is released, and what its runs have started ends."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.models import PATIENCE, LoggingRunner, gone, wait_until
from databases import words_of
from executors import acts

pytestmark = pytest.mark.slow
BOTH = pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


def running(folder: Path) -> int:
    """The claims that an outsider, such as another machine, would have to wait for."""
    with closing(sqlite3.connect(folder / "db.sqlite3")) as connection:
        return connection.execute("SELECT count(*) FROM entropic_ledger WHERE state = 'running'").fetchone()[0]


def started(path: Path, process: subprocess.Popen[Any]) -> list[int]:
    """Wait until a run has written down all that it has started; return the pids."""
    wait_until(lambda: "all" in acts.lines(path) or process.poll() is not None)
    assert process.poll() is None
    pids = [int(line) for line in acts.lines(path) if line.isdigit()]
    assert pids
    assert not any(map(gone, pids))
    return pids


# ---- what runs have started --------------------------------------------------------------------------------------
@pytest.mark.each("name")
@pytest.mark.parametrize("act", ["hang_with_a_group", "hang_in_c_with_a_child", "run_a_program"])
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
def test_what_runs_have_started_in_workers_ends_with_the_sweep(start, acting, log, tmp_path, name, act):
    sweeper = start([1, 2], acts={"1": [act, str(tmp_path / "pids")]}, options={"workers": 1})
    pids = started(tmp_path / "pids", sweeper.process)
    sweeper.process.send_signal(getattr(signal, name))
    assert sweeper.status() == -getattr(signal, name)
    wait_until(lambda: all(map(gone, pids)))
    wait_until(lambda: not sweeper.left())
    assert [row.n for row in acting().sweep(sets(1, 2))] == [1, 2]
    assert acting().check().ok


@BOTH
@pytest.mark.each("options")
@pytest.mark.parametrize("options", [{"workers": 2}, {}], ids=["in workers", "here"])
def test_a_sweep_that_was_told_to_end_leaves_nothing_to_tidy_up(start, log, tmp_path, name, options):
    sweeper = start([1, 2], acts={n: ["wait_for", str(tmp_path / "go")] for n in "12"}, options=options)
    wait_until(lambda: acts.ns_in(log))
    sweeper.process.send_signal(getattr(signal, name))
    assert sweeper.status() == -getattr(signal, name)
    wait_until(lambda: not sweeper.left())
    assert not list(tmp_path.glob("results/.entropic/*/*.work"))


def test_what_a_run_has_started_is_gone_before_anyone_hears_that_its_worker_died(start, log, tmp_path):
    options = {"workers": 1, "on_error": "continue"}
    sweeper = start([1, 2], acts={"1": ["hang_with_a_group", str(tmp_path / "pids")]}, options=options)
    pids = started(tmp_path / "pids", sweeper.process)
    (worker,) = {pid for pid, n in LoggingRunner(log).lines() if n == 1}
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: 2 in acts.ns_in(log))
    assert all(map(gone, pids))
    assert sweeper.said()["failed"] == [1]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGKILL of the worker"])
def test_nothing_is_left_of_a_sweep_inside_a_run_whose_worker_is_killed(start, log, tmp_path, name):
    sweeper = start([1], acts={"1": ["sweep_inside", str(tmp_path / "pids")]}, options={"workers": 1})
    pids = started(tmp_path / "pids", sweeper.process)
    assert len(pids) == 4
    (worker,) = sweeper.workers()
    all_of_it = {one.pid for one in psutil.Process(worker).children(recursive=True)}
    assert len(all_of_it) >= 3, "two workers, and their guardian"
    os.kill(worker if "worker" in name else sweeper.process.pid, getattr(signal, name.split()[0]))
    sweeper.status()
    wait_until(lambda: all(map(gone, [worker, *pids, *all_of_it])))


def guardians(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if any("guardian" in word for word in words_of(child))]


def test_a_guardian_that_somebody_ends_is_replaced(start, log, tmp_path):
    go = tmp_path / "go"
    wait = ["wait_for", str(go)]
    told = {"1": wait, "2": ["be_killed"], "3": ["hang_with_a_group", str(tmp_path / "pids")]}
    sweeper = start([1, 2, 3], acts=told, options={"workers": 1, "on_error": "continue"})
    wait_until(lambda: 1 in acts.ns_in(log))
    (first,) = guardians(sweeper.process.pid)
    first.kill()
    wait_until(lambda: gone(first.pid))
    go.touch()
    pids = started(tmp_path / "pids", sweeper.process)
    sweeper.process.kill()
    wait_until(lambda: all(map(gone, pids)))


def test_a_guardian_ends_with_its_sweep_and_one_that_runs_nothing_has_none(acting):
    store = acting()
    store.sweep(sets(1, 2), workers=1)
    store.sweep(sets(1, 2), workers=1)
    assert guardians(os.getpid()) == []


# ---- what is told to end -----------------------------------------------------------------------------------------
def check_that_all_is_released(acting, tmp_path, interrupted):
    """What was finished is stored, nothing is claimed, not even for another machine, and nothing has failed."""
    assert running(tmp_path) == 0
    store = acting()
    plan = store.plan(sets(*range(6)))
    assert sorted(params["n"] for params in plan.stored) == [n for n in range(6) if n != interrupted and n < 4]
    assert (plan.running, plan.failed) == ([], [])
    assert [row.n for row in store.sweep(sets(*range(6)))] == list(range(6))
    assert store.check().ok


@BOTH
@pytest.mark.each("how")
@pytest.mark.parametrize("how", [{}, {"options": {"workers": 1}}])
def test_a_sweep_that_is_told_to_end_records_what_is_finished_lets_go_and_dies_by_the_signal(
    start, acting, log, tmp_path, name, how
):
    sweeper = start(range(6), acts={"4": ["hang_in_python"]}, **how)
    wait_until(lambda: 4 in acts.ns_in(log))
    sweeper.process.send_signal(getattr(signal, name))
    assert sweeper.status() == -getattr(signal, name)
    check_that_all_is_released(acting, tmp_path, 4)


@pytest.mark.each("how")
@pytest.mark.parametrize("how", [{}, {"options": {"workers": 1}}])
def test_a_signal_that_comes_twice_as_schedulers_send_it_changes_nothing(start, acting, log, tmp_path, how):
    sweeper = start(range(6), acts={"4": ["hang_in_python"]}, **how)
    wait_until(lambda: 4 in acts.ns_in(log))
    for name in ("SIGTERM", "SIGTERM", "SIGHUP"):
        sweeper.process.send_signal(getattr(signal, name))
    assert sweeper.status() in (-signal.SIGTERM, -signal.SIGHUP)
    check_that_all_is_released(acting, tmp_path, 4)


def test_a_signal_to_all_processes_of_a_job_is_no_failure_of_a_run(start, acting, log, tmp_path):
    """As Slurm, systemd and Docker send it: also to the workers, and to what they have started."""
    sweeper = start(range(6), acts={"4": ["run_a_program", str(tmp_path / "pids")]}, options={"workers": 1})
    pids = started(tmp_path / "pids", sweeper.process)
    for pid in (*sweeper.workers(), sweeper.process.pid, *pids):
        os.kill(pid, signal.SIGTERM)
    assert sweeper.status() == -signal.SIGTERM
    check_that_all_is_released(acting, tmp_path, 4)


@BOTH
def test_a_program_that_a_run_waits_for_ends_with_a_serial_sweep(start, acting, tmp_path, name):
    sweeper = start(range(6), acts={"4": ["run_a_program", str(tmp_path / "pids")]})
    pids = started(tmp_path / "pids", sweeper.process)
    sweeper.process.send_signal(getattr(signal, name))
    assert sweeper.status() == -getattr(signal, name)
    wait_until(lambda: all(map(gone, pids)))
    check_that_all_is_released(acting, tmp_path, 4)


@BOTH
def test_a_handler_of_the_script_is_called_and_the_sweep_goes_on(start, log, tmp_path, name):
    go, seen = tmp_path / "go", tmp_path / "seen"
    sweeper = start(range(3), acts={"1": ["wait_for", str(go)]}, handled=[name, str(seen)])
    wait_until(lambda: 1 in acts.ns_in(log))
    sweeper.process.send_signal(getattr(signal, name))
    wait_until(seen.exists)
    go.touch()
    assert sweeper.said()["ns"] == [0, 1, 2]


@pytest.mark.parametrize("how", [{}, {"options": {"workers": 1}}])
def test_a_hangup_that_nohup_ignores_stays_ignored(start, log, tmp_path, how):
    go = tmp_path / "go"
    sweeper = start(range(3), acts={"1": ["wait_for", str(go)]}, ignored=["SIGHUP"], **how)
    wait_until(lambda: 1 in acts.ns_in(log))
    for _ in range(3):
        sweeper.process.send_signal(signal.SIGHUP)
    go.touch()
    assert sweeper.said()["ns"] == [0, 1, 2]


@pytest.mark.parametrize("options", [{}, {"workers": 1}])
def test_what_a_run_forks_can_be_ended_by_a_signal(start, tmp_path, options):
    sweeper = start([1], acts={"1": ["end_a_forked_child", str(tmp_path / "codes")]}, options=options)
    assert sweeper.said()["ns"] == [1]
    assert acts.lines(tmp_path / "codes") == [str(-signal.SIGTERM)]


SCRIPT = """
import os, pathlib, signal, sys, threading, time
from contract.models import SimResult
from entropic import Store

for one in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(one, signal.SIG_DFL)

def hang(params):
    if params["n"] >= 2:
        pathlib.Path("begun").touch()
        time.sleep(100)
    pathlib.Path(params["result_file"]).write_text("x")

def outer(params):
    if params["dt"] == 0.25:
        store.run_or_retrieve({"n": params["n"], "dt": 0.5})
    hang(params)

def handlers():
    return [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)]

store = Store(outer, SimResult, "results", ".txt", "sqlite:///db.sqlite3")
"""
CALLS = {
    "run": 'store.run({"n": 2, "dt": 0.5})',
    "a run inside of a run": 'store.run_or_retrieve({"n": 2, "dt": 0.25})',
    "a run whose interrupt is caught": """
try:
    store.run({"n": 2, "dt": 0.5})
except BaseException:
    pass
pathlib.Path("caught").touch()
time.sleep(100)
""",
    "a stream that is read": 'rows = store.stream([{"n": n, "dt": 0.5} for n in (1, 2)])\nfor row in rows: pass',
    "a stream that waits for its reader": """
rows = store.stream([{"n": n, "dt": 0.5} for n in (1, 2)], workers=2)
for row in rows:
    time.sleep(100)
""",
}


@BOTH
@pytest.mark.each("call")
@pytest.mark.parametrize("call", list(CALLS))
def test_every_call_that_runs_something_lets_go(tmp_path, name, call):
    (tmp_path / "script.py").write_text(SCRIPT + CALLS[call])
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE
    )
    wait_until(lambda: (tmp_path / "begun").exists() or process.poll() is not None)
    process.send_signal(getattr(signal, name))
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == -getattr(signal, name), said
    assert not (tmp_path / "caught").exists()
    assert running(tmp_path) == 0


THREADED = """
store.run_or_retrieve({"n": 1, "dt": 0.5})
assert list(store.stream([{"n": 0, "dt": 0.5}]))
assert handlers() == [signal.SIG_DFL] * 2
def in_thread():
    seen.append(handlers())
seen = []
def look(params):
    in_thread()
    pathlib.Path(params["result_file"]).write_text("x")
mine = Store(look, SimResult, "results", ".txt", "sqlite:///db.sqlite3")
thread = threading.Thread(target=mine.run, args=({"n": 7, "dt": 0.5},))
thread.start()
thread.join()
assert seen.pop() == [signal.SIG_DFL] * 2
mine.run({"n": 8, "dt": 0.5})
assert signal.SIG_DFL not in seen.pop()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
mine.run({"n": 9, "dt": 0.5})
assert seen.pop()[0] is signal.SIG_IGN
assert handlers() == [signal.SIG_IGN, signal.SIG_DFL]
stream = mine.stream([{"n": n, "dt": 0.5} for n in (10, 11)])
next(stream)
thread = threading.Thread(target=lambda: list(stream))
thread.start()
thread.join()
mine.run({"n": 12, "dt": 0.5})
assert handlers() == [signal.SIG_IGN, signal.SIG_DFL]
"""


def test_only_the_main_thread_takes_signals_and_they_are_given_back(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT + THREADED)
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@BOTH
def test_the_command_line_says_so_and_dies_by_the_signal(tmp_path, name):
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", "from entropic.cli.app import main; main()", "sweep", "script.py:store"]
    process = subprocess.Popen(
        [*command, "--grid", "n=0,1,2", "dt=0.5"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: (tmp_path / "begun").exists() or process.poll() is not None)
    process.send_signal(getattr(signal, name))
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == -getattr(signal, name), said
    assert b"finished runs are stored" in said
    assert running(tmp_path) == 0
