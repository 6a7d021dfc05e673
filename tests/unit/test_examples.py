"""The examples run, show what they say, and run nothing the second time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, folder: Path) -> tuple[str, dict[str, int]]:
    """Run an example; return what it says, and when each of its results was written."""
    command, env = (
        [sys.executable, "-W", "error::UserWarning", EXAMPLES / name],
        {**os.environ, "MPLCONFIGDIR": str(folder)},
    )
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, {str(path): path.stat().st_mtime_ns for path in folder.glob("*/results/[!.]*")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "needs", "count", "said"),
    [("digits.py", ["sklearn", "matplotlib"], 60, "accuracy"), ("pendulum.py", ["scipy"], 10, "evaluations")],
)
def test_an_example_runs_and_the_second_time_reuses(
    tmp_path: Path, name: str, needs: list[str], count: int, said: str
) -> None:
    for module in needs:
        pytest.importorskip(module)
    told, results = run(name, tmp_path)
    assert said in told
    assert len(results) == count
    assert run(name, tmp_path) == (told, results)
    if name == "digits.py":
        assert (tmp_path / "digits" / "map.png").stat().st_size > 1_000
