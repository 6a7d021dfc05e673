"""Two sets with one key: a hit is verified, and a wrong result is never served."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from contract.models import LooseResult, OtherResult, content
from entropic import EntropicError, KeyCollisionError, ParameterError, StoreError, key

SMALL = {"n": 1, "dt": 1e-13}
SMALLER = {"n": 1, "dt": 2e-13}


def calls(store, tmp_path):
    made = tmp_path / "made.dat"
    made.write_text("made elsewhere")
    return {
        "run": store.run,
        "run_or_retrieve": store.run_or_retrieve,
        "retrieve": store.retrieve,
        "delete": lambda params: store.delete(params, remove_file=True),
        "register": lambda params: store.register(params, made),
        "sweep": lambda params: store.sweep([{"n": 9, "dt": 0.5}, params]),
    }


ALL = pytest.mark.parametrize("call", ["run", "run_or_retrieve", "retrieve", "delete", "register", "sweep"])


@pytest.mark.each("call")
@ALL
@pytest.mark.parametrize("other", [2e-13, 0.0, 1.0001e-13])
def test_a_set_with_the_key_of_another_row_is_refused_before_anything_happens(store, runner, tmp_path, call, other):
    row = store.run(SMALL)
    assert key({"n": 1, "dt": other}) == row.id
    with pytest.raises(KeyCollisionError) as caught:
        calls(store, tmp_path)[call]({"n": 1, "dt": other})
    assert isinstance(caught.value, ParameterError)
    assert len(runner.calls) == 1
    assert store.retrieve(SMALL).created_at == row.created_at
    assert content(row)["dt"] == 1e-13


def test_the_message_shows_both_sets_and_the_ways_out(store):
    store.run(SMALL)
    with pytest.raises(KeyCollisionError) as caught:
        store.run(SMALLER)
    message = str(caught.value)
    for part in ("1e-13", "2e-13", "unit", "id", "float_rounding", "significant"):
        assert part in message, part


def test_two_sets_of_one_sweep_that_collide_are_refused_before_the_first_one_runs(store, runner):
    with pytest.raises(KeyCollisionError, match=r"1e-13[\s\S]*2e-13"):
        store.sweep([{"n": 9, "dt": 0.5}, SMALL, SMALLER])
    assert runner.calls == []


def test_two_sets_of_one_sweep_with_the_same_explicit_id_are_refused(store, runner):
    with pytest.raises(KeyCollisionError, match="mine"):
        store.sweep([{"n": 1, "dt": 0.5, "id": "mine"}, {"n": 2, "dt": 0.5, "id": "mine"}])
    assert runner.calls == []


@pytest.mark.each
@pytest.mark.parametrize("call", ["run", "run_or_retrieve", "retrieve", "delete", "register"])
def test_an_explicit_id_of_another_set_is_refused(store, runner, tmp_path, call):
    store.run({"n": 1, "dt": 0.5, "id": "mine"})
    with pytest.raises(KeyCollisionError, match="mine"):
        calls(store, tmp_path)[call]({"n": 2, "dt": 0.5, "id": "mine"})
    assert len(runner.calls) == 1


def test_an_explicit_id_is_a_way_out(store, runner):
    first = store.run(SMALL)
    second = store.run({**SMALLER, "id": "smaller"})
    assert (content(first)["dt"], content(second)["dt"]) == (1e-13, 2e-13)
    assert store.run_or_retrieve({**SMALLER, "id": "smaller"}).dt == 2e-13
    assert len(runner.calls) == 2


def test_significant_rounding_is_a_way_out(open_store, runner):
    store = open_store(float_rounding="significant")
    rows = store.sweep([SMALL, SMALLER, {"n": 1, "dt": 0.0}])
    assert len({row.id for row in rows}) == 3
    assert [content(row)["dt"] for row in rows] == [1e-13, 2e-13, 0.0]
    assert store.retrieve({"n": 1, "dt": 1e-13 * (1 + 1e-14)}).id == rows[0].id
    assert len(runner.calls) == 3


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (0.1 + 0.2, 0.3),
        (1.2345678901234e-20, 1.23456789012e-20),
        (-1.2345678901234e20, -1.23456789012e20),
        (123456.789012345, 123456.789012),
        (5e-324, 5e-324),
        (1.7976931348623157e308, 1.79769313486e308),
        (0.0, 0.0),
        (math.inf, math.inf),
    ],
)
def test_significant_rounding_keeps_twelve_digits(value, rounded):
    assert key({"a": [value]}, "significant") == key({"a": [rounded]}, float_rounding="significant")
    assert key({"a": [value]}, "significant") != key({"a": [rounded * 1.0001 + 1]}, "significant") or value == math.inf


def test_decimal_rounding_is_the_default():
    params = {"dt": 1e-13, "n": 0.1 + 0.2}
    assert key(params) == key(params, float_rounding="decimal") != key(params, float_rounding="significant")


def test_a_rounding_that_does_not_exist_has_no_key():
    with pytest.raises((EntropicError, ValueError), match=r"decimal.*significant"):
        key({"n": 1}, float_rounding="none")


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        (0.3, 0.1 + 0.2),
        (1e-3, 1e-3 + 1e-13),
        (1.0, 1.0 + 1e-13),
        (0.0, 0.0),
        pytest.param(math.inf, math.inf, marks=pytest.mark.only_on("sqlite", "postgresql")),
    ],
)
def test_floats_within_a_relative_billionth_match(store, runner, stored, asked):
    row = store.run({"n": 1, "dt": stored})
    assert store.run_or_retrieve({"n": 1, "dt": asked}).id == row.id
    assert len(runner.calls) == 1


@pytest.mark.parametrize(("stored", "asked"), [(1e-5, 1e-5 + 1e-13), (3e-12, 3.3e-12), (1e-13, -0.0 + 3e-13)])
def test_floats_further_apart_than_that_do_not_match_even_if_their_key_is_the_same(store, stored, asked):
    store.run({"n": 1, "dt": stored})
    assert key({"n": 1, "dt": stored}) == key({"n": 1, "dt": asked})
    with pytest.raises(KeyCollisionError):
        store.retrieve({"n": 1, "dt": asked})


def test_floats_inside_a_nested_value_are_verified_too(open_store):
    store = open_store(model=LooseResult)
    row = store.run({"name": "a", "grid": {"x": [1e-13, 0.3]}})
    assert store.run_or_retrieve({"name": "a", "grid": {"x": [1e-13, 0.1 + 0.2]}}).id == row.id
    with pytest.raises(KeyCollisionError):
        store.run_or_retrieve({"name": "a", "grid": {"x": [2e-13, 0.3]}})


def test_text_that_looks_like_another_type_is_another_value_in_one_column(open_store):
    store = open_store(model=LooseResult)
    store.run({"name": "a", "grid": b"x".decode()})
    assert store.retrieve({"name": "a", "grid": ["x"]}) is None


@pytest.mark.parametrize(("first", "second"), [("decimal", "significant"), ("significant", "decimal")])
def test_opening_a_table_with_the_other_rounding_is_an_error_that_says_so(open_store, first, second):
    row = open_store(float_rounding=first).run({"n": 1, "dt": 0.5})
    with pytest.raises(StoreError, match=first):
        open_store(float_rounding=second)
    assert open_store(float_rounding=first).retrieve({"n": 1, "dt": 0.5}).created_at == row.created_at


def test_the_rounding_is_recorded_already_when_the_store_is_opened(open_store):
    open_store(float_rounding="significant")
    with pytest.raises(StoreError, match="significant"):
        open_store()


def test_the_rounding_is_that_of_one_table_and_not_of_the_database(open_store):
    open_store(float_rounding="significant").sweep([SMALL, SMALLER])
    other = open_store(model=OtherResult)
    other.run(SMALL)
    with pytest.raises(KeyCollisionError):
        other.run(SMALLER)


def test_a_collision_leaves_the_store_in_order(store, tmp_path):
    row = store.run(SMALL)
    for call in calls(store, tmp_path).values():
        with pytest.raises(KeyCollisionError):
            call(SMALLER)
    assert Path(row.result_file).exists()
    assert store.check().ok


@pytest.mark.only_on("sqlite")
def test_two_grids_with_other_noise_around_zero_are_told_to_be_rounded(store, runner):
    one, other = ([{"n": 1, "dt": dt} for dt in grid] for grid in ([-0.1, -2.2e-16, 0.1], [-0.1, -1.1e-16, 0.1]))
    store.sweep(one)
    with pytest.raises(KeyCollisionError) as caught:
        store.sweep(other)
    for part in ("'dt'", "-2.2e-16", "-1.1e-16", "round the grid", "np.round"):
        assert part in str(caught.value), part
    store.delete({"id": key(one[1])})
    rounded = [[{**params, "dt": float(np.round(params["dt"], 12) + 0.0)} for params in sets] for sets in (one, other)]
    runner.calls.clear()
    assert len({row.id for sets in rounded for row in store.sweep(sets)}) == 3
    assert len(runner.calls) == 1


@pytest.mark.only_on("sqlite")
def test_noise_inside_a_nested_value_is_told_as_well(open_store):
    store = open_store(model=LooseResult)
    store.run({"name": "a", "grid": {"x": [1.0, 1.1e-16]}})
    with pytest.raises(KeyCollisionError, match=r"'grid'.*1\.1e-16.*2\.2e-16.*round the grid"):
        store.run({"name": "a", "grid": {"x": [1.0, 2.2e-16]}})


@pytest.mark.only_on("sqlite")
def test_small_numbers_that_are_meant_are_not_told_to_be_noise(store):
    store.run(SMALL)
    with pytest.raises(KeyCollisionError) as caught:
        store.run(SMALLER)
    assert "round the grid" not in str(caught.value)
