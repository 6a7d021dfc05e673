"""The database is lost, and the results are not: opening says so, and `rebuild` makes the rows from what lies there."""

from __future__ import annotations

import datetime
import decimal
import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON

from contract.models import Colour, LooseResult, OtherResult, SimResult, content, write_params
from databases import Place
from entropic import Base, Mapped, ResultLostWarning, Store, mapped_column, outcome
from entropic.protocol import delete
from entropic.upkeep import rebuild

ONE, TWO, THREE = ({"n": n, "dt": 0.5} for n in (1, 2, 3))


class Rich(Base):
    """A column of each kind."""

    __tablename__ = "rich_results"

    name: Mapped[str]
    day: Mapped[datetime.date]
    at: Mapped[datetime.datetime]
    colour: Mapped[Colour]
    raw: Mapped[bytes]
    exact: Mapped[decimal.Decimal | None] = mapped_column(default=None)
    grid: Mapped[Any] = mapped_column(JSON)
    x: Mapped[float]


RICH = {
    "name": "größe\n",
    "day": datetime.date(2026, 11, 28),
    "at": datetime.datetime(2026, 11, 28, 12, 30, 0, 5),
    "colour": Colour.BLUE,
    "raw": b"\x00\xff",
    "grid": {"a": [1, 2.5, None]},
    "x": 1e-300,
}


