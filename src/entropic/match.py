"""Verified hits: a row found by its key must also hold what was asked for.

Keys round floats and have 64 bits, so two different sets can share one. Numbers may differ by a relative 1e-9,
which is more than rounding to 12 digits changes in numbers near 1, and less than any two numbers that a user would
tell apart.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from entropic.db.rows import Rows
from entropic.errors import KeyCollisionError, ParameterError
from entropic.keys import RESERVED, plain, round_decimal
from entropic.keys import normalise as _normalise
from entropic.model import Schema

RELATIVE = 1e-9


def verify(schema: Schema, rows: Rows[Any], row: Any, params: Mapping[str, Any]) -> None:
    """Compare a row with the params that were asked for under its key.

    Raises
    ------
    KeyCollisionError
        If they are not the same; it shows both sets and the ways out.
    ParameterError
        If the params have keys that the model has not.
    """
    stored = row.__dict__
    for name, asked in params.items():
        try:
            if stored[name] == asked:
                continue
        except (KeyError, ValueError):  # ValueError: an array compares element by element
            pass
        if name not in RESERVED:
            _verify_closely(schema, rows, row, params, name)


def _verify_closely(schema: Schema, rows: Rows[Any], row: Any, params: Mapping[str, Any], name: str) -> None:
    values = schema.fit({name: params[name]}, complete=False)
    got = getattr(row, name)
    if same(got, params[name]) or _stored_alike(schema, rows, name, got, values[name]):
        return
    raise collision(schema, row.id, {key: getattr(row, key, None) for key in schema.fields}, params, name)


def _stored_alike(schema: Schema, rows: Rows[Any], name: str, got: Any, asked: Any) -> bool:
    """Tell whether the database holds both alike: it may have less than Python, such as no time zones."""
    if isinstance(asked, float):
        return False
    try:
        return bool(rows.bound(name, got) == rows.bound(name, asked))
    except ParameterError:
        return False


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same but for the noise of rounding."""
    one, other = plain(one), plain(other)
    if isinstance(one, Enum) or isinstance(other, Enum):
        one, other = (v.value if isinstance(v, Enum) else v for v in (one, other))
    if isinstance(one, int | float | Decimal) and isinstance(other, int | float | Decimal):
        if isinstance(one, int) and isinstance(other, int):
            return bool(one == other)
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=0.0) or (one != one and other != other)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    try:
        return bool(one == other) or _normalise(one, round_decimal, ()) == _normalise(other, round_decimal, ())
    except (ParameterError, ValueError):
        return False


def collision(schema: Schema, id: str, stored: Mapping[str, Any], asked: Mapping[str, Any], name: str) -> Any:
    """Return the error that shows two sets with one key, and the ways out."""
    return KeyCollisionError(
        f"two different sets of {schema.name} share the key {id!r}: they differ in {name!r}. Stored: "
        f"{dict(stored)!r:.400}. Asked: {dict(asked)!r:.400}. Rescale the unit of {name!r} so that its values differ "
        "in their first 12 decimals, pass an explicit 'id', or make the store with float_rounding='significant'"
    )
