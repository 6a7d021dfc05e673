"""What a refusal says: in words of what was given, and with what to write instead."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sqlalchemy as sa

from contract.models import SimResult, TypedResult
from entropic import Base, EntropicError, Mapped, ParameterError, Store, StoreError, expand_grid

pytestmark = pytest.mark.only_on("sqlite")
ONE = {"n": 1, "dt": 0.5}


class Mute:
    """Something whose `repr` raises, as that of a half-made object does."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Length(np.ndarray):
    """A quantity with a unit, as astropy makes it."""

    unit = "km"


class Quantity:
    """A quantity with a unit, as pint makes it: of one number it has no shape."""

    units = "km"

    def __array__(self) -> np.ndarray:
        return np.array(0.5)


@pytest.mark.parametrize("call", ["sweep", "stream", "plan"])
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n": [1, 2], "dt": [0.5]}, "expand_grid"),
        (ONE, r"\[params\]"),
        (pd.DataFrame([ONE]), r"to_dict\('records'\)"),
        (pl.DataFrame([ONE]), r"to_dicts\(\)"),
        ("n=1", "several sets"),
        (5, "several sets"),
        (None, "several sets"),
        (Mute(), "several sets.*repr raises RuntimeError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_list_of_sets_is_told_how_to_become_one(store, runner, call, given, says):
    with pytest.raises(ParameterError, match=says):
        getattr(store, call)(given)
    assert runner.calls == []


def test_frames_work_as_they_are_told(store):
    frame = pd.DataFrame({"n": [1, 2], "dt": [0.5, 0.5]})
    assert [row.n for row in store.sweep(frame.to_dict("records"))] == [1, 2]
    assert [row.n for row in store.sweep(pl.DataFrame(frame.to_dict("list")).to_dicts())] == [1, 2]


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("count", float("nan"), r"count.*nan.*None"),
        ("count", float("inf"), r"count.*inf"),
        ("title", float("nan"), r"title.*NaN.*None"),
        ("count", np.array(3), r"count.*\.item\(\)"),
        ("size", np.array(0.5), r"size.*\.item\(\)"),
        ("size", np.array(0.5).view(Length), r"size.*number in one unit"),
        ("size", Quantity(), r"size.*number in one unit"),
        ("count", pd.NA, r"count.*(missing|NA).*None"),
        ("moment", pd.NaT, r"moment.*(missing|NaT).*None"),
        ("size", 2**53 + 1, r"size.*9007199254740992"),
    ],
)
@pytest.mark.parametrize("id", [{}, {"id": "mine"}], ids=["hashed", "id"])
def test_a_value_of_a_table_or_an_array_that_does_not_fit_is_told_what_to_pass(
    open_store, runner, column, value, says, id
):
    store = open_store(model=TypedResult)
    for ask in (store.run, store.run_or_retrieve, lambda one: store.sweep([one]), lambda one: store.plan([one])):
        with pytest.raises(ParameterError, match=says):
            ask({**id, column: value})
    assert runner.calls == []


def test_a_value_without_words_is_still_refused_in_words(store, tmp_path):
    mute = Mute()
    for ask in (
        lambda: store.run({**ONE, "n": mute}),
        lambda: store.run({**ONE, "n": [mute]}),
        lambda: store.run({**ONE, "n": mute, "id": "mine"}),
        lambda: store.run({**ONE, "id": mute}),
        lambda: store.run({**ONE, mute: 1}),
        lambda: store.run(mute),
        lambda: store.run(ONE, remark=mute),
        lambda: store.sweep([ONE], on_error=mute),
        lambda: store.sweep([{**ONE, "n": mute}]),
        lambda: store.register(ONE, mute),
        lambda: store.retrieve({**ONE, "dt": mute}),
        lambda: store.explain({**ONE, "dt": mute}),
        lambda: store.select(mute),
        lambda: store.select(n=mute),
        lambda: store.select(limit=mute),
        lambda: store.select(order_by=mute),
        lambda: store.select(custom_data=mute),
        lambda: store.select(custom_data={"a": mute}),
        lambda: store.load(mute),
        lambda: store.gc(older_than=mute, dry_run=True),
        lambda: Store(mute, SimResult, tmp_path / "r"),
        lambda: Store(print, SimResult, tmp_path / "r", float_rounding=mute),
        lambda: Store(print, SimResult, tmp_path / "r", file_suffix=mute),
        lambda: Store(print, SimResult, tmp_path / "r", lease=mute),
        lambda: expand_grid({"n": mute}),
    ):
        with pytest.raises(EntropicError) as caught:
            ask()
        assert "RuntimeError" in str(caught.value) or "no words" in str(caught.value) or "Mute" in str(caught.value)


def test_a_condition_on_the_class_of_an_earlier_cell_says_so(open_store):
    def cell():
        class Again(Base):
            __tablename__ = "cells_again"

            n: Mapped[int]

        return Again

    earlier, now = cell(), cell()
    store = open_store(model=now)
    store.run({"n": 1})
    for ask in (
        lambda: store.select(earlier.n == 1),
        lambda: store.select(order_by=earlier.n),
        lambda: store.gc(earlier.n == 1),
    ):
        with pytest.raises(ParameterError, match=r"Again\.n.*earlier class"):
            ask()
    assert len(store.select(now.n == 1)) == 1
    Base.metadata.remove(now.__table__)


@pytest.mark.skipif(sa.__version__.startswith("2.0"), reason="SQLAlchemy 2.0 takes a path as it is written")
@pytest.mark.parametrize("name", ["a?b", "a%41b", "a?b=c", "50%25"])
def test_a_path_that_a_url_would_take_for_another_is_refused(open_store, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError, match=r"%25.*%3F"):
        open_store(db_url=f"sqlite:///{tmp_path / name}/db.sqlite3")
    assert sorted(os.listdir(tmp_path)) == [name]
    escaped = name.replace("%", "%25").replace("?", "%3F")
    open_store(db_url=f"sqlite:///{tmp_path / escaped}/db.sqlite3")
    assert (tmp_path / name / "db.sqlite3").exists()


@pytest.mark.parametrize("suffix", ["json", "h5", "JSON"])
def test_a_suffix_without_its_dot_is_refused_with_the_dot(open_store, tmp_path, suffix):
    with pytest.raises(StoreError, match=rf"write '\.{suffix}'"):
        open_store(file_suffix=suffix, results_dir=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_two_runs_at_one_place_that_differ_in_spelling_say_so(open_store):
    store = open_store(lambda params: np.save(params["result_file"], np.arange(3)), file_suffix=".npy")
    store.run({"n": 1, "dt": 1})
    store.run({"n": 1, "dt": 1.0})
    with pytest.raises(ParameterError, match=r"1 and 1\.0"):
        store.select().to_xarray()