@pytest.fixture
def project(tmp_path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture
def lose(make_place, tmp_path):
    """Returns the URL of the first database, and after each call that of a new, empty one."""
    places = []

    def another() -> str:
        folder = tmp_path / f"database{len(places)}"
        folder.mkdir()
        place = make_place(folder)
        places.append(place)
        return place.__enter__().url

    yield another
    for place in places:
        place.__exit__(None, None, None)


def open_at(url: str, folder: Path, runner=write_params, model=SimResult, **options) -> Store:
    options.setdefault("file_suffix", ".json")
    return Store(runner, model, folder, db_url=url, **options)


def open_lost(url: str, folder: Path, runner=write_params, model=SimResult, **options) -> Store:
    with pytest.warns(ResultLostWarning, match="entropic rebuild"):
        return open_at(url, folder, runner, model, **options)


def values_of(row) -> dict:
    return {name: value for name, value in vars(row).items() if not name.startswith("_")}


# ---- what is made ------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_rebuilt_store_hits_whatever_had_been_run_however(lose, project, runner):
    store = open_at(lose(), project / "results", runner)
    store.run_or_retrieve(ONE, tag="first")
    store.run(TWO)
    store.sweep([{"n": n, "dt": 0.5} for n in range(10, 14)])
    store.sweep([{"n": n, "dt": 0.5} for n in range(20, 24)], workers=2)
    store.run(TWO)
    before = {row.id: values_of(row) for row in store.select()}
    calls = len(runner.calls)

    store = open_lost(lose(), project / "results", runner)
    done = store.rebuild()
    assert sorted(done.made) == sorted(before)
    assert (done.left, done.unknown) == ([], [])
    assert {row.id: values_of(row) for row in store.select()} == before
    assert store.run_or_retrieve(ONE).custom_data["tag"] == "first"
    store.sweep([{"n": n, "dt": 0.5} for n in (1, 2, 10, 11, 12, 13, 20, 21, 22, 23)])
    assert len(runner.calls) == calls
    assert store.check().ok
    assert store.rebuild().made == []
    store.run(ONE)  # and it works on
    assert store.delete(TWO, remove_file=True)
    assert store.check().ok


def test_where_results_come_from_comes_back(lose, project):
    store = open_at(lose(), project / "results")
    store.run_or_retrieve(ONE)
    before = store.provenance(ONE)
    assert before.argv is not None
    store = open_lost(url := lose(), project / "results")
    store.rebuild()
    assert store.provenance(ONE) == before
    for folder in (project / "results" / ".entropic").iterdir():
        shutil.rmtree(folder / "environments", ignore_errors=True)
    assert open_at(url, project / "results").provenance(ONE) == before


def test_values_of_every_type_come_back_as_they_were(lose, project):
    store = open_at(lose(), project / "results", model=Rich)
    row = store.run_or_retrieve(RICH, note={"nested": [1, None, "ü"]})
    store = open_lost(lose(), project / "results", model=Rich)
    assert store.rebuild().made == [row.id]
    assert values_of(store.retrieve(RICH)) == values_of(row)
    assert store.check().ok


def test_columns_that_the_database_makes_or_that_were_left_out_come_back(lose, project):
    store = open_at(lose(), project / "results", model=LooseResult)
    rows = [
        store.run_or_retrieve(one) for one in ({"name": "a"}, {"name": "b", "note": None}, {"name": "c", "level": 7})
    ]
    store = open_lost(lose(), project / "results", model=LooseResult)
    assert len(store.rebuild().made) == 3
    for one, row in zip(({"name": "a"}, {"name": "b", "note": None}, {"name": "c", "level": 7}), rows, strict=True):
        assert values_of(store.retrieve(one)) == values_of(row)
    assert store.check().ok


def test_folders_and_extra_files_come_back(lose, project):
    def runner(params):
        Path(params["result_file"]).mkdir()
        (Path(params["result_file"]) / "0.0").write_text("chunk")
        Path(params["result_file"]).with_name("solver.log").write_text("converged")

    store = open_at(lose(), project / "results", runner, file_suffix=".zarr")
    store.run_or_retrieve(ONE)
    store = open_lost(lose(), project / "results", runner, file_suffix=".zarr")
    assert len(store.rebuild().made) == 1
    assert store.check().ok
    store.run(ONE)
    assert store.check().ok
    assert len(list((project / "results").glob("*.files"))) == 1


def test_a_result_at_another_place_than_the_first_comes_back(lose, project):
    store = open_at(lose(), project / "results")
    place = project / "results" / f"{store.run(ONE).id}.json"
    store.delete(ONE, remove_file=True)
    place.write_text("foreign")
    row = store.run_or_retrieve(ONE)
    assert Path(row.result_file) != place
    store = open_lost(lose(), project / "results")
    assert store.rebuild().made == [row.id]
    assert store.retrieve(ONE).result_file == row.result_file
    assert store.check().ok


def test_two_models_are_rebuilt_each_by_its_own_store(lose, project):
    url = lose()
    open_at(url, project / "results").run(ONE)
    open_at(url, project / "results", model=OtherResult).run(ONE)
    url = lose()
    first, other = open_lost(url, project / "results"), open_lost(url, project / "results", model=OtherResult)
    assert len(first.rebuild().made) == len(other.rebuild().made) == 1
    assert first.retrieve(ONE).result_file != other.retrieve(ONE).result_file
    assert first.check().ok
    assert other.check().ok


def test_what_ran_again_in_the_new_database_stays_and_the_rest_is_added(lose, project, runner):
    store = open_at(lose(), project / "results", runner)
    store.sweep([ONE, TWO])
    store = open_lost(lose(), project / "results", runner)
    runner.during = lambda params: Path(params["result_file"]).write_text("anew")
    row = store.run_or_retrieve(ONE)
    assert store.rebuild().made == [store.retrieve(TWO).id]
    assert Path(store.retrieve(ONE).result_file).read_text() == "anew"
    assert store.retrieve(ONE).result_file == row.result_file
    assert store.check().ok


def test_a_key_that_failed_in_the_new_database_gets_its_row(lose, project, runner):
    store = open_at(lose(), project / "results", runner)
    store.run(ONE)
    store = open_lost(lose(), project / "results", runner)

    def fail(params):
        raise ValueError("no")

    runner.during = fail
    with pytest.raises(ValueError, match="no"):
        store.run_or_retrieve(ONE)
    assert len(store.rebuild().made) == 1
    assert store.failures() == []
    runner.during = None
    assert store.run_or_retrieve(ONE).n == 1
    store.run(ONE)
    assert store.check().ok


@pytest.mark.slow
def test_a_run_that_a_helper_recorded_is_in_the_journal(lose, project, tmp_path):
    """A process is killed between its sidecar and its row."""
    url = lose()
    script = tmp_path / "killed.py"
    script.write_text(
        "import os, sys\nfrom contract.models import SimResult, write_params\nfrom entropic import Store\n"
        "from entropic.protocol import publish\n"
        "publish.publish = lambda *_: os._exit(9)\n"
        f"Store(write_params, SimResult, {str(project / 'results')!r}, '.json', {url!r}).run({ONE!r})\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    assert subprocess.run([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": path}).returncode == 9
    assert open_at(url, project / "results").retrieve(ONE).n == 1
    assert len(open_lost(lose(), project / "results").rebuild().made) == 1


