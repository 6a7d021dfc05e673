"""`plan`: what a sweep would find, without running anything."""

from __future__ import annotations

import contextlib
import datetime
import os
import pickle
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contract.models import PATIENCE, CountingRunner, LooseResult, OtherResult, SimResult, TypedResult, wait_until
from entropic import KeyCollisionError, ParameterError, Plan, Store, UnreadableError
from entropic.sweep import missing


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


class Boom(Exception):
    pass


@pytest.fixture
def fail(open_store):
    """Let the runs of these `n` fail."""

    def boom(params):
        raise Boom

    def do(*ns):
        for params in sets(*ns):
            with pytest.raises(Boom):
                open_store(run=boom).run(params)

    return do


def lists(plan: Plan) -> tuple[list, list, list, list]:
    return plan.stored, plan.missing, plan.running, plan.failed


def test_a_plan_tells_what_is_stored_what_is_missing_and_what_failed(store, fail):
    store.sweep(sets(3, 5))
    fail(4)
    plan = store.plan(sets(1, 3, 4, 5, 2))
    assert type(plan) is Plan
    assert lists(plan) == (sets(3, 5), sets(1, 2), [], sets(4))
    assert list(plan.owners) == []


@pytest.mark.slow
def test_each_list_has_the_order_in_which_the_sets_were_given(store, fail):
    store.sweep(sets(1, 2, 3))
    fail(4, 5, 6)
    plan = store.plan(sets(9, 3, 6, 1, 8, 5, 2, 4, 7))
    assert lists(plan) == (sets(3, 1, 2), sets(9, 8, 7), [], sets(6, 5, 4))


def test_a_set_that_is_given_twice_is_in_one_list_once_as_it_was_given_first(store):
    same = [{"n": 1, "dt": 0.3}, {"dt": 0.1 + 0.2, "n": 1}, {"n": 1, "dt": 0.3}]
    assert lists(store.plan(same)) == ([], same[:1], [], [])
    store.run(same[0])
    assert lists(store.plan(same)) == (same[:1], [], [], [])


def test_the_plan_of_nothing_is_empty(store):
    assert lists(store.plan([])) == ([], [], [], [])
    assert lists(store.plan(iter(()))) == ([], [], [], [])


def test_a_generator_is_taken(store):
    store.run(sets(2)[0])
    assert lists(store.plan(params for params in sets(1, 2))) == (sets(2), sets(1), [], [])


def test_a_stored_set_whose_later_run_failed_is_stored(store, fail):
    store.run(sets(1)[0])
    fail(1)
    assert lists(store.plan(sets(1))) == (sets(1), [], [], [])


def test_a_failed_set_that_succeeded_later_is_stored(store, fail):
    fail(1)
    assert lists(store.plan(sets(1))) == ([], [], [], sets(1))
    store.run(sets(1)[0])
    assert lists(store.plan(sets(1))) == (sets(1), [], [], [])


def test_what_was_deleted_is_missing(store):
    store.run(sets(1)[0])
    store.delete(sets(1)[0], remove_file=True)
    assert lists(store.plan(sets(1))) == ([], sets(1), [], [])


def test_no_instance_is_made_of_a_row_that_nobody_gets(store, monkeypatch):
    store.sweep(sets(1, 2))
    made, build = [], store._context.rows.build_brief
    monkeypatch.setattr(store._context.rows, "build_brief", lambda *of: made.append(of) or build(*of))
    assert len(store.plan(sets(1, 2)).stored) == 2
    assert made == []
    store.sweep(sets(1, 2))
    assert len(made) == 2


def test_a_plan_sees_what_a_listener_makes_of_rows_as_a_sweep_does(store):
    store.run(sets(1)[0])
    assert len(store.plan(sets(1)).stored) == 1
    with listening(SimResult, lambda row: row.__dict__.update(dt=row.dt + 1)):
        for ask in (store.plan, store.sweep):
            with pytest.raises(KeyCollisionError):
                ask(sets(1))
    assert len(store.plan(sets(1)).stored) == 1


@pytest.mark.only_on("sqlite")  # servers take no such text
def test_a_row_that_cannot_be_read_is_not_planned_as_stored(store, place, runner):
    store.run(sets(1)[0])
    place.execute("UPDATE sim_results SET custom_data = '{bad'")
    for ask in (store.plan, store.sweep, store.stream):
        with pytest.raises(UnreadableError, match="custom_data"):
            ask(sets(2, 1))
    assert runner.ns == [1]


def test_what_is_stored_is_compared_with_what_is_asked(store):
    store.run({"id": "mine", "n": 1, "dt": 0.5})
    assert len(store.plan([{"id": "mine", "n": 1, "dt": 0.5}]).stored) == 1
    with pytest.raises(KeyCollisionError, match="'dt'"):
        store.plan([{"id": "mine", "n": 1, "dt": 0.25}])


