"""Scenes that several tests begin with: somebody runs a set, others wait for it."""

import os

from harness import until


def begin(server, case, name="owner", **more):
    """Start an owner, and return when its runner runs, and does not end before the file `go` is there."""
    owner = server.start("racers:ask", folder=case, marker=f"{case}/{name}", until=f"{case}/go", **more)
    until(lambda: os.path.exists(f"{case}/{name}"), "the runner runs")
    return owner


def begin_to_wait(server, case, name="waiter", **more):
    """Start somebody who asks for the same, and return when it waits."""
    trace = f"{case}/trace of {name}"
    waiter = server.start("racers:ask", folder=case, trace=trace, **more)
    until(lambda: os.path.exists(trace) and "before wait" in read(trace), "it waits")
    return waiter


def read(path):
    with open(path) as file:
        return file.read()


def in_order(server, case):
    report = server.start("work:check", folder=case).said()
    assert not report, report


def at_once(case, children):
    """Let children begin together that wait at the gate."""
    ready = [f"{case}/ready-{child.pid}" for child in children]
    until(lambda: all(os.path.exists(path) for path in ready), "all are ready")
    with open(f"{case}/go", "w"):
        pass
