"""Other transactions: what another program holds, deadlocks, and databases that are stricter than ours need be."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contract.models import PATIENCE, CountingRunner, content, wait_until
from databases import PASSWORD
from entropic import DatabaseBusy, EntropicError, StoreError, key
from servers.crowd import sets

pytestmark = pytest.mark.only_on("postgresql", "mariadb")
ONE, TWO, THREE = sets([1, 2, 3])
LIMIT = 3  # seconds; what is not locked does not take that long, however loaded the machine is


class Outsider:
    """Another program, with a transaction of its own."""

    def __init__(self, place: Any) -> None:
        self.place, self.base = place, place.connect()
        self.say("BEGIN")

    def say(self, sql: str) -> None:
        with contextlib.closing(self.base.cursor()) as cursor:
            cursor.execute(sql)

    def lock(self, table: str, where: str = "") -> None:
        with contextlib.closing(self.base.cursor()) as cursor:
            cursor.execute(f"SELECT * FROM {table} {where} FOR UPDATE")
            cursor.fetchall()


@pytest.fixture
def outsider(place) -> Iterator[Outsider]:
    made = Outsider(place)
    yield made
    made.base.close()


# How many wait for a lock in this database, and how many deadlocks there have been (on MariaDB in all databases).
WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "mariadb": "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p"
    " ON p.id = t.trx_mysql_thread_id WHERE p.db = database() AND t.trx_state = 'LOCK WAIT'",
}
DEADLOCKS = {
    "postgresql": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    "mariadb": "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'Innodb_deadlocks'",
}


def number(place: Any, asked: dict[str, str]) -> int:
    return int(place.fetch(asked[place.kind])[0][0])


def somebody_waits(place: Any) -> bool:
    time.sleep(0.15)  # InnoDB has no news for whoever has asked within the last 0.1 s
    return number(place, WAITING) > 0


def test_a_lock_of_another_program_is_waited_for(open_store, place, runner, outsider):
    store = open_store()
    store.run_or_retrieve(ONE)
    outsider.lock("entropic_ledger")
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(store.run, ONE)
        wait_until(lambda: somebody_waits(place) or waiting.done())
        assert not waiting.done()
        outsider.say("ROLLBACK")
        assert waiting.result(PATIENCE).n == 1
    assert runner.ns == [1, 1]


def test_a_lock_that_is_held_for_too_long_is_an_error_and_nothing_runs(open_store, place, runner, outsider):
    store = open_store(db_url=place.with_options(timeout=LIMIT))
    store.run_or_retrieve(ONE)
    outsider.lock("entropic_ledger")
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(store.run, ONE)
        try:
            with pytest.raises(DatabaseBusy) as caught:
                waiting.result(PATIENCE)
        finally:
            outsider.say("ROLLBACK")
    assert place.database in str(caught.value) and PASSWORD not in str(caught.value)
    assert runner.ns == [1]
    assert store.run(ONE).n == 1


def test_a_hit_needs_no_lock(open_store, place, runner, outsider):
    store = open_store(db_url=place.with_options(timeout=LIMIT))
    store.run_or_retrieve(ONE)
    outsider.lock("entropic_ledger")
    outsider.lock("sim_results")
    assert store.run_or_retrieve(ONE).n == 1
    assert [row.n for row in store.sweep([ONE])] == [1]
    assert runner.ns == [1]


def test_a_result_whose_row_is_locked_for_too_long_is_kept(open_store, place, outsider):
    runner = CountingRunner()
    store = open_store(run=runner, db_url=place.with_options(timeout=LIMIT))
    first = store.run_or_retrieve(ONE)
    runner.during = lambda params: outsider.lock("sim_results")
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(store.run, ONE)
        try:
            with pytest.raises(EntropicError):
                waiting.result(PATIENCE)
        finally:
            outsider.say("ROLLBACK")
    runner.during = None
    assert content(store.run_or_retrieve(ONE))["n"] == 1
    assert store.run_or_retrieve(ONE).created_at > first.created_at
    assert runner.ns == [1, 1]
    assert store.check().ok


def test_a_deadlock_with_another_program_is_survived(open_store, place, runner, outsider):
    store = open_store()
    wanted = sorted(sets(range(40)), key=key)
    for one in store.sweep(wanted):
        store.delete({"id": one.id}, remove_file=True)
    before, stone = number(place, DEADLOCKS), key(wanted[20])
    outsider.lock("entropic_ledger", f"WHERE id = '{stone}'")
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(store.sweep, wanted)  # it claims several at once, in order
        wait_until(lambda: somebody_waits(place) or waiting.done())
        free = {id for (id,) in place.fetch("SELECT id FROM entropic_ledger FOR UPDATE SKIP LOCKED")}
        held = {key(one) for one in wanted} - free - {stone}
        with contextlib.suppress(place.server.driver().Error):  # one of the two has to give way
            outsider.lock("entropic_ledger", f"WHERE id = '{max(held)}'")
        outsider.say("ROLLBACK")
        assert [row.id for row in waiting.result(PATIENCE)] == [key(one) for one in wanted]
    wait_until(lambda: number(place, DEADLOCKS) > before)
    assert [runner.ns.count(n) for n in range(40)] == [2] * 40
    assert store.check().ok


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("level", [pytest.param("repeatable read", marks=pytest.mark.slow), "serializable"])
def test_a_database_that_isolates_more_by_default_makes_no_difference(open_store, place, level):
    place.execute(f"ALTER DATABASE {place.database} SET default_transaction_isolation = '{level}'")
    assert place.fetch("SHOW default_transaction_isolation") == [(level,)]
    runner = CountingRunner()
    stores = [open_store(run=runner) for _ in range(8)]
    start = threading.Barrier(8, timeout=PATIENCE)

    def work(number):
        start.wait()
        mine = sets(range(30)) if number % 2 else sets(range(29, -1, -1))
        rows = stores[number].sweep(mine) if number % 3 else [stores[number].run_or_retrieve(one) for one in mine]
        return sorted(row.n for row in rows)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [list(range(30))] * 8
    assert sorted(runner.ns) == list(range(30))
    assert stores[0].check().ok


@pytest.mark.only_on("mariadb")  # PostgreSQL's lock is a transaction's, which the timeout ends
def test_who_opens_a_new_store_waits_for_who_makes_its_tables_and_for_nobody_else(open_store, place):
    with contextlib.closing(place.connect()) as other, other.cursor() as cursor:
        cursor.execute(f"SELECT get_lock('entropic {place.database}', 0)")
        with pytest.raises(StoreError, match=r"another program has been creating tables in .* for 3 s"):
            open_store(db_url=place.with_options(timeout="3"))
        cursor.execute(f"DO release_lock('entropic {place.database}'), get_lock('entropic another', 0)")
        open_store(db_url=place.with_options(timeout="3"))