def test_values_that_the_database_keeps_in_another_form_are_compared_as_what_they_are(open_store):
    store = open_store(model=TypedResult)
    one = {"id": "mine", "day": datetime.date(2025, 6, 7), "moment": datetime.datetime(2025, 6, 7, 8), "raw": b"\0"}
    store.run(one)
    assert len(store.plan([one]).stored) == 1
    for other in ({"day": datetime.date(2025, 6, 8)}, {"moment": datetime.datetime(2025, 6, 7, 9)}, {"raw": b"\1"}):
        with pytest.raises(KeyCollisionError):
            store.plan([{**one, **other}])
    rows = store._context.rows
    raw = rows.brief("mine")
    values, wanted = vars(rows.values_brief(raw, "file")), vars(rows.build_brief(raw, "file"))
    assert values == {name: value for name, value in wanted.items() if name != "_sa_instance_state"}
    assert [type(values[name]) for name in store._context.schema.fields] == [
        type(wanted[name]) for name in store._context.schema.fields
    ]


@contextlib.contextmanager
def listening(model, change):
    """Call a function with each instance that is made of a row."""

    def listen(instance, _):
        change(instance)

    sa.event.listen(model, "load", listen)
    try:
        yield
    finally:
        sa.event.remove(model, "load", listen)


# ---- more sets than are read in one go -----------------------------------------------------------------------------
@pytest.fixture(params=["plan", "sweep", "stream"])
def ask(request, store, monkeypatch):
    """What looks for sets, two at a time; it returns them as they came out."""
    monkeypatch.setattr(missing, "PLANNED_TOGETHER", 2)
    if request.param == "plan":
        return lambda params: (plan := store.plan(params)).stored + plan.missing
    return lambda params: [{"n": row.n, "dt": row.dt} for row in getattr(store, request.param)(params)]


@pytest.mark.parametrize("stored", [(), (1,), (1, 2, 3, 4)])
def test_a_set_that_comes_again_in_a_later_batch_counts_once(store, ask, runner, stored):
    store.sweep(sets(*stored))
    found = ask([*sets(1, 2, 1, 3, 2), {"dt": 0.5, "n": 3}, *sets(4, 1)])
    assert sorted(one["n"] for one in found) == [1, 2, 3, 4]
    assert len(runner.ns) == len(set(runner.ns))


@pytest.mark.parametrize("stored", [(), (1,)])
@pytest.mark.parametrize("between", [(), (3, 4)])
def test_a_set_that_collides_with_one_of_an_earlier_batch_is_refused(store, ask, runner, stored, between):
    first, other = {"id": "mine", "n": 1, "dt": 0.5}, {"id": "mine", "n": 1, "dt": 0.25}
    store.sweep([first] * len(stored))
    with pytest.raises(KeyCollisionError, match="'dt'"):
        ask([first, *sets(2, *between), other])
    assert runner.ns == [*stored]


def test_the_rows_of_another_model_do_not_count(store, open_store):
    open_store(model=OtherResult).run(sets(1)[0])
    assert lists(store.plan(sets(1))) == ([], sets(1), [], [])


@pytest.mark.each
@pytest.mark.parametrize("bad", [{"n": 3}, {"n": 3, "dt": 0.5, "m": 1}, {"n": "3", "dt": 0.5}, {3: 1}, None, "n=3"])
def test_every_set_is_checked(store, bad):
    with pytest.raises(ParameterError):
        store.plan([*sets(1, 2), bad])


def test_a_plan_runs_nothing_and_changes_nothing(store, runner, fail, place, tmp_path):
    def state() -> tuple[dict[str, list[str]], list[tuple[str, int]]]:
        files = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
        return place.content(), sorted((str(path), path.stat().st_mtime_ns) for path in files)

    store.sweep(sets(1, 2))
    fail(3)
    before, calls = state(), len(runner.calls)
    store.plan(sets(1, 2, 3, 4, 5))
    assert len(runner.calls) == calls
    assert state() == before


def test_a_sweep_does_what_the_plan_said(store, runner, fail):
    store.sweep(sets(1, 2))
    fail(3)
    plan = store.plan(sets(1, 2, 3, 4))
    before = len(runner.calls)
    store.sweep(sets(1, 2, 3, 4))
    assert sorted(runner.ns[before:]) == sorted(params["n"] for params in plan.missing + plan.failed)
    assert lists(store.plan(sets(1, 2, 3, 4))) == (sets(1, 2, 3, 4), [], [], [])


