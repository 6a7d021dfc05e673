"""The process that renews leases where a thread might not: one for all stores of a process, and it is always there."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from contract.models import run_python, wait_until
from entropic.protocol import lease_process
from entropic.protocol.lease_parent import message

pytestmark = [
    pytest.mark.only_on("sqlite"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system with namespaces"),
]

BEGIN = """
import gc, os, signal, sqlite3, sys, threading
from contextlib import closing
import psutil
from contract.models import CountingRunner, SimResult, gone, wait_until
from entropic import Store
from entropic.support import process

process.is_contained = lambda: True  # so that leases of a store in a file are renewed by a process, too
ONE = {"n": 1, "dt": 0.5}
go, begun = threading.Event(), threading.Semaphore(0)

def helpers():
    # Nothing else is started here, but git, which tells of the commit.
    return [one.pid for one in psutil.Process().children() if not gone(one.pid) and one.name() != "git"]

def hold(params):
    begun.release()
    assert go.wait(90)

def open_one(number, lease=0.3, during=None):
    url = f"sqlite:///{sys.argv[1]}/{number}.sqlite3"
    return Store(CountingRunner(during=during), SimResult, f"{sys.argv[1]}/{number}", ".json", url, lease=lease)

def until(number):
    with closing(sqlite3.connect(f"{sys.argv[1]}/{number}.sqlite3", timeout=60)) as base:
        return base.execute("SELECT max(lease_until) FROM entropic_ledger").fetchone()[0]

def all_are_renewed(numbers):
    before = [until(number) for number in numbers]
    for number, then in zip(numbers, before):
        wait_until(lambda: until(number) > then)

def begin(stores):
    threads = [threading.Thread(target=store.run, args=(ONE,)) for store in stores]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=90)
    return threads
"""

MANY = """
stores = [open_one(number, lease=0.3 + number / 10, during=hold) for number in range(6)]
threads = begin(stores)
(first,) = helpers()
all_are_renewed(range(6))
os.kill(first, signal.SIGKILL)  # as the system does when memory is short; nothing is claimed after that
wait_until(lambda: helpers() not in ([], [first]))
all_are_renewed(range(6))
(second,) = helpers()
go.set()
for thread in threads:
    thread.join()
assert all(store.check().ok for store in stores)
assert helpers() == [second]
print("done")
"""

LAST = """
kept, count = open_one("kept"), None
kept.run(ONE)
(helper,) = helpers()
for number in range(6):
    store = open_one(number)
    store.run(ONE)
    del store
    gc.collect()
    seen = psutil.Process(helper).num_threads(), psutil.Process(helper).num_fds()
    count = count or seen
    assert helpers() == [helper]
from entropic.protocol.lease_parent import the_process
wait_until(lambda: len(the_process._books) == 1)
wait_until(lambda: psutil.Process(helper).num_threads() == 1)
assert psutil.Process(helper).num_fds() <= count[1]
del kept
gc.collect()
wait_until(lambda: helpers() == [])  # a thread that looks after it may have the store in its hands for a moment
again = open_one("again")
again.run(ONE)
assert len(helpers()) == 1 and helpers() != [helper]
print("done")
"""

FORKED = """
store, other = open_one(0, during=hold), open_one(1, during=hold)
threads = begin([store])
(mine,) = helpers()
if (pid := os.fork()) == 0:
    signal.alarm(90)  # ends a child that hangs
    try:
        assert helpers() == []
        (thread,) = begin([other])
        (own,) = helpers()
        all_are_renewed([1])
        go.set()
        thread.join()
        del other
        gc.collect()
        wait_until(lambda: gone(own))
        assert helpers() == [] and not gone(mine)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
all_are_renewed([0])
assert helpers() == [mine]
go.set()
threads[0].join()
print("done")
"""


@pytest.mark.slow
def test_a_process_with_many_databases_has_one_lease_process_and_another_if_that_is_killed(tmp_path):
    assert run_python(BEGIN + MANY, tmp_path) == "done\n"


@pytest.mark.slow
def test_the_lease_process_ends_with_its_last_store_and_keeps_nothing_of_those_before(tmp_path):
    assert run_python(BEGIN + LAST, tmp_path) == "done\n"


@pytest.mark.slow
def test_a_forked_child_has_a_lease_process_of_its_own(tmp_path):
    assert run_python(BEGIN + FORKED, tmp_path) == "done\n"


@pytest.fixture
def renewing():
    """The program, to be told everything by the test."""
    command = [sys.executable, "-I", "-S", lease_process.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0) as popen:

        def say(**what):
            popen.stdin.write(message(what))

        say(parent=os.getpid())
        yield say


def test_before_there_is_anything_to_renew_it_has_imported_next_to_nothing():
    command = [sys.executable, "-I", "-S", "-X", "importtime", lease_process.__file__]
    done = subprocess.run(command, input=message({"parent": os.getpid()}), capture_output=True, check=True)
    imported = {line.rpartition(b"|")[2].strip() for line in done.stderr.splitlines()}
    assert b"select" in imported
    assert not imported & {b"json", b"re", b"typing", b"threading", b"importlib"}


@pytest.mark.slow
def test_a_database_that_does_not_answer_delays_no_other(renewing, tmp_path):
    path, common = tmp_path / "beats", {"path": sys.path, "before": [], "after": [], "every": 0.05, "attempts": {}}
    with (
        closing(sqlite3.connect(path, 60, isolation_level=None)) as base,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        base.execute("CREATE TABLE beats (count INTEGER)")
        base.execute("INSERT INTO beats VALUES (0)")

        def count():
            return base.execute("SELECT count FROM beats").fetchone()[0]

        there = {"host": "127.0.0.1", "port": silent.getsockname()[1], "user": "anybody"}
        renewing(open=1, driver="pymysql", arguments=there, sql="SELECT 1", **common)
        renewing(add="one", values=[], **{"in": 1})
        silent.settimeout(80)
        connected, _ = silent.accept()
        with connected:  # nothing is said there, and it waits for that without end
            here = {"database": str(path), "isolation_level": None}
            renewing(open=2, driver="sqlite3", arguments=here, sql="UPDATE beats SET count = count + ?", **common)
            renewing(add="other", values=[1], **{"in": 2})
            wait_until(lambda: count() > 5)
            renewing(stop="other", **{"in": 2})
            renewing(open=3, driver="sqlite3", arguments=here, sql="UPDATE beats SET count = -9", **common)
            renewing(add="third", values=[], **{"in": 3})  # is heard, and so is all before it
            wait_until(lambda: count() == -9)
            renewing(close=3)
