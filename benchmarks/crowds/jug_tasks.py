"""jug: a task for each set, made before the clock starts, and executed as `jug execute` does it in every process."""

from __future__ import annotations

from pathlib import Path

import jug
from jug.jug import execution_loop
from jug.options import parse

from crowds.logged import compute
from experiment import Params


def experiment(n: int, dt: float, name: str) -> bytes:
    return compute(n)


class Crowd:
    """Tasks whose results are files."""

    def __init__(self, folder: Path, url: str, sets: list[Params], member: int) -> None:
        jug.set_jugdir(str(folder / "jugdata"))
        self.tasks = [jug.Task(experiment, **params) for params in sets]
        self.options = parse(["execute"])

    def prepare(self) -> None:
        """Opening it has made its folder."""

    def take_part(self) -> None:
        execution_loop(list(self.tasks), self.options)

    def results(self) -> list[bytes]:
        return [jug.value(task) for task in self.tasks]
