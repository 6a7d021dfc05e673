"""A project that was moved or copied, and a process that changes its folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from contract.models import CountingRunner, SimResult, content
from databases import Place
from entropic import ResultLostWarning, Store, StoreError
from entropic.db.engine import Database
from entropic.db.ledger import Ledger
from entropic.protocol import find

ONE = {"n": 1, "dt": 0.5}
TWO = {"n": 2, "dt": 0.5}
ONE_FILE = pytest.mark.only_on("sqlite")  # the database is copied with its folder


@pytest.fixture
def open_project(place, runner):
    """Open the store in a project folder: its database is in the folder, too, or stays on the server."""

    def open_it(project: Path) -> Store[SimResult]:
        url = Place.on_sqlite(project).url if place.is_file else place.url
        return Store(runner, SimResult, project / "results", ".json", url)

    return open_it


@pytest.fixture
def project(tmp_path, open_project) -> Path:
    """A project folder with one run in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    open_project(folder).run(ONE)
    return folder


def test_rows_hold_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store(CountingRunner(), SimResult)
    rows = [store.run(ONE), store.run_or_retrieve(ONE), store.retrieve(ONE), *store.sweep([ONE, TWO])]
    assert {Path(row.result_file).parent for row in rows} == {tmp_path / "results"}


@pytest.mark.parametrize("how", [shutil.move, pytest.param(shutil.copytree, marks=ONE_FILE)])
def test_the_rows_of_a_moved_or_copied_project_point_into_it(project, open_project, runner, how):
    there = project.with_name("elsewhere")
    how(str(project), str(there))
    store = open_project(there)
    rows = [store.retrieve(ONE), store.run_or_retrieve(ONE), *store.sweep([ONE])]
    assert {Path(row.result_file).parent for row in rows} == {there / "results"}
    assert content(rows[0])["n"] == 1
    assert len(runner.calls) == 1
    assert store.check().ok


@pytest.mark.slow
@pytest.mark.parametrize("method", ["run_or_retrieve", "sweep", "stream"])
def test_results_that_only_bear_another_time_are_hits_everywhere_and_nobody_is_warned(
    project, open_project, runner, method
):
    """As after a copy without times; warnings are errors here."""
    open_project(project).sweep([ONE, TWO])
    for file in (project / "results").glob("*.json"):
        os.utime(file, (1, 1))
    store = open_project(project)
    plan = store.plan([ONE, TWO])
    assert (len(plan.stored), len(plan.missing)) == (2, 0)
    assert store.explain(ONE).state == "stored"
    found = [store.run_or_retrieve(ONE)] if method == "run_or_retrieve" else getattr(store, method)([ONE, TWO])
    assert [row.n for row in found] == [1, 2][: 1 if method == "run_or_retrieve" else 2]
    assert runner.ns == [1, 2]
    assert store.check().ok


def test_no_transaction_records_more_times_anew_than_others_can_wait_for(project, open_project, monkeypatch):
    """In a copied project it may be those of all results."""
    params = [{"n": n, "dt": 0.5} for n in range(5)]
    ids = [row.id for row in open_project(project).sweep(params)]
    for file in (project / "results").glob("*.json"):
        os.utime(file, (1, 1))
    store = open_project(project)
    transact, measured, recorded = Database.transact, Ledger.record_extent, []

    def counted(database, *args, **options):
        recorded.append([])
        return transact(database, *args, **options)

    def noted(ledger, connection, id, *found):
        recorded[-1].append(id)
        measured(ledger, connection, id, *found)

    monkeypatch.setattr(find, "CONFIRMED_TOGETHER", 2, raising=False)
    monkeypatch.setattr(Database, "transact", counted)
    monkeypatch.setattr(Ledger, "record_extent", noted)
    assert len(store.sweep(params)) == 5
    together = [some for some in recorded if some]
    assert [len(some) for some in together] == [2, 2, 1]
    assert [id for some in together for id in some] == sorted(ids)
    recorded.clear()
    assert len(open_project(project).sweep(params)) == 5
    assert not any(recorded)  # all of them are as they are recorded now


@pytest.mark.slow
def test_a_sweep_finds_what_bears_another_time_beside_what_is_lost(project, open_project, runner):
    rows = open_project(project).sweep([ONE, TWO, {"n": 3, "dt": 0.5}])
    os.utime(rows[0].result_file, (1, 1))
    Path(rows[1].result_file).unlink()
    with pytest.warns(ResultLostWarning, match="is gone; the set runs again"):
        open_project(project).sweep([ONE, TWO, {"n": 3, "dt": 0.5}])
    assert runner.ns == [1, 2, 3, 2]


