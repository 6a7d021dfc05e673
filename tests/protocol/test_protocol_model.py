"""The protocol of docs/protocol.md holds in every interleaving, and the checker sees every known flaw.

Scenario by scenario and flaw by flaw, so that all of pytest's processes share the work.
"""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("protocol_model.py")
sys.path.insert(0, str(MODEL.parent))

import protocol_model as model  # noqa: E402  (it is a program of its own, beside this file)

SMALL = [sc for sc in model.SCENARIOS if sum(map(len, sc.ops)) <= 2 and sum(sc[2:9]) + sc.intr <= 2]
LARGE = [sc for sc in model.SCENARIOS if sc not in SMALL]
LESSENED = [sc for sc in model.LESSENED if sc not in SMALL]


@pytest.fixture(autouse=True)
def no_cycles():
    """Millions of small tuples, no cycles: as the program does, and twice as quick."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("scenario", SMALL, ids=str)
def test_no_interleaving_of_a_small_scenario_breaks_the_protocol(scenario):
    states, steps, trace = model.Model(scenario).check()
    assert trace == []
    assert steps > states > 20


# Every two misfortunes together, of each scenario. The whole of the large ones takes ten times as long.
@pytest.mark.parametrize(
    "scenario",
    [pytest.param(sc, marks=pytest.mark.long if i % 5 else pytest.mark.slow) for i, sc in enumerate(LESSENED)],
    ids=str,
)
def test_no_interleaving_of_two_misfortunes_breaks_the_protocol(scenario):
    states, steps, trace = model.Model(scenario).check()
    assert trace == []
    assert steps > states > 5, "even where both only find what is there"


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", LARGE, ids=str)
def test_no_interleaving_of_a_large_scenario_breaks_the_protocol(scenario):
    states, steps, trace = model.Model(scenario).check()
    assert trace == []
    assert steps > states > 20


@pytest.mark.parametrize("flaw", model.BROKEN)
def test_the_checker_sees_a_flaw(flaw):
    where, *_ = model.run_all(flaw, verbose=False)
    assert where == f"in {model.SHOWN_IN.get(flaw, where[3:-1])}:"


@pytest.mark.slow
def test_the_program_says_what_it_found():
    done = subprocess.run([sys.executable, MODEL, "--broken", "bare-unlink"], capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    assert done.stdout.splitlines()[-1] == "FAIL"
