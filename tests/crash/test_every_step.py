"""A process is killed at every step of every operation; the next one finds everything in order, and runs nothing twice.

`REACHED` says which steps each operation passes, and a test compares it with what really happens: so the matrix
cannot silently test nothing.
"""

import faults
import pytest
from judge import judge, trace_of

CLAIM = {"begin_first", "begin_transaction", "lock", "find_pending", "decide", "begin", "claim", "commit"}
NEW = {"begin_first", "claim_first", "begin_transaction", "commit"}  # never claimed before
EXECUTE = {"start", "execute", "lift", "describe", "stat", "create", "write"}
RECORD = {"record", "fence", "upsert", "move", "place", "clean"}
NEW_MANY = {"begin_first_many", "claim_first_many", "begin_transaction", "commit"}
RECORD_MANY = {"publish_together", "record_many", "fence_many", "upsert_many", "move", "place", "clean"}
REST = EXECUTE | RECORD | {"publish", "publish_locked"}
ONE = CLAIM | REST
CLAIM_REST = (CLAIM - {"begin_first"}) | {"claim_rest"}
TOGETHER = {"claim_chunk", "hold", "take", "publish_many", "read_published"}
LINKED, SLOTTED = {"link", "unlink_t"}, {"move_aside", "spend_slot"}
REPLACED = SLOTTED | {"unpublish", "delete_row"}
LOCKED = {"begin_transaction", "lock", "find_pending", "commit"}
DELETED = LOCKED | {"begin_delete", "slot", "delete_row", "commit_delete", "finish_delete", "clear", "spend", "vacate"}
REMOVED = DELETED | {"stat"}
FAILED = CLAIM | {"start", "execute", "end_early", "glance", "find_sidecar", "commit_failure", "discard_execution"}
FILE, FOLDER, SEVERAL = "file", "folder+extra", "several"

REACHED = {
    ("run_or_retrieve", "first", FILE): NEW | REST | LINKED | {"read"},
    ("run_or_retrieve", "first", FOLDER): NEW | REST | {"read", "keep"},
    ("run_or_retrieve", "lost", FILE): ONE | {"read", "read_closely"},
    ("run_or_retrieve", "lost", FOLDER): ONE | SLOTTED | {"read", "read_closely", "keep"},
    ("run", "first", FILE): ONE | LINKED,
    ("run", "first", FOLDER): ONE | {"keep"},
    ("run", "again", FILE): ONE,
    ("run", "again", FOLDER): ONE | REPLACED | {"keep"},
    ("run", "reshaped", FILE): ONE | REPLACED,
    ("run", "reshaped", FOLDER): ONE | REPLACED | {"keep"},
    ("failing run", "first", FILE): FAILED,
    ("failing run", "again", FOLDER): FAILED,
    ("sweep", "first", FILE): NEW_MANY | EXECUTE | RECORD_MANY | TOGETHER | LINKED,
    ("sweep", "first", FOLDER): NEW_MANY | EXECUTE | RECORD_MANY | TOGETHER | {"keep"},
    ("sweep", "lost", FILE): CLAIM_REST | NEW_MANY | EXECUTE | RECORD_MANY | TOGETHER | LINKED,
    ("sweep", "lost", FOLDER): CLAIM_REST | REST | NEW_MANY | TOGETHER | SLOTTED | {"keep"},
    ("delete file", "first", FILE): LOCKED,
    ("delete file", "again", FILE): DELETED | {"discard_checkpoints"},
    ("delete file", "again", FOLDER): DELETED | {"discard_checkpoints"},
    ("delete file", "registered", FILE): LOCKED | {"delete_row", "drop", "stat", "discard_checkpoints"},
    ("delete by gc", "again", FILE): REMOVED,
    ("delete by gc", "again", FOLDER): REMOVED,
    ("delete by gc", "orphan", FILE): REMOVED,
    ("delete by gc", "orphan", FOLDER): REMOVED,
    ("run_or_retrieve", "first", SEVERAL): NEW | REST | {"read"},
    ("run", "again", SEVERAL): ONE | REPLACED,
    ("sweep", "first", SEVERAL): NEW_MANY | EXECUTE | RECORD_MANY | TOGETHER,
    ("delete file", "again", SEVERAL): DELETED | {"discard_checkpoints"},
    ("delete row", "again", FILE): LOCKED | {"delete_row", "drop", "discard_checkpoints"},
    ("delete row", "again", FOLDER): LOCKED | {"delete_row", "drop", "discard_checkpoints"},
    ("register", "first", FILE): LOCKED | {"register", "upsert", "stat"},
    ("register", "registered", FILE): LOCKED | {"stat"},
}
# Passed only where another process, or an outsider, interferes: see tests/race; or where checkpoints are kept.
ELSEWHERE = {"fenced", "reclaim", "commit_reclaim", "discard", "record_vanished", "commit_release", "await_sidecar"}
ELSEWHERE |= {"wait", "resume"}
QUICK = [("run_or_retrieve", "first", FILE), ("run", "again", FILE), ("delete file", "again", FILE)]

