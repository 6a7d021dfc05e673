"""What joblib, signac and psweep keep becomes results of a store; nothing is unpickled that nobody trusts."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import psweep
import pytest
import signac

from contract.models import Colour, write_params
from entropic import Base, JoblibCache, Mapped, ParameterError, PsweepFrame, SignacWorkspace, Store, outcome


class Sim(Base):
    __tablename__ = "imported_sims"

    n: Mapped[int]
    dt: Mapped[float]
    name: Mapped[str | None]
    energy: Mapped[float] = outcome()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def open_it(suffix: str = ".json", model: Any = Sim, **options: Any) -> Store[Any]:
    return Store(write_params, model, "results", suffix, "sqlite:///db.sqlite3", **options)


class Trap:
    """Leaves a file beside the test when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("sprung"),)


# ---- joblib ----------------------------------------------------------------------------------------------------------
def simulate(n, dt=0.1, *, name="a", verbose=False):
    return {"energy": n * dt, "trace": [n, dt]}


def other(n):
    return n


@pytest.fixture
def cached():
    memory = joblib.Memory("cache", verbose=0)
    function = memory.cache(simulate)
    function(1)
    function(2, np.float64(0.25), name="it's")
    function(np.int64(3), 1e-17)
    return function


LEFT_OUT = {"verbose": None}


def test_a_cache_of_joblib_is_taken_in_as_values(cached):
    store = open_it()
    source = JoblibCache("cache", trust_pickles=True, columns=LEFT_OUT)
    assert len(store.import_results(source, dry_run=True).taken) == 3
    done = store.import_results(source)
    assert (len(done.taken), done.left, done.conflicts) == (3, [], [])
    row = store.run_or_retrieve({"n": 2, "dt": 0.25, "name": "it's"})
    assert store.load(row) == {"energy": 0.5, "trace": [2, 0.25]}
    assert row.energy == 0.5
    assert row.custom_data["imported"]["by"] == "joblib"
    assert row.custom_data["imported"]["function"] == "simulate"
    assert row.custom_data["elapsed_seconds"] >= 0
    assert store.run_or_retrieve({"n": 3, "dt": 1e-17, "name": "a"}).energy == pytest.approx(3e-17)
    assert store.check().ok
    again = store.import_results(source)
    assert (again.taken, again.same, again.ok) == ([], 3, True)


@pytest.mark.slow
@pytest.mark.parametrize("given", ["memory", "function", "name", "folder"])
def test_a_cache_is_named_by_what_the_user_has_of_it(cached, given):
    location = {
        "memory": joblib.Memory("cache", verbose=0),
        "function": cached,
        "name": "cache",
        "folder": "cache/joblib",
    }
    found = open_it().import_results(JoblibCache(location[given], None, True, LEFT_OUT), dry_run=True)
    assert len(found.taken) == 3


@pytest.mark.slow
def test_of_several_functions_one_is_named(cached):
    joblib.Memory("cache", verbose=0).cache(other)(7)
    store = open_it()
    with pytest.raises(ParameterError, match="several functions; name one of"):
        store.import_results(JoblibCache("cache", trust_pickles=True))
    with pytest.raises(ParameterError, match="no results of a function 'others'"):
        store.import_results(JoblibCache("cache", "others", trust_pickles=True))
    assert len(store.import_results(JoblibCache("cache", "simulate", True, LEFT_OUT)).taken) == 3


@pytest.mark.parametrize("files", ["copy", *(pytest.param(how, marks=pytest.mark.slow) for how in ("link", "leave"))])
def test_pickles_that_nobody_trusts_are_not_read(cached, files):
    trap = next(Path("cache").rglob("output.pkl"))
    trap.write_bytes(pickle.dumps(Trap()))
    source = JoblibCache("cache", columns=LEFT_OUT)
    with pytest.raises(ParameterError, match="can run any code of whoever wrote it"):
        open_it().import_results(source)
    store = open_it(loader=lambda path: path)
    done = store.import_results(source, files=files)
    assert len(done.taken) == 3
    assert store.load(store.retrieve({"n": 2, "dt": 0.25, "name": "it's"})).endswith(".pkl")
    store.import_results(source, files=files)
    assert not Path("sprung").exists()


def test_arguments_that_are_no_plain_values_are_listed_and_nothing_is_run_for_them():
    memory = joblib.Memory("cache", verbose=0)
    function = memory.cache(simulate)
    function(1, name="fits")
    function(2, name=Colour.RED)
    function(3, name=object)
    metadata = next(path for path in Path("cache").rglob("metadata.json") if "fits" not in path.read_text())
    said = json.loads(metadata.read_text())
    said["input_args"]["name"] = "__import__('pathlib').Path('sprung').touch()"
    metadata.write_text(json.dumps(said))
    store = open_it()
    with pytest.raises(ParameterError, match=r"name=.* is not a plain value"):
        store.import_results(JoblibCache("cache", trust_pickles=True, columns=LEFT_OUT))
    done = store.import_results(JoblibCache("cache", trust_pickles=True, columns=LEFT_OUT), on_error="continue")
    assert (len(done.taken), len(done.left)) == (1, 2)
    assert not Path("sprung").exists()
    left_out = {"verbose": None, "name": None}
    assert len(store.import_results(JoblibCache("cache", "simulate", True, left_out)).taken) == 3


