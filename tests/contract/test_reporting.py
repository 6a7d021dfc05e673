"""`report` shows how far a run is, to whoever looks, and never costs a run more than a glance at the clock."""

from __future__ import annotations

import contextvars
import json
import os
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.models import OtherResult, SimResult, run_python, wait_until
from entropic import Reported, ResultMissingError, key, report
from entropic.executors import reporting
from entropic.files import reports
from entropic.sweep import progress
from entropic.sweep.progress import Bar, summary

pytestmark = pytest.mark.only_on("sqlite")  # the database has no part in it
ONE = {"n": 1, "dt": 1.0}


@pytest.fixture
def look(open_store):
    """Run something as the runner of a set; return what `status` shows of it meanwhile, to another store."""

    def do(act: Any, write: bool = True) -> Reported | None:
        seen = []

        def runner(params: dict[str, Any]) -> int:
            act()
            seen.append(other.status())
            return 1

        store, other = open_store(runner), open_store()
        store.run(ONE)
        (status,) = seen
        assert store.status().reported == {}, "it goes with its run"
        assert not files(store)
        assert store.check().ok
        return status.reported.get(key(ONE))

    return do


def files(store: Any) -> list[Path]:
    folder = Path(store._context.staging.root, "reports")
    return list(folder.iterdir()) if folder.exists() else []


def file_of(store: Any, params: Any) -> Path:
    claim = store._context.ledger.find(key(params))
    return Path(store._context.staging.root, "reports", f"{store._context.key_of(key(params))}.{claim.attempt}.json")


# ---- what is seen ----------------------------------------------------------------------------------------------------
def test_what_a_run_reports_is_seen_by_others_while_it_runs(look):
    seen = look(lambda: report(step=300, total=1000, loss=0.25, phase="warm-up"))
    assert (seen.step, seen.total, seen.fraction) == (300, 1000, 0.3)
    assert seen.values == {"loss": 0.25, "phase": "warm-up"}
    assert seen.pid == os.getpid()
    assert seen.at.tzinfo is None
    assert str(seen) == "step 300/1000, loss=0.25, phase=warm-up"


def test_a_run_that_reports_nothing_makes_no_file_and_no_folder(open_store):
    store = open_store(lambda params: 1)
    store.run(ONE)
    assert not Path(store._context.staging.root, "reports").exists()


def test_outside_of_a_run_it_does_nothing():
    report(step=1, total=2, loss=3)
    report()


def test_a_thread_of_the_runner_may_report_too(look):
    def act() -> None:
        thread = threading.Thread(target=report, args=(3, 4))
        thread.start()
        thread.join()

    assert look(act).fraction == 0.75


def test_what_goes_on_with_the_context_of_a_run_that_is_over_says_nothing(open_store):
    contexts = []
    store = open_store(lambda params: contexts.append(contextvars.copy_context()))
    with pytest.raises(ResultMissingError):
        store.run(ONE)
    contexts[0].run(report, 1, 2)
    assert not files(store)


def test_where_several_runs_are_under_way_a_thread_in_none_of_them_says_nothing(open_store):
    def nested(params: dict[str, Any]) -> int:
        thread = threading.Thread(target=report, args=(1, 2))
        thread.start()
        thread.join()
        return 1

    inner, seen = open_store(nested, OtherResult), []

    def outer(params: dict[str, Any]) -> int:
        inner.run(ONE)
        seen.append(files(inner))
        return 1

    open_store(outer).run(ONE)
    assert seen == [[]]


def test_a_run_inside_of_a_run_reports_for_itself(open_store):
    seen = []

    def inner(params: dict[str, Any]) -> int:
        report(1, 10)
        return 1

    other = open_store(inner, OtherResult)

    def outer(params: dict[str, Any]) -> int:
        report(2, 10)
        other.run(ONE)
        seen.extend(store.status().reported.values())
        return 1

    store = open_store(outer)
    store.run(ONE)
    assert [one.step for one in seen] == [2]


@pytest.mark.parametrize("ends", ["raises", "is interrupted"])
def test_it_goes_with_a_run_that_ends_badly(open_store, ends):
    def runner(params: dict[str, Any]) -> None:
        report(1, 2)
        raise KeyboardInterrupt if ends == "is interrupted" else ValueError

    store = open_store(runner)
    with pytest.raises((ValueError, KeyboardInterrupt)):
        store.run(ONE)
    assert files(store) == []


