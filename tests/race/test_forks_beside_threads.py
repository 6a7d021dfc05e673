"""A child that is forked in the middle of something waits for no thread of its parent, and removes nothing of it."""

import os

import pytest

from contract.models import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

BEGIN = """
import contextlib, os, shutil, signal, sqlite3, sys, threading, time, warnings
from pathlib import Path
from entropic import Base, Mapped, Store

warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
folder = Path(sys.argv[1])

class Sim(Base):
    __tablename__ = "forked_sims"
    n: Mapped[int]

def write(params):
    Path(params["result_file"]).write_text("1")

def forked(act):
    if (pid := os.fork()) == 0:
        signal.alarm(90)  # ends a child that hangs
        act()
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

COPYING = """
made = Store(write, Sim, folder / "results", ".txt", f"sqlite:///{folder / 'db.sqlite3'}")
made.run({"n": 1})
(folder / "left").mkdir()
with contextlib.closing(sqlite3.connect(folder / "db.sqlite3")) as base:
    base.execute("UPDATE entropic_models SET float_rounding = float_rounding")
    base.commit()
    for end in ("", "-wal"):  # as a process that has died leaves it
        shutil.copyfile(f"{folder / 'db.sqlite3'}{end}", f"{folder / 'left' / 'db.sqlite3'}{end}")
store = Store(write, Sim, folder / "results", ".txt", f"sqlite:///{folder / 'left' / 'db.sqlite3'}", read_only=True)
kept = store.select()  # holds the copy, which a child must not remove at its end
forked_status = forked(lambda: store.select())
again = []
thread = threading.Thread(target=lambda: again.append(len(store.select())))  # with a connection of its own
thread.start()
thread.join()
print(forked_status, len(kept), *again)
"""


@pytest.mark.slow
def test_a_forked_child_leaves_the_copy_of_a_database_alone_that_its_parent_reads(tmp_path):
    assert run_python(BEGIN + COPYING, tmp_path).split() == ["0", "1", "1"]


SWEEPING = """
from entropic.support import background
from entropic.sweep.share import Share
background.PATIENCE = 0.1  # the fork gives up waiting for the thread, which waits for what comes after it
inside, held, go_on = threading.Event(), threading.Event(), threading.Event()
children, plain = [], Share.publish_if_due

def slow(self):  # by the thread that keeps the time of a sweep: it holds the lock that the sweep needs between runs
    if inside.is_set() and threading.current_thread() is not threading.main_thread():
        held.set()
        go_on.wait()
    return plain(self)

Share.publish_if_due = slow

def write_or_fork(params):
    if params["n"] == 1:
        inside.set()
        held.wait()
        if (pid := os.fork()) == 0:
            signal.alarm(90)
            sys.exit(3)  # through all that the sweep has on its way out
        children.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        go_on.set()
    write(params)

store = Store(write_or_fork, Sim, folder / "results", ".txt", f"sqlite:///{folder / 'db.sqlite3'}")
rows = store.sweep({"n": n} for n in range(3))
print(*children, len(rows), store.check().ok)
"""


@pytest.mark.slow
def test_a_child_that_a_runner_forks_in_the_middle_of_a_sweep_ends(tmp_path):
    assert run_python(BEGIN + SWEEPING, tmp_path).split() == ["3", "3", "True"]


AGAIN = """
from entropic.support import forks
store = Store(write, Sim, folder / "results", ".txt", f"sqlite:///{folder / 'db.sqlite3'}")
store.run({"n": 1})
held, go_on = threading.Event(), threading.Event()

def fork_in_another_thread():
    forks._first()
    held.set()
    go_on.wait()
    forks._then()

thread = threading.Thread(target=fork_in_another_thread)
thread.start()
held.wait()
forks._then()  # by this thread, whose fork is over: each hook is done twice
go_on.set()
thread.join()
signal.alarm(90)  # what would wait for ever
print(len(store.sweep({"n": n} for n in range(3))))
"""


@pytest.mark.slow
def test_a_fork_that_is_over_leaves_alone_what_the_next_one_holds(tmp_path):
    assert run_python(BEGIN + AGAIN, tmp_path).split() == ["3"]
