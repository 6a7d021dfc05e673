"""What becomes of runs that fail: what comes out, what is recorded, what is tried again."""

from __future__ import annotations

import dataclasses
import datetime
import socket
import subprocess
import sys
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import entropic
from contract.models import (
    ActingRunner,
    CountingRunner,
    LooseResult,
    OtherResult,
    Phase,
    Refused,
    TypedResult,
    content,
    refuse,
    run_python,
    wait_until,
)
from entropic import (
    EntropicError,
    EntropicWarning,
    Failure,
    ParameterError,
    RunFailed,
    RunOutOfMemory,
    RunsFailedWarning,
    RunTimeout,
    WorkerDied,
)
from executors import acts

# To start them takes a second, and they never see the database: on servers, the same "here" proves what is recorded,
# and tests/servers that sweeps in workers outlive the loss of connections.
IN_WORKERS = pytest.param({"workers": 2}, id="in workers", marks=[pytest.mark.slow, pytest.mark.only_on("sqlite")])
HERE_AND_THERE = pytest.mark.parametrize("options", [pytest.param({}, id="here"), IN_WORKERS])


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


ONE = sets(1)[0]


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)


def ns(found: Any) -> list[int]:
    return sorted(failure.params["n"] for failure in found)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def refusing(open_store, log):
    """Open a store whose runner refuses these `n`."""
    return lambda *bad: open_store(run=ActingRunner(log, dict.fromkeys(bad, refuse)))


def begun(log: Path) -> list[int]:
    return acts.ns_in(log)


def fail_one(store: Any, method: str = "run", params: Any = ONE) -> None:
    with pytest.raises(Refused):
        getattr(store, method)([params] if method == "sweep" else params)


# ---- what is recorded --------------------------------------------------------------------------------------------
def test_a_failure_is_a_frozen_record_of_what_failed_where_when_and_why():
    assert [field.name for field in dataclasses.fields(Failure)] == [
        "id",
        "params",
        "error_type",
        "message",
        "traceback",
        "host",
        "pid",
        "started_at",
        "elapsed_seconds",
        "attempt",
        "log_file",
        "job",
        "began",
    ]


def test_where_nothing_failed_there_is_no_failure(store):
    assert store.failures() == []
    store.run(ONE)
    assert store.failures() == []
    assert store.failures(ONE) == []
    assert store.failures([ONE]) == []


@HERE_AND_THERE
def test_a_failure_tells_what_failed_where_when_and_why(refusing, open_store, log, options):
    before = now()
    with pytest.raises(Refused):
        refusing(1).sweep([ONE], **options)
    after = now()
    slack = datetime.timedelta(seconds=0.01)  # the clocks of a record may be floats
    (failure,) = open_store().failures()
    ((pid, _),) = ActingRunner(log, {}).lines()
    assert type(failure) is Failure
    assert failure.params == ONE
    assert (failure.error_type, failure.message) == ("Refused", str(Refused("refused 1", 1)))
    for part in ("Traceback", "in refuse", "models.py", "refused 1"):
        assert part in failure.traceback, part
    assert (failure.host, failure.pid) == (socket.gethostname(), pid)
    assert failure.started_at.tzinfo is None
    assert before - slack <= failure.started_at <= after + slack
    assert type(failure.elapsed_seconds) is float
    assert 0 <= failure.elapsed_seconds <= (after - before).total_seconds()
    assert failure.attempt == 1
    assert failure.log_file is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        failure.message = "all is well"
    assert failure.id == open_store().run(ONE).id


@pytest.mark.parametrize("method", ["run", "run_or_retrieve", "sweep"])
def test_whatever_call_ran_it_the_failure_is_recorded(refusing, method):
    store = refusing(1)
    fail_one(store, method)
    (failure,) = store.failures()
    assert (failure.params, failure.error_type, failure.log_file) == (ONE, "Refused", None)


@HERE_AND_THERE
def test_the_time_that_a_run_took_until_it_failed_is_recorded(open_store, log, tmp_path, options):
    store = open_store(run=ActingRunner(log, {1: partial(acts.last_then_refuse, tmp_path / "times", 0.2)}))
    with pytest.raises(Refused):
        store.sweep([ONE], **options)
    assert store.failures()[0].elapsed_seconds >= 0.2


