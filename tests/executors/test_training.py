"""The example of a training that is killed three times; it counts its own steps."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "training.py"


@pytest.mark.slow
def test_a_training_that_is_killed_three_times_repeats_no_step_before_its_last_checkpoint(tmp_path):
    done = subprocess.run([sys.executable, EXAMPLE, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("exit code -9") == 3
    assert "500 steps, 77 of them twice" in done.stdout
    assert "that of a run without a kill; 1 row, all in order" in done.stdout
