"""Verified hits: a row found by its key must also hold what was asked for.

Keys round floats and have 64 bits, so two different sets can share one.
"""

from collections.abc import Mapping

from entropic.db.rows import Rows
from entropic.errors import KeyCollisionError, ParameterError
from entropic.params.keys import RESERVED
from entropic.params.model import Base, Schema
from entropic.params.same import same


def verify(schema: Schema, rows: Rows[Base], stored: Mapping[str, object], params: Mapping[str, object]) -> None:
    """Compare the values of a row with the params that were asked for under its key.

    Raises
    ------
    KeyCollisionError
        If they are not the same; it shows both sets and the ways out.
    ParameterError
        If the params have keys that the model has not.
    """
    try:
        if params.items() <= stored.items():
            return  # most hits
    except (KeyError, ValueError):
        pass
    for name, asked in params.items():
        try:
            if stored[name] == asked:
                continue
        except (KeyError, ValueError):  # ValueError: an array compares element by element
            pass
        if name not in RESERVED:
            _verify_closely(schema, rows, stored, params, name)


def _verify_closely(
    schema: Schema, rows: Rows[Base], stored: Mapping[str, object], params: Mapping[str, object], name: str
) -> None:
    values = schema.fit({name: params[name]}, complete=False)
    got = stored[name]
    if same(got, params[name]) or _stored_alike(schema, rows, name, got, values[name]):
        return
    raise collision(schema, str(stored["id"]), {key: stored[key] for key in schema.fields}, params, name)


def _stored_alike(schema: Schema, rows: Rows[Base], name: str, got: object, asked: object) -> bool:
    """Tell whether the database holds both alike: it may have less than Python, such as no time zones."""
    try:
        return bool(rows.binding.bound(name, got) == rows.binding.bound(name, asked))
    except ParameterError:
        return False


def collision(
    schema: Schema, id: str, stored: Mapping[str, object], asked: Mapping[str, object], name: str
) -> KeyCollisionError:
    """Return the error that shows two sets with one key, and the ways out."""
    return KeyCollisionError(
        f"two different sets of {schema.name} share the key {id!r}: they differ in {name!r}. Stored: "
        f"{dict(stored)!r:.400}. Asked: {dict(asked)!r:.400}. Rescale the unit of {name!r} so that its values differ "
        "in their first 12 decimals, pass an explicit 'id', or make the store with float_rounding='significant'"
    )
