"""`run` and `run_or_retrieve`: what the runner gets, what the row holds, and what a failing runner leaves behind."""

from __future__ import annotations

import contextlib
import inspect
import json
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.models import CountingRunner, LooseResult, content, wait_until
from entropic import CycleError, EntropicError, Store

ONE = {"n": 1, "dt": 0.5}
TWO = {"n": 2, "dt": 0.5}
BOTH = pytest.mark.parametrize("method", ["run", "run_or_retrieve"])


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


@BOTH
def test_a_miss_is_run_and_its_row_kept(store, runner, method):
    row = getattr(store, method)(ONE)
    assert (row.n, row.dt, runner.ns) == (1, 0.5, [1])
    assert content(row)["n"] == 1
    assert store.retrieve(ONE).id == row.id


def test_run_or_retrieve_returns_the_cached_row_and_runs_nothing(store, runner):
    first = store.run_or_retrieve(ONE)
    second = store.run_or_retrieve({"dt": 0.5, "n": 1})
    assert (second.id, second.created_at, second.custom_data) == (first.id, first.created_at, first.custom_data)
    assert len(runner.calls) == 1


def test_custom_data_of_a_call_that_hits_is_not_stored(store):
    store.run_or_retrieve(ONE, note="first")
    assert store.run_or_retrieve(ONE, note="second").custom_data["note"] == "first"


def test_run_always_executes_the_runner(store, runner):
    store.run(ONE)
    store.run(ONE)
    assert len(runner.calls) == 2


def test_a_re_run_is_a_new_row_in_the_old_place(store, place):
    first = store.run(ONE, note="first", old=True)
    wait_until(lambda: now() > first.created_at)
    second = store.run(ONE, note="second")
    assert (second.id, second.result_file) == (first.id, first.result_file)
    assert second.created_at > first.created_at
    assert second.custom_data["note"] == "second"
    assert "old" not in second.custom_data
    assert content(second)["custom_data"] == {"note": "second"}
    assert place.fetch("select count(*) from sim_results") == [(1,)]


@BOTH
def test_custom_data_reaches_the_runner_and_the_row(store, runner, method):
    row = getattr(store, method)(ONE, note="x", tags=["a", "b"])
    assert runner.calls[0]["custom_data"] == {"note": "x", "tags": ["a", "b"]}
    assert row.custom_data["note"] == "x"
    assert row.custom_data["tags"] == ["a", "b"]


@BOTH
def test_elapsed_seconds_is_measured_and_added(open_store, method):
    def during(params):
        start = time.perf_counter()
        wait_until(lambda: time.perf_counter() - start > 0.05)

    start = time.perf_counter()
    row = getattr(open_store(run=CountingRunner(during)), method)(ONE)
    assert 0.05 <= row.custom_data["elapsed_seconds"] <= time.perf_counter() - start


def test_elapsed_seconds_given_by_the_user_wins(store):
    assert store.run(ONE, elapsed_seconds=42.0).custom_data == {"elapsed_seconds": 42.0}


@BOTH
def test_the_runner_gets_the_params_an_id_a_result_file_and_custom_data_and_nothing_else(store, runner, method):
    row = getattr(store, method)(ONE, note="x")
    (call,) = runner.calls
    assert set(call) == {"n", "dt", "id", "result_file", "custom_data"}
    assert (call["n"], call["dt"], call["id"], call["custom_data"]) == (1, 0.5, row.id, {"note": "x"})


def test_the_result_file_is_a_string_in_a_folder_that_exists_and_nothing_is_there_yet(open_store):
    seen = []

    def run(params):
        path = params["result_file"]
        seen.append((type(path), Path(path).is_absolute(), Path(path).parent.is_dir(), Path(path).exists()))
        Path(path).write_text("x")

    store = open_store(run=run)
    store.run(ONE)
    store.run(ONE)
    assert seen == [(str, True, True, False)] * 2


def test_the_result_file_is_a_place_of_the_runs_own(open_store):
    def during(params):
        if params["n"] < 3:
            store.run({**ONE, "n": params["n"] + 1})

    runner = CountingRunner(during)
    store = open_store(run=runner)
    store.run(ONE)
    places = [Path(call["result_file"]) for call in runner.calls]
    assert len({place.parent for place in places}) == 3


def test_the_result_appears_at_its_final_path_only_when_the_runner_has_returned(open_store):
    seen = []
    final = Path(open_store().run(ONE).result_file)
    open_store().delete(ONE, remove_file=True)
    store = open_store(run=CountingRunner(lambda params: seen.append(final.exists())))
    assert store.run(ONE).result_file == str(final)
    assert seen == [False]
    assert json.loads(final.read_text())["n"] == 1


def test_an_earlier_result_stays_readable_until_the_re_run_has_returned(open_store):
    seen = []
    first = open_store().run(ONE, note="first")
    store = open_store(run=CountingRunner(lambda params: seen.append(content(first)["custom_data"])))
    store.run(ONE, note="second")
    assert seen == [{"note": "first"}]
    assert content(first)["custom_data"] == {"note": "second"}