# ---- what is not -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("remove_file", [False, True])
def test_a_row_that_was_deleted_does_not_come_back(lose, project, remove_file):
    store = open_at(lose(), project / "results")
    store.sweep([ONE, TWO])
    store.delete(ONE, remove_file)
    store = open_lost(lose(), project / "results")
    assert store.rebuild().made == [store.retrieve(TWO).id]
    assert store.retrieve(ONE) is None


def test_what_gc_removed_is_not_missed(lose, project):
    store = open_at(lose(), project / "results")
    store.sweep([ONE, TWO])
    store.gc(n=1)
    store = open_lost(lose(), project / "results")
    done = store.rebuild()
    assert (done.made, done.left) == ([store.retrieve(TWO).id], [])


def test_a_row_that_was_deleted_and_run_again_comes_back(lose, project):
    store = open_at(lose(), project / "results")
    store.run(ONE)
    store.delete(ONE)
    store.run(ONE)
    assert len(open_lost(lose(), project / "results").rebuild().made) == 1


def test_a_run_between_a_delete_and_its_line_in_the_journal_comes_back(lose, project, monkeypatch):
    """Another process runs the key as soon as the delete is committed, and before that was written down."""
    url = lose()
    store, other = open_at(url, project / "results"), open_at(url, project / "results")
    store.run(ONE)
    deleted = delete.delete_when_free

    def and_another_runs_it(*args, **options):
        gone = deleted(*args, **options)
        other.run_or_retrieve(ONE)
        return gone

    monkeypatch.setattr(delete, "delete_when_free", and_another_runs_it)
    assert store.delete(ONE)
    monkeypatch.undo()
    row = store.retrieve(ONE)
    assert row is not None
    assert open_lost(lose(), project / "results").rebuild().made == [row.id]


def peak_of(measure) -> type[Base]:
    body = {"__tablename__": "peaked_results", "__annotations__": {"n": Mapped[int], "dt": Mapped[float]}}
    body |= {"said": outcome(), "peak": outcome(measure), "__module__": __name__}
    body["__annotations__"] |= {"said": Mapped[int], "peak": Mapped[float]}
    return type("Peaked", (Base,), body)


def test_what_runs_said_comes_back_and_what_a_function_computed_is_computed_anew(lose, project):
    """It may be another function by now, and the new database knows of no other."""

    def runner(params):
        return {"said": params["n"]}

    first = peak_of(lambda result: result["said"] * 10.0)
    open_at(lose(), project / "results", runner, first).sweep([ONE, TWO])
    store = open_lost(lose(), project / "results", runner, peak_of(lambda result: result["said"] - 0.5))
    done = store.rebuild()
    assert len(done.made) == 2
    assert "measure()" in str(done)
    assert [(row.said, row.peak) for row in store.select(order_by="n")] == [(1, None), (2, None)]
    assert all("not_recorded" not in row.custom_data for row in store.select())
    assert store.measure().filled == 2
    assert [row.peak for row in store.select(order_by="n")] == [0.5, 1.5]
    assert store.check().ok


def test_results_that_are_gone_or_were_changed_are_named(lose, project):
    store = open_at(lose(), project / "results")
    store.sweep([ONE, TWO, THREE])
    Path(store.retrieve(ONE).result_file).unlink()
    Path(store.retrieve(TWO).result_file).write_text("mine")
    store = open_lost(lose(), project / "results")
    done = store.rebuild()
    assert done.made == [store.retrieve(THREE).id]
    assert sorted(text.rpartition(".json ")[2] for text in done.left) == [
        "is gone",
        "was changed since it was recorded",
    ]
    assert Path(project / "results" / f"{store._context.hasher(TWO)}.json").read_text() == "mine"
    assert store.check().ok


def test_results_of_which_nothing_was_recorded_are_said_when_the_store_opens_and_by_rebuild(lose, project):
    store = open_at(lose(), project / "results")
    row = store.run(ONE)
    shutil.rmtree(project / "results" / ".entropic")
    with pytest.warns(ResultLostWarning, match="run again when they are asked for"):
        store = open_at(lose(), project / "results")
    done = store.rebuild()
    assert (done.made, done.unknown) == ([], [f"{row.id}.json"])
    assert "register()" in str(done)


