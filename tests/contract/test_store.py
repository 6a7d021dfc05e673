"""Opening a store: what it creates, which arguments it takes, what it refuses to be opened on."""

from __future__ import annotations

import inspect
import threading
import traceback
from pathlib import Path

import pytest

from contract.models import CountingRunner, OtherResult, SimResult, content, write_params
from databases import Place
from entropic import Base, EntropicError, ModelError, Store, StoreError

ONE = {"n": 1, "dt": 0.5}


def test_opening_a_store_creates_the_results_folder_with_its_parents(open_store, tmp_path):
    open_store(results_dir=tmp_path / "a" / "b" / "results")
    assert (tmp_path / "a" / "b" / "results").is_dir()


def test_an_existing_results_folder_is_kept_as_it_is(open_store, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "notes.txt").write_text("mine")
    open_store()
    assert (tmp_path / "results" / "notes.txt").read_text() == "mine"


def test_opening_a_store_creates_the_tables_of_all_models(store, place):
    assert {"sim_results", "other_results"} <= place.tables()


def test_opening_a_store_runs_nothing(store, runner):
    assert runner.calls == []


def test_the_results_folder_may_be_a_string_or_a_path(open_store, tmp_path):
    row = open_store(results_dir=tmp_path / "results").run(ONE)
    assert open_store(results_dir=str(tmp_path / "results")).retrieve(ONE).result_file == row.result_file


def test_the_defaults_are_results_h5_and_db_sqlite3_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = Store(write_params, SimResult).run(ONE)
    assert Path(row.result_file).parent == tmp_path / "results"
    assert Path(row.result_file).suffix == ".h5"
    assert "sim_results" in Place.on_sqlite(tmp_path).tables()


def test_the_arguments_may_be_given_by_position(place, tmp_path):
    row = Store(write_params, SimResult, tmp_path / "r", ".npy", place.url).run(ONE)
    assert Path(row.result_file).parent == tmp_path / "r"
    assert row.result_file.endswith(".npy")
    assert "sim_results" in place.tables()


def test_every_further_option_is_keyword_only():
    parameters = list(inspect.signature(Store).parameters.values())
    assert [p.name for p in parameters[:5]] == ["runner", "result_cls", "results_dir", "file_suffix", "db_url"]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[5:])
    assert {"lease", "float_rounding", "fsync"} <= {p.name for p in parameters[5:]}


def test_an_option_given_by_position_is_refused(place, tmp_path):
    with pytest.raises(TypeError):
        Store(write_params, SimResult, tmp_path, ".h5", place.url, 60.0)


def test_a_store_is_generic_in_its_model():
    assert Store[SimResult].__args__ == (SimResult,)


@pytest.mark.each
@pytest.mark.parametrize("method", ["run", "run_or_retrieve", "retrieve", "register"])
def test_methods_that_return_a_record_return_an_instance_of_the_model(store, method, tmp_path):
    (tmp_path / "made.json").write_text("{}")
    if method == "retrieve":
        store.run(ONE)
    more = (tmp_path / "made.json",) if method == "register" else ()
    assert type(getattr(store, method)(ONE, *more)) is SimResult


@pytest.mark.each
@pytest.mark.parametrize("suffix", [".h5", ".npy", ".csv", ".tar.gz"])
def test_the_file_suffix_ends_the_name_of_the_result_and_of_the_place_the_runner_writes_to(open_store, runner, suffix):
    row = open_store(file_suffix=suffix).run(ONE)
    assert row.result_file.endswith(suffix)
    assert runner.calls[0]["result_file"].endswith(suffix)


def test_a_reopened_store_knows_what_was_run(open_store, runner):
    row = open_store().run(ONE)
    again = open_store().run_or_retrieve(ONE)
    assert (again.id, again.result_file, again.created_at) == (row.id, row.result_file, row.created_at)
    assert len(runner.calls) == 1


def test_two_models_share_a_database_and_a_folder_without_overwriting_each_other(open_store):
    sim, other = open_store(), open_store(model=OtherResult)
    first, second = sim.run(ONE, who="sim"), other.run(ONE, who="other")
    assert first.id == second.id
    assert first.result_file != second.result_file
    assert content(first)["custom_data"] == {"who": "sim"}
    assert content(second)["custom_data"] == {"who": "other"}
    assert other.delete(ONE, remove_file=True)
    assert content(sim.retrieve(ONE))["custom_data"] == {"who": "sim"}
    assert sim.check().ok


