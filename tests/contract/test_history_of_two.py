"""A study of two people as it goes on: code and models are edited, projects copied, moved to a server and merged.

At each step exactly what should run runs. Scripts are edited and started as people do it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

STUDY = """
import json, sys
from pathlib import Path
from entropic import Base, Mapped, Store, added, expand_grid, removed, renamed, retyped
from helpers import swing

OURS = ("id", "result_file", "custom_data")

class Pendulum(Base):
    __tablename__ = "pendulums_of_two"

    COLUMNS


def run(params):
    with open("ran.log", "a") as log:
        log.write(json.dumps({name: params[name] for name in sorted(params) if name not in OURS}) + "\\n")
    return {"angle": swing(params["length"])}


store = Store(run, Pendulum, "results", ".json", URL, on_stale=ON_STALE)

if __name__ == "__main__":
    rows = store.sweep(expand_grid(GRID))
    assert store.check().ok, str(store.check())
    print(json.dumps([store.load(row)["angle"] for row in rows]))
    for url in sys.argv[1:]:
        store.copy_to(url)
"""
HELPERS = "def swing(length):\n    return length * 10\n"
COMMENT = "# Of the small angles.\n\n\ndef swing(length):\n    # in degrees\n    return length*10\n"
MENDED = "def swing(length):\n    return length * 20\n"


class Project:
    """A folder with a script, a module beside it, a database and results."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url, self.columns, self.helpers = folder, "sqlite:///db.sqlite3", "length: Mapped[int]", ""
        folder.mkdir(exist_ok=True)

    def write(self, grid: dict[str, Any], on_stale: str = "error") -> None:
        """Write the files as they are now."""
        told = {"COLUMNS": self.columns.replace("; ", "\n    "), "GRID": repr(grid)}
        told |= {"URL": repr(self.url), "ON_STALE": repr(on_stale)}
        script = STUDY
        for name, text in told.items():
            script = script.replace(name, text)
        (self.folder / "study.py").write_text(script)
        (self.folder / "helpers.py").write_text(self.helpers)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Start a program in the folder."""
        done = subprocess.run([sys.executable, "-B", *words], cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def run(self, grid: dict[str, Any], *urls: str, on_stale: str = "error") -> tuple[list[float], list[Any], str]:
        """Write and start the script; return the angles, what its runner was given, and what was said."""
        self.write(grid, on_stale)
        log = self.folder / "ran.log"
        log.unlink(missing_ok=True)
        done = self.call("study.py", *urls)
        ran = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return json.loads(done.stdout), ran, done.stderr


@pytest.mark.slow
@pytest.mark.only_on("postgresql")
def test_exactly_what_should_run_runs(make_place: Any, tmp_path: Path) -> None:
    ann = Project(tmp_path / "ann")
    ann.helpers = HELPERS
    assert ann.run({"length": [1, 2]}) == ([10, 20], [{"length": 1}, {"length": 2}], "")

    # A comment is added and the helper is laid out in another way; then a fault in it is mended.
    ann.helpers = COMMENT
    assert ann.run({"length": [1, 2]}) == ([10, 20], [], "")
    ann.helpers = MENDED
    angles, ran, said = ann.run({"length": [1, 2]}, on_stale="warn")
    assert (angles, ran) == ([10, 20], [])
    assert "2 stored results of Pendulum were made by different code: swing changed" in said
    assert ann.run({"length": [1, 2]}, on_stale="rerun")[:2] == ([20, 40], [{"length": 1}, {"length": 2}])

    # A colleague gets a copy, and goes on with it.
    shutil.copytree(ann.folder, tmp_path / "bob")
    bob = Project(tmp_path / "bob")
    bob.helpers = MENDED
    assert bob.run({"length": [2, 3]}) == ([40, 60], [{"length": 3}], "")

    # The model gains two parameters, and the project goes to a server.
    ann.columns += '; solver: Mapped[str] = added("rk4"); depth: Mapped[int | None] = added(None)'
    assert ann.run({"length": [1, 2]}) == ([20, 40], [], "")
    euler = [{"length": 1, "solver": "euler", "depth": None}]
    assert ann.run({"length": [1], "solver": ["rk4", "euler"]}) == ([20, 20], euler, "")
    with make_place(tmp_path) as place:
        ann.run({"length": [1]}, place.url)
        ann.url = place.url
        assert ann.run({"length": [1, 2], "solver": ["rk4"]}) == ([20, 40], [], "")

        # What the colleague has is taken in; his model has gained nothing.
        ann.call("-m", "entropic", "merge", "study.py:store", "--from", f"sqlite:///{bob.folder}/db.sqlite3", "--yes")
        assert ann.run({"length": [1, 2, 3]}) == ([20, 40, 60], [], "")

        # Lengths become floats, one parameter goes, and the other gets another name.
        ann.columns = ann.columns.replace("length: Mapped[int]", "length: Mapped[float] = retyped(int)")
        half = [{"length": 1.5, "solver": "rk4", "depth": None}]
        assert ann.run({"length": [1.0, 1.5, 3.0]}) == ([20, 30, 60], half, "")
        ann.columns = ann.columns.replace('added("rk4")', 'removed("rk4", added="rk4")')
        assert ann.run({"length": [1, 1.5, 2, 3.0]}) == ([20, 30, 40, 60], [], "")
        ann.columns = ann.columns.replace("depth:", "levels:").replace("added(None)", 'renamed("depth", added=None)')
        deep = [{"length": 2.0, "levels": 3}]
        assert ann.run({"length": [2.0], "levels": [None, 3]}) == ([40, 40], deep, "")

        # The folder is moved, and nothing of all that runs again.
        ann.folder = ann.folder.rename(tmp_path / "moved")
        assert ann.run({"length": [1.0, 1.5, 2.0, 3.0]}) == ([20, 30, 40, 60], [], "")
        assert bob.run({"length": [1, 2, 3]}) == ([20, 40, 60], [], "")
