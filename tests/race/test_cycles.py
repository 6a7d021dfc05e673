"""Runs that ask for other runs: a circle is an error, and never a deadlock."""

import os

import pytest
from harness import until
from peek import executions
from scenes import in_order


@pytest.mark.slow
def test_a_run_that_asks_for_itself_is_an_error(server, case):
    said = server.start("racers:need", folder=case, first=1, needs={1: [1]}).said()
    assert said["error"]["type"] == "CycleError"
    in_order(server, case)


@pytest.mark.slow
def test_a_circle_within_one_process_is_an_error(server, case):
    said = server.start("racers:need", folder=case, first=1, needs={1: [2], 2: [3], 3: [1]}).said()
    assert said["error"]["type"] == "CycleError"
    in_order(server, case)


@pytest.mark.slow
def test_two_processes_whose_runs_need_each_other_do_not_wait_for_ever(server, case):
    one = server.start("racers:need", folder=case, first=1, needs={1: [2]}, begun=f"{case}/1", others=f"{case}/2")
    until(lambda: os.path.exists(f"{case}/1"), "the first runs")
    two = server.start("racers:need", folder=case, first=2, needs={2: [1]}, begun=f"{case}/2", others=f"{case}/1")
    types = [(child.said()["error"] or {}).get("type") for child in (one, two)]
    assert "CycleError" in types
    assert set(types) <= {"CycleError", "RunFailed", None}
    in_order(server, case)


@pytest.mark.slow
def test_runs_that_need_others_in_no_circle_run_each_once(server, case):
    needs = {1: [2, 3], 2: [4], 3: [4], 4: []}
    children = [server.start("racers:need", folder=case, first=first, needs=needs) for first in (1, 2, 3, 1)]
    assert all(child.said()["error"] is None for child in children)
    assert sorted(one["x"] for one in executions(case)) == [1, 2, 3, 4]
    in_order(server, case)