def test_a_store_does_not_see_the_rows_of_another_model(open_store):
    open_store().run(ONE)
    assert open_store(model=OtherResult).retrieve(ONE) is None


@pytest.mark.only_on("sqlite")
def test_a_database_in_memory_works_within_one_process(open_store, runner):
    store = open_store(db_url="sqlite://")
    row = store.run(ONE)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(store.run_or_retrieve(ONE).id))
    thread.start()
    thread.join()
    assert seen == [row.id]
    assert len(store.sweep([ONE, {"n": 2, "dt": 0.5}])) == 2
    assert runner.ns == [1, 2]


@pytest.mark.only_on("sqlite")
def test_two_stores_in_memory_share_nothing(open_store, tmp_path):
    open_store(db_url="sqlite://").run(ONE)
    assert open_store(db_url="sqlite://", results_dir=tmp_path / "second").retrieve(ONE) is None


def test_a_store_that_syncs_to_disk_gives_the_same_results(open_store, runner):
    store = open_store(fsync=True)
    row = store.run(ONE)
    assert content(store.run_or_retrieve(ONE))["n"] == 1
    assert store.retrieve(ONE).result_file == row.result_file
    assert len(runner.calls) == 1


class NoBase:
    __tablename__ = "no_base"


class AbstractResult(Base):
    __abstract__ = True


@pytest.mark.each
@pytest.mark.parametrize("model", [NoBase, dict, Base, AbstractResult, "SimResult", None, SimResult.__table__])
def test_a_result_cls_that_is_no_model_is_refused(open_store, model):
    with pytest.raises(ModelError) as caught:
        open_store(model=model)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, EntropicError)


@pytest.mark.parametrize("url", ["s3://bucket/runs", "file:///runs", Path("gs://bucket/runs")])
@pytest.mark.only_on("sqlite")  # as well as on any other: none is opened
def test_a_results_folder_that_is_a_url_is_refused_and_makes_no_folder(open_store, tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="is a URL, not a folder"):
        open_store(results_dir=url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.only_on("sqlite")  # as well as on any other: none is opened
@pytest.mark.parametrize("folder", [3, None, ["results"]], ids=str)
def test_a_results_folder_that_is_no_path_is_refused(open_store, folder):
    with pytest.raises(StoreError, match="must be the path of a folder"):
        open_store(results_dir=folder)


def test_a_results_folder_that_is_a_file_is_refused(open_store, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="taken"):
        open_store(results_dir=tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "a file"


@pytest.mark.only_on("sqlite")
def test_a_database_that_is_none_is_refused_and_left_alone(open_store, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious words " * 100)
    with pytest.raises(StoreError, match=r"thesis\.txt"):
        open_store(db_url=f"sqlite:///{tmp_path / 'thesis.txt'}")
    assert (tmp_path / "thesis.txt").read_text() == "precious words " * 100


@pytest.mark.only_on("sqlite")
def test_why_a_database_cannot_be_opened_is_told_without_how_sqlalchemy_connects(open_store, tmp_path):
    with pytest.raises(StoreError, match="in an existing folder") as caught:
        open_store(db_url=f"sqlite:///{tmp_path / 'nowhere' / 'db.sqlite3'}")
    told = "".join(traceback.format_exception(caught.value))
    assert "OperationalError: unable to open database file" in told
    assert "site-packages" not in told


@pytest.mark.parametrize("url", ["oracle://u@localhost/db", "nonsense", ""])
@pytest.mark.only_on("sqlite")  # as well as on any other: none is opened
def test_a_url_of_a_database_that_a_store_does_not_know_is_refused(open_store, url):
    with pytest.raises(StoreError):
        open_store(db_url=url)


def test_a_rounding_that_does_not_exist_is_refused_with_the_ones_that_do(open_store):
    with pytest.raises((EntropicError, ValueError), match=r"decimal.*significant"):
        open_store(float_rounding="none")


def test_each_call_gets_the_runner_of_its_own_store(open_store):
    first, second = CountingRunner(), CountingRunner()
    open_store(run=first).run(ONE)
    open_store(run=second).run({"n": 2, "dt": 0.5})
    assert (first.ns, second.ns) == ([1], [2])
