"""Each result says where it comes from: the versions, the machine, the command line, the commit, and what it took."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import platform
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import entropic
from contract.models import PATIENCE, SimResult, gone, wait_until, write_params
from entropic import Base, Mapped, ParameterError, Store, command
from entropic.db import origins
from entropic.executors import attempt
from entropic.provenance import git as provenance_git
from entropic.provenance.environment import describe

ONE, TWO = {"n": 1, "dt": 0.5}, {"n": 2, "dt": 0.5}


@pytest.fixture(autouse=True)
def patient_git(monkeypatch):
    monkeypatch.setattr("entropic.provenance.git.SECONDS", 90.0)


def work_for_a_while(params: dict[str, Any]) -> None:
    began = time.process_time()
    while time.process_time() - began < 0.05:
        pass
    write_params(params)


def test_a_row_tells_in_what_environment_it_was_made(open_store):
    store = open_store(work_for_a_while)
    row = store.run_or_retrieve(ONE)
    told = store.provenance(row)
    assert told.id == row.id
    assert (told.entropic, told.python) == (entropic.__version__, platform.python_version())
    assert told.host == platform.node()
    assert told.cwd == os.getcwd()
    assert told.argv[0] == sys.argv[0]
    assert told.ended_at == row.created_at
    assert (told.ended_at - told.started_at).total_seconds() == pytest.approx(told.elapsed_seconds)
    assert told.elapsed_seconds == row.custom_data["elapsed_seconds"]
    assert told.cpu_seconds >= 0.03
    assert told.peak_memory > 1_000_000
    assert told.packages["pytest"] == pytest.__version__
    assert "entropic" not in told.packages
    assert "host" in str(told)
    assert store.provenance(ONE) == told


@pytest.mark.parametrize("again", ["run", "sweep"])
def test_what_a_long_run_used_is_not_said_of_the_short_one_that_replaces_it(store, place, monkeypatch, again):
    def used():
        return place.fetch("SELECT cpu_seconds, peak_memory FROM entropic_ledger")

    monkeypatch.setattr(attempt, "MEASURABLE", 0.0)  # whatever the machine makes of it
    store.run(ONE)
    assert None not in used()[0]
    monkeypatch.setattr(attempt, "MEASURABLE", float("inf"))
    store.run(ONE) if again == "run" else store.sweep([ONE], rerun=True)
    assert used() == [(None, None)]


def test_it_is_recorded_once_for_all_runs_of_a_process(open_store, place):
    store = open_store()
    store.sweep([{"n": n, "dt": 0.5} for n in range(20)])
    open_store().run(ONE)
    assert len({json.dumps(store.provenance(row).argv) for row in store.select()}) == 1
    ((count,),) = place.fetch("SELECT count(*) FROM entropic_environments")
    assert count == 1


def test_the_job_of_a_scheduler_is_told_of_results_and_of_failures(open_store, monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    plain = open_store()
    assert plain.provenance(plain.run(ONE)).job is None
    monkeypatch.setenv("SLURM_JOB_ID", "17")

    def run(params):
        if params["n"] == 2:
            raise ValueError
        write_params(params)

    store = open_store(run)
    told = store.provenance(store.run(ONE))
    assert told.job == "Slurm 17"
    assert "job" in str(told)
    with pytest.raises(ValueError):
        store.run(TWO)
    (failure,) = store.failures()
    assert failure.job == "Slurm 17"
    assert f"(pid {os.getpid()}, job Slurm 17)" in str(failure)


def test_nothing_of_it_is_in_the_columns_or_the_custom_data(store):
    row = store.run_or_retrieve(ONE)
    assert list(row.custom_data) == ["elapsed_seconds"]
    assert not any(name.startswith("provenance") for name in store.select().to_pandas().columns)


def test_tables_tell_it_if_they_are_asked(store):
    rows = store.sweep([ONE, TWO])
    frame = rows.to_pandas(provenance=True)
    assert list(frame["provenance.host"]) == [platform.node()] * 2
    assert frame["provenance.started_at"].dtype.kind == "M"
    assert len(rows[:1].to_polars(provenance=True)["provenance.packages"]) == 1
    assert rows.to_arrow(provenance=True).num_rows == 2
    with pytest.raises(ParameterError, match="select"):
        pickle.loads(pickle.dumps(rows)).to_pandas(provenance=True)


def test_what_was_registered_or_is_of_an_earlier_version_tells_nothing(store, place, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    store.run_or_retrieve(ONE)
    store.delete(ONE)
    registered = store.provenance(store.register(ONE, tmp_path / "mine.json"))
    assert registered == entropic.Provenance(registered.id)
    assert "nothing is known" in str(registered)
    store.run_or_retrieve(TWO)
    place.execute("UPDATE entropic_ledger SET environment = NULL, cpu_seconds = NULL")
    assert store.provenance(TWO).host is None
    assert store.provenance({"n": 3, "dt": 0.5}) is None


def test_a_rerun_tells_of_itself(open_store, place):
    store = open_store()
    store.run(ONE)
    place.execute("UPDATE entropic_ledger SET environment = 1, peak_memory = 1")
    assert store.provenance(ONE).host is None
    store.run(ONE)
    assert store.provenance(ONE).host == platform.node()
    assert store.provenance(ONE).peak_memory != 1


@pytest.mark.slow
def test_the_programs_that_a_run_starts_count(open_store):
    def run(params):
        subprocess.run(
            [sys.executable, "-Sc", "x = bytearray(300_000_000)\nfor i in range(0, 300_000_000, 4096): x[i] = 1"]
        )
        time.sleep(0.02)
        write_params(params)

    store = open_store(run)
    told = store.provenance(store.run_or_retrieve(ONE))
    assert told.peak_memory > 290_000_000
    assert told.cpu_seconds > 0


def test_threads_share_an_environment(open_store, place):
    store = open_store()
    threads = [threading.Thread(target=store.run, args=({"n": n, "dt": 0.5},)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.provenance(row).host for row in store.select()] == [platform.node()] * 4
    ((count,),) = place.fetch("SELECT count(*) FROM entropic_environments")
    assert count == 1


def test_status_reads_the_environments_of_all_jobs_at_once_and_never_again(store, place, monkeypatch):
    asked = []

    def fetch(database, query, of=origins.fetch):
        asked.append(query)
        return of(database, query)

    monkeypatch.setattr(origins, "fetch", fetch)
    for i, row in enumerate(store.sweep([{"n": n, "dt": 0.5} for n in range(1, 6)])):
        told = json.dumps({"host": "node", "job": f"Slurm 12_{i}"})
        place.execute(f"INSERT INTO entropic_environments (id, told) VALUES ({i + 1}, '{told}')")
        place.execute(f"UPDATE entropic_ledger SET environment = {i + 1} WHERE id = '{row.id}'")
    jobs = [("node", f"Slurm 12_{i}") for i in range(5)]
    assert [sorted(one[:2] for one in store.status().places) for _ in range(3)] == [jobs] * 3
    assert len(asked) == 1


def test_an_environment_that_cannot_be_told_costs_no_run(open_store, monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: 1 / 0)
    store = open_store()
    assert store.run_or_retrieve(ONE).n == 1
    assert store.provenance(ONE).host is None
    assert store.check().ok


def test_an_environment_that_a_kill_kept_from_the_database_is_found_in_its_file(store, place):
    store.run_or_retrieve(ONE)
    place.execute("DELETE FROM entropic_environments")
    assert store.provenance(ONE).host == platform.node()


def test_a_file_that_says_something_else_than_its_name_tells_nothing(store, place, tmp_path):
    store.run_or_retrieve(ONE)
    place.execute("DELETE FROM entropic_environments")
    (path,) = tmp_path.glob("results/.entropic/*/environments/*.json")
    path.write_text(path.read_text().replace(platform.node(), "elsewhere"))
    assert store.provenance(ONE).host is None


def test_a_rebuilt_row_and_a_copied_one_tell_it(open_store, place, tmp_path):
    store = open_store()
    store.run_or_retrieve(ONE)
    before = store.provenance(ONE)
    copied = store.copy_to(f"sqlite:///{tmp_path}/copy.db")
    assert copied.provenance(ONE) == before
    for table in (SimResult.__tablename__, "entropic_ledger", "entropic_environments"):
        place.execute(f"DELETE FROM {table}")
    store = open_store()
    store.rebuild()
    assert store.provenance(ONE) == before


# ---- the command line, and git -------------------------------------------------------------------------------------
SCRIPT = """
import sys
from entropic import Base, Mapped, Store
class Row(Base):
    n: Mapped[int]
