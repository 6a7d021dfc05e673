"""Values that print alike are not taken for equal: they are verified by what is stored, or refused before the run."""

from __future__ import annotations

import operator
import random
import re
import string
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sqlalchemy import PickleType, String, TypeDecorator

from contract.models import run_python
from entropic import Base, KeyCollisionError, Mapped, ParameterError, key, mapped_column


class Pickled(Base):
    __tablename__ = "lookalikes_pickled"

    value: Mapped[Any] = mapped_column(PickleType)


class AsText(TypeDecorator[Any]):
    """Stores what a value prints, as many write it for paths."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return str(value)


class ByName(TypeDecorator[Any]):
    """Stores something else than what a value prints."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return getattr(value, "name", value)


class Told(Base):
    __tablename__ = "lookalikes_told"

    text: Mapped[Any | None] = mapped_column(AsText, nullable=True)


class Named(Base):
    __tablename__ = "lookalikes_named"

    value: Mapped[Any] = mapped_column(ByName)


class Graph:
    """Prints its size, as those of networkx do, and has no equality of its own."""

    def __init__(self, *edges: tuple[str, str]) -> None:
        self.name = f"{len(edges)} edges"
        self.nodes = {node for edge in edges for node in edge}
        self.edges = {edge: {} for edge in edges}
        self.itself = self

    def __str__(self) -> str:
        return f"Graph with {self.name}"


class Estimator:
    """Prints its parameters, as those of scikit-learn do, and not what it has learnt."""

    def __init__(self, learnt: Any) -> None:
        self.learnt = learnt

    def __repr__(self) -> str:
        return "Estimator(c=1.0)"


@dataclass
class Solver:
    name: str
    tolerance: float = field(default=1.0, repr=False)


class Zone(tzinfo):
    """Prints no hours, as tzrange of dateutil."""

    def __init__(self, hours: int) -> None:
        self.hours = hours

    def __repr__(self) -> str:
        return "Zone(...)"

    def utcoffset(self, _: Any) -> timedelta:
        return timedelta(hours=self.hours)

    def __getinitargs__(self) -> tuple[int]:
        return (self.hours,)


class Day(datetime):
    """Prints the day of a time."""

    def __str__(self) -> str:
        return f"{self:%Y-%m-%d}"


class Moment(datetime):
    """Prints all that it is, as the time of freezegun."""


class Angle(Decimal):
    """Prints as many digits as people read."""

    def __str__(self) -> str:
        return f"{self:.1f}"


PAIRS = [
    (Zone(1), Zone(2)),
    (Day(2020, 1, 1, 12), Day(2020, 1, 1, 13)),
    ([Angle("1.01")], [Angle("1.04")]),
    (re.compile("a" * 300), re.compile("a" * 301)),
    (Graph(("a", "b")), Graph(("a", "c"))),
    (Estimator(np.arange(2_000.0)), Estimator(np.arange(2_000.0) + (np.arange(2_000) == 1_000))),
    (Estimator({"deep": [1, {2}]}), Estimator({"deep": [1, {3}]})),
    (Solver("rk4", 1.0), Solver("rk4", 2.0)),
    (pow, operator.pow),
    ([{"deep": Estimator(1)}], [{"deep": Estimator(2)}]),
]
named = pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda value: type(value).__name__)


def write(params: dict[str, Any]) -> None:
    Path(params["result_file"]).write_text("ran")


@pytest.fixture
def counted():
    class Counted:
        calls = 0

        def __call__(self, params: dict[str, Any]) -> None:
            self.calls += 1
            write(params)

    return Counted()


@named
def test_values_that_print_alike_are_not_served_for_each_other(open_store, counted, one, other):
    assert key({"value": one}) == key({"value": other})
    store = open_store(counted, Pickled)
    row = store.run_or_retrieve({"value": one})
    for ask in (store.run_or_retrieve, store.retrieve, store.run, lambda params: store.sweep([params]), store.delete):
        with pytest.raises(KeyCollisionError, match="print alike"):
            ask({"value": other})
    assert store.run_or_retrieve({"value": one}).created_at == row.created_at
    assert counted.calls == 1
    assert store.check().ok


@pytest.mark.only_on("sqlite")
@named
def test_two_such_values_in_one_sweep_are_refused_before_the_first_runs(open_store, counted, one, other):
    store = open_store(counted, Pickled)
    with pytest.raises(KeyCollisionError, match="print alike"):
        store.sweep([{"value": one}, {"value": other}])
    assert counted.calls == 0


@pytest.mark.only_on("sqlite")
@named
def test_a_value_is_a_hit_for_an_equal_one_that_was_made_anew(open_store, counted, one, other):
    import copy

    store = open_store(counted, Pickled)
    for value in (one, copy.deepcopy(one)):
        store.run_or_retrieve({"value": value})
        assert len(store.sweep([{"value": value}, {"value": copy.deepcopy(value)}])) == 1
    assert counted.calls == 1


