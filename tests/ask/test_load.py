"""`load`: results by the suffix of their file, through the libraries that own the formats."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import psutil
import pytest
import xarray as xr
import zarr
from PIL import Image
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from contract.models import run_python
from entropic import Base, LoadError, Mapped, ParameterError, ResultMissingError, Store


class Sim(Base):
    __tablename__ = "load_sims"
    n: Mapped[int]


class Other(Base):
    __tablename__ = "load_others"
    n: Mapped[int]


ARRAY = np.arange(6.0).reshape(2, 3)
FRAME = pd.DataFrame({"t": [1, 2], "name": ["a", "b"]})
DATASET = xr.Dataset(
    {"u": (("t", "x"), ARRAY, {"units": "m"})}, coords={"t": [0, 1], "x": [0.5, 1.5, 2.5]}, attrs={"title": "one"}
)


def write_hdf5(path: str, _: Any) -> None:
    with h5py.File(path, "w") as file:
        file["u"] = ARRAY
        file["group/inner/v"] = np.int32([1, 2])
        file["number"] = 1.5
        file["word"] = "grün"
        file["words"] = ["a", "b"]


def write_plain_zarr(path: str, _: Any) -> None:
    group = zarr.open_group(path, mode="w")
    group.create_array("u", data=ARRAY)
    group.create_group("deep").create_array("v", data=np.arange(3))


def write_gzipped(path: str, _: Any) -> None:
    with gzip.open(path, "wt") as file:
        FRAME.to_csv(file, index=False)


def equal(one: Any, other: Any) -> bool:
    if isinstance(other, dict):
        return isinstance(one, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in other)
    if isinstance(other, xr.Dataset | pd.DataFrame):
        return type(one) is type(other) and (
            one.identical(other) if isinstance(other, xr.Dataset) else one.equals(other)
        )
    if isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


HDF5 = {
    "u": ARRAY,
    "group/inner/v": np.int32([1, 2]),
    "number": 1.5,
    "word": "grün",
    "words": np.array(["a", "b"], object),
}
CASES = {
    ".npy": (lambda path, _: np.save(path, ARRAY), ARRAY),
    ".npz": (lambda path, _: np.savez(path, u=ARRAY, v=np.int8(3)), {"u": ARRAY, "v": np.array(3, np.int8)}),
    ".h5": (write_hdf5, HDF5),
    ".hdf5": (write_hdf5, HDF5),
    ".nc": (lambda path, _: DATASET.to_netcdf(path), DATASET),
    ".zarr": (lambda path, _: DATASET.to_zarr(path, consolidated=False), DATASET),
    ".plain.zarr": (write_plain_zarr, {"u": ARRAY, "deep/v": np.arange(3)}),
    ".one.zarr": (lambda path, _: zarr.save(path, ARRAY), ARRAY),
    ".parquet": (lambda path, _: FRAME.to_parquet(path), FRAME),
    ".csv": (lambda path, _: FRAME.to_csv(path, index=False), FRAME),
    ".tsv": (lambda path, _: FRAME.to_csv(path, index=False, sep="\t"), FRAME),
    ".csv.gz": (write_gzipped, FRAME),
    ".json": (lambda path, _: Path(path).write_text('{"a": [1, 2.5, null]}'), {"a": [1, 2.5, None]}),
    ".txt": (lambda path, _: Path(path).write_text("grün\n", "utf-8"), "grün\n"),
}


@pytest.mark.parametrize("suffix", CASES)
def test_what_was_written_comes_back(make, suffix):
    write, wanted = CASES[suffix]
    store = make(Sim, write, suffix)
    row = store.run({"n": 1})
    for found in (store.load(row), store.load({"n": 1}), next(iter(store.select().load()))):
        assert equal(found, wanted), found


@pytest.mark.parametrize("version", [2, 3])
def test_both_formats_of_zarr_come_back_with_their_dimensions(make, version):
    store = make(Sim, lambda path, _: DATASET.to_zarr(path, zarr_format=version, consolidated=False), ".zarr")
    assert store.load(store.run({"n": 1})).identical(DATASET)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_an_image_comes_back_with_its_pixels(make, suffix):
    pixels = np.zeros((4, 5, 3), np.uint8) + 9
    store = make(Sim, lambda path, _: Image.fromarray(pixels).save(path), suffix)
    found = store.load(store.run({"n": 1}))
    assert found.size == (5, 4)
    assert np.array_equal(np.asarray(found), pixels)


@pytest.mark.parametrize("suffix", [suffix for suffix in CASES if not suffix.endswith("zarr")] + [".png"])
def test_no_file_stays_open_and_what_was_loaded_outlives_the_file(make, suffix):
    write, wanted = CASES.get(suffix, (lambda path, _: Image.new("L", (2, 2)).save(path), None))
    store = make(Sim, write, suffix)
    row = store.run({"n": 1})
    found = store.load(row)
    assert row.result_file not in [file.path for file in psutil.Process().open_files()]
    Path(row.result_file).unlink()
    assert wanted is None or equal(found, wanted)


def test_a_registered_file_is_read_by_its_own_suffix(make, tmp_path):
    store = make(Sim, lambda path, _: None, ".npy")
    (tmp_path / "made.json").write_text("[1]")
    assert store.load(store.register({"n": 1}, tmp_path / "made.json")) == [1]


def test_a_row_of_the_users_own_session_is_found_too(make, tmp_path):
    store = make(Sim, CASES[".json"][0], ".json")
    store.run({"n": 1})
    engine = create_engine(f"sqlite:///{tmp_path / 'db.sqlite3'}")
    with Session(engine) as session:
        (row,) = session.query(Sim)
        assert store.load(row) == {"a": [1, 2.5, None]}
    engine.dispose()


# ---- refusals ----------------------------------------------------------------------------------------------------
class Trap:
    """Says that it was unpickled, by making a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


