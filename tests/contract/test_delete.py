"""`delete`: the row goes, the file only if asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from contract.models import OtherResult, content, write_folder, write_with_log
from entropic import ParameterError

ONE = {"n": 1, "dt": 0.5}
TWO = {"n": 2, "dt": 0.5}


def test_deleting_a_row_returns_true_and_it_is_gone(store):
    store.run(ONE)
    assert store.delete(ONE) is True
    assert store.retrieve(ONE) is None


def test_deleting_what_is_not_there_returns_false(store):
    assert store.delete(ONE) is False
    store.run(ONE)
    store.delete(ONE)
    assert store.delete(ONE) is False


def test_deleting_one_row_leaves_the_others(store):
    store.run(ONE)
    other = store.run(TWO)
    store.delete(ONE, remove_file=True)
    assert store.retrieve(TWO).created_at == other.created_at
    assert content(other)["n"] == 2


def test_deleting_needs_the_exact_params(store):
    store.run(ONE)
    assert store.delete({"n": 1, "dt": 0.25}) is False
    assert store.delete({"n": 1}) is False
    assert store.retrieve(ONE) is not None


def test_the_file_stays_by_default_and_is_listed_as_an_orphan(store):
    row = store.run(ONE)
    store.delete(ONE)
    assert content(row)["n"] == 1
    assert [Path(finding.path).name for finding in store.check().orphans] == [Path(row.result_file).name]


def test_the_file_goes_if_asked(store):
    row = store.run(ONE)
    assert store.delete(ONE, remove_file=True) is True
    assert not Path(row.result_file).exists()
    assert store.check().ok


def test_a_result_that_is_a_folder_goes_with_all_that_is_in_it(open_store):
    store = open_store(run=write_folder, file_suffix=".zarr")
    row = store.run(ONE)
    store.delete(ONE, remove_file=True)
    assert not Path(row.result_file).exists()
    assert store.check().ok


def test_what_was_kept_beside_a_result_goes_with_it(open_store, tmp_path):
    store = open_store(run=write_with_log)
    store.run(ONE)
    assert list((tmp_path / "results").rglob("solver.log")) != []
    store.delete(ONE, remove_file=True)
    assert list((tmp_path / "results").rglob("solver.log")) == []
    assert store.check().ok


def test_deleting_returns_true_although_the_file_is_already_gone(store):
    row = store.run(ONE)
    Path(row.result_file).unlink()
    assert store.delete(ONE, remove_file=True) is True
    assert store.retrieve(ONE) is None


def test_a_deleted_set_is_run_again(store, runner):
    store.run(ONE)
    store.delete(ONE)
    row = store.run_or_retrieve(ONE, note="again")
    assert len(runner.calls) == 2
    assert content(row)["custom_data"] == {"note": "again"}


def test_a_deleted_set_is_run_again_where_its_old_file_is_left(store):
    row = store.run(ONE, note="first")
    store.delete(ONE)
    again = store.run(ONE, note="again")
    assert content(again)["custom_data"] == {"note": "again"}
    assert store.delete(ONE, remove_file=True)
    assert not Path(again.result_file).exists()
    assert row.id == again.id


def test_an_explicit_id_is_used_verbatim(store):
    store.run({**ONE, "id": "mine"})
    assert store.delete(ONE) is False
    assert store.delete({"id": "other"}) is False
    assert store.delete({"id": "mine"}) is True


def test_reserved_keys_are_stripped(store):
    store.run(ONE)
    assert store.delete({**ONE, "result_file": "/x", "created_at": 1, "custom_data": {}}) is True


def test_a_row_of_another_model_is_not_deleted(open_store):
    open_store().run(ONE)
    assert open_store(model=OtherResult).delete(ONE, remove_file=True) is False
    assert content(open_store().retrieve(ONE))["n"] == 1


@pytest.mark.parametrize("params", [{"n": 1, "d_t": 0.5}, {"n": "1", "dt": 0.5}, None])
def test_bad_params_are_refused(store, params):
    store.run(ONE)
    with pytest.raises(ParameterError):
        store.delete(params)
    assert store.retrieve(ONE) is not None


def test_deleting_runs_nothing(store, runner):
    store.delete(ONE)
    assert runner.calls == []


WATCH: dict[str, Any] = {}


def watch(event: str, args: tuple[object, ...]) -> None:
    """Whenever the watched file is renamed or unlinked, note how many rows point to it at that moment."""
    if event not in {"os.remove", "os.rename"} or str(args[0]) != WATCH.get("path"):
        return
    ((count,),) = WATCH["place"].fetch("select count(*) from sim_results")
    WATCH["rows"].append(count)


def test_no_row_points_to_a_file_that_delete_has_removed_at_any_moment(store, place):
    row = store.run(ONE)
    sys.addaudithook(watch)
    WATCH.update(path=row.result_file, place=place, rows=[])
    try:
        store.delete(ONE, remove_file=True)
    finally:
        WATCH.pop("path")
    assert not Path(row.result_file).exists()
    assert WATCH["rows"] != []
    assert set(WATCH["rows"]) == {0}
