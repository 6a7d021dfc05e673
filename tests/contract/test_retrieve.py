"""`retrieve`: look up, never run."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import inspect

from contract.models import LooseResult, SimResult
from entropic import KeyCollisionError, ParameterError, SpellingWarning

ONE = {"n": 1, "dt": 0.5}
COLUMNS = [attribute.key for attribute in inspect(SimResult).column_attrs]


def test_a_miss_is_none_and_runs_nothing(store, runner):
    assert store.retrieve(ONE) is None
    assert runner.calls == []


def test_a_hit_is_the_row_that_was_run(store):
    row = store.run(ONE, note="x")
    found = store.retrieve(ONE)
    for column in COLUMNS:
        assert getattr(found, column) == getattr(row, column), column


def test_the_order_of_the_keys_does_not_matter(store):
    row = store.run({"n": 1, "dt": 0.5})
    assert store.retrieve({"dt": 0.5, "n": 1}).id == row.id


@pytest.mark.parametrize("near", [{"n": 2, "dt": 0.5}, {"n": 1, "dt": 0.5000001}, {"n": 1, "dt": -0.5}])
def test_only_the_exact_params_match(store, near):
    store.run(ONE)
    assert store.retrieve(near) is None


def test_noise_below_twelve_decimals_still_matches(store):
    row = store.run({"n": 1, "dt": 0.1 + 0.2})
    assert store.retrieve({"n": 1, "dt": 0.3}).id == row.id


@pytest.mark.parametrize("pair", [(1, 1.0), (1, True), (0, False)])
def test_values_of_other_types_are_other_params_although_equal(store, pair):
    first, second = pair
    row = store.run({"n": first, "dt": 0.5})
    assert store.retrieve({"n": second, "dt": 0.5}) is None
    assert store.run({"n": second, "dt": 0.5}).id != row.id


def test_minus_zero_and_zero_are_two_keys(store, runner):
    zero = store.run({"n": 1, "dt": 0.0})
    with pytest.warns(SpellingWarning, match=r"dt=-0\.0 is asked for"):
        assert store.run_or_retrieve({"n": 1, "dt": -0.0}).id != zero.id
    assert len(runner.calls) == 2


def test_reserved_keys_are_stripped(store):
    row = store.run(ONE)
    noisy = {**ONE, "result_file": "x", "created_at": None, "custom_data": {"a": 1}}
    assert store.retrieve(noisy).id == row.id
    assert noisy == {**ONE, "result_file": "x", "created_at": None, "custom_data": {"a": 1}}


def test_a_row_finds_itself_when_its_own_columns_are_the_params(store):
    row = store.run(ONE, note="x")
    columns = {key: getattr(row, key) for key in COLUMNS}
    assert store.retrieve(columns).id == row.id


def test_an_explicit_id_is_used_verbatim_and_needs_no_params(store):
    store.run({**ONE, "id": "mine"})
    assert store.retrieve({"id": "mine"}).n == 1
    assert store.retrieve({**ONE, "id": "mine"}).n == 1
    assert store.retrieve({"id": "other"}) is None
    assert store.retrieve({**ONE, "id": "other"}) is None


def test_the_hash_of_a_row_is_an_explicit_id_too(store):
    row = store.run(ONE)
    assert store.retrieve({"id": row.id}).result_file == row.result_file


def test_an_explicit_id_with_params_of_another_row_is_not_served(store):
    store.run({**ONE, "id": "mine"})
    with pytest.raises(KeyCollisionError, match="mine"):
        store.retrieve({"id": "mine", "n": 2, "dt": 0.5})


def test_a_row_whose_file_is_gone_is_returned_as_it_stands(store, runner):
    row = store.run(ONE)
    Path(row.result_file).unlink()
    found = store.retrieve(ONE)
    assert (found.id, found.result_file, found.created_at) == (row.id, row.result_file, row.created_at)
    assert len(runner.calls) == 1


def test_a_row_whose_file_has_another_size_is_returned_as_it_stands(store, runner):
    row = store.run(ONE)
    Path(row.result_file).write_text("short")
    assert store.retrieve(ONE).created_at == row.created_at
    assert len(runner.calls) == 1


def test_a_set_that_lacks_a_required_column_is_a_miss(store):
    store.run(ONE)
    assert store.retrieve({"n": 1}) is None
    assert store.retrieve({}) is None


def test_an_unknown_key_is_refused(store):
    with pytest.raises(ParameterError, match=r"'d_t'.*SimResult.*'dt'"):
        store.retrieve({"n": 1, "d_t": 0.5})


def test_a_value_that_the_column_cannot_hold_is_refused(store):
    with pytest.raises(ParameterError, match=r"SimResult\.n"):
        store.retrieve({"n": "1", "dt": 0.5})


def test_a_param_that_was_left_out_is_not_the_same_as_its_default(open_store):
    store = open_store(model=LooseResult)
    row = store.run({"name": "a"})
    assert row.level == 3
    assert store.retrieve({"name": "a"}).id == row.id
    assert store.retrieve({"name": "a", "level": 3}) is None


def test_none_is_a_value(open_store):
    store = open_store(model=LooseResult)
    row = store.run({"name": "a", "note": None})
    assert store.retrieve({"name": "a", "note": None}).id == row.id
    assert store.retrieve({"name": "a"}) is None


def test_tuples_and_lists_are_the_same_params(open_store):
    store = open_store(model=LooseResult)
    row = store.run({"name": "a", "grid": (1, (2, 3))})
    assert store.retrieve({"name": "a", "grid": [1, [2, 3]]}).id == row.id
    assert store.retrieve({"name": "a", "grid": [[2, 3], 1]}) is None
    assert store.retrieve({"name": "a", "grid": (1, (2, 3))}).grid == [1, [2, 3]]


def test_retrieve_changes_nothing_in_the_database(store, place):
    store.run(ONE)
    before = place.content()
    store.retrieve(ONE)
    store.retrieve({"n": 2, "dt": 0.5})
    store.retrieve({"id": "x"})
    assert place.content() == before
