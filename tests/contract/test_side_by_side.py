"""What one part of a store does while another is in the middle of something."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from contract.models import CountingRunner, OtherResult, SimResult
from entropic import ResultLostWarning, RunsFailedWarning, key
from entropic.db.dialects import dialect
from entropic.db.engine import Database
from entropic.db.settings import LONGEST_LEASE, Settings
from entropic.executors import attempt
from entropic.files import workspace
from entropic.protocol import claim, run
from entropic.protocol.request import Progress
from entropic.support.process import Call

ONE = {"n": 1, "dt": 0.5}


def abandoned(store):
    """Claim a re-run as a sweep on a cluster does that is interrupted: its worker goes on."""
    context = store._context
    request = run.prepare(context, key(ONE), ONE, {})
    workspace.prepare(context.staging, context.database.stay_current)
    task = claim.claim(context, request, Call().name, Progress(forced=True))
    context.database.transact(lambda connection: context.ledger.abandon(connection, task.id, task.attempt))
    return task


def test_a_row_that_was_deleted_does_not_come_back_with_an_attempt_that_ends_later(open_store):
    store = open_store()
    store.run_or_retrieve(ONE)
    task = abandoned(store)
    assert store.delete(ONE, remove_file=True)
    attempt.run(task, CountingRunner())  # only now
    store = open_store()
    assert store.retrieve(ONE) is None
    assert store.repair().left.ok


@pytest.mark.only_on("sqlite")
def test_a_stream_of_a_copied_project_that_may_only_be_read_yields_its_rows(open_store, tmp_path):
    rows = open_store().sweep([{"n": n, "dt": 0.5} for n in range(3)])
    for row in rows:
        os.utime(row.result_file, (5, 5))
    store = open_store(read_only=True)
    assert [row.n for row in store.stream([{"n": n, "dt": 0.5} for n in range(3)])] == [0, 1, 2]


def test_a_claim_that_entropic_did_not_make_fails_its_own_set_of_a_copied_project(open_store, place):
    sets = [{"n": n, "dt": 0.5} for n in range(4)]
    store = open_store()
    for row in store.sweep(sets):
        os.utime(row.result_file, (5, 5))
    place.execute("UPDATE entropic_ledger SET attempt = 'none' WHERE id = ?", key(sets[1]))
    with pytest.warns(ResultLostWarning), pytest.warns(RunsFailedWarning, match="1 of 4 sets"):
        rows = store.sweep(sets, on_error="continue")
    assert [row.n for row in rows] == [0, 2, 3]


def test_sizes_that_a_power_cut_has_put_in_doubt_are_not_counted(open_store, place):
    store = open_store()
    store.run_or_retrieve(ONE)
    place.execute("UPDATE entropic_ledger SET size = -1")
    assert store.status().size == 0


@pytest.mark.only_on("sqlite")
def test_of_two_leases_that_are_recorded_at_once_the_longer_is_kept(open_store, monkeypatch):
    open_store(lease=100)
    plain, once = Settings._agree, [True]

    def interrupted(self, table, name, value):
        found = plain(self, table, name, value)
        if name == LONGEST_LEASE and once:
            once.clear()
            open_store(lease=3600)
        return found

    monkeypatch.setattr(Settings, "_agree", interrupted)
    store = open_store(lease=72000)
    rows = store._context.database.connection().fetch("SELECT value FROM entropic_meta WHERE name = 'longest_lease'")
    assert [float(value) for (value,) in rows] == [72000]


def test_the_process_that_renews_leases_is_told_how_the_connection_is_secured(monkeypatch):
    pytest.importorskip("pymysql")
    database = Database("mariadb://me@127.0.0.1/lab?ssl_ca=/etc/ca.pem&ssl_cert=/etc/me.pem")
    assert database.told()["arguments"]["ssl"] == {"ca": "/etc/ca.pem", "cert": "/etc/me.pem"}
    assert dialect("mariadb://me@127.0.0.1/lab") is not None


class Outer:
    """Asks another store for a result, and writes how its worker treats SIGTERM before and after."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, params):
        before = signal.getsignal(signal.SIGTERM)
        self.inner.run_or_retrieve({"n": params["n"], "dt": 0.5})
        Path(params["result_file"]).write_text(str(signal.getsignal(signal.SIGTERM) is before))


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_run_that_asks_for_another_leaves_its_worker_deaf_to_what_its_parent_is_told(open_store):
    outer = open_store(Outer(open_store(CountingRunner(), OtherResult)), SimResult)
    (row,) = outer.sweep([ONE], workers=1)
    assert Path(row.result_file).read_text() == "True"