ELSEWHERE = """
import sys
from contract.test_lookalikes import Graph, Pickled, write
from entropic import Store
store = Store(write, Pickled, sys.argv[1] + "/results", ".json", f"sqlite:///{sys.argv[1]}/db.sqlite3")
edges = [(a, b) for a in "abcdef" for b in "abcdef"]
print(store.run_or_retrieve({"value": Graph(*edges)}).created_at)
"""


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_it_is_a_hit_in_a_process_in_which_sets_have_another_order(tmp_path):
    said = {run_python(ELSEWHERE, tmp_path, PYTHONHASHSEED=seed) for seed in ("1", "2", "3")}
    assert len(said) == 1


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize(
    "value",
    [
        np.random.default_rng(1),
        np.random.RandomState(1),
        random.Random(1),
        np.random.PCG64(1),
        np.arange(10_000),
        np.zeros((2, 2)),
        pd.DataFrame({"a": [1]}),
        pd.Series([1]),
        pd.Index([1]),
        scipy.sparse.eye_array(300).tocsr(),
        {1, 2},
        frozenset("ab"),
        object(),
        lambda: None,
        write,
        Graph.__init__,
        np.vectorize(write),
    ],
    ids=lambda value: f"{type(value).__module__}.{type(value).__name__}",
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"a": (v,)}], ids=["bare", "list", "dict"])
def test_what_no_text_can_tell_apart_is_refused_before_the_run_with_what_to_pass(open_store, counted, value, wrap):
    store = open_store(counted, Pickled)
    for ask in (store.run_or_retrieve, store.run, lambda params: store.sweep([params])):
        with pytest.raises(ParameterError, match="pass "):
            ask({"value": wrap(value)})
    assert counted.calls == 0


def test_a_generator_of_random_numbers_is_refused_with_the_advice_to_pass_its_seed():
    for value in (np.random.default_rng(1), np.random.RandomState(1), random.Random(1), np.random.MT19937(1)):
        with pytest.raises(ParameterError, match="seed"):
            key({"rng": value})


@pytest.mark.only_on("sqlite")
def test_with_an_id_of_its_own_whatever_can_be_pickled_is_verified_by_what_is_stored(open_store, counted):
    store = open_store(counted, Pickled)
    for id, one, other in [
        ("rng", np.random.default_rng(1), np.random.default_rng(2)),
        ("array", np.arange(5_000.0), np.arange(5_000.0) + (np.arange(5_000) == 2_500)),
        ("frame", pd.DataFrame({"a": range(100)}), pd.DataFrame({"a": [*range(50), 0, *range(51, 100)]})),
        ("sparse", scipy.sparse.eye_array(300).tocsr(), 2 * scipy.sparse.eye_array(300).tocsr()),
    ]:
        store.run_or_retrieve({"id": id, "value": one})
        store.run_or_retrieve({"id": id, "value": one})
        with pytest.raises(KeyCollisionError):
            store.run_or_retrieve({"id": id, "value": other})
    assert counted.calls == 4


@pytest.mark.only_on("sqlite")
def test_a_column_that_keeps_only_what_a_value_prints_refuses_what_that_does_not_identify(open_store, counted):
    store = open_store(counted, Told)
    for value in (Graph(("a", "b")), Estimator(1), re.compile("a")):
        with pytest.raises(ParameterError, match=r"pass str\("):
            store.run({"text": value})
        assert key({"text": value}) == key({"text": str(value)})
        assert store.run({"text": str(value)}).text == str(value)
    for value in (Path("a/b"), Moment(2020, 1, 1, 12)):
        store.run({"text": value})
        assert store.run_or_retrieve({"text": value}).text == str(value)
    assert counted.calls == 5


@pytest.mark.only_on("sqlite")
def test_a_column_that_keeps_something_else_is_verified_by_that(open_store, counted):
    store = open_store(counted, Named)
    one, other = Graph(("a", "b")), Graph(("a", "b"))
    other.name = "one edge"
    one.__class__ = other.__class__ = type("Graph", (Graph,), {"__str__": lambda self: "Graph"})
    store.run_or_retrieve({"value": one})
    store.run_or_retrieve({"value": one})
    with pytest.raises(KeyCollisionError):
        store.run_or_retrieve({"value": other})
    assert counted.calls == 1


@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("length", [1, 150, 190])
def test_a_pattern_whose_text_is_whole_is_a_param(open_store, counted, length):
    store = open_store(counted, Pickled)
    for pattern in (string.ascii_letters * 5)[:length], "[0-9]+":
        store.run_or_retrieve({"value": re.compile(pattern)})
        store.run_or_retrieve({"value": re.compile(pattern)})
    assert counted.calls == 2
