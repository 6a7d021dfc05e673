"""One experiment, several spellings: one key with `typed_keys=True`, a warning without; defaults reach runners."""

from __future__ import annotations

import datetime
import pickle
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import JSON

from contract.models import Colour, LooseResult, OtherResult, SimResult
from entropic import Base, Mapped, ParameterError, SpellingWarning, StoreError, mapped_column


class Typed(Base):
    __tablename__ = "typed_keys"

    n: Mapped[int]
    dt: Mapped[float] = mapped_column(default=0.5)
    flag: Mapped[bool] = mapped_column(default=False)
    exact: Mapped[Decimal | None]
    colour: Mapped[Colour] = mapped_column(default=Colour.RED)
    note: Mapped[str | None]
    moment: Mapped[datetime.datetime | None]
    tree: Mapped[Any] = mapped_column(JSON, nullable=True)


ONE = [
    {"n": 1},
    {"n": 1.0},
    {"n": np.int8(1)},
    {"n": 1, "dt": 0.5},
    {"n": 1, "dt": np.float32(0.5), "flag": False},
    {"n": 1, "flag": 0},
    {"n": 1, "note": None, "tree": None, "exact": None},
    {"n": 1, "colour": "RED"},
    {"n": 1, "colour": Colour.RED},
]
TWO = [
    {"n": 2, "dt": 1, "exact": Decimal("1.10")},
    {"n": 2, "dt": 1.0, "exact": Decimal("1.1")},
    {"n": 2, "dt": np.int64(1), "exact": 1.1},
]
THREE = [
    {"n": 3, "moment": datetime.datetime(2024, 1, 2), "dt": 0.0},
    {"n": 3, "moment": pd.Timestamp(2024, 1, 2), "dt": -0.0},
    {"n": 3, "moment": np.datetime64("2024-01-02", "ns"), "dt": 0},
]


def test_every_spelling_is_one_set_in_every_call(open_store, runner):
    store = open_store(model=Typed, typed_keys=True)
    for number, sets in enumerate((ONE, TWO, THREE)):
        ids = {store.run_or_retrieve(params).id for params in sets}
        assert len(ids) == 1
        assert {store.retrieve(params).id for params in sets} == ids
        assert {row.id for row in store.sweep(sets)} == ids
        assert {row.id for row in store.stream(sets)} == ids
        assert len(store.plan(sets).stored) == 1
        assert all(store.explain(params).hit for params in sets)
        assert len(runner.calls) == number + 1
    assert store.run(ONE[3]).id == store.retrieve(ONE[0]).id
    assert store.delete(TWO[1], remove_file=True) is True
    assert store.retrieve(TWO[0]) is None
    assert store.check().ok, str(store.check())


def test_the_runner_gets_what_the_row_says(open_store, runner):
    store = open_store(model=Typed, typed_keys=True)
    row = store.run({"n": 1.0, "dt": 1, "flag": 0, "colour": "BLUE"})
    given = {name: value for name, value in runner.calls[0].items() if name not in ("id", "result_file", "custom_data")}
    assert given == {name: getattr(row, name) for name in Typed.__annotations__}
    assert [type(given[name]) for name in ("n", "dt", "flag", "colour")] == [int, float, bool, Colour]


@pytest.mark.parametrize("column", ["n", "dt", "exact"])
@pytest.mark.parametrize("value", [True, False, np.bool_(True)])
def test_true_and_false_are_no_numbers(open_store, runner, column, value):
    store = open_store(model=Typed, typed_keys=True)
    for ask in (store.run, store.run_or_retrieve, store.retrieve, lambda one: store.sweep([one])):
        with pytest.raises(ParameterError, match=rf"{column}=.*numbers.*pass {int(value)}"):
            ask({"n": 1, column: value})
    assert runner.calls == []


def test_it_is_recorded_with_the_table(open_store):
    row = open_store(typed_keys=True).run({"n": 1, "dt": 1})
    with pytest.raises(StoreError, match=r"typed_keys=True.*typed_keys=False"):
        open_store()
    with pytest.raises(StoreError, match=r"significant.*typed_keys"):
        open_store(float_rounding="significant")
    again = open_store(typed_keys=True)
    assert again.retrieve({"n": 1.0, "dt": 1.0}).id == row.id
    assert open_store(model=OtherResult).run({"n": 1, "dt": 1}).id
    open_store(model=LooseResult).run({"name": "a"})
    with pytest.raises(StoreError, match=r"typed_keys=False.*typed_keys=True"):
        open_store(model=LooseResult, typed_keys=True)


@pytest.mark.only_on("sqlite")
def test_a_typed_store_pickles_and_copies_as_one(open_store, tmp_path):
    store = open_store(typed_keys=True)
    store.run({"n": 1, "dt": 1})
    other = store.copy_to(f"sqlite:///{tmp_path / 'copy.sqlite3'}")
    for one in (other, pickle.loads(pickle.dumps(other))):
        assert one.retrieve({"n": 1.0, "dt": 1.0}) is not None


