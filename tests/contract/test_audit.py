"""What is stored is run again: in place of it (`rerun`), or beside a sample of it, to be compared (`audit`)."""

from __future__ import annotations

import gc
import multiprocessing
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.models import OtherResult, SimResult, content, write_params
from entropic import Audit, ParameterError, ReadOnlyError, RunsFailedWarning, SpellingWarning, Store, StoreError
from entropic.ask.agree import difference

SETS = [{"n": n, "dt": 0.5} for n in range(6)]
SCALE = {"by": 1.0}
TOLD = {"made": "before", "fail": ""}


def write_told(params: dict[str, Any]) -> None:
    if str(params["n"]) in TOLD["fail"] + os.environ.get("ENTROPIC_TEST_FAIL", ""):
        raise ValueError("not again")
    Path(params["result_file"]).write_text(f'{{"n": {params["n"]}, "made": "{TOLD["made"]}"}}')


def return_array(params: dict[str, Any]) -> Any:
    return np.linspace(0.0, 1.0, 7) * params["n"] * (1 + float(os.environ.get("ENTROPIC_TEST_NOISE", "0")))


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setitem(TOLD, "made", "before")
    monkeypatch.setitem(TOLD, "fail", "")


# ---- a whole sweep once more ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["sweep", "stream", "in_flight"])
def test_a_sweep_runs_all_its_sets_again_each_once(open_store, runner, how):
    store = open_store()
    before = {row.id: row.created_at for row in store.sweep(SETS[:4])}
    runner.calls.clear()
    wanted = [*SETS[:4], *SETS[:2], SETS[5]]
    if how == "sweep":
        rows = list(store.sweep(wanted, rerun=True))
    else:
        rows = list(store.stream(wanted, rerun=True, in_flight=2 if how == "in_flight" else None))
    assert sorted(runner.ns) == [0, 1, 2, 3, 5]
    assert all(row.created_at > before[row.id] for row in rows if row.id in before)
    runner.calls.clear()
    assert len(store.sweep(SETS[:4])) == 4
    assert runner.calls == []
    assert store.check().ok


@pytest.mark.slow
def test_what_was_stored_stays_until_its_set_has_run_again_and_if_that_fails(open_store, monkeypatch):
    store = open_store(write_told)
    seen = []
    store.sweep(SETS[:4])
    monkeypatch.setitem(TOLD, "made", "again")
    monkeypatch.setitem(TOLD, "fail", "2")

    def look_and_write(params: dict[str, Any]) -> None:
        seen.append(content(store.retrieve({"n": params["n"], "dt": 0.5}))["made"])
        write_told(params)

    with pytest.warns(RunsFailedWarning, match="1 of 4"):
        rows = open_store(look_and_write, on_stale="error").sweep(SETS[:4], rerun=True, on_error="continue")
    assert seen == ["before"] * 4
    assert [row.n for row in rows] == [0, 1, 3]
    assert [content(row)["made"] for row in store.select(order_by="n")] == ["again", "again", "before", "again"]
    assert store.check().ok


@pytest.mark.slow
def test_who_runs_the_same_again_at_the_same_time_shares_the_work(open_store):
    store = open_store(write_told)
    store.sweep(SETS)
    made = []

    def begin_another(params: dict[str, Any]) -> None:
        made.append(params["n"])
        if len(made) == 1:  # in the middle of the one another one begins
            inner = open_store(lambda inner_params: (made.append(inner_params["n"]), write_told(inner_params))[1])
            others = [one for one in SETS if one["n"] != params["n"]]
            inner.sweep(others, rerun=True)
        write_told(params)

    assert len(open_store(begin_another, on_stale="ignore").sweep(SETS, rerun=True)) == len(SETS)
    assert sorted(made) == [0, 1, 2, 3, 4, 5], "what the other one has stored meanwhile counts as run"


