"""A process is killed at every step of every operation; the next one finds everything in order, and runs nothing twice.

`REACHED` says which steps each operation passes, and a test compares it with what really happens: so the matrix
cannot silently test nothing.
"""

import entropic
import faults
import pytest
from harness import fresh_copy
from peek import executions, peek

CLAIM = {"begin_transaction", "lock", "undone", "decide", "begin", "claim", "commit_transaction"}
EXECUTE = {"start", "execute", "lift", "describe", "stat", "create", "write"}
RECORD = {"record", "fence", "upsert", "move", "place", "clean"}
ONE = CLAIM | EXECUTE | RECORD | {"commit", "publish", "publish_locked"}
TOGETHER = {"claim_chunk", "hold", "take", "publish_many", "read_published"}
LINKED, SLOTTED = {"link", "unlink_t"}, {"move_aside", "spend_slot"}
REPLACED = SLOTTED | {"unpublish", "delete_row"}
LOOKED = {"begin_transaction", "lock", "undone", "commit_transaction", "commit"}
DELETED = LOOKED | {"begin_delete", "slot", "delete_row", "mark_deleting", "finish_delete", "clear", "spend", "release"}
FAILED = CLAIM | {"commit", "start", "execute", "give_up", "look", "commit_failure", "discard_execution"}
FILE, FOLDER = "file", "folder+extra"
FIRST = entropic.key({"x": 1})  # the key that has a history

REACHED = {
    ("run_or_retrieve", "first", FILE): ONE | LINKED | {"read"},
    ("run_or_retrieve", "first", FOLDER): ONE | {"read", "keep"},
    ("run_or_retrieve", "lost", FILE): ONE | {"read"},
    ("run_or_retrieve", "lost", FOLDER): ONE | SLOTTED | {"read", "keep"},
    ("run", "first", FILE): ONE | LINKED,
    ("run", "first", FOLDER): ONE | {"keep"},
    ("run", "again", FILE): ONE,
    ("run", "again", FOLDER): ONE | REPLACED | {"keep"},
    ("run", "reshaped", FILE): ONE | REPLACED,
    ("run", "reshaped", FOLDER): ONE | REPLACED | {"keep"},
    ("failing run", "first", FILE): FAILED,
    ("failing run", "again", FOLDER): FAILED,
    ("sweep", "first", FILE): CLAIM | EXECUTE | RECORD | TOGETHER | LINKED | {"publish_together"},
    ("sweep", "first", FOLDER): CLAIM | EXECUTE | RECORD | TOGETHER | {"publish_together", "keep"},
    ("sweep", "lost", FILE): CLAIM | EXECUTE | RECORD | TOGETHER | LINKED | {"publish_together"},
    ("sweep", "lost", FOLDER): ONE | TOGETHER | SLOTTED | {"keep"},
    ("delete file", "first", FILE): LOOKED,
    ("delete file", "again", FILE): DELETED,
    ("delete file", "again", FOLDER): DELETED,
    ("delete file", "registered", FILE): LOOKED | {"delete_row", "drop", "stat"},
    ("delete row", "again", FILE): LOOKED | {"delete_row", "drop"},
    ("delete row", "again", FOLDER): LOOKED | {"delete_row", "drop"},
    ("register", "first", FILE): LOOKED | {"insert", "upsert", "stat"},
    ("register", "registered", FILE): LOOKED | {"stat"},
}
# Passed only where another process, or an outsider, interferes: see tests/race.
ELSEWHERE = {"glance", "fenced", "discard", "vanished", "give_back", "await_sidecar", "wait"}
QUICK = [("run_or_retrieve", "first", FILE), ("run", "again", FILE), ("delete file", "again", FILE)]

# Steps whose end is not already the beginning of another.
ENDS = {"claim", "commit_transaction", "execute", "lift", "describe", "create", "write", "fence", "upsert", "keep"}
ENDS |= {"link", "unlink_t", "move_aside", "spend_slot", "place", "unpublish", "commit", "clean", "delete_row"}
ENDS |= {"slot", "mark_deleting", "drop", "clear", "spend", "release", "insert", "commit_failure", "take"}
# A sweep passes its steps once for each set, and a transaction is begun more than once.
REPEATED = {("sweep", step): 2 for step in ("claim", "execute", "create", "write", "record", "move", "place", "clean")}
REPEATED |= {("run", "commit_transaction"): 2, ("delete file", "commit_transaction"): 2}
REPEATED |= {("run", "begin_transaction"): 2, ("run", "publish_locked"): 2, ("delete file", "begin_transaction"): 2}


def matrix():
    for combination, steps in REACHED.items():
        operation, history, _ = combination
        marks = () if combination in QUICK else pytest.mark.slow
        for step in sorted(steps):
            for nth in range(1, REPEATED.get((operation, step), 1) + 1):
                if step == "publish_locked" and nth == 2 and "unpublish" not in steps:
                    continue
                for when in ("before", "after") if step in ENDS else ("before",):
                    name = f"{'-'.join(combination)}-{when} {step}{'' if nth == 1 else f' {nth}'}"
                    yield pytest.param(*combination, step, when, nth, "kill", marks=marks, id=name)
        if "write" in steps:
            yield pytest.param(*combination, "write", "before", 1, "torn", marks=marks, id="-".join([*combination, "torn"]))