@pytest.mark.only_on("sqlite")
def test_what_gets_no_row_is_said_once_though_its_transaction_was_repeated(lose, project, monkeypatch):
    store = open_at(lose(), project / "results")
    first, second = sorted(store.sweep([ONE, TWO]), key=lambda row: row.id)
    store = open_lost(lose(), project / "results")

    def refuse(*_):
        raise sqlite3.IntegrityError("the database takes no such row")

    def choose(*args):
        chosen = rebuild_choose(*args)
        Path(first.result_file).unlink(missing_ok=True)  # just after it was seen
        return chosen

    rebuild_choose = rebuild._choose
    monkeypatch.setattr(rebuild, "_choose", choose)
    monkeypatch.setattr(rebuild, "_record", refuse)
    done = store.rebuild()
    assert done.made == []
    assert [text.partition(":")[0] for text in done.left] == [first.id, second.id]


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(lose, project):
    row = open_at(lose(), project / "results").run(ONE)
    store = open_lost(lose(), project / "results")
    assert store.rebuild(dry_run=True).made == [row.id]
    assert "1 rows would be made" in str(store.rebuild(dry_run=True))
    assert store.retrieve(ONE) is None


def test_copied_results_are_rebuilt_though_they_bear_another_time(lose, project, tmp_path):
    open_at(lose(), project / "results").run(ONE)
    shutil.copytree(project / "results", tmp_path / "copy", copy_function=shutil.copyfile)
    store = open_lost(lose(), tmp_path / "copy")
    assert len(store.rebuild().made) == 1
    assert content(store.run_or_retrieve(ONE))["n"] == 1
    assert store.check().ok


# ---- opening -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_nothing_is_said_where_nothing_was_lost(lose, project, runner):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        url = lose()
        store = open_at(url, project / "results", runner)
        open_at(url, project / "results", runner)
        store.run(ONE)
        open_at(url, project / "results", runner)
        open_at(url, project / "results", runner, model=OtherResult)
        store.copy_to(lose())
        store.delete(ONE, remove_file=True)
        open_at(url, project / "results", runner)
        open_at(lose(), project / "results", runner)
        open_at("sqlite://", project / "results", runner)


@pytest.mark.only_on("sqlite")  # only a file can be looked for
@pytest.mark.parametrize("moved", [False, True], ids=["", "moved"])
def test_where_another_database_uses_the_folder_too_rows_are_those_of_the_lost_one(tmp_path, moved):
    project = tmp_path / "project"
    for name in ("lost", "used"):
        (project / name).mkdir(parents=True)
    lost, used = (f"sqlite:///{project / name / 'db.sqlite3'}" for name in ("lost", "used"))
    open_at(lost, project / "results", lambda params: 1).sweep([ONE, TWO])
    open_lost(used, project / "results", lambda params: 2).sweep([TWO, THREE])
    if moved:
        lost, used = (url.replace("project", "elsewhere") for url in (lost, used))
        project = project.rename(tmp_path / "elsewhere")
    for path in project.glob("lost/*"):
        path.unlink()

    store = open_lost(lost, project / "results", lambda params: 3)
    assert len(store.rebuild().made) == 3
    assert [store.load(row) for row in store.select(order_by="n")] == [1, 1, 2]
    store.delete(TWO, remove_file=True)
    other = open_at(used, project / "results", lambda params: 4)
    assert other.check().ok
    assert [other.load(row) for row in other.sweep([TWO, THREE])] == [2, 2]


