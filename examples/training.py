"""A training that needs more time than its jobs have: it is killed three times, and goes on each time.

    python examples/training.py [FOLDER]

A logistic regression, trained by gradient descent in plain Python, stands for whatever takes a week. Every 50 steps it
saves its state into `params["checkpoint_dir"]`. A supervisor starts the job again and again, as a queue does, and kills
it each time when its walltime is over. What is lost each time are the steps since the last checkpoint, and no others.
"""

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from entropic import Base, Mapped, Store, outcome, report

EVERY = 50  # steps between two checkpoints
KILLED_AT = (137, 251, 389)  # the step at which each job's walltime is over
SET = {"rate": 0.5, "steps": 500}


class Training(Base):
    """What the table says of each training."""

    rate: Mapped[float]
    steps: Mapped[int]
    loss: Mapped[float] = outcome()


def save(state: dict, folder: Path) -> None:
    """Write beside the last checkpoint, then rename: a kill in between leaves the last one as it was."""
    new = folder / "state.json.new"
    new.write_text(json.dumps(state))
    os.replace(new, folder / "state.json")


def load(folder: Path) -> dict | None:
    """Return the state at the last checkpoint; None if there is none yet."""
    path = folder / "state.json"
    return json.loads(path.read_text()) if path.exists() else None


def train(params: dict) -> dict:
    """The runner: it goes on from the last checkpoint, if there is one."""
    folder = Path(params["checkpoint_dir"])
    state = load(folder) or {"step": 0, "weights": [0.0, 0.0, 0.0]}
    points = make_points()
    loss = math.nan
    while state["step"] < params["steps"]:
        loss, gradient = descend(state["weights"], points)
        state["weights"] = [w - params["rate"] * g for w, g in zip(state["weights"], gradient, strict=True)]
        state["step"] += 1
        took_a_step(state["step"])
        if state["step"] % EVERY == 0:
            save(state, folder)
        report(step=state["step"], total=params["steps"], loss=loss)
    return {"loss": loss, "weights": state["weights"]}


def make_points() -> list[tuple[float, float, int]]:
    """Return two clouds of points, the same in every job."""
    chance = random.Random(1)
    points = [(chance.gauss(side, 1.0), chance.gauss(-side, 1.0), side > 0) for side in (-1, 1) for _ in range(40)]
    return [(x, y, int(label)) for x, y, label in points]


def descend(weights: list[float], points: list[tuple[float, float, int]]) -> tuple[float, list[float]]:
    """Return the loss of a logistic regression, and its gradient."""
    a, b, c = weights
    loss, gradient = 0.0, [0.0, 0.0, 0.0]
    for x, y, label in points:
        chance = 1 / (1 + math.exp(-(a * x + b * y + c)))
        loss -= math.log(chance if label else 1 - chance) / len(points)
        for i, value in enumerate((x, y, 1.0)):
            gradient[i] += (chance - label) * value / len(points)
    return loss, gradient


# ---- the jobs, and who kills them ------------------------------------------------------------------------------------
walltime = 0  # the step at which this job will be killed; 0: never
steps_file = None  # where each step leaves a line, to be counted in the end


def took_a_step(step: int) -> None:
    """Leave a trace of a step; if the walltime is over by then, wait for what comes."""
    if steps_file is not None:
        with open(steps_file, "a") as file:
            file.write(f"{step}\n")
    time.sleep(0.002)  # a step of something larger
    if step == walltime:
        print("walltime", flush=True)
        time.sleep(600)  # far less is needed: the supervisor kills this job now


def open_store(folder: Path) -> Store[Training]:
    """Open the store; its runs have a `checkpoint_dir`."""
    return Store(train, Training, folder / "results", ".json", f"sqlite:///{folder}/runs.sqlite3", checkpoints=True)


def job(folder: Path, killed_at: int) -> None:
    """What the queue starts: it asks for the set, and does not care how far it is."""
    global walltime, steps_file
    walltime, steps_file = killed_at, folder / "steps.txt"
    row = open_store(folder).run_or_retrieve(SET)
    print(f"finished, with a loss of {row.loss:.4f}", flush=True)


def supervise(folder: Path) -> None:
    """Start the job until it ends by itself, then count its steps."""
    for killed_at in (*KILLED_AT, 0):
        process = subprocess.Popen(
            [sys.executable, __file__, "--job", str(folder), str(killed_at)], stdout=subprocess.PIPE, text=True
        )
        said = process.stdout.readline().strip()
        if said == "walltime":
            for reported in open_store(folder).status().reported.values():
                print(f"a job reports: {reported}")
            process.kill()
        process.wait()
        print(f"job: {said}, exit code {process.returncode}")
    steps = [int(line) for line in (folder / "steps.txt").read_text().split()]
    again = sorted({step for step in steps if steps.count(step) > 1})
    needed = [step for at in KILLED_AT for step in range(at // EVERY * EVERY + 1, at + 1)]
    assert sorted(set(steps)) == list(range(1, SET["steps"] + 1)), "no step is left out"
    assert again == needed, "only those after the last checkpoint were taken again"
    print(f"{SET['steps']} steps, {len(again)} of them twice: those after the last checkpoint before each kill")
    store = open_store(folder)
    (row,) = store.select()
    with tempfile.TemporaryDirectory() as other:
        assert store.load(row) == (whole := open_store(Path(other))).load(whole.run(SET)), "as without a kill"
    print(f"the result is that of a run without a kill; {store.check()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        job(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) > 1:
        supervise(Path(sys.argv[1]).absolute())
    else:
        with tempfile.TemporaryDirectory() as made:
            supervise(Path(made))
