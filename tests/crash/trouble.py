"""Children that meet a full disk, a folder that they cannot write, or a database that somebody else has locked."""

import contextlib
import gc
import os
import resource
import sqlite3
import time
import traceback

import work

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
    made = work.store(folder)  # in any case: it imports what is imported late, maybe from where nobody may read
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
