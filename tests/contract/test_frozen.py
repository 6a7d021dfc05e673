"""What is frozen under a name is there as it was, whatever becomes of the rows, the results and the database."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.added_models import changing_in
from contract.models import SimResult
from databases import until
from entropic import (
    FrozenError,
    ModelError,
    ParameterError,
    ReadOnlyError,
    ResultLostWarning,
    ResultMissingError,
    Store,
    StoreError,
    added,
    outcome,
    removed,
    renamed,
)
from entropic.upkeep import archive

ONE, TWO, THREE = ({"n": n, "dt": 0.5} for n in (1, 2, 3))


@pytest.fixture
def factor():
    return [1]


@pytest.fixture
def store(open_store, factor):
    """A store with three results, which other code is about to change."""
    made: Any = open_store(lambda params: params["n"] * factor[0])
    made.sweep([ONE, TWO, THREE])
    return made


def values(store: Any) -> dict[int, Any]:
    return {row.n: store.load(row) for row in store.select()}


@pytest.mark.slow
def test_what_is_frozen_outlives_re_runs_deletes_gc_and_the_database(store, factor, tmp_path, place):
    before = {row.id: (row.created_at, row.params) for row in store.select(SimResult.n < 3)}
    frozen = store.freeze("paper-v1", SimResult.n < 3)
    assert (frozen.name, frozen.results) == ("paper-v1", 2)
    factor[0] = 10
    store.run(ONE)
    store.delete(TWO, remove_file=True)
    at = store.at("paper-v1")
    assert values(at) == {1: 1, 2: 2}
    store.gc(SimResult.n > 0)
    assert store.select() == []
    at = store.at("paper-v1")
    assert values(at) == {1: 1, 2: 2}
    assert {row.id: (row.created_at, row.params) for row in at.select()} == before
    assert at.check().ok
    assert store.check().ok
    place.execute("DELETE FROM entropic_ledger")
    assert values(store.at("paper-v1")) == {1: 1, 2: 2}


@pytest.mark.slow
def test_it_is_read_as_any_store_and_cannot_be_changed(store):
    store.freeze("paper-v1")
    at = store.at("paper-v1")
    assert list(at.to_pandas()["n"]) == [1, 2, 3]
    assert at.select().to_xarray()["result"].sel(n=2) == 2
    assert list(at.select(n=3).load()) == [3]
    assert at.load(ONE) == 1
    assert at.run_or_retrieve(ONE).n == 1
    assert at.read_only
    with pytest.raises(ReadOnlyError):
        at.run(ONE)
    with pytest.raises(ReadOnlyError):
        at.delete(ONE)


@pytest.mark.slow
def test_its_files_share_their_data_with_the_results(store):
    frozen = store.freeze("paper-v1", n=1)
    row, mine = store.at("paper-v1").retrieve(ONE), store.retrieve(ONE)
    assert row.result_file.startswith(frozen.path)
    assert os.path.samefile(row.result_file, mine.result_file)


@pytest.mark.slow
def test_a_frozen_result_that_was_changed_is_an_error_that_says_so(store):
    store.freeze("paper-v1")
    Path(store.retrieve(ONE).result_file).write_text("777")
    at = store.at("paper-v1")
    for read in (
        lambda: at.load(ONE),
        lambda: list(at.select(n=1).load()),
        lambda: at.select().to_xarray(),
        lambda: at.to_pandas(results="result"),
    ):
        with pytest.raises(FrozenError, match="was changed since it was frozen as 'paper-v1'"):
            read()
    assert at.load(TWO) == 2
    os.unlink(at.retrieve(TWO).result_file)
    with pytest.raises(ResultMissingError):
        at.load(TWO)


@pytest.mark.slow
def test_a_result_with_another_time_is_compared_by_its_content(store):
    store.freeze("paper-v1")
    at = store.at("paper-v1")
    path = at.retrieve(ONE).result_file
    os.utime(path, (1, 1))
    assert at.load(ONE) == 1
    Path(path).write_text("8")  # of the same size
    with pytest.raises(FrozenError):
        at.load(ONE)


@pytest.mark.slow
def test_a_project_that_was_copied_has_what_was_frozen(store, tmp_path, open_store):
    store.freeze("paper-v1")
    shutil.copytree(tmp_path / "results", tmp_path / "copied", copy_function=shutil.copyfile)
    copied = open_store(None, results_dir=tmp_path / "copied")
    assert values(copied.at("paper-v1")) == {1: 1, 2: 2, 3: 3}


@pytest.mark.slow
def test_a_store_in_another_database_has_what_was_frozen(store, tmp_path):
    store.freeze("paper-v1", n=1)
    other = store.copy_to(f"sqlite:///{tmp_path}/another.db")
    assert [one.name for one in other.frozen()] == ["paper-v1"]
    assert values(other.at("paper-v1")) == {1: 1}


@pytest.mark.slow
def test_results_of_several_files_are_frozen_as_a_whole(open_store, tmp_path):
    def run(params):
        folder = Path(params["result_file"]).parent
        (folder / "main.json").write_text("1")
        (folder / "beside.txt").write_text("2")

    store: Any = open_store(run, file_suffix="/main.json")
    store.run_or_retrieve(ONE)
    store.freeze("paper-v1")
    beside = Path(store.retrieve(ONE).result_file).parent / "beside.txt"
    store.run(ONE)
    at = store.at("paper-v1")
    assert at.load(ONE) == 1
    Path(at.retrieve(ONE).result_file).with_name("beside.txt").write_text("33")
    with pytest.raises(FrozenError):
        at.load(ONE)
    assert beside.read_text() == "2"


@pytest.mark.slow
def test_a_loader_of_the_user_reads_what_is_frozen(open_store):
    store: Any = open_store(lambda params: 1, loader=lambda path: ("mine", Path(path).read_text()))
    store.run_or_retrieve(ONE)
    store.freeze("paper-v1")
    assert store.at("paper-v1").load(ONE) == ("mine", "1")


@pytest.mark.slow
def test_a_registered_file_is_copied_since_its_owner_may_write_into_it(store, tmp_path):
    (tmp_path / "mine.json").write_text("7")
    store.register({"n": 9, "dt": 0.5}, tmp_path / "mine.json")
    store.freeze("paper-v1", n=9)
    (tmp_path / "mine.json").write_text("8")
    assert store.at("paper-v1").load({"n": 9, "dt": 0.5}) == 7


@pytest.mark.slow
def test_a_name_is_used_once_until_it_is_unfrozen(store):
    store.freeze("paper-v1", n=1)
    with pytest.raises(StoreError, match="frozen selection never changes"):
        store.freeze("paper-v1")
    store.freeze("paper-v2", n=2)
    assert [str(one).partition(",")[0] for one in store.frozen()] == ["paper-v1: 1 result", "paper-v2: 1 result"]
    assert store.unfreeze("paper-v1").results == 1
    with pytest.raises(StoreError, match="nothing of SimResult is frozen as 'paper-v1'; there is: paper-v2"):
        store.at("paper-v1")
    assert values(store) == {1: 1, 2: 2, 3: 3}
    store.freeze("paper-v1", n=3)
    assert values(store.at("paper-v1")) == {3: 3}


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "x" * 101, "paper.zip", 7, None])
def test_what_is_no_name_is_refused(store, name):
    with pytest.raises(ParameterError, match="the name of a frozen selection"):
        store.freeze(name)
    with pytest.raises(ParameterError):
        store.at(name)


@pytest.mark.slow
def test_all_is_frozen_or_nothing(store):
    with pytest.raises(StoreError, match="no row of SimResult meets"):
        store.freeze("paper-v1", n=77)
    os.unlink(store.retrieve(TWO).result_file)
    with pytest.raises(StoreError, match=r"not as it was stored: .* is gone"):
        store.freeze("paper-v1")
    assert store.frozen() == []
    store.freeze("paper-v1", SimResult.n != 2)


@pytest.mark.slow
def test_nothing_is_frozen_in_a_store_that_only_looks_but_what_is_can_be_read(store, open_store):
    store.freeze("paper-v1", n=1)
    looking = open_store(None)
    with pytest.raises(ReadOnlyError):
        looking.freeze("paper-v2")
    with pytest.raises(ReadOnlyError):
        looking.unfreeze("paper-v1")
    assert values(looking.at("paper-v1")) == {1: 1}


@pytest.mark.slow
def test_a_link_that_entropic_did_not_make_is_not_followed(store, beside, tmp_path):
    store.freeze("paper-v1", n=1)
    folder = Path(store.frozen()[0].path).parent
    shutil.rmtree(folder)
    folder.symlink_to(beside)
    assert store.frozen() == []
    with pytest.raises(StoreError, match="a link that entropic did not make"):
        store.freeze("paper-v1")


@pytest.mark.slow
@pytest.mark.parametrize("told", ["", "[]", '{"entropic": 1, "made_at": 7}', '{"entropic": "x"}'])
def test_what_was_not_written_by_entropic_is_no_selection(store, told):
    path = store.freeze("paper-v1", n=1).path
    (Path(path) / "frozen.json").write_text(told)
    assert store.frozen() == []


@pytest.mark.slow
def test_what_a_later_version_has_frozen_is_told_from_what_is_not_there_and_hides_no_other(store):
    store.freeze("paper-v2", n=2)
    about = Path(store.freeze("paper-v1", n=1).path) / "frozen.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "entropic": 99}))
    assert [one.name for one in store.frozen()] == ["paper-v2"]
    for look in (store.at, store.unfreeze):
        with pytest.raises(StoreError, match=r"paper-v1 cannot be read: a later version .*; upgrade"):
            look("paper-v1")
    assert values(store.at("paper-v2")) == {2: 2}


@pytest.mark.slow
def test_a_frozen_store_travels_to_other_processes(store):

    store.freeze("paper-v1", n=1)
    if store._context.database.in_memory:
        return
    assert values(pickle.loads(pickle.dumps(store.at("paper-v1")))) == {1: 1}


@pytest.mark.slow
def test_the_folder_can_be_read_without_the_store(store, tmp_path):
    path = store.freeze("paper-v1", n=1).path
    names = {"README.md", "SHA256SUMS", "db.sqlite3", "frozen.json", "results", "rows.csv", "schema.json"}
    assert names <= set(os.listdir(path))
    kept = Store(None, SimResult, f"{path}/results", ".json", f"sqlite:///{path}/db.sqlite3")
    assert values(kept) == {1: 1}


@pytest.mark.slow
def test_a_file_in_a_frozen_folder_that_was_changed_in_place_is_an_error(open_store):
    def write(params):
        np.save(params["result_file"], np.arange(3))

    store = open_store(write, file_suffix="/out.npy")
    row = store.run_or_retrieve(ONE)
    store.freeze("paper-v1")
    assert store.at("paper-v1").load(ONE).tolist() == [0, 1, 2]
    until(lambda: time.time_ns() > os.stat(row.result_file).st_mtime_ns + 10**7, "the clock goes on")
    mapped = np.load(row.result_file, mmap_mode="r+")
    mapped[:] = 99
    mapped.flush()
    os.utime(row.result_file)
    with pytest.raises(FrozenError):
        store.at("paper-v1").load(ONE)


# ---- a model that has changed since ----------------------------------------------------------------------------------
def kind_of(**columns: Any) -> type[Any]:
    return changing_in("frozen_before", n=int, **columns)


@pytest.fixture
def opened(place, tmp_path):
    """Open a store on the table of `kind_of`."""

    def open_it(model: type[Any], **options: Any) -> Any:
        options = {"results_dir": tmp_path / "results", "file_suffix": ".json", "db_url": place.url} | options
        return Store(lambda params: {"n": params["n"]}, model, **options)

    return open_it


@pytest.mark.slow
def test_what_was_frozen_before_a_parameter_came_belongs_to_its_default(opened):
    first = opened(kind_of())
    old = first.run_or_retrieve({"n": 1})
    first.freeze("paper-v1")
    columns = {
        "solver": (str, added('it\'s 100% "rk4" ? :x', index=True)),
        "depth": (int | None, added(None)),
        "day": (date, added(date(2026, 1, 2))),
        "data": (dict[str, Any], added({"a": [1, None]})),
        "size": (int, outcome(len)),
    }
    store = opened(kind_of(**columns))
    store.run_or_retrieve({"n": 1, "solver": "euler"})
    at = store.at("paper-v1")
    assert [row.id for row in at.select()] == [old.id]
    row = at.retrieve({"n": 1})
    assert (row.solver, row.depth, row.day, row.data) == (
        'it\'s 100% "rk4" ? :x',
        None,
        date(2026, 1, 2),
        {"a": [1, None]},
    )
    assert row.size is None
    assert at.run_or_retrieve({"n": 1, "solver": row.solver}).id == old.id
    assert at.retrieve({"n": 1, "solver": "euler"}) is None
    assert [row.n for row in at.select(solver=row.solver, day=date(2026, 1, 2))] == [1]
    assert at.select(solver="euler") == at.select(depth=3) == []
    assert list(at.to_pandas()["solver"]) == [row.solver]
    assert at.load({"n": 1}) == {"n": 1}
    assert at.check().ok
    assert [row.n for row in first.at("paper-v1").select()] == [1]


@pytest.mark.slow
def test_what_was_frozen_before_a_parameter_was_renamed_removed_or_retyped_is_read_under_its_key(opened):
    first = opened(kind_of(step=int, solver=str))
    old = first.run_or_retrieve({"n": 1, "step": 2, "solver": "rk4"})
    first.freeze("paper-v1")
    changed = kind_of(dt=(float, renamed("step", retyped=int)), solver=(str, removed("rk4")))
    row = opened(changed).at("paper-v1").retrieve({"n": 1, "dt": 2.0})
    assert (row.id, repr(row.dt)) == (old.id, "2.0")


@pytest.mark.slow
def test_an_archive_is_read_by_a_model_that_has_gained_parameters(opened, tmp_path):
    first = opened(kind_of())
    first.run_or_retrieve({"n": 1})
    first.archive(tmp_path / "archive")
    where = {"results_dir": tmp_path / "archive" / "results", "db_url": f"sqlite:///{tmp_path}/archive/db.sqlite3"}
    found = opened(kind_of(solver=(str, added("rk4"))), **where, read_only=True)
    assert [row.solver for row in found.select()] == ["rk4"]


@pytest.mark.slow
def test_what_was_frozen_with_columns_that_are_no_more_says_how_it_is_opened(opened, tmp_path):
    first = opened(kind_of(depth=int))
    first.run_or_retrieve({"n": 1, "depth": 2})
    path = first.freeze("paper-v1").path
    first.delete({"n": 1, "depth": 2})
    with pytest.warns(ResultLostWarning):
        other = opened(kind_of(), db_url=f"sqlite:///{tmp_path}/another.sqlite3")
    with pytest.raises(ModelError, match="with the model of then"):
        other.at("paper-v1")
    where = {"results_dir": f"{path}/results", "db_url": f"sqlite:///{path}/db.sqlite3", "read_only": True}
    assert len(opened(kind_of(depth=int), **where).select()) == 1


# ---- what a kill leaves ---------------------------------------------------------------------------------------------
FREEZE = """
import os, signal, sys
from entropic.upkeep import archive
from contract.test_frozen import kind_of
from entropic import Store

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