def test_a_runner_that_writes_nothing_has_failed(open_store):
    store = open_store(run=lambda params: None)
    with pytest.raises(FileNotFoundError):
        store.run(ONE)
    assert [failure.error_type for failure in store.failures()] == ["ResultMissingError"]


@pytest.mark.slow
def test_a_runner_that_writes_nothing_in_a_worker_has_failed(open_store):
    store = open_store(run=lambda params: None)
    with pytest.raises(FileNotFoundError):
        store.sweep([ONE], workers=1)
    assert [failure.error_type for failure in store.failures()] == ["ResultMissingError"]


def test_params_that_are_refused_are_no_failure(store):
    with pytest.raises(ParameterError):
        store.sweep([ONE, {"n": 2}])
    with pytest.raises(ParameterError):
        store.run({"n": 2})
    assert store.failures() == []


@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_an_interrupt_is_no_failure_and_ends_a_sweep_in_any_case(open_store, on_error):
    def interrupt(params):
        if params["n"] == 2:
            raise KeyboardInterrupt

    runner = CountingRunner(interrupt)
    store = open_store(run=runner)
    with pytest.raises(KeyboardInterrupt):
        store.sweep(sets(1, 2, 3), on_error=on_error)
    with pytest.raises(KeyboardInterrupt):
        store.run(sets(2)[0])
    assert store.failures() == []
    assert runner.ns == [1, 2, 2]
    assert store.retrieve(ONE).n == 1


@pytest.mark.slow
@HERE_AND_THERE
def test_a_later_success_clears_the_failure(refusing, options):
    with pytest.warns(RunsFailedWarning):
        refusing(1, 2).sweep(sets(1, 2), on_error="continue", **options)
    store = refusing()
    assert ns(store.failures()) == [1, 2]
    assert [row.n for row in store.sweep([ONE], **options)] == [1]
    assert ns(store.failures()) == [2]
    assert store.failures(ONE) == []


def test_a_later_failure_takes_the_place_of_the_earlier_one(open_store, log):
    def fail(params):
        raise ValueError(f"try {len(runner.calls)}")

    runner = CountingRunner(fail)
    store = open_store(run=runner)
    attempts = []
    for message in ("try 1", "try 2", "try 3"):
        with pytest.raises(ValueError, match=message):
            store.run_or_retrieve(ONE)
        (failure,) = store.failures()
        assert failure.message == message
        attempts.append(failure.attempt)
    assert attempts == [1, 2, 3]


@pytest.mark.slow
def test_a_failure_is_still_there_when_the_store_is_opened_again(refusing, open_store, place, tmp_path):
    store = refusing(1)
    fail_one(store)
    assert open_store().failures() == store.failures()
    code = """if True:
        import sys
        from contract.models import SimResult, write_params
        from entropic import Store
        store = Store(write_params, SimResult, f"{sys.argv[1]}/results", ".json", sys.argv[2])
        print([(one.params, one.error_type, one.pid) for one in store.failures()])
    """
    (failure,) = store.failures()
    assert run_python(code, tmp_path, place.url).strip() == str([(ONE, "Refused", failure.pid)])


def test_the_failures_of_another_model_are_not_seen(refusing, open_store):
    fail_one(refusing(1))
    assert open_store(model=OtherResult).failures() == []
    assert open_store(model=OtherResult).failures(ONE) == []


def test_failures_may_be_asked_for_one_set_or_for_some(refusing):
    store = refusing(1, 2, 3)
    with pytest.warns(RunsFailedWarning):
        store.sweep(sets(1, 2, 3, 4), on_error="continue")
    assert ns(store.failures()) == [1, 2, 3]
    assert ns(store.failures(sets(2)[0])) == [2]
    assert ns(store.failures({"dt": 0.5, "n": 2})) == [2]
    assert ns(store.failures(sets(3, 4, 1, 3))) == [1, 3]
    assert ns(store.failures(params for params in sets(2, 3, 9))) == [2, 3]
    assert store.failures(sets(4)[0]) == []
    assert store.failures([]) == []


def test_asking_for_failures_runs_nothing(refusing, log):
    store = refusing(1)
    fail_one(store)
    store.failures()
    store.failures(sets(1, 2))
    assert begun(log) == [1]


