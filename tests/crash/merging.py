"""What children do that merge: a store of a colleague, a merge that dies on its way, and the merge that follows."""

import os
from pathlib import Path

import faults
import work

from entropic.upkeep.recover import recover


def theirs(folder, **options):
    """Open the store of a colleague, whose database is a file."""
    url = f"sqlite:///{folder}/theirs.sqlite3?timeout=30"
    return work.Store(work.runner, work.Point, Path(folder, "theirs"), work.SUFFIX, url, **options)


def begin(folder, shape, many):
    """Let the colleague have some results, and this store one of its own."""
    work.behave(folder, shape=shape)
    theirs(folder).sweep([{"x": x} for x in range(1, many + 1)])
    work.store(folder).run_or_retrieve({"x": 0})


def merge(folder, files, fault=None, trace=None, gate=False):
    """Merge, until the end or the fault; at once with others, who wait at the gate."""
    mine, other = work.store(folder), theirs(folder, read_only=True)
    if fault or trace:
        faults.install(fault, trace)
    if gate:
        faults.touch(f"{folder}/ready-{os.getpid()}")
        faults.wait_for(f"{folder}/go")
    return told(mine.merge(other, files=files))


def told(done):
    return {"taken": done.taken, "same": done.same, "conflicts": [*map(str, done.conflicts)], "left": done.left}


def again(folder, shape, files):
    """Say what is there after a kill, merge, and say what is there then, and what the colleague has."""
    work.behave(folder, shape=shape)
    before = len(work.store(folder).select()) - 1
    return {"before": before, "done": merge(folder, files), **look(folder)}


def look(folder):
    """Open both stores as the next ones would, and say what they have, and what is in the folder of this one."""
    mine, other = work.store(folder), theirs(folder)
    recover(mine._context)
    checks = [str(report) for one in (mine, other) if not (report := one.check()).ok]
    names = sorted(name for name in os.listdir(mine.results_dir) if name != ".entropic")
    return {
        "check": checks,
        "names": names,
        "mine": {row.x: content(row) for row in mine.select() if row.x},
        "theirs": {row.x: content(row) for row in other.select()},
    }


def content(row):
    """Return what a merge must not change of a result."""
    seen = work.seen(row)
    return {"id": row.id, "made": str(row.created_at), **{name: seen[name] for name in ("content", "extras", "custom")}}
