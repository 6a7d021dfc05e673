"""Deletes and runs of the same few sets, from several processes at once."""

import shutil
from pathlib import Path

import pytest
from peek import executions
from scenes import at_once, in_order


@pytest.mark.slow
@pytest.mark.each("shape")
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
@pytest.mark.parametrize("seconds", [1.5, pytest.param(8, marks=pytest.mark.slow)])
def test_deletes_and_runs_at_the_same_time_leave_every_row_with_its_file(server, case, shape, seconds):
    sets = [1, 2, 3]
    server.start("work:prepare", folder=case, history="first", shape=shape).said()
    children = [
        server.start("racers:churn", folder=case, seconds=seconds, seed=seed, sets=sets, shape=shape)
        for seed in range(4)
    ]
    at_once(case, children)
    said = [child.said() for child in children]
    assert not any(one["wrong"] for one in said), said
    assert all(one["count"] > 3 for one in said)
    in_order(server, case)
    asked = server.start("work:toil", folder=case, operation="sweep", sets=sets, shape=shape).said()
    assert [row["x"] for row in asked] == sets
    assert all(len(row["content"]) == 32 for row in asked)
    in_order(server, case)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [1, 2], ids=["result", "folder in it"])
def test_a_folder_that_is_deleted_while_somebody_looks_at_it_is_a_miss(server, case, folder):
    server.start("racers:ask", folder=case, shape="folder").said()
    fault = {"step": "walk", "when": "before", "nth": folder, "do": "stop"}
    reader = server.start("racers:ask", folder=case, shape="folder", fault=fault)
    reader.await_stop()
    assert server.start("racers:ask", folder=case, operation="delete file").said()["row"] is True
    reader.wake()
    said = reader.said()
    assert said["error"] is None, said["error"]["traceback"]
    assert said["row"]["content"] == executions(case)[1]["content"]
    in_order(server, case)


@pytest.mark.slow
def test_two_that_finish_one_delete_do_not_mind_each_other(server, case):
    server.start("racers:ask", folder=case, shape="folder").said()
    # Stopped where it has met a folder, and not a file, which the other removes just then.
    fault = {"target": "os:unlink", "step": "unlink", "when": "failed", "do": "stop"}
    deleter = server.start("racers:ask", folder=case, operation="delete file", fault=fault)
    deleter.await_stop()
    (spent,) = Path(case, "results", ".entropic").glob("*/*.spent")
    shutil.rmtree(spent)
    deleter.wake()
    said = deleter.said()
    assert said["error"] is None, said["error"]["traceback"]
    assert said["row"] is True
    in_order(server, case)
