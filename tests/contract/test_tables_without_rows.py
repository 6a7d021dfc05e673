"""`Store.to_arrow` and its like: what `select(...)` makes a table of, without a row in between."""

from __future__ import annotations

import datetime
import enum
import json
import math
import os
import socket
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
import sqlalchemy as sa
from polars.testing import assert_frame_equal
from sqlalchemy import JSON, DateTime, Numeric, String, TypeDecorator, event

from entropic import (
    Base,
    LibraryMissingError,
    Mapped,
    ParameterError,
    ResultMissingError,
    Store,
    UnreadableWarning,
    mapped_column,
    outcome,
)
from entropic.ask import tables
from entropic.db.dialects import portable
from entropic.db.query import scan


class Phase(enum.Enum):
    SOLID = "s"
    LIQUID = "l"


class Metres(TypeDecorator[Path]):
    """A type of the user's own, whose Python values are no text though the database's are."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else Path(value)


class Broad(Base):
    """A column of every type, most of which may be NULL; outcomes; options' names."""

    __tablename__ = "broad_results"
    n: Mapped[int]
    limit: Mapped[int] = mapped_column(default=3)
    maybe: Mapped[int | None]
    real: Mapped[float] = mapped_column(default=0.5)
    gap: Mapped[float | None]
    flag: Mapped[bool] = mapped_column(default=True)
    doubt: Mapped[bool | None]
    name: Mapped[str] = mapped_column(default="x")
    phase: Mapped[Phase] = mapped_column(default=Phase.SOLID)
    other: Mapped[Phase | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 3))
    loose: Mapped[Decimal | None] = mapped_column(Numeric(20, 6))
    day: Mapped[datetime.date | None]
    moment: Mapped[datetime.datetime | None]
    zoned: Mapped[datetime.datetime | None] = mapped_column(DateTime(timezone=True))
    clock: Mapped[datetime.time | None]
    span: Mapped[datetime.timedelta | None]
    raw: Mapped[bytes | None]
    who: Mapped[uuid.UUID | None]
    tree: Mapped[Any] = mapped_column(JSON, nullable=True)
    path: Mapped[Path | None] = mapped_column(Metres)
    score: Mapped[float] = outcome()
    exact: Mapped[Decimal] = outcome(type_=Numeric(10, 3))


FULL = {
    "maybe": 7,
    "gap": 1.25,
    "doubt": False,
    "phase": Phase.LIQUID,
    "other": Phase.SOLID,
    "price": Decimal("12.345"),
    "loose": Decimal("1.5"),
    "day": datetime.date(1234, 5, 6),
    "moment": datetime.datetime(2024, 1, 2, 3, 4, 5, 678901),
    "zoned": datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    "clock": datetime.time(12, 30, 0, 5),
    "span": datetime.timedelta(days=1, microseconds=3),
    "raw": b"\x00\xff",
    "who": uuid.UUID(int=5),
    "tree": {"a": [1, None]},
    "path": Path("a/b"),
    "name": "größer",
}
WAYS = ("to_arrow", "to_pandas", "to_polars")


def work(params: dict[str, Any]) -> dict[str, Any]:
    """Leave a result that says its number, and outcomes that are not finite for some."""
    n = params["n"]
    Path(params["result_file"]).write_text(json.dumps({"energy": n / 2, "n": n}))
    params["custom_data"] |= {"size": n if n % 2 else n + 0.5, "deep": {"y": n}} | ({"late": [n]} if n > 3 else {})
    return {"score": {1: math.nan, 2: math.inf}.get(n, n / 4), "exact": Decimal(n) / 8}


def alike(store: Store[Any], *where: Any, more: dict[str, Any] | None = None, **given: Any) -> None:
    """Assert that a table is in every way the one that rows would make."""
    more = more or {}
    rows = store.select(*where, **given)
    made, wanted = store.to_arrow(*where, **given, **more), rows.to_arrow(**more)
    assert made.schema == wanted.schema
    assert list(map(repr, made.to_pylist())) == list(map(repr, wanted.to_pylist()))
    pd.testing.assert_frame_equal(store.to_pandas(*where, **given, **more), rows.to_pandas(**more))
    assert_frame_equal(store.to_polars(*where, **given, **more), rows.to_polars(**more))


