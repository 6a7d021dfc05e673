"""What is easily misread: tables without names, arrays of types that numpy has no name for, names that meet."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from entropic import Base, EntropicWarning, LoadError, Mapped, SaveError
from entropic.formats.read import read
from entropic.formats.save import save


class Named(Base):
    __tablename__ = "names_that_meet"
    n: Mapped[int]


NUMBERS = np.array([[1.5, 2, 3], [4, 5, np.nan], [7, 8, -9]])


def table(tmp_path: Path, text: str, suffix: str = ".csv") -> Any:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    return read(str(path))


# ---- tables ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("delimiter", [",", " ", "\t", ";", ", "])
@pytest.mark.parametrize("fmt", ["%.18e", "%g"])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv"])
def test_the_first_row_of_numbers_is_no_header(tmp_path, delimiter, fmt, suffix):
    np.savetxt(tmp_path / f"a{suffix}", NUMBERS, delimiter=delimiter, fmt=fmt)
    found = read(str(tmp_path / f"a{suffix}"))
    assert np.array_equal(found.to_numpy(), NUMBERS, equal_nan=True)
    assert list(found.columns) == [0, 1, 2]


@pytest.mark.parametrize("delimiter", [",", " "])
def test_the_names_and_the_end_that_numpy_writes_as_comments(tmp_path, delimiter):
    header = f"made on Monday\n{delimiter.join(['t', 'x', 'y'])}"
    np.savetxt(tmp_path / "a.csv", NUMBERS, delimiter=delimiter, header=header, footer="the end")
    found = read(str(tmp_path / "a.csv"))
    assert list(found.columns) == ["t", "x", "y"]
    assert np.array_equal(found.to_numpy(), NUMBERS, equal_nan=True)


def test_whole_numbers_that_are_there_twice_are_no_names(tmp_path):
    assert table(tmp_path, "0,0,1\n3,4,5\n").to_numpy().tolist() == [[0, 0, 1], [3, 4, 5]]


@pytest.mark.parametrize("names", [["0.1", "0.2"], [2020, 2021], ["#a", "b"]])
def test_a_table_that_would_not_come_back_is_not_saved(tmp_path, names):
    with pytest.raises(SaveError, match="names of its columns"):
        save(pd.DataFrame([[1.5, 2.5]], columns=names), str(tmp_path / "a.csv"))


def test_complex_numbers_of_numpy_are_no_header_either(tmp_path):
    np.savetxt(tmp_path / "a.csv", np.array([[1 - 2j, 3], [4, 5j]]), delimiter=",")
    assert read(str(tmp_path / "a.csv")).shape == (2, 2)


def test_comments_above_a_header_are_left_out_and_signs_within_stay(tmp_path):
    found = table(tmp_path, "# made on Monday\n# by me\nt,colour\n1,#ff0000\n2,#00ff00\n")
    assert found.to_dict("list") == {"t": [1, 2], "colour": ["#ff0000", "#00ff00"]}


def test_a_header_may_begin_with_the_sign_of_comments(tmp_path):
    assert table(tmp_path, "#site,pos\nx,5\ny,6\n").to_dict("list") == {"#site": ["x", "y"], "pos": [5, 6]}


@pytest.mark.parametrize("text", ["0,1,2\n3,4,5\n", "0\n1\n2\n", "2020,2021\n1.5,2.5\n", "#a,b\nc,d\ne,f\n"])
def test_a_first_row_that_may_be_names_or_not_is_refused(tmp_path, text):
    with pytest.raises(LoadError, match=r"does not tell what its first row is.*loader"):
        table(tmp_path, text)


@pytest.mark.parametrize("header", ["a,b,c", "a,b,c,"])
def test_a_separator_at_the_end_of_each_row_moves_nothing(tmp_path, header):
    found = table(tmp_path, f"{header}\n1,2,3,\n4,5,6,\n")
    assert found.to_dict("list") == {"a": [1, 4], "b": [2, 5], "c": [3, 6]}
    found = table(tmp_path, "1.5,2,3,\n4,5,6,\n")
    assert found.to_numpy().tolist() == [[1.5, 2, 3], [4, 5, 6]]


def test_names_of_rows_and_empty_columns_stay(tmp_path):
    assert list(table(tmp_path, "a,b\nx,1,2\ny,3,4\n").index) == ["x", "y"]
    assert list(table(tmp_path, "a,b,empty\n1,2,\n3,4,\n").columns) == ["a", "b", "empty"]
    frame = pd.DataFrame(NUMBERS)
    frame.to_csv(tmp_path / "b.csv")
    assert list(read(str(tmp_path / "b.csv")).columns) == ["Unnamed: 0", "0", "1", "2"]


def test_lines_of_comments_between_rows_of_numbers_are_left_out(tmp_path):
    found = table(tmp_path, "# by me\nt,colour\n1,#ff0000\n# step 2, again\n2,#00ff00\n#\n", ".csv.gz")
    assert found.to_dict("list") == {"t": [1, 2], "colour": ["#ff0000", "#00ff00"]}
    assert found.t.dtype == "int64"
    found = table(tmp_path, "t,x\n,5\n# step 2\n2,\n")  # where values are missing
    assert np.array_equal(found.to_numpy(), [[np.nan, 5], [2, np.nan]], equal_nan=True)
    found = table(tmp_path, "site,pos\n#1,5\n#2,6\n")  # which are no comments
    assert found.to_dict("list") == {"site": ["#1", "#2"], "pos": [5, 6]}
    found = table(tmp_path, 'n,text\n1,"a\n# b"\n2,c\n')
    assert found.to_dict("list") == {"n": [1, 2], "text": ["a\n# b", "c"]}


@pytest.mark.parametrize("text", ["a,b\n1.5,2,3\n4,5,6\n", "a,b\nx,y,1,2\nz,u,3,4\n", "a;b\n1,5;2,5\n3,5;4,5\n"])
def test_rows_with_more_values_than_names_are_refused_unless_they_are_labelled(tmp_path, text):
    with pytest.raises(LoadError, match="more values in a row than names"):
        table(tmp_path, text)
    assert table(tmp_path, "a,b\n1,1.5,2\n2,3,4\n").to_dict("list") == {"a": [1.5, 3], "b": [2, 4]}


def test_labels_of_rows_are_a_coordinate_and_lie_along_the_runs_where_they_differ(make):
    def write(path: str, params: dict[str, Any]) -> None:
        index = None if params["n"] == 3 else list("ab" if params["n"] == 1 else "bc")
        pd.DataFrame({"u": [1.0, 2.0], "row": [3, 4]}, index=index).to_parquet(path)

    store = make(Named, write, ".parquet")
    assert store.sweep([{"n": 1}]).to_xarray().u.sel(index="b") == 2
    data = store.sweep({"n": n} for n in (1, 2)).to_xarray()
    assert data.index_values.values.tolist() == [["a", "b"], ["b", "c"]]
    some = store.sweep({"n": n} for n in (1, 3)).to_xarray().index_values  # and nobody else's where there are none
    assert some.values[0].tolist() == ["a", "b"]
    assert pd.isna(some.values[1]).all()


# ---- numpy's files -----------------------------------------------------------------------------------------------
FLOATS = np.array([[0.0, 1.5, -2.0], [np.inf, 3.0, 1e-3]], "f4")


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_whose_type_numpy_has_no_name_for_come_back_as_numbers(tmp_path, name, order):
    written = np.asarray(FLOATS.astype(getattr(ml_dtypes, name)), order=order)
    np.save(tmp_path / "a.npy", written)
    np.savez(tmp_path / "a.npz", u=written, v=NUMBERS)
    for found in (read(str(tmp_path / "a.npy")), read(str(tmp_path / "a.npz"))["u"]):
        assert found.dtype.kind == "f"
        assert np.array_equal(found.astype("f4"), written.astype("f4"))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "int4"])
def test_numbers_that_nothing_tells_apart_are_refused(tmp_path, name):
    np.save(tmp_path / "a.npy", np.ones(3, getattr(ml_dtypes, name)))
    np.savez(tmp_path / "a.npz", u=np.ones(3, getattr(ml_dtypes, name)))
    for path in ("a.npy", "a.npz"):
        with pytest.raises(LoadError, match="float8"):
            read(str(tmp_path / path))


def test_bytes_and_records_of_numpys_own_stay(tmp_path):
    for array in (np.array([b"\x01\x02"], "V2"), np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]), np.array([], "V3")):
        np.save(tmp_path / "a.npy", array)
        assert read(str(tmp_path / "a.npy")).tobytes() == array.tobytes()
        assert read(str(tmp_path / "a.npy")).dtype == array.dtype


def test_an_archive_that_is_called_an_array_is_refused_and_not_returned_half_open(tmp_path):
    np.savez(tmp_path / "a.npz", u=NUMBERS)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(LoadError, match=r"name it \.npz"):
        read(str(tmp_path / "a.npy"))


def test_an_array_may_be_called_as_another_ones_file(tmp_path):
    np.savez(tmp_path / "a.npz", **{"a": [1], "a.npy": [2], "b.npy": [3]})
    found = read(str(tmp_path / "a.npz"))
    assert {name: values.tolist() for name, values in found.items()} == {"a": [1], "a.npy": [2], "b.npy": [3]}


# ---- names that meet ---------------------------------------------------------------------------------------------
def test_names_that_meet_are_refused(make):
    for suffix, write in {
        ".json": lambda path, _: Path(path).write_text(json.dumps({"a": {"b": 2}, "a.b": 1})),
        ".npz": lambda path, _: np.savez(path, n=1, result_n=2),
        ".parquet": lambda path, _: pd.DataFrame({"t": [1]}, index=pd.Index([2], name="t")).to_parquet(path),
    }.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*file_suffix right", EntropicWarning)
            store = make(Named, write, suffix)
        runs = store.sweep([{"n": len(suffix)}])
        with pytest.raises(LoadError, match=r"called '(a\.b|result_n|t)'"):
            runs.to_xarray()


def test_a_coordinate_along_the_runs_takes_no_name_that_is_there(make):
    def write(path: str, params: dict[str, Any]) -> None:
        coords = {"t": [0.0, 1.0 * params["n"]]}
        xr.Dataset({"u": ("t", [1.0, 2.0]), "t_values": 3.0}, coords=coords).to_netcdf(path)

    with pytest.raises(LoadError, match="called 't_values'"):
        make(Named, write, ".nc").sweep({"n": n} for n in (1, 2)).to_xarray()


@pytest.mark.parametrize("kind", ["f8", "i8", "bool"])
def test_zeros_of_zarr_are_zeros_though_its_fill_value_is_zero(tmp_path, kind):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    array = group.create_array("u", shape=(4,), chunks=(2,), dtype=kind, fill_value=0)
    array[:2] = [0, 1]
    array.attrs["_ARRAY_DIMENSIONS"] = ["x"]
    found = read(str(tmp_path / "a.zarr"))["u"]
    assert found.values.tolist() == [0, 1, 0, 0]
    assert found.dtype == kind


def test_what_xarray_has_marked_as_missing_in_zarr_is_missing(tmp_path):
    data = xr.Dataset(
        {"u": ("x", [1.0, np.nan]), "v": ("x", np.array([3.0, np.nan]), {}, {"_FillValue": -9, "dtype": "i4"})}
    )
    data.to_zarr(tmp_path / "a.zarr", zarr_format=2, consolidated=False)
    assert read(str(tmp_path / "a.zarr")).equals(data)
