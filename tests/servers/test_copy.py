"""A store that moves to another database: everything goes with it, or nothing does."""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.models import (
    CountingRunner,
    LoggingRunner,
    OtherResult,
    Refused,
    TypedResult,
    content,
    refuse,
    write_params,
)
from databases import KINDS, Place
from entropic import Base, EntropicError, Mapped, StoreError
from servers.crowd import sets

ONE, TWO, THREE, FOUR = sets([1, 2, 3, 4])
NewPlace = Callable[[], Place]

# Stores are opened beside a database whose results lie there, too, before anything is copied.
pytestmark = pytest.mark.filterwarnings("ignore:.* has no rows of:entropic.ResultLostWarning")


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind != "sqlite")) for kind in KINDS])
def new_target(request: pytest.FixtureRequest, place_of: Any) -> NewPlace:
    """Make an empty database of one of the kinds, to copy to; [source-target] are all pairs."""
    return lambda: place_of(request.param)


@pytest.fixture
def target(new_target: NewPlace) -> Place:
    return new_target()


def refuse_three(params: dict[str, Any]) -> None:
    if params["n"] == 3:
        refuse(params)


@pytest.fixture
def runner() -> CountingRunner:
    return CountingRunner(during=refuse_three)


def filled(open_store: Any, tmp_path: Path) -> Any:
    """Open a store with two runs, a registered result, and a failure."""
    store = open_store()
    store.run_or_retrieve(ONE, note="é", deep={"a": [1, None]})
    store.run_or_retrieve(TWO)
    (tmp_path / "elsewhere").write_text("{}")
    store.register(FOUR, tmp_path / "elsewhere", source="elsewhere")
    with pytest.raises(Refused):
        store.run_or_retrieve(THREE)
    return store


def seen(row: Any) -> dict[str, Any]:
    names = ("id", "n", "dt", "result_file", "created_at", "custom_data")
    return {name: getattr(row, name) for name in names}


@pytest.mark.slow
def test_a_copy_has_everything_and_runs_nothing(open_store, runner, place, target, tmp_path):
    store = filled(open_store, tmp_path)
    rows, failures = [seen(store.retrieve(one)) for one in (ONE, TWO, FOUR)], store.failures()
    runner.calls.clear()
    copy = store.copy_to(target.url)
    for again in (copy, open_store(db_url=target.url)):
        assert [seen(row) for row in again.sweep([ONE, TWO, FOUR])] == rows
        assert [seen(again.run_or_retrieve(one)) for one in (ONE, TWO, FOUR)] == rows
        assert [vars_of(failure) for failure in again.failures()] == [vars_of(failure) for failure in failures]
        assert again.plan([ONE, THREE]).failed == [THREE]
        assert again.check().ok
    assert runner.calls == []
    assert [seen(row) for row in store.sweep([ONE, TWO, FOUR])] == rows  # the source is as it was
    assert store.check().ok


def vars_of(failure: Any) -> dict[str, Any]:
    return {name: getattr(failure, name) for name in ("id", "params", "error_type", "message", "traceback", "attempt")}


@pytest.mark.each
def test_a_copy_works_like_any_store(open_store, runner, target, tmp_path):
    copy = filled(open_store, tmp_path).copy_to(target.url)
    runner.calls.clear()
    runner.during = None
    old = copy.retrieve(ONE)
    again = copy.run(ONE)
    assert (again.id, again.result_file) == (old.id, old.result_file)
    assert again.created_at > old.created_at
    path = Path(copy.retrieve(TWO).result_file)
    assert copy.delete(TWO, remove_file=True) is True
    assert not path.exists()
    assert [content(row)["n"] for row in copy.sweep([ONE, TWO, THREE])] == [1, 2, 3]
    assert runner.ns == [1, 2, 3]
    assert copy.failures() == []
    assert copy.check().ok


@pytest.mark.slow
@pytest.mark.each
def test_many_rows_are_copied(open_store, target):
    runner = CountingRunner()
    store = open_store(run=runner)
    store.sweep(sets(range(1_200)))
    copy = store.copy_to(target.url)
    assert [row.n for row in copy.sweep(sets(range(1_200)))] == list(range(1_200))
    assert len(runner.calls) == 1_200
    assert copy.check().ok


@pytest.mark.each
def test_an_empty_store_is_copied(open_store, target):
    runner = CountingRunner()
    copy = open_store(run=runner).copy_to(target.url)
    assert copy.run_or_retrieve(ONE).n == 1
    assert runner.ns == [1]


def test_values_of_all_kinds_are_copied(open_store, target):
    given = {
        "count": 2**40,
        "size": 0.1,
        "title": "é'%\\ \N{FACE WITH TEARS OF JOY}" * 100,
        "flag": True,
        "day": datetime.date(1999, 12, 31),
        "moment": datetime.datetime(2024, 2, 29, 23, 59, 59, 999_999),
        "raw": bytes(range(256)),
        "tree": {"a": [1, 2.5, None, {"b": "é"}]},
    }
    runner = CountingRunner()
    store = open_store(run=runner, model=TypedResult)
    store.run_or_retrieve(given)
    copy = store.copy_to(target.url)
    for row in (copy.run_or_retrieve(given), *copy.sweep([given])):
        assert {name: getattr(row, name) for name in given} == given
    assert len(runner.calls) == 1
    assert copy.check().ok


class Limited(Base):
    __tablename__ = "limited_results"
    size: Mapped[float]
    title: Mapped[str]


