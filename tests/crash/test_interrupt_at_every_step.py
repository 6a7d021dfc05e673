"""Ctrl-C at every step of every operation, in a process that then goes on, as a notebook does."""

import pytest
from judge import FIRST, trace_of
from peek import executions
from test_every_step import ENDS, FILE, FOLDER, REACHED

# On MariaDB, which passes the same steps, tests/race/test_interrupts interrupts at any moment, the driver's too.
pytestmark = pytest.mark.only_on("sqlite", "postgresql")

COMBINATIONS = [
    ("run_or_retrieve", "first", FILE),
    ("run", "again", FOLDER),
    ("sweep", "first", FILE),
    ("delete file", "again", FOLDER),
    ("delete by gc", "again", FILE),
    ("delete row", "again", FILE),
    ("register", "first", FILE),
]
QUICK = COMBINATIONS[0]


def matrix():
    for combination in COMBINATIONS:
        for step in sorted(REACHED[combination]):
            for when in ("before", "after") if step in ENDS | {"begin_transaction"} else ("before",):
                marks = () if combination == QUICK and when == "after" else pytest.mark.slow
                yield pytest.param(*combination, step, when, marks=marks, id=f"{'-'.join(combination)}-{when} {step}")


@pytest.mark.only_on("sqlite")
def test_a_process_goes_on_after_an_interrupt_before_any_call_of_a_plain_run(server, histories):
    def endure(nth):
        case = histories("first", FILE)
        fault = {"step": "any call", "when": "before", "nth": nth, "do": "interrupt"}
        names = {"folder": case, "operation": "run_or_retrieve", "shape": FILE}
        return case, server.start("work:endure", **names, fault=fault, trace=f"{case}/trace").said()

    case, said = endure(10**6)
    assert not said["interrupted"]
    assert "before publish 1" not in trace_of(case), "most runs are `plain_run`'s, and so was this"
    assert said["calls"] > 12, "it makes calls, and they are counted"
    for nth in range(1, said["calls"] + 1):
        case, said = endure(nth)
        assert said["interrupted"], "it came out, as Ctrl-C should"
        trace = trace_of(case)
        written = sum(line.startswith("after write ") for line in trace[: trace.index("struck")])
        wish = {"folder": case, "operations": ["run_or_retrieve"], "shape": FILE, "fresh": True}
        followed = server.start("work:follow", **wish).said()
        assert not followed["check"], followed["check"]
        assert said["done"] == followed["done"][0], "the process itself got what any other gets"
        assert len(executions(case)) - said["executed"] == 1 - written, "a finished run does not run again"


@pytest.mark.each("step", "when", on_servers=("step",))
@pytest.mark.parametrize(("operation", "history", "shape", "step", "when"), list(matrix()))
def test_a_process_goes_on_after_an_interrupt(server, histories, operation, history, shape, step, when):
    case = histories(history, shape)
    names = {"folder": case, "operation": operation, "shape": shape}
    fault = {"step": step, "when": when, "do": "interrupt"}
    said = server.start("work:endure", **names, fault=fault, trace=f"{case}/trace").said()
    assert said["interrupted"], "it came out, as Ctrl-C should"
    trace = trace_of(case)
    passed = trace[: trace.index("struck")]
    written = sum(line.startswith("after write ") for line in passed)

    wish = "run_or_retrieve" if operation.startswith(("delete", "run")) else operation
    followed = server.start("work:follow", folder=case, operations=[wish], shape=shape, fresh=True).said()
    assert not followed["check"], followed["check"]
    rows = followed["done"][0]
    ran = executions(case)
    if operation in ("run_or_retrieve", "sweep"):
        assert said["done"] == rows, "the process itself got what any other gets"
        assert len(ran) - said["executed"] == len(rows) - written, "a finished run does not run again, the others do"
    elif operation == "run":
        assert said["done"] == rows
        assert len(ran) == said["executed"] + 1, "forced"
    elif operation.startswith("delete"):
        assert rows[0]["content"] == ran[-1]["content"]
    assert rows[0]["id"] == FIRST
