"""The store used in the middle of its own calls, as by a signal handler or `__del__`: neither spoils the other."""

import pytest

# In how many parts each is played, of which one is quick. What is short is played whole.
CASES = {"hit": 1, "retrieve": 1, "select": 1, "miss": 32, "forced run": 48, "sweep": 96, "register": 24, "delete": 24}


@pytest.mark.slow
@pytest.mark.each("case")
@pytest.mark.parametrize("use", ["reads", "runs another", "runs the same"])
@pytest.mark.parametrize("case", CASES)
def test_a_call_and_what_uses_the_store_in_its_midst_both_come_out_right(server, new_case, case, use):
    folder = new_case()
    said = server.start(
        "points:reenter_each", folder=folder, case=case, use=use, part=CASES[case] // 2, parts=CASES[case]
    ).said()
    assert said["played"] > 0
    assert not said["faults"], "\n".join(said["faults"])


@pytest.mark.long
@pytest.mark.parametrize("use", ["reads", "runs another", "runs the same"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("part", range(4))
def test_so_they_do_at_every_point(server, new_case, part, case, use):
    folder = new_case()
    said = server.start("points:reenter_each", folder=folder, case=case, use=use, part=part, parts=4).said()
    assert not said["faults"], "\n".join(said["faults"])


@pytest.mark.slow
@pytest.mark.each("case")
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("use", ["reads", "runs another", "runs the same"])
@pytest.mark.parametrize("case", ["select", "miss", "delete"])
def test_so_they_do_in_memory(server, new_case, case, use):
    folder = new_case()
    said = server.start(
        "points:reenter_each", folder=folder, case=case, use=use, part=0, parts=max(1, CASES[case] // 4), in_memory=True
    ).said()
    assert not said["faults"], "\n".join(said["faults"])


@pytest.mark.slow
def test_a_signal_handler_and_a_finalizer_that_read_the_store_disturb_nothing(server, case):
    said = server.start("points:be_signalled", folder=case).said()
    assert said["handled"] > 20
    assert said["finalized"] > 20
    assert not said["faults"], "\n".join(said["faults"])
