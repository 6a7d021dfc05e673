"""Ids against a canonical form that is written here from the contract's words, not from the code."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import itertools
import json
import math
import pickle
import random
import secrets
import subprocess
import sys
import unittest.mock
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.models import Colour, Level, Nested, Scale
from entropic import key
from entropic.params import keys
from entropic.params.keys import ROUND, Hasher

RESERVED = {"id", "result_file", "created_at", "custom_data"}


def canonical(value: Any, digits: str = "decimal") -> Any:
    """Return a value that equals that of another exactly if the contract calls the two the same params.

    Each leaf carries its kind, since `1`, `1.0`, `True` and `"1"` are four different params.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Colour | Level | Scale | Nested):
        return canonical(value.value, digits)
    if value is None or value is True or value is False:
        return ("word", {None: "null", True: "true", False: "false"}[value])
    if isinstance(value, int):
        return ("whole", str(value))
    if isinstance(value, float):
        if digits == "significant" and math.isfinite(value):
            return ("real", repr(float(f"{value:.11e}")))
        return ("real", repr(round(value, 12)))
    if isinstance(value, list | tuple):
        return ("list", tuple(canonical(item, digits) for item in value))
    if isinstance(value, dict):
        return ("dict", frozenset((name, canonical(item, digits)) for name, item in value.items()))
    return ("text", str(value))


def same(first: dict[str, Any], second: dict[str, Any], digits: str = "decimal") -> bool:
    stripped = ({name: value for name, value in params.items() if name not in RESERVED} for params in (first, second))
    one, two = (canonical(params, digits) for params in stripped)
    return one == two


WORDS = {"word": {"null": None, "true": True, "false": False}}


def document(form: Any) -> Any:
    """Turn a canonical form into the structure that is serialised."""
    kind, inner = form
    match kind:
        case "word":
            return WORDS["word"][inner]
        case "whole":
            return int(inner)
        case "real":
            return float(inner)
        case "list":
            return [document(item) for item in inner]
        case "dict":
            return {name: document(item) for name, item in inner}
    return inner


names = st.text(max_size=6).filter(lambda name: name not in RESERVED)
floats = st.floats(allow_subnormal=True)
near_zero = st.floats(-3e-12, 3e-12)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    floats,
    near_zero,
    st.text(max_size=8),
    st.binary(max_size=4),
    st.sampled_from([*Colour, *Level, *Scale, *Nested]),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.complex_numbers(),
    st.sampled_from([np.int64(1), np.float64(0.1), np.bool_(True), np.float32(0.1), np.str_("red"), range(3), int]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(names, inner, max_size=4)
    ),
    max_leaves=12,
)
params = st.dictionaries(names, values, max_size=5)