@pytest.mark.parametrize(
    "asked",
    [
        {"count": 2**62, "size": 0.1 + 0.2, "title": "日本語 🦀", "flag": True},
        pytest.param({"size": float("inf")}, marks=pytest.mark.only_on("sqlite", "postgresql")),
        {"size": 1e-300, "flag": False},
        {"day": datetime.date(1999, 12, 31), "moment": datetime.datetime(1999, 12, 31, 23, 59, 59, 999999)},
        {"raw": b"\x00\xff", "phase": Phase.LIQUID},
        {"tree": {"a": [1, 2.5, None, "x", {"b": []}]}, "title": ""},
        {"tree": None},
        {"size": 1, "count": True},
        {"count": 3.0},
        {"phase": "LIQUID"},
        {},
    ],
)
def test_the_params_of_a_failure_are_what_was_asked_with_their_types(open_store, asked):
    def fail(params):
        raise ValueError

    with pytest.raises(ValueError):
        open_store(run=fail, model=TypedResult).run(asked)
    (failure,) = open_store(model=TypedResult).failures()
    assert failure.params == asked
    assert {name: type(value) for name, value in failure.params.items()} == {k: type(v) for k, v in asked.items()}
    assert open_store(model=TypedResult).run(failure.params).id == failure.id


def test_the_params_of_a_failure_hold_no_defaults(open_store):
    def fail(params):
        raise ValueError

    with pytest.raises(ValueError):
        open_store(run=fail, model=LooseResult).run({"name": "a"})
    assert open_store(model=LooseResult).failures()[0].params == {"name": "a"}


def test_a_runner_that_changes_its_params_does_not_change_those_of_the_failure(open_store):
    def fail(params):
        params["n"] = 99
        params.pop("dt")
        raise ValueError

    store = open_store(run=fail)
    with pytest.raises(ValueError):
        store.run(ONE)
    assert store.failures()[0].params == ONE


def test_a_failed_set_with_an_id_of_its_own_is_found_by_it(refusing):
    store = refusing(1)
    fail_one(store, params={**ONE, "id": "mine"})
    assert [failure.id for failure in store.failures({**ONE, "id": "mine"})] == ["mine"]
    assert store.failures(ONE) == []


# ---- on_error="raise" --------------------------------------------------------------------------------------------
@HERE_AND_THERE
def test_the_first_failures_own_exception_comes_out_with_its_arguments(refusing, options):
    with pytest.raises(Refused) as caught:
        refusing(4711).sweep(sets(1, 4711), **options)
    assert type(caught.value) is Refused
    assert caught.value.args == ("refused 4711", 4711)
    notes = "\n".join(caught.value.__notes__)
    assert "4711" in notes
    assert "0.5" in notes


@HERE_AND_THERE
def test_the_traceback_shows_where_the_runner_failed(refusing, options):
    with pytest.raises(Refused) as caught:
        refusing(1).sweep([ONE], **options)
    shown = "".join(traceback.format_exception(caught.value))
    assert "in refuse" in shown
    assert "models.py" in shown
    assert 'raise Refused(f"refused' in shown


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"workers": 1}], ids=["here", "in a worker"])
def test_after_the_first_failure_no_set_is_begun_and_what_had_finished_is_stored(refusing, open_store, log, options):
    with pytest.raises(Refused):
        refusing(3).sweep(sets(*range(1, 30)), **options)
    ran = begun(log)
    assert ran[-1] == 3, "nothing was begun after it"
    assert len(ran) == len(set(ran)) < 29
    store = open_store()
    assert [store.retrieve(params).n for params in sets(*ran[:-1])] == ran[:-1]
    assert ns(store.failures()) == [3]
    assert store.check().ok


@pytest.mark.slow
def test_another_run_that_fails_at_the_same_time_is_recorded_too(open_store, log):
    fail = partial(acts.wait_for_runs_then_refuse, log, (1, 2))
    store = open_store(run=ActingRunner(log, {1: fail, 2: fail}))
    with pytest.raises(Refused) as caught:
        store.sweep(sets(1, 2), workers=2)
    assert caught.value.args[1] in (1, 2)
    assert ns(store.failures()) == [1, 2]


