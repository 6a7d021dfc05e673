"""`gc`: what is not wanted any more goes, with its row; nothing else does."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from contract.models import PATIENCE, CountingRunner, OtherResult, SimResult, content, write_folder, write_with_log
from entropic import ParameterError

ONE, TWO, THREE = ({"n": n, "dt": 0.5} for n in (1, 2, 3))


@pytest.fixture
def aged(store, place):
    """Three results of the same size, made ten, five and no days ago."""
    rows = [store.run(one) for one in (ONE, TWO, THREE)]
    with store._context.database.engine.begin() as connection:
        for row, days in zip(rows, (10, 5, 0), strict=True):
            made = row.created_at - timedelta(days=days)
            table = SimResult.__table__
            connection.execute(sa.update(table).where(table.c.id == row.id).values(created_at=made))
    return rows


def ns(store):
    return sorted(row.n for row in store.select())


def write_exactly(size):
    def run(params):
        Path(params["result_file"]).write_bytes(b"x" * size)

    return run


# ---- which results go --------------------------------------------------------------------------------------------
def test_without_a_condition_or_a_limit_no_result_goes(aged, store):
    assert store.gc().removed == []
    assert ns(store) == [1, 2, 3]


def test_results_older_than_a_time_go_with_their_files(aged, store):
    done = store.gc(older_than=timedelta(days=7))
    assert [one.id for one in done.removed] == [aged[0].id]
    assert ns(store) == [2, 3]
    assert not Path(aged[0].result_file).exists()
    assert Path(aged[1].result_file).exists()
    assert store.check().ok


def test_the_age_may_be_given_in_seconds(aged, store):
    store.gc(older_than=7 * 86400)
    assert ns(store) == [2, 3]


def test_the_newest_results_stay_until_they_take_too_many_bytes(open_store):
    store = open_store(run=write_exactly(1000))
    for one in (ONE, TWO, THREE):
        store.run(one)
    assert store.gc(total_size=2999).size == 1000
    assert ns(store) == [2, 3]
    assert store.gc(total_size=2000).removed == []
    store.gc(total_size=0)
    assert ns(store) == []
    assert store.check().ok


def test_what_is_older_than_a_result_that_does_not_fit_goes_too(open_store):
    store = open_store(run=lambda params: Path(params["result_file"]).write_bytes(b"x" * params["n"]))
    for n in (1, 5000, 10):
        store.run({"n": n, "dt": 0.5})
    store.gc(total_size=100)
    assert ns(store) == [10]


def test_files_kept_beside_a_result_count_and_go(open_store, tmp_path):
    def run(params):
        Path(params["result_file"]).write_bytes(b"x" * 10)
        Path(params["result_file"]).with_name("solver.log").write_bytes(b"x" * 1000)

    store = open_store(run=run)
    store.run(ONE)
    assert store.gc(total_size=1010).removed == []
    assert store.gc(total_size=1009).size == 1010
    assert list((tmp_path / "results").rglob("solver.log")) == []
    assert store.check().ok


def test_conditions_say_which_results_go(aged, store):
    store.gc(SimResult.n > 1, dt=0.5)
    assert ns(store) == [1]
    store.gc(n=7)
    assert ns(store) == [1]


def test_a_limit_holds_for_those_that_meet_the_conditions(aged, store):
    store.gc(SimResult.n > 1, older_than=timedelta(days=1))
    assert ns(store) == [1, 3]


def test_a_result_goes_if_it_breaks_one_of_two_limits(aged, store):
    size = Path(aged[2].result_file).stat().st_size
    store.gc(older_than=timedelta(days=7), total_size=size)
    assert ns(store) == [3]


def test_a_removed_set_is_run_again_when_asked_for(store, runner):
    store.run(ONE)
    store.gc(n=1)
    assert content(store.run_or_retrieve(ONE))["n"] == 1
    assert len(runner.calls) == 2


def test_a_row_whose_file_is_lost_goes(store):
    Path(store.run(ONE).result_file).unlink()
    done = store.gc(n=1)
    assert (len(done.removed), done.size) == (1, 0)
    assert store.check().ok


def test_a_result_that_is_a_folder_goes_with_all_that_is_in_it(open_store):
    store = open_store(run=write_folder, file_suffix=".zarr")
    row = store.run(ONE)
    assert store.gc(n=1).size == len("chunk")
    assert not Path(row.result_file).exists()
    assert store.check().ok


# ---- dry runs ----------------------------------------------------------------------------------------------------
def test_a_dry_run_says_the_same_and_changes_nothing(aged, store):
    store.delete(ONE)
    rules = {"older_than": timedelta(days=1), "orphans": True}
    os.utime(aged[0].result_file, (0, 0))
    before = sorted(path.name for path in Path(store.results_dir).rglob("*"))
    planned = store.gc(**rules, dry_run=True)
    assert sorted(path.name for path in Path(store.results_dir).rglob("*")) == before
    assert ns(store) == [2, 3]
    assert planned.counts() == {"result": 1, "orphan": 1, "leftover": 0}
    done = store.gc(**rules)
    assert [str(one) for one in done.removed] == [str(one) for one in planned.removed]
    assert "would be removed" in str(planned)
    assert "would" not in str(done)


# ---- files without a row -----------------------------------------------------------------------------------------
def test_files_of_deleted_rows_go(store):
    row = store.run(ONE)
    store.delete(ONE)
    done = store.gc()
    assert [(one.kind, one.id, one.path) for one in done.removed] == [("orphan", row.id, row.result_file)]
    assert not Path(row.result_file).exists()
    assert store.check().ok


def test_orphans_stay_if_asked(store):
    row = store.run(ONE)
    store.delete(ONE)
    assert store.gc(orphans=False).removed == []
    assert Path(row.result_file).exists()


def test_an_orphan_younger_than_the_limit_stays(store):
    row = store.run(ONE)
    store.delete(ONE)
    assert store.gc(older_than=3600).removed == []
    os.utime(row.result_file, (0, 0))
    assert len(store.gc(older_than=3600).removed) == 1


def test_a_failure_that_was_recorded_since_then_is_still_known(open_store):
    open_store().run(ONE)
    open_store().delete(ONE)

    def fail(params):
        raise ValueError("made by the test")

    store = open_store(run=fail)
    with pytest.raises(ValueError, match="made by the test"):
        store.run(ONE)
    assert len(store.gc().removed) == 1
    assert [failure.message for failure in store.failures()] == ["made by the test"]


def test_extra_files_of_a_result_that_was_replaced_by_hand_go(open_store, tmp_path):
    store = open_store(run=write_with_log)
    row = store.run(ONE)
    store.delete(ONE)
    store.register(ONE, row.result_file)  # from now on the file is the user's, and what lay beside it nobody's
    assert len(store.check().orphans) == 1
    done = store.gc()
    assert [one.kind for one in done.removed] == ["orphan"]
    assert list((tmp_path / "results").rglob("solver.log")) == []
    assert Path(row.result_file).read_text() == "x"
    assert store.check().ok


def test_extra_files_with_a_registered_file_among_them_stay(open_store, tmp_path):
    store = open_store(run=write_with_log)
    row = store.run(ONE)
    store.delete(ONE)
    store.register(ONE, row.result_file)
    (log,) = (tmp_path / "results").rglob("solver.log")
    store.register(TWO, log)
    assert [one.kind for one in store.gc().kept] == ["orphan"]
    assert log.read_text() == "converged"


# ---- what is not ours --------------------------------------------------------------------------------------------
def test_registered_files_and_their_rows_stay_and_do_not_count(open_store, tmp_path):
    store = open_store(run=write_exactly(10))
    store.run(ONE)
    inside, outside = tmp_path / "results" / "mine.json", tmp_path / "theirs.json"
    for path, one in ((inside, TWO), (outside, THREE)):
        path.write_text("x" * 5000)
        store.register(one, path)
    assert store.gc(total_size=10).removed == []
    store.gc(older_than=0)
    store.gc(SimResult.n > 0)
    assert ns(store) == [2, 3]
    assert inside.read_text() == outside.read_text() == "x" * 5000


def test_a_result_that_somebody_replaced_stays_and_is_named(store):
    row = store.run(ONE)
    Path(row.result_file).write_text("my own notes, which nobody has a copy of")
    done = store.gc(n=1)
    assert done.removed == []
    assert "bytes instead of" in done.kept[0].text
    assert Path(row.result_file).read_text().startswith("my own notes")
    assert store.retrieve(ONE) is not None


def test_an_orphan_that_somebody_replaced_stays(store):
    row = store.run(ONE)
    store.delete(ONE)
    Path(row.result_file).write_text("my own notes")
    assert [one.kind for one in store.gc().kept] == ["orphan"]
    assert Path(row.result_file).read_text() == "my own notes"


def test_a_link_and_what_it_leads_to_stay(store, tmp_path):
    row = store.run(ONE)
    elsewhere = tmp_path / "archive.json"
    Path(row.result_file).rename(elsewhere)
    Path(row.result_file).symlink_to(elsewhere)
    done = store.gc(n=1)
    assert "link" in done.kept[0].text
    assert elsewhere.exists()
    assert Path(row.result_file).is_symlink()


def test_an_old_file_of_a_key_that_was_registered_since_stays(store, tmp_path):
    row = store.run(ONE)
    store.delete(ONE)
    (tmp_path / "new.json").write_text("{}")
    store.register(ONE, tmp_path / "new.json")
    assert len(store.gc().kept) == 1
    assert Path(row.result_file).exists()
    assert store.retrieve(ONE).result_file == str(tmp_path / "new.json")


def test_another_model_in_the_same_folder_keeps_its_files(open_store):
    other, store = open_store(model=OtherResult), open_store()
    theirs, ours = other.run(ONE), store.run(ONE)
    orphan = other.run(TWO)
    other.delete(TWO)
    store.gc(older_than=0)
    assert not Path(ours.result_file).exists()
    assert content(theirs)["n"] == 1
    assert Path(orphan.result_file).exists()


def test_another_database_on_the_same_folder_keeps_its_files(open_store, tmp_path, place):
    elsewhere = f"sqlite:///{tmp_path / 'another.sqlite3'}"
    other, store = open_store(db_url=elsewhere), open_store()
    theirs = other.run(ONE)
    orphan = other.run(TWO)
    other.delete(TWO)
    store.run(ONE)
    store.gc(older_than=0)
    assert content(theirs)["n"] == 1
    assert Path(orphan.result_file).exists()
    assert other.check().missing == []


def test_files_of_the_user_stay_whatever_they_are_called(store, tmp_path):
    store.run(ONE)
    results = tmp_path / "results"
    names = ["notes.json", "0123456789abcdef.json", "x.json.1-00000000.files", ".entropic/mine", "data=2.json"]
    for name in names:
        (results / name).write_text("mine")
    (results / "y.json.3-deadbeef.files").mkdir()
    assert store.check().ok
    store.gc(older_than=0)
    assert all((results / name).read_text() == "mine" for name in names)
    assert (results / "y.json.3-deadbeef.files").is_dir()


# ---- runs under way ----------------------------------------------------------------------------------------------
def test_a_result_that_is_run_again_right_now_stays(open_store):
    began, go_on = threading.Event(), threading.Event()

    def wait(params):
        if params["custom_data"]:
            began.set()
            assert go_on.wait(PATIENCE)

    store = open_store(run=CountingRunner(wait))
    first = store.run(ONE)
    thread = threading.Thread(target=store.run, args=(ONE,), kwargs={"again": True})
    thread.start()
    try:
        assert began.wait(PATIENCE)
        done = store.gc(older_than=0)
        assert done.removed == []
        assert "under way" in done.kept[0].text
        assert content(first)["custom_data"] == {}
    finally:
        go_on.set()
        thread.join(PATIENCE)
    assert content(store.retrieve(ONE))["custom_data"] == {"again": True}
    assert store.check().ok


def test_two_that_clean_at_the_same_time_remove_each_result_once(open_store):
    stores = [open_store() for _ in range(2)]
    for n in range(12):
        stores[0].run({"n": n, "dt": 0.5})
    removed: list[list[str]] = [[], []]

    def clean(i):
        # What one has under way may look like a leftover to the other, if it has gone a moment later.
        removed[i] = [one.id for one in stores[i].gc(older_than=0).removed if one.kind == "result"]

    threads = [threading.Thread(target=clean, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(removed[0] + removed[1]) == sorted(set(removed[0]) | set(removed[1]))
    assert len(removed[0] + removed[1]) == 12
    assert ns(stores[0]) == []
    assert stores[0].check().ok


# ---- arguments ---------------------------------------------------------------------------------------------------
@pytest.mark.each
@pytest.mark.parametrize(
    "wrong",
    [
        {"older_than": "7d"},
        {"older_than": -1},
        {"older_than": float("nan")},
        {"older_than": True},
        {"older_than": timedelta(days=-1)},
        {"total_size": -1},
        {"total_size": 1e9},
        {"total_size": True},
        {"m": 1},
        {"n": "1"},
    ],
)
def test_bad_arguments_are_refused_before_anything_goes(store, wrong):
    store.run(ONE)
    with pytest.raises(ParameterError):
        store.gc(**wrong)
    assert ns(store) == [1]


def test_an_age_longer_than_time_removes_nothing(store):
    store.run(ONE)
    assert store.gc(older_than=timedelta.max).removed == []


def test_the_report_reads_well(open_store):
    store = open_store(run=write_exactly(1500))
    row = store.run(ONE)
    assert str(store.gc(n=1)).splitlines()[0] == "1 result removed, 1.5 kB"
    assert row.id in str(store.gc(n=1, dry_run=True)) or str(store.gc(dry_run=True)) == "nothing would be removed"
