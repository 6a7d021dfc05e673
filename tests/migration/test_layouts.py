"""Tables of an earlier version become those of now by themselves: killed before a statement, or by two at once."""

import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from entropic import Base, Mapped, Store, StoreError
from entropic.db import layout
from entropic.db.connection import Connection
from entropic.db.tables import LATER

FROZEN = Path(__file__).with_name("entropic-3.0.0")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Layout(Base):
    __tablename__ = "frozen"
    metadata = sa.MetaData()
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


FIRST = {"n": 1, "dt": 0.1, "name": "first"}


def opened(**options):
    return Store(lambda params: pytest.fail("ran again"), Layout, file_suffix=".txt", **options)


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copytree(FROZEN, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def version():
    with sqlite3.connect("db.sqlite3") as connection:
        ((found,),) = connection.execute("SELECT value FROM entropic_meta WHERE name = 'schema_version'")
    connection.close()
    return int(found)


def columns(table):
    with sqlite3.connect("db.sqlite3") as connection:
        found = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    connection.close()
    return found


def child(act):
    """Do something in a child process, which imports nothing anew; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        act()
        os._exit(0)
    except BaseException:  # the child must end here
        os._exit(1)


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def opening_killed_at(number):
    """Open the store, and be killed before a statement that changes something, whoever sends it."""
    count = [0]

    def step(_, __, sql, *___):
        if sql.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            return
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", step)
    real = Connection.change

    def change(self, sql, *given):
        step(None, None, sql)
        return real(self, sql, *given)

    Connection.change = change
    opened()


def test_a_store_that_is_opened_to_write_gets_the_tables_of_now(project):
    assert version() == 1
    opened()
    assert version() == layout.VERSION
    assert "inputs" in columns("entropic_ledger")
    assert columns("entropic_inputs")
    assert opened().run_or_retrieve(FIRST).n == 1


def test_a_ledger_gains_no_column_without_another_version():
    later = {2: ["environment", "code", "cpu_seconds", "peak_memory", "inputs"]}  # that of this version needs no look
    assert [column.name for column in LATER] == later[layout.VERSION]


def test_a_store_that_is_only_looked_at_stays_as_it_was(project):
    before = (project / "db.sqlite3").read_bytes()
    assert opened(read_only=True).run_or_retrieve(FIRST).n == 1
    assert opened(read_only=True).inputs(FIRST) == []
    assert (project / "db.sqlite3").read_bytes() == before


@pytest.mark.slow
def test_an_upgrade_that_is_killed_before_any_statement_is_finished_by_the_next_opening(project):
    database = (project / "db.sqlite3").read_bytes()
    for number in range(1, 500):
        for rest in ("-wal", "-shm", "-journal"):
            (project / f"db.sqlite3{rest}").unlink(missing_ok=True)
        (project / "db.sqlite3").write_bytes(database)
        code = ended(child(lambda number=number: opening_killed_at(number)))
        assert code in (0, -signal.SIGKILL)
        store = opened()
        assert version() == layout.VERSION
        assert "inputs" in columns("entropic_ledger")
        assert store.run_or_retrieve(FIRST).n == 1
        del store
        if code == 0:
            break
    assert number > 3


@pytest.mark.slow
def test_two_processes_that_upgrade_at_once_both_open(project):
    reading, writing = os.pipe()

    def act():
        os.close(writing)
        os.read(reading, 1)  # until the parent closes it
        assert opened().run_or_retrieve(FIRST).n == 1

    pids = [child(act) for _ in range(2)]
    os.close(writing)
    os.close(reading)
    assert [ended(pid) for pid in pids] == [0, 0]
    assert version() == layout.VERSION
    assert opened().run_or_retrieve(FIRST).n == 1


def test_an_older_entropic_refuses_the_tables_of_now_before_it_touches_them(project, monkeypatch):
    opened()
    monkeypatch.setattr(layout, "VERSION", 1)
    before = (project / "db.sqlite3").read_bytes()
    for options in ({}, {"read_only": True}):
        with pytest.raises(StoreError, match=r"its tables are version 2, this one knows 1\); upgrade entropic"):
            opened(**options)
    assert (project / "db.sqlite3").read_bytes() == before
