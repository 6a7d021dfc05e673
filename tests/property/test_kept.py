"""Whatever the column and the value: what is stored reads back equal, or was refused before the run."""

from __future__ import annotations

import datetime as dt
import enum
import math
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.models import Phase
from entropic import Base, Mapped, ParameterError, mapped_column


class Kept(Base):
    __tablename__ = "kept"

    n: Mapped[int | None]
    small: Mapped[int | None] = mapped_column(sa.SmallInteger)
    real: Mapped[float | None]
    exact: Mapped[Decimal | None]
    cents: Mapped[Decimal | None] = mapped_column(sa.Numeric(10, 2))
    loose: Mapped[float | None] = mapped_column(sa.Numeric(asdecimal=False))
    text: Mapped[str | None]
    flag: Mapped[bool | None]
    raw: Mapped[bytes | None]
    day: Mapped[dt.date | None]
    moment: Mapped[dt.datetime | None]
    zoned: Mapped[dt.datetime | None] = mapped_column(sa.DateTime(timezone=True))
    clock: Mapped[dt.time | None]
    zoned_clock: Mapped[dt.time | None] = mapped_column(sa.Time(timezone=True))
    span: Mapped[dt.timedelta | None]
    unique_id: Mapped[uuid.UUID | None]
    phase: Mapped[Phase | None]
    tree: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
    object: Mapped[Any] = mapped_column(sa.PickleType, nullable=True)


COLUMNS = [name for name in Kept.__annotations__ if name != "object"]
ZONES = [dt.UTC, ZoneInfo("UTC"), ZoneInfo("Asia/Kolkata"), dt.timezone(dt.timedelta(hours=-3, seconds=7))]
zones = st.none() | st.sampled_from(ZONES)
ODD = [
    *(0, 1, -1, 2**15, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**70, 10**30, 10**400),
    *(0.0, -0.0, 3.0, 12.0, 99.0, 1e16, 1e22, 5e-324, 0.1 + 0.2, 2 / 3, 1.5e300, math.inf, -math.inf, math.nan),
    *map(Decimal, ("0", "-0", "1.10", "0.66666666666", "123456789012345678901234567890", "1E+3", "1e-9", "NaN")),
    *(True, False, np.float32(0.1), np.float64(3), np.int8(3), np.uint64(2**63), np.bool_(True)),
    *(np.timedelta64(3, unit) for unit in ("Y", "M", "D", "s", "us", "ns", "ps")),
    *(np.timedelta64(3_000, "ns"), np.timedelta64("NaT"), np.timedelta64(3), np.datetime64("NaT", "s")),
    *(
        np.datetime64("2024-01-02T03:04:05.000000006"),
        np.datetime64("2024-01-02", "ns"),
        np.datetime64("10000-01-01"),
    ),
    *(
        pd.Timedelta(1, "ns"),
        pd.Timedelta(1, "us"),
        pd.Timestamp(1),
        pd.Timestamp("2024-01-02T03:04"),
        pd.NaT,
        pd.NA,
    ),
    pd.Timestamp("2024-01-02T03:04", tz="Asia/Tokyo"),
]
numbers = st.integers(0, len(ODD) - 1).map(ODD.__getitem__)
scalars = st.one_of(
    st.none(),
    numbers,
    st.integers(),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.datetimes(timezones=zones),
    st.times(timezones=st.none() | st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5.5))])),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from(Phase),
)
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=6,
)


def as_python(value: Any) -> Any:
    """Return what a value is in plain Python, written here from the documentation."""
    if isinstance(value, pd.Timestamp):
        assert value.nanosecond == 0
        return value.to_pydatetime()
    if isinstance(value, pd.Timedelta):
        assert value.nanoseconds == 0
        return value.to_pytimedelta()
    if isinstance(value, np.timedelta64 | np.datetime64):
        whole = value.astype(value.dtype.kind + "8[us]")
        assert whole == value
        assert np.datetime_data(value.dtype)[0] not in ("generic", "Y", "M") or value.dtype.kind == "M"
        return whole.item()
    if isinstance(value, np.generic):
        return value.item()
    return value.value if isinstance(value, enum.Enum) else value


def is_kept(column: str, read: Any, given: Any) -> bool:
    if column == "tree":
        return is_same_json(read, given)
    read, given = as_python(read), as_python(given)
    if column == "day" or (isinstance(given, dt.datetime) and not isinstance(read, dt.datetime)):
        return type(read) is type(given) and read == given
    if isinstance(given, dt.datetime | dt.time) and given.tzinfo is not None and read.tzinfo is None:
        assert given.utcoffset() == dt.timedelta(0)  # a database without zones holds UTC
        return read == given.replace(tzinfo=None)
    if isinstance(given, float) and isinstance(read, float | Decimal):
        return math.isclose(read, given, rel_tol=1e-9 if column in ("exact", "cents") else 0) or (
            math.isnan(given) and math.isnan(read)
        )
    return bool(read == given)


def is_same_json(read: Any, given: Any) -> bool:
    given = as_python(given)
    if isinstance(given, list | tuple):
        return type(read) is list and len(read) == len(given) and all(map(is_same_json, read, given))
    if isinstance(given, dict):
        return (
            type(read) is dict and read.keys() == given.keys() and all(is_same_json(read[k], given[k]) for k in given)
        )
    return type(read) is type(given) and repr(read) == repr(given)


