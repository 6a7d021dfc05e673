"""Steps of the protocol, and how a child process is made to die, or to stop, at one of them.

A step is a function or method of the library. Some are imported by name into other modules, so a step is replaced
in every module that holds it.
"""

import importlib
import json
import os
import signal
import sys
import time

from entropic.protocol import plain_run

# Names as in the protocol (`docs/protocol.md`), where it has one.
STEPS = {
    "read": "entropic.protocol.run:run_or_retrieve",  # which begins with it
    "read_closely": "entropic.protocol.lookup:read",
    "glance": "entropic.protocol.context:StoreContext.is_finished",
    "stat": "entropic.files.extent:extent",
    "walk": "entropic.files.extent:_size_below",
    "begin_transaction": "entropic.db.connection:Connection.begin",
    "lock": "entropic.protocol.claim:lock",
    "find_pending": "entropic.protocol.claim:find_pending",
    "find_sidecar": "entropic.protocol.claim:find_sidecar",
    "decide": "entropic.protocol.claim:decide",
    "begin": "entropic.protocol.claim:begin",
    "begin_first": "entropic.protocol.claim:begin_first",
    "claim_first": "entropic.db.ledger:Ledger.claim_first",
    "begin_first_many": "entropic.protocol.claim:begin_first_many",
    "claim_first_many": "entropic.db.ledger:Ledger.claim_first_many",
    "claim": "entropic.db.ledger:Ledger.claim",
    "commit": "entropic.db.connection:Connection.commit",
    "start": "entropic.executors.attempt:start",
    "resume": "entropic.executors.attempt:resume",
    "execute": "entropic.executors.attempt:execute",
    "lift": "entropic.files.finish:lift",
    "describe": "entropic.files.finish:describe",
    "create": "entropic.files.sidecar:create",
    "write": "entropic.files.sidecar:write",
    "publish": "entropic.protocol.publish:publish",
    "publish_locked": "entropic.protocol.publish:publish_locked",
    "publish_many": "entropic.protocol.publish_many:publish_many",
    "publish_together": "entropic.protocol.publish_many:_publish_together",
    "record": "entropic.protocol.publish:record",
    "fence": "entropic.db.ledger:Ledger.publish",
    "upsert": "entropic.db.rows:Rows.upsert",
    "record_many": "entropic.protocol.publish:record_many",
    "fence_many": "entropic.db.ledger:Ledger.publish_many",
    "upsert_many": "entropic.db.rows:Rows.upsert_many",
    "reclaim": "entropic.protocol.precedence:reclaim",
    "commit_reclaim": "entropic.db.ledger:Ledger.reclaim",
    "unpublish": "entropic.protocol.publish:unpublish",
    "move": "entropic.protocol.publish:move",
    "move_aside": "entropic.files.place:move_aside",
    "spend_slot": "entropic.files.place:spend_slot",
    "place": "entropic.files.place:place",
    "link": "entropic.files.place:link",
    "unlink_t": "entropic.files.place:unlink_t",
    "keep": "entropic.files.place:keep",
    "clean": "entropic.protocol.publish:clean",
    "discard_checkpoints": "entropic.files.checkpoints:discard",
    "fenced": "entropic.protocol.run:settle_superseded",
    "discard": "entropic.protocol.publish:discard",
    "discard_execution": "entropic.files.finish:discard",
    "record_vanished": "entropic.protocol.publish:record_vanished",
    "end_early": "entropic.protocol.run:end_early",
    "commit_failure": "entropic.db.ledger:Ledger.fail",
    "commit_release": "entropic.db.ledger:Ledger.release",
    "await_sidecar": "entropic.protocol.run:await_sidecar",
    "wait": "entropic.protocol.wait:wait_for_any",
    "claim_chunk": "entropic.sweep.claims:Claims.claim_chunk",
    "claim_rest": "entropic.sweep.claims:Claims._claim_rest",
    "hold": "entropic.sweep.claims:Claims._hold",
    "take": "entropic.sweep.share:Share.take",
    "read_published": "entropic.sweep.outbox:Outbox._read_published",
    "begin_delete": "entropic.protocol.delete:begin",
    "slot": "entropic.protocol.delete:slot",
    "delete_row": "entropic.db.rows:Rows.delete",
    "commit_delete": "entropic.db.ledger:Ledger.mark_deleting",
    "drop": "entropic.protocol.delete:drop",
    "finish_delete": "entropic.protocol.clear:finish_delete",
    "clear": "entropic.protocol.clear:clear",
    "spend": "entropic.protocol.clear:spend",
    "vacate": "entropic.protocol.clear:vacate",
    "register": "entropic.protocol.register:insert",
}

