"""A result that its suffix cannot hold is not lost with its run: the failure says where it lies."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.models import OtherResult, SimResult
from contract.outcome_models import Training
from entropic import LibraryMissingError, OutcomeWarning, SaveError, Store, study
from entropic.formats import returned

OpenStore = Callable[..., Store[Any]]
PARAMS = {"n": 1, "dt": 0.1}


def returning(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda params: value


class Model:
    """What no format knows."""

    def __init__(self) -> None:
        self.weights, self.name = np.arange(3.0), "small"

    def predict(self) -> None: ...


class Opaque:
    __slots__ = ()

    def __repr__(self) -> str:
        return "Opaque(42)"


def kept_of(store: Store[Any], kind: type[Exception] = SaveError) -> Path:
    with pytest.raises(kind) as caught:
        store.run_or_retrieve(PARAMS)
    assert str(caught.value.kept) in str(caught.value)
    assert Path(str(caught.value.kept)).exists()
    assert store.failures()[0].message == str(caught.value)
    assert store.check().ok
    return Path(str(caught.value.kept))


@pytest.mark.parametrize(
    ("suffix", "value", "name"),
    [
        (".npy", {"u": np.arange(3), "t": np.array(2.0)}, "returned.npz"),
        (".npy", {"u": [1, None], "of": "x"}, "returned.json"),
        (".npz", np.arange(3), "returned.npy"),
        (".h5", {"raw": np.array([b"a"])}, "returned.npz"),
        (".json", {"u": np.arange(3)}, "returned.npz"),
        (".txt", [1, 2], "returned.json"),
        (".nothing", [1, 2], "returned.json"),
    ],
)
def test_what_another_suffix_holds_is_kept_and_can_be_registered(
    open_store: OpenStore, suffix: str, value: Any, name: str
) -> None:
    store = open_store(returning(value), SimResult, file_suffix=suffix)
    kept = kept_of(store)
    assert kept.name == name
    with pytest.raises(SaveError, match=re.escape("store.register(params, '")):
        store.run(PARAMS)
    row = store.register(PARAMS, kept)
    assert repr(store.load(row)) == repr(value)
    assert store.run_or_retrieve(PARAMS).id == row.id
    assert store.failures() == []


@pytest.mark.parametrize(
    ("suffix", "value", "advised"),
    [
        (".h5", {"u": None}, ".json"),
        (".npy", {"u": np.arange(2)}, ".npz"),
        (".npz", [1, 2], ".json"),
        (".json", {"of": {1, 2}}, None),
        (".json", {1: 2}, None),
    ],
)
def test_only_suffixes_that_hold_it_are_named(
    open_store: OpenStore, suffix: str, value: Any, advised: str | None
) -> None:
    store = open_store(returning(value), SimResult, file_suffix=suffix)
    kept_of(store)
    named = re.findall(r"Use file_suffix='(.*?)', write params", store.failures()[0].message)
    assert named == ([] if advised is None else [advised])


def test_a_table_that_the_format_of_tables_does_not_hold_is_not_sent_there(open_store: OpenStore) -> None:
    pandas = pytest.importorskip("pandas")
    store = open_store(returning(pandas.DataFrame({"of": [{1}, Opaque()]})), SimResult, file_suffix=".csv")
    kept_of(store)
    assert "file_suffix" not in store.failures()[0].message


def test_a_dict_of_which_one_entry_fits_nothing_is_kept_in_parts(open_store: OpenStore) -> None:
    value = {"u": np.arange(3), "steps": 7, "model": Model(), "odd": [Opaque(), {"a/b": np.eye(2)}]}
    store = open_store(returning(value), SimResult, file_suffix=".npz")
    kept = kept_of(store)
    contents = dict(json.loads((kept / "contents.json").read_text())["parts"])
    assert contents["steps"] == {"value": 7}
    assert np.load(kept / contents["u"]["file"]).tolist() == [0, 1, 2]
    model = dict(contents["model"]["parts"])
    assert np.load(kept / model["weights"]["file"]).tolist() == [0, 1, 2]
    assert model["name"] == {"value": "small"}
    assert dict(contents["odd"]["parts"])["0"]["text"] == "Opaque(42)"
    assert "but for ['odd'][0], of which only the text is kept" in store.failures()[0].message
    assert store.register(PARAMS, kept).result_file == str(kept)
    assert store.check().ok


def test_of_what_fits_nothing_the_text_is_kept_and_said_to_be_no_more(open_store: OpenStore) -> None:
    store = open_store(returning(Opaque()), SimResult, file_suffix=".npz")
    assert "Opaque(42)" in kept_of(store).read_text()
    assert "No format here holds it" in store.failures()[0].message
    assert "register" not in store.failures()[0].message


def test_a_value_whose_own_text_raises_and_one_that_holds_itself_are_kept_as_far_as_possible(
    open_store: OpenStore,
) -> None:
    class Broken:
        __slots__ = ()

        def __repr__(self) -> str:
            raise ValueError("none")

    value: dict[str, Any] = {"broken": Broken(), "n": 1, "{place}": 2}
    value["self"] = value
    store = open_store(returning(value), SimResult, file_suffix=".npz")
    contents = dict(json.loads((kept_of(store) / "contents.json").read_text())["parts"])
    assert contents["n"] == {"value": 1}
    assert "cannot be made" in contents["broken"]["text"]
    assert "text" in contents["self"]


@pytest.mark.parametrize("masked", [np.ma.masked_array([1.0, 2.0], [True, False]), np.array([1, "a", None], object)])
def test_arrays_that_are_more_than_numbers_are_kept_in_parts(open_store: OpenStore, masked: Any) -> None:
    store = open_store(returning(masked), SimResult, file_suffix=".npy")
    contents = dict(json.loads((kept_of(store) / "contents.json").read_text())["parts"])
    if "mask" in contents:
        kept = Path(store.failures()[0].message.split("'")[-2])
        assert np.load(kept / contents["mask"]["file"]).tolist() == [True, False]
    else:
        assert [part["value"] for part in contents.values()] == [1, "a", None]


def test_a_table_goes_to_the_next_format(open_store: OpenStore) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.0, 2.0]}, index=pandas.Index(["a", "b"], name="where"))
    store = open_store(returning(frame), SimResult, file_suffix=".csv")
    kept = kept_of(store)
    assert kept.name == "returned.parquet"
    pandas.testing.assert_frame_equal(store.load(store.register(PARAMS, kept)), frame)


def test_a_dataset_that_no_format_takes_whole_is_kept_by_its_variables(open_store: OpenStore) -> None:
    xarray = pytest.importorskip("xarray")
    dataset = xarray.Dataset({"u": ("x", [1.0, 2.0])}, attrs={"odd": Opaque()})
    kept = kept_of(open_store(returning(dataset), SimResult, file_suffix=".nc"))
    contents = dict(json.loads((kept / "contents.json").read_text())["parts"])
    data = dict(contents["u"]["parts"])["data"]["file"]
    assert np.load(kept / data).tolist() == [1.0, 2.0]


def test_other_files_of_the_run_are_kept_with_it(open_store: OpenStore) -> None:
    def write(params: dict[str, Any]) -> Any:
        (Path(params["result_file"]).parent / "returned.log").write_text("converged")
        return Opaque()

    kept = kept_of(open_store(write, SimResult, file_suffix=".npz"))
    assert (kept.parent / "returned.log").read_text() == "converged"
    assert kept.name == "returned=2.txt"


def test_a_run_that_needed_it_fails_with_it_and_keeps_nothing_itself(open_store: OpenStore) -> None:
    inner = open_store(returning({"{u}": np.array([b"a"])}), OtherResult, file_suffix=".h5")
    outer = open_store(lambda params: inner.run_or_retrieve(PARAMS), SimResult, file_suffix=".h5")
    kept = kept_of(outer)
    assert kept.exists()
    assert inner.failures()[0].message == outer.failures()[0].message
    assert len(list(kept.parents[1].glob("*.kept"))) == 1
    assert inner.check().ok


def test_a_saver_that_raises_loses_nothing_either(open_store: OpenStore) -> None:
    def saver(value: Any, path: str) -> None:
        Path(path).write_text("half")
        raise ZeroDivisionError("in the saver")

    store = open_store(returning({"u": np.arange(3)}), SimResult, file_suffix=".npz", saver=saver)
    kept = kept_of(store)
    assert store.load(store.register(PARAMS, kept))["u"].tolist() == [0, 1, 2]
    with pytest.raises(SaveError, match=r"saver\(value, path\) raised ZeroDivisionError: in the saver"):
        store.run(PARAMS)


def return_bytes(params: dict[str, Any]) -> Any:
    return {"raw": np.array([b"a"])}


@pytest.mark.slow
def test_what_workers_and_continued_sweeps_cannot_save_is_kept(open_store: OpenStore) -> None:
    store = open_store(return_bytes, SimResult, file_suffix=".h5")
    sets = [{"n": n, "dt": 0.1} for n in range(3)]
    with pytest.warns(match="3 of 3 sets"):
        store.sweep(sets, workers=1, on_error="continue")
    places = [re.search(r"params, '(.*?)'\)", one.message)[1] for one in store.failures()]  # type: ignore[index]
    assert len(set(places)) == 3
    for params, place in zip(sets, places, strict=True):
        store.register(params, place)
    assert len(store.sweep(sets)) == 3
    assert store.check().ok


def test_outcomes_without_a_format_are_refused_as_such(open_store: OpenStore) -> None:
    store = open_store(returning({"accuracy": 0.5, "epochs": 1, "u": np.arange(3)}), Training, file_suffix=".dat")
    with pytest.raises(SaveError, match=r"a \.json file cannot hold it") as caught:
        store.run_or_retrieve({"rate": 0.5})
    assert Path(str(caught.value.kept)).name == "returned.npz"


def test_what_is_kept_stays_when_its_set_runs_again_or_is_deleted(open_store: OpenStore) -> None:
    value: Any = {"u": [1]}
    store = open_store(lambda params: value, SimResult, file_suffix=".npy")
    kept = kept_of(store)
    store.register(PARAMS, kept)
    open_store(lambda params: value, SimResult, file_suffix=".npy")  # which warns of no other suffix
    value = np.arange(2)
    assert store.load(store.run(PARAMS)).tolist() == [0, 1]
    assert json.loads(kept.read_text()) == {"u": [1]}
    store.gc()
    store.repair()
    assert kept.exists()
    assert store.delete(PARAMS, remove_file=True)
    assert kept.exists()
    assert store.check().ok


# ---- a library that is missing ---------------------------------------------------------------------------------------
@pytest.fixture
def without_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `h5py` be missing."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setattr(returned, "_checked", set())


@pytest.mark.usefixtures("without_h5py")
def test_a_missing_library_is_warned_of_once_before_the_run_and_loses_nothing(open_store: OpenStore) -> None:
    ran = []

    def compute(params: dict[str, Any]) -> Any:
        ran.append(params["n"])
        return {"u": np.arange(3)}

    store = open_store(compute, SimResult, file_suffix=".h5")
    with (
        pytest.warns(OutcomeWarning, match=r"h5py, which is not installed: pip install 'entropic\[hdf5\]'"),
        pytest.raises(LibraryMissingError, match=r"store\.register") as caught,
    ):
        store.run_or_retrieve(PARAMS)
    assert store.load(store.register(PARAMS, str(caught.value.kept)))["u"].tolist() == [0, 1, 2]
    with pytest.raises(LibraryMissingError):  # and no second warning, which would be an error here
        store.run_or_retrieve({"n": 2, "dt": 0.1})
    assert ran == [1, 2]


@pytest.mark.usefixtures("without_h5py")
def test_a_runner_that_writes_its_own_file_hears_of_no_library(open_store: OpenStore) -> None:
    def write(params: dict[str, Any]) -> None:
        Path(params["result_file"]).write_text("mine")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_store(write, SimResult, file_suffix=".h5").run_or_retrieve(PARAMS)


@pytest.mark.usefixtures("without_h5py")
def test_a_study_whose_library_is_missing_does_not_begin(tmp_path: Path) -> None:
    @study(results=tmp_path / "results", suffix=".h5", db_url=f"sqlite:///{tmp_path}/db.sqlite3")
    def compute(n: int) -> dict[str, Any]:
        pytest.fail("it ran")

    with pytest.raises(LibraryMissingError, match="Nothing was run"):
        compute(1)
    with pytest.raises(LibraryMissingError, match="Nothing was run"):
        compute.sweep(n=[1, 2])
