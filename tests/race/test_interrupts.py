"""Ctrl-C at any moment, as in a notebook whose process goes on: the store goes on, too."""

import random
import signal
import time
from pathlib import Path

import pytest
from faults import touch
from harness import state_of, until
from peek import executions
from scenes import in_order

INTERRUPTS = 150


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("operation", ["run_or_retrieve", "run", "sweep"])
def test_a_store_goes_on_after_any_number_of_interrupts(server, case, operation):
    bear_interrupts(server, case, operation)


@pytest.mark.slow
@pytest.mark.only_on("postgresql", "mariadb")
@pytest.mark.parametrize("operation", ["run_or_retrieve", "run", "sweep"])
def test_a_store_on_a_server_goes_on_after_any_number_of_interrupts(server, case, operation):
    bear_interrupts(server, case, operation)


def bear_interrupts(server, case, operation):
    """Interrupt one call after another, and see that all is in order."""
    end, dice = f"{case}/end", random.Random(operation)
    child = server.start("racers:bear_interrupts", folder=case, operation=operation, until=end)
    asked = Path(case, "asked")
    until(asked.exists, "the first is there")
    for _ in range(INTERRUPTS):
        if state_of(child.pid) in ("Z", None):
            break
        child.signal(signal.SIGINT)
        time.sleep(dice.uniform(0.001, 0.03))
    asked.unlink()
    until(lambda: asked.exists() or state_of(child.pid) in ("Z", None), "it goes on")
    touch(end)
    said = child.said()
    assert not said["errors"], "\n".join(said["errors"])
    assert said["interrupts"] > 0
    assert said["asked"] > 0
    ran = executions(case)
    assert len({(one["id"], one["attempt"]) for one in ran}) == len(ran)
    in_order(server, case)
