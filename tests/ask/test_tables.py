"""Runs as tables of pandas, Polars and Arrow: typed, also where there are no rows or no values."""

from __future__ import annotations

import datetime
import enum
import json
import pickle
import threading
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import JSON, DateTime, Numeric, String, TypeDecorator

from contract.models import PATIENCE
from entropic import Base, LoadError, Mapped, ParameterError, Runs, Store, mapped_column


class Phase(enum.Enum):
    SOLID = "s"
    LIQUID = "l"


class Metres(TypeDecorator):
    """A type of the user's own, whose Python values are no text though the database's are."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else str(value)

    def process_result_value(self, value, dialect):
        return None if value is None else Path(value)


class Wide(Base):
    __tablename__ = "wide_results"
    n: Mapped[int]
    maybe: Mapped[int | None]
    real: Mapped[float] = mapped_column(default=0.5)
    gap: Mapped[float | None]
    flag: Mapped[bool] = mapped_column(default=True)
    doubt: Mapped[bool | None]
    name: Mapped[str] = mapped_column(default="x")
    phase: Mapped[Phase] = mapped_column(default=Phase.SOLID)
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 3))
    loose: Mapped[Decimal | None]
    day: Mapped[datetime.date | None]
    moment: Mapped[datetime.datetime | None]
    zoned: Mapped[datetime.datetime | None] = mapped_column(DateTime(timezone=True))
    clock: Mapped[datetime.time | None]
    span: Mapped[datetime.timedelta | None]
    raw: Mapped[bytes | None]
    who: Mapped[uuid.UUID | None]
    tree: Mapped[Any] = mapped_column(JSON, nullable=True)
    path: Mapped[Path | None] = mapped_column(Metres)


FULL = {
    "n": 1,
    "maybe": 7,
    "gap": 1.25,
    "doubt": False,
    "phase": Phase.LIQUID,
    "price": Decimal("12.345"),
    "loose": Decimal("1.5"),
    "day": datetime.date(1234, 5, 6),
    "moment": datetime.datetime(2024, 1, 2, 3, 4, 5, 678901),
    "zoned": datetime.datetime(2024, 1, 2, 3, 4, 5),
    "clock": datetime.time(12, 30, 0, 5),
    "span": datetime.timedelta(days=1, microseconds=3),
    "raw": b"\x00\xff",
    "who": uuid.UUID(int=5),
    "tree": {"a": [1, None]},
    "path": Path("a/b"),
}


@pytest.fixture
def store(make) -> Store[Wide]:
    return make(Wide, lambda path, params: Path(path).touch(), ".txt")


@pytest.fixture
def runs(store) -> Runs[Wide]:
    return store.sweep([FULL, {"n": 2}])


EMPTY = Runs([], model=Wide)


# ---- pandas ------------------------------------------------------------------------------------------------------
def test_pandas_has_a_column_for_each_of_the_model_with_its_values(runs):
    frame = runs.to_pandas()
    assert list(frame.columns) == ["id", *(name for name in FULL_ORDER), "created_at", "result_file"]
    assert list(frame.index) == [0, 1]
    first = frame.iloc[0]
    assert (first["n"], first["maybe"], first["gap"], first["name"], first["phase"]) == (1, 7, 1.25, "x", "LIQUID")
    assert first["price"] == Decimal("12.345")
    assert first["moment"] == pd.Timestamp("2024-01-02 03:04:05.678901")
    assert first["day"].date() == datetime.date(1234, 5, 6)
    assert first["span"] == datetime.timedelta(days=1, microseconds=3)
    assert first["zoned"] == pd.Timestamp("2024-01-02 03:04:05", tz="UTC")
    assert (first["clock"], first["raw"], first["tree"], first["path"]) == (
        datetime.time(12, 30, 0, 5),
        b"\x00\xff",
        {"a": [1, None]},
        Path("a/b"),
    )
    assert first["id"] == runs[0].id
    assert first["result_file"] == runs[0].result_file
    assert first["created_at"] == runs[0].created_at
    second = frame.iloc[1]
    for name in ("maybe", "gap", "doubt", "price", "day", "moment", "zoned", "clock", "span", "raw", "who", "tree"):
        assert pd.isna(second[name]), name


FULL_ORDER = [column.name for column in Wide.__table__.c if not column.info.get("entropic")]
PANDAS = {
    "n": "int64",
    "maybe": "Int64",
    "real": "float64",
    "gap": "float64",
    "flag": "bool",
    "doubt": "boolean",
    "phase": pd.CategoricalDtype(["SOLID", "LIQUID"]),
    "day": "datetime64[s]",
    "moment": "datetime64[us]",
    "zoned": "datetime64[us, UTC]",
    "span": "timedelta64[us]",
    "created_at": "datetime64[us]",
    "price": "object",
}


@pytest.mark.parametrize("which", ["full", "empty", "all None"])
def test_pandas_types_are_those_of_the_model_whatever_the_rows_hold(runs, which):
    frame = {"full": runs, "empty": EMPTY, "all None": runs[1:]}[which].to_pandas()
    assert {name: frame[name].dtype for name in PANDAS} == {
        name: pd.api.types.pandas_dtype(dtype) for name, dtype in PANDAS.items()
    }
    assert pd.api.types.is_string_dtype(frame["name"])


def test_a_grouped_mean_works_at_once(make):
    store = make(Wide, lambda path, params: Path(path).touch(), ".txt")
    runs = store.sweep({"n": n, "gap": float(n * k), "name": str(k)} for n in (1, 2) for k in (1, 3))
    assert dict(runs.to_pandas().groupby("n")["gap"].mean()) == {1: 2.0, 2: 4.0}


# ---- Arrow and Polars --------------------------------------------------------------------------------------------
ARROW = {
    "id": pa.string(),
    "n": pa.int64(),
    "maybe": pa.int64(),
    "real": pa.float64(),
    "flag": pa.bool_(),
    "doubt": pa.bool_(),
    "phase": pa.dictionary(pa.int32(), pa.string()),
    "price": pa.decimal128(10, 3),
    "day": pa.date32(),
    "moment": pa.timestamp("us"),
    "zoned": pa.timestamp("us", "UTC"),
    "clock": pa.time64("us"),
    "span": pa.duration("us"),
    "raw": pa.binary(),
    "who": pa.string(),
    "tree": pa.string(),
    "created_at": pa.timestamp("us"),
}
POLARS = {
    "n": pl.Int64(),
    "maybe": pl.Int64(),
    "gap": pl.Float64(),
    "doubt": pl.Boolean(),
    "phase": pl.Enum(["SOLID", "LIQUID"]),
    "price": pl.Decimal(10, 3),
    "day": pl.Date(),
    "moment": pl.Datetime("us"),
    "zoned": pl.Datetime("us", "UTC"),
    "clock": pl.Time(),
    "span": pl.Duration("us"),
    "raw": pl.Binary(),
    "who": pl.String(),
    "tree": pl.String(),
    "created_at": pl.Datetime("us"),
}


@pytest.mark.parametrize("which", ["full", "empty", "all None"])
def test_arrow_and_polars_types_are_those_of_the_model_whatever_the_rows_hold(runs, which):
    chosen = {"full": runs, "empty": EMPTY, "all None": runs[1:]}[which]
    schema = chosen.to_arrow().schema
    assert {name: schema.field(name).type for name in ARROW} == ARROW
    frame = chosen.to_polars()
    assert {name: frame.schema[name] for name in POLARS} == POLARS


def test_arrow_and_polars_hold_the_values(runs):
    wanted = {**FULL, "phase": "LIQUID", "who": str(uuid.UUID(int=5)), "tree": '{"a":[1,null]}', "path": "a/b"}
    wanted["zoned"] = wanted["zoned"].replace(tzinfo=datetime.UTC)
    first, second = runs.to_arrow().to_pylist()
    assert {name: first[name] for name in wanted} == wanted
    assert {second[name] for name in wanted if name not in ("n", "phase")} == {None}
    frame = runs.to_polars()
    first, second = frame.rows(named=True)
    assert {name: first[name] for name in wanted} == wanted
    assert {second[name] for name in wanted if name not in ("n", "phase")} == {None}


def test_decimals_of_no_declared_size_get_the_digits_that_they_need(make):
    runs = Runs([Wide(id=str(i), n=i, loose=Decimal(text)) for i, text in enumerate(["1.25", "1E+3", "-0.00001"])])
    column = runs.to_arrow()["loose"]
    assert column.type == pa.decimal128(38, 5)
    assert column.to_pylist() == [Decimal("1.25"), Decimal(1000), Decimal("-0.00001")]
    assert runs.to_polars()["loose"].to_list() == [Decimal("1.25"), Decimal(1000), Decimal("-0.00001")]
    beyond = Runs([Wide(id="1", n=1, loose=Decimal("1" * 50))])
    assert beyond.to_arrow()["loose"].to_pylist() == ["1" * 50]
    assert beyond.to_polars()["loose"].to_list() == ["1" * 50]


@pytest.mark.slow
def test_the_table_goes_through_a_parquet_file(runs, tmp_path):
    table = runs.to_arrow(custom_data=True)
    parquet.write_table(table, tmp_path / "runs.parquet")
    again = parquet.read_table(tmp_path / "runs.parquet")
    assert again.to_pylist() == table.to_pylist()
    assert pl.read_parquet(tmp_path / "runs.parquet")["price"].to_list() == [Decimal("12.345"), None]


# ---- custom data -------------------------------------------------------------------------------------------------
@pytest.fixture
def noted(store):
    store.run({"n": 1}, tag="a", count=3, size=1, good=True, deep={"x": {"y": 1.5}}, items=[1, 2], late=None)
    store.run({"n": 2}, tag="b", size=2.5, deep={"x": {"y": 2.5}}, items=[])
    return store.select(order_by="n")


def test_custom_data_is_left_out_until_it_is_asked_for(noted):
    for table in (noted.to_pandas().columns, noted.to_polars().columns, noted.to_arrow().column_names):
        assert not [name for name in table if name.startswith("custom_data")]


def test_fields_of_custom_data_become_typed_columns(noted):
    table = noted.to_arrow(custom_data=True)
    found = {name.removeprefix("custom_data."): table[name] for name in table.column_names if "custom" in name}
    assert set(found) == {"tag", "count", "size", "good", "deep.x.y", "items", "late", "elapsed_seconds"}
    assert {name: column.to_pylist() for name, column in found.items() if name != "elapsed_seconds"} == {
        "tag": ["a", "b"],
        "count": [3, None],
        "size": [1.0, 2.5],
        "good": [True, None],
        "deep.x.y": [1.5, 2.5],
        "items": ["[1,2]", "[]"],
        "late": [None, None],
    }
    assert [found[name].type for name in ("tag", "count", "size", "good", "items")] == [
        pa.string(),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
        pa.string(),
    ]
    frame = noted.to_pandas(custom_data=True)
    assert frame["custom_data.count"].dtype == "Int64"
    assert list(frame["custom_data.items"]) == [[1, 2], []]
    assert noted.to_polars(custom_data=True)["custom_data.count"].to_list() == [3, None]


@pytest.mark.slow
def test_two_fields_that_would_have_one_name_are_refused(store):
    store.run({"n": 1}, **{"a": {"b": 1}, "a.b": 2})
    runs = store.select()
    for convert in (runs.to_pandas, runs.to_polars, runs.to_arrow):
        convert()
        with pytest.raises(ParameterError, match=r"custom_data\.a\.b"):
            convert(custom_data=True)


# ---- which rows --------------------------------------------------------------------------------------------------
def test_slices_sums_and_copies_are_runs_and_items_are_rows(runs):
    for some in (
        runs[:1],
        runs + runs,
        runs[:1] + list(runs[1:]),
        runs.copy(),
        Runs(runs),
        pickle.loads(pickle.dumps(runs)),
    ):
        assert type(some) is Runs
        assert some.model is Wide
    assert type(runs[0]) is Wide
    assert [row.n for row in runs[::-1]] == [2, 1]
    assert runs[:0].to_pandas().shape == (0, len(FULL_ORDER) + 3)
    assert runs == list(runs)
    with pytest.raises(TypeError):
        runs + (1,)  # noqa: RUF005


def test_rows_of_several_models_or_of_none_are_refused_with_a_reason(runs):
    class Other(Base):
        __tablename__ = "other_than_wide"
        n: Mapped[int]

    with pytest.raises(ParameterError, match="Other, Wide"):
        Runs([*runs, Other(id="1", n=1)]).to_pandas()
    with pytest.raises(ParameterError, match="model="):
        Runs().to_pandas()


# ---- values of results -------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_values_of_results_stand_beside_the_parameters_in_each_kind_of_table(make):
    def write(path: str, params: dict[str, Any]) -> None:
        n = params["n"]
        values = {"energy": n / 2, "count": n, "word": "w" * n, "good": n > 1, "deep": {"x": 2**53 + n}, "n": -n}
        Path(path).write_text(json.dumps({**values, "late": 1, "curve": [1, 2]} if n > 1 else values))

    runs = make(Wide, write, ".json").sweep({"n": n} for n in (1, 2, 3))
    names = ["energy", "count", "word", "good", "deep.x", "n", "late"]
    wanted = {
        "energy": [0.5, 1.0, 1.5],
        "count": [1, 2, 3],
        "word": ["w", "ww", "www"],
        "good": [False, True, True],
        "deep.x": [2**53 + 1, 2**53 + 2, 2**53 + 3],
        "result_n": [-1, -2, -3],
        "late": [None, 1, 1],
    }
    table = runs.to_arrow(results=names)
    assert table.column_names == [*runs.to_arrow().column_names, *wanted]
    assert {name: table[name].to_pylist() for name in wanted} == wanted
    assert {name: runs.to_polars(results=names)[name].to_list() for name in wanted} == wanted
    frame = runs.to_pandas(results=names)
    assert frame["late"].astype(object).where(frame["late"].notna(), None).tolist() == wanted["late"]
    assert frame.set_index("n")["result_n"].to_dict() == {1: -1, 2: -2, 3: -3}
    assert runs.to_pandas(results="energy", custom_data=True)["energy"].tolist() == wanted["energy"]
    with pytest.raises(LoadError, match=r"'curve'.*to_xarray"):
        runs.to_pandas(results=["curve"])
    with pytest.raises(ParameterError, match=r"'enregy'.*'energy'"):
        runs.to_pandas(results=["enregy"])
    assert list(runs[:0].to_pandas(results=names))[-1] == "late"


def test_times_among_the_values_of_results_are_times(make):
    moments = [np.datetime64("2024-01-02T03:04:05.678901", "ns"), np.datetime64("NaT")]
    store = make(
        Wide, lambda path, p: np.savez(path, at=moments[p["n"]], took=np.timedelta64(p["n"], "s"), z=1j), ".npz"
    )
    runs = store.sweep({"n": n} for n in (0, 1))
    table = runs.to_arrow(results=["at", "took", "z"])
    assert table["at"].to_pylist() == [datetime.datetime(2024, 1, 2, 3, 4, 5, 678901), None]
    assert table["took"].to_pylist() == [datetime.timedelta(0), datetime.timedelta(seconds=1)]
    assert runs.to_pandas(results="z")["z"].tolist() == [1j, 1j]


@pytest.mark.slow
def test_results_are_read_side_by_side_and_an_error_ends_it(make):
    together = threading.Barrier(2, timeout=PATIENCE)

    def load(path: str) -> Any:
        together.wait()  # for another thread
        return {"x": 1.0}

    runs = make(Wide, lambda path, params: Path(path).touch(), ".own", loader=load).sweep({"n": n} for n in (1, 2))
    assert runs.to_pandas(results="x")["x"].tolist() == [1.0, 1.0]
    read: list[str] = []

    def broken(path: str) -> Any:
        read.append(path)
        raise KeyError(path)

    many = Runs([Wide(id=str(n), n=n, result_file=runs[0].result_file) for n in range(5_000)], loader=broken)
    with pytest.raises(KeyError):
        many.to_pandas(results="x")
    assert len(read) < 5_000
