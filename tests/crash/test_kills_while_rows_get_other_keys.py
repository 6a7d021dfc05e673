"""A call that gives rows other keys is killed at a step: the same call goes on, and each result is there."""

import pytest
from harness import settle
from judge import trace_of

from entropic import key

MANY = 2
BRING = {"target": "entropic.files.content:bring"}
STEPS = ["begin_first", "bring", "write", "fence", "place", "clean", "begin_delete", "delete_row", "commit_delete"]
STEPS += ["clear", "vacate"]


@pytest.mark.parametrize(
    ("when", "step"),
    [
        pytest.param(when, step, marks=() if (when, step) == ("before", "begin_delete") else pytest.mark.slow)
        for when, steps in (("before", STEPS), ("after", ["place", "commit_delete"]))
        for step in steps
    ],
)
def test_after_a_kill_at_a_step_the_same_call_goes_on(server, case, when, step):
    begun = server.start("rekeying:begin", folder=case, many=MANY).said()
    fault = {"step": step, "when": when, "do": "kill", **(BRING if step == "bring" else {})}
    victim = server.start("rekeying:rekey", folder=case, fault=fault, trace=f"{case}/trace")
    assert victim.status() == -9, f"not reached, or not killed:\n{victim.log()}"
    assert trace_of(case)[-1] == "struck"
    settle(case)
    seen = server.start("rekeying:again", folder=case).said()
    assert (seen["conflicts"], seen["left"], seen["check"]) == ([], [], [])
    assert seen["both"] <= 1, "only what was under way may be under both keys"
    assert seen["ids"] == {str(x): key({"x": x}) for x in range(MANY + 1)}
    assert (seen["rows"], seen["names"]) == (begun["rows"], begun["names"])
