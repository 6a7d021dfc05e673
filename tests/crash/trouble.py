"""Children that meet a full disk, a folder that they cannot write, or a database that somebody else has locked."""

import contextlib
import gc
import os
import resource
import sqlite3
import tempfile
import time
import traceback
import warnings

import disks
import work

# What comes with the first result, and with `check`: maybe from where nobody may read.
import entropic.formats.catalogue
import entropic.upkeep.repair  # noqa: F401
from entropic import EntropicError

NOBODY = 65534


def limit(size):
    """Let no file of this process grow beyond `size` bytes; a write fails with EFBIG, as with ENOSPC on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def fill(folder, call, before=None, within=None, during=0, size=0, custom=0, sets=1):
    """Make a call with a limit on file sizes, `before` it, or `within`: from the end of the first execution on.

    With `during`, that one's beginning, as a number, is when the limit comes. The results have `size` more bytes,
    the row `custom` more.
    """
    work.behave(folder)
    made = work.store(folder)
    write = made._context.runner

    def runner(params):
        began.append(params)
        if len(began) == during:
            limit(within)
        write(params)
        with open(params["result_file"], "ab") as file:
            file.write(b" " * size)
        if within is not None and not during:
            limit(within)

    began = []
    object.__setattr__(made._context, "runner", runner)
    if before is not None:
        limit(before)
    try:
        if call == "sweep":
            made.sweep([{"x": x} for x in range(1, sets + 1)])
        else:
            getattr(made, call)({"x": 1}, **({"ballast": "b" * custom} if custom else {}))
    except Exception as error:
        return said_of(error)
    finally:
        limit(resource.RLIM_INFINITY)
    return None


def crowd(folder, full, call, shape="file", sets=1, before=False):
    """Make a call whose first run fills the disk of the folder `full`, once it has written its result."""
    work.behave(folder, shape=shape)
    made = work.store(folder)
    write = made._context.runner

    def runner(params):
        write(params)
        if not os.path.exists(os.path.join(full, "ballast")):
            disks.fill(full)

    object.__setattr__(made._context, "runner", runner)
    if before:
        disks.fill(full)
    try:
        if call == "sweep":
            rows = list(made.sweep([{"x": x} for x in range(1, sets + 1)]))
        else:
            rows = [getattr(made, call)({"x": 1})]
    except Exception as error:
        return {"error": said_of(error), "rows": []}
    return {"error": None, "rows": [work.seen(row) for row in rows]}


def said_of(error):
    kind = "ours" if isinstance(error, EntropicError) else "sqlite" if isinstance(error, sqlite3.Error) else "other"
    notes = list(getattr(error, "__notes__", []))
    return {"type": type(error).__name__, "kind": kind, "text": str(error), "errno": getattr(error, "errno", None),
            "notes": notes, "traceback": "".join(traceback.format_exception(error))}  # fmt: skip


@contextlib.contextmanager
def powerless():
    """Be nobody for a while: root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def as_nobody(folder, call, opened):
    """Make a call without the rights of root; open the store with or without them."""
    work.behave(folder)
    made = work.store(folder)  # in any case: it imports what is imported late
    if not opened:
        made = None
        gc.collect()  # its connection is closed while there is the right to, and takes the log of the database with it
    with powerless():
        try:
            made = made if opened else work.store(folder)
            getattr(made, call)({"x": 1})
        except Exception as error:
            return said_of(error)
    return None


def timed(folder, call, timeout, opened, begin, **behaviour):
    """Make a call with a short patience, once it may begin; say what came of it, and how long that took."""
    work.behave(folder, **behaviour)
    made = work.store(folder, timeout=timeout)
    work.faults.touch(opened)
    work.faults.wait_for(begin)
    began, row, outcome = time.monotonic(), None, None
    try:
        row = work.seen(getattr(made, call)({"x": 1}))
    except Exception as error:
        outcome = said_of(error)
    return {"error": outcome, "row": row, "seconds": time.monotonic() - began}


def failure_of(folder):
    """Return the state of the claim on {"x": 1} and its recorded failure."""
    made = work.store(folder)
    id = made._context.hasher({"x": 1})
    return {"state": made._context.ledger.find(id).state, "failure": made._context.ledger.failure(id)}


def keep_closed(folder, call, extra=False, fsync=False, times=1):
    """Make calls, without the rights of root, whose results are folders without write permission."""
    work.behave(folder, shape="folder+extra" if extra else "folder")
    work.store(folder)
    with powerless():
        made = work.store(folder, fsync=fsync)
        write = made._context.runner

        def runner(params):
            write(params)
            for path, _, names in os.walk(params["result_file"]):
                for name in names:
                    os.chmod(os.path.join(path, name), 0o444)
                os.chmod(path, 0o555)

        object.__setattr__(made._context, "runner", runner)
        try:
            rows = [work.do(made, call, folder) for _ in range(times)]
            modes = {os.stat(path).st_mode & 0o777 for row in made.select() for path, _, _ in os.walk(row.result_file)}
            left = [name for name in os.listdir(made._context.staging.root) if not name.endswith(".work")]
            report = made.check()
            return {"rows": rows, "modes": sorted(modes), "left": left, "check": "" if report.ok else str(report)}
        except Exception as error:
            return {"error": said_of(error)}


def sweep_beside(folder, on_error):
    """Sweep three sets, of which one has a finished run that cannot be recorded."""
    work.behave(folder)
    made = work.store(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            rows = made.sweep([{"x": x} for x in (1, 2, 3)], on_error=on_error)
        except Exception as error:
            return {"error": said_of(error), "rows": [row.x for row in made.select()], "warnings": []}
    return {"error": None, "rows": [row.x for row in rows], "warnings": [str(one.message) for one in caught]}


def mend(folder):
    """Repair, and collect garbage, without the rights of root."""
    with tempfile.TemporaryDirectory() as elsewhere:  # it imports what is imported late
        work.Store(work.runner, work.Point, elsewhere, work.SUFFIX, "sqlite://").repair()
    with powerless():
        made = work.store(folder)
        repaired = made.repair()
        removed = made.gc(leftovers=True).removed
    return {"done": repaired.done, "left": str(repaired.left), "removed": [str(one) for one in removed]}
