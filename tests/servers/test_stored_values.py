"""What a server does to values and keys: they come back as they were, or are refused before the run."""

from __future__ import annotations

import datetime
import enum
import math
import random
import string
import unicodedata
import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import JSON, Enum, Float, Numeric, String

from contract.models import CountingRunner, Phase, Refused, refuse
from entropic import Base, EntropicError, Mapped, ModelError, ParameterError, StoreError, mapped_column
from servers.crowd import sets

pytestmark = pytest.mark.only_on("postgresql", "mariadb")


class Letters(enum.Enum):
    """Values that a database which compares text loosely takes for one."""

    SMALL = "a"
    LARGE = "A"
    ACCENTED = "á"


class Wide(Base):
    """A column of each kind, all of which may be left out."""

    __tablename__ = "wide"

    text: Mapped[str | None]
    unique_text: Mapped[str | None] = mapped_column(unique=True)
    indexed_text: Mapped[str | None] = mapped_column(index=True)
    short: Mapped[str | None] = mapped_column(String(5))
    whole: Mapped[int | None]
    real: Mapped[float | None]
    single: Mapped[float | None] = mapped_column(Float(24))
    exact: Mapped[Decimal | None]
    money: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    truth: Mapped[bool | None]
    unique_id: Mapped[uuid.UUID | None]
    span: Mapped[datetime.timedelta | None]
    day: Mapped[datetime.date | None]
    moment: Mapped[datetime.datetime | None]
    clock: Mapped[datetime.time | None]
    raw: Mapped[bytes | None]
    phase: Mapped[Phase | None]
    letters: Mapped[Letters | None] = mapped_column(Enum(Letters, values_callable=lambda kind: [m.value for m in kind]))
    tree: Mapped[Any] = mapped_column(JSON, default=None, nullable=True)


TEXTS = (
    *(
        "",
        " ",
        "a",
        "A",
        "á",
        "a ",
        " a",
        "ß",
        "ss",
        "'",
        '"',
        "\\",
        "\\'",
        "%",
        "%s",
        "%(a)s",
        "_",
        ":a",
        "?",
        "a\nb\r\n\t",
    ),
    *("\N{FACE WITH TEARS OF JOY}", "e\u0301", "\u00e9", "\ufeff", "\x01\x7f", "/* -- */; DROP TABLE wide", "x" * 500),
)
MOMENT = datetime.datetime(2024, 2, 29, 23, 59, 59, 999_999)
VALUES: dict[str, tuple[Any, ...]] = {
    "text": (*TEXTS, "é" * 100_000),
    "unique_text": TEXTS,
    "indexed_text": TEXTS,
    "short": ("", "12345", "áéíóú"),
    "whole": (0, -1, 2**31, 2**40, -(2**40), 2**53 + 1, 2**63 - 1, -(2**63)),
    "real": (0.0, 0.1, 1 / 3, -math.pi, 1e-11, 1e300, 1.7976931348623157e308, 2.0**53, 5.0),
    "single": (0.5, -3.0),
    "exact": tuple(map(Decimal, ("0", "0.1", "-12345678901234567890.123456789", "1E+3", "1.10", "0.000000001"))),
    "money": tuple(map(Decimal, ("0", "999.99", "-0.01", "5"))),
    "truth": (True, False),
    "unique_id": (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid5(uuid.NAMESPACE_DNS, "entropic")),
    "span": tuple(
        datetime.timedelta(**parts)
        for parts in (
            {},
            {"microseconds": 1},
            {"seconds": -1},
            {"hours": 30},
            {"days": -400, "microseconds": 7},
            {"days": 9_999},
        )
    ),
    "day": (datetime.date(1583, 1, 1), datetime.date(2024, 2, 29), datetime.date(9999, 12, 31)),
    "moment": (MOMENT, datetime.datetime(1969, 12, 31, 23, 59, 59, 1), datetime.datetime(2024, 3, 31, 2, 30)),
    "clock": (datetime.time(), datetime.time(23, 59, 59, 999_999), datetime.time(1, 2, 3)),
    "raw": (b"", bytes(range(256)), b"\\x00", b"'\"%s\0", bytes(100_000)),
    "phase": tuple(Phase),
    "letters": tuple(Letters),
    "tree": (
        {"a": [1, 2.5, None, True, {"b": "é\\'\"%s:x\n"}], "": {}},
        *([], "", "null", 0, False, 0.1, 1e300, 2**53 + 1, [[["\N{FACE WITH TEARS OF JOY}"]]], {"B": 1, "a": 2}),
    ),
}