def test_a_value_that_the_suffix_cannot_hold_and_a_broken_pickle_are_left(cached):
    store = open_it(".npy")
    done = store.import_results(JoblibCache("cache", trust_pickles=True, columns=LEFT_OUT))
    assert (done.taken, len(done.left)) == ([], 3)
    assert "file_suffix='.npz' or '.json'" in done.left[0]
    next(Path("cache").rglob("output.pkl")).write_bytes(b"\x80\x04broken")
    done = open_it(".npz").import_results(JoblibCache("cache", trust_pickles=True, columns=LEFT_OUT))
    assert (len(done.taken), len(done.left)) == (2, 1)
    assert "cannot be read" in done.left[0]
    assert store.check().ok


def test_a_value_that_is_here_is_compared_as_it_would_be_saved(cached):
    store = open_it()
    store.register({"n": 1, "dt": 0.1, "name": "a"}, saved("same.json", {"energy": 0.1, "trace": [1, 0.1]}))
    store.register({"n": 2, "dt": 0.25, "name": "it's"}, saved("not.json", {"energy": 9, "trace": []}))
    done = store.import_results(JoblibCache("cache", trust_pickles=True, columns=LEFT_OUT))
    assert (len(done.taken), done.same, len(done.conflicts)) == (1, 1, 1)


def saved(name: str, value: object) -> str:
    from entropic.formats.save import save

    save(value, name)
    return name


# ---- signac ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def project():
    made = signac.init_project("project")
    for n in (1, 2):
        job = made.open_job({"n": n, "dt": 0.5, "box": {"name": f"box {n}", "side": 1}})
        job.init()
        Path(job.fn("out.json")).write_text(f"[{n}]")
        job.document["energy"] = n + 0.5
        job.document["seen"] = True
    made.open_job({"n": 3, "dt": 0.5}).init()
    return made


BOX = {"box.name": "name", "box.side": None}


@pytest.mark.parametrize(
    ("given", "files"),
    [
        ("object", "copy"),
        pytest.param("project", "link", marks=pytest.mark.slow),
        pytest.param("project/workspace", "leave", marks=pytest.mark.slow),
    ],
)
def test_a_workspace_of_signac_is_taken_in(project, given, files):
    store = open_it()
    source = SignacWorkspace(project if given == "object" else given, "out.json", BOX)
    done = store.import_results(source, files=files)
    assert (len(done.taken), done.left, len(done.absent), done.ok) == (2, [], 1, True)
    job = project.open_job({"n": 2, "dt": 0.5, "box": {"name": "box 2", "side": 1}})
    row = store.run_or_retrieve({"n": 2, "dt": 0.5, "name": "box 2"})
    assert (store.load(row), row.energy) == ([2], 2.5)
    assert row.custom_data["imported"] == {
        "from": job.fn("out.json"),
        "by": "signac",
        "job": job.id,
        "document": {"energy": 2.5, "seen": True},
    }
    assert Path(row.result_file).samefile(job.fn("out.json")) == (files != "copy")
    assert store.check().ok
    assert store.import_results(source, files=files).same == 2


def test_a_state_point_that_the_model_does_not_know_is_listed(project):
    store = open_it()
    with pytest.raises(ParameterError, match="no column 'box'"):
        store.import_results(SignacWorkspace("project", "out.json"))
    with pytest.raises(ParameterError, match="there is no folder"):
        store.import_results(SignacWorkspace("nowhere", "out.json"))


@pytest.mark.slow
def test_broken_jobs_and_links_out_of_them_are_listed(project, tmp_path):
    one, two = sorted(Path(job.path) for job in project if job.isfile("out.json"))
    (one / "signac_statepoint.json").write_text("{")
    (two / "out.json").unlink()
    (tmp_path / "probe.json").write_text("[]")
    (two / "out.json").symlink_to(tmp_path / "probe.json")
    done = open_it().import_results(SignacWorkspace("project", "out.json", BOX), on_error="continue")
    assert (done.taken, len(done.left)) == ([], 2)
    outside = open_it().import_results(SignacWorkspace("project", "../../probe.json", BOX), dry_run=True)
    assert outside.taken == []


def test_a_job_whose_folder_is_a_link_is_listed(project, tmp_path):
    job = next(Path(job.path) for job in project if job.isfile("out.json"))
    job.rename(tmp_path / "elsewhere")
    job.symlink_to(tmp_path / "elsewhere")
    done = open_it().import_results(SignacWorkspace("project", "out.json", BOX), on_error="continue")
    assert (len(done.taken), len(done.left)) == (1, 1)
    assert "is a link" in str(done)


