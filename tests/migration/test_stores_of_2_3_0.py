"""A store that the published 2.3.0 made opens, serves its rows, and loses nothing."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from entropic import Base, Mapped, ModelError, Store, outcome

FROZEN = Path(__file__).with_name("entropic-2.3.0")


class Old(Base):
    __tablename__ = "old"
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


def refuse(params):
    raise AssertionError(f"ran {params} again")


def write(params):
    Path(params["result_file"]).write_text("new")


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copytree(FROZEN, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_rows_are_hits_with_absolute_paths(project):
    store = Store(refuse, Old, file_suffix=".txt")
    row = store.run_or_retrieve({"n": 1, "dt": 0.1, "name": "first"})
    assert row.custom_data["note"] == "made by 2.3.0"
    assert Path(row.result_file) == project / "results" / f"{row.id}.txt"
    assert Path(row.result_file).read_text() == "1 0.1"
    assert [row.n for row in store.sweep([{"n": n, "dt": 1.0, "name": "swept"} for n in (3, 2)])] == [3, 2]
    assert store.retrieve({"id": "My run"}).n == 4
    assert Path(store.retrieve({"n": 5, "dt": 0.5, "name": "registered"}).result_file).read_text() == "by hand"


@pytest.mark.parametrize("files", ["link", "leave"])
def test_it_is_merged_into_a_store_of_now_and_stays_as_it_is(project, files):
    mine = Store(refuse, Old, project / "mine", ".txt", f"sqlite:///{project}/mine.sqlite3")
    before = {path.name: path.read_bytes() for path in (project / "results").iterdir() if path.is_file()}
    assert len(mine.merge(Store(None, Old, file_suffix=".txt"), files=files).taken) == 5
    assert {path.name: path.read_bytes() for path in (project / "results").iterdir() if path.is_file()} == before
    row = mine.run_or_retrieve({"n": 1, "dt": 0.1, "name": "first"})
    assert (row.custom_data["note"], Path(row.result_file).read_text()) == ("made by 2.3.0", "1 0.1")
    assert mine.retrieve({"id": "My run"}).n == 4
    assert mine.check().ok


def test_it_is_in_order(project):
    report = Store(refuse, Old, file_suffix=".txt").check()
    assert report.ok, str(report)
    assert report.rows == 5


def test_a_re_run_gets_a_file_of_its_own_and_leaves_the_old_one(project):
    store = Store(write, Old, file_suffix=".txt")
    old = store.retrieve({"n": 1, "dt": 0.1, "name": "first"})
    new = store.run({"n": 1, "dt": 0.1, "name": "first"})
    assert Path(new.result_file).read_text() == "new"
    assert Path(old.result_file).read_text() == "1 0.1"
    assert old.result_file != new.result_file
    assert store.run_or_retrieve({"n": 1, "dt": 0.1, "name": "first"}).result_file == new.result_file
    assert store.check().ok, str(store.check())


def test_a_delete_with_its_file_removes_it(project):
    store = Store(refuse, Old, file_suffix=".txt")
    row = store.retrieve({"n": 1, "dt": 0.1, "name": "first"})
    assert store.delete({"n": 1, "dt": 0.1, "name": "first"}, remove_file=True)
    assert not Path(row.result_file).exists()
    assert store.check().ok, str(store.check())


def test_a_row_whose_file_is_gone_is_run_again(project):
    store = Store(write, Old, file_suffix=".txt")
    params = {"n": 1, "dt": 0.1, "name": "first"}
    Path(store.retrieve(params).result_file).unlink()
    with pytest.warns(UserWarning, match="is gone"):
        row = store.run_or_retrieve(params)
    assert Path(row.result_file).read_text() == "new"
    assert store.check().ok, str(store.check())


class Grown(Base):
    __tablename__ = "old"
    metadata = MetaData()
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]
    length: Mapped[int] = outcome(len, index=True)


def test_a_column_that_is_measured_is_added_and_filled(project):
    with pytest.raises(ModelError, match="the next process that opens the store to write"):
        Store(None, Grown, file_suffix=".txt")
    store = Store(refuse, Grown, file_suffix=".txt")
    found = store.measure()
    assert (found.filled, found.failed) == (5, {})
    assert {row.length for row in store.select()} == {len(store.load(row)) for row in store.select()}
    assert store.run_or_retrieve({"n": 1, "dt": 0.1, "name": "first"}).length == 5
    assert store.check().ok
    assert len(Store(None, Grown, file_suffix=".txt").select(Grown.length == 5)) > 0