# Few names and values that resemble one another, so that equal and nearly equal pairs are common.
ALIKE = [
    *(
        None,
        "None",
        "null",
        True,
        "True",
        1,
        1.0,
        "1",
        "1.0",
        0,
        0.0,
        -0.0,
        False,
        "",
        [],
        {},
        (),
        [[]],
        [{}],
        "[]",
    ),
    *(1e-13, -1e-13, 2e-13, 0.3, 0.1 + 0.2, 1 + 1e-13, 1e22, 10**22, math.inf, -math.inf, math.nan, 5e-13, 4.9e-13),
    *(Colour.RED, "red", Level.LOW, Scale.HALF, 0.5, Nested.PAIR, (1, 2.0), [1, 2], b"a", "b'a'", "é", "e\u0301"),
    *(decimal.Decimal("1"), decimal.Decimal("1.0"), datetime.date(2024, 1, 2), "2024-01-02", np.float64(0.3)),
    *({"a": 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": {"b": 1}}, {"id": 1}, {"": 1}, ["a", 1], 2**64, 2.0**64),
]
alike = st.sampled_from(ALIKE)
close = st.dictionaries(st.sampled_from(["a", "b", "n"]), alike | st.lists(alike, max_size=2), max_size=2)


@given(st.lists(close, min_size=4, max_size=4))
def test_two_ids_are_equal_exactly_if_the_canonical_forms_are(asked):
    for first, second in itertools.combinations(asked, 2):
        assert (key(first) == key(second)) is same(first, second)


@pytest.mark.slow
def test_so_they_are_among_a_hundred_thousand_sets():
    seed = secrets.randbits(32)
    choices = random.Random(seed).choices

    def value() -> Any:
        return choices([choices(ALIKE)[0], choices(ALIKE, k=1), choices(ALIKE, k=2), []], [4, 2, 2, 1])[0]

    ids: dict[Any, str] = {}
    forms: dict[str, Any] = {}
    for number in range(100_000):
        asked = {name: value() for name in choices("abn", k=number % 4)}
        made, form = key(asked), canonical(asked)
        told = f"set {number} of seed {seed}: {asked}"
        assert ids.setdefault(form, made) == made, told
        assert forms.setdefault(made, form) == form, told
    assert 50_000 > len(ids) > 20_000, "some are the same and some are not"


@pytest.mark.slow
@given(params, params)
def test_unrelated_params_have_the_same_id_only_if_they_are_the_same(first, second):
    assert (key(first) == key(second)) is same(first, second)


@given(close, close)
def test_the_same_holds_for_significant_rounding(first, second):
    ids = [key(params, float_rounding="significant") for params in (first, second)]
    assert (ids[0] == ids[1]) is same(first, second, "significant")


@given(floats | near_zero, floats | near_zero, st.sampled_from(["decimal", "significant"]))
def test_two_floats_have_one_id_exactly_if_they_round_to_the_same(first, second, digits):
    ids = [key({"x": value}, float_rounding=digits) for value in (first, second)]
    assert (ids[0] == ids[1]) is same({"x": first}, {"x": second}, digits)


@given(floats, st.floats(-1e-12, 1e-12), st.sampled_from(["decimal", "significant"]))
def test_a_float_and_its_neighbour_have_one_id_exactly_if_they_round_to_the_same(value, noise, digits):
    for other in (value + noise, value * (1 + noise), math.nextafter(value, math.inf)):
        ids = [key({"x": [number]}, float_rounding=digits) for number in (value, other)]
        assert (ids[0] == ids[1]) is same({"x": [value]}, {"x": [other]}, digits)


@pytest.mark.slow
@given(params)
def test_an_id_is_the_hash_of_the_canonical_form_as_compact_ascii_json(asked):
    text = json.dumps(document(canonical(asked)), sort_keys=True, separators=(",", ":"))
    assert key(asked) == hashlib.sha256(text.encode()).hexdigest()[:16]


def reorder(value: Any, data: st.DataObject) -> Any:
    """Return the same value with the keys of every dict in another order, and lists and tuples swapped at will."""
    if isinstance(value, dict):
        order = data.draw(st.permutations(list(value)))
        return {name: reorder(value[name], data) for name in order}
    if isinstance(value, list | tuple):
        return data.draw(st.sampled_from([list, tuple]))(reorder(item, data) for item in value)
    return value


@given(params, st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_order_of_keys_and_the_kind_of_sequence_do_not_matter(asked, data):
    assert key(reorder(asked, data)) == key(asked)


@pytest.mark.slow
@given(params, st.fixed_dictionaries({}, optional={name: st.none() | st.integers() for name in RESERVED - {"id"}}))
def test_reserved_keys_do_not_matter(asked, noise):
    assert key(asked | noise) == key(asked)


@pytest.mark.slow
@given(params, st.text(min_size=1))
def test_an_explicit_id_is_the_id_whatever_else_is_asked(asked, explicit):
    assert key(asked | {"id": explicit}) == explicit


@pytest.mark.slow
@given(params)
def test_making_an_id_leaves_the_params_as_they_were(asked):
    before = pickle.dumps(asked)
    key(asked)
    assert pickle.dumps(asked) == before


@pytest.mark.slow
@given(params, names, leaves, leaves)
def test_changing_one_value_changes_the_id_exactly_if_it_changes_the_canonical_form(asked, name, first, second):
    one, two = asked | {name: first}, asked | {name: second}
    assert (key(one) == key(two)) is same(one, two)


ANSWER = """
import pickle, sys
import entropic
while True:
    try:
        asked = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    print(entropic.key(asked), entropic.key(asked, "significant"), flush=True)
"""


@pytest.fixture(scope="module")
def others():
    """Processes with other hash seeds that answer with the ids of the params they are sent."""
    tests = str(Path(__file__).parent.parent)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ANSWER],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": tests, "LC_ALL": "C", "TZ": "Asia/Tokyo"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for seed in ("0", "1", "4711")
    ]
    yield started
    for process in started:
        process.communicate()
        assert process.returncode == 0


@pytest.mark.slow
@given(asked=params)
def test_an_id_is_the_same_in_every_process_and_for_every_hash_seed(others, asked):
    expected = f"{key(asked)} {key(asked, 'significant')}"
    for process in others:
        pickle.dump(asked, process.stdin)
        process.stdin.flush()
        assert process.stdout.readline().decode().strip() == expected


# Columns of one kind, which is what a sweep has, and columns of all kinds, with a set of another shape among them.
columns = st.one_of(
    st.lists(st.integers() | st.booleans(), min_size=6, max_size=6),
    st.lists(floats | near_zero, min_size=6, max_size=6),
    st.lists(st.text(max_size=4), min_size=6, max_size=6),
    st.lists(alike, min_size=6, max_size=6),
)


@given(st.lists(columns, max_size=3), st.lists(close, max_size=2), st.sampled_from(["decimal", "significant"]))
def test_however_many_sets_are_asked_for_at_once_each_has_its_own_id(given_columns, strange, digits):
    sets = [dict(zip(("b", "a", "n%s"), values, strict=False)) for values in zip(*given_columns, strict=True)]
    hasher = Hasher(digits)
    for asked in (sets, sets + strange, sets):  # first when no shape is known, then when they are
        alone = [key(params, float_rounding=digits) for params in asked]
        assert hasher.many(asked) == alone
        assert [hasher(params) for params in asked] == alone


# Columns of a grid, whose few values come again and again: 0.0 equals -0.0, and 1.0 is 1, but they are other keys.
few = st.sampled_from([0.0, -0.0, 1.0, 0.1 + 0.2, -2.5e-13, math.nan, math.inf, 1e22]) | floats


@given(
    st.lists(few, min_size=1, max_size=3),
    st.lists(st.text(max_size=3), min_size=1, max_size=2),
    st.lists(few, max_size=3),
)
def test_sets_of_a_grid_have_the_ids_that_each_has_alone(numbers, texts, late):
    sets = [{"a": a, "b": b, "n": n} for a in numbers for b in texts for n in range(4)]
    sets += [{"a": a, "b": "late", "n": 4} for a in [*late, 0.0, -0.0]]  # beyond what is looked at
    with unittest.mock.patch.object(keys, "ALIKE", 3):
        for digits in ("decimal", "significant"):
            assert Hasher(digits).many(sets) == [key(one, float_rounding=digits) for one in sets]


def test_what_a_column_with_zeros_repeats_is_written_once():
    hasher, written = Hasher(), []
    write = hasher._writers[float]
    hasher._writers[float] = lambda value: written.append(value) or write(value)
    sets = [{"a": a, "n": n} for n in range(5) for a in (0.5, -0.0, 0.25, 0.0)]
    assert hasher.many(sets) == [key(one) for one in sets]
    assert (written.count(0.5), written.count(0.25)) == (1, 1)


short = st.decimals(-(10**16), 10**16, places=12) | st.decimals(-10, 10, places=13) | st.decimals(-1, 1, places=5)


@given(st.lists(short.map(float) | floats | near_zero, min_size=1), st.sampled_from(sorted(ROUND)))
def test_a_float_whose_text_is_short_is_written_as_rounding_it_would_write_it(values, digits):
    hasher = Hasher(digits)
    for value in values:
        assert hasher({"a": value}) == hasher({"a": ROUND[digits](value)})
        text = f'{{"a":{json.dumps(ROUND[digits](value))}}}'
        assert hasher({"a": value}) == hashlib.sha256(text.encode()).hexdigest()[:16]
