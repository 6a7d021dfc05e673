"""Leases in one process: renewed for every store of it, and without a thread for each of them."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from types import SimpleNamespace

import pytest

from contract.models import PATIENCE, CountingRunner, run_python, wait_until
from entropic.protocol.heartbeat import Thread
from entropic.support import process

ONE = {"n": 1, "dt": 0.5}
pytestmark = pytest.mark.only_on("sqlite")


ALONE = """
import sys, threading
from contract.models import CountingRunner, SimResult, wait_until
from entropic import Store

ONE = {"n": 1, "dt": 0.5}

def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("entropic-")]

def open_one(number=0, **options):
    url = f"sqlite:///{sys.argv[1]}/{number}.sqlite3"
    return Store(CountingRunner(), SimResult, f"{sys.argv[1]}/{number}", ".json", url, **options)
"""  # in a process of its own: the threads of this one may be those of other tests


@pytest.mark.slow
def test_forty_stores_that_have_run_something_leave_one_thread_at_most(tmp_path):
    run_python(
        ALONE
        + """
stores = [open_one(number) for number in range(40)]
for store in stores:
    store.run_or_retrieve(ONE)
assert len(threads()) <= 1, threads()
assert all(store.retrieve(ONE) for store in stores)
""",
        tmp_path,
    )


@pytest.mark.slow
def test_the_thread_ends_when_nothing_has_been_renewed_for_a_while(tmp_path):
    run_python(
        ALONE
        + """
store = open_one(lease=0.3)
store.run_or_retrieve(ONE)
wait_until(lambda: not threads())
store.run_or_retrieve({"n": 2, "dt": 0.5})
wait_until(lambda: not threads())
""",
        tmp_path,
    )


@pytest.mark.slow
def test_leases_of_several_stores_are_renewed_though_the_database_of_one_is_locked(open_store, tmp_path):
    """The first store has the longer lease, and somebody writes in its database all the time."""
    begun, go, moved = threading.Event(), threading.Event(), []

    def wait(params):
        begun.set()
        assert go.wait(PATIENCE)

    def look(params):
        other, mine = (sqlite3.connect(tmp_path / f"{name}.sqlite3") for name in ("locked", "free"))
        with closing(other), closing(mine):
            other.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                seen = lease_of(mine)
                wait_until(lambda seen=seen: lease_of(mine) > seen)
                moved.append(True)

    def lease_of(connection):
        return connection.execute("SELECT lease_until FROM entropic_ledger").fetchall()[0][0]

    def open_one(name, during, lease):
        url = f"sqlite:///{tmp_path / name}.sqlite3"
        return open_store(run=CountingRunner(during=during), db_url=url, results_dir=tmp_path / name, lease=lease)

    locked, free = open_one("locked", wait, 0.3), open_one("free", look, 0.6)
    thread = threading.Thread(target=locked.run, args=(ONE,))
    thread.start()
    assert begun.wait(PATIENCE)
    free.run(ONE)
    go.set()
    thread.join()
    assert len(moved) == 3
    assert locked.check().ok
    assert free.check().ok


AT_EXIT = """
import atexit
store = open_one(lease=0.6)
later = open_one(1, lease=0.6)

def moves(params):
    before = until()
    wait_until(lambda: until() > before)
    CountingRunner()(params)

def until():
    return renewing._context.ledger.find(renewing._context.hasher(ONE)).lease_until

renewing = Store(moves, SimResult, f"{sys.argv[1]}/2", ".json", f"sqlite:///{sys.argv[1]}/2.sqlite3", lease=0.6)
start = threading.Thread.start

def refuse(self):  # as Python 3.12 does while it ends
    if self.name.startswith("entropic-"):
        raise RuntimeError("can't create new thread at interpreter shutdown")
    start(self)

def late():
    threading.Thread.start = refuse
    calls = (store.run, store.run_or_retrieve, lambda one: store.sweep([one]), lambda one: list(store.stream([one])))
    for method in calls:
        method({"n": next(numbers), "dt": 0.5})
    store.sweep([{"n": next(numbers), "dt": 0.5}], workers=1)
    assert len(store.select()) == 5
    assert store.check().ok
    threading.Thread.start = start
    renewing.run(ONE)
    print("done")

import itertools
numbers = itertools.count()
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["late()", "atexit.register(late)"])
def test_what_runs_where_no_thread_can_begin_runs_and_later_leases_are_renewed_again(tmp_path, when):
    if when != "late()":  # a thread that renews may really be refused by then
        when = "renewing = None\n" + when
        code = ALONE + AT_EXIT.replace("    renewing.run(ONE)\n", "") + when
    else:
        code = ALONE + AT_EXIT + when
    assert run_python(code, tmp_path).endswith("done\n")


def test_a_claim_that_comes_while_the_heartbeat_ends_is_renewed(open_store):
    store = open_store()
    store.run_or_retrieve(ONE)
    keeper, renewed = Thread(store._context.ledger), []
    keeper._ledger = SimpleNamespace(renew=renewed.extend)
    keeper._beats, is_left = True, keeper.living
    call = process.Call()

    def living():
        found = is_left()
        if not found and not keeper._attempts:
            keeper.add("some id", "1-00000001", call.name)  # of another thread, which sees that the clock still calls
        return found

    keeper.living = living
    with call.under_way:
        assert keeper.renew()
    assert renewed == [("some id", "1-00000001")]
    keeper.living = is_left
    assert not keeper.renew(), "its owner is dead, and nothing is left"
