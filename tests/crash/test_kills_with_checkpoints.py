"""A run with checkpoints is killed at every step that has to do with them: nothing is done twice, and nothing lost."""

import pytest
from judge import trace_of
from peek import executions

# What keeps checkpoints is the same on every database; so are these steps.
pytestmark = pytest.mark.only_on("sqlite")

RMTREE = {"step": "rmtree", "target": "shutil:rmtree"}
POINTS = [
    *[({"step": "resume"}, when) for when in ("before", "after")],
    *[({"step": "execute"}, when) for when in ("before", "after")],
    ({"step": "lift"}, "after"),
    *[({"step": "create"}, when) for when in ("before", "after")],
    ({"step": "write"}, "after"),
    ({"step": "fence"}, "after"),
    *[({"step": "place"}, when) for when in ("before", "after")],
    *[({"step": "clean"}, when) for when in ("before", "after")],
    *[({"step": "discard_checkpoints"}, when) for when in ("before", "after")],
    *[(RMTREE, when) for when in ("before", "after")],
]


QUICK = ("resume", "discard_checkpoints")


def matrix():
    for fault, when in POINTS:
        marks = () if fault["step"] in QUICK else pytest.mark.slow
        yield pytest.param(fault, when, marks=marks, id=f"{when} {fault['step']}")


def done(case):
    return [one["step"] for one in executions(case)]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "when"), list(matrix()))
def test_after_a_kill_at_any_step_the_next_process_goes_on_from_the_last_checkpoint(server, case, fault, when):
    server.start("training:train", folder=case, operation="run_or_retrieve", raises=2).said()
    strike = {**fault, "when": when, "nth": 1, "do": "kill"}
    call = {"folder": case, "operation": "run_or_retrieve", "raises": 0}
    victim = server.start("training:train", **call, fault=strike, trace=f"{case}/trace")
    assert victim.status() == -9, f"not reached, or not killed:\n{victim.log()}"
    assert trace_of(case)[-1] == "struck"
    assert server.start("training:train", **call).said() == ["done\n"]
    assert done(case) == [1, 2, 3, 4]
    assert server.start("training:look", folder=case).said() == {"left": [], "check": ""}


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["run_or_retrieve", "sweep"])
def test_a_run_that_is_killed_again_and_again_ends_with_no_step_done_twice(server, case, operation):
    for step in (1, 2, 3, 4):
        victim = server.start("training:train", folder=case, operation=operation, dies=step)
        assert victim.status() == -9, victim.log()
        said = server.start("training:look", folder=case).said()
        assert (len(said["left"]), "checkpoint" in said["check"]) == (1, False)
    assert server.start("training:train", folder=case, operation=operation, dies=0).said() == ["done\n"]
    assert done(case) == [1, 2, 3, 4]
    assert server.start("training:look", folder=case).said() == {"left": [], "check": ""}


@pytest.mark.slow
def test_a_forced_run_that_is_killed_has_begun_anew_and_so_does_the_next_one(server, case):
    server.start("training:train", folder=case, operation="run_or_retrieve", raises=3).said()
    assert server.start("training:train", folder=case, operation="run", raises=0, dies=2).status() == -9
    assert done(case) == [1, 2, 3, 1, 2]
    server.start("training:train", folder=case, operation="run", raises=0, dies=0).said()
    assert done(case) == [1, 2, 3, 1, 2, 1, 2, 3, 4]
    assert server.start("training:look", folder=case).said() == {"left": [], "check": ""}
