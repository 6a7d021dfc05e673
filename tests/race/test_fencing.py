"""An owner on another machine is taken for dead when its lease ends, and may wake up at any moment after that.

Another machine is played by a process with another boot id.
"""

import os

import pytest
from faults import touch
from harness import until
from peek import executions, place_of
from scenes import begin, begin_to_wait, in_order

LEASE = {"lease": 0.5}
FAR = {"elsewhere": "0badcafe", "options": LEASE}


def asleep(server, case, **more):
    """Start an owner far away, and stop it while its runner runs."""
    owner = begin(server, case, **FAR, **more)
    owner.sleep()
    return owner


def lease_until(case):
    ((ends,),) = place_of(case).fetch("SELECT lease_until FROM entropic_ledger")
    return ends


def end_lease(case):
    """Let the lease of an owner that sleeps end now."""
    place_of(case).execute("UPDATE entropic_ledger SET lease_until = lease_until - 3600")


@pytest.mark.slow
@pytest.mark.each("operation")
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
@pytest.mark.parametrize("operation", ["run_or_retrieve", "run"])
def test_an_owner_that_wakes_up_after_it_was_replaced_returns_the_newer_result(server, case, shape, operation):
    if operation == "run":
        server.start("racers:ask", folder=case, shape=shape).said()
    owner = asleep(server, case, shape=shape, operation=operation)
    newer = server.start("racers:ask", folder=case, shape=shape, operation=operation, options=LEASE).said()["row"]
    assert newer["content"] == executions(case)[-1]["content"]
    touch(f"{case}/go")
    owner.wake()
    assert owner.said()["row"] == newer
    assert server.start("racers:ask", folder=case, shape=shape).said()["row"] == newer
    assert len(executions(case)) == (2 if operation == "run_or_retrieve" else 3)
    in_order(server, case)


@pytest.mark.slow
def test_somebody_who_waits_for_an_owner_far_away_takes_over_when_its_lease_ends(server, case):
    owner = begin(server, case, elsewhere="0badcafe", options={"lease": 600.0})
    waiter = begin_to_wait(server, case)
    owner.sleep()
    end_lease(case)
    assert waiter.said()["row"]["content"] == executions(case)[1]["content"]
    touch(f"{case}/go")
    owner.wake()
    assert owner.said()["row"]["content"] == executions(case)[1]["content"]
    in_order(server, case)


@pytest.mark.slow
def test_an_owner_whose_lease_ended_publishes_its_result_if_nobody_replaced_it(server, case):
    owner = asleep(server, case)
    end_lease(case)
    touch(f"{case}/go")
    owner.wake()
    (ran,) = executions(case)
    assert owner.said()["row"]["content"] == ran["content"]
    in_order(server, case)


@pytest.mark.slow
def test_heartbeats_keep_an_owner_far_away_alive_beyond_its_lease(server, case):
    owner = begin(server, case, elsewhere="0badcafe", options={"lease": 6.0})
    first = lease_until(case)
    waiter = begin_to_wait(server, case)
    until(lambda: lease_until(case) > first + 6.0, "its lease has been renewed for longer than a lease")
    touch(f"{case}/go")
    assert owner.said()["row"] == waiter.said()["row"]
    assert len(executions(case)) == 1
    in_order(server, case)


# Where an owner can be stopped without the lock that others then wait for.
STOPS = [("before", step) for step in ("start", "execute", "lift", "describe", "create", "write", "publish", "clean")]
STOPS += [("after", step) for step in ("execute", "lift", "create", "write")]


@pytest.mark.slow
@pytest.mark.each("when", "step")
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
@pytest.mark.parametrize("history", ["first", "again"])
@pytest.mark.parametrize(("when", "step"), STOPS, ids=" ".join)
def test_an_owner_that_stops_anywhere_and_wakes_up_late_changes_nothing(server, case, when, step, history, shape):
    operation = "run_or_retrieve" if history == "first" else "run"
    if history == "again":
        server.start("racers:ask", folder=case, shape=shape).said()
    fault = {"step": step, "when": when, "do": "stop"}
    owner = server.start("racers:ask", folder=case, shape=shape, operation=operation, fault=fault, **FAR)
    owner.await_stop()
    ran = len(executions(case))
    newer = server.start("racers:ask", folder=case, shape=shape, operation="run", options=LEASE).said()["row"]
    assert len(executions(case)) == ran + 1, "forced"
    owner.wake()
    row = owner.said()["row"]
    assert row == newer or step == "clean", "there it had published before, and may return what it published"
    assert server.start("racers:ask", folder=case, shape=shape).said()["row"] == newer
    woken_too_early_to_run = (when, step) in [("before", "start"), ("before", "execute")]
    assert len(executions(case)) == ran + 1 + woken_too_early_to_run
    assert newer["content"] == executions(case)[ran]["content"]
    in_order(server, case)


@pytest.mark.slow
@pytest.mark.each("step")
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
@pytest.mark.parametrize("step", ["write", "publish"])
def test_a_finished_run_of_a_sleeping_owner_is_published_by_whoever_asks(server, case, step, shape):
    when = "after" if step == "write" else "before"
    fault = {"step": step, "when": when, "do": "stop"}
    owner = server.start("racers:ask", folder=case, shape=shape, fault=fault, **FAR)
    owner.await_stop()
    helped = server.start("racers:ask", folder=case, shape=shape, options=LEASE).said()["row"]
    (ran,) = executions(case)
    assert helped["content"] == ran["content"]
    owner.wake()
    assert owner.said()["row"] == helped
    in_order(server, case)


@pytest.mark.slow
@pytest.mark.each("step")
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
@pytest.mark.parametrize("step", ["finish_delete", "clear", "spend", "vacate"])
def test_a_delete_that_wakes_up_late_does_not_take_the_next_result_away(server, case, step, shape):
    server.start("racers:ask", folder=case, shape=shape).said()
    fault = {"step": step, "when": "before", "do": "stop"}
    deleter = server.start("racers:ask", folder=case, operation="delete file", shape=shape, fault=fault)
    deleter.await_stop()
    row = server.start("racers:ask", folder=case, shape=shape).said()["row"]
    assert row["content"] == executions(case)[1]["content"]
    deleter.wake()
    assert deleter.said()["row"] is True
    assert os.path.exists(row["file"])
    assert server.start("racers:ask", folder=case, shape=shape).said()["row"] == row
    in_order(server, case)