store = Store(print, kind_of(), sys.argv[1], ".json", sys.argv[2])
setattr(archive, "_settle", die)
store.freeze("paper-v1")
"""


@pytest.mark.slow
def test_what_a_killed_freeze_has_left_is_found_and_goes(opened, place, tmp_path):
    store = opened(kind_of())
    store.run_or_retrieve({"n": 1})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])}
    done = subprocess.run([sys.executable, "-c", FREEZE, str(store.results_dir), place.url], env=environment)
    assert done.returncode == -signal.SIGKILL
    (left,) = store.check().leftovers
    assert ".paper-v1." in left.path
    assert "gc() removes it" in left.text
    assert store.frozen() == []
    assert [one.path for one in store.gc(dry_run_=True).removed] == [left.path]
    assert os.path.exists(left.path)
    assert [one.path for one in store.gc().removed] == [left.path]
    assert not os.path.exists(left.path)
    assert store.check().ok
    assert store.freeze("paper-v1").results == 1
    assert store.load({"n": 1}) == {"n": 1}


@pytest.mark.slow
def test_what_is_being_frozen_now_is_no_leftover(opened, monkeypatch):
    store = opened(kind_of())
    store.run_or_retrieve({"n": 1})
    settle, seen = archive._settle, []

    def look(*given):
        seen.append((store.check().leftovers, store.gc().removed))
        settle(*given)

    monkeypatch.setattr(archive, "_settle", look)
    assert store.freeze("paper-v1").results == 1
    assert seen == [([], [])]


@pytest.mark.slow
def test_what_a_killed_unfreeze_has_left_goes(opened, monkeypatch):
    store = opened(kind_of())
    store.run_or_retrieve({"n": 1})
    path = store.freeze("paper-v1").path
    over = os.path.join(os.path.dirname(path), ".paper-v1.over")
    os.rename(path, over)  # as far as it came
    assert [one.path for one in store.check().leftovers] == [over]
    assert [one.path for one in store.gc().removed] == [over]
    assert store.check().ok
    assert store.load({"n": 1}) == {"n": 1}