def test_a_nullable_column_can_be_added_and_the_keys_stay():
    from entropic.params.model import Schema
    from entropic.params.spelling import TypedHasher

    hasher = TypedHasher("decimal", Schema(Typed).spelling)
    assert hasher({"n": 1}) == hasher({"n": 1, "note": None, "tree": None})
    assert "note" not in hasher.text({"n": 1})
    assert "dt" in hasher.text({"n": 1})


@pytest.mark.parametrize(
    ("model", "stored", "asked", "says"),
    [
        (SimResult, {"n": 1, "dt": 1}, {"n": 1, "dt": 1.0}, r"dt=1\.0 is asked for, dt=1 is stored"),
        (SimResult, {"n": 1, "dt": 1.0}, {"n": 1, "dt": 1}, r"dt=1 is asked for, dt=1\.0 is stored"),
        (SimResult, {"n": 1, "dt": 0.5}, {"n": True, "dt": 0.5}, "n=True is asked for, n=1 is stored"),
        (SimResult, {"n": 1, "dt": 0.5}, {"n": 1.0, "dt": 0.5}, r"n=1\.0 is asked for, n=1 is stored"),
        (LooseResult, {"name": "a"}, {"name": "a", "note": None}, "note=None is asked for, note left out is stored"),
        (LooseResult, {"name": "a", "level": 3}, {"name": "a"}, "level left out is asked for, level=3 is stored"),
    ],
)
@pytest.mark.parametrize("call", ["run_or_retrieve", "sweep", "stream"])
def test_without_it_a_miss_that_is_stored_in_another_way_warns_once_with_both(
    open_store, runner, model, stored, asked, says, call
):
    store = open_store(model=model)
    store.run(stored)
    ask = {
        "run_or_retrieve": store.run_or_retrieve,
        "sweep": lambda one: store.sweep([one]),
        "stream": lambda one: list(store.stream([one])),
    }[call]
    with pytest.warns(SpellingWarning, match=says) as warned:
        ask(asked)
    assert len(warned) == 1
    assert len(runner.calls) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(asked)
    assert len(runner.calls) == 2


def test_a_sweep_warns_once_and_counts_the_others(open_store):
    store = open_store()
    store.sweep([{"n": n, "dt": 1} for n in range(5)])
    with pytest.warns(SpellingWarning, match="and 4 more") as warned:
        store.sweep([{"n": n, "dt": 1.0} for n in range(7)])
    assert len(warned) == 1


@pytest.mark.only_on("sqlite")
def test_nothing_is_said_where_nothing_is_stored_in_another_way(open_store):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_store().sweep([{"n": n, "dt": float(n)} for n in range(5)])
        open_store(model=LooseResult).sweep([{"name": "a"}, {"name": "b", "note": "x"}])
        open_store(model=Typed, typed_keys=True).sweep([*ONE, *TWO])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, 1])
def test_a_default_reaches_the_runner(open_store, runner, tmp_path, workers):
    def tell(params):
        with open(params["result_file"], "w") as file:
            file.write(repr(sorted(params.items() - {("result_file", params["result_file"])}, key=str)))

    store = open_store(lambda params: tell({k: v for k, v in params.items() if k != "custom_data"}), LooseResult)
    (row,) = store.sweep([{"name": "a"}], workers=workers)
    text = Path(row.result_file).read_text()
    assert "('level', 3)" in text
    assert "('flag', False)" in text
    assert "mode" not in text  # made by the database
    assert store.retrieve({"name": "a"}).id == row.id


def test_a_set_that_failed_is_found_by_what_was_given(open_store):
    def fail(params):
        raise ValueError(params["level"])

    store = open_store(fail, LooseResult)
    with pytest.raises(ValueError, match="3"):
        store.run({"name": "a"})
    (failure,) = store.failures()
    assert failure.params == {"name": "a"}


def test_a_changed_row_that_still_has_its_key_is_served_and_kept_by_repair(open_store, place, runner):
    store = open_store(model=Typed, typed_keys=True)
    row = store.run_or_retrieve(TWO[0])
    place.execute("UPDATE entropic_ledger SET checksum = 1")  # of what a row held that somebody has changed
    (finding,) = store.check().mismatched
    assert "it is served to whoever asks" in finding.text
    store.repair()
    assert store.run_or_retrieve(TWO[1]).id == row.id
    assert len(runner.calls) == 1


def test_values_of_a_json_column_that_are_equal_as_numbers_are_not_other_spellings(open_store):
    store = open_store(model=Typed)
    rows = [store.run_or_retrieve({"n": 1, "tree": tree}) for tree in (0, False, 1.0, 1, True)]
    assert len({row.id for row in rows}) == 5