TRAPS = {
    ".npy": lambda path, trap: np.save(path, np.array([trap], object), allow_pickle=True),
    ".npz": lambda path, trap: np.savez(path, u=np.array([trap], object)),
    ".pkl": lambda path, trap: Path(path).write_bytes(pickle.dumps(trap)),
    ".pickle": lambda path, trap: Path(path).write_bytes(pickle.dumps(trap)),
    ".pt": lambda path, trap: Path(path).write_bytes(pickle.dumps(trap)),
    ".pickled.npy": lambda path, trap: Path(path).write_bytes(pickle.dumps(trap)),
}


@pytest.mark.parametrize("suffix", TRAPS)
def test_nothing_is_ever_unpickled_and_the_refusal_says_what_to_do(make, tmp_path, suffix):
    sprung = tmp_path / "sprung"
    store = make(Sim, lambda path, _: TRAPS[suffix](path, Trap(sprung)), suffix)
    row = store.run({"n": 1})
    with pytest.raises(LoadError, match="run any code") as caught:
        store.load(row)
    assert "loader" in str(caught.value)
    assert not sprung.exists()


def test_an_unknown_suffix_names_the_way_out(make):
    store = make(Sim, lambda path, _: Path(path).touch(), ".spe")
    with pytest.raises(LoadError, match=r"'\.spe'.*loader="):
        store.load(store.run({"n": 1}))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".nc", ".parquet", ".json", ".png", ".zarr"])
def test_a_file_that_is_not_what_its_name_says_is_an_error_that_names_it(make, suffix):
    store = make(Sim, lambda path, _: Path(path).write_bytes(b"\x00nonsense"), suffix)
    row = store.run({"n": 1})
    with pytest.raises(LoadError) as caught:
        store.load(row)
    assert row.result_file in str(caught.value)


def test_a_file_that_is_gone_says_so(make):
    store = make(Sim, CASES[".json"][0], ".json")
    row = store.run({"n": 1})
    Path(row.result_file).unlink()
    for call in (lambda: store.load(row), lambda: list(store.select().load())):
        with pytest.raises(ResultMissingError, match=row.id):
            call()
    with pytest.raises(ResultMissingError, match="run_or_retrieve"):
        store.load({"n": 2})


@pytest.mark.parametrize("bad", [None, 3, "a path", Other(id="1", n=1), Other])
def test_what_is_no_row_of_the_store_is_refused(make, bad):
    with pytest.raises(ParameterError, match="Sim"):
        make(Sim, CASES[".json"][0], ".json").load(bad)


# ---- a loader of the user's --------------------------------------------------------------------------------------
def read_lines(path: str) -> list[str] | Any:
    return Path(path).read_text().split() if path.endswith(".lines") else NotImplemented


def test_a_loader_goes_first_and_may_leave_the_rest_to_the_others(make, tmp_path):
    store = make(Sim, lambda path, _: Path(path).write_text("a b"), ".lines", loader=read_lines)
    assert store.load(store.run({"n": 1})) == ["a", "b"]
    (tmp_path / "made.json").write_text("[1]")
    assert store.load(store.register({"n": 2}, tmp_path / "made.json")) == [1]
    assert list(store.select(order_by="n").load()) == [["a", "b"], [1]]


