"""An environment of its own for each system that is not the project's, made on first use in `out/`.

So the project depends on none of them, and none of them can change what the project is measured with.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from catalog import Competitor

OUT = Path(__file__).parent / "out"


class Unavailable(Exception):
    """The environment could not be made; the message is the last that `venv` or pip had to say."""


def interpreter_of(system: Competitor) -> str:
    """The interpreter that has the system installed: the project's own, or one made for it."""
    if not system.requirements:
        return sys.executable
    return interpreter_in(OUT / system.name, [*system.requirements, *_as_in_project(system)])


def interpreter_in(folder: Path, wanted: Sequence[str]) -> str:
    """The interpreter of an environment in a folder that has what is wanted, made if there is none."""
    python = folder / "bin" / "python"
    made = folder / "made-of.txt"  # written last: half an environment is made again
    recipe = "\n".join([sys.version, *wanted])
    if not made.exists() or made.read_text() != recipe:
        print(f"making an environment in {folder} ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", *wanted])
        made.write_text(recipe)
    return str(python)


def version_of(system: Competitor, python: str) -> str:
    """The version of the system's package, as its own interpreter sees it."""
    return version_in(python, str(system.package))


def version_in(python: str, package: str) -> str:
    """The version of a package, as an interpreter sees it."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "?"


def _as_in_project(system: Competitor) -> list[str]:
    """What both must share, so that only the system itself differs."""
    pins = []
    for name in system.like_project:
        try:
            pins.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            pass  # the project lacks it here: the plain requirement stands
    return pins


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()
        raise Unavailable(said[-1])
