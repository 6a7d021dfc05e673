"""Commands that only look change nothing: no file, no table, no time of either, whosever the store is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from snapshots import open_to_all, snapshot

BEGINNING = pytest.mark.parametrize("first", [0, 1], ids=["by name first", "by database first"])
FROZEN = Path(__file__).parents[1] / "migration" / "entropic-2.3.0"
SCRIPT = """
import json, os
from entropic import Base, Mapped, Store

class Point(Base):
    __tablename__ = "points"
    n: Mapped[int]

def run(params):
    if params["n"] == 3:
        raise ValueError("three is refused")
    if params["n"] == 4:
        os._exit(0)
    with open(params["result_file"], "w") as file:
        json.dump(params["n"], file)

store = Store(run, Point, file_suffix=".json", db_url={url!r})
if __name__ == "__main__":
    store.sweep([{{"n": 1}}, {{"n": 2}}], progress=False)
    store.note({{"n": 1}}, "said of it", tags=["paper"])
    store.freeze("some", n=1)
    try:
        store.run({{"n": 3}})
    except ValueError:
        pass
    store.run({{"n": 4}})  # which ends this process in the middle
"""
# Runs commands, each in a process of its own, as whom it is told; says how each ended, and what was imported for it.
CALL = """
import importlib, io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
import pandas
from entropic.cli.app import app
uid, modules, lines = json.load(sys.stdin)
for name in modules:  # another user may not be allowed to read the standard library
    try:
        importlib.import_module(name)
    except Exception:
        pass
for words in lines:
    if os.fork() == 0:
        if uid:
            os.setgroups([]), os.setgid(uid), os.setuid(uid)
        said = io.TextIOWrapper(io.BytesIO())
        with redirect_stdout(said), redirect_stderr(said):
            try:
                code = app(words, standalone_mode=False)
            except SystemExit as end:
                code = end.code
        said.seek(0)
        print(json.dumps([code, said.read(), list(sys.modules)]), flush=True)
        os._exit(0)
    os.wait()
