"""Tables of custom data of any shape and columns of any type: exported, they read back equal, by whoever reads them."""

from __future__ import annotations

import datetime
import enum
import io
import json
import math
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pyarrow import csv, parquet
from sqlalchemy import JSON, Numeric, insert

from entropic import Base, Mapped, Runs, Store, mapped_column
from entropic.ask.columns import columns
from entropic.ask.export import csv_lines, write_parquet
from entropic.ask.tables import Asked
from entropic.ask.tables import columns as without_rows


class Phase(enum.Enum):
    SOLID = "s"
    LIQUID = "l"


class Exported(Base):
    __tablename__ = "exported"
    n: Mapped[int]
    maybe: Mapped[int | None]
    gap: Mapped[float | None]
    doubt: Mapped[bool | None]
    name: Mapped[str | None]
    phase: Mapped[Phase | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(20, 3))
    day: Mapped[datetime.date | None]
    moment: Mapped[datetime.datetime | None]
    clock: Mapped[datetime.time | None]
    span: Mapped[datetime.timedelta | None]
    raw: Mapped[bytes | None]
    tree: Mapped[Any] = mapped_column(JSON, nullable=True)


# Not the letters that a reader of CSV takes for the end of a line or of a file.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=("Cs",)), max_size=5)
INTEGER = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(allow_nan=False)
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
KEY = TEXT.filter(lambda text: "." not in text)  # two fields of one name are refused: tests/ask/test_tables.py
TREE = st.recursive(LEAF, lambda one: st.lists(one, max_size=3) | st.dictionaries(KEY, one, max_size=3), max_leaves=5)
NAMES = st.sampled_from(["a", "b", "c d", "é"])
MOMENT = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31))


def value_or_none(one: Any) -> Any:
    return st.none() | one


ROW = st.fixed_dictionaries(
    {
        "maybe": value_or_none(INTEGER),
        "gap": value_or_none(FLOAT),
        "doubt": value_or_none(st.booleans()),
        "name": value_or_none(TEXT),
        "phase": value_or_none(st.sampled_from(Phase)),
        "price": value_or_none(st.decimals(-(10**16), 10**16, places=3)),
        "day": value_or_none(st.dates()),
        "moment": value_or_none(MOMENT),
        "clock": value_or_none(st.times()),
        "span": value_or_none(st.timedeltas(datetime.timedelta(-99_999), datetime.timedelta(99_999))),
        "raw": value_or_none(st.binary(max_size=4)),
        "tree": value_or_none(TREE),
        "custom_data": st.dictionaries(NAMES, TREE, max_size=3),
    }
)
ROWS = st.lists(ROW, max_size=4)


def exported(rows: list[dict[str, Any]]) -> Any:
    made = [Exported(id=str(n), n=n, result_file=f"{n}.txt", **row) for n, row in enumerate(rows)]
    return Runs(made, model=Exported)


def same(one: Any, other: Any) -> bool:
    """Tell whether a value is the one that was written, whatever a library calls it."""
    if other is None:
        return one is None or one is pd.NaT or one is pd.NA or (isinstance(one, float) and math.isnan(one))
    if isinstance(other, datetime.timedelta) and isinstance(one, int):  # DuckDB: Parquet itself has none
        return datetime.timedelta(microseconds=one) == other
    if isinstance(other, float) and one == other:
        return True
    return type(one) in (type(other), pd.Timedelta, pd.Timestamp, bytearray) and one == other


SETTINGS = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@SETTINGS
@given(ROWS)
def test_parquet_reads_back_equal_everywhere(rows):
    runs = exported(rows)
    wanted = runs.to_arrow(custom_data=True).to_pydict()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "runs.parquet"))
        write_parquet(columns(runs, Exported, True), path)
        frame = pd.read_parquet(path)
        found = {
            "arrow": parquet.read_table(path).to_pydict(),
            "polars": pl.read_parquet(path).to_dict(as_series=False),
            "duckdb": duckdb.sql(f"SELECT * FROM '{path}'").to_arrow_table().to_pydict(),
            "pandas": {name: frame[name].astype(object).tolist() for name in frame.columns},
        }
    for library, read in found.items():
        assert list(read) == list(wanted)
        for name, values in wanted.items():
            for one, value in zip(read[name], values, strict=True):
                assert same(one, value), (library, name, one, value)
    assert frame["maybe"].dtype == "Int64"  # and not floats, beside None


