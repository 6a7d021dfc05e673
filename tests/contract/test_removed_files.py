"""The database or the results are removed, or replaced, while a store is open: nothing is written into what is gone."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import warnings
from pathlib import Path

import pytest

from contract.models import CountingRunner, SimResult
from entropic import PublishError, ResultLostWarning, Store, StoreError

ONE, TWO, THREE = ({"n": n, "dt": 0.5} for n in (1, 2, 3))
FILES = ("db.sqlite3", "db.sqlite3-wal", "db.sqlite3-shm")

# What runs something; each takes a set that is not stored.
CALLS = {
    "run_or_retrieve": lambda store, params: store.run_or_retrieve(params),
    "run": lambda store, params: store.run(params),
    "sweep": lambda store, params: store.sweep([params, THREE]),
    "stream": lambda store, params: list(store.stream([params, THREE])),
    "workers": lambda store, params: store.sweep([params, THREE], workers=1),
    "register": lambda store, params: store.register(params, __file__),
    "delete": lambda store, params: store.delete(ONE, remove_file=True),
    "check": lambda store, params: store.check(),
    "gc": lambda store, params: store.gc(),
    "gc dry": lambda store, params: store.gc(orphans=True, dry_run=True),
    "freeze": lambda store, params: store.freeze("some"),
    "thread": lambda store, params: in_thread(store, params),
}
call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def in_thread(store: Store, params: dict) -> None:
    errors: list[BaseException] = []

    def act() -> None:
        try:
            store.run_or_retrieve(params)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def open_in(folder: Path, runner) -> Store[SimResult]:
    return Store(runner, SimResult, folder / "results", ".json", f"sqlite:///{folder / 'db.sqlite3'}")


@pytest.fixture
def filled(tmp_path, runner) -> Store[SimResult]:
    store = open_in(tmp_path, runner)
    store.run_or_retrieve(ONE)
    return store


def take_away(folder: Path, to: Path | None = None) -> None:
    for name in FILES:
        if (path := folder / name).exists():
            path.unlink() if to is None else path.rename(to / name)


@call
def test_nothing_runs_and_nothing_is_recorded_once_the_database_was_removed(filled, tmp_path, runner, call):
    take_away(tmp_path)
    with pytest.raises(StoreError, match="was removed or moved while this store was open"):
        call(filled, TWO)
    assert runner.ns == [1]
    assert not (tmp_path / "db.sqlite3").exists(), "an empty database was made in its place"


@call
def test_nothing_runs_once_another_database_has_taken_its_place(filled, tmp_path, runner, call):
    take_away(tmp_path)
    with pytest.warns(ResultLostWarning, match="rebuild"):
        open_in(tmp_path, runner)
    with pytest.raises(StoreError, match="was replaced by another one"):
        call(filled, TWO)
    assert runner.ns == [1]


@pytest.mark.slow
@call
def test_a_database_that_was_put_back_is_gone_on_with(filled, tmp_path, runner, call):
    (tmp_path / "away").mkdir()
    take_away(tmp_path, to=tmp_path / "away")
    with pytest.raises(StoreError):
        filled.run_or_retrieve(TWO)
    for path in (tmp_path / "away").iterdir():
        shutil.copy2(path, tmp_path / path.name)  # as another file
    call(filled, TWO)
    assert filled.run_or_retrieve(TWO).n == 2
    assert open_in(tmp_path, runner).retrieve(TWO).n == 2, "it was written into the file that is gone"
    assert open_in(tmp_path, runner).check().ok


@pytest.mark.slow
@call
def test_a_project_that_was_moved_away_is_not_begun_anew_in_its_old_place(tmp_path, runner, call):
    (tmp_path / "project").mkdir()
    store = open_in(tmp_path / "project", runner)
    store.run_or_retrieve(ONE)
    (tmp_path / "project").rename(tmp_path / "moved")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResultLostWarning)  # of the first set, which has gone with it
        with pytest.raises(StoreError, match="was removed or moved while this store was open"):
            call(store, TWO)
    assert not (tmp_path / "project").exists(), "which would be in the way of putting it back"
    (tmp_path / "moved").rename(tmp_path / "project")
    call(store, TWO)
    assert store.check().ok


def test_a_backup_is_gone_on_with_and_what_it_lacks_runs_again(filled, tmp_path, runner):
    with sqlite3.connect(tmp_path / "db.sqlite3") as source, sqlite3.connect(tmp_path / "backup") as target:
        source.backup(target)
    filled.run_or_retrieve(TWO)
    take_away(tmp_path)
    (tmp_path / "backup").rename(tmp_path / "db.sqlite3")
    filled.run_or_retrieve(THREE)
    other = open_in(tmp_path, runner)
    assert [row.n for row in other.select(order_by="n")] == [1, 3]


@pytest.mark.parametrize("several", [False, True], ids=["run_or_retrieve", "sweep"])
def test_a_run_during_which_the_database_goes_is_kept_and_recorded_when_it_is_back(tmp_path, several):
    (tmp_path / "away").mkdir()
    runner = CountingRunner(during=lambda params: params["n"] == 2 and take_away(tmp_path, to=tmp_path / "away"))
    store = open_in(tmp_path, runner)
    store.run_or_retrieve(ONE)
    with pytest.raises((PublishError, StoreError), match="was removed or moved"):
        store.sweep([TWO]) if several else store.run_or_retrieve(TWO)
    for path in (tmp_path / "away").iterdir():
        path.rename(tmp_path / path.name)
    assert store.run_or_retrieve(TWO).n == 2
    assert runner.ns == [1, 2], "a finished run was thrown away"
    assert store.check().ok


@pytest.mark.slow
def test_a_fork_makes_no_empty_database_in_the_place_of_one_that_was_removed(filled, tmp_path):
    take_away(tmp_path)
    pid = os.fork()
    if pid == 0:
        try:
            filled.retrieve(ONE)
        except StoreError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert not (tmp_path / "db.sqlite3").exists()


# ---- results -----------------------------------------------------------------------------------------------------
RUNS = {name: CALLS[name] for name in ("run_or_retrieve", "run", "sweep", "stream", "workers")}


@pytest.mark.slow
@pytest.mark.parametrize("call", RUNS.values(), ids=RUNS)
def test_results_that_were_removed_under_a_store_are_told_before_the_next_run_which_then_succeeds(
    store, tmp_path, runner, call
):
    store.run_or_retrieve(ONE)
    shutil.rmtree(tmp_path / "results")
    with pytest.warns(ResultLostWarning, match="was removed while this store was open"):
        call(store, TWO)
    assert store.retrieve(TWO).n == 2
    assert Path(store.retrieve(TWO).result_file).exists()
    with pytest.warns(ResultLostWarning, match="is gone"):
        store.run_or_retrieve(ONE)
    assert store.check().ok


def test_a_workspace_alone_that_was_removed_is_made_anew_in_silence(store, runner):
    store.run_or_retrieve(ONE)
    for path in Path(store._context.staging.root).glob("*.work"):
        path.rmdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.run_or_retrieve(TWO)
    assert runner.ns == [1, 2]
    assert store.check().ok
