"""The protocol of docs/protocol.md holds in every interleaving, and the checker sees every known flaw."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("protocol_model.py")
sys.path.insert(0, str(MODEL.parent))

import protocol_model as model  # noqa: E402  (it is a program of its own, beside this file)

SMALL = [sc for sc in model.SCENARIOS if sum(map(len, sc.ops)) <= 2 and sum(sc[2:9]) + sc.intr <= 2]


@pytest.mark.parametrize("scenario", SMALL, ids=str)
def test_no_interleaving_of_a_small_scenario_breaks_the_protocol(scenario):
    states, steps, trace = model.Model(scenario).check()
    assert trace == []
    assert steps > states > 20


@pytest.mark.parametrize("flaw", ["commit-first", "no-adopt", "unlocked-look", "rename-outside", "clean-first"])
def test_the_checker_sees_a_flaw(flaw):
    assert any(model.Model(scenario, flaw).check()[2] for scenario in model.SCENARIOS)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_interleaving_of_any_scenario_breaks_the_protocol():
    done = subprocess.run([sys.executable, MODEL], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("PASS")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_checker_sees_every_known_flaw():
    done = subprocess.run([sys.executable, MODEL, "--broken", "all"], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 1, done.stdout
    assert "NOT DETECTED" not in done.stdout