@ONE_FILE
def test_a_re_run_in_a_copied_project_leaves_the_original_alone(project, open_project):
    shutil.copytree(project, project.with_name("copy"))
    row = open_project(project.with_name("copy")).run(ONE, note="in the copy")
    assert content(row)["custom_data"] == {"note": "in the copy"}
    assert content(open_project(project).retrieve(ONE))["custom_data"] == {}


@ONE_FILE
def test_deleting_in_a_copied_project_leaves_the_original_alone(project, open_project):
    shutil.copytree(project, project.with_name("copy"))
    assert open_project(project.with_name("copy")).delete(ONE, remove_file=True)
    assert content(open_project(project).retrieve(ONE))["n"] == 1
    assert list((project.with_name("copy") / "results").glob("*.json")) == []


def test_a_registered_path_outside_stays_as_registered_after_a_move(project, open_project, runner, tmp_path):
    made = tmp_path / "made.dat"
    made.write_text("made elsewhere")
    open_project(project).register(TWO, made)
    there = shutil.move(project, project.with_name("elsewhere"))
    assert open_project(Path(there)).run_or_retrieve(TWO).result_file == str(made)
    assert len(runner.calls) == 1


def test_a_registered_path_inside_the_results_folder_moves_with_it(project, open_project, runner):
    (project / "results" / "sub").mkdir()
    (project / "results" / "sub" / "made.json").write_text("made elsewhere")
    open_project(project).register(TWO, project / "results" / "sub" / "made.json")
    there = Path(shutil.move(project, project.with_name("elsewhere")))
    row = open_project(there).run_or_retrieve(TWO)
    assert row.result_file == str(there / "results" / "sub" / "made.json")
    assert len(runner.calls) == 1


def test_a_store_opened_with_relative_paths_stays_where_it_was_opened(tmp_path, monkeypatch):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    runner = CountingRunner()
    store = Store(runner, SimResult)
    row = store.run(ONE)
    monkeypatch.chdir(tmp_path / "second")
    assert store.run_or_retrieve(ONE).result_file == row.result_file
    assert Path(store.run(TWO).result_file).parent == tmp_path / "first" / "results"
    assert runner.ns == [1, 2]
    assert list((tmp_path / "second").iterdir()) == []


def test_a_runner_that_changes_the_folder_does_not_lead_the_store_astray(tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path)
    store = Store(CountingRunner(lambda params: monkeypatch.chdir(tmp_path / "scratch")), SimResult)
    rows = store.sweep([ONE, TWO])
    assert [content(row)["n"] for row in rows] == [1, 2]
    assert store.retrieve(TWO).result_file == rows[1].result_file
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_results_folder_reached_by_a_link_is_the_same_folder(project, open_project, runner):
    link = project.with_name("link")
    link.symlink_to(project, target_is_directory=True)
    row = open_project(link).run_or_retrieve(ONE)
    assert content(row)["n"] == 1
    assert Path(row.result_file).resolve().parent == (project / "results").resolve()
    assert len(runner.calls) == 1


def test_a_results_folder_that_is_not_the_databases_is_warned_of_when_the_store_opens(project, open_project, runner):
    (project / "results").rename(project / "elsewhere")
    with pytest.warns(ResultLostWarning, match=f"{project / 'results'}, which was never used"):
        store = open_project(project)
    with pytest.raises(StoreError, match="Nothing was removed"):
        store.gc(older_than=0)
    with pytest.warns(ResultLostWarning, match="is gone"):
        assert store.run_or_retrieve(ONE).n == 1
    assert len(runner.calls) == 2
    open_project(project)  # which is its folder by now


def test_a_results_folder_that_is_removed_during_a_run_is_named_and_made_anew(project, open_project, runner):
    store = open_project(project)
    runner.during = lambda params: shutil.rmtree(project / "results")
    with pytest.raises(OSError) as caught:
        store.run(TWO)
    runner.during = None
    assert any("removed" in one and str(project / "results") in one for one in caught.value.__notes__)
    assert store.run(TWO).n == 2
    assert store.run_or_retrieve(TWO).n == 2
