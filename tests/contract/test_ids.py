"""Ids: the known ones, what counts as the same value, what has no id, and the file names made from explicit ids."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import hashlib
import re
import unicodedata
import uuid
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import pytest

from contract.models import Colour, Level, LooseResult, Nested, Scale, content
from entropic import ParameterError, key


@pytest.mark.parametrize(
    ("params", "known"),
    [
        ({"n": 100, "dt": 0.1}, "e4ded0fc6efdb871"),
        ({"dt": 0.1, "n": 100}, "e4ded0fc6efdb871"),
        ({}, "44136fa355b3678a"),
        ({"n": 1}, "2bfd14f43d17fc7c"),
        ({"n": 1.0}, "3b6b06ecd1c968c8"),
        ({"n": True}, "61ef44a6f4a056c9"),
        ({"dt": 0.1 + 0.2}, "80f7f4c15b4c1d5a"),
        ({"dt": 0.3}, "80f7f4c15b4c1d5a"),
        ({"dt": float("inf")}, "ae1f66758ada7cad"),
        ({"a": (1, 2, 3)}, "730bc329ebcd24c6"),
        ({"name": "日本語"}, "2fe3b40568b79b24"),
        ({"a": decimal.Decimal("1.10")}, "53cafedb9110c649"),
        ({"a": datetime.datetime(2024, 1, 2, 3, 4, 5)}, "c4a40622f32654b0"),
        ({"a": b"bytes\xff"}, "8f7bd0cfd48f1e9d"),
    ],
)
def test_the_known_ids(params, known):
    assert key(params) == known


def test_a_row_has_the_id_of_its_params(store):
    assert store.run({"dt": 0.1, "n": 100}).id == "e4ded0fc6efdb871"
    assert store.sweep([{"n": 2, "dt": 0.5}])[0].id == key({"n": 2, "dt": 0.5})


def test_an_id_is_the_beginning_of_the_sha_256_of_compact_sorted_ascii_json():
    text = '{"a":[1,2.5,true,null,"\\u00e9"],"b":{"x":1,"y":{}}}'
    params = {"b": {"y": {}, "x": 1}, "a": (1, 2.5, True, None, "é")}
    assert key(params) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_reserved_keys_do_not_count_at_the_top_and_do_count_below():
    assert key({"n": 1, "result_file": "y", "created_at": 0, "custom_data": {}}) == key({"n": 1})
    assert key({"n": {"result_file": "y"}}) != key({"n": {}})
    assert key({"n": {"id": "x"}}) != key({"n": {}})


def test_an_explicit_id_skips_the_hashing():
    assert key({"n": 1, "id": "my run"}) == "my run"


def test_making_an_id_changes_nothing_in_the_params():
    params = {"b": [(1, 2)], "a": {"d": Colour.RED, "c": 0.1 + 0.2}, "id": "x"}
    key(params)
    assert params == {"b": [(1, 2)], "a": {"d": Colour.RED, "c": 0.1 + 0.2}, "id": "x"}
    assert list(params) == ["b", "a", "id"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        (Colour.RED, "red"),
        (Level.HIGH, 2),
        (Scale.HALF, 0.5),
        (Nested.PAIR, [1, 2.0]),
        (Nested.OTHER, "red"),
        ([Colour.RED, {"x": Level.LOW}], ["red", {"x": 1}]),
    ],
)
def test_an_enum_member_counts_as_its_value(member, value):
    assert key({"a": member}) == key({"a": value})


class Measured:
    """Has a `.value`, is no enum, and has a text that names it."""

    value = 5

    def __str__(self) -> str:
        return "five metres"


def test_an_object_that_merely_has_a_value_is_no_enum():
    assert key({"a": Measured()}) == key({"a": "five metres"}) != key({"a": 5})


@pytest.mark.parametrize(
    "value",
    [
        datetime.date(2024, 1, 2),
        datetime.time(3, 4),
        datetime.timedelta(hours=1),
        decimal.Decimal("1.10"),
        uuid.UUID(int=7),
        PurePosixPath("a/b"),
        b"\xff",
        1 + 2j,
        range(1, 10, 2),
        int,
        Measured,
    ],
)
def test_whatever_its_text_identifies_counts_as_its_text(value):
    assert key({"a": value}) == key({"a": str(value)})
    assert key({"a": [value]}) == key({"a": [str(value)]})


@pytest.mark.parametrize(
    ("scalar", "plain"),
    [
        (np.int64(5), 5),
        (np.int8(5), 5),
        (np.uint64(5), 5),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.float32(0.1), 0.10000000149011612),
        (np.float16(0.25), 0.25),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.complex128(1 + 2j), 1 + 2j),
        (np.datetime64("2024-01-02T03:04:05"), datetime.datetime(2024, 1, 2, 3, 4, 5)),
    ],
)
def test_a_numpy_scalar_counts_as_the_python_value_that_it_wraps(scalar, plain):
    assert key({"a": scalar}) == key({"a": plain})
    assert key({"a": [{"b": scalar}]}) == key({"a": [{"b": plain}]})


def test_numpy_scalars_are_python_values_in_the_row(store, runner):
    row = store.run({"n": np.int64(5), "dt": np.float64(0.25)})
    assert (row.n, row.dt, type(row.n), type(row.dt)) == (5, 0.25, int, float)
    assert store.run_or_retrieve({"n": 5, "dt": 0.25}).created_at == row.created_at
    assert len(runner.calls) == 1


class Plain:
    pass


def outer():
    def inner():
        pass

    return inner


@pytest.mark.each
@pytest.mark.parametrize(
    "value",
    [
        object(),
        Plain(),
        lambda x: x,
        outer(),
        functools.partial(outer()),
        Plain().__init__,
        {1, 2},
        frozenset({"a"}),
        np.arange(3),
        np.zeros(5000),
        pd.DataFrame({"a": [1]}),
        pd.Series([1, 2]),
        iter([1]),
        (n for n in ()),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"x": (v,)}], ids=["bare", "list", "nested"])
def test_a_value_that_its_text_does_not_identify_has_no_id(store, runner, value, wrap):
    with pytest.raises(ParameterError, match=r"(?s)dt.*pass "):
        key({"n": 1, "dt": wrap(value)})
    with pytest.raises(ParameterError):
        store.run({"n": 1, "dt": wrap(value)})
    assert runner.calls == []


@pytest.mark.parametrize("params", [{"a": {1: 2}}, {"a": [{None: 2}]}, {"a": {"b": {(1,): 2}}}, {1: 2}, {b"a": 1}])
def test_keys_that_are_no_strings_are_refused_at_any_depth(params):
    with pytest.raises(ParameterError, match="string"):
        key(params)


@pytest.mark.parametrize("params", [None, 5, "n=1", [("n", 1)]])
def test_params_that_are_no_mapping_have_no_id(params):
    with pytest.raises(ParameterError):
        key(params)


@pytest.mark.each
@pytest.mark.parametrize("explicit", ["", None, 5, b"x", ["x"], Colour.RED])
def test_an_explicit_id_that_is_empty_or_no_string_is_refused(store, runner, explicit):
    for call in (store.run, store.run_or_retrieve, store.retrieve, store.delete):
        with pytest.raises(ParameterError, match="id"):
            call({"n": 1, "dt": 0.5, "id": explicit})
    assert runner.calls == []


HOSTILE = [
    *("a", "A", "aa", "a ", "a.", ".a", "..", ".", "-", "~", "*", "a/b", "a\\b", "a:b", "a_b", "a%2Fb", "/etc/passwd"),
    *("../../up", "../up", "..\\up", "con", "CON", "nul.json", "aux", "com1", ".entropic", ".json", "a.json", "a\nb"),
    *(
        "a\tb",
        "x\0y",
        "\u00e9",
        "e\u0301",
        "ß",
        "SS",
        "ss",
        "ﬁ",
        "fi",
        "İ",
        "i",
        "I",
        "\u0131",
        "日本語",
        "🦀",
        "x" * 300,
        "X" * 300,
    ),
    *(
        "\u00e9" * 200,
        "0123456789abcdef",
        "0123456789ABCDEF",
        "ids",
        "db.sqlite3",
        "$HOME",
        " ",
        "\u202e",
        "%",
        "x" * 5000,
    ),
]


REFUSED = {"sqlite": [], "postgresql": ["x\0y", "x" * 5000], "mariadb": ["x" * 5000]}


def test_the_file_of_an_explicit_id_stays_in_the_results_folder_and_no_two_share_one(store, place, tmp_path):
    ids = [id for id in dict.fromkeys(HOSTILE) if id not in REFUSED[place.kind]]  # test_bad_input.py has the others
    rows = [store.run({"n": n, "dt": 0.5, "id": explicit}) for n, explicit in enumerate(ids)]
    assert [row.id for row in rows] == ids
    names = []
    for n, row in enumerate(rows):
        assert content(row)["n"] == n
        inside = Path(row.result_file).resolve().relative_to((tmp_path / "results").resolve())
        assert not any(part.startswith(".") for part in inside.parts), row.id
        assert inside.name.endswith(".json")
        assert len(inside.name.encode()) <= 255
        assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", inside.parts[0]), row.id
        names.append(unicodedata.normalize("NFKD", str(inside)).casefold())
    assert len(set(names)) == len(names)
    assert store.check().ok
    assert all(store.retrieve({"id": row.id}).result_file == row.result_file for row in rows)


class Planet(enum.Enum):
    EARTH = "earth"


def test_an_enum_member_is_its_value_in_the_row_too(open_store, runner):
    store = open_store(model=LooseResult)
    row = store.run({"name": Planet.EARTH, "level": Level.HIGH})
    assert (row.name, row.level) == ("earth", 2)
    assert store.run_or_retrieve({"name": "earth", "level": 2}).id == row.id
    assert len(runner.calls) == 1