@pytest.fixture
def few_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read two rows at a time."""
    for module in ("connection", "dialects.portable", "dialects.postgresql", "dialects.mysql"):
        monkeypatch.setattr(f"entropic.db.{module}.TOGETHER", 2, raising=False)


@pytest.fixture
def full(open_store: Any, few_together: None) -> Store[Broad]:
    """A store of rows with all values, with none, and with numbers that are not finite."""
    store: Store[Broad] = open_store(work, Broad)
    store.sweep([{"n": n, **(FULL if n % 3 else {})} for n in range(7)], progress=False)
    return store


# ---- equal in everything -------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("custom_data", [False, True])
def test_each_table_is_the_one_that_rows_would_make(full, custom_data):
    alike(full, more={"custom_data": custom_data})


@pytest.mark.slow
def test_no_row_is_made_on_the_way(full, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a row was made")

    monkeypatch.setattr(full._context.rows, "build", refuse)
    for way in WAYS:
        assert len(getattr(full, way)(custom_data=True)) == 7
        assert len(getattr(full, way)(results=["energy"])) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "given"),
    [
        ([], {"order_by": "-n", "limit_": 3}),
        ([Broad.n > 2, {"limit": 3}], {"order_by": [Broad.gap.desc(), "n"]}),
        ([], {"maybe": 7, "limit_": 5}),
        ([{"custom_data": {"size": 3}}], {}),
        ([Broad.n > 100], {}),
        ([], {"limit_": 0}),
        ([Broad.n == 0], {}),
    ],
    ids=["order and limit", "columns", "equal", "custom data", "no rows", "limit 0", "one without values"],
)
def test_conditions_order_and_limit_are_those_of_select(full, where, given):
    alike(full, *where, **given)
    alike(full, *where, **given, more={"custom_data": True})


@pytest.mark.slow
def test_results_and_provenance_become_columns_as_in_the_table_of_rows(full):
    alike(full, order_by="n", more={"results": ["energy", "n"], "provenance": True})
    alike(full, order_by="n", more={"results": ["energy", "n"], "custom_data": True})
    alike(full, Broad.n > 3, more={"results": ["custom_data.size", "energy"]})
    alike(full, Broad.n > 100, more={"results": "energy"})
    assert full.to_arrow(order_by="n", results="energy")["energy"].to_pylist() == [n / 2 for n in range(7)]


def test_arguments_that_no_query_takes_are_refused_as_by_select(full):
    with pytest.raises(ParameterError, match=r"limit=3 may mean the column"):
        full.to_arrow(limit=3)
    with pytest.raises(ParameterError, match=r"True or False.*\{'custom_data': \{'size': 3\}\}"):
        full.to_pandas(custom_data={"size": 3})
    with pytest.raises(ParameterError, match="'energy'"):
        full.to_polars(energy=3)
    with pytest.raises(ParameterError, match="condition"):
        full.to_arrow("n > 3")


def test_errors_of_results_say_whose_they_are(full):
    row = full.select(n=3)[0]
    with pytest.raises(ParameterError, match=r"'enregy'.*'energy'"):
        full.to_pandas(results=["enregy"])
    Path(row.result_file).unlink()
    with pytest.raises(ResultMissingError, match=rf"of Broad {row.id} is gone"):
        full.to_pandas(results=["energy"])


# ---- results wherever they are --------------------------------------------------------------------------------------
def test_paths_are_those_of_the_rows_wherever_their_results_are(open_store, few_together, tmp_path):
    store = open_store(work, Broad)
    store.sweep([{"n": n} for n in range(3)], progress=False)
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text("{}")
    store.register({"n": 8}, elsewhere)
    with store._context.database.engine.begin() as connection:
        for n in (10, 11):  # as rows were written before there was a ledger
            path = "old/results/gone.json" if n == 10 else f"old/results/{Path(store.select(n=1)[0].result_file).name}"
            connection.execute(
                sa.insert(Broad).values(
                    id=f"old {n}", n=n, result_file=path, custom_data={}, limit=3, real=0.5, name="x"
                )
            )
    alike(store, order_by="n")
    assert str(elsewhere) in store.to_arrow()["result_file"].to_pylist()


@pytest.mark.slow
def test_a_store_that_can_only_be_looked_at_makes_the_same_table(full, open_store):
    looking = open_store(None, Broad)
    alike(looking)
    assert repr(looking.to_arrow().to_pylist()) == repr(full.to_arrow().to_pylist())


# ---- the general way -----------------------------------------------------------------------------------------------
@pytest.mark.only_on("sqlite")
def test_a_value_that_its_column_has_not_goes_the_general_way(full):
    with full._context.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE broad_results SET maybe = 'seven' WHERE n = 6"))
    alike(full)
    assert "seven" in full.to_arrow()["maybe"].to_pylist()


@pytest.mark.only_on("sqlite")
def test_rows_that_the_model_cannot_read_are_left_out_with_the_warning_of_select(full):
    with full._context.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE broad_results SET phase = 'GAS' WHERE n = 6"))
    for way in WAYS:
        with pytest.warns(UnreadableWarning, match="GAS"):
            assert len(getattr(full, way)()) == 6


@pytest.mark.only_on("sqlite")
def test_text_that_is_no_text_is_written_out_as_in_rows(full):
    with full._context.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE broad_results SET name = CAST(x'61ff' AS TEXT) WHERE n = 6"))
    alike(full)


@pytest.mark.only_on("sqlite")
def test_decimals_of_no_declared_size_get_the_digits_that_all_of_them_need(open_store, few_together):
    class Loose(Base):
        __tablename__ = "loose_decimals"
        n: Mapped[int]
        loose: Mapped[Decimal | None] = mapped_column(Numeric)

    store = open_store(lambda params: Path(params["result_file"]).touch(), Loose)
    store.sweep([{"n": n, "loose": one} for n, one in enumerate([Decimal(5), None, Decimal("0.25")])], progress=False)
    alike(store)


@pytest.mark.only_on("sqlite")
def test_who_listens_to_rows_being_loaded_is_told_of_each(open_store):
    class Heard(Base):
        __tablename__ = "heard_results"
        n: Mapped[int]

    store = open_store(lambda params: Path(params["result_file"]).touch(), Heard)
    store.sweep([{"n": n} for n in range(3)], progress=False)

    def double(row: Any, _: object) -> None:
        row.__dict__["n"] *= 2

    event.listen(Heard, "load", double)
    assert store.to_arrow(order_by="n")["n"].to_pylist() == [0, 2, 4]
    alike(store)


@pytest.mark.only_on("sqlite")
def test_columns_that_a_row_does_not_load_at_first_are_none_of_the_table(open_store):
    class Deferring(Base):
        __tablename__ = "deferring_results"
        n: Mapped[int]
        note: Mapped[str] = mapped_column(default="", deferred=True)

    store = open_store(lambda params: Path(params["result_file"]).touch(), Deferring)
    store.sweep([{"n": n} for n in range(3)], progress=False)
    alike(store)
    assert "note" not in store.to_arrow().column_names


@pytest.mark.only_on("sqlite")
def test_without_arrow_pandas_and_polars_make_their_tables_from_rows(full, monkeypatch):
    wanted = full.select().to_pandas(custom_data=True)
    library = tables.library

    def without_arrow(module: str, *given: str) -> Any:
        if module == "pyarrow":
            raise LibraryMissingError("pyarrow is not here")
        return library(module, *given)

    monkeypatch.setattr(tables, "library", without_arrow)
    pd.testing.assert_frame_equal(full.to_pandas(custom_data=True), wanted)
    assert isinstance(full.to_polars(), pl.DataFrame)
    with pytest.raises(LibraryMissingError):
        full.to_arrow()


# ---- the connection ------------------------------------------------------------------------------------------------
def test_a_scan_that_ends_early_leaves_the_connection_as_it_was(full):
    database = full._context.database

    def stop(pages: Any) -> None:
        assert len(next(pages)) == 2
        raise ZeroDivisionError

    for n in (20, 21):
        with pytest.raises(ZeroDivisionError):
            scan(database, full._context.rows.query, stop)
        full.run({"n": n})  # nothing is locked, and no answer is taken for that to another question
        assert full.to_arrow(order_by="n")["n"].to_pylist()[-1] == n
    assert full.check().ok


def test_a_store_may_be_asked_in_the_middle_of_a_scan(full, monkeypatch):
    seen = []

    def process(self: Any, value: Any, dialect: Any) -> Any:
        seen.append(len(full.select(n=1)))
        return None if value is None else Path(value)

    monkeypatch.setattr(Metres, "process_result_value", process)
    table = full.to_arrow(order_by="n")
    assert table["n"].to_pylist() == list(range(7))
    assert set(seen) == {1}


@pytest.mark.only_on("postgresql", "mariadb")
def test_what_a_broken_connection_interrupts_is_read_again_from_its_beginning(full):
    database = full._context.database
    connection = database.connection()
    begun = []

    def take(pages: Any) -> list[int]:
        begun.append(1)
        rows = list(next(pages))
        if len(begun) == 1:
            raw = connection._raw
            shut(raw.fileno() if database.sql.name == "postgresql" else raw._sock.fileno())
        for page in pages:
            rows += page
        return [n for n, _ in rows]

    # Rows so large that no more than some of them have arrived.
    query = sa.select(Broad.__table__.c.n, sa.literal_column("repeat('x', 1000000)")).order_by("n")
    assert scan(database, query, take) == list(range(7))
    assert len(begun) == 2
    assert full.to_arrow().num_rows == 7


def shut(number: int) -> None:
    """Break a connection as a network does, without its driver's knowing."""
    with socket.socket(fileno=os.dup(number)) as other:
        other.shutdown(socket.SHUT_RDWR)


def test_only_a_page_of_rows_is_asked_for_at_a_time(full):
    assert portable.TOGETHER == 2
    sizes = []
    scan(full._context.database, full._context.rows.query, lambda pages: sizes.extend(map(len, pages)))
    assert sizes == [2, 2, 2, 1]
