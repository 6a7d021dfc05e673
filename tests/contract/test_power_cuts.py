"""The first opening after the machine was started anew: what it may have lost is run again, and nothing else is."""

import os
import shutil
import time
import warnings
from pathlib import Path

import pytest

from entropic import ResultLostWarning
from entropic.files import finish
from entropic.support import process

SIZE = 1 << 20
ONE, TWO = {"n": 1, "dt": 0.5}, {"n": 2, "dt": 0.5}


class Holes:
    """Writes results with a hole for `n` = 1, and without one for others; counts its calls."""

    def __init__(self, folder=False):
        self.ns, self.folder = [], folder

    def __call__(self, params):
        self.ns.append(params["n"])
        path = Path(params["result_file"])
        if self.folder:
            path.mkdir()
            (path / "whole").write_bytes(b"x" * SIZE)
            path = path / "data"
        with open(path, "wb") as file:
            if params["n"] == 1:
                file.seek(SIZE)
            file.write(b"x" * SIZE)


@pytest.fixture(autouse=True)
def _holes(tmp_path):
    probe = tmp_path / "probe"
    with open(probe, "wb") as file:
        file.truncate(SIZE)
        if os.lseek(file.fileno(), 0, os.SEEK_HOLE) >= SIZE:
            pytest.skip("this file system knows no holes")


@pytest.fixture
def restart(monkeypatch):
    """Let this machine look as if it was started anew."""
    names = iter("abcdefgh")

    def start():
        name = next(names)
        monkeypatch.setattr(process, "start_of_machine", lambda: name)

    return start


def opened(open_store, runner, **options):
    """Open a store; return it, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResultLostWarning)
        store = open_store(runner, **options)
    return store, [str(one.message) for one in caught]


@pytest.mark.slow
@pytest.mark.parametrize("folder", [False, True])
def test_a_late_result_with_a_hole_runs_again_after_a_restart_and_a_whole_one_does_not(open_store, restart, folder):
    runner = Holes(folder)
    open_store(runner).sweep([ONE, TWO])
    restart()
    store, told = opened(open_store, runner)
    assert len(told) == 1
    assert "1 result of the latest runs" in told[0]
    assert [str(one) for one in store.check().damaged] == [
        f"{store.retrieve(ONE).id}: {store.retrieve(ONE).result_file} may not have reached the disk whole before the "
        "machine went down; it runs again when asked for"
    ]
    assert "may not have reached" in str(store.explain(ONE))
    with pytest.warns(ResultLostWarning, match="may not have reached the disk"):
        assert len(store.sweep([ONE, TWO])) == 2
    assert runner.ns == [1, 2, 1]
    assert store.check().ok


@pytest.mark.slow
def test_a_restart_is_looked_at_once(open_store, restart):
    runner = Holes()
    open_store(runner).run(ONE)
    restart()
    store, told = opened(open_store, runner)
    assert told
    with pytest.warns(ResultLostWarning):
        store.run_or_retrieve(ONE)
    assert opened(open_store, runner)[1] == [], "it has been run since, with a hole again"
    restart()
    assert opened(open_store, runner)[1]


def test_without_a_restart_holes_are_no_reason(open_store):
    runner = Holes()
    open_store(runner).run(ONE)
    store, told = opened(open_store, runner)
    assert not told
    store.run_or_retrieve(ONE)
    assert runner.ns == [1]


def test_what_was_stored_long_before_the_latest_run_is_trusted(open_store, restart, monkeypatch):
    runner = Holes()
    store = open_store(runner)
    with monkeypatch.context() as patch:
        patch.setattr(finish, "now_as_text", lambda: "2020-01-01T00:00:00.000000")
        store.run(ONE)
    store.run(TWO)
    restart()
    assert opened(open_store, runner)[1] == []


@pytest.mark.slow
def test_a_run_that_took_long_enough_to_wait_for_the_disk_is_trusted(open_store, restart):
    runner = Holes()

    def slow(params):
        runner(params)
        time.sleep(1.6)

    open_store(slow).run(ONE)
    restart()
    assert opened(open_store, slow)[1] == []


def test_a_store_that_waits_for_the_disk_distrusts_nothing(open_store, restart):
    runner = Holes()
    open_store(runner, fsync=True).run(ONE)
    restart()
    assert opened(open_store, runner, fsync=True)[1] == []


def test_a_registered_file_is_the_users_and_is_trusted(open_store, restart, tmp_path):
    runner = Holes()
    runner({"n": 1, "result_file": str(tmp_path / "mine")})
    open_store(runner).register(ONE, tmp_path / "mine")
    restart()
    assert opened(open_store, runner)[1] == []


@pytest.mark.slow
def test_a_distrusted_result_can_be_deleted_and_collected(open_store, restart):
    runner = Holes()
    for remove in (lambda store: store.delete(ONE, remove_file=True), lambda store: store.gc(n=1)):
        row = open_store(runner).run(ONE)
        restart()
        store, told = opened(open_store, runner)
        assert told
        assert remove(store)
        assert not os.path.exists(row.result_file)
        assert store.check().ok


@pytest.mark.slow
def test_results_that_are_gone_after_a_restart_are_lost_as_ever(open_store, restart):
    runner = Holes()
    row = open_store(runner).run(ONE)
    shutil.move(row.result_file, row.result_file + ".moved")
    restart()
    store, told = opened(open_store, runner)
    assert not told
    with pytest.warns(ResultLostWarning, match="is gone"):
        store.run_or_retrieve(ONE)


@pytest.mark.slow
def test_a_store_that_only_looks_says_what_may_be_damaged_and_records_nothing(open_store, restart):
    runner = Holes()
    open_store(runner).sweep([ONE, TWO])
    restart()
    for _ in range(2):
        store, told = opened(open_store, runner, read_only=True)
        assert len(told) == 1
        assert "1 result of the latest runs" in told[0]
        assert store.check().ok
    assert len(opened(open_store, runner)[1]) == 1
    assert opened(open_store, runner, read_only=True)[1] == []