@pytest.fixture(scope="session")
def histories(template, tmp_path_factory):
    """Return a function that puts a store with a history to where the template has it open already."""
    root = tmp_path_factory.mktemp("histories")
    case, made = root / "case", {}
    template.warm("work:warm", folder=str(case))
    fresh_copy(case, root / "empty")

    def put(history, shape):
        if (history, shape) not in made:
            fresh_copy(root / "empty", case)
            template.start("work:prepare", folder=str(case), history=history, shape=shape).said()
            made[history, shape] = root / f"{history} {shape}"
            fresh_copy(case, made[history, shape])
        fresh_copy(made[history, shape], case)
        return str(case)

    return put


@pytest.mark.parametrize(("operation", "history", "shape"), REACHED, ids="-".join)
def test_an_operation_passes_exactly_these_steps(server, histories, operation, history, shape):
    case = histories(history, shape)
    server.start("work:suffer", folder=case, operation=operation, shape=shape, trace=f"{case}/trace").said()
    passed = {line.split()[1] for line in trace_of(case)}
    assert passed == REACHED[operation, history, shape]


def test_every_step_of_the_protocol_is_either_passed_or_known_to_need_others():
    assert set().union(*REACHED.values()) | ELSEWHERE == set(faults.STEPS)
    assert not set().union(*REACHED.values()) & ELSEWHERE


def test_a_step_that_is_not_reached_kills_nobody(server, histories):
    case = histories("first", FILE)
    fault = {"step": "unpublish", "when": "before", "do": "kill"}
    server.start("work:suffer", folder=case, operation="run", shape=FILE, fault=fault, trace=f"{case}/trace").said()
    assert "struck" not in trace_of(case)


@pytest.mark.parametrize(("operation", "history", "shape", "step", "when", "nth", "do"), list(matrix()))
def test_after_a_kill_the_next_process_puts_the_key_in_order(
    server, histories, operation, history, shape, step, when, nth, do
):
    case = histories(history, shape)
    fault = {"step": step, "when": when, "nth": nth, "do": do}
    victim = server.start(
        "work:suffer", folder=case, operation=operation, shape=shape, fault=fault, trace=f"{case}/trace"
    )
    assert victim.status() == -9, f"not reached, or not killed:\n{victim.log()}"
    assert trace_of(case)[-1] == "struck"
    judge(server, case, operation, history, shape, fresh=when == "before")


def judge(server, case, operation, history, shape, fresh):
    """Compare what the next process finds, and does, with the state that the kill left behind."""
    state, earlier = peek(case), 0 if history in ("first", "registered") else 1
    written = sum(line.startswith("after write ") for line in trace_of(case))
    newer = {id for id, attempt in state.finished.items() if number(attempt) > (earlier if id == FIRST else 0)}
    if "delete" not in operation:
        assert len(newer) == written, "a run with a complete sidecar is finished until its row is there, and no other"

    if operation.startswith("delete"):
        deletes = [operation] if fresh else []
        wish = "run_or_retrieve"
    else:
        wish = operation if operation in ("sweep", "register") else "run_or_retrieve"
        deletes = [] if fresh else ["retrieve"]
    before = executions(case)
    said = server.start("work:follow", folder=case, operations=[*deletes, wish], shape=shape, fresh=fresh).said()
    after = executions(case)
    contents = {one["content"]: one for one in after} | {"made elsewhere": {"attempt": "0-"}}

    if deletes == ["retrieve"]:
        (row,) = said["done"][0]
        assert (row is not None) == (FIRST in state.rows)
        assert row is None or row["content"] in contents or (history == "lost" and row["content"] == "no file")
    elif deletes:
        assert said["done"][0] == (FIRST in state.rows)
        state.finished.clear()
        state.rows.clear()

    ran = [one["id"] for one in after[len(before) :]]
    for row in said["done"][-1]:
        id, content = row["id"], row["content"]
        if id in state.finished:
            assert content == state.content(id), "the finished result is the one that is served"
            assert id not in ran, "a finished run never runs again"
        elif operation == "register" or (history == "registered" and id in state.rows):
            assert content == "made elsewhere"
            assert not ran
        else:
            assert ran.count(id) == 1
            assert content == after[-1]["content"] or operation == "sweep"
        made_by = contents[content]["attempt"]
        old = number(made_by) <= earlier and id == FIRST
        with_extras = shape.endswith("+extra") and not (history == "reshaped" and old)
        assert row["extras"] == ([content] if with_extras and content != "made elsewhere" else [])
        if operation == "run" and id in newer:
            assert row["custom"]["mark"] == "forced", "the row is that of the run which was killed"
    if operation == "sweep":
        assert [row["x"] for row in said["done"][-1]] == [1, 2, 3]
    assert not said["check"], said["check"]


def number(attempt):
    return int(attempt.partition("-")[0])


def trace_of(case):
    with open(f"{case}/trace") as file:
        return file.read().splitlines()

