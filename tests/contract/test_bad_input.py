"""What can be refused before a run is refused before it, with a message that says what to change."""

from __future__ import annotations

import collections
import datetime
import math
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sqlalchemy import CheckConstraint, PickleType

from contract.models import LooseResult, TypedResult
from entropic import Base, EntropicError, Mapped, ParameterError, mapped_column

ONE = {"n": 1, "dt": 0.5}


CALLS = ["run", "run_or_retrieve", "sweep"]
before_the_database = pytest.mark.only_on("sqlite")  # refused before anybody asks which one it is


@pytest.fixture(params=CALLS)
def refused(request, store, runner):
    """Make the call, which must refuse the params before anything runs; return its message."""

    def check(params, on=store, **custom_data):
        arguments = ([params],) if request.param == "sweep" else (params,)
        with pytest.raises(ParameterError) as caught:
            getattr(on, request.param)(*arguments, **custom_data)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, EntropicError)
        assert runner.calls == []
        return str(caught.value)

    return check


@before_the_database
@pytest.mark.parametrize(("wrong", "near"), [("d_t", "dt"), ("DT", "dt"), ("N", "n"), ("dtt", "dt")])
def test_an_unknown_key_names_the_key_the_model_and_the_nearest_column(refused, wrong, near):
    message = refused({**ONE, wrong: 1})
    assert repr(wrong) in message
    assert "SimResult" in message
    assert repr(near) in message


@before_the_database
def test_a_key_that_resembles_no_column_names_the_key_and_the_model(refused):
    message = refused({**ONE, "viscosity": 1})
    assert "'viscosity'" in message
    assert "SimResult" in message


@before_the_database
@pytest.mark.parametrize(("params", "lacks"), [({"n": 1}, "dt"), ({"dt": 0.5}, "n"), ({}, "n")])
def test_a_missing_required_column_is_named_with_its_model(refused, params, lacks):
    message = refused(params)
    assert repr(lacks) in message
    assert "SimResult" in message


@before_the_database
def test_a_required_column_is_missed_also_where_the_id_is_explicit(refused):
    assert "'dt'" in refused({"id": "mine", "n": 1})


@before_the_database
def test_a_key_that_is_no_string_is_named(refused):
    assert "7" in refused({**ONE, 7: 1})
    assert "string" in refused({**ONE, 7: 1})


@before_the_database
@pytest.mark.parametrize("params", [None, 5, "n=1", ["n", "dt"], [("n", 1), ("dt", 0.5)], {"n", "dt"}])
def test_params_that_are_no_mapping_are_refused_with_their_type(refused, params):
    assert type(params).__name__ in refused(params)


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict, types.MappingProxyType, collections.UserDict])
def test_any_mapping_will_do(store, kind):
    assert store.run(kind(ONE)).n == 1
    assert store.retrieve(kind(ONE)).dt == 0.5


@pytest.mark.each("column", "value")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("count", "5"),
        ("count", 1.5),
        ("count", 2**63),
        ("count", -(2**63) - 1),
        ("count", 1e300),
        ("count", float("nan")),
        ("count", float("inf")),
        ("count", None),
        ("count", [1]),
        ("count", datetime.date(2024, 1, 2)),
        ("size", "0.5"),
        pytest.param("size", float("nan"), marks=pytest.mark.only_on("sqlite", "mariadb")),  # PostgreSQL has it
        ("size", None),
        ("size", 1 + 2j),
        ("size", [0.5]),
        ("title", "\ud800"),
        ("title", None),
        ("title", ["a"]),
        ("title", {"a": 1}),
        ("flag", "yes"),
        ("flag", 2),
        ("day", "2024-01-02"),
        ("day", 5),
        ("moment", "2024-01-02T03:04:05"),
        ("raw", "text"),
        ("phase", "gas"),
        ("phase", 5),
        ("tree", {"a": {1, 2}}),
        ("tree", {"a": object()}),
        ("tree", [lambda: None]),
        ("tree", float("nan")),
        ("tree", {"a": [1.0, float("inf")]}),
    ],
)
def test_a_value_that_the_column_cannot_hold_is_refused_by_name(refused, open_store, column, value):
    message = refused({column: value}, on=open_store(model=TypedResult))
    assert column in message


@pytest.mark.parametrize("value", [5, 5.0, True, np.int64(5), 2**63 - 1, -(2**63), 1e15])
def test_an_integer_column_takes_whatever_is_a_whole_number(store, value):
    row = store.run({"n": value, "dt": 0.5})
    assert (row.n, type(row.n)) == (int(value), int)
    assert store.retrieve({"n": value, "dt": 0.5}).id == row.id


INFINITE = [pytest.param(value, marks=pytest.mark.only_on("sqlite", "postgresql")) for value in (math.inf, -math.inf)]


@pytest.mark.parametrize("value", [5, 0.5, 1e300, 5e-324, *INFINITE, np.float32(0.5), 0])
def test_a_float_column_takes_whatever_is_a_number(store, value):
    row = store.run({"n": 1, "dt": value})
    assert (row.dt, type(row.dt)) == (float(value), float)
    assert store.retrieve({"n": 1, "dt": value}).id == row.id


@pytest.mark.parametrize(
    "params",
    [
        {"title": "日本語 🦀 é"},
        pytest.param({"title": "\x00"}, marks=pytest.mark.only_on("sqlite", "mariadb")),
        {"title": ""},
        {"day": datetime.date(1999, 12, 31), "moment": datetime.datetime(1999, 12, 31, 23, 59, 59, 999999)},
        {"raw": b"\x00\xff"},
        {"flag": True},
        {"tree": {"a": [1, 2.5, None, "x", {"b": []}]}},
        {"tree": [1, (2, 3)]},
        {"tree": None},
    ],
)
def test_what_a_column_can_hold_is_stored_and_found_again(open_store, runner, params):
    store = open_store(run=lambda p: (runner.calls.append(p), open(p["result_file"], "w").close()), model=TypedResult)
    row = store.run(params)
    again = store.run_or_retrieve(params)
    assert again.id == row.id
    assert all(getattr(again, name) == getattr(row, name) for name in params)
    assert len(runner.calls) == 1