@pytest.mark.slow
@HERE_AND_THERE
def test_after_a_failure_the_next_sweep_does_the_rest(refusing, log, options):
    with pytest.raises(Refused):
        refusing(2).sweep(sets(1, 2, 3, 4), **options)
    assert [row.n for row in refusing().sweep(sets(1, 2, 3, 4), **options)] == [1, 2, 3, 4]
    assert begun(log).count(2) == 2
    assert sorted(n for n in begun(log) if n != 2) == [1, 3, 4]
    assert refusing().failures() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [(acts.raise_unpicklable, "Unpicklable", "the pump ran dry"), (acts.raise_one_way, "OneWay", "the pump: ran dry")],
)
def test_an_exception_that_cannot_come_home_comes_out_as_its_record(open_store, log, act, kind, message):
    store = open_store(run=ActingRunner(log, {2: act}))
    with pytest.raises(RunFailed) as caught:
        store.sweep(sets(1, 2), workers=1)
    failure = caught.value.failure
    assert (failure["type"], failure["message"]) == (kind, message)
    assert act.__name__ in failure["traceback"]
    (recorded,) = store.failures()
    assert (recorded.error_type, recorded.message) == (kind, message)
    assert recorded.traceback == failure["traceback"]
    assert store.retrieve(ONE).n == 1


@pytest.mark.slow
def test_an_exception_that_cannot_come_home_does_not_stop_a_sweep_that_goes_on(open_store, log):
    store = open_store(run=ActingRunner(log, {2: acts.raise_unpicklable, 3: acts.raise_one_way}))
    with pytest.warns(RunsFailedWarning, match="2 of 4"):
        rows = store.sweep(sets(1, 2, 3, 4), workers=2, on_error="continue")
    assert [row.n for row in rows] == [1, 4]
    assert sorted(failure.error_type for failure in store.failures()) == ["OneWay", "Unpicklable"]


# ---- on_error="continue" -----------------------------------------------------------------------------------------
@HERE_AND_THERE
def test_a_sweep_that_goes_on_runs_everything_and_warns_once_with_the_counts(refusing, log, options):
    store = refusing(3, 7)
    with pytest.warns(RunsFailedWarning) as caught:
        rows = store.sweep(sets(*range(10)), on_error="continue", **options)
    assert isinstance(rows, list)
    assert [(row.n, content(row)["n"]) for row in rows] == [(n, n) for n in range(10) if n not in (3, 7)]
    told = [warning for warning in caught if issubclass(warning.category, RunsFailedWarning)]
    assert len(told) == 1
    assert "2 of 10" in str(told[0].message)
    assert sorted(begun(log)) == list(range(10))
    assert ns(store.failures()) == [3, 7]
    assert store.check().ok


@HERE_AND_THERE
def test_if_all_fail_the_list_is_empty(refusing, log, options):
    store = refusing(1, 2, 3)
    with pytest.warns(RunsFailedWarning, match="3 of 3"):
        assert store.sweep(sets(1, 2, 3), on_error="continue", **options) == []
    assert sorted(begun(log)) == [1, 2, 3]