"""


def call(folder, lines, uid=0, before=(), modules=()):
    """Run commands in a folder; return of each how it ended, what it said, and what was imported."""
    command = [*before, sys.executable, "-c", CALL]
    given = json.dumps([uid, list(modules), lines])
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, timeout=20 * len(lines))
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) == len(lines), done.stderr
    return ends


NEEDS_DATABASE = [
    *(["ls"], ["show"], ["diff"], ["status"], ["failed"], ["check"], ["export"], ["frozen"], ["view"]),
    *(["repair"], ["repair", "--dry-run"], ["gc"], ["gc", "--dry-run"], ["rekey"], ["rm", "--yes"], ["note"]),
    *(["dismiss"], ["freeze"], ["unfreeze"], ["archive"], ["measure"]),
]


def commands(*store, one, two):
    """Return every command that only looks, with the code that it ends with and a word that it says."""
    return [
        (["ls", *store], 0, one),
        (["ls", *store, "n=1", "--json"], 0, one),
        (["show", *store, one], 0, "result_file"),
        (["diff", *store, one, two], 0, "differ"),
        (["status", *store], 0, "2 rows"),
        (["failed", *store], 1, "three is refused"),
        (["plan", *store, "--grid", "n=1,2,9"], 1, "2 stored"),
        (["explain", *store, "n=1"], 0, "a hit"),
        (["explain", *store, "n=9"], 1, "a miss"),
        (["check", *store], 1, "leftovers"),
        (["export", *store, "-", "--format", "csv"], 0, one),
        (["export", *store, "-", "--format", "json"], 0, one),
        (["repair", *store, "--dry-run"], 1, "to make"),
        (["gc", *store, "n=1", "--dry-run"], 0, one),
        (["frozen", *store], 0, "some"),
        (["ls", *store, "--stale"], 0, ""),
        (["ls", *store, "--tag", "paper"], 0, one),
        (["show", *store, one, "--json"], 0, "said of it"),
        (["status", *store, "--json"], 0, '"stored": 2'),
        (["rebuild", *store, "--dry-run"], 0, ""),
        (["rekey", *store, "--dry-run"], 0, ""),
    ]


@pytest.fixture
def project(tmp_path, place):
    """A folder with a script, the results of two runs, a failure, and what a process left that died in a run."""
    folder = tmp_path / "project"
    folder.mkdir()
    url = "sqlite:///points.sqlite3" if place.is_file else place.url
    (folder / "model.py").write_text(SCRIPT.format(url=url))
    subprocess.run([sys.executable, "-B", "model.py"], cwd=folder, check=True, timeout=100)
    assert list(folder.glob("results/.entropic/*/*.work"))
    place.url = url if place.is_file else place.url
    return folder


def keys(folder):
    found = {json.loads(path.read_text()): path.stem for path in folder.glob("results/*.json")}
    return {"one": found[1], "two": found[2]}


def check_all(folder, asked, **more):
    """Run commands that only look, see that they answer and leave no trace; return what they imported."""
    before = snapshot(folder)
    ends = call(folder, [words for words, _, _ in asked], **more)
    for (words, code, said), (ended, text, _) in zip(asked, ends, strict=True):
        assert (ended, said in text) == (code, True), (words, ended, text)
    assert snapshot(folder) == before
    return {name for _, _, modules in ends for name in modules if name not in ("__main__", "model")}


def by_both(url, first, folder):
    """Return every command, by the name of the store or by its database in turn, beginning with one of them."""
    found = zip(commands("model.py:store", **keys(folder)), commands("--db", url, **keys(folder)), strict=True)
    return [pair[(i + first) % 2] for i, pair in enumerate(found)]


@pytest.mark.slow
@pytest.mark.each
@BEGINNING
def test_commands_that_look_leave_everything_as_it_was(project, place, first):
    content = None if place.is_file else place.content()
    check_all(project, by_both(place.url, first, project))
    assert content is None or place.content() == content


@pytest.mark.each
@BEGINNING
@pytest.mark.only_on("postgresql", "mariadb")
def test_a_user_who_may_only_select_looks_at_everything(project, place, first):
    url = place.of_reader()
    (project / "model.py").write_text(SCRIPT.format(url=url))
    check_all(project, by_both(url, first, project))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.each
@BEGINNING
@pytest.mark.only_on("sqlite")
def test_another_users_store_and_a_read_only_mount_are_looked_at(project, first):
    with open_to_all(project) as folder:
        asked = by_both("sqlite:///points.sqlite3", first, project)
        modules = check_all(folder, asked)
        check_all(folder, asked, uid=65534, modules=modules)
        above = folder.parent
        mount = f"mount --bind {above} {above} && mount -o remount,bind,ro {above} && cd {folder}"
        if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode == 0:
            check_all(folder, asked, before=["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh"])


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_store_of_before_there_was_a_ledger_gets_no_table(tmp_path):
    shutil.copytree(FROZEN, tmp_path / "old")
    (file,) = (tmp_path / "old").glob("*.sqlite3")
    asked = [
        (["ls", "--db", f"sqlite:///{file}"], 0, "My run"),
        (["show", "--db", f"sqlite:///{file}", "My run"], 0, "result_file"),
        (["status", "--db", f"sqlite:///{file}"], 0, "5 rows"),
        (["failed", "--db", f"sqlite:///{file}"], 0, "nothing failed"),
        (["check", "--db", f"sqlite:///{file}"], 0, "all in order"),
    ]
    check_all(tmp_path / "old", asked)
    assert sa.inspect(sa.create_engine(f"sqlite:///{file}")).get_table_names() == ["old"]


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_store_that_was_never_used_is_told_and_is_not_made(tmp_path, place):
    (tmp_path / "model.py").write_text(SCRIPT.format(url="sqlite:///points.sqlite3"))
    asked = [
        (["plan", "model.py", "--grid", "n=1,2"], 1, "2 missing"),
        (["explain", "model.py", "n=1"], 1, "a miss"),
        (["rebuild", "model.py", "--dry-run"], 0, "there is no database at"),
        *(([*words, "model.py"], 2, "there is no database at") for words in NEEDS_DATABASE),
    ]
    check_all(tmp_path, asked)
    assert [path.name for path in tmp_path.iterdir()] == ["model.py"]


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_script_that_runs_when_it_is_imported_runs_nothing_for_a_command_that_looks(tmp_path, place):
    script = SCRIPT.format(url="sqlite:///points.sqlite3").replace('if __name__ == "__main__":', "if True:")
    (tmp_path / "model.py").write_text(script)
    check_all(tmp_path, [(["ls", "model.py"], 2, "if __name__ == '__main__'")])