@pytest.mark.only_on("mariadb")
def test_infinity_is_refused_where_the_database_has_none(refused):
    assert "infinity" in refused({"n": 1, "dt": math.inf})


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("params", [{"title": "a\x00b"}, {"id": "a\x00b"}])
def test_a_nul_in_a_text_is_refused_where_the_database_has_none(refused, open_store, params):
    assert "NUL" in refused(params, on=open_store(model=TypedResult))


@pytest.mark.only_on("postgresql", "mariadb")
def test_an_id_that_no_index_of_the_database_takes_is_refused(refused):
    message = refused({**ONE, "id": "x" * 2501})
    assert "longer than" in message
    assert len(message) < 500


@before_the_database
@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), float("inf"), {1: 2}, np.arange(2), b"x", 1j])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [{"deep": v}]], ids=["bare", "nested"])
@pytest.mark.parametrize("call", ["run", "run_or_retrieve"])
def test_custom_data_that_is_no_json_is_refused_before_the_run_by_name(store, runner, call, value, wrap):
    with pytest.raises(ParameterError, match="remark"):
        getattr(store, call)(ONE, fine=1, remark=wrap(value))
    assert runner.calls == []
    assert store.retrieve(ONE) is None


@pytest.mark.parametrize("scalar", [np.int64(5), np.float64(0.5), np.bool_(True), np.str_("a")])
def test_numpy_scalars_in_custom_data_are_python_values(store, scalar):
    found = store.run(ONE, bare=scalar, nested=[{"a": scalar}]).custom_data
    assert (found["bare"], type(found["bare"])) == (scalar.item(), type(scalar.item()))
    assert store.retrieve(ONE).custom_data["nested"] == [{"a": scalar.item()}]


def test_the_row_that_comes_out_of_a_run_holds_custom_data_as_it_will_be_read_back(store):
    row = store.run(ONE, pair=(1, 2), tree={"a": (3,)})
    assert row.custom_data == store.retrieve(ONE).custom_data
    assert row.custom_data["pair"] == [1, 2]


def test_what_is_refused_leaves_no_trace(store, tmp_path):
    with pytest.raises(ParameterError):
        store.run({"n": "x", "dt": 0.5})
    assert [p for p in (tmp_path / "results").iterdir() if not p.name.startswith(".")] == []
    assert store.check().ok


class CheckedResult(Base):
    __tablename__ = "checked_results"
    __table_args__ = (CheckConstraint("n > 0"),)

    n: Mapped[int]


def test_a_row_that_a_constraint_of_the_table_forbids_is_not_lost_in_silence(open_store):
    store = open_store(model=CheckedResult)
    with pytest.raises(Exception, match=r"(?i)check|constraint"):
        store.run({"n": -1})
    assert store.retrieve({"n": -1}) is None


def test_the_lookup_calls_refuse_the_same_params(open_store):
    store = open_store(model=LooseResult)
    for call in (store.retrieve, store.delete):
        with pytest.raises(ParameterError, match=r"'nmae'.*LooseResult.*'name'"):
            call({"nmae": "a"})
        with pytest.raises(ParameterError, match="name"):
            call({"name": 5.5j})


def write(params):
    Path(params["result_file"]).write_text("{}")


class Stubborn:
    """Something that does not let itself be copied, as a lock or an open file does not."""

    def __deepcopy__(self, memo):
        raise TypeError("no copies of this one")

    def __reduce__(self):
        return Stubborn, ()

    def __str__(self):
        return "stubborn"


class Pickled(Base):
    __tablename__ = "pickled"

    value: Mapped[Any] = mapped_column(PickleType)


def test_what_cannot_be_copied_is_refused_before_anything_is_claimed(open_store, refused):
    store = open_store(model=Pickled)
    message = refused({"id": "one", "value": Stubborn()}, on=store)
    assert "'value'" in message
    assert "Stubborn" in message
    assert store.failures() == []
    assert store.status().running == {}


@pytest.mark.filterwarnings("ignore:The truth value of an empty array:DeprecationWarning")  # of numpy 1
@pytest.mark.parametrize(
    "value", [np.arange(3), np.zeros((2, 0)), scipy.sparse.eye_array(3).tocsr(), {"a": np.ones(2)}], ids=type
)
def test_values_that_have_no_truth_value_run_from_a_pickle_column(open_store, value):
    ran = []
    store = open_store(lambda params: (ran.append(params["value"]), write(params)), Pickled)
    row = store.run({"id": "one", "value": value})
    assert type(row.value) is type(ran[0]) is type(value)
    assert ran[0] is not value
    assert store.failures() == []
    assert store.run_or_retrieve({"id": "one", "value": value}).id == "one"
    assert store.sweep([{"id": "one", "value": value}], progress=False)[0].id == "one"
    assert store.explain({"id": "one", "value": value}).hit
    assert len(ran) == 1


@pytest.mark.parametrize("grid", [{}, {"a": 1}, {"a": [1, {"b": None}]}], ids=repr)
def test_a_read_only_mapping_reaches_the_runner_as_a_dict(open_store, grid):
    ran = []
    store = open_store(lambda params: (ran.append(params["grid"]), write(params)), LooseResult)
    store.run({"name": "one", "grid": types.MappingProxyType(grid)})
    assert ran == [grid]
    assert type(ran[0]) is dict
