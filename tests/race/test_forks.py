"""A process with an open store forks: parent and children go on, and no set runs twice."""

import collections

import pytest
from peek import executions
from scenes import in_order

SETS = list(range(6))


def check(server, case):
    ran = collections.Counter(one["x"] for one in executions(case))
    assert set(ran.values()) == {1}
    in_order(server, case)
    return ran


@pytest.mark.slow
def test_forks_of_a_process_with_an_open_store_run_each_set_once(server, case):
    child = server.start("racers:forks", folder=case, count=6, sets=SETS)
    said = child.said()
    assert said["statuses"] == [0] * 6, child.log()
    assert said["x"] == SETS
    assert set(check(server, case)) == set(SETS)


@pytest.mark.slow
def test_forks_of_a_process_whose_threads_use_the_store_run_each_set_once(server, case):
    child = server.start("racers:forks", folder=case, count=12, sets=SETS, busy=True)
    said = child.said()
    assert said["statuses"] == [0] * 12, child.log()
    assert set(check(server, case)) == set(SETS) | set(said["own"])
    assert said["own"], "the other thread worked on beside the forks"


@pytest.mark.slow
def test_a_pool_of_forked_processes_runs_each_set_once(server, case):
    rows = server.start("racers:pool", folder=case, count=4, sets=SETS).said()
    assert [row["x"] for row in rows] == SETS * 4
    assert set(check(server, case)) == set(SETS)


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_an_interrupt_at_any_point_of_a_fork_comes_out_after_it_and_the_next_fork_works(server, case):
    child = server.start("points:interrupt_forks", folder=case)
    said = child.said(110)
    assert not said["faults"], "\n".join(said["faults"]) + child.log()
    assert said["came out"] > said["forks"] / 2
    in_order(server, case)