@HERE_AND_THERE
def test_if_none_fails_nothing_is_warned_of(refusing, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(refusing().sweep(sets(1, 2), on_error="continue", **options)) == 2


def test_a_stream_that_goes_on_yields_what_succeeded_and_warns_at_its_end(refusing):
    stream = refusing(2).stream(sets(1, 2, 3), on_error="continue")
    with pytest.warns(RunsFailedWarning, match="1 of 3"):
        assert [row.n for row in stream] == [1, 3]


@pytest.mark.slow
def test_others_see_a_failure_while_the_sweep_goes_on(open_store):
    def during(params):
        if params["n"] == 1:
            raise ValueError
        wait_until(lambda: ns(open_store().failures()) == [1], seconds=5)

    store = open_store(run=CountingRunner(during))
    with pytest.warns(RunsFailedWarning, match="1 of 2"):
        assert [row.n for row in store.sweep(sets(1, 2), on_error="continue")] == [2]


# ---- retry_failed ------------------------------------------------------------------------------------------------
@pytest.mark.slow
@HERE_AND_THERE
def test_failed_sets_run_again_unless_told_otherwise(refusing, log, options):
    fail_one(refusing(1))
    assert [row.n for row in refusing().sweep(sets(1, 2), retry_failed=False, **options)] == [2]
    assert begun(log) == [1, 2]
    assert ns(refusing().failures()) == [1]
    assert [row.n for row in refusing().sweep(sets(1, 2), retry_failed=True, **options)] == [1, 2]
    assert begun(log) == [1, 2, 1]
    assert refusing().failures() == []


@pytest.mark.slow
@HERE_AND_THERE
@pytest.mark.parametrize("on_error", ["raise", "continue"])
def test_sets_that_are_left_out_are_no_error_and_no_warning(refusing, log, options, on_error):
    for params in sets(1, 3):
        fail_one(refusing(1, 3), params=params)
    store = refusing(1, 3)
    rows = store.sweep(sets(4, 1, 2, 3), retry_failed=False, on_error=on_error, **options)
    assert [row.n for row in rows] == [4, 2]
    assert begun(log)[:2] == [1, 3]
    assert sorted(begun(log)[2:]) == [2, 4]


@pytest.mark.slow
def test_if_all_sets_failed_before_the_list_is_empty(refusing, log):
    fail_one(refusing(1))
    assert refusing().sweep([ONE], retry_failed=False) == []
    assert list(refusing().stream([ONE], retry_failed=False)) == []
    assert begun(log) == [1]


@HERE_AND_THERE
def test_a_failure_in_the_same_sweep_is_an_error_all_the_same(refusing, options):
    store = refusing(2)
    with pytest.raises(Refused):
        store.sweep(sets(1, 2), retry_failed=False, **options)
    assert ns(store.failures()) == [2]


@pytest.mark.slow
@pytest.mark.parametrize("retry_failed", [True, False])
def test_a_stored_row_is_returned_although_a_later_run_of_it_failed(refusing, log, retry_failed):
    row = refusing().run(ONE)
    fail_one(refusing(1))
    assert ns(refusing().failures()) == [1]
    rows = refusing().sweep(sets(2, 1), retry_failed=retry_failed)
    assert [found.n for found in rows] == [2, 1]
    assert rows[1].created_at == row.created_at
    assert begun(log) == [1, 1, 2]


# ---- names -------------------------------------------------------------------------------------------------------
def test_the_new_errors_and_the_warning_have_their_places_in_the_tree():
    assert issubclass(WorkerDied, EntropicError)
    assert issubclass(RunTimeout, EntropicError)
    assert issubclass(RunTimeout, TimeoutError)
    assert issubclass(RunOutOfMemory, RunFailed)
    assert issubclass(RunOutOfMemory, MemoryError)
    assert issubclass(RunsFailedWarning, EntropicWarning)
    assert {"Failure", "Plan", "WorkerDied", "RunTimeout", "RunOutOfMemory", "RunsFailedWarning"} <= set(
        entropic.__all__
    )


@pytest.mark.each
@pytest.mark.parametrize(
    "params",
    [{"size": 1}, {"size": 2.5}, {"count": True}, {"count": 3.0}, {"phase": "SOLID"}, {"tree": {"a": (1,)}}],
    ids=str,
)
def test_what_a_failure_names_is_the_very_key_that_failed(open_store, params):
    """Even where the column holds the value as another type than was asked, which is another key."""

    def fail(params):
        raise ValueError

    with pytest.raises(ValueError):
        open_store(model=TypedResult, run=fail).run(params)
    runner = CountingRunner()
    store = open_store(model=TypedResult, run=runner)
    (failure,) = store.failures()
    assert failure.id == entropic.key(params)
    assert entropic.key(failure.params) == failure.id
    (row,) = store.sweep([failure.params])
    assert row.id == failure.id
    assert store.failures() == []
    assert store.run_or_retrieve(params).id == row.id
    assert len(runner.calls) == 1


@pytest.mark.parametrize("text", ["a lone \ud83d surrogate", "a NUL \0 inside"])
def test_a_failure_whose_text_no_database_stores_is_recorded_all_the_same(open_store, text):
    def fail(params):
        raise ValueError(text)

    store = open_store(run=fail)
    with pytest.raises(ValueError) as caught:
        store.run(ONE)
    assert str(caught.value) == text
    (failure,) = store.failures()
    assert failure.message in ("a lone \\ud83d surrogate", "a NUL \\x00 inside")
    assert store.check().ok


def script_with_folders_like_ours(folder: Path, runner: str) -> Path:
    """Write a project whose modules lie where those of entropic could, and a script that runs one of them."""
    for name in ("files", "executors"):
        (folder / "entropic" / name).mkdir(parents=True)
    (folder / "entropic" / "files" / "solver.py").write_text(
        "def solve(x):\n    return check(x)\n\ndef check(x):\n    raise ArithmeticError('diverged')\n"
    )
    script = folder / "entropic" / "executors" / "study.py"
    script.write_text(
        "import sys\nsys.path.insert(0, sys.path[0].replace('executors', 'files'))\nimport solver\n"
        "from entropic import Base, Mapped, Store\n"
        "class Study(Base):\n    __tablename__ = 'study'\n    x: Mapped[int]\n"
        f"{runner}\n"
        "store = Store(run, Study, file_suffix='.txt')\n"
    )
    return script


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("options", ["", "workers=1"])
def test_a_traceback_keeps_the_frames_of_a_project_whose_folders_are_called_like_ours(tmp_path, options):
    script = script_with_folders_like_ours(tmp_path, "def run(params):\n    solver.solve(params['x'])")
    sweep = "\nif __name__ == '__main__':\n    store.sweep([{'x': 1}], on_error='continue', OPTIONS)\n"
    show = "    print(store.failures()[0].traceback)\n"
    script.write_text(script.read_text() + sweep.replace("OPTIONS", options) + show)
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True)
    shown = subprocess.run(
        [sys.executable, "-m", "entropic", "failed", f"{script}:store"], cwd=tmp_path, capture_output=True, text=True
    )
    for text in (done.stdout, shown.stdout):
        assert "in solve" in text
        assert "in check" in text
        assert "ArithmeticError: diverged" in text
        assert "attempt.py" not in text, "how entropic called the runner is no news to its author"


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_the_command_says_what_ended_a_run_that_left_no_traceback(tmp_path):
    script = script_with_folders_like_ours(tmp_path, "import os\ndef run(params):\n    os._exit(3)")
    sweep = "\nif __name__ == '__main__':\n    store.sweep([{'x': 1}], workers=1, on_error='continue')\n"
    script.write_text(script.read_text() + sweep)
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True)
    for words in (["failed"], ["show"]):
        command = [sys.executable, "-m", "entropic", words[0], f"{script}:store"]
        command += [entropic.key({"x": 1})] if words == ["show"] else []
        shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert "WorkerDied: " in shown.stdout, shown


