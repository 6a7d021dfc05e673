"""What children do that import: a tree of files, an import that dies on its way, and the import that follows."""

from pathlib import Path

import faults
import work

from entropic.upkeep.recover import recover


def begin(folder, many):
    """Let something else have made some results, and this store one of its own."""
    work.behave(folder, shape="file")
    for x in range(1, many + 1):
        path = Path(folder, "runs", f"x={x}", f"out{work.SUFFIX}")
        path.parent.mkdir(parents=True)
        path.write_text(f"made elsewhere of {x}")
    work.store(folder).run_or_retrieve({"x": 0})


def bring_in(folder, files, fault=None, trace=None):
    """Import, until the end or the fault."""
    store = work.store(folder)
    if fault or trace:
        faults.install(fault, trace)
    done = store.import_results(f"{folder}/runs/x={{x}}/out{work.SUFFIX}", files=files)
    return {"taken": len(done.taken), "same": done.same, "conflicts": [*map(str, done.conflicts)], "left": done.left}


def again(folder, files):
    """Say what is there after a kill, import, and say what is there then."""
    work.behave(folder, shape="file")
    before = len(work.store(folder).select()) - 1
    done = bring_in(folder, files)
    store = work.store(folder)
    recover(store._context)
    rows = {row.x: Path(row.result_file).read_text() for row in store.select() if row.x}
    names = [path.name for path in store.results_dir.iterdir() if path.name != ".entropic"]
    report = store.check()
    return {
        "before": before,
        "done": done,
        "rows": rows,
        "names": len(names),
        "check": "" if report.ok else str(report),
    }