# Steps whose end is not already the beginning of another.
ENDS = {
    "claim",
    "claim_first",
    "claim_first_many",
    "commit",
    "execute",
    "lift",
    "describe",
    "create",
    "write",
    "fence",
    "fence_many",
    "upsert",
    "upsert_many",
    "keep",
}
ENDS |= {"link", "unlink_t", "move_aside", "spend_slot", "place", "unpublish", "clean", "delete_row"}
ENDS |= {
    "slot",
    "commit_delete",
    "drop",
    "clear",
    "spend",
    "vacate",
    "register",
    "commit_failure",
    "take",
}
# A sweep passes its steps once for each set, and a transaction is begun more than once.
REPEATED = {("sweep", step): 2 for step in ("execute", "create", "write", "move", "place", "clean")}
REPEATED |= {("run", "commit"): 2, ("run", "begin_transaction"): 2, ("run", "publish_locked"): 2}
REPEATED |= {("delete file", "commit"): 2, ("delete file", "begin_transaction"): 2}
REPEATED |= {("delete by gc", "commit"): 2, ("delete by gc", "begin_transaction"): 2}
TWICE = {"publish_locked": {"unpublish"}}  # steps that are passed twice only together with one of these others
TWICE |= {step: {"publish", "vacate"} for step in ("commit", "begin_transaction")}


for (_operation, _history, _shape), _steps in REACHED.items():
    if "stat" in _steps and (_shape in (FOLDER, SEVERAL) or _history == "reshaped"):
        REACHED[_operation, _history, _shape] = _steps | {"walk"}  # the size of a folder


def matrix():
    for combination, steps in REACHED.items():
        operation, *_ = combination
        marks = () if combination in QUICK else pytest.mark.slow
        for step in sorted(steps):
            for nth in range(1, REPEATED.get((operation, step), 1) + 1):
                if nth == 2 and step in TWICE and not TWICE[step] & steps:
                    continue
                ends = step in ENDS and not (step == "execute" and "end_early" in steps)  # there the runner raises
                for when in ("before", "after") if ends else ("before",):
                    name = f"{'-'.join(combination)}-{when} {step}{'' if nth == 1 else f' {nth}'}"
                    yield pytest.param(*combination, step, when, nth, "kill", marks=marks, id=name)
        if "write" in steps:
            yield pytest.param(
                *combination, "write", "before", 1, "torn", marks=marks, id="-".join([*combination, "torn"])
            )


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "history", "shape"), REACHED, ids=["-".join(one) for one in REACHED])
def test_an_operation_passes_exactly_these_steps(server, histories, operation, history, shape):
    case = histories(history, shape)
    server.start("work:suffer", folder=case, operation=operation, shape=shape, trace=f"{case}/trace").said()
    passed = {line.split()[1] for line in trace_of(case)}
    assert passed == REACHED[operation, history, shape]


def test_every_step_of_the_protocol_is_either_passed_or_known_to_need_others():
    assert set().union(*REACHED.values()) | ELSEWHERE == set(faults.STEPS)
    assert not set().union(*REACHED.values()) & ELSEWHERE


@pytest.mark.slow
def test_a_step_that_is_not_reached_kills_nobody(server, histories):
    case = histories("first", FILE)
    fault = {"step": "unpublish", "when": "before", "do": "kill"}
    server.start("work:suffer", folder=case, operation="run", shape=FILE, fault=fault, trace=f"{case}/trace").said()
    assert "struck" not in trace_of(case)


# On MariaDB, which passes the same steps, `test_every_call` kills before every statement and every change of the disk.
@pytest.mark.only_on("sqlite", "postgresql")
# Of what was there before and its shape, one; on servers also of the operations and of the ways to strike at a step.
@pytest.mark.each("operation", "step", "when", "nth", "do", on_servers=("step",))
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