DIES = """if True:
    import os, signal, sys
    from contract.models import SimResult
    from entropic import Store, report
    def runner(params):
        report(1, 2)
        os.kill(os.getpid(), signal.SIGKILL)
    Store(runner, SimResult, f"{sys.argv[1]}/results", ".json", sys.argv[2]).run({"n": 1, "dt": 1.0})
"""


@pytest.mark.slow
def test_what_is_left_of_a_process_that_was_killed_goes_once_its_claim_has_moved_on(open_store, place, tmp_path):
    with pytest.raises(AssertionError):  # it does not end well
        run_python(DIES, tmp_path, place.url)
    store = open_store(lambda params: 1)
    assert len(files(store)) == 1
    assert store.status().reported == {}, "nobody runs it"
    store.repair()
    assert files(store) == []
    assert store.check().ok


# ---- what it costs ---------------------------------------------------------------------------------------------------
def test_it_is_written_a_few_times_a_second_at_most(open_store, monkeypatch):
    now, written = [100.0], []
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(reports, "write", lambda *given: written.append(given[-1]["step"]))

    def runner(params: dict[str, Any]) -> int:
        for step in range(10_000):
            now[0] = 100.0 + step / 1000
            report(step, 10_000)
        return 1

    open_store(runner).run(ONE)
    assert written == list(range(0, 10_000, 250))


# ---- what is said ----------------------------------------------------------------------------------------------------
class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("made by the test")

    __repr__ = item = __float__ = __str__


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.array(2.5), 2.5),
        (float("inf"), float("inf")),
        (True, "True"),
        (None, "None"),
        ("x" * 500, "x" * 80),
        (np.arange(3), "[0 1 2]"),
        (10**30, str(10**30)),
        ("\ud800", None),
    ],
    ids=repr,
)
def test_numbers_of_libraries_are_numbers_and_the_rest_is_shown_as_short_text(look, value, shown):
    seen = look(lambda: report(1, 2, value=value, more=1))
    assert seen.values == ({"more": 1} if shown is None else {"value": shown, "more": 1})


@pytest.mark.parametrize("step", ["three", None, float("nan"), [1], Hostile(), 10**30])
def test_a_step_that_is_no_number_is_none_and_loses_no_run(look, step):
    seen = look(lambda: report(step, 10, loss=1))
    assert seen is None or (seen.step, seen.fraction) == (None, None)


def test_a_value_whose_own_methods_fail_loses_no_run(look):
    assert look(lambda: report(1, 2, loss=Hostile())) is None


def test_a_hundred_values_are_too_many_and_a_total_of_nothing_is_no_fraction(look):
    seen = look(lambda: report(1, 0, **{f"v{i}": i for i in range(100)}))
    assert len(seen.values) == 20
    assert seen.fraction is None


def test_a_folder_that_cannot_be_made_loses_no_run(open_store):
    store = open_store(lambda params: report(1, 2) or 1)
    Path(store._context.staging.root, "reports").write_text("in the way")
    assert store.run(ONE)


# ---- pruning ---------------------------------------------------------------------------------------------------------
class Pruned(Exception):
    pass


def test_a_listener_hears_every_report_of_its_own_runs_and_may_end_them(open_store):
    heard = []

    def listener(step: float | None, values: Any) -> None:
        heard.append((step, dict(values)))
        if step == 3:
            raise Pruned

    other = open_store(lambda params: report(99) or 1, OtherResult)

    def runner(params: dict[str, Any]) -> int:
        other.run_or_retrieve(ONE)  # what it asks for is none of the listener's business
        for step in range(10):
            report(step, loss=1 / (step + 1))
        return 1

    store = open_store(runner)
    with reporting.listening(listener), pytest.raises(Pruned):
        store.run_or_retrieve(ONE)
    assert heard == [(step, {"loss": 1 / (step + 1)}) for step in range(4)]
    (failure,) = store.failures()
    assert failure.error_type == "Pruned"
    assert store.run_or_retrieve(ONE), "outside of it nobody listens"
    assert len(heard) == 4


# ---- where it shows --------------------------------------------------------------------------------------------------
def made(step: float | None, total: float | None, second: int = 0, **values: Any) -> Reported:
    return Reported(step, total, values, datetime(2026, 1, 1, 0, 0, second))