@pytest.mark.slow
def test_its_text_shows_the_counts(store, fail):
    store.sweep(sets(*range(10, 17)))
    fail(20, 21)
    text = str(store.plan(sets(*range(10, 17), 20, 21, *range(30, 35))))
    for count, word in ((7, "stored"), (5, "missing"), (2, "failed"), (0, "running")):
        if count:
            assert re.search(rf"\b{count}\W+{word}|{word}\W+{count}\b", text), text
        else:
            assert not re.search(rf"[1-9]\W+{word}", text), text


# ---- the estimate ------------------------------------------------------------------------------------------------
def test_without_a_recorded_time_there_is_no_estimate(store, tmp_path):
    assert store.plan(sets(1, 2)).estimate_seconds is None
    (tmp_path / "made.json").write_text("{}")
    store.register(sets(1)[0], tmp_path / "made.json")
    assert store.plan(sets(1, 2)).estimate_seconds is None


def after(open_store, seconds):
    """Return a store whose runs say that they have taken so long."""

    def say(params):
        params["custom_data"]["elapsed_seconds"] = seconds(params)

    return open_store(run=CountingRunner(say))


def test_the_estimate_is_what_the_missing_and_the_failed_would_take_one_after_another(open_store, fail):
    store = after(open_store, lambda params: 2.0)
    store.sweep(sets(1, 2, 3))
    fail(4)
    estimate = store.plan(sets(1, 2, 3, 4, 5, 6)).estimate_seconds
    assert type(estimate) is float
    assert estimate == pytest.approx(6)
    assert store.plan(sets(1, 2, 3, 4, *range(10, 19))).estimate_seconds == pytest.approx(20)


def test_the_cost_of_each_set_is_learned_from_the_parameters_of_stored_runs(open_store, fail):
    store = after(open_store, lambda params: 0.5 * params["n"] ** 2)
    store.sweep(sets(*range(1, 11)))
    fail(20)
    cost = store.plan(sets(*range(1, 11), 20, 30)).cost()
    assert [one.params for one in cost.each] == sets(30, 20)
    assert [one.seconds.value for one in cost.each] == pytest.approx([450, 200], rel=0.05)
    assert cost.seconds.value == pytest.approx(sum(one.seconds.value for one in cost.each))
    assert all(one.seconds.low <= one.seconds.value <= one.seconds.high for one in cost.each)
    assert (cost.runs, cost.unsaid, cost.new) == (10, 0, None)
    text = str(cost)
    assert "2 sets to run, judging by 10 stored runs" in text
    assert re.search(r"about 1[01] minutes( \(.* to .*\))? of work left, if run one after another", text), text
    assert re.search(r"the longest: about [78] minutes.*, n=30, dt=0.5", text), text
    assert "of work left" in str(store.plan(sets(20, 30)))


def test_of_a_parameter_that_never_varied_nothing_is_said(open_store):
    store = after(open_store, lambda params: 2.0)
    store.sweep(sets(1, 2, 3))
    plan = store.plan([*sets(4), {"n": 4, "dt": 0.001}])
    cost = plan.cost()
    assert [one.seconds is None for one in cost.each] == [False, True]
    assert (cost.seconds.value, cost.unsaid, cost.new) == (pytest.approx(2), 1, "dt")
    assert plan.estimate_seconds is None
    assert "1 set cannot be judged: all stored runs have the same dt, and this set has another" in str(plan)


def test_what_a_set_leaves_out_is_as_its_row_says_it(place, tmp_path):
    def say(params):
        Path(params["result_file"]).write_text("{}")
        params["custom_data"]["elapsed_seconds"] = 2.0

    store = Store(say, LooseResult, tmp_path / "loose", ".json", place.url)
    store.sweep([{"name": name} for name in "abc"])
    cost = store.plan([{"name": "d"}, {"name": "d", "level": 3}, {"name": "d", "level": 4}]).cost()
    assert [one.seconds and round(one.seconds.value, 6) for one in cost.each] == [2.0, 2.0, None]
    assert cost.new == "level"


def test_few_runs_tell_no_error(open_store):
    store = after(open_store, lambda params: float(params["n"]))
    store.sweep(sets(1, 2, 3))
    cost = store.plan(sets(4)).cost()
    assert (cost.seconds.low, cost.seconds.high) == (None, None)
    assert "too few to tell how far that is off" in str(cost)
    store.sweep(sets(*range(4, 9)))
    cost = store.plan(sets(9)).cost()
    assert cost.seconds.low <= cost.seconds.value <= cost.seconds.high


def test_a_store_without_rows_says_nothing(store):
    cost = store.plan(sets(1, 2)).cost()
    assert (len(cost.each), cost.seconds, cost.memory, cost.runs) == (2, None, None, 0)
    assert str(cost) == "2 sets to run; no stored run says how long it took"
    assert "work left" not in str(store.plan(sets(1, 2)))


