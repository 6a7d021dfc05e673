"""A run fails: those who waited for it learn why, and do not repeat it. It is interrupted: somebody else runs it."""

import signal
import time

import pytest
from faults import touch
from harness import until
from peek import executions
from scenes import begin, begin_to_wait, in_order

WAITERS = 3


@pytest.mark.slow
def test_those_who_wait_for_a_run_that_fails_raise_its_failure_and_do_not_run_it(server, case):
    owner = begin(server, case, raises="there is no such thing")
    waiters = [begin_to_wait(server, case, name=f"waiter {number}") for number in range(WAITERS)]
    touch(f"{case}/go")
    assert owner.said()["error"]["type"] == "ValueError", "the runner's own error comes out of the owner's call"
    for waiter in waiters:
        error = waiter.said()["error"]
        assert error["type"] == "RunFailed"
        assert "ValueError: there is no such thing" in error["text"]
        failure = error["failure"]
        assert (failure["type"], failure["message"]) == ("ValueError", "there is no such thing")
        assert "work.py" in failure["traceback"]
        assert failure["pid"] == owner.pid
        assert 0 <= failure["elapsed_seconds"] < time.time() - failure["started_at"] + 1
    assert len(executions(case)) == 1

    later = server.start("racers:ask", folder=case).said()
    assert later["row"]["content"] == executions(case)[1]["content"], "a later call tries again"
    in_order(server, case)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Ctrl-C", "SystemExit"])
def test_somebody_who_waits_for_a_run_that_is_interrupted_runs_it_at_once(server, case, how):
    owner = begin(server, case, **({"exits": True} if how == "SystemExit" else {}))
    waiters = [begin_to_wait(server, case, name=f"waiter {number}") for number in range(WAITERS)]
    if how == "Ctrl-C":
        owner.signal(signal.SIGINT)
        assert owner.said()["error"]["type"] == "KeyboardInterrupt"
        assert len(executions(case)) >= 1
    touch(f"{case}/go")
    assert owner.said()["error"]["type"] in ("KeyboardInterrupt", "SystemExit")
    rows = [waiter.said()["row"] for waiter in waiters]
    ran = executions(case)
    assert len(ran) == 2, "one of those who waited ran it, the others got its row"
    assert all(row == rows[0] for row in rows)
    assert rows[0]["content"] == ran[1]["content"]
    assert ran[1]["pid"] in {waiter.pid for waiter in waiters}
    in_order(server, case)


@pytest.mark.slow
def test_a_failing_rerun_leaves_the_earlier_result_to_those_who_wait(server, case):
    earlier = server.start("racers:ask", folder=case).said()["row"]
    owner = begin(server, case, operation="run", raises="no")
    asked = server.start("racers:ask", folder=case).said()["row"]
    assert asked == earlier, "a re-run under way hides nothing"
    touch(f"{case}/go")
    assert owner.said()["error"]["type"] == "ValueError"
    assert server.start("racers:ask", folder=case).said()["row"] == earlier
    in_order(server, case)


@pytest.mark.slow
def test_an_owner_that_is_killed_while_its_failure_is_recorded_keeps_nobody_waiting(server, case):
    fault = {"step": "commit_failure", "when": "after", "do": "kill"}
    owner = server.start("racers:ask", folder=case, raises="no", fault=fault)
    until(lambda: owner.status() == -9, "it dies")
    row = server.start("racers:ask", folder=case).said()["row"]
    assert row["content"] == executions(case)[1]["content"]
    in_order(server, case)