def test_the_error_of_a_loader_comes_out_as_it_is(make):
    def broken(path: str) -> Any:
        raise KeyError(path)

    store = make(Sim, CASES[".json"][0], ".json", loader=broken)
    with pytest.raises(KeyError):
        store.load(store.run({"n": 1}))


def test_a_loader_that_cannot_be_called_is_refused(make):
    with pytest.raises(ParameterError, match="loader"):
        make(Sim, CASES[".json"][0], ".json", loader="json")


def write_x(params: dict[str, Any]) -> None:
    Path(params["result_file"]).write_text("x")


def test_the_loader_goes_with_the_store_and_with_the_runs(tmp_path):
    store = Store(write_x, Sim, tmp_path / "r", ".lines", f"sqlite:///{tmp_path / 'a.sqlite3'}", loader=read_lines)
    store.run({"n": 1})
    assert pickle.loads(pickle.dumps(store)).load({"n": 1}) == ["x"]
    assert list(pickle.loads(pickle.dumps(store.select())).load()) == [["x"]]
    assert store.copy_to(f"sqlite:///{tmp_path / 'b.sqlite3'}").load({"n": 1}) == ["x"]


def test_results_are_loaded_one_by_one_as_they_are_asked_for(make):
    loaded: list[str] = []
    store = make(Sim, CASES[".json"][0], ".json", loader=lambda path: loaded.append(path) or len(loaded))
    runs = store.sweep({"n": n} for n in range(5))
    results = runs.load()
    assert loaded == []
    assert next(results) == 1
    assert loaded == [runs[0].result_file]
    assert list(results) == [2, 3, 4, 5]
    assert loaded == [row.result_file for row in runs]


def write_pages(path: str, _: Any) -> None:
    first, *others = [Image.fromarray(np.full((2, 3), page, "uint16")) for page in range(4)]
    first.save(path, save_all=True, append_images=others)


@pytest.mark.parametrize("suffix", [".tif", ".tiff"])
def test_an_image_of_several_pages_comes_back_with_all_of_them(make, suffix):
    store = make(Sim, write_pages, suffix)
    pages = store.load(store.run({"n": 1}))
    assert [np.asarray(page).tolist() for page in pages] == [np.full((2, 3), page).tolist() for page in range(4)]


MANY_AT_ONCE = """if True:
    import sys
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    import h5py, numpy, xarray
    from entropic.formats.read import read

    folder = Path(sys.argv[1])
    for n in range(20):
        xarray.Dataset({"u": (("t", "x"), numpy.full((3, 2), float(n)))}).to_netcdf(folder / f"{n}.nc")
        with h5py.File(folder / f"{n}.h5", "w") as file:
            file["u"] = numpy.full((3, 2), float(n))
    def mean(n):
        return float(read(f"{folder}/{n % 20}.{'nc' if n % 3 else 'h5'}")["u"].mean())

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(mean, range(800)))
    assert found == [n % 20 for n in range(800)]
    print("fine")
"""


@pytest.mark.slow
def test_many_threads_may_load_at_once_as_lazy_arrays_do(tmp_path):
    """HDF5 itself crashes the process then."""
    assert run_python(MANY_AT_ONCE, tmp_path).strip() == "fine"


FORKED_WHILE_READING = """
import os, signal, sys, threading, time, warnings
import h5py
from entropic import Base, Mapped, Store

warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads

class Sim(Base):
    __tablename__ = "load_sims"
    n: Mapped[int]

def write(params):
    with h5py.File(params["result_file"], "w") as file:
        file["u"] = [1.0, 2.0]

store = Store(write, Sim, sys.argv[1], ".h5", f"sqlite:///{sys.argv[1]}.db")
row, plain, reading = store.run_or_retrieve({"n": 1}), h5py.File, threading.Event()

def slow(path, mode):
    if threading.current_thread() is not threading.main_thread():
        reading.set()
        time.sleep(0.5)  # in which the main thread forks
    return plain(path, mode)

h5py.File = slow
thread = threading.Thread(target=store.load, args=(row,))
thread.start()
reading.wait()
if (pid := os.fork()) == 0:
    signal.alarm(90)  # ends a child that hangs
    os._exit(0 if list(store.load(row)["u"]) == [1.0, 2.0] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), list(store.load(row)["u"]) == [1.0, 2.0])
thread.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_hdf5_though_another_thread_was_reading_at_the_fork(tmp_path: Path):
    assert run_python(FORKED_WHILE_READING, tmp_path / "results").split() == ["0", "True"]
