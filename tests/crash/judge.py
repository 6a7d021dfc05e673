"""What must hold after a kill, whatever was killed: compare what it left with what the next process finds and does."""

from harness import settle
from peek import executions, peek

import entropic

FIRST = entropic.key({"x": 1})  # the key that has a history


def judge(server, case, operation, history, shape, fresh):
    """Compare what the next process finds, and does, with the state that the kill left behind."""
    settle(case)
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
    # A dead claim behind a row that is served disturbs nobody, but `check` speaks of it until `repair` gives it back.
    served = earlier and not newer and history != "lost" and operation in ("run", "failing run")
    assert not said["check"] or (served and said["dead claims only"]), said["check"]
    assert not said["check after repair"], said["check after repair"]


def number(attempt):
    return int(attempt.partition("-")[0])


def trace_of(case):
    with open(f"{case}/trace") as file:
        return file.read().splitlines()
