"""Waiting for what others run costs little, whatever their number, and ends soon after they do.

The clock of the waiting is the test's: it goes on by what is slept, and what others do happens at a time of its own.
"""

from __future__ import annotations

import logging
import subprocess
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from contract.models import OtherResult
from entropic.db import connection, server
from entropic.files import sidecar, workspace
from entropic.files.staging import Staging
from entropic.protocol import run
from entropic.protocol.claim import begin_first_many
from entropic.support import process
from entropic.sweep.missing import plan

FAR = "far-away.0badcafe.7.1234.1"
LONG = 100.0  # s


class Clock:
    """Says the time, and lets others act when theirs has come."""

    def __init__(self) -> None:
        self.now, self.at, self.act = 0.0, float("inf"), lambda: None
        self.acted = False

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.at and not self.acted:
            self.acted = True
            self.act()

    def plan(self, at: float, act: Callable[[], Any]) -> None:
        self.at, self.act = at, act


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("entropic.protocol.wait.time", made)
    return made


@pytest.fixture
def counts(clock, monkeypatch):
    """What is asked of the database and of the folder until others act."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str, what: str) -> None:
        plain = getattr(owner, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            counted[what] += not clock.acted
            return plain(*arguments, **named)

        monkeypatch.setattr(owner, name, counting)

    count(connection.Connection, "fetch", "statements")
    count(server.ServerConnection, "fetch", "statements")
    count(connection.Connection, "change", "changes")
    count(server.ServerConnection, "change", "changes")
    count(server.ServerConnection, "_connect", "connections")
    count(Staging, "names", "listings")
    count(sidecar, "inspect", "sidecars")
    return counted


def sets_of(many):
    return [{"n": n, "dt": 0.5} for n in range(many)]


def claim(store, sets, owner=FAR):
    """Claim some sets for somebody else; return how these are given back."""
    context = store._context
    attempts = {}
    for one in sets:
        id = context.hasher(one)
        attempts[id] = context.ledger.claim_first(context.database.connection(), id, owner, f"{id}.json")

    def give_back():
        for id, attempt in attempts.items():
            context.database.transact(lambda connection: context.ledger.release(connection, id, attempt))  # noqa: B023

    return give_back


@pytest.mark.slow
@pytest.mark.parametrize("many", [1, 60])
def test_a_sweep_looks_no_more_often_for_many_sets_of_others_than_for_one(store, place, runner, clock, counts, many):
    clock.plan(LONG, claim(store, sets_of(many)))
    counts.clear()
    assert [row.n for row in store.sweep(sets_of(many))] == list(range(many))
    longest = 5.0 if store._context.database.is_shared else 0.5
    assert counts["statements"] < LONG / longest + 90 + 2 * many, counts
    assert counts["connections"] <= counts["statements"]
    if many == 60:
        assert counts["listings"] <= counts["statements"]
        assert counts["sidecars"] <= 2 * many, "only as they are claimed"
    assert clock.now < LONG + longest + 1, "they were run as soon as they were free"
    assert len(runner.ns) == many
    assert store.check().ok


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("many", [1, 60])
def test_a_sweep_inside_of_a_run_asks_no_more_for_many_sets_of_others(store, open_store, clock, counts, many):
    clock.plan(60.0, claim(store, sets_of(many)))

    def around(params):
        counts.clear()
        store.sweep(sets_of(many))
        params["custom_data"].update(counts)
        return {}

    asked = open_store(around, OtherResult).run_or_retrieve({"n": 1, "dt": 0.5}).custom_data
    rounds = 60 / 0.3 + 100
    assert asked["statements"] < 2.5 * rounds, asked
    assert asked["changes"] < 2.5 * rounds, asked


def test_a_dead_process_of_this_machine_is_noticed_within_a_second(store, clock, runner):
    other = subprocess.Popen(["sleep", "1000"])
    host, boot, *_ = process.identity().split(".")
    claim(store, sets_of(2), f"{host}.{boot}.{other.pid}.{process._started(other.pid)}.1")
    clock.plan(LONG, lambda: (other.kill(), other.wait()))
    assert store.run_or_retrieve(sets_of(1)[0]).n == 0
    assert LONG <= clock.now < LONG + 1
    assert len(store.sweep(sets_of(2))) == 2


@pytest.mark.parametrize("many", [1, 6])
def test_what_others_have_finished_is_taken_in_although_they_have_not_recorded_it(store, clock, runner, many):
    context = store._context
    requests = plan(context, sets_of(many), True).missing.values()
    workspace.prepare(context.staging, context.database.stay_current)
    context.current_code.prepare()
    tasks = context.database.transact(lambda connection: begin_first_many(context, connection, requests, FAR))
    clock.plan(5.0, lambda: [run.execute(context, task) for task in tasks.values()])
    assert [row.n for row in store.sweep(sets_of(many))] == list(range(many))
    assert 5.0 <= clock.now < 9.0
    assert sorted(runner.ns) == list(range(many)), "each once"


def test_a_sweep_says_for_whom_it_waits_once(store, clock, caplog):
    caplog.set_level(logging.INFO, "entropic")
    clock.plan(5.0, claim(store, sets_of(3)))
    store.sweep(sets_of(3))
    (said,) = [one for one in caplog.messages if one.startswith("waiting for")]
    assert "running on far-away (pid 7)" in said
    assert said.endswith("and for 2 more")
