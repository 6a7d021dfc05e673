"""Plain values take a short way to the database; the long one gives the same."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropic import Base, Mapped, ParameterError, Store

WHOLE = st.integers() | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1])
VALUES = st.none() | st.booleans() | WHOLE | st.floats() | st.text(st.characters(codec=None)) | st.just(b"x")


class Row(Base):
    __tablename__ = "short_way"

    whole: Mapped[int]
    real: Mapped[float]
    text: Mapped[str]
    maybe: Mapped[int | None]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: Any) -> Any:
    folder = tmp_path_factory.mktemp("store")
    return Store(lambda params: None, Row, folder / "results", ".bin", f"sqlite:///{folder / 'db.sqlite3'}")._context


def _either(one: Any) -> Any:
    return one | VALUES


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "whole": _either(st.integers(-5, 5)),
            "real": _either(st.floats(-5, 5)),
            "text": _either(st.text("abc")),
            "maybe": _either(st.integers(-5, 5)),
        },
    )
)
def test_what_the_short_way_gives_is_what_the_long_way_gives(parts, asked):
    short = parts.rows.binding.bind_plain(asked)
    if short is None:
        return
    long = parts.rows.binding.bind(parts.schema.fit(asked), "Row")
    assert dict(zip(parts.rows.binding.columns, short, strict=True)) == long
    assert [type(value) for value in short] == [type(value) for value in long.values()]


def test_most_sets_take_the_short_way(parts):
    assert parts.rows.binding.bind_plain({"whole": 1, "real": 0.5, "text": "a", "maybe": 2}) == (1, 0.5, "a", 2)


@pytest.mark.parametrize(
    "asked",
    [
        {"whole": 2**63, "real": 0.5, "text": "a", "maybe": 2},
        {"whole": 1, "real": math.nan, "text": "a", "maybe": 2},
        {"whole": 1, "real": 0.5, "text": "\ud800", "maybe": 2},
    ],
)
def test_what_a_column_cannot_hold_never_takes_the_short_way(parts, asked):
    assert parts.rows.binding.bind_plain(asked) is None
    with pytest.raises(ParameterError):
        parts.rows.binding.bind(parts.schema.fit(asked), "Row")
