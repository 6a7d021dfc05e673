"""What children do that give rows other keys: rows with old keys, a call that dies on its way, and the next one."""

import faults
import work

from entropic import key
from entropic.upkeep.recover import recover


def begin(folder, many):
    """Let a store have results under the keys that 2.3.0 gave to numbers of numpy, and one under its own."""
    work.behave(folder, shape="file+extra")
    store = work.store(folder)
    for x in range(1, many + 1):
        store.run_or_retrieve({"x": x, "id": key({"x": str(x)})})
    store.run_or_retrieve({"x": 0})
    return look(folder)


def rekey(folder, fault=None, trace=None):
    """Move them, until the end or the fault."""
    work.behave(folder, shape="file+extra")
    store = work.store(folder)
    if fault or trace:
        faults.install(fault, trace)
    done = store.rekey()
    both = [one.id for one in done.conflicts]
    return {"conflicts": [*map(str, done.conflicts)], "left": done.left, "both": both}


def again(folder):
    """Do what a dead call has left, and say what is there then: what was under both keys, moved once that is chosen."""
    first, store = rekey(folder), work.store(folder)
    for id in first["both"]:
        store.delete({"id": id}, remove_file=True)
    return {**rekey(folder), "both": len(first["both"]), **look(folder)}


def look(folder):
    """Say what is there, as the next store finds it."""
    store = work.store(folder)
    recover(store._context)
    names = [path.name for path in store.results_dir.iterdir() if path.name != ".entropic"]
    kept = ("content", "extras", "custom")
    rows = {row.x: [work.seen(row)[name] for name in kept] + [str(row.created_at)] for row in store.select()}
    ids = {row.x: row.id for row in store.select()}
    report = store.check()
    return {"rows": rows, "ids": ids, "names": len(names), "check": [] if report.ok else [str(report)]}