# What changes the disk; the library calls all of them through their modules.
CALLS = ["os:rename", "os:replace", "os:link", "os:unlink", "os:mkdir", "os:open", "os:write", "shutil:rmtree"]
CONNECTIONS = ["entropic.db.connection:Connection", "entropic.db.server:ServerConnection"]
STATEMENTS = [f"{one}.{method}" for one in CONNECTIONS for method in ("execute", "execute_many")]


def install(fault, trace=None):
    """Make this process do what `fault` says at its step; append each step that it passes to the file `trace`.

    A fault is `{"step": name, "when": "before", "after" or "failed", "nth": 1, "do": what}`: see `_strike`.
    The step "any call" counts every change of the disk and every SQL statement; with a `target`, `module:function`,
    the fault brings a step of its own. Returns how often each step has been passed, which is counted on.
    """
    if fault is None or fault["step"] != "any call":
        plain_run.is_used = False  # whose steps have no names: `test_every_call` kills before each of its calls
    note = _noting(trace)
    counts, holders = {}, _holders()

    def passing(name, when, args=()):
        if when == "before":
            counts[name] = counts.get(name, 0) + 1
        note(f"{when} {name} {counts[name]}")
        if fault and (name, when, counts[name]) == (fault["step"], fault["when"], fault.get("nth", 1)):
            note("struck")
            _strike(fault, args)

    if fault and fault["step"] == "any call":
        for target in [*CALLS, *STATEMENTS]:
            _replace(target, "any call", passing, holders)
    elif fault and "target" in fault:
        _replace(fault["target"], fault["step"], passing, holders)
    for name, target in STEPS.items():
        _replace(target, name, passing, holders)
    return counts


def _noting(path):
    if path is None:
        return lambda text: None
    # Kept open, with the real functions: what notes must not be counted itself.
    file, write = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), os.write
    return lambda text: write(file, f"{text}\n".encode())


def _holders():
    """Return where each function of the library is held by name, `(module, name)` by its id: one look for all steps."""
    for target in STEPS.values():
        importlib.import_module(target.partition(":")[0])  # what is imported late
    found = {}
    for module in [m for n, m in sys.modules.items() if n.startswith("entropic")]:
        for key, value in vars(module).items():
            if callable(value):
                found.setdefault(id(value), []).append((module, key))
    return found


def _replace(target, name, passing, holders):
    module, _, path = target.partition(":")
    holder = importlib.import_module(module)
    *classes, attribute = path.split(".")
    for one in classes:
        holder = getattr(holder, one)
    original = getattr(holder, attribute)

    def replacement(*args, **kwargs):
        passing(name, "before", args)
        try:
            result = original(*args, **kwargs)
        except Exception:
            passing(name, "failed")
            raise
        passing(name, "after")
        return result

    setattr(holder, attribute, replacement)
    if not classes and module.startswith("entropic"):
        for other, key in holders.pop(id(original), []):
            setattr(other, key, replacement)
            holders.setdefault(id(replacement), []).append((other, key))


def _strike(fault, args):
    do = fault["do"]
    if do == "torn":  # only at `write`: half of the sidecar, then death
        os.write(args[0], args[1][: len(args[1]) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif do == "wait":  # until the test says go
        touch(fault["marker"])
        wait_for(fault["until"])
    elif do == "interrupt":  # as Ctrl-C, whose exception may come after any instruction
        raise KeyboardInterrupt("made by the test")
    else:
        raise ValueError(json.dumps(fault))


def touch(path):
    with open(path, "a"):
        pass


def wait_for(path, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.002)