@pytest.mark.only_on("sqlite")
def test_another_database_that_cannot_be_looked_at_keeps_no_row_from_being_made(tmp_path):
    first, other, new = (f"sqlite:///{tmp_path / name}.sqlite3" for name in ("first", "other", "new"))
    open_at(first, tmp_path / "results").run(ONE)
    open_lost(other, tmp_path / "results").run(TWO)
    for path in tmp_path.glob("other.sqlite3-*"):
        path.unlink()
    (tmp_path / "other.sqlite3-wal").mkdir()
    (tmp_path / "other.sqlite3-wal" / "file").touch()
    notes = tmp_path.glob("results/.entropic/*/journal/database.json")
    of_first, _ = sorted(notes, key=lambda one: b"other" in one.read_bytes())
    of_first.write_text('{"sqlite": 5}')
    assert len(open_lost(new, tmp_path / "results").rebuild().made) == 2


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_every_opening_says_it_until_there_is_a_row(project, tmp_path):
    url = Place.on_sqlite(tmp_path).url
    open_at(url, project / "results").sweep([ONE, TWO])
    for path in tmp_path.glob("*.sqlite3*"):
        path.unlink()
    open_lost(url, project / "results")
    open_lost(url, project / "results").run(ONE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = open_at(url, project / "results")
    assert len(store.rebuild().made) == 1


# ---- the journal -------------------------------------------------------------------------------------------------
def journal_of(folder: Path) -> Path:
    (path,) = folder.glob(".entropic/*/journal/*.jsonl")
    return path


def test_a_line_that_was_cut_off_takes_no_other_with_it(lose, project):
    store = open_at(lose(), project / "results")
    store.run(ONE)
    path = journal_of(project / "results")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    store.run(TWO)
    path.write_bytes(path.read_bytes() + b'\n{"entropic":1,"mod')
    store = open_lost(lose(), project / "results")
    done = store.rebuild()
    assert done.made == [store.retrieve(TWO).id]
    assert "2 lines of the journals" in done.left[0]
    assert done.unknown == [f"{store._context.hasher(ONE)}.json"]


def run_some(url: str, folder: Path, numbers: list[int]) -> None:
    store = open_at(url, folder)
    for n in numbers:
        store.run_or_retrieve({"n": n, "dt": 0.5})


@pytest.mark.slow
def test_processes_that_append_at_once_lose_no_line(lose, project):
    url = lose()
    open_at(url, project / "results").run(ONE)
    context = multiprocessing.get_context("spawn")
    parts = [list(range(100 + 30 * part, 130 + 30 * part)) for part in range(4)]
    children = [context.Process(target=run_some, args=(url, project / "results", part)) for part in parts]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert len(open_lost(lose(), project / "results").rebuild().made) == 121


@pytest.mark.slow
def test_a_forked_child_and_its_parent_both_append(lose, project):
    store = open_at(lose(), project / "results")
    store.run(ONE)
    pid = os.fork()
    if pid == 0:
        store.run(TWO)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store.run(THREE)
    assert len(open_lost(lose(), project / "results").rebuild().made) == 3


def test_a_journal_that_was_removed_is_begun_anew(lose, project):
    store = open_at(lose(), project / "results")
    store.run(ONE)
    journal_of(project / "results").unlink()
    store.run(TWO)
    assert len(journal_of(project / "results").read_text().split()) >= 1
    assert [
        json.loads(line)["values"]["n"] for line in journal_of(project / "results").read_text().split("\n") if line
    ] == [2]


def test_a_journal_that_is_begun_anew_frees_no_descriptor_that_another_thread_may_write_to(lose, project):
    store = open_at(lose(), project / "results")
    store.run(ONE)
    descriptor = store._context.journal._file
    journal_of(project / "results").unlink()
    freed, close = [], os.close
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "close", lambda one: (freed.append(one), close(one))[1])
        store.run(TWO)
    assert descriptor not in freed
    assert os.path.samestat(os.fstat(descriptor), os.stat(journal_of(project / "results")))


@pytest.mark.parametrize("what", ["link", "folder", "pipe"])
def test_a_journal_that_cannot_be_written_is_said_once_and_stops_no_run(lose, project, caplog, tmp_path, what):
    url = lose()
    open_at(url, project / "results").run(ONE)
    path = journal_of(project / "results")
    path.unlink()
    (tmp_path / "probe").write_text("mine")
    {"link": lambda: path.symlink_to(tmp_path / "probe"), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}[what]()
    store = open_at(url, project / "results")
    store.run(TWO)
    store.run(THREE)
    said = [one for one in caplog.records if "journal" in one.getMessage() and one.levelname == "WARNING"]
    assert len(said) == 1
    assert (tmp_path / "probe").read_text() == "mine"
    assert len(store.select()) == 3
    assert store.check().ok


def test_a_store_that_only_looks_writes_no_journal(lose, project):
    url = lose()
    open_at(url, project / "results").run(ONE)
    before = journal_of(project / "results").read_bytes()
    store = open_at(url, project / "results", read_only=True)
    store.retrieve(ONE)
    assert store.rebuild(dry_run=True).made == []
    assert journal_of(project / "results").read_bytes() == before
