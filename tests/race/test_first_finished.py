"""A run whose claim was taken over and which finishes first is stored: no finished result is thrown away for nothing.

Another machine, or container, is played by a process with another boot id, which sleeps until its lease has ended.
"""

import os

import pytest
from faults import touch
from harness import until
from peek import claims, executions
from scenes import in_order

LEASE = {"lease": 0.5}


def begin(server, case, name, **more):
    """Start somebody who asks for the set, and return when its runner runs, and waits for the file `go <name>`."""
    marker = f"{case}/{name}"
    child = server.start("racers:ask", folder=case, marker=marker, until=f"{case}/go {name}", **more)
    until(lambda: os.path.exists(marker), "the runner runs")
    return child


def let_go_on(case, name):
    touch(f"{case}/go {name}")


def taken_over(server, case, owner=None, taker=None):
    """Return an owner far away that sleeps, and who has taken over from it; both run."""
    one = begin(server, case, "owner", elsewhere="0badcafe", options=LEASE, **(owner or {}))
    one.sleep()
    other = begin(server, case, "taker", options=LEASE, **(taker or {}))
    return one, other


def stored(server, case, **more):
    return server.start("work:toil", folder=case, operation="sweep", sets=[1], **more).said()[0]


@pytest.mark.slow
@pytest.mark.each("operation")
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
@pytest.mark.parametrize("operation", ["run_or_retrieve", "run", "sweep"])
def test_an_owner_that_finishes_first_after_it_was_replaced_is_stored_and_both_get_its_row(
    server, case, operation, shape
):
    owner, taker = taken_over(server, case, owner={"operation": operation, "shape": shape, "only": 1},
                              taker={"shape": shape})  # fmt: skip
    let_go_on(case, "owner")
    owner.wake()
    first = owner.said()["row"]
    assert first["content"] == executions(case)[0]["content"]
    assert stored(server, case, shape=shape) == first, "while the other still runs"
    let_go_on(case, "taker")
    assert taker.said()["row"] == first
    assert len([one for one in executions(case) if one["x"] == 1]) == 2
    in_order(server, case)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
def test_a_forced_run_that_took_over_is_answered_by_a_run_of_its_own(server, case, shape):
    owner, taker = taken_over(server, case, owner={"shape": shape}, taker={"operation": "run", "shape": shape})
    let_go_on(case, "owner")
    owner.wake()
    first = owner.said()["row"]
    let_go_on(case, "taker")
    row = taker.said()["row"]
    # A folder has no slot for what it did not know of, and runs again.
    assert row["content"] == executions(case)[1 if shape == "file" else 2]["content"] != first["content"]
    assert stored(server, case, shape=shape) == row
    in_order(server, case)


@pytest.mark.slow
def test_a_rerun_that_finishes_first_replaces_the_earlier_row(server, case):
    earlier = stored(server, case)
    owner, taker = taken_over(server, case, owner={"operation": "run"}, taker={"operation": "run"})
    let_go_on(case, "owner")
    owner.wake()
    assert owner.said()["row"]["content"] == executions(case)[1]["content"] != earlier["content"]
    let_go_on(case, "taker")
    assert taker.said()["row"]["content"] == executions(case)[2]["content"]
    in_order(server, case)


@pytest.mark.slow
def test_an_owner_that_finishes_first_is_stored_although_the_other_fails(server, case):
    owner, taker = taken_over(server, case, taker={"raises": "no"})
    let_go_on(case, "taker")
    assert taker.said()["error"]["type"] == "ValueError"
    let_go_on(case, "owner")
    owner.wake()
    first = owner.said()["row"]
    assert first["content"] == executions(case)[0]["content"]
    assert stored(server, case) == first
    assert not server.start("work:follow", folder=case, operations=[], shape="file", fresh=True).said()["check"]


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["run_or_retrieve", "sweep"])
def test_what_is_deleted_meanwhile_does_not_come_back(server, case, operation):
    owner, taker = taken_over(server, case, owner={"operation": operation, "only": 1})
    let_go_on(case, "taker")
    taker.said()
    assert server.start("racers:ask", folder=case, operation="delete file").said()["row"] is True
    let_go_on(case, "owner")
    owner.wake()
    row = owner.said()["row"]
    mine = [one["content"] for one in executions(case) if one["x"] == 1]
    assert len(mine) == 3, "it ran again"
    assert row["content"] == mine[2]
    in_order(server, case)


DEATHS = [(shape, step) for shape in ("file", "folder+extra") for step in
          ("fence", "reclaim", "commit_reclaim", "place", "upsert", "commit")] + [("file", "link")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.each("step", "when")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("shape", "step"), DEATHS, ids=" ".join)
def test_an_owner_that_dies_on_the_way_is_stored_by_who_opens_the_store_next(server, case, step, when, shape):
    fault = {"step": step, "when": when, "do": "kill"}
    if step == "commit":
        fault["nth"] = 2  # on SQLite the first is that with which it takes its claim back
    owner, taker = taken_over(server, case, owner={"fault": fault, "shape": shape}, taker={"shape": shape})
    let_go_on(case, "owner")
    owner.wake()
    assert owner.status() == -9
    row = stored(server, case, shape=shape)
    assert row["content"] == executions(case)[0]["content"]
    let_go_on(case, "taker")
    assert taker.said()["row"] == row
    assert len(executions(case)) == 2
    assert {state for _, state, *_ in claims(case)[0].values()} == {"idle"}
    in_order(server, case)


@pytest.mark.slow
def test_the_set_that_a_sweep_lost_is_stored_with_all_others(server, case):
    sets = list(range(8))

    def begin_sweep(name, **more):
        marks = {"marker": f"{case}/{name}", "until": f"{case}/go {name}"}
        child = server.start("racers:sweep_until", folder=case, sets=sets, lease=0.5, **marks, **more)
        until(lambda: os.path.exists(f"{case}/{name}"), "it runs the last set")
        return child

    owner = begin_sweep("owner", elsewhere="0badcafe")
    owner.sleep()
    taker = begin_sweep("taker")
    let_go_on(case, "owner")
    owner.wake()
    rows = owner.said()
    assert [row["x"] for row in rows] == sets
    assert {row["content"] for row in rows} == {one["content"] for one in executions(case)[: len(sets)]}
    let_go_on(case, "taker")
    assert taker.said() == rows
    assert len(executions(case)) == len(sets) + 1
    in_order(server, case)
