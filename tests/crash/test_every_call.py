"""A process is killed before every single change of the disk, and before every SQL statement, of every operation.

Steps have names, and a name can be forgotten. This needs none: it kills at the first call, the second, and so on,
until the operation comes to its end.
"""

import pytest
from judge import judge, trace_of

COMBINATIONS = [
    ("run_or_retrieve", "first", "file"),
    ("run_or_retrieve", "first", "folder"),
    ("run_or_retrieve", "lost", "folder+extra"),
    ("run", "again", "file"),
    ("run", "again", "file+extra"),
    ("run", "again", "folder"),
    ("run", "again", "folder+extra"),
    ("run", "reshaped", "file+extra"),
    ("run", "reshaped", "folder+extra"),
    ("failing run", "again", "file+extra"),
    ("sweep", "first", "file+extra"),
    ("sweep", "lost", "folder"),
    ("delete file", "again", "file+extra"),
    ("delete file", "again", "folder+extra"),
    ("delete file", "registered", "file"),
    ("delete by gc", "again", "folder+extra"),
    ("delete by gc", "orphan", "file"),
    ("delete row", "again", "file"),
    ("register", "first", "file"),
]


PARTS = 13


def parts():
    """Return each combination in parts, each of which kills before every thirteenth call."""
    for number, combination in enumerate(COMBINATIONS):
        for part in range(PARTS):
            # CI kills before every thirteenth call, beginning with another one in each combination.
            marks = pytest.mark.slow if part == number % PARTS else pytest.mark.long
            yield pytest.param(*combination, part, marks=marks, id=f"{'-'.join(combination)}-{part}")


@pytest.mark.timeout(900)
# PostgreSQL is killed at every step that has a name, see `test_every_step`: the transactions are the same.
@pytest.mark.only_on("sqlite", "mariadb")
@pytest.mark.parametrize(("operation", "history", "shape", "part"), list(parts()))
def test_a_kill_before_any_call_leaves_what_the_next_process_can_put_in_order(
    server, histories, database_kind, operation, history, shape, part
):
    nth, struck = part + 1 - PARTS, True
    while struck:
        nth += PARTS
        case = histories(history, shape)
        victim = server.start(
            "work:suffer",
            folder=case,
            operation=operation,
            shape=shape,
            fault={"step": "any call", "when": "before", "nth": nth, "do": "kill"},
            trace=f"{case}/trace",
        )
        struck = victim.status() != 0
        assert struck == (trace_of(case)[-1] == "struck"), victim.log()
        judge(server, case, operation, history, shape, fresh=bool(nth % 2))
    assert nth > 5, "the operation makes calls, and they are counted"
    if (operation, history, shape) == ("run_or_retrieve", "first", "file") and database_kind == "sqlite":
        assert "before publish 1" not in trace_of(case), "most runs are `plain_run`'s, and so was this"
