"""Processes that work on the same sets are killed at any moment, two hundred times; in the end all is in order."""

import random
import time

import pytest
from peek import claims, executions, sidecars

import entropic

KILLS, AT_ONCE, SETS = 50, 3, 40  # kills in each of four cases


@pytest.mark.slow
@pytest.mark.each("operation")
@pytest.mark.timeout(900)
# Both on SQLite, one on each server: there, too, every statement is killed at, on PostgreSQL by its step.
@pytest.mark.parametrize(
    "operation",
    [
        pytest.param("sweep", marks=pytest.mark.only_on("sqlite", "postgresql")),
        pytest.param("loop", marks=pytest.mark.only_on("sqlite", "mariadb")),
    ],
)
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
def test_after_any_kills_all_is_in_order_and_no_finished_run_ran_twice(server, case, operation, shape):
    dice = random.Random(f"{operation} {shape}")
    server.start("work:prepare", folder=case, history="first", shape=shape).said()
    sets, living, kills, spared = list(range(SETS)), [], 0, 0
    finished_once = {}
    while kills < KILLS:
        while len(living) < AT_ONCE:
            order = sets[:] if operation == "sweep" else dice.sample(sets, len(sets))
            living.append(server.start("work:toil", folder=case, operation=operation, sets=order, shape=shape))
        time.sleep(dice.uniform(0.0, 0.15))  # the point: any moment
        victim = living.pop(dice.randrange(len(living)))
        victim.kill()
        if victim.status() == 0:
            spared += 1
            sets.extend(range(len(sets), len(sets) + 10))  # they had come to the end: give them more to do
        else:
            kills += 1
        look(case, finished_once)
    for child in living:
        child.kill()
    kills += len(living)

    said = server.start("work:toil", folder=case, operation="sweep", sets=sets, shape=shape).said()
    ran = executions(case)
    assert len(ran) <= len(sets) + kills
    wrote = {(one["id"], one["attempt"]): one["content"] for one in ran}
    assert len(wrote) == len(ran), "every attempt is executed once"
    for row, x in zip(said, sets, strict=True):
        assert row["x"] == x
        attempts = [one for one in ran if one["id"] == row["id"]]
        assert row["content"] == attempts[-1]["content"], "nothing ran after the run that is served"
        first = finished_once.get(row["id"])
        assert first in (None, attempts[-1]["attempt"]), "the attempt that was seen finished is the one that is served"
    report = server.start("work:check", folder=case).said()
    assert not report, report


def look(case, finished_once):
    """Remember which attempts are finished: no other may ever run for their keys."""
    complete = sidecars(case)
    ledger, rows = claims(case)
    for id, (attempt, state, published, *_) in ledger.items():
        if state == "running" and (id, attempt) in complete:
            assert finished_once.setdefault(id, attempt) == attempt
        elif id in rows:
            assert finished_once.setdefault(id, published) == published


def test_the_key_of_a_set_is_what_the_log_says(server, case):
    server.start("work:toil", folder=case, operation="loop", sets=[1, 2], shape="file").said()
    assert [one["id"] for one in executions(case)] == [entropic.key({"x": 1}), entropic.key({"x": 2})]