@pytest.fixture
def counted():
    class Counted:
        calls = 0

        def __call__(self, params: dict[str, Any]) -> None:
            self.calls += 1
            Path(params["result_file"]).write_text("ran")

    return Counted()


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_stored_reads_back_equal_or_was_refused_before_the_run(open_store, counted, data):
    store = _opened(open_store, counted)
    column = data.draw(st.sampled_from(COLUMNS))
    value = data.draw(json if column == "tree" else scalars)
    before = counted.calls
    try:
        row = store.run({column: value})
    except ParameterError:
        assert counted.calls == before
        return
    assert counted.calls == before + 1
    for found in (row, store.run_or_retrieve({column: value}), *store.sweep([{column: value}]), *store.select()):
        assert is_kept(column, getattr(found, column), value), (getattr(found, column), value)
    assert counted.calls == before + 1
    assert store.check().ok, str(store.check())
    store.delete({column: value}, remove_file=True)


_stores: dict[int, Any] = {}


def _opened(open_store: Any, counted: Any) -> Any:
    if id(counted) not in _stores:
        _stores.clear()
        _stores[id(counted)] = open_store(counted, Kept)
    return _stores[id(counted)]


@pytest.mark.each
@pytest.mark.parametrize("column", COLUMNS)
def test_each_odd_number_is_kept_or_refused_in_each_column(open_store, counted, column):
    store = open_store(counted, Kept)
    for value in ODD:
        before = counted.calls
        try:
            row = store.run({column: value})
        except ParameterError:
            assert counted.calls == before
            continue
        for found in (row, *store.select()):
            assert is_kept(column, getattr(found, column), value), (getattr(found, column), value)
        assert store.check().ok, str(store.check())
        store.delete({column: value}, remove_file=True)


def test_durations_and_times_of_other_units_are_not_one_key(open_store, counted):
    store = open_store(counted, Kept)
    for column in ("n", "real", "span", "moment", "tree", "text", "object"):
        for value in (
            *(np.timedelta64(3, unit) for unit in ("Y", "M", "ns", "ps", "fs", "as", "generic")),
            *(np.datetime64(3, unit) for unit in ("ns", "ps", "fs", "as")),
        ):
            for wrapped in (value, [value], {"a": value}):
                with pytest.raises(ParameterError, match=r"pass a number.*unit"):
                    store.run_or_retrieve({column: wrapped})
        for value in (np.datetime64("NaT"), np.timedelta64("NaT", "ns"), pd.NaT, pd.NA):
            for asked in ({column: value}, {"id": "x", column: value}):
                with pytest.raises(ParameterError, match="pass None"):
                    store.run_or_retrieve(asked)
            with pytest.raises(ParameterError, match="pass None"):
                store.plan([{column: value}])
    for value in (pd.Timedelta(1, "ns"), pd.Timedelta(2, "ns")):
        with pytest.raises(ParameterError, match="nanoseconds"):
            store.run({"span": value})
    with pytest.raises(ParameterError, match="nanoseconds"):
        store.run({"moment": pd.Timestamp(1)})
    assert counted.calls == 0
    assert store.run({"moment": np.datetime64("2024-01-02", "ns")}).moment == dt.datetime(2024, 1, 2)
    assert store.run({"span": np.timedelta64(3_000, "ns")}).span == dt.timedelta(microseconds=3)
    assert store.run_or_retrieve({"span": dt.timedelta(microseconds=3)}).span == pd.Timedelta(3, "us")
    assert counted.calls == 2


def test_times_of_zones_are_refused_where_a_column_has_none_and_kept_or_refused_where_it_has(open_store, counted):
    store = open_store(counted, Kept)
    for zone in ZONES:
        with pytest.raises(ParameterError, match="no zones"):
            store.run({"moment": dt.datetime(2024, 1, 2, 12, tzinfo=zone)})
        with pytest.raises(ParameterError, match="zone"):
            store.run({"clock": dt.time(12, tzinfo=zone)})
    assert counted.calls == 0


def test_a_row_of_an_earlier_version_that_holds_less_than_was_asked_is_still_a_hit(open_store, counted, place):
    store = open_store(counted, Kept)
    asked = {"moment": dt.datetime(2024, 1, 2, 12, tzinfo=ZONES[2])}
    store.run({"id": "x", "moment": dt.datetime(2024, 1, 2, 12)})
    assert store.run_or_retrieve({"id": "x", **asked}).moment == dt.datetime(2024, 1, 2, 12)
    store.run({"id": "y", "real": float(2**53)})
    assert store.run_or_retrieve({"id": "y", "real": 2**53 + 1}).real == 2**53
    assert counted.calls == 2


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("value", [3.0, 12.0, -0.0, 1e16, 2**70, -(2**63) - 1, 1.5, 3, 10.0**15])
def test_a_bare_number_of_json_is_what_functions_of_json_and_a_session_see(open_store, counted, place, value):
    store = open_store(counted, Kept)
    store.run({"tree": value})
    engine = sa.create_engine(place.url)
    with sa.orm.Session(engine) as session:
        read = session.scalars(sa.select(Kept.tree)).one()
        assert (type(read), repr(read)) == (type(value), repr(value))
        number = session.scalar(sa.select(sa.func.json_extract(Kept.__table__.c.tree, "$")))
        assert float(number) == float(value)
    engine.dispose()
