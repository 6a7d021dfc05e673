"""A clock that was wrong for a while, and a host that was started again, block no set."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from entropic import RunsFailedWarning
from entropic.db.claim_record import longest_lease
from entropic.support import process

ONE = {"n": 1, "dt": 0.5}
YEAR = 365 * 86400.0
FAR = "far-away.0badcafe.7.1234.1"
HERE = f"{process.identity().split('.')[0]}.0badcafe.7.1234.1"


def claim(store, place, owner=FAR, until=30.0, since=0.0):
    """Claim the set for somebody else: `until` and `since` are seconds from now, by the database's clock."""
    context = store._context
    id = context.hasher(ONE)
    context.ledger.claim_first(context.database.connection(), id, owner, f"{id}.json")
    now = context.ledger.find(id).now
    place.execute(f"UPDATE entropic_ledger SET lease_until = {now + until!r}, since = {now + since!r}")
    return context.ledger.find(id)


def test_a_claim_of_a_year_ahead_does_not_block_its_set(store, place, runner):
    assert claim(store, place, until=YEAR, since=YEAR - 60).dead
    assert store.explain(ONE).state == "missing"
    assert store.run_or_retrieve(ONE).n == 1
    assert runner.ns == [1]
    assert store.check().ok


def test_a_lease_that_was_renewed_while_the_clock_was_ahead_does_not_block_its_set(store, place):
    assert claim(store, place, until=YEAR, since=-5.0).dead
    assert [row.n for row in store.sweep([ONE])] == [1]


def test_repair_gives_back_a_claim_of_a_year_ahead(store, place):
    claim(store, place, until=YEAR, since=YEAR - 60)
    assert store.status().dead
    assert len(store.check().dead_claims) == 1
    assert any("released" in done for done in store.repair().done)
    assert store.check().ok


def test_a_claim_is_judged_by_the_longest_lease_that_any_store_has(store, open_store, place):
    found = claim(store, place, until=3_000.0)
    assert found.dead
    open_store(lease=3600.0)
    open_store(lease=600)
    assert not store._context.ledger.find(found.id).dead
    assert not open_store()._context.ledger.find(found.id).dead
    assert claim(store, place, until=YEAR).dead


def test_a_lease_that_has_not_ended_counts(store, place):
    assert not claim(store, place, until=50.0).dead
    assert claim(store, place, until=-1.0).dead


@pytest.mark.parametrize("recorded", [None, "", "soon", "nan", "inf", "-5", "7"])
def test_a_longest_lease_that_is_no_time_is_the_usual_one(recorded):
    assert longest_lease(recorded) == 60.0


def test_repair_gives_back_what_an_earlier_start_of_this_host_claimed(store, open_store, place, monkeypatch, runner):
    open_store(lease=3600.0)
    claim(store, place, owner=HERE, until=3_500.0, since=-100.0)
    monkeypatch.setattr(process, "uptime", lambda: 50.0)
    (finding,) = store.check().dead_claims
    assert "before this host was restarted" in str(finding)
    assert store.status().dead == [finding.id]
    assert not store.status().running
    assert str(finding) in store.repair(dry_run=True).done
    assert any("released" in done for done in store.repair().done)
    assert store.check().ok
    store.run_or_retrieve(ONE)
    assert runner.ns == [1]


@pytest.mark.parametrize("case", ["another host", "since it was started", "renewed since"])
def test_repair_leaves_claims_that_may_be_alive(store, open_store, place, monkeypatch, case):
    open_store(lease=3600.0)
    owner = FAR if case == "another host" else HERE
    until = 3_590.0 if case == "renewed since" else 3_500.0
    claim(store, place, owner=owner, until=until, since=-40.0 if case == "since it was started" else -100.0)
    monkeypatch.setattr(process, "uptime", lambda: 50.0)
    assert store.check().ok
    assert not store.repair().done
    assert len(store.status().running) == 1


def test_the_time_since_this_machine_was_started_goes_on():
    assert 0 < process.uptime() <= process.uptime()


@pytest.mark.parametrize("options", [{}, pytest.param({"workers": 1}, marks=pytest.mark.slow)], ids=str)
def test_what_failed_while_a_clock_was_ahead_is_tried_again(open_store, monkeypatch, options):
    def refuse(params):
        raise ValueError("refused")

    true = time.time
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: true() + 3600.0)
        with pytest.raises(ValueError, match="refused"):
            open_store(run=refuse).run(ONE)
    store = open_store()
    assert [row.n for row in store.sweep([ONE], on_error="continue", **options)] == [1]
    assert store.failures() == []


@pytest.mark.slow
def test_what_fails_while_a_sweep_goes_on_is_not_tried_again_by_it_though_a_clock_is_behind(open_store, monkeypatch):
    """As another process runs it: while the first set runs here, the second one fails there."""
    tries = []

    def refuse(params):
        raise ValueError("refused")

    def run(params):
        tries.append(params["n"])
        if params["n"] == 1:
            true = time.time
            with monkeypatch.context() as behind:
                behind.setattr(time, "time", lambda: true() - 3600.0)
                with pytest.raises(ValueError, match="refused"):
                    open_store(run=refuse).run({**ONE, "n": 2})
        Path(params["result_file"]).write_text("x")

    store = open_store(run=run)
    with pytest.warns(RunsFailedWarning, match="1 of 2"):
        rows = store.sweep([ONE, {**ONE, "n": 2}], on_error="continue")
    assert [row.n for row in rows] == [1]
    assert tries == [1]