def test_memory_is_learned_from_runs_whose_provenance_tells_it(open_store):
    def during(params):
        begun = time.perf_counter()
        wait_until(lambda: time.perf_counter() - begun > 0.02)  # of shorter runs it is not known

    store = open_store(run=CountingRunner(during))
    known = [store.provenance(row).peak_memory for row in store.sweep(sets(1, 2, 3))]
    cost = store.plan(sets(4)).cost()
    assert cost.memory_runs == 3
    assert min(known) * 0.5 < cost.memory.value < max(known) * 2
    assert cost.memory == cost.each[0].memory
    assert re.search(r"about [\d.,]+ [MG]B of memory at most in a process", str(cost))


def test_a_sample_of_the_stored_runs_has_all_values_of_a_grid(open_store, monkeypatch):
    monkeypatch.setattr("entropic.sweep.cost.SAMPLE", 10)
    store = open_store()
    grid = [{"n": n, "dt": dt} for n in range(1, 11) for dt in (0.5, 1.0)]
    store.sweep(grid)
    cost = store.plan([*grid, {"n": 20, "dt": 0.5}, {"n": 20, "dt": 1.0}]).cost()
    assert (cost.runs, cost.unsaid, cost.new) == (10, 0, None)
    for one in grid[15:]:  # more than the sample, and less than twice as many
        store.delete(one, remove_file=True)
    cost = store.plan([*grid[:15], {"n": 20, "dt": 1.0}]).cost()
    assert (cost.runs, cost.unsaid) == (10, 0)


def test_a_plan_travels_with_its_cost(open_store):
    store = after(open_store, lambda params: 2.0)
    store.sweep(sets(1, 2))
    plan = store.plan(sets(3, 4))
    assert pickle.loads(pickle.dumps(plan)).estimate_seconds == pytest.approx(plan.estimate_seconds)


def test_where_nothing_is_missing_the_estimate_is_zero(store):
    store.sweep(sets(1, 2))
    assert store.plan(sets(1, 2)).estimate_seconds == 0


# ---- others ------------------------------------------------------------------------------------------------------
OWNER = """if True:
    import sys
    from pathlib import Path
    from contract.models import SimResult, write_params
    from entropic import Store
    folder = Path(sys.argv[1])

    def run(params):
        (folder / "begun").touch()
        sys.stdin.readline()  # until the test closes it
        write_params(params)

    store = Store(run, SimResult, folder / "results", ".json", sys.argv[2])
    store.run({"n": 2, "dt": 0.5})
"""


@contextlib.contextmanager
def running_elsewhere(folder: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Let another process run the set 2, until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), url],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    try:
        wait_until(lambda: (folder / "begun").exists() or process.poll() is not None)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.stdin.close()
        process.wait()


@pytest.fixture
def owner(store, place, tmp_path):
    with running_elsewhere(tmp_path, place.url) as process:
        yield process


@pytest.mark.slow
def test_what_another_process_runs_is_running_and_has_an_owner(store, owner):
    plan = store.plan(sets(1, 2, 3))
    assert lists(plan) == ([], sets(1, 3), sets(2), [])
    (who,) = plan.owners
    assert (who.host, who.pid) == (socket.gethostname(), owner.pid)
    assert who.since.tzinfo is None
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert now - datetime.timedelta(seconds=60) < who.since <= now + datetime.timedelta(seconds=0.01)
    assert re.search(r"\b1\W+running|running\W+1\b", str(plan))


@pytest.mark.slow
def test_what_has_ended_well_elsewhere_is_stored(store, owner):
    assert store.plan(sets(2)).running == sets(2)
    owner.stdin.close()
    assert owner.wait(PATIENCE) == 0
    plan = store.plan(sets(2))
    assert (lists(plan), list(plan.owners)) == ((sets(2), [], [], []), [])


@pytest.mark.slow
def test_what_was_claimed_by_a_process_that_died_is_missing(store, owner):
    assert store.plan(sets(2)).running == sets(2)
    owner.kill()
    owner.wait()
    plan = store.plan(sets(1, 2))
    assert (lists(plan), list(plan.owners)) == (([], sets(1, 2), [], []), [])


@pytest.mark.slow
def test_a_stored_set_that_is_run_again_elsewhere_is_in_one_list(store, place, tmp_path):
    store.run(sets(2)[0])
    with running_elsewhere(tmp_path, place.url):
        plan = store.plan(sets(1, 2, 1, 2))
    assert lists(plan) in [(sets(2), sets(1), [], []), ([], sets(1), sets(2), [])]
    assert len(plan.owners) == len(plan.running)
