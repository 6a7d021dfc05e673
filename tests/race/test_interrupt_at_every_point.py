"""Ctrl-C at every point of every call at which Python looks for signals, and a second one in the tidying up."""

import pytest

PARTS = {"hit": 1, "retrieve": 1, "select": 4, "miss": 16, "forced run": 24, "sweep": 64, "gc": 24}
QUICK = {case: {3} if parts > 4 else set(range(parts)) for case, parts in PARTS.items()}
ALL = {**PARTS, "register": 16, "delete": 16}


def plays():
    """Return each case in parts, of which one, or all of a short one, is quick."""
    for case, parts in ALL.items():
        for part in range(parts):
            # A sample in CI, all of it after a change to what is interrupted.
            marks = () if part in QUICK.get(case, {3}) else pytest.mark.slow if part % 8 == 0 else pytest.mark.long
            yield pytest.param(case, part, parts, marks=marks, id=f"{case}-{part}")


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize(("case", "part", "parts"), list(plays()))
def test_after_an_interrupt_at_any_point_all_is_as_if_the_call_had_ended(server, new_case, case, part, parts):
    folder = new_case()
    said = server.start("points:interrupt_each", folder=folder, case=case, part=part, parts=parts).said()
    assert said["played"] > 0
    assert not said["faults"], "\n".join(said["faults"])


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("second", [1, 2, pytest.param(5, marks=pytest.mark.slow), 9, *range(20, 60, 13)])
@pytest.mark.each("case")
@pytest.mark.parametrize("case", ["miss", pytest.param("sweep", marks=pytest.mark.slow)])
def test_a_second_interrupt_while_the_first_is_tidied_up_leaves_nothing_either(server, new_case, case, second):
    folder = new_case()
    said = server.start(
        "points:interrupt_each", folder=folder, case=case, second=second, part=second % 12, parts=12
    ).said()
    assert said["played"] > 0
    assert not said["faults"], "\n".join(said["faults"])


@pytest.mark.slow
@pytest.mark.only_on("postgresql", "mariadb")
@pytest.mark.each("second")
@pytest.mark.parametrize("second", [0, 4])
@pytest.mark.parametrize("part", range(4))
def test_on_a_server_nothing_is_left_either(server, new_case, part, second):
    folder = new_case()
    said = server.start("points:interrupt_each", folder=folder, case="miss", second=second, part=part, parts=4).said()
    assert said["played"] > 0
    assert not said["faults"], "\n".join(said["faults"])


@pytest.mark.slow
@pytest.mark.only_on("postgresql", "mariadb")
@pytest.mark.each("answer")
@pytest.mark.parametrize("answered", [False, True], ids=["before an answer", "after an answer"])
@pytest.mark.parametrize("answer", range(4))
def test_a_second_interrupt_leaves_no_session_that_holds_a_lock(server, case, answer, answered):
    said = server.start("points:interrupt_each_end", folder=case, answer=answer, answered=answered).said()
    assert not said["faults"], "\n".join(said["faults"])
    assert said["interrupts"] > 10
