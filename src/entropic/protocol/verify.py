"""Verified hits: a row found by its key must also hold what was asked for.

Keys round floats and have 64 bits, so two different sets can share one.
"""

import itertools
import re
from collections.abc import Mapping

import sqlalchemy as sa

from entropic.db.rows import Rows
from entropic.errors import KeyCollisionError, ParameterError
from entropic.params.keys import RESERVED, Hasher, plain
from entropic.params.model import Base, Schema
from entropic.params.same import same, unadvised
from entropic.protocol.former import find_former_set
from entropic.support.show import named, spelled

NOISE = 1e-14  # below it, what is left where decimal fractions of the size of 1 to 100 cancel


class Altered(KeyCollisionError):
    """A row does not hold any more what was stored under its key: somebody has changed it."""


def verify(schema: Schema, rows: Rows[Base], stored: Mapping[str, object], params: Mapping[str, object]) -> None:
    """Compare the values of a row with the params that were asked for under its key.

    Raises
    ------
    KeyCollisionError
        If they are not the same; it shows both sets and the ways out.
    ParameterError
        If the params have keys that the model has not.
    """
    if schema.has_objects:
        with unadvised(params.values()):
            _verify_one_by_one(schema, rows, stored, params)
        return
    try:
        if params.items() <= stored.items():
            return  # most hits
    except Exception:  # noqa: BLE001, S110  (the comparison may be anybody's: one by one)
        pass
    _verify_one_by_one(schema, rows, stored, params)


def _verify_one_by_one(
    schema: Schema, rows: Rows[Base], stored: Mapping[str, object], params: Mapping[str, object]
) -> None:
    for name, asked in params.items():
        try:
            if stored[name] == asked:
                continue
        except Exception:  # noqa: BLE001, S110  (an array compares element by element; others as they like)
            pass
        if name not in RESERVED:
            _verify_closely(schema, rows, stored, params, name)


def _verify_closely(
    schema: Schema, rows: Rows[Base], stored: Mapping[str, object], params: Mapping[str, object], name: str
) -> None:
    if name in schema.fields and same(stored[name], params[name]):
        return
    got, values = stored.get(name), schema.fit({name: params[name]}, complete=False)
    if _stored_alike(schema, rows, name, got, values[name]):
        return
    raise collision(schema, str(stored["id"]), {key: stored[key] for key in schema.fields}, params, name)


def _stored_alike(schema: Schema, rows: Rows[Base], name: str, got: object, asked: object) -> bool:
    """Tell whether the database holds both alike: it may have less than Python, such as no time zones."""
    try:
        return bool(rows.binding.bound(name, got) == rows.binding.bound(name, asked))
    except ParameterError:
        return False


MOST_LEFT_OUT = 8  # columns that a set may have left out: all ways to do so are tried


def may_have(schema: Schema, hasher: Hasher, stored: Mapping[str, object], id: str) -> bool:
    """Tell whether the values of a row may have its key: they do not tell 1 from 1.0, or what was left out.

    Other rules than those of now may have made it. Of an id that is no hash nobody can tell.
    """
    if not is_hash(id) or form_of(schema, hasher, stored, id) is not None:
        return True
    return is_of_before(schema, hasher, stored, id)


def is_of_before(schema: Schema, hasher: Hasher, stored: Mapping[str, object], id: str) -> bool:
    """Tell whether other rules than those of now have made a key of the values of its row."""
    return (
        is_hash(id)
        and form_of(schema, hasher, stored, id) is None
        and bool(find_former_set(schema, hasher, stored, id))
    )


def is_hash(id: str) -> bool:
    """Tell whether an id looks like one that was made of params, and not like one that a user gave."""
    return re.fullmatch("[0-9a-f]{16}", id) is not None


def form_of(schema: Schema, hasher: Hasher, stored: Mapping[str, object], id: str) -> dict[str, object] | None:
    """Return the set, as it was asked for, that has an id, given what its row holds of it; None if none is found."""
    values = {name: stored[name] for name in schema.fields if not schema.fields[name].generated}
    whole = {n: int(v) for n, v in values.items() if isinstance(v, float) and v.is_integer()}
    real = {n: float(v) for n, v in values.items() if type(v) is int and isinstance(schema.fields[n].type, sa.Integer)}
    optional = [name for name in values if not schema.fields[name].required][:MOST_LEFT_OUT]
    forms = [values, {**values, **whole}, {**values, **real}]
    for count in range(len(optional) + 1):
        for left_out in itertools.combinations(optional, count):
            for form in forms:
                asked = {name: value for name, value in form.items() if name not in left_out}
                try:
                    if hasher(asked) == id:
                        return asked
                except ParameterError:
                    continue
    return None


def collision(
    schema: Schema, id: str, stored: Mapping[str, object], asked: Mapping[str, object], name: str
) -> KeyCollisionError:
    """Return the error that shows two sets with one key, and the ways out."""
    one, other = stored.get(name), asked.get(name)
    return KeyCollisionError(
        f"two different sets of {schema.name} share the key {id!r}: they differ in {name!r}, which is {spelled(one)} "
        f"in the one and {spelled(other)} in the other. Stored: {named(stored.items())[:400]}. Asked: "
        f"{named(asked.items())[:400]}. {_way_out(id, asked, name, one, other)}"
    )


def _way_out(id: str, asked: Mapping[str, object], name: str, one: object, other: object) -> str:
    if "id" in asked:
        return "Give one of them another 'id'"
    if (numbers := differing_floats(one, other)) is None:
        return (
            f"Their values of {name!r} print alike, and keys are made of what is printed: pass what tells them apart "
            "instead, such as a name, a seed or a checksum, or pass an explicit 'id'"
        )
    ways = (
        f"rescale the unit of {name!r} so that its values differ in their first 12 decimals, pass an explicit 'id', or "
        "make the store with float_rounding='significant'"
    )
    if max(map(abs, numbers)) < NOISE:
        return (
            "Both are 0 but for noise, as np.arange and np.linspace leave it: round the grid, as in np.round(grid, 12) "
            f"+ 0.0 (and delete({{'id': {id!r}}}) if the run that is stored was meant for 0). If they are meant so, "
            + ways
        )
    return ways[0].upper() + ways[1:]


def differing_floats(one: object, other: object) -> tuple[float, float] | None:
    """Return the first two floats, at one place of two values, that differ; None if something else does."""
    one, other = plain(one), plain(other)
    if isinstance(one, float) and isinstance(other, float):
        return None if same(one, other) else (one, other)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = list(zip(one, other, strict=False))
    elif isinstance(one, Mapping) and isinstance(other, Mapping):
        pairs = [(one[at], other[at]) for at in one if at in other]
    else:
        return None
    return next((found for pair in pairs if (found := differing_floats(*pair)) is not None), None)
