"""Feather, Arrow, ORC, Parquet and Excel: whole numbers beside missing ones, types, sheets, formulas."""

from __future__ import annotations

import datetime

import numpy as np
import openpyxl
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet
import pytest

from ask.written import INTEGERS, extremes
from entropic import LoadError, SaveError
from entropic.ask.variables import variables
from entropic.formats.read import read
from entropic.formats.save import save

WRITERS = {
    ".parquet": pyarrow.parquet.write_table,
    ".feather": pyarrow.feather.write_feather,
    ".orc": pyarrow.orc.write_table,
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("number", [2**53 + 1, -(2**62) - 1, 5])
def test_a_large_whole_number_beside_a_missing_one_is_no_float(tmp_path, suffix, number):
    """pyarrow and pandas make such columns floats, in which 2**53 + 1 is 2**53."""
    path = str(tmp_path / f"it{suffix}")
    WRITERS[suffix](pa.table({"n": pa.array([number, None]), "x": [0.5, None]}), path)
    frame = read(path)
    assert frame["n"][0] == number
    assert frame["n"].isna().tolist() == [False, True]
    assert frame["x"].dtype == np.float64
    found = variables(frame, None, path)
    assert found["n"].values[0] == number
    assert found["n"].values[1] != found["n"].values[1]


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_unsigned_ones_are_not_either(tmp_path, suffix):
    path = str(tmp_path / f"it{suffix}")
    WRITERS[suffix](pa.table({"n": pa.array([2**64 - 1, None], pa.uint64())}), path)
    assert read(path)["n"][0] == 2**64 - 1


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_columns_of_every_type_come_back(tmp_path, suffix):
    frame = pd.DataFrame(
        {
            **{name: extremes(name) for name in INTEGERS},
            "f4": np.float32([np.nan, -0.0, np.inf]),
            "text": ["ä", None, ""],
            "at": pd.to_datetime(["2020-01-01", "1700-01-01", None]).astype("datetime64[us]"),
            "zone": pd.to_datetime(["2020-01-01"] * 3).tz_localize("Europe/Berlin"),
            "for": pd.to_timedelta([1, 2, None], unit="s"),
            "kind": pd.Categorical(["x", "y", "x"]),
            "maybe": pd.array([True, None, False], "boolean"),
        },
        index=pd.Index(["a", "b", "c"], name="key"),
    )
    save(frame, str(tmp_path / f"it{suffix}"))
    pd.testing.assert_frame_equal(read(str(tmp_path / f"it{suffix}")), frame)


def test_orc_holds_what_arrow_says_and_nothing_is_of_course_no_row(tmp_path):
    path = str(tmp_path / "it.orc")
    days = [datetime.date(2020, 1, 1), None]
    pyarrow.orc.write_table(pa.table({"day": pa.array(days), "list": [[1, 2], []]}), path)
    frame = read(path)
    assert frame["day"].tolist() == days
    assert [list(one) for one in frame["list"]] == [[1, 2], []]
    pyarrow.orc.write_table(pa.table({"n": pa.array([], pa.int16())}), path)
    assert read(path)["n"].dtype == np.int16


@pytest.mark.parametrize("table", [polars.DataFrame({"n": [1, 2]}), pa.table({"n": [1, 2]})], ids=["polars", "pyarrow"])
@pytest.mark.parametrize("suffix", [".feather", ".arrow", ".orc"])
def test_tables_of_other_libraries_are_written(tmp_path, table, suffix):
    save(table, str(tmp_path / f"it{suffix}"))
    assert read(str(tmp_path / f"it{suffix}"))["n"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (pd.DataFrame({"n": [1, 2]}, index=[3, 4]), "index"),
        (pd.DataFrame({"for": pd.to_timedelta([1], unit="s")}), "duration"),
        (pd.DataFrame({"far": pd.Series(["2300-01-01"], dtype="datetime64[us]")}), "range|as something else"),
        (pd.DataFrame({"zone": pd.to_datetime(["2020-01-01"]).tz_localize("Europe/Berlin")}), "read as something else"),
    ],
    ids=["index", "durations", "far dates", "time zones"],
)
def test_what_orc_would_lose_is_refused_and_no_file_is_left(tmp_path, frame, why):
    with pytest.raises(SaveError, match=f"a .orc file cannot hold it.*{why}"):
        save(frame, str(tmp_path / "it.orc"))


def test_a_stream_without_its_end_is_refused(tmp_path):
    """Of a stream that was cut between two batches, the library reads the first without a word."""
    path = tmp_path / "it.arrow"
    table = pa.table({"n": [1, 2]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
        kept = file.tell()
        writer.write_table(table)
    assert read(str(path))["n"].tolist() == [1, 2, 1, 2]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(LoadError, match="is incomplete"):
        read(str(path))


def test_csv_returns_the_float_that_was_written(tmp_path):
    """pandas reads faster, and some floats as their neighbours, unless it is asked not to."""
    numbers = np.random.default_rng(0).normal(size=5000) * 10.0 ** np.arange(5000).clip(0, 200)
    save(pd.DataFrame({"x": numbers}), str(tmp_path / "it.csv"))
    assert np.array_equal(read(str(tmp_path / "it.csv"))["x"], numbers)


# ---- Excel -------------------------------------------------------------------------------------------------------
def workbook(path, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return str(path)


def test_all_sheets_are_returned_and_have_names_in_labelled_arrays(tmp_path):
    path = workbook(tmp_path / "it.xlsx", one=[["a", "b"], [1, 2.5]], two=[["c"], ["text"]], none=[])
    found = read(path)
    assert {name: list(frame.columns) for name, frame in found.items()} == {"one": ["a", "b"], "two": ["c"], "none": []}
    assert found["one"].values.tolist() == [[1, 2.5]]
    arrays = variables(found, None, path)
    assert {name: one.values.tolist() for name, one in arrays.items()} == {
        "one.a": [1],
        "one.b": [2.5],
        "two.c": ["text"],
    }


def test_text_that_looks_like_nothing_stays_text_and_empty_cells_are_missing(tmp_path):
    words = ["NA", "None", "null", "nan", "n/a", "Na"]
    path = workbook(
        tmp_path / "it.xlsx", one=[["word", "x"], *([word, 1.5] for word in words), [None, None], ["end", 2]]
    )
    frame = read(path)
    assert frame["word"].tolist()[:6] == words
    assert frame["word"].isna().tolist()[6]
    assert np.array_equal(frame["x"], [1.5] * 6 + [np.nan, 2], equal_nan=True)


def test_a_first_row_of_numbers_is_data_unless_it_may_be_names(tmp_path):
    path = workbook(tmp_path / "it.xlsx", one=[[0.5, 1.5], [2, 3]])
    assert read(path).values.tolist() == [[0.5, 1.5], [2, 3]]
    path = workbook(tmp_path / "years.xlsx", one=[[2020, 2021], [2, 3]])
    with pytest.raises(LoadError, match="whole numbers may be names"):
        read(path)


def test_a_formula_that_nobody_has_computed_is_no_empty_cell(tmp_path):
    path = workbook(tmp_path / "it.xlsx", one=[["a", "b"], [1, "=A2*2"]])
    with pytest.raises(LoadError, match="formula in 'one', B2"):
        read(path)


def test_times_come_back(tmp_path):
    when = datetime.datetime(2020, 1, 2, 3, 4, 5)
    frame = read(workbook(tmp_path / "it.xlsx", one=[["at", "clock"], [when, datetime.time(1, 2)]]))
    assert frame["at"].tolist() == [when]
    assert frame["clock"].tolist() == [datetime.time(1, 2)]
