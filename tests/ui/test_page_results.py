"""What the page shows of results: of each format as much as is asked for, and nothing that could run."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import xarray
import zarr
from PIL import Image

from entropic import Base, Mapped, Store
from entropic.store import context_of
from entropic.ui import result
from ui.pages import HOSTILE, looking, serving


class Thing(Base):
    __tablename__ = "things"
    n: Mapped[int]


@pytest.fixture
def made(tmp_path):
    """Store one result that a function writes, and yield the key of its run and who asks the page for it."""
    opened = []

    def make(suffix, write):
        store = Store(
            lambda params: write(params["result_file"]),
            Thing,
            tmp_path / "results",
            suffix,
            f"sqlite:///{tmp_path / 'things.sqlite3'}",
        )
        row = store.run_or_retrieve({"n": 1})
        opened.append(serving(store))
        return row.id, next(opened[-1])

    yield make
    for one in opened:
        one.close()


CUBE = np.arange(60.0).reshape(3, 4, 5)
FLAT = np.linspace(0, 1, 7)


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file["group/cube"] = CUBE
        file["flat"] = FLAT
        file["flat"].attrs["unit"] = "m"
        file["name"] = HOSTILE


def write_netcdf(path):
    xarray.Dataset({"group_cube": (("t", "y", "x"), CUBE), "flat": ("i", FLAT)}).to_netcdf(path)


def write_zarr(path):
    group = zarr.open_group(path, mode="w")
    group.create_array("cube", data=CUBE)
    group.create_array("flat", data=FLAT)


ARRAYS = [
    (".npz", lambda path: np.savez(path, cube=CUBE, flat=FLAT), "cube", "flat"),
    (".h5", write_hdf5, "group/cube", "flat"),
    (".nc", write_netcdf, "group_cube", "flat"),
    (".zarr", write_zarr, "cube", "flat"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "write", "cube", "flat"), ARRAYS, ids=[one[0] for one in ARRAYS])
def test_arrays_are_listed_and_read_in_slices(made, suffix, write, cube, flat):
    id, asker = made(suffix, write)
    told = asker.api("result", id=id)
    shapes = {one["name"]: one["shape"] for one in told["arrays"]}
    assert (shapes[cube], shapes[flat]) == ([3, 4, 5], [7])
    _, values = asker.packed("array", id=id, array=cube, at="1,*,*")
    assert values.reshape(4, 5).tolist() == CUBE[1].tolist()
    _, values = asker.packed("array", id=id, array=cube, at="*,2,3")
    assert values.tolist() == CUBE[:, 2, 3].tolist()
    one, values = asker.packed("array", id=id, array=flat)
    assert values.tolist() == FLAT.tolist()
    assert (one["min"], one["max"]) == (0.0, 1.0)
    assert asker.refused("array", id=id, array=cube, at="3,*,*")[0] == 400
    assert asker.refused("array", id=id, array=cube, at="*,*,*")[0] == 400
    assert asker.refused("array", id=id, array=cube, at="-1,*,*")[0] == 400
    assert asker.refused("array", id=id, array="nope")[0] == 400


@pytest.mark.slow
def test_attributes_dimensions_and_texts_of_a_tree_are_told(made):
    id, asker = made(".h5", write_hdf5)
    told = {one["name"]: one for one in asker.api("result", id=id)["arrays"]}
    assert told["flat"]["attrs"] == {"unit": "m"}
    assert asker.packed("array", id=id, array="name")[0]["texts"] == [HOSTILE]


def test_dimensions_of_netcdf_have_their_names(made):
    id, asker = made(".nc", write_netcdf)
    told = {one["name"]: one for one in asker.api("result", id=id)["arrays"]}
    assert told["group_cube"]["dims"] == ["t", "y", "x"]


@pytest.mark.slow
def test_a_large_array_is_thinned_and_says_so(made):
    large = np.arange(50_000.0)
    id, asker = made(".npy", lambda path: np.save(path, large))
    told, values = asker.packed("array", id=id, array="")
    assert values.size <= result.LONGEST
    assert values.tolist() == large[:: told["steps"][0]].tolist()


def test_a_large_picture_is_thinned_along_both_axes(made):
    id, asker = made(".npy", lambda path: np.save(path, np.ones((2_000, 3_000), np.uint8)))
    told, values = asker.packed("array", id=id, array="")
    assert max(told["shape"]) <= result.WIDEST
    assert values.size == np.prod(told["shape"])


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.array([1 + 1j, 3 + 4j]), [abs(1 + 1j), 5.0]),
        (np.array([True, False]), [1.0, 0.0]),
        (np.array([1, 2], np.int8), [1.0, 2.0]),
        (np.array([1.5, np.inf], np.float16), [1.5, np.inf]),
        (np.array([], float), []),
    ],
    ids=["complex", "bool", "int8", "float16", "empty"],
)
def test_numbers_of_any_type_are_doubles(made, array, shown):
    id, asker = made(".npy", lambda path: np.save(path, array))
    assert asker.packed("array", id=id, array="")[1].tolist() == shown


def test_what_would_be_unpickled_is_not_read(made, tmp_path):
    class Probe:
        def __reduce__(self):
            return Path.touch, (tmp_path / "probe",)

    id, asker = made(".npy", lambda path: np.save(path, np.array([Probe()], object), allow_pickle=True))
    assert "unpickle" in asker.api("result", id=id)["why"]
    assert asker.refused("array", id=id, array="")[0] == 404
    assert not (tmp_path / "probe").exists()


def test_a_pickle_is_not_read(made, tmp_path):
    id, asker = made(".pkl", lambda path: Path(path).write_bytes(pickle.dumps({"a": 1})))
    assert "pickle" in asker.api("result", id=id)["why"]
    status, headers, _ = asker.get(f"/api/file?id={id}")
    assert (status, headers["content-type"]) == (200, "application/octet-stream")


def test_the_loader_of_the_user_is_not_called(tmp_path):
    store = Store(
        lambda params: np.save(params["result_file"], FLAT),
        Thing,
        tmp_path / "results",
        ".npy",
        f"sqlite:///{tmp_path / 'things.sqlite3'}",
        loader=lambda path: pytest.fail("it was called"),
    )
    row = store.run_or_retrieve({"n": 1})
    assert result.describe(context_of(looking(store)), row.id)["kind"] == "arrays"


def test_links_into_other_files_are_not_followed(made, tmp_path):
    with h5py.File(tmp_path / "probe.h5", "w") as probe:
        probe["secret"] = [1.0, 2.0]

    def write(path):
        with h5py.File(path, "w") as file:
            file["own"] = FLAT
            file["out"] = h5py.ExternalLink(str(tmp_path / "probe.h5"), "secret")

    id, asker = made(".h5", write)
    assert [one["name"] for one in asker.api("result", id=id)["arrays"]] == ["own"]
    assert asker.refused("array", id=id, array="out")[0] == 400


def test_values_that_lie_in_another_file_are_refused(made, tmp_path):
    (tmp_path / "probe.bin").write_bytes(np.ones(3).tobytes())

    def write(path):
        with h5py.File(path, "w") as file:
            file.create_dataset("out", (3,), "f8", external=[(str(tmp_path / "probe.bin"), 0, 24)])

    id, asker = made(".h5", write)
    assert "another file" in asker.refused("array", id=id, array="out")[1]


def test_a_table_is_shown_by_its_first_lines(made):
    id, asker = made(".csv", lambda path: pandas.DataFrame({"a": range(1000), "b": HOSTILE}).to_csv(path, index=False))
    told = asker.api("result", id=id)
    assert told["columns"] == ["a", "b"]
    assert told["rows"][1] == ["1", HOSTILE]
    assert (len(told["rows"]), told["more"]) == (result.MOST_LINES, True)


@pytest.mark.slow
def test_a_packed_table_is_read_only_as_far_as_it_is_shown(made):
    id, asker = made(".csv.gz", lambda path: Path(path).write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 2_000_000)))
    assert asker.api("result", id=id)["rows"][0] == ["1", "2"]


def test_a_parquet_table_tells_how_long_it_is(made):
    id, asker = made(".parquet", lambda path: pandas.DataFrame({"a": range(500)}).to_parquet(path))
    told = asker.api("result", id=id)
    assert (told["columns"], told["rows"][3], told["total"]) == (["a"], [3], 500)


@pytest.mark.parametrize("suffix", [".txt", ".log", ".html", ".svg", ".md"])
def test_texts_are_text_whatever_they_hold(made, suffix):
    id, asker = made(suffix, lambda path: Path(path).write_text(HOSTILE))
    told = asker.api("result", id=id)
    assert (told["kind"], told["text"]) == ("text", HOSTILE)
    status, headers, _ = asker.get(f"/api/file?id={id}")
    assert status == 200
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith("attachment")


def test_a_long_text_is_shown_by_its_beginning(made):
    id, asker = made(".txt", lambda path: Path(path).write_text("x" * 300_000))
    told = asker.api("result", id=id)
    assert (len(told["text"]), told["more"]) == (result.MOST_TEXT, True)


def test_json_is_shown_in_lines(made):
    id, asker = made(".json", lambda path: Path(path).write_text(json.dumps({"a": [1, 2]})))
    assert asker.api("result", id=id)["text"] == '{\n "a": [\n  1,\n  2\n ]\n}'


def test_a_picture_is_sent_as_what_its_suffix_says_and_as_nothing_else(made):
    id, asker = made(".png", lambda path: Image.new("RGB", (3, 2), "red").save(path))
    assert asker.api("result", id=id)["kind"] == "picture"
    _, headers, body = asker.get(f"/api/file?id={id}")
    assert headers["content-type"] == "image/png"
    assert headers["x-content-type-options"] == "nosniff"
    assert body.startswith(b"\x89PNG")
    _, headers, _ = asker.get(f"/api/file?id={id}&save=1")
    assert headers["content-disposition"].startswith("attachment")


def test_a_picture_of_other_than_browsers_draw_is_an_array(made):
    id, asker = made(".tif", lambda path: Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(path))
    assert asker.packed("array", id=id, array="")[1].tolist() == list(range(12))


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".npy", ".parquet", ".zarr"])
def test_a_file_that_is_not_what_its_suffix_says_is_said(made, suffix):
    id, asker = made(suffix, lambda path: Path(path).write_text("no such thing"))
    told = asker.api("result", id=id)
    assert told["kind"] == "none"
    assert told["why"]


def test_what_is_too_large_to_be_read_whole_is_not(made, monkeypatch):
    monkeypatch.setattr(result, "MOST_WHOLE", 100)
    id, asker = made(".npz", lambda path: np.savez(path, a=np.zeros(1000)))
    assert "larger" in asker.api("result", id=id)["why"]


# ---- numbers in results, as columns of plots -----------------------------------------------------------------------
class Measured(Base):
    __tablename__ = "measured_by_page"
    n: Mapped[int]
    energy: Mapped[float]


def write_numbers(suffix):
    def run(params):
        n = params["n"]
        values = {"energy": n / 2, "whole": n, "deep": {"odd": bool(n % 2)}, "angle": [1.0, 2.0], "name": "no number"}
        if suffix == ".json":
            Path(params["result_file"]).write_text(json.dumps(values))
        elif suffix == ".h5":
            with h5py.File(params["result_file"], "w") as file:
                file["energy"], file["whole"], file["deep/odd"], file["angle"] = n / 2, n, bool(n % 2), [1.0, 2.0]
        elif suffix == ".nc":
            xarray.Dataset({"energy": n / 2, "whole": n, "angle": ("t", [1.0, 2.0])}).to_netcdf(params["result_file"])
        else:
            np.savez(params["result_file"], energy=n / 2, whole=n, angle=[1.0, 2.0])

    return run


@pytest.fixture
def measured(tmp_path):
    opened = []

    def make(suffix):
        url = f"sqlite:///{tmp_path / 'measured.sqlite3'}"
        store = Store(write_numbers(suffix), Measured, tmp_path / "results", suffix, url)
        rows = store.sweep([{"n": n, "energy": -1.0} for n in range(4)])
        opened.append(serving(store, source=["from model import store"]))
        return store, rows, next(opened[-1])

    yield make
    for one in opened:
        one.close()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".json", ".h5", ".nc", ".npz"])
def test_numbers_in_results_are_columns_of_plots(measured, suffix):
    _, rows, page = measured(suffix)
    told = {one["name"]: one for one in page.api("schema", results=1)["columns"] if one["role"] == "result"}
    assert (
        {"result.energy", "result.whole"}
        <= set(told)
        <= {"result.energy", "result.whole", "result.deep/odd", "result.deep.odd"}
    )
    assert not [one for one in page.api("schema")["columns"] if one["role"] == "result"], "no file is read for others"
    told, values = page.packed("points", x="n", y="result.energy")
    assert told["total"] == told["count"] == 4
    assert dict(zip(told["ids"], values.reshape(2, 4).T.tolist(), strict=True)) == {
        row.id: [row.n, row.n / 2] for row in rows
    }
    (line,) = page.api("lines", x="n", y="result.whole")["lines"]
    assert [(x, y) for x, y, *_ in line["points"]] == [(n, n) for n in range(4)]
    cells = page.api("grid", x="n", y="energy", z="result.whole")
    assert sorted((cells["x"][i], z) for i, _, z, _ in cells["cells"]) == [(n, n) for n in range(4)]


def test_an_archive_is_as_large_as_what_is_packed_in_it(tmp_path):
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros(100_000))
    path = tmp_path / "zeros.npz"
    assert result.size_when_read(str(path), path.stat().st_size) > 800_000 > 10 * path.stat().st_size


@pytest.mark.slow
def test_what_cannot_be_read_has_no_place_in_the_plot_and_the_others_have(measured):
    _, rows, page = measured(".json")
    Path(rows[0].result_file).unlink()
    Path(rows[1].result_file).write_text("{")
    told, values = page.packed("points", x="n", y="result.whole")
    at = dict(zip(told["ids"], values[told["count"] :].tolist(), strict=True))
    assert [at[row.id] for row in rows[2:]] == [2, 3]
    assert np.isnan([at[row.id] for row in rows[:2]]).all()


@pytest.mark.slow
def test_a_plot_of_results_is_a_sample_of_many_and_says_so(measured, monkeypatch):
    monkeypatch.setattr("entropic.ui.query.MOST_READ", 3)
    _, _, page = measured(".json")
    told, _ = page.packed("points", x="n", y="result.whole")
    assert (told["count"], told["total"]) == (3, 4)


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"sort": "result.whole"}, {"f.result.whole": "1"}])
def test_rows_are_not_sorted_or_filtered_by_what_is_in_their_files(measured, given):
    _, _, page = measured(".json")
    status, why = page.refused("rows", **given)
    assert status == 400
    assert "result.whole" in why


@pytest.mark.slow
def test_the_lines_of_python_read_them_too(measured, monkeypatch):
    pytest.importorskip("matplotlib")
    store, _, page = measured(".json")
    for names in ("x=n&y=result.energy", "kind=lines&x=n&y=result.whole", "x=n&y=n&c=result.whole"):
        text = page.api("script", **dict(one.split("=") for one in names.split("&")))["text"]
        monkeypatch.setitem(__import__("sys").modules, "model", __import__("types").SimpleNamespace(store=store))
        monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
        exec(text, {})


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_result_that_is_too_large_is_not_read_for_a_number(measured, monkeypatch, suffix):
    monkeypatch.setattr("entropic.ui.scalars.LARGEST", 10)
    _, _, page = measured(suffix)
    assert not [one for one in page.api("schema", results=1)["columns"] if one["role"] == "result"]