@pytest.mark.parametrize("dt", [-0.0, 0.0, 5e-324, 1e308, 2.0])
@pytest.mark.parametrize("method", ["run", "sweep"])
def test_the_row_of_a_new_run_has_the_very_values_of_the_row_that_is_read(store, method, dt):
    params = {"n": 0, "dt": dt}
    new = store.run(params) if method == "run" else store.sweep([params, {"n": 0, "dt": 1.5}])[0]
    read = store.retrieve(params)
    assert repr((new.n, new.dt)) == repr((read.n, read.dt))


def test_the_callers_dict_is_untouched_and_the_row_holds_what_was_asked(open_store):
    def run(params):
        params["grid"]["inner"].append(99)
        params["custom_data"]["tags"].append("late")
        params["custom_data"]["more"] = 1
        Path(params["result_file"]).write_text("x")
        params["name"] = "changed"
        params.clear()

    asked = {"name": "a", "grid": {"inner": [1, 2]}}
    tags = ["early"]
    store = open_store(run=run, model=LooseResult)
    row = store.run(asked, tags=tags)
    assert asked == {"name": "a", "grid": {"inner": [1, 2]}}
    assert tags == ["early"]
    assert (row.name, row.grid) == ("a", {"inner": [1, 2]})
    assert row.custom_data["tags"] == ["early"]
    assert "more" not in row.custom_data
    assert store.retrieve(asked).grid == {"inner": [1, 2]}


def test_reserved_keys_in_params_are_harmless(store, runner, tmp_path):
    noisy = {**ONE, "result_file": str(tmp_path / "mine.json"), "created_at": "yesterday", "custom_data": {"a": 1}}
    row = store.run(noisy, note="x")
    assert row.id == store.retrieve(ONE).id
    assert not (tmp_path / "mine.json").exists()
    assert row.custom_data.keys() == {"note", "elapsed_seconds"}
    assert isinstance(row.created_at, datetime)
    assert runner.calls[0]["custom_data"] == {"note": "x"}


def test_an_explicit_id_is_the_primary_key_verbatim(store, runner):
    row = store.run({**ONE, "id": "my run"})
    assert (row.id, runner.calls[0]["id"]) == ("my run", "my run")
    assert store.retrieve(ONE) is None
    assert store.run_or_retrieve({**ONE, "id": "my run"}).created_at == row.created_at
    assert len(runner.calls) == 1


@BOTH
def test_every_keyword_is_custom_data_even_one_that_names_an_option(store, method):
    words = {"result_file": "x", "client": 1, "lease": 2, "remove_file": True, "timeout": 3, "workers": 4, "id": "y"}
    row = getattr(store, method)(ONE, **words)
    assert {k: v for k, v in row.custom_data.items() if k != "elapsed_seconds"} == words


@pytest.mark.parametrize(
    ("method", "named"),
    [("run", ["params"]), ("run_or_retrieve", ["params"]), ("register", ["params", "result_file"])],
)
def test_the_calls_that_take_custom_data_have_no_options(method, named):
    parameters = list(inspect.signature(getattr(Store, method)).parameters.values())[1:]
    assert [p.name for p in parameters[:-1]] == named
    assert parameters[-1].kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_created_at_is_naive_utc(store, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            before, row, after = now(), store.run(ONE), now()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert row.created_at.tzinfo is None
    assert before <= row.created_at <= after
    assert store.retrieve(ONE).created_at == row.created_at


def test_a_runner_may_call_the_store(open_store):
    def during(params):
        if params["n"]:
            Path(params["result_file"]).write_text(content(store.run_or_retrieve({**ONE, "n": params["n"] - 1}))["id"])

    runner = CountingRunner(during)
    store = open_store(run=runner)
    row = store.run_or_retrieve(ONE)
    assert Path(row.result_file).read_text() == store.retrieve({**ONE, "n": 0}).id
    assert runner.ns == [1, 0]


@pytest.mark.each
@BOTH
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_cycle_is_an_error_and_not_a_deadlock(open_store, method, length):
    def during(params):
        getattr(store, method)({"n": (params["n"] + 1) % length, "dt": 0.5})

    store = open_store(run=CountingRunner(during))
    with pytest.raises(CycleError) as caught:
        store.run_or_retrieve({"n": 0, "dt": 0.5})
    assert isinstance(caught.value, EntropicError)
    assert store.retrieve({"n": 0, "dt": 0.5}) is None


def test_no_transaction_is_open_while_a_runner_runs(open_store, place):
    def during(params):
        if place.is_file:
            with contextlib.closing(place.connect()) as base:
                base.execute("pragma busy_timeout = 0")
                base.execute("begin immediate")
        else:
            assert not place.in_transaction()

    assert open_store(run=CountingRunner(during)).run(ONE).n == 1
