"""Many ask for the same sets at the same time: each set runs once, and all get its row."""

import collections
import random

import pytest
from peek import executions
from scenes import at_once, in_order

SETS = list(range(8))


def ran(case):
    return collections.Counter(one["x"] for one in executions(case))


@pytest.mark.slow
@pytest.mark.parametrize(
    "in_memory", [False, pytest.param(True, marks=pytest.mark.only_on("sqlite"))], ids=["kept", "memory"]
)
def test_sixteen_threads_run_each_set_once(server, case, in_memory):
    said = server.start("racers:threads", folder=case, count=16, sets=SETS, in_memory=in_memory).said()
    assert ran(case) == dict.fromkeys(SETS, 1)
    first = said["got"][0]
    assert all(got == first for got in said["got"])
    assert [first[str(x)]["x"] for x in SETS] == SETS
    assert not said["check"], said["check"]


@pytest.mark.parametrize("count", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_many_processes_run_each_set_once(server, case, count):
    orders = [random.Random(number).sample(SETS, len(SETS)) for number in range(count)]
    children = [server.start("racers:toil", folder=case, operation="loop", sets=order) for order in orders]
    at_once(case, children)
    rows = [{row["x"]: row for row in child.said()} for child in children]
    assert ran(case) == dict.fromkeys(SETS, 1)
    assert all(got == rows[0] for got in rows)
    in_order(server, case)


@pytest.mark.slow
def test_processes_that_open_a_new_store_at_the_same_moment_all_succeed(server, new_case):
    for attempt in range(10):
        case = new_case(str(attempt))
        children = [server.start("work:toil", folder=case, operation="loop", sets=[1]) for _ in range(8)]
        rows = [child.said()[0] for child in children]
        assert all(row == rows[0] for row in rows)
        assert len(executions(case)) == 1
