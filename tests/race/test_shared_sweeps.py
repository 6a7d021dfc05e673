"""Several processes sweep the same sets: they share the work, and each set runs once."""

import collections
import os
import signal

import pytest
from faults import touch
from harness import until
from peek import claims, executions
from scenes import at_once, in_order


def start(server, case, sets, **behaviour):
    return server.start("racers:toil", folder=case, operation="sweep", sets=sets, **behaviour)


def xs(child):
    return [row["x"] for row in child.said()]


@pytest.mark.parametrize(("count", "many"), [(2, 60), pytest.param(4, 200, marks=pytest.mark.slow)])
def test_processes_that_sweep_the_same_sets_share_them(server, case, count, many):
    sets = list(range(many))
    children = [start(server, case, sets, company=count) for _ in range(count)]
    at_once(case, children)
    assert all(xs(child) == sets for child in children), "everybody gets every row, in order"
    ran = executions(case)
    assert collections.Counter(one["x"] for one in ran) == dict.fromkeys(sets, 1)
    assert {one["pid"] for one in ran} == {child.pid for child in children}, "everybody ran some"
    in_order(server, case)


@pytest.mark.slow
def test_sweeps_that_overlap_run_each_set_once(server, case):
    parts = [list(range(100)), list(range(150, 50, -1)), list(range(30, 200, 2)), list(range(199, 0, -3))]
    children = [start(server, case, part, seconds=0.001) for part in parts]
    at_once(case, children)
    assert [xs(child) for child in children] == parts
    assert set(collections.Counter(one["x"] for one in executions(case)).values()) == {1}
    in_order(server, case)


@pytest.mark.slow
def test_what_is_claimed_behind_a_long_run_is_given_back_to_others(server, case):
    sets = list(range(40))
    # Quick runs let the process claim more and more at once, until it meets a long one.
    slow = start(server, case, sets, only=7, marker=f"{case}/long", until=f"{case}/end")
    touch(f"{case}/go")
    until(lambda: os.path.exists(f"{case}/long"), "the long run begins")
    other = start(server, case, sets)

    def rest_is_done():
        return len(claims(case)[1]) == len(sets) - 1

    until(rest_is_done, "all the others have their rows, while the long run still runs")
    touch(f"{case}/end")
    assert xs(other) == xs(slow) == sets
    assert set(collections.Counter(one["x"] for one in executions(case)).values()) == {1}
    in_order(server, case)


@pytest.mark.slow
def test_a_sweep_that_is_interrupted_ends_soon_and_keeps_what_was_finished(server, case):
    sets = list(range(100))
    child = start(server, case, sets, only=30, marker=f"{case}/long", until=f"{case}/never")
    touch(f"{case}/go")
    until(lambda: os.path.exists(f"{case}/long"), "the long run begins")
    child.signal(signal.SIGINT)
    assert child.status() != 0
    assert "KeyboardInterrupt" in child.log()
    assert "TimeoutError" not in child.log(), "it has not waited for the run to end"
    ledger, rows = claims(case)
    assert len(rows) == 30, "what was finished is published"
    assert not [id for id, (_, state, *_) in ledger.items() if state == "running"], "nothing is left claimed"
    in_order(server, case)
    again = start(server, case, sets)
    assert xs(again) == sets
    assert max(collections.Counter(one["x"] for one in executions(case)).values()) == 2
    assert len(executions(case)) == len(sets) + 1
    in_order(server, case)


@pytest.mark.slow
def test_a_sweep_of_which_one_process_is_killed_is_finished_by_the_others(server, case):
    sets = list(range(120))
    children = [start(server, case, sets, free=5, until=f"{case}/end") for _ in range(3)]
    at_once(case, children)
    victim, *others = children

    def all_in_the_middle():
        ran = collections.Counter(one["pid"] for one in executions(case))
        return all(ran[child.pid] > 5 for child in children)

    until(all_in_the_middle, "each has run some, and is in the middle of the next")
    victim.kill()
    touch(f"{case}/end")
    assert all(xs(child) == sets for child in others)
    ran = executions(case)
    assert len(ran) <= len(sets) + 1, "at most the run that was under way ran again"
    assert {child.pid for child in others} <= {one["pid"] for one in ran}
    in_order(server, case)


@pytest.mark.slow
def test_a_sweep_that_fails_leaves_the_rest_to_others(server, case):
    sets = list(range(20))
    child = start(server, case, sets, only=5, raises="no")
    touch(f"{case}/go")
    assert child.status() != 0
    assert "ValueError: no" in child.log()
    assert len(claims(case)[1]) == 5
    again = start(server, case, sets)
    assert xs(again) == sets
    assert len(executions(case)) == len(sets) + 1
    in_order(server, case)