def test_inner_entries_that_nobody_named_are_listed_and_never_left_out(project):
    done = open_it().import_results(SignacWorkspace("project", "out.json", {"box.name": "name"}), on_error="continue")
    assert (done.taken, len(done.left)) == ([], 2)
    assert "box.side" in str(done)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(project, cached):
    job = next(Path(job.path) for job in project if job.isfile("out.json"))
    (job / "signac_statepoint.json").unlink()
    os.mkfifo(job / "signac_statepoint.json")
    done = open_it().import_results(SignacWorkspace("project", "out.json", BOX), on_error="continue")
    assert (len(done.taken), len(done.left)) == (1, 1)
    metadata = next(Path("cache").rglob("metadata.json"))
    metadata.unlink()
    os.mkfifo(metadata)
    done = open_it().import_results(JoblibCache("cache", None, True, LEFT_OUT), on_error="continue")
    assert (len(done.taken), len(done.left)) == (2, 1)


# ---- psweep ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def frame():
    def work(pset):
        return {"energy_": pset["n"] * pset["dt"], "trace_": [pset["n"]]}

    params = psweep.plist("n", [1, 2])
    return psweep.run(work, [{**one, "dt": 0.5} for one in params], calc_dir="calc")


def test_a_frame_of_psweep_is_taken_in_as_values(frame):
    store = open_it()
    source = PsweepFrame(frame)
    done = store.import_results(source)
    assert (len(done.taken), done.left, done.ok) == (2, [], True)
    row = store.run_or_retrieve({"n": 2, "dt": 0.5})
    assert (store.load(row), row.energy) == ({"energy_": 1.0, "trace_": [2]}, 1.0)
    told = row.custom_data["imported"]
    assert (told["by"], told["pset"]) == ("psweep", frame._pset_id[1])
    assert store.check().ok
    again = store.import_results(source)
    assert (again.taken, again.same) == ([], 2)


def test_the_database_of_psweep_is_unpickled_only_if_it_is_trusted(frame):
    store = open_it()
    for path in ("calc", "calc/database.pk"):
        with pytest.raises(ParameterError, match="can run any code of whoever wrote it"):
            store.import_results(PsweepFrame(path))
        assert len(store.import_results(PsweepFrame(path, trust_pickles=True), dry_run=True).taken) == 2
    Path("calc/database.pk").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ParameterError):
        store.import_results(PsweepFrame("calc"))
    assert not Path("sprung").exists()
    with pytest.raises(ParameterError, match="is a DataFrame, or its file"):
        store.import_results(PsweepFrame(7))


@pytest.mark.slow
@pytest.mark.parametrize("files", ["copy", "leave"])
def test_files_of_psweep_are_taken_from_its_folders(frame, files):
    for pset in frame._pset_id[:1]:
        Path("calc", pset).mkdir()
        Path("calc", pset, "out.json").write_text("[7]")
    store = open_it()
    done = store.import_results(PsweepFrame(frame, "out.json"), files=files)
    assert (len(done.taken), len(done.absent)) == (1, 1)
    assert store.load(store.retrieve({"n": 1, "dt": 0.5})) == [7]
    with pytest.raises(ParameterError, match="leaves files where they are"):
        store.import_results(PsweepFrame(frame), files="leave")


def test_two_rows_of_one_set_are_a_conflict_and_empty_cells_are_left_out(frame):
    twice = pd.concat([frame, frame.assign(n=[1, 5], name=[None, np.nan])], ignore_index=True)
    store = open_it()
    done = store.import_results(PsweepFrame(twice))
    assert (len(done.taken), len(done.conflicts)) == (2, 1)
    assert store.retrieve({"n": 1, "dt": 0.5}) is None
    assert store.retrieve({"n": 5, "dt": 0.5}) is not None
    shutil.rmtree("results")


def test_whole_numbers_that_pandas_made_floats_are_the_sets_of_whole_numbers():
    class Optional(Base):
        __tablename__ = "imported_optional"
        n: Mapped[int]
        m: Mapped[int | None]

    store = open_it(model=Optional)
    store.import_results(PsweepFrame(pd.DataFrame([{"n": 1, "m": 5, "y": 1.0}, {"n": 2, "y": 2.0}])))
    assert store.retrieve({"n": 1, "m": 5}).m == 5
    assert store.plan([{"n": 1, "m": 5}, {"n": 2}]).missing == []


def test_the_folder_of_a_set_of_psweep_is_one_in_its_own(frame, tmp_path):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "out.json").write_text("[]")
    frame = frame.assign(_pset_id=["../private", str(tmp_path / "private")])
    done = open_it().import_results(PsweepFrame(frame, "out.json", calc_dir="calc"), on_error="continue")
    assert (done.taken, len(done.left)) == ([], 2)
