"""A project as it goes on: its script is edited between runs, copied and moved, and exactly what should run runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import sys
from pathlib import Path
from entropic import Base, Mapped, Store, added, expand_grid, removed, renamed


class Pendulum(Base):
    __tablename__ = "pendulums"

    length: Mapped[float]
    COLUMNS


def swing(params):
    Path("ran.log").open("a").write(" ".join(f"{name}={params[name]}" for name in NAMES) + "\\n")
    return {"angle": params["length"]}


if __name__ == "__main__":
    store = Store(swing, Pendulum, "results", ".json", URL, on_stale="ignore")
    rows = store.sweep(expand_grid(GRID))
    assert store.check().ok
    print(*(row.id for row in rows))
    if len(sys.argv) > 1:
        store.copy_to(sys.argv[1])
"""
LENGTHS = {"length": [0.5, 1.0]}


class Project:
    """A folder with a script, which is edited and run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, "sqlite:///db.sqlite3"
        folder.mkdir(exist_ok=True)

    def run(self, columns: str, grid: dict[str, Any], *arguments: str) -> tuple[list[str], list[str]]:
        """Write the script so, run it, and return the keys of its rows, and what its runner was given."""
        names = sorted(
            {*grid, *(line.partition(":")[0] for line in columns.split("; ") if "removed" not in line)} - {""}
        )
        script = SCRIPT.replace("COLUMNS", columns.replace("; ", "\n    ") or "pass").replace("NAMES", repr(names))
        script = script.replace("URL", repr(self.url)).replace("GRID", repr(grid))
        (self.folder / "study.py").write_text(textwrap.dedent(script))
        log = self.folder / "ran.log"
        log.unlink(missing_ok=True)
        done = subprocess.run([sys.executable, "study.py", *arguments], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), log.read_text().splitlines() if log.exists() else []


@pytest.mark.slow
def test_a_model_gains_two_parameters_and_loses_one_while_the_project_moves(make_place: Any, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    first, ran = project.run("", LENGTHS)
    assert ran == ["length=0.5", "length=1.0"]

    solver = 'solver: Mapped[str] = added("rk4")'
    assert project.run(solver, LENGTHS) == (first, [])
    keys, ran = project.run(solver, {**LENGTHS, "solver": ["rk4", "euler"]})
    assert (keys[::2], ran) == (first, ["length=0.5 solver=euler", "length=1.0 solver=euler"])
    euler = keys[1::2]

    both = f"{solver}; depth: Mapped[int | None] = added(None)"
    assert project.run(both, {**LENGTHS, "solver": ["rk4", "euler"]}) == (keys, [])
    deep, ran = project.run(both, {**LENGTHS, "depth": [3]})
    assert ran == ["depth=3 length=0.5 solver=rk4", "depth=3 length=1.0 solver=rk4"]

    project.folder.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copy")
    for name in ("moved", "copy"):
        assert Project(tmp_path / name).run(both, {**LENGTHS, "depth": [None, 3]})[1] == []

    project = Project(tmp_path / "copy")
    with make_place(tmp_path) as place:
        project.run(both, LENGTHS, place.url)
        project.url = place.url
        assert project.run(both, {**LENGTHS, "solver": ["rk4", "euler"]}) == (keys, [])
        lost = both.replace('added("rk4")', 'removed("euler", added="rk4")')
        assert project.run(lost, LENGTHS) == (euler, [])
        called = lost.replace("depth:", "levels:").replace("added(None)", 'renamed("depth", added=None)')
        assert project.run(called, {**LENGTHS, "levels": [None, 3]})[1] == [
            "length=0.5 levels=3",
            "length=1.0 levels=3",
        ]
        assert project.run(both, {**LENGTHS, "depth": [3]}) == (deep, [])
