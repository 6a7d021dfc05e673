"""Result files: lost and damaged ones, folders, companions, foreign files, and rows that somebody edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.models import CountingRunner, content
from entropic import ResultLostWarning, key

ONE = {"n": 1, "dt": 0.5}
TWO = {"n": 2, "dt": 0.5}
ASK = pytest.mark.parametrize(
    "ask", [lambda s: s.run_or_retrieve(ONE), lambda s: s.sweep([ONE])[0]], ids=["one", "all"]
)


@pytest.mark.slow
@ASK
def test_a_row_whose_file_is_gone_is_run_again_with_a_warning(store, runner, ask):
    row = store.run(ONE)
    Path(row.result_file).unlink()
    with pytest.warns(ResultLostWarning, match=row.id) as caught:
        again = ask(store)
    assert issubclass(ResultLostWarning, UserWarning)
    assert len(caught) == 1
    assert len(runner.calls) == 2
    assert content(again)["n"] == 1


@pytest.mark.each
@ASK
@pytest.mark.parametrize("text", ["", "cut sho", "longer " * 1000])
def test_a_row_whose_file_has_another_size_is_run_again_with_a_warning(store, runner, ask, text):
    row = store.run(ONE)
    Path(row.result_file).write_text(text)
    with pytest.warns(ResultLostWarning, match=row.id):
        again = ask(store)
    assert len(runner.calls) == 2
    assert content(again)["n"] == 1


@ASK
def test_after_it_was_run_again_it_is_a_hit_without_a_warning(store, runner, ask):
    Path(store.run(ONE).result_file).unlink()
    with pytest.warns(ResultLostWarning):
        ask(store)
    assert content(ask(store))["n"] == 1
    assert len(runner.calls) == 2
    assert store.check().ok


@ASK
def test_a_registered_file_that_is_gone_is_run_again_with_a_warning(store, runner, tmp_path, ask):
    made = tmp_path / "made.dat"
    made.write_text("made elsewhere")
    store.register(ONE, made)
    made.unlink()
    with pytest.warns(ResultLostWarning):
        row = ask(store)
    assert content(row)["n"] == 1
    assert not made.exists()
    assert len(runner.calls) == 1


def test_a_registered_file_of_another_size_is_run_again_and_left_as_it_is(store, tmp_path):
    made = tmp_path / "made.dat"
    made.write_text("made elsewhere")
    store.register(ONE, made)
    made.write_text("changed since then")
    with pytest.warns(ResultLostWarning):
        row = store.run_or_retrieve(ONE)
    assert content(row)["n"] == 1
    assert made.read_text() == "changed since then"


def test_a_file_that_comes_back_unchanged_is_a_hit(store, runner):
    path = Path(store.run(ONE).result_file)
    path.rename(path.with_suffix(".away"))
    path.with_suffix(".away").rename(path)
    store.run_or_retrieve(ONE)
    assert len(runner.calls) == 1


def test_check_lists_what_is_missing_and_what_has_another_size(store):
    gone, cut, fine = (store.run({"n": n, "dt": 0.5}) for n in (1, 2, 3))
    assert store.check().ok
    Path(gone.result_file).unlink()
    Path(cut.result_file).write_text("x")
    report = store.check()
    assert not report.ok
    assert [(f.id, f.path) for f in report.missing] == [(gone.id, gone.result_file)]
    assert [(f.id, f.path) for f in report.damaged] == [(cut.id, cut.result_file)]
    assert fine.id not in str(report)
    assert all(isinstance(finding.text, str) and finding.text for finding in [*report.missing, *report.damaged])


def test_a_result_may_be_a_folder(open_store):
    def run(params):
        folder = Path(params["result_file"])
        (folder / "group" / "deep").mkdir(parents=True)
        (folder / "group" / "deep" / "0.0").write_text(str(params["n"]))
        (folder / ".zattrs").write_text("{}")

    store = open_store(run=run, file_suffix=".zarr")
    for n in (1, 1, 2):
        row = store.run({"n": n, "dt": 0.5})
        assert row.result_file.endswith(".zarr")
        assert (Path(row.result_file) / "group" / "deep" / "0.0").read_text() == str(n)
        assert (Path(row.result_file) / ".zattrs").read_text() == "{}"
    assert [Path(row.result_file).is_dir() for row in store.sweep([ONE, TWO])] == [True, True]
    assert store.check().ok


def test_a_folder_that_is_gone_is_run_again_with_a_warning(open_store):
    store = open_store(run=CountingRunner(), file_suffix=".json")
    folder_store = open_store(run=lambda params: Path(params["result_file"]).mkdir(), file_suffix=".zarr")
    row = folder_store.run(TWO)
    Path(row.result_file).rmdir()
    with pytest.warns(ResultLostWarning):
        assert content(store.run_or_retrieve(TWO))["n"] == 2


def test_what_else_a_runner_leaves_beside_its_result_is_kept_with_it(open_store):
    def run(params):
        place = Path(params["result_file"])
        place.write_text("x")
        place.with_name("solver.log").write_text(f"log of {params['n']}")
        (place.parent / "plots").mkdir()
        (place.parent / "plots" / "a.png").write_text(f"plot of {params['n']}")

    store = open_store(run=run)
    rows = store.sweep([ONE, TWO])
    for row in rows:
        result = Path(row.result_file)
        (folder,) = (path for path in result.parent.iterdir() if path.name.startswith(result.name) and path != result)
        assert (folder / "solver.log").read_text() == f"log of {row.n}"
        assert (folder / "plots" / "a.png").read_text() == f"plot of {row.n}"
    assert store.check().ok


FOREIGN = [f"{key(ONE)}.json", f"{key(ONE)}", "notes.txt", f"{key(ONE)}.json.tmp", f"{key(ONE)}-1.json", f".{key(ONE)}"]


@pytest.mark.each
@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_files_that_the_store_did_not_make_are_never_read_changed_or_removed(store, tmp_path, name, folder):
    foreign = tmp_path / "results" / name
    mine = foreign / "mine.txt" if folder else foreign
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    assert store.retrieve(ONE) is None
    assert content(store.run_or_retrieve(ONE))["n"] == 1
    assert content(store.run(ONE))["n"] == 1
    assert len(store.sweep([ONE, TWO])) == 2
    assert store.delete(ONE, remove_file=True)
    store.repair()
    assert mine.read_text() == "mine"


def test_a_foreign_file_at_the_place_of_a_deleted_result_is_left_alone(store):
    path = Path(store.run(ONE).result_file)
    store.delete(ONE, remove_file=True)
    path.write_text("mine")
    row = store.run(ONE)
    assert path.read_text() == "mine"
    assert content(row)["n"] == 1
    assert store.delete(ONE, remove_file=True)
    assert path.read_text() == "mine"


def test_a_file_in_the_results_folder_without_a_row_is_no_result(open_store, runner, make_place, tmp_path):
    open_store().run(ONE)
    (tmp_path / "another").mkdir()
    with make_place(tmp_path / "another") as another:
        with pytest.warns(ResultLostWarning, match="has no rows of SimResult, and results lie"):
            store = open_store(db_url=another.url)
        assert store.retrieve(ONE) is None
        store.run_or_retrieve(ONE)
    assert runner.ns == [1, 1]


def test_a_row_that_somebody_edited_is_listed_and_never_served(store, runner, place):
    row = store.run(ONE)
    place.execute("update sim_results set n = 7")
    assert [finding.id for finding in store.check().mismatched] == [row.id]
    assert not store.check().ok
    with pytest.warns(ResultLostWarning, match="changed by hand"):
        assert store.retrieve(ONE) is None
    with pytest.warns(ResultLostWarning, match="changed by hand"):
        assert store.run_or_retrieve(ONE).n == ONE["n"]
    assert len(runner.calls) == 2
    assert store.check().ok


def test_custom_data_that_somebody_edited_is_theirs_to_edit(store, runner, place):
    store.run(ONE)
    place.execute("""update sim_results set custom_data = '{"mine": 1}'""")
    assert store.run_or_retrieve(ONE).custom_data == {"mine": 1}
    assert store.check().ok
    assert len(runner.calls) == 1


def test_repair_without_doing_it_changes_nothing_and_repair_leaves_a_store_in_order(store, place):
    Path(store.run(ONE).result_file).unlink()
    store.run(TWO)
    before = place.content()
    store.repair(dry_run=True)
    assert place.content() == before
    store.repair()
    assert content(store.retrieve(TWO))["n"] == 2


def test_the_warning_of_a_lost_result_points_to_the_line_of_the_user(store):
    Path(store.run_or_retrieve(ONE).result_file).unlink()
    with pytest.warns(ResultLostWarning) as seen:
        store.run_or_retrieve(ONE)
    assert seen[0].filename == __file__