REFUSED = {"sqlite": {"size": float("nan")}, "postgresql": {"title": "\0"}, "mariadb": {"size": float("inf")}}


@pytest.mark.each
def test_a_value_that_the_target_lacks_is_refused_with_its_row_and_nothing_is_copied(open_store, target):
    store = open_store(write_params, Limited)
    store.run({"size": 1.0, "title": "x"})
    kind = {"sqlite": "sqlite", "postgresql": "postgresql"}.get(target.url.split(":")[0].split("+")[0], "mariadb")
    try:
        row = store.run({"size": 1.0, "title": "y", **REFUSED[kind]})
    except EntropicError:
        pytest.skip("the source has no such value either")
    with pytest.raises(StoreError, match=f"{row.id}.*Nothing was copied"):
        store.copy_to(target.url)
    assert open_store(model=Limited, db_url=target.url).select() == []


@pytest.mark.each
def test_a_copy_keeps_the_options_of_its_store(open_store, target):
    runner = CountingRunner()
    store = open_store(run=runner, float_rounding="significant", file_suffix=".dat")
    given = [{"n": 1, "dt": 1e-13}, {"n": 1, "dt": 2e-13}]
    store.sweep(given[:1])
    rows = store.copy_to(target.url).sweep(given)
    assert len({row.id for row in rows}) == len(runner.calls) == 2
    assert all(row.result_file.endswith(".dat") for row in rows)


@pytest.mark.each
def test_a_copy_takes_only_its_own_model_and_another_model_can_follow(open_store, target):
    store, other = open_store(), open_store(model=OtherResult)
    store.run_or_retrieve(ONE)
    other.run_or_retrieve(TWO)
    copy = store.copy_to(target.url)
    assert copy.retrieve(ONE).n == 1
    assert open_store(model=OtherResult, db_url=target.url).retrieve(TWO) is None
    assert other.copy_to(target.url).retrieve(TWO).n == 2
    assert copy.retrieve(ONE).n == 1
    assert copy.check().ok


# ---- refusals ----------------------------------------------------------------------------------------------------
@pytest.mark.each
def test_a_target_that_has_rows_of_the_model_is_refused_and_left_as_it_is(open_store, target):
    store, there = open_store(), open_store(db_url=target.url)
    store.run_or_retrieve(ONE)
    there.run_or_retrieve(TWO)
    before = target.content()
    with pytest.raises(EntropicError, match=r"SimResult|sim_results"):
        store.copy_to(target.url)
    assert target.content() == before


def test_a_store_is_not_copied_onto_itself(open_store, place):
    store = open_store()
    store.run_or_retrieve(ONE)
    before = place.content()
    with pytest.raises(EntropicError):
        store.copy_to(place.url)
    assert place.content() == before


@pytest.mark.each
def test_a_store_in_which_something_runs_is_not_copied(open_store, target):
    refused = []

    def during(params):
        with pytest.raises(EntropicError, match="run") as caught:
            store.copy_to(target.url)
        refused.append(caught.value)

    runner = CountingRunner(during)
    store = open_store(run=runner)
    store.run_or_retrieve(ONE)
    assert len(refused) == 1
    assert not [name for name in target.tables() if target.fetch(f"SELECT * FROM {name}") and name == "sim_results"]
    assert store.copy_to(target.url).retrieve(ONE).n == 1  # now that it has ended


class Named(Base):
    __tablename__ = "named"

    name: Mapped[str]


@pytest.mark.slow
@pytest.mark.each
def test_a_copy_that_fails_half_way_leaves_nothing(open_store, target):
    runner = CountingRunner()
    store = open_store(run=runner, model=Named)
    store.sweep({"name": f"name {n}"} for n in range(700))
    store.run_or_retrieve({"name": "the last straw"})
    open_store(run=runner, model=Named, db_url=target.url)  # makes the tables
    id = {"mariadb": "VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"}.get(target.kind, "VARCHAR(200)")
    moment = {"mariadb": "DATETIME(6)"}.get(target.kind, "TIMESTAMP")
    target.execute("DROP TABLE named")
    target.execute(
        f"CREATE TABLE named (id {id} NOT NULL PRIMARY KEY, result_file VARCHAR(2000), created_at {moment}, "
        "custom_data JSON, name VARCHAR(50), CHECK (name <> 'the last straw'))"
    )
    before = target.content()
    with pytest.raises(EntropicError):
        store.copy_to(target.url)
    assert target.content() == before
    assert target.fetch("SELECT count(*) FROM named") == [(0,)]
    assert store.check().ok
    store.delete({"name": "the last straw"})
    assert len(store.copy_to(target.url).sweep({"name": f"name {n}"} for n in range(700))) == 700
    assert len(runner.calls) == 701


@pytest.mark.parametrize("url", ["nonsense", "mssql://here"])
def test_a_target_that_cannot_hold_a_store_is_refused(open_store, url):
    store = open_store()
    with pytest.raises(EntropicError):
        store.copy_to(url)


@pytest.mark.each
def test_a_copy_can_be_pickled(open_store, target, tmp_path):
    store = open_store(run=LoggingRunner(tmp_path / "log"))
    store.run_or_retrieve(ONE)
    copy = pickle.loads(pickle.dumps(store.copy_to(target.url)))
    store.run_or_retrieve(TWO)
    assert copy.retrieve(ONE).n == 1
    assert copy.retrieve(TWO) is None
