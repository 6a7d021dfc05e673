"""A runner that raises, is interrupted or writes nothing: no row, no file, and an earlier result as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.models import CountingRunner, content
from entropic import ResultMissingError

ONE = {"n": 1, "dt": 0.5}
BOTH = pytest.mark.parametrize("method", ["run", "run_or_retrieve"])


class Boom(Exception):
    pass


def fail_with(error: BaseException):
    def during(params):
        raise error

    return CountingRunner(during)


@BOTH
def test_a_runner_that_writes_nothing_is_an_error(open_store, method):
    store = open_store(run=lambda params: None)
    with pytest.raises(ResultMissingError) as caught:
        getattr(store, method)(ONE)
    assert isinstance(caught.value, FileNotFoundError)
    assert store.retrieve(ONE) is None


def test_a_runner_that_writes_nothing_is_an_error_also_where_an_earlier_result_exists(open_store):
    row = open_store().run(ONE, note="first")
    with pytest.raises(ResultMissingError):
        open_store(run=lambda params: None).run(ONE)
    assert content(row)["custom_data"] == {"note": "first"}
    assert open_store().retrieve(ONE).created_at == row.created_at


@BOTH
@pytest.mark.parametrize("error", [Boom("it broke"), KeyboardInterrupt(), SystemExit(3)])
def test_a_runner_that_raises_leaves_no_row_and_no_file(open_store, tmp_path, method, error):
    store = open_store(run=fail_with(error))
    with pytest.raises(type(error)) as caught:
        getattr(store, method)(ONE)
    assert caught.value is error
    assert store.retrieve(ONE) is None
    assert [p for p in (tmp_path / "results").iterdir() if not p.name.startswith(".")] == []


@pytest.mark.parametrize("error", [Boom("it broke"), KeyboardInterrupt(), SystemExit(3)])
def test_a_runner_that_raises_leaves_an_earlier_result_as_it_was(open_store, error):
    row = open_store().run(ONE, note="first")
    with pytest.raises(type(error)):
        open_store(run=fail_with(error)).run(ONE, note="second")
    kept = open_store().retrieve(ONE)
    assert (kept.created_at, kept.custom_data) == (row.created_at, row.custom_data)
    assert content(kept)["custom_data"] == {"note": "first"}
    assert open_store().check().ok


def test_the_runners_exception_says_in_a_note_which_params_it_was(open_store):
    with pytest.raises(Boom) as caught:
        open_store(run=fail_with(Boom("it broke"))).run({"n": 4711, "dt": 0.125})
    assert caught.value.args == ("it broke",)
    notes = "\n".join(caught.value.__notes__)
    assert "4711" in notes
    assert "0.125" in notes


def test_the_failure_is_recorded_with_its_traceback_in_the_database(open_store, place):
    with pytest.raises(Boom):
        open_store(run=fail_with(Boom("the pump ran dry"))).run(ONE)
    content = str(place.content())
    assert "the pump ran dry" in content
    assert "Traceback" in content
    assert Path(__file__).name in content


@pytest.mark.parametrize("error", [Boom("it broke"), KeyboardInterrupt()])
def test_a_later_call_tries_again_after_a_failure(open_store, runner, error):
    with pytest.raises(type(error)):
        open_store(run=fail_with(error)).run_or_retrieve(ONE)
    assert open_store().run_or_retrieve(ONE).n == 1
    assert runner.ns == [1]


def test_what_a_failed_run_left_in_its_place_is_not_found_by_the_next_one(open_store):
    def leave_files(params):
        for name in (params["result_file"], "scratch.txt"):
            Path(params["result_file"]).with_name(Path(name).name).write_text("left over")
        raise Boom

    with pytest.raises(Boom):
        open_store(run=leave_files).run(ONE)
    seen = []
    with pytest.raises(ResultMissingError):
        open_store(run=lambda params: seen.extend(Path(params["result_file"]).parent.iterdir())).run(ONE)
    assert seen == []
