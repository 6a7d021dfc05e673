"""A store that 3.0.0 made opens, serves its rows, and records what was finished, with the formats of that day.

The folder also stands for one of a later version: with other numbers in it, nothing of it is touched.
"""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from entropic import Base, Mapped, ModelError, Store, StoreError, UnreadableError, outcome

FROZEN = Path(__file__).with_name("entropic-3.0.0")
FIRST = {"n": 1, "dt": 0.1, "name": "first"}
FINISHED = {"n": 9, "dt": 0.5, "name": "extra"}


class Frozen(Base):
    __tablename__ = "frozen"
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]


def refuse(params):
    raise AssertionError(f"ran {params} again")


@pytest.fixture
def project(tmp_path, monkeypatch):
    shutil.copytree(FROZEN, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened():
    return Store(refuse, Frozen, file_suffix=".txt")


def sidecar_of(project):
    (found,) = project.glob("results/.entropic/*/*.json")
    return found


def files(project):
    """Return all files but those that every opening may make for itself: the room that it takes, and when it began."""
    found = (path for path in project.glob("results/**/*") if path.is_file())
    return {path: path.read_bytes() for path in found if path.parent.name not in ("reserve", "starts")}


def of_a_later_version(project):
    """Have the finished run told by a later version, in words that this one does not know."""
    path = sidecar_of(project)
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "entropic": 3, "result": {"name": told.pop("execution")}}) + "\n")


def test_its_rows_are_hits(project):
    store = opened()
    row = store.run_or_retrieve(FIRST)
    assert row.custom_data["note"] == "made by 3.0.0"
    assert Path(row.result_file) == project / "results" / f"{row.id}.txt"
    assert [row.n for row in store.sweep([{"n": n, "dt": 1.0, "name": "swept"} for n in (3, 2)])] == [3, 2]
    assert store.run_or_retrieve({"n": 4, "dt": 0.5, "name": "named", "id": "My run"}).n == 4
    assert Path(store.run_or_retrieve({"n": 5, "dt": 0.5, "name": "registered"}).result_file).read_text() == "by hand"
    folder = store.run_or_retrieve({"n": 6, "dt": 0.5, "name": "folder"})
    assert (Path(folder.result_file) / "part.txt").read_text() == "6 0.5"
    assert [failure.params["n"] for failure in store.failures()] == [8]


def test_its_finished_run_is_recorded_and_not_run_again(project):
    row = opened().run_or_retrieve(FINISHED)
    assert row.custom_data["note"] == "finished"
    assert Path(row.result_file).read_text() == "9 0.5"
    assert len(list(project.glob(f"results/{row.id}.txt.*.files/notes.txt"))) == 1
    assert not list(project.glob("results/.entropic/*/*.txt"))


def test_it_is_in_order(project):
    report = opened().check()
    assert not [one for kind, found in report.kinds().items() if kind != "leftovers" for one in found], str(report)
    assert report.rows == 8


def test_a_finished_run_of_a_later_version_is_kept_and_said_once(project, caplog):
    of_a_later_version(project)
    before = files(project)
    store = opened()
    opened()
    assert len([record for record in caplog.records if "a later version of entropic" in record.message]) == 1
    (found,) = store.check().unreadable
    assert "upgrade entropic" in found.text
    store.repair()
    store.gc(orphans=True)
    store.sweep([FIRST])
    assert files(project) == before
    assert store.status().stored == 7


@pytest.mark.parametrize("act", ["run_or_retrieve", "run", "sweep", "delete"])
def test_a_call_for_a_key_that_a_later_version_has_finished_neither_runs_nor_removes_it(project, act):
    of_a_later_version(project)
    before, store = files(project), opened()
    with pytest.raises(UnreadableError, match="upgrade entropic"):
        getattr(store, act)([FINISHED] if act == "sweep" else FINISHED)
    assert files(project) == before


def test_a_sweep_that_goes_on_runs_all_but_what_a_later_version_has_finished(project):
    of_a_later_version(project)
    with pytest.warns(UserWarning, match="1 of 2 sets"):
        rows = opened().sweep([FINISHED, FIRST], on_error="continue")
    assert [row.n for row in rows] == [1]


def test_what_a_later_version_has_finished_is_neither_a_hit_nor_planned_as_stored_nor_to_be_run(project):
    of_a_later_version(project)
    before, store = files(project), opened()
    found = store.explain(FINISHED)
    assert (found.state, found.hit) == ("unreadable", False)
    assert "its run has finished, but " in found.reason
    assert "upgrade entropic" in found.reason
    plan = store.plan([FIRST, FINISHED])
    assert (plan.stored, plan.unreadable, len(plan)) == ([FIRST], [FINISHED], 2)
    assert plan.missing == plan.running == plan.failed == []
    assert "1 unreadable, finished with a later version of entropic" in str(plan)
    assert "unreadable" in plan._repr_html_()
    status = store.status()
    assert (status.stored, status.running, status.dead) == (7, {}, [])
    assert files(project) == before


def test_what_this_version_can_record_is_a_hit_and_planned_as_stored(project):
    store = Store(refuse, Frozen, file_suffix=".txt", read_only=True)
    assert (store.explain(FINISHED).state, store.plan([FINISHED]).stored) == ("stored", [FINISHED])
    assert "unreadable" not in str(store.plan([FINISHED]))


def test_the_version_that_wrote_it_records_it_afterwards(project):
    text = sidecar_of(project).read_text()
    of_a_later_version(project)
    opened().repair()
    sidecar_of(project).write_text(text)
    assert opened().run_or_retrieve(FINISHED).custom_data["note"] == "finished"


def test_a_database_of_a_later_version_is_refused_with_a_sentence(project):
    before = files(project)
    with sqlite3.connect("db.sqlite3") as connection:
        connection.execute("UPDATE entropic_meta SET value = '3' WHERE name = 'schema_version'")
    connection.close()
    with pytest.raises(StoreError, match=r"later version of entropic .*upgrade entropic"):
        opened()
    assert files(project) == before


class Grown(Base):
    __tablename__ = "frozen"
    metadata = MetaData()
    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str]
    kind: Mapped[str] = outcome(lambda result: type(result).__name__)


def test_a_column_that_is_measured_is_filled_for_what_was_finished_before_there_was_one_too(project):
    with pytest.raises(ModelError, match="the next process that opens the store to write"):
        Store(None, Grown, file_suffix=".txt")
    store = Store(refuse, Grown, file_suffix=".txt", loader=lambda path: path)
    assert store.run_or_retrieve(FINISHED).kind is None
    found = store.measure()
    assert found.failed == {}
    assert {row.kind for row in store.select()} == {"str"}
    assert store.check().ok