@pytest.mark.parametrize(
    ("several", "text"),
    [
        ([], ""),
        ([made(3, 12, loss=0.51234)], "step 3/12, loss=0.5123"),
        ([made(None, None, loss=1)], "loss=1"),
        ([made(1, 4, 1, loss=0.1), made(3, 4, 2, loss=0.2)], "2 at 50%, loss=0.2"),
        ([made(1, 4), made(None, None, 1, phase="warm")], "1 at 25%, phase=warm"),
        ([made(1, None), made(2, None)], ""),
        ([made(1, 2, a="x\ny")], "step 1/2, a=x\\ny"),
    ],
)
def test_a_bar_says_of_several_runs_how_far_they_are_on_average(several, text):
    assert summary(several) == text


@pytest.mark.parametrize("options", [{}, pytest.param({"workers": 2}, marks=pytest.mark.slow)], ids=str)
def test_a_line_of_a_sweep_says_what_its_runs_report_while_they_run(open_store, tmp_path, monkeypatch, options):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    lines = []
    tell = Bar.tell

    def told(bar: Bar, read: Any) -> None:
        tell(bar, read)
        lines.append(bar._text())
        if "step 1/2, loss=0.5" in lines[-1]:
            (tmp_path / "go").touch()

    monkeypatch.setattr(Bar, "tell", told)
    open_store(Waiting(tmp_path / "go")).sweep([ONE], progress=True, **options)
    assert any("step 1/2, loss=0.5" in line for line in lines)


class Waiting:
    def __init__(self, gate: Path) -> None:
        self.gate = gate

    def __call__(self, params: dict[str, Any]) -> int:
        report(1, 2, loss=0.5)
        wait_until(self.gate.exists)
        return 1


def test_a_bar_that_is_not_shown_reads_no_reports():
    def read() -> list[Reported]:
        raise AssertionError

    Bar(False, "SimResult", 1, 0).tell(read)


def test_a_notebook_shows_how_far_the_runs_are(open_store):
    shown = []
    store = open_store(lambda params: report(1, 2, note="<b>") or shown.append(store.status()._repr_html_()) or 1)
    store.run(ONE)
    assert "step 1/2, note=&lt;b&gt;" in shown[0]


# ---- whoever else may write into the folder --------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_planted_as_a_report_is_not_written_through(open_store, beside, kind):
    def runner(params: dict[str, Any]) -> int:
        path = file_of(store, ONE)
        path.parent.mkdir()
        (os.symlink if kind == "symbolic" else os.link)(beside / "probe.txt", path)
        assert store.status().reported == {}
        report(1, 2)
        return 1

    store = open_store(runner)
    store.run(ONE)


def test_a_link_planted_as_the_folder_of_reports_is_not_followed(open_store, beside):
    store = open_store(lambda params: report(1, 2) or 1)
    Path(store._context.staging.root, "reports").symlink_to(beside)
    store.run(ONE)
    assert store.repair().done == []


GOOD = {"step": 1, "total": 2, "values": {}, "at": 1e9, "host": "h", "pid": 1}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 5_000,
        json.dumps({**GOOD, "at": 1e300}),
        json.dumps({**GOOD, "at": "now"}),
        json.dumps({**GOOD, "values": [1]}),
        json.dumps({**GOOD, "values": {"x" * 200: 1, "a": {"b": 1}, "c": "y" * 200, "d": 10**40}}),
        json.dumps({**GOOD, "host": ["h"], "pid": "1", "step": "1", "total": float("inf")}),
        json.dumps({**GOOD, "host": "\x1b[2J", "values": {"a": "\x1b[2J"}}),
        "x" * 1_000_000,
    ],
)
def test_what_somebody_else_wrote_there_is_shown_as_text_or_not_at_all(open_store, content):
    seen = []

    def runner(params: dict[str, Any]) -> int:
        report(1, 2)
        file_of(store, ONE).write_text(content)
        seen.append(store.status())
        return 1

    store = open_store(runner)
    store.run(ONE)
    (status,) = seen
    for one in status.reported.values():
        assert all(isinstance(value, int | float | str) for value in one.values.values())
        assert "\x1b" not in str(one)
    assert "\x1b" not in status._repr_html_()


@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir], ids=["a pipe", "a folder"])
def test_what_is_no_file_is_not_waited_for(open_store, kind):
    seen = []

    def runner(params: dict[str, Any]) -> int:
        file_of(store, ONE).parent.mkdir()
        kind(file_of(store, ONE))
        seen.append(store.status().reported)
        report(1, 2)
        return 1

    store = open_store(runner)
    assert isinstance(store.run(ONE), SimResult)
    assert seen == [{}]