# What no column of these can hold as it is.
NOT: dict[str, tuple[Any, ...]] = {
    "short": ("123456", "12345 ", "áéíóúá"),
    "whole": (2**63, -(2**63) - 1),
    "single": (math.pi, 2.0**24 + 1),
    "money": tuple(map(Decimal, ("1000", "0.001", "999.995", "-0.005"))),
    "letters": ("á ", "b"),
}
ONLY_NOT = {
    "postgresql": {"text": ("\0", "a\0b"), "short": ("\0",), "indexed_text": ("\0",)},
    "mariadb": {"real": (math.inf, -math.inf, math.nan), "exact": (Decimal("1e-31"), Decimal("1e40"))},
}
ONLY = {
    "postgresql": {"real": (math.inf, -math.inf, math.nan), "exact": (Decimal("1e-31"), Decimal("1e40"))},
    "mariadb": {"text": ("\0", "a\0b", "\0" * 7), "indexed_text": ("\0", "a\0b")},
}
# What may be stored or refused, but is never changed.
NOISE = "".join(random.Random(1).choices(string.ascii_letters, k=100_000))
EITHER: dict[str, tuple[Any, ...]] = {
    "unique_text": (NOISE, NOISE[:3_000], NOISE[:1_000], "é" * 700),
    "indexed_text": (NOISE, NOISE[:3_000], NOISE[:1_000], "é" * 700),
    "real": (-0.0, 5e-324),
    "exact": (Decimal("1." + "123456789" * 5), Decimal("9" * 36), Decimal("-0"), Decimal("1e70")),
    "span": (datetime.timedelta.max, datetime.timedelta.min, datetime.timedelta(days=-720_000)),
    "day": (datetime.date.min,),
    "moment": (
        datetime.datetime.min,
        datetime.datetime.max,
        datetime.datetime(1, 1, 1, 0, 0, 0, 1),
    ),
    "tree": ("\0", {"\0": 1}, 2**70, -(2**63) - 1, 1e-320, NOISE),
    "raw": (random.Random(2).randbytes(2_000_000),),
}


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, down to their types."""
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


def are_kept(open_store: Any, column: str, values: tuple[Any, ...]) -> None:
    """Run each once; from then on all are served as they were given, by a store that is opened later, too."""
    runner, given = CountingRunner(), [{column: value} for value in values]
    store = open_store(run=runner, model=Wide)

    def changed(rows: Iterable[Any]) -> list[tuple[Any, Any]]:
        pairs = zip(values, (getattr(row, column) for row in rows), strict=True)
        return [pair for pair in pairs if not same(*pair)]

    assert changed(map(store.run_or_retrieve, given)) == []
    later = open_store(run=runner, model=Wide)
    for ask in (later.run_or_retrieve, later.retrieve):
        assert changed(map(ask, given)) == []
    assert changed(later.sweep(given)) == []
    assert len(runner.calls) == len(values)
    for one in given:
        later.delete(one, remove_file=True)
    assert changed(store.sweep(given)) == []  # many rows are written together
    assert len(runner.calls) == 2 * len(values)
    assert store.check().ok


def is_refused(open_store: Any, column: str, value: Any, reason: str) -> None:
    """Refuse it before anything runs, in every way of asking."""
    runner, one = CountingRunner(), {column: value}
    store = open_store(run=runner, model=Wide)
    for ask in (store.run_or_retrieve, store.run, lambda one: store.sweep([one]), lambda one: store.sweep([{}, one])):
        with pytest.raises(ParameterError, match=reason):
            ask(one)
    report = store.check()
    assert (runner.calls, report.ok, report.rows) == ([], True, 0)


# ---- values ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("column", VALUES)
def test_what_is_stored_comes_back_as_it_was(open_store, place, column):
    are_kept(open_store, column, (*VALUES[column], *ONLY[place.kind].get(column, ())))


@pytest.mark.parametrize("column", sorted(set(NOT) | {name for only in ONLY_NOT.values() for name in only}))
def test_what_cannot_be_stored_as_it_is_is_refused_before_the_run(open_store, place, column):
    for value in (*NOT.get(column, ()), *ONLY_NOT[place.kind].get(column, ())):
        is_refused(open_store, column, value, reason=column)


@pytest.mark.parametrize("column", EITHER)
def test_what_is_at_the_edge_is_stored_as_it_is_or_refused_before_the_run(open_store, column):
    runner = CountingRunner()
    store = open_store(run=runner, model=Wide)
    for value in EITHER[column]:
        runner.calls.clear()
        one = {column: value}
        try:
            row = store.run_or_retrieve(one)
        except ParameterError:
            assert (runner.calls, store.retrieve(one)) == ([], None)
            continue
        for found in (row, store.run_or_retrieve(one), *store.sweep([one])):
            assert same(getattr(found, column), value)
        assert len(runner.calls) == 1
    assert store.check().ok


def test_none_is_stored_in_every_column_that_takes_it(open_store, runner):
    store = open_store(model=Wide)
    given = dict.fromkeys(VALUES)
    for row in (store.run_or_retrieve(given), store.run_or_retrieve(given), *store.sweep([given])):
        assert {name: getattr(row, name) for name in VALUES} == given
    assert len(runner.calls) == 1


@pytest.mark.only_on("mariadb")
@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_error_for_infinity_says_that_the_database_has_none(open_store, value):
    is_refused(open_store, "real", value, reason="MariaDB.*infinity")


# ---- ids ---------------------------------------------------------------------------------------------------------
LOOKALIKES = [
    *("run", "Run", "RUN", "rún", "ru\u0301n", "run ", "run  ", " run", "run\t", "ran", "rün", "ruen"),
    *("straße", "strasse", "STRASSE", "\N{KELVIN SIGN}", "K", "k", "ﬁ", "fi", "æ", "ae"),
    *("\N{FULLWIDTH DIGIT ONE}", "1", "x" * 500, "X" * 500, "x" * 499, "x" * 499 + " ", "é" * 500),
    "\N{FACE WITH TEARS OF JOY}" * 500,
]


def test_ids_that_a_database_might_take_for_one_are_different_keys(open_store, place):
    assert len({unicodedata.normalize("NFKC", id).casefold().strip() for id in LOOKALIKES}) < len(LOOKALIKES)
    runner = CountingRunner()
    store = open_store(run=runner)
    given = [{"id": id, "n": n, "dt": 0.5} for n, id in enumerate(LOOKALIKES)]
    for one in given[::2]:
        assert store.run_or_retrieve(one).n == one["n"]
    rows = store.sweep(given)
    assert [(row.id, row.n) for row in rows] == [(one["id"], one["n"]) for one in given]
    assert len({row.result_file for row in rows}) == len(given)
    for ask in (store.run_or_retrieve, store.retrieve, open_store(run=runner).run_or_retrieve):
        assert [ask(one).n for one in given] == list(range(len(given)))
    assert len(runner.calls) == len(given)
    assert store.check().ok
    assert place.fetch("SELECT count(*) FROM sim_results") == [(len(given),)]


def test_deleting_one_of_such_ids_leaves_the_others(open_store):
    store = open_store()
    given = [{"id": id, "n": n, "dt": 0.5} for n, id in enumerate(LOOKALIKES)]
    store.sweep(given)
    assert store.delete({"id": "run"}, remove_file=True) is True
    found = [store.retrieve({"id": id}) for id in LOOKALIKES]
    assert found[0] is None
    assert [row.n for row in found[1:]] == list(range(1, len(LOOKALIKES)))
    assert store.check().ok


def test_an_id_is_stored_or_refused_before_the_run_however_long_it_is(open_store, runner):
    store = open_store()
    for length in (700, 701, 1_000, 2_500, 5_000, 100_000):
        runner.calls.clear()
        one = {"id": "".join(random.Random(length).choices(string.ascii_lowercase, k=length)), "n": 1, "dt": 0.5}
        try:
            store.run_or_retrieve(one)
        except ParameterError:
            assert (runner.calls, length > 700) == ([], True)
        else:
            assert [row.id for row in store.sweep([one])] == [one["id"]]
            assert len(runner.calls) == 1
    assert store.check().ok


@pytest.mark.slow
def test_a_sweep_may_have_more_sets_than_a_statement_takes_values(open_store):
    runner = CountingRunner()
    store, many = open_store(run=runner), sets(range(120_000))
    store.sweep(sets([7, 99_999]))
    plan = store.plan(many)
    assert [one["n"] for one in plan.stored] == [7, 99_999]
    assert len(plan.missing) == 120_000 - 2
    runner.calls.clear()
    runner.during = refuse
    with pytest.raises(Refused):
        store.sweep(many)
    assert len(runner.calls) == 1  # all have been looked for before
    assert store.check().ok


# ---- tables that somebody else has made --------------------------------------------------------------------------
class WholeByHand(Base):
    __tablename__ = "by_hand_whole"
    value: Mapped[int]


class RealByHand(Base):
    __tablename__ = "by_hand_real"
    value: Mapped[float]


class ExactByHand(Base):
    __tablename__ = "by_hand_exact"
    value: Mapped[Decimal]


class TextByHand(Base):
    __tablename__ = "by_hand_text"
    value: Mapped[str]


class MomentByHand(Base):
    __tablename__ = "by_hand_moment"
    value: Mapped[datetime.datetime]


ID = {"postgresql": "VARCHAR(200)", "mariadb": "VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"}
REST = {
    "postgresql": "result_file TEXT NOT NULL, created_at TIMESTAMP NOT NULL, custom_data JSON NOT NULL",
    "mariadb": "result_file LONGTEXT NOT NULL, created_at DATETIME(6) NOT NULL, custom_data JSON NOT NULL",
}


def make_table(place: Any, model: Any, value: str, id: str = "", options: str = "") -> None:
    columns = f"id {id or ID[place.kind]} NOT NULL PRIMARY KEY, {REST[place.kind]}, value {value} NOT NULL"
    place.execute(f"CREATE TABLE {model.__tablename__} ({columns}) {options}")


SECOND = datetime.datetime(2024, 1, 2, 3, 4, 5)
BY_HAND = [  # the model, the type of the column, what it holds, if anything of ours, what it does not
    (WholeByHand, "INTEGER", 2**31 - 1, 2**40),
    (WholeByHand, "SMALLINT", -(2**15), 2**15),
    (RealByHand, "REAL", 0.5, math.pi, "postgresql"),
    (RealByHand, "FLOAT", 0.5, math.pi, "mariadb"),
    (RealByHand, "NUMERIC(5, 2)", 0.25, 0.125),
    (ExactByHand, "NUMERIC(5, 2)", Decimal("1.25"), Decimal("1.255")),
    (ExactByHand, "DOUBLE PRECISION", None, Decimal("0.12345678901234567890123")),
    (TextByHand, "VARCHAR(5)", "12345", "123456"),
    (TextByHand, "VARCHAR(5)", "1234 ", "12345 "),
    (TextByHand, "CHAR(5)", "12345", "123", "postgresql"),
    (TextByHand, "CHAR(5)", "123", "123  ", "mariadb"),
    (TextByHand, "TEXT", "x" * 60_000, "x" * 70_000, "mariadb"),
    (TextByHand, "VARCHAR(9) CHARACTER SET latin1", "é", "\N{FACE WITH TEARS OF JOY}", "mariadb"),
    (MomentByHand, "TIMESTAMP(0)", SECOND, MOMENT, "postgresql"),
    (MomentByHand, "DATETIME", SECOND, MOMENT, "mariadb"),
    (MomentByHand, "DATE", None, SECOND),
]


@pytest.mark.parametrize(
    ("model", "type_", "fits", "does_not"),
    [
        pytest.param(*case[:4], marks=pytest.mark.only_on(*case[4:] or ("postgresql", "mariadb")), id=f"{case[1]}-{n}")
        for n, case in enumerate(BY_HAND)
    ],
)
def test_what_a_table_that_is_there_already_would_cut_off_is_refused_before_the_run(
    open_store, place, runner, model, type_, fits, does_not
):
    make_table(place, model, type_)
    store = open_store(model=model)
    for ask in (store.run_or_retrieve, store.run, lambda one: store.sweep([one])):
        with pytest.raises(ParameterError, match="value"):
            ask({"value": does_not})
    assert runner.calls == []
    if fits is not None:
        asks = (store.run_or_retrieve, store.run_or_retrieve, lambda one: store.sweep([one])[0])
        assert all(same(ask({"value": fits}).value, fits) for ask in asks)
        assert len(runner.calls) == 1
    assert store.check().ok


def test_an_id_that_a_table_would_cut_off_is_refused_before_the_run(open_store, place, runner):
    short = ID[place.kind].replace("200", "20")
    make_table(place, WholeByHand, "BIGINT", id=short)
    store = open_store(model=WholeByHand)
    assert store.run_or_retrieve({"value": 1}).value == 1
    for id in ("x" * 21, "x" * 20 + " "):
        with pytest.raises(ParameterError, match="id"):
            store.run_or_retrieve({"value": 2, "id": id})
    assert len(runner.calls) == 1


@pytest.mark.only_on("mariadb")
@pytest.mark.parametrize("collation", ["utf8mb4_general_ci", "utf8mb4_unicode_nopad_ci", "utf8mb4_bin"])
def test_a_table_whose_ids_are_compared_loosely_is_refused_when_the_store_opens(open_store, place, collation):
    make_table(place, WholeByHand, "BIGINT", id=f"VARCHAR(200) CHARACTER SET utf8mb4 COLLATE {collation}")
    with pytest.raises((StoreError, ModelError), match=collation) as caught:
        open_store(model=WholeByHand)
    assert "by_hand_whole" in str(caught.value)


@pytest.mark.only_on("mariadb")
@pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
def test_a_table_without_transactions_is_refused_when_the_store_opens(open_store, place, engine):
    make_table(place, TextByHand, "VARCHAR(5)", options=f"ENGINE={engine}")
    with pytest.raises((StoreError, ModelError), match=engine) as caught:
        open_store(model=TextByHand)
    assert "by_hand_text" in str(caught.value)


# ---- unique values -----------------------------------------------------------------------------------------------
class Labelled(Base):
    __tablename__ = "labelled"

    n: Mapped[int]
    label: Mapped[str] = mapped_column(unique=True)
    place: Mapped[int] = mapped_column(unique=True, nullable=True)


def rows_in(place: Any) -> list[tuple[Any, ...]]:
    return sorted(place.fetch("SELECT n, label FROM labelled"))


def test_a_set_with_the_unique_value_of_another_is_refused_before_the_run(open_store, place, runner):
    store = open_store(model=Labelled)
    first = store.run_or_retrieve({"n": 1, "label": "x", "place": 1})
    other = {"n": 2, "label": "x"}
    for ask in (store.run_or_retrieve, store.run, lambda one: store.sweep([one])):
        with pytest.raises(ParameterError, match=r"(?i)unique|duplicate"):
            ask(other)
    with pytest.raises(ParameterError, match=r"(?i)unique|duplicate"):
        store.run_or_retrieve({"n": 3, "label": "z", "place": 1})
    with pytest.raises(EntropicError):
        store.register(other, first.result_file)
    assert rows_in(place) == [(1, "x")]
    assert len(runner.calls) == 1
    assert store.run_or_retrieve({"n": 1, "label": "x", "place": 1}).id == first.id
    assert store.run({"n": 1, "label": "x", "place": 1}).id == first.id  # its own value is no obstacle
    assert store.check().ok


def test_a_run_never_overwrites_the_row_that_took_its_unique_value_meanwhile(open_store, place):
    one, two = {"n": 1, "label": "x"}, {"n": 2, "label": "x"}

    def during(params):
        if params["n"] == 2:
            store.run_or_retrieve(one)

    runner = CountingRunner(during)
    store = open_store(run=runner, model=Labelled)
    with pytest.raises(EntropicError, match=r"(?i)unique|duplicate"):
        store.run_or_retrieve(two)
    assert rows_in(place) == [(1, "x")]
    assert store.run_or_retrieve(one).n == 1
    with pytest.raises(EntropicError, match=r"(?i)unique|duplicate"):
        store.run_or_retrieve(two)
    assert runner.ns == [2, 1]
    assert store.delete(one) is True
    assert store.run_or_retrieve(two).n == 2  # its result was kept
    assert runner.ns == [2, 1]
    assert rows_in(place) == [(2, "x")]


def test_a_sweep_with_one_unique_value_twice_stores_one_of_them(open_store, place, runner):
    store = open_store(model=Labelled)
    given = [{"n": n, "label": "x" if n in (3, 7) else f"label {n}"} for n in range(10)]
    with pytest.raises(EntropicError, match=r"(?i)unique|duplicate"):
        store.sweep(given)
    assert all(label == ("x" if n in (3, 7) else f"label {n}") for n, label in rows_in(place))
    rows = store.sweep([one for one in given if one["n"] != 7])
    assert [row.n for row in rows] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert max(runner.ns.count(n) for n in range(10)) == 1
    assert dict(rows_in(place))[3] == "x"
