"""Keys that were made by other rules than those of now, and the sets that they belong to.

entropic 2.3.0 hashed a number of numpy as its text, so `np.int64(5)` and 5 were two sets; a whole number of a parameter
that was retyped may have been written 2.0. A key is known for one of these only if the values of its row make it.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from entropic.errors import ParameterError
from entropic.params.keys import ROUNDINGS, Hasher
from entropic.params.model import Schema

MOST_TEXTS = 6  # numbers that may have been numpy's: all ways are tried
MOST_LEFT_OUT = 4
_Form = tuple[dict[str, object], dict[str, object]]


def asked_before(schema: Schema, hasher: Hasher, stored: Mapping[str, object], id: str) -> dict[str, object] | None:
    """Return the set, as it would be asked for now, of a key that other rules have made; None if none of them has.

    Parameters
    ----------
    stored
        What the row of that key holds.
    """
    own = {name: stored[name] for name, field in schema.fields.items() if not field.generated}
    for hashed, meant in _forms(schema, own):
        for rounding in dict.fromkeys((hasher.rounding, *ROUNDINGS)):
            try:
                if former_key(schema, hashed, rounding) == id:
                    return meant
            except ParameterError:
                continue
    return None


def former_key(schema: Schema, params: Mapping[str, object], rounding: str) -> str:
    """Return the key that a set would have if each way of writing it had one, and nothing had been retyped."""
    changed, make = schema.changed, Hasher(rounding)
    return make(changed.hashed(changed.with_removed(params), make.round, retyped=False))


def _forms(schema: Schema, own: Mapping[str, Any]) -> Iterator[_Form]:
    """Yield the ways in which a set may have been hashed, and what each means now; the likely ones first."""
    numbers = [name for name, value in own.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    whole = {n: int(own[n]) for n in numbers if isinstance(own[n], float) and own[n].is_integer()}
    real = {n: float(own[n]) for n in numbers if isinstance(own[n], int)}
    optional = [name for name in own if not schema.fields[name].required][:MOST_LEFT_OUT]
    for texts in _subsets(numbers[:MOST_TEXTS]):
        for left_out in _subsets(optional):
            for form in (own, {**own, **whole}, {**own, **real}):
                meant = {name: value for name, value in form.items() if name not in left_out}
                yield {name: str(value) if name in texts else value for name, value in meant.items()}, meant


def _subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    for count in range(len(names) + 1):
        yield from itertools.combinations(names, count)