@pytest.mark.slow
@SETTINGS
@given(ROWS)
def test_json_in_an_export_is_what_was_stored(rows):
    runs = exported(rows)
    made = runs.to_arrow(custom_data=True)
    for name in made.column_names:
        if not name.startswith("custom_data."):
            continue
        path = name.split(".")[1:]
        for row, value in zip(rows, made[name].to_pylist(), strict=True):
            stored: Any = row["custom_data"]
            for part in path:
                stored = stored.get(part) if isinstance(stored, dict) else None
            if pa.types.is_string(made.schema.field(name).type) and not isinstance(stored, str):
                value = None if value is None else json.loads(value)
            if isinstance(stored, str) and value != stored:  # beside others it is JSON as well
                value = json.loads(value)
            if not isinstance(stored, dict) or not stored:
                assert value == stored
                assert type(value) in (type(stored), float)


READ_AS = {"raw": str, "tree": str, "day": str, "moment": str, "clock": str, "span": str, "price": str}


@pytest.mark.slow
@SETTINGS
@given(ROWS)
def test_csv_reads_back_equal_everywhere(rows):
    runs = exported(rows)
    table = runs.to_arrow(custom_data=True)
    text = "".join(f"{line}\n" for line in csv_lines(columns(runs, Exported, True)))
    types = {
        field.name: field.type
        if pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_boolean(field.type)
        else pa.string()
        for field in table.schema
    }
    found = csv.read_csv(
        io.BytesIO(text.encode()),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
        ),
    )
    assert found.column_names == table.column_names
    for name in table.column_names:
        for one, value in zip(found[name].to_pylist(), table[name].to_pylist(), strict=True):
            assert same(back(one, value), value), (name, one, value)
    frame = pd.read_csv(
        io.StringIO(text), dtype={**dict.fromkeys(frame_names(table), object)}, keep_default_na=False, na_values=[]
    )
    for name in table.column_names:
        for one, value in zip(frame[name].tolist(), table[name].to_pylist(), strict=True):
            assert one == "" if value is None else same(back(one, value), value), (name, one, value)


def frame_names(table: pa.Table) -> list[str]:
    return list(table.column_names)


def back(text: Any, value: Any) -> Any:
    """Read the text of a value as its type is read."""
    if not isinstance(text, str) or value is None or isinstance(value, str):
        return text
    if isinstance(value, bool):
        return {"true": True, "false": False}[text]
    if isinstance(value, datetime.timedelta):
        return pd.Timedelta(text)
    if isinstance(value, bytes):
        return bytes.fromhex(text)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return type(value).fromisoformat(text)
    return type(value)(text)


# ---- tables that are made without rows --------------------------------------------------------------------------
ASKED = st.fixed_dictionaries(
    {
        "order_by": st.sampled_from([None, "n", "-n", ["gap", "-name"], "moment", "phase"]),
        "limit": st.none() | st.integers(0, 4),
    }
)


@pytest.mark.slow
@SETTINGS
@given(ROWS, ASKED, st.booleans(), st.integers(1, 3))
def test_a_table_without_rows_equals_that_of_rows(rows, asked, custom_data, together):
    with tempfile.TemporaryDirectory() as folder, mock.patch("entropic.db.connection.TOGETHER", together):
        store = Store(lambda _: None, Exported, folder, ".txt", f"sqlite:///{folder}/db.sqlite3")
        made: list[dict[str, Any]]
        made = [{"id": str(n), "n": n, "result_file": f"{n}.txt", **row} for n, row in enumerate(rows)]
        if made:
            with store._context.database.engine.begin() as connection:
                connection.execute(insert(Exported), made)
        wanted = store.select(**asked)
        assert len(wanted) == min(len(rows), 4 if asked["limit"] is None else asked["limit"])
        table, one_of_rows = store.to_arrow(**asked, custom_data=custom_data), wanted.to_arrow(custom_data)
        assert table.schema == one_of_rows.schema
        made_at_once = without_rows(store._context, Runs, Asked((), {}, **asked, custom_data=custom_data))
        assert list(csv_lines(made_at_once)) == list(csv_lines(columns(wanted, Exported, custom_data)))
        assert repr(table.to_pylist()) == repr(one_of_rows.to_pylist())
        pd.testing.assert_frame_equal(store.to_pandas(**asked, custom_data=custom_data), wanted.to_pandas(custom_data))
        assert_frame_equal(store.to_polars(**asked, custom_data=custom_data), wanted.to_polars(custom_data))
