"""What children do that keep checkpoints: a run of four steps, each of which leaves a trace when it is done."""

import os
import signal
from pathlib import Path

import faults
import work

from entropic.upkeep.recover import recover

STEPS = 4
how = {}


def runner(params):
    """Count to four, and keep how far it is, by a rename, after each step; fail or die behind one, if it is told to."""
    state = Path(params["checkpoint_dir"], "step")
    step = int(state.read_text()) if state.exists() else 0
    while step < STEPS:
        step += 1
        new = state.with_suffix(".new")
        new.write_text(str(step))
        work.note(Path(how["folder"]), step=step)
        os.rename(new, state)
        if step == how.get("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == how.get("raises"):
            raise ValueError("made by the test")
    Path(params["result_file"]).write_text("done\n")


def store(folder):
    url = work.place_of(folder).with_options(timeout=30)
    return work.Store(runner, work.Point, Path(folder, "results"), work.SUFFIX, url, checkpoints=True)


def train(folder, operation, fault=None, trace=None, **behaviour):
    """Run until the end, or the fault."""
    how.update(behaviour, folder=folder)
    work.steadily()
    made = store(folder)
    faults.install(fault, trace)
    try:
        rows = made.sweep([{"x": 1}]) if operation == "sweep" else [getattr(made, operation)({"x": 1})]
    except ValueError:
        return None
    return [Path(row.result_file).read_text() for row in rows]


def look(folder):
    """Open the store, as the next one would, and say what is left."""
    made = store(folder)
    recover(made._context)
    kept = Path(made._context.staging.root, "checkpoints")
    left = sorted(os.listdir(kept)) if kept.exists() else []
    report = made.check()
    return {"left": left, "check": "" if report.ok else str(report)}
