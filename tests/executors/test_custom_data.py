"""What is stored with the rows of a sweep: of the whole sweep, and of a set."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from entropic import ParameterError
from entropic.executors.bundles import Bundles

METHODS = pytest.mark.parametrize("method", ["sweep", "stream"])
OPTIONS = pytest.mark.parametrize("options", [{}, pytest.param({"workers": 1}, marks=pytest.mark.slow)], ids=str)


def one(n: int, **more: Any) -> dict[str, Any]:
    return {"n": n, "dt": 0.5, **more}


def keep(params: dict[str, Any]) -> None:
    Path(params["result_file"]).write_text(repr(sorted(params["custom_data"].items())))


def stored(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.custom_data.items() if name != "elapsed_seconds"}


@METHODS
@OPTIONS
def test_what_is_given_with_a_sweep_is_stored_with_each_row_that_is_run_and_given_to_the_runner(
    open_store, method, options
):
    store = open_store(run=keep)
    store.run(one(1), tag="first")
    wanted = [one(1), one(2), one(3, custom_data={"tag": "own", "note": [1]})]
    rows = {row.n: row for row in getattr(store, method)(wanted, tag="x", **options)}
    assert {n: stored(row) for n, row in rows.items()} == {
        1: {"tag": "first"},
        2: {"tag": "x"},
        3: {"tag": "own", "note": [1]},
    }
    assert Path(rows[3].result_file).read_text() == "[('note', [1]), ('tag', 'own')]"
    assert [row.n for row in store.select(custom_data={"tag": "x"})] == [2]
    assert store.check().ok


@METHODS
@pytest.mark.parametrize("wrong", [{"tag": object()}, {"tag": float("nan")}])
def test_what_is_not_json_is_refused_before_anything_runs(open_store, method, wrong):
    store = open_store(run=keep)
    for wanted, given in (([one(1)], wrong), ([one(1), one(2, custom_data=wrong)], {})):
        with pytest.raises(ParameterError, match="tag"):
            list(getattr(store, method)(wanted, **given))
    with pytest.raises(ParameterError, match="a dict"):
        list(getattr(store, method)([one(1, custom_data=3)]))
    assert list(store.select()) == []


def keep_for_a_while(params: dict[str, Any]) -> None:
    time.sleep(0.05)
    keep(params)


@pytest.mark.parametrize(
    ("own", "where"),
    [("12 min", "pool"), (1e9, "pool"), (None, "pool"), pytest.param("12 min", "workers", marks=pytest.mark.slow)],
)
def test_how_long_runs_take_is_measured_whatever_the_user_calls_so(open_store, monkeypatch, own, where):
    """By that a sweep tells which of them are sent together."""
    measured, seen = [], Bundles.seen
    monkeypatch.setattr(Bundles, "seen", lambda self, one: measured.append(one.seconds) or seen(self, one))
    store, began = open_store(run=keep_for_a_while), time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        options = {"client": pool} if where == "pool" else {"workers": 1}
        rows = store.sweep([one(n) for n in range(4)], elapsed_seconds=own, **options)
    assert [(row.n, row.custom_data) for row in rows] == [(n, {"elapsed_seconds": own}) for n in range(4)]
    assert len(measured) == 4
    assert min(measured) >= 0.05
    assert sum(measured) < time.monotonic() - began


def test_custom_data_make_no_other_set(open_store):
    store = open_store(run=keep)
    (row,) = store.sweep([one(1, custom_data={"tag": 1}), one(1, custom_data={"tag": 2}), one(1)])
    assert stored(row) == {"tag": 1}


@METHODS
@pytest.mark.parametrize(
    "name", ["worker", "n_workers", "max_workers", "timeouts", "on_errors", "clients", "progres", "n_cores"]
)
def test_a_mistyped_option_is_no_custom_data(open_store, method, name):
    with pytest.raises(ParameterError, match=f"no option '{name}'"):
        getattr(open_store(run=keep), method)([one(1)], **{name: 2})
