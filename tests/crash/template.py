"""The process that children are forked from: it has imported everything, so a child costs milliseconds, not a second.

Reads requests, JSON, one a line; says `{"pid": ...}` for each child and `{"exit": pid, "status": ...}` at its end.
"""

import atexit
import gc
import importlib
import json
import os
import select
import signal
import sys
import traceback
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(TESTS, "race"), TESTS]


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    importlib.import_module(sys.argv[1])  # and with it the library
    # Faults, traces and stops change what runners reach, so rows of one child are of other code than those of the next.
    warnings.filterwarnings("ignore", category=importlib.import_module("entropic").StaleWarning)

    keep()
    unreaped, pending = set(), b""
    while True:
        ready, _, _ = select.select([0, reads], [], [])
        if reads in ready:
            os.read(reads, 4096)
            reap(unreaped)
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                serve(json.loads(line), unreaped)
                reap(unreaped)


def serve(request, unreaped):
    if "reap" in request:
        unreaped.discard(request["reap"])
        return
    if "here" in request:  # in this process, for what all children shall inherit
        call(request["here"], request["args"])
        keep()
        say({"pid": os.getpid()})
        return
    pid = os.fork()
    if pid == 0:
        be_child(request)
    if request.get("zombie"):
        unreaped.add(pid)
    children.add(pid)
    say({"pid": pid})


def keep():
    """Let what is here stay as it is: children need not copy it just to count references."""
    gc.collect()
    gc.freeze()


def reap(unreaped):
    for pid in [*children - unreaped]:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            children.discard(pid)
            say({"exit": pid, "status": os.waitstatus_to_exitcode(status)})


def say(what):
    os.write(1, (json.dumps(what) + "\n").encode())


def be_child(request):
    """Make the call, save what it returns, and end as a process of its own would."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(request["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in [(null, 0), (log, 1), (log, 2)]:
            os.dup2(source, target)
        said = call(request["call"], request["args"])
        with open(request["said"] + ".part", "w") as file:
            json.dump(said, file)
        os.rename(request["said"] + ".part", request["said"])
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            atexit._run_exitfuncs()
            gc.collect()  # as an interpreter does that ends: connections that only cycles hold are closed
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def call(name, args):
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)(**args)


children = set()

if __name__ == "__main__":
    main()