def run(params):
    return params["n"]
if __name__ == "__main__":
    store = Store(run, Row, "results", ".json", git_diff=True)
    told = store.provenance(store.run_or_retrieve({"n": 1}))
    print(told.git_commit, told.git_dirty, repr(told.git_diff), told.argv)
"""


def run_script(folder: Path, *arguments: str) -> str:
    program = "import entropic.provenance.git as git; git.SECONDS = 90.0\nimport runpy, sys\n"
    program += "sys.argv = ['script.py', *sys.argv[1:]]\nrunpy.run_path('script.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_a_command_is_that_of_the_project_in_which_it_was_started(tmp_path, monkeypatch):
    (tmp_path / "solve.sh").write_text("echo 1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "solve.sh")
    git(tmp_path, "commit", "-m", "first")
    monkeypatch.chdir(tmp_path)
    told = json.loads(describe(command("sh solve.sh")))["git"]
    assert told == {"root": str(tmp_path), "commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}


def test_a_study_tells_of_its_function_and_not_of_entropic(tmp_path, monkeypatch):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "a_study_in_git.py").write_text(
        "import numpy\nfrom entropic import study\n@study\ndef swing(n: int): return float(numpy.sin(n))\n"
    )
    git(project, "init")
    monkeypatch.syspath_prepend(project)
    monkeypatch.chdir(elsewhere)
    swing = importlib.import_module("a_study_in_git").swing
    swing(1)
    told = swing.store.provenance({"n": 1})
    assert told.git_root == str(project) and "numpy" in told.packages


@pytest.mark.slow
def test_the_commit_and_what_differs_from_it(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    git(tmp_path, "init")
    git(tmp_path, "add", "script.py")
    git(tmp_path, "commit", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert run_script(tmp_path).startswith(f"{commit} False None")
    (tmp_path / "script.py").write_text(SCRIPT.replace('"n": 1', '"n": 2'))
    told = run_script(tmp_path)
    assert told.startswith(f"{commit} True")
    assert '+    told = store.provenance(store.run_or_retrieve({"n": 2}))' in told
    git(tmp_path, "pack-refs", "--all")
    git(tmp_path, "worktree", "add", "../beside", "-b", "beside")
    assert run_script(tmp_path.parent / "beside").startswith(f"{commit} False")


class OfScript(Base):
    __tablename__ = "results_of_git"
    metadata = sa.MetaData()

    n: Mapped[int]


@pytest.mark.slow
def test_what_differs_from_the_commit_is_kept_once_by_its_content(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    script = SCRIPT.replace("    n: Mapped", '    __tablename__ = "results_of_git"\n    n: Mapped')
    script = script.replace('{"n": 1}', '{"n": int(sys.argv[1])}')
    (project / "script.py").write_text(script)
    git(project, "init")
    git(project, "add", "script.py")
    git(project, "commit", "-m", "first")
    (project / "script.py").write_text(script + "# naïve\r\n")
    for n in (1, 2):
        assert "naïve" in run_script(project, str(n))
    with sqlite3.connect(project / "db.sqlite3") as base:
        texts = [text for (text,) in base.execute("SELECT text FROM entropic_sources") if text.startswith("diff --git")]
        told = [told for (told,) in base.execute("SELECT told FROM entropic_environments")]
    base.close()
    assert (len(texts), len(told)) == (1, 2)
    assert not any("naïve" in one or "na\\u00efve" in one for one in told)
    assert len(list(project.glob("results/.entropic/*/environments/*.diff"))) == 1

    def diffs(store):
        return {store.provenance(row).git_diff for row in store.select()}

    results, url = project / "results", f"sqlite:///{project}/db.sqlite3"
    store: Any = Store(print, OfScript, results, ".json", url, on_stale="ignore")
    assert diffs(store) == set(texts)
    assert diffs(store.copy_to(f"sqlite:///{tmp_path}/copy.db")) == set(texts)
    mine: Any = Store(print, OfScript, tmp_path / "mine", ".json", f"sqlite:///{tmp_path}/mine.db")
    mine.merge(store)
    assert diffs(mine) == set(texts)
    store.archive(tmp_path / "kept")
    kept = json.loads((tmp_path / "kept/provenance.json").read_text())
    assert list(kept["diffs"].values()) == texts
    assert {str(one["git"]["diff"]) for one in kept["environments"].values()} == set(kept["diffs"])
    for base_url in (url, f"sqlite:///{tmp_path}/mine.db"):
        with sqlite3.connect(base_url.removeprefix("sqlite:///")) as base:
            base.execute("DELETE FROM entropic_sources")
        base.close()
    assert diffs(store) == diffs(mine) == set(texts), "they outlive the database"


def test_git_that_two_threads_ask_at_once_is_left_by_nobody(tmp_path, monkeypatch):
    git(tmp_path, "init")
    both, asked, ask = threading.Barrier(2, timeout=PATIENCE), [], provenance_git._ask

    def ask_together(*words: str) -> Any:
        both.wait()
        asked.append(ask(*words))
        return asked[-1]

    monkeypatch.setattr(provenance_git, "_ask", ask_together)
    found: list[provenance_git.Checkout] = []
    threads = [threading.Thread(target=lambda: found.append(provenance_git.checkout(str(tmp_path)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] is found[1]
    assert found[0].told() is not None
    assert len(asked) == 2
    assert all(one.returncode is not None for one in asked)  # else Python warns of them when they are collected


@pytest.mark.slow
def test_a_git_that_says_nothing_holds_up_no_run_for_long_and_ends(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    git(tmp_path, "init")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(f"#!/bin/sh\necho $$ >> '{tmp_path}/pids'\nexec sleep 600\n")
    (tmp_path / "bin" / "git").chmod(0o755)
    wanting = SCRIPT.replace(
        "store = Store", "import entropic.provenance.git as git\n    git.SECONDS = 0.0\n    store = Store"
    )
    (tmp_path / "script.py").write_text(wanting)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    command = [sys.executable, "-W", "error", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert done.stdout.startswith("None None None")
    assert done.stderr == ""
    told = (tmp_path / "pids").read_text() if (tmp_path / "pids").exists() else ""  # it may be ended before it says who
    wait_until(lambda: all(gone(int(pid)) for pid in told.split()))


@pytest.mark.slow
def test_passwords_are_in_no_command_line(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    told = run_script(tmp_path, "--db-password", "hunter2", "--token=hunter2", "postgresql://me:hunter2@host/x", "a=1")
    assert "'--db-password', '***', '--token=***', 'postgresql://me:***@host/x', 'a=1']" in told
    assert "hunter2" not in (next(tmp_path.glob("results/.entropic/*/environments/*.json"))).read_text()


@pytest.mark.slow
def test_show_tells_it(store, tmp_path):
    row = store.run_or_retrieve(ONE)
    code = "import sys; from entropic.cli.app import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "show", row.id, "--db", store._context.database.address]
    done = subprocess.run([*command, "--results", tmp_path / "results"], capture_output=True, text=True, check=True)
    assert platform.node() in done.stdout


# ---- stores of before ----------------------------------------------------------------------------------------------
COLUMNS = ("environment", "code", "cpu_seconds", "peak_memory")


def as_before(place: Any) -> None:
    """Let the database be as it was before anything was recorded of where results come from."""
    for column in COLUMNS:
        place.execute(f"ALTER TABLE entropic_ledger DROP COLUMN {column}")
    place.execute("DROP TABLE entropic_environments")
    place.execute("UPDATE entropic_meta SET value = '1' WHERE name = 'schema_version'")


def test_a_store_of_before_is_looked_at_as_it_is(open_store, place):
    open_store().run_or_retrieve(ONE)
    as_before(place)
    content = place.content()
    looking = open_store(read_only=True)
    assert looking.run_or_retrieve(ONE).n == 1
    assert looking.provenance(ONE) == entropic.Provenance(looking.retrieve(ONE).id)
    assert looking.status().stored == 1
    assert looking.check().ok
    assert place.content() == content


@pytest.mark.slow
def test_a_store_of_before_gains_the_columns_while_several_open_it(open_store, place, runner):
    open_store().run_or_retrieve(ONE)
    as_before(place)
    errors = []

    def use(n: int) -> None:
        try:
            open_store().run_or_retrieve({"n": n, "dt": 0.5})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(n,)) for n in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert runner.ns.count(1) == 1
    assert open_store().provenance(TWO).host == platform.node()
    assert open_store().provenance(ONE).host is None


# ---- where it executes ---------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_workers_tell_of_themselves(open_store):
    store = open_store(work_for_a_while)
    rows = store.sweep([ONE, TWO], workers=2)
    for row in rows:
        told = store.provenance(row)
        assert told.host == platform.node()
        assert told.cpu_seconds >= 0.03
        assert told.packages["pytest"] == pytest.__version__


@pytest.mark.slow
def test_the_status_says_on_which_machines_and_in_which_jobs_it_goes_on(open_store, monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    seen = []

    def run(params):
        if params["n"] == 3:
            entropic.report(1, 2)
            seen.append([(one.host, one.job, one.running, one.last_hour) for one in open_store().status().places])
        write_params(params)

    assert open_store().status().places == []
    open_store().sweep([ONE, TWO])
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    store, here = open_store(run), platform.node()
    store.run({"n": 3, "dt": 0.5})
    assert seen == [[(here, "Slurm 17", 1, 0), (here, None, 0, 2)]]
    assert {(one.job, one.last_hour) for one in store.status().places} == {("Slurm 17", 1), (None, 2)}