def test_a_failure_of_entropic_s_own_shows_its_message_without_our_frames(open_store):
    store = open_store(lambda params: None)
    with pytest.raises(entropic.ResultMissingError):
        store.run(ONE)
    (failure,) = store.failures()
    assert "did not write" in failure.traceback
    assert "File " not in failure.traceback


def test_a_long_message_leaves_the_frames_of_a_traceback_and_the_end_of_the_message(open_store):
    def shout(params: dict[str, Any]) -> None:
        raise ValueError("begin " + 100_000 * "x" + " end")

    with pytest.raises(ValueError, match="begin"):
        open_store(shout).run(ONE)
    (failure,) = open_store().failures()
    assert "in shout" in failure.traceback
    assert "xxx end" in failure.traceback
    assert "characters left out" in failure.traceback
    assert len(failure.traceback) < 25_000


@pytest.mark.slow
def test_failures_and_the_status_are_tables_in_a_notebook(open_store):
    def refuse(params):
        raise ValueError("<refused>")

    store = open_store(run=refuse)
    with pytest.warns(RunsFailedWarning):
        store.sweep([{"n": n, "dt": 0.5} for n in range(60)], on_error="continue")
    shown = store.failures()._repr_html_()
    assert "60 failed" in shown
    assert "ValueError: &lt;refused&gt;" in shown
    assert "and 10 more" in shown
    assert "<td>failed</td><td>60</td>" in store.status()._repr_html_()
    store.register({"n": 1, "dt": 0.5}, __file__)
    assert " UTC</td>" in store.status()._repr_html_()