def test_two_spellings_of_a_set_run_again_without_a_warning(open_store, runner):
    store = open_store()
    wanted = [{"n": 1, "dt": 1}, {"n": 1, "dt": 1.0}]
    store.sweep(wanted[:1])
    with pytest.warns(SpellingWarning):
        store.sweep(wanted[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(store.sweep(wanted, rerun=True)) == 2
    assert len(runner.calls) == 4


@pytest.mark.slow
def test_a_sweep_again_by_workers(open_store):
    store = open_store(write_params)
    before = {row.id: row.created_at for row in store.sweep(SETS[:2])}
    rows = store.sweep(SETS[:2], rerun=True, workers=1)
    assert all(row.created_at > before[row.id] for row in rows)


def test_a_read_only_store_runs_nothing_again(open_store):
    open_store(write_params).sweep(SETS[:2])
    looking = open_store(write_params, read_only=True)
    with pytest.raises(ReadOnlyError, match="would have to run"):
        looking.sweep(SETS[:2], rerun=True)
    with pytest.raises(ReadOnlyError, match="sample"):
        looking.audit()


# ---- a sample, beside ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_an_audit_runs_a_sample_and_touches_nothing_that_is_stored(open_store, tmp_path, workers):
    store = open_store(write_params)
    rows = store.sweep(SETS)
    before = {row.id: (row.created_at, os.stat(row.result_file).st_mtime_ns) for row in rows}
    files = sorted(os.listdir(store.results_dir))
    done = store.audit(fraction=0.5, seed=3, workers=workers)
    assert isinstance(done, Audit)
    assert (done.rows, len(done.differing), done.seed, done.skipped) == (6, 3, 3, [])
    assert "result_file" in done.differing[0].text, "these name the file they were written to"
    assert {row.id: (row.created_at, os.stat(row.result_file).st_mtime_ns) for row in store.select()} == before
    assert sorted(os.listdir(store.results_dir)) == files
    assert not list(store.results_dir.rglob("audit"))
    assert store.check().ok


def test_what_came_of_it_is_recorded(open_store):
    store = open_store(write_told)
    rows = store.sweep(SETS)
    done = store.audit(fraction=1)
    assert (done.ok, len(done.agreed)) == (True, 6)
    assert "6 agree" in str(done)
    told = store.audits()
    assert sorted(one.id for one in told) == sorted(row.id for row in rows)
    assert told == sorted(done.agreed, key=lambda one: (one.at, one.id))
    assert {(one.agreed, one.text) for one in told} == {(True, "the two are identical")}
    TOLD["made"] = "otherwise"
    again = store.audit(n=3, fraction=0.01)
    assert (again.ok, again.rows) == (False, 1)
    assert "['made'] is 'otherwise' instead of 'before'" in str(again)
    assert len(open_store(write_told, read_only=True).audits()) == 7


@pytest.mark.slow
def test_the_sample_is_that_of_its_seed(open_store):
    store = open_store(write_told)
    store.sweep([{"n": n, "dt": 0.5} for n in range(12)])

    def drawn(**options: Any) -> set[str]:
        return {one.id for one in store.audit(fraction=0.25, **options).agreed}

    assert len(drawn(seed=1)) == 3
    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    done = store.audit(fraction=0.25)
    assert drawn(seed=done.seed) == {one.id for one in done.agreed}


@pytest.mark.parametrize(("noise", "agrees"), [("1e-12", True), ("1e-6", False)])
def test_arrays_agree_within_the_tolerance(open_store, monkeypatch, noise, agrees):
    store = open_store(return_array, file_suffix=".npy")
    store.sweep(SETS[1:3])
    monkeypatch.setenv("ENTROPIC_TEST_NOISE", noise)
    done = store.audit(fraction=1)
    assert done.ok is agrees
    text = "within a relative 1e-09" if agrees else "6 of 7 numbers differ"
    assert text in (done.agreed or done.differing)[0].text
    assert store.audit(fraction=1, rtol=1e-3).ok


def test_a_run_that_fails_now_differs_and_what_is_lost_is_skipped(open_store, monkeypatch):
    store = open_store(write_told)
    rows = store.sweep(SETS[:3])
    os.unlink(rows[1].result_file)
    monkeypatch.setitem(TOLD, "fail", "2")
    done = store.audit(fraction=1)
    assert [one.id for one in done.agreed] == [rows[0].id]
    assert [(one.id, one.text) for one in done.differing] == [(rows[2].id, "its run raised ValueError: not again")]
    assert done.skipped == [f"{rows[1].id}: its result is gone, or not as recorded; check() says more"]
    assert store.failures() == []


def test_a_runner_gets_what_it_got(open_store):
    got: list[dict[str, Any]] = []

    def note(params: dict[str, Any]) -> None:
        got.append({name: value for name, value in params.items() if name != "result_file"})
        Path(params["result_file"]).write_text("{}")

    store = open_store(note)
    store.run_or_retrieve({"n": 1, "dt": 0.5}, tag="x")
    store.audit()
    assert got[0] == got[1]


def test_a_loader_that_fails_ends_no_audit(open_store):
    store = open_store(write_params, loader=lambda path: 1 / 0)
    store.run_or_retrieve(SETS[0])
    (found,) = store.audit().differing
    assert "what they hold cannot be compared: division by zero" in found.text


def test_results_of_several_files_are_compared_whole(open_store):
    def write_several(params: dict[str, Any]) -> None:
        Path(params["result_file"]).write_text("{}")
        Path(params["result_file"]).with_name("mesh.txt").write_text("1")

    store = open_store(write_several, file_suffix="/main.json")
    store.sweep(SETS[:2])
    assert store.audit(fraction=1).ok


def test_an_audit_that_is_interrupted_leaves_nothing(open_store):
    calls = []

    def interrupt(params: dict[str, Any]) -> None:
        calls.append(params["n"])
        Path(params["result_file"]).write_text("{}")
        if len(calls) > 3:
            raise KeyboardInterrupt

    store = open_store(interrupt)
    store.sweep(SETS[:3])
    with pytest.raises(KeyboardInterrupt):
        store.audit(fraction=1)
    assert not list(store.results_dir.rglob("audit"))
    assert (len(store.select()), store.check().ok, store.audits()) == (3, True, [])


def _audit_and_die(folder: str) -> None:
    store = Store(_die, SimResult, f"{folder}/results", ".json", f"sqlite:///{folder}/db.sqlite3", on_stale="ignore")
    store.audit(fraction=1)


def _die(params: dict[str, Any]) -> None:
    Path(params["result_file"]).write_text("half")
    os._exit(9)


@pytest.mark.slow
def test_what_a_killed_audit_leaves_is_removed_and_never_taken_for_a_result(tmp_path):
    url, results = f"sqlite:///{tmp_path}/db.sqlite3", tmp_path / "results"
    before = [row.created_at for row in Store(write_params, SimResult, results, ".json", url).sweep(SETS[:2])]
    child = multiprocessing.get_context("fork").Process(target=_audit_and_die, args=(str(tmp_path),))
    child.start()
    child.join()
    assert child.exitcode == 9
    assert list(results.rglob("audit"))
    store = Store(write_params, SimResult, results, ".json", url)
    assert not list(results.rglob("audit"))
    assert [row.created_at for row in store.sweep(SETS[:2])] == before
    assert store.check().ok


@pytest.mark.parametrize(
    ("options", "what"),
    [
        *[({"fraction": one}, "fraction is a number above 0") for one in (0, 1.5, "half", True)],
        *[({"rtol": one}, "rtol is a number") for one in (-1.0, 1, "small")],
        ({"seed": 0.5}, "seed is a whole number"),
        ({"timeout": 3.0}, "timeout needs workers"),
        ({"fractoin": 0.5}, "no column 'fractoin'"),
    ],
)
def test_what_is_no_option_is_refused_before_anything_runs(store, runner, options, what):
    store.run_or_retrieve(SETS[0])
    with pytest.raises((ParameterError, StoreError), match=what):
        store.audit(**options)
    with pytest.raises(ParameterError, match="rerun must be"):
        store.sweep(SETS, rerun="all")
    assert runner.ns == [0]


def test_an_audit_of_nothing_is_not_ok(store):
    assert (store.audit().rows, store.audit().ok) == (0, False)
    row = store.run_or_retrieve(SETS[0])
    assert "nothing was audited: there are no rows, or none that match" in str(store.audit(n=row.n + 1))
    Path(row.result_file).unlink()
    gone = store.audit()
    assert (gone.ok, len(gone.skipped)) == (False, 1)
    assert str(gone).startswith("nothing was audited: 0 sets of 1 run again")


# ---- when two results agree ----------------------------------------------------------------------------------------
def _tables() -> list[Any]:
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    frame = pandas.DataFrame({"x": [1.0, 2.0], "s": ["a", "b"], "t": pandas.to_datetime(["2020-01-01", None])})
    array = xarray.DataArray([1.0, np.nan], dims="t", coords={"t": [0.0, 0.5]}, attrs={"history": "today"})
    return [frame, frame["x"], array, array.to_dataset(name="u")]


def test_what_is_equal_or_near_agrees():
    record = np.array([(1, 2.0)], dtype=[("a", int), ("b", float)])
    for one in [1, 1.5, 2j, "a", None, True, b"x", {"a": [1.0, {"b": None}]}, np.float64("nan"), float("nan")]:
        assert difference(one, one, 1e-9) is None
    for one in [
        np.arange(3),
        np.array([np.nan, np.inf]),
        np.array(["a"]),
        np.array([None, 1.0], object),
        record,
    ]:
        assert difference(one, one, 1e-9) is None, one
    assert difference({"a": 1.0}, {"a": 1.0 + 1e-12}, 1e-9) is None
    assert difference(record, np.array([(1, 2.0 + 1e-12)], dtype=record.dtype), 1e-9) is None


@pytest.mark.parametrize(
    ("stored", "made", "text"),
    [
        (1.0, 1.1, "the result is 1.1 instead of 1.0"),
        (1, 2, "the result is 2 instead of 1"),
        (float("inf"), 1.0, "1.0 instead of inf"),
        (np.array([np.inf, 1.0]), np.array([1.0, np.inf]), "2 of 2 numbers differ"),
        ({"a": 1}, {"b": 1}, "other names: a, b are on one side"),
        ({"a": [1, 2]}, {"a": [1]}, "['a'] has 1 entries instead of 2"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "['a'][1] is 3 instead of 2"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "the shape (3, 2) instead of (2, 3)"),
        (np.zeros((2, 2)), np.eye(2), "the result[0, 0] is 1.0 instead of 0.0 (2 of 4 numbers differ)"),
        (np.array([1.0, np.nan]), np.array([np.nan, 1.0]), "2 of 2 numbers differ"),
        (np.array([1, 2]), np.array(["1", "2"]), "holds"),
        (np.array([2**62]), np.array([2**62 + 1]), "1 of 1 numbers differ"),
        ("a", "b", "'b' instead of 'a'"),
        (None, 0.0, "0.0 instead of None"),
    ],
)
def test_what_differs_is_said(stored, made, text):
    assert text in str(difference(stored, made, 1e-9))


@pytest.mark.slow
def test_tables_and_labelled_arrays_agree_and_differ_in_values_and_coordinates():
    for one in _tables():
        assert difference(one, one.copy(), 1e-9) is None, one
        assert difference(one, one * 2 if not hasattr(one, "columns") else one.assign(x=one.x * 2), 1e-9) is not None
    array = _tables()[2]
    assert difference(array, array.assign_coords(t=[0.0, 0.6]), 1e-9) is not None


@pytest.mark.slow
def test_sets_behind_one_that_fails_are_audited_too(open_store, monkeypatch, tmp_path):
    store = open_store(write_told)
    store.sweep([{"n": n, "dt": 0.5} for n in range(12)])
    monkeypatch.setenv("ENTROPIC_TEST_FAIL", "7")
    done = store.audit(fraction=1.0, workers=1)
    assert (len(done.agreed), len(done.differing), done.skipped) == (11, 1, []), done


def test_a_store_with_checkpoints_is_audited_with_empty_ones(open_store):
    def run(params):
        assert os.listdir(params["checkpoint_dir"]) == []
        Path(params["checkpoint_dir"], "half").write_text("way")
        Path(params["result_file"]).write_text('{"n": 1}')

    store = open_store(run, checkpoints=True)
    store.sweep(SETS[:2])
    assert len(store.audit(fraction=1.0).agreed) == 2
    assert store.check().ok


# ---- results that were made from others ------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("where", ["this database", "another database"])
def test_an_audit_says_that_what_a_run_had_read_is_another_one_now(open_store, tmp_path, monkeypatch, where):
    elsewhere = {"results_dir": tmp_path / "elsewhere", "db_url": f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}"}

    def run(params):
        return params["n"] * SCALE["by"]

    first = open_store(run, OtherResult, **(elsewhere if where == "another database" else {}))
    store = open_store(lambda params: first.load({"n": params["n"], "dt": params["dt"]}) + 1)
    first.sweep(SETS)
    store.sweep(SETS)
    before = {row.id: store.inputs(row) for row in store.select()}
    assert len(store.audit(fraction=1).agreed) == len(SETS)
    monkeypatch.setitem(SCALE, "by", 2.0)
    made_again = first.run(SETS[1])
    done = store.audit(fraction=1)
    ((differs,), agreed) = done.differing, done.agreed
    assert (differs.id, len(agreed)) == (store.retrieve(SETS[1]).id, len(SETS) - 1)
    assert f"(other_results {made_again.id}, which it has read, was made again at " in differs.text
    assert [one.text for one in store.audits() if not one.agreed] == [differs.text]
    assert {id: [one[:3] for one in map(told, read)] for id, read in before.items()} == {
        row.id: [one[:3] for one in map(told, store.inputs(row))] for row in store.select()
    }, "what the runs of an audit read is not what the stored ones had read"


@pytest.mark.slow
def test_an_audit_says_that_nothing_is_known_of_what_a_run_had_read(open_store, tmp_path):
    elsewhere = {"results_dir": tmp_path / "elsewhere", "db_url": f"sqlite:///{tmp_path / 'elsewhere.sqlite3'}"}
    first = open_store(lambda params: params["n"], OtherResult, **elsewhere)
    row = first.run_or_retrieve(SETS[1])
    others = [first]

    def run(params):
        return others[0].load({"id": row.id}) if others else 7.5

    store = open_store(run, on_stale="ignore")
    store.run_or_retrieve(SETS[1])
    del others[:], first
    gc.collect()
    (differs,) = store.audit(fraction=1).differing
    assert f"(its run had read other_results {row.id}, which cannot be looked up here now" in differs.text


def told(one):
    return one.model, one.id, one.made_at
