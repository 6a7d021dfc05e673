"""Keys that were made by other rules than those of now, and the sets that they belong to.

entropic 2.3.0 hashed a number of numpy as its text, so `np.int64(5)` and 5 were two sets; a whole number of a parameter
that was retyped may have been written 2.0. A key is known for one of these only if the values of its row make it.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from entropic.errors import ParameterError
from entropic.params.keys import ROUNDINGS, Hasher
from entropic.params.model import Schema

MOST_TEXTS = 6  # numbers that may have been numpy's: all ways are tried; of more all, all but one, and one
MOST_APART = 3  # of these whole ones, each of which may have been an int or a float
MOST_ALL_APART = 8  # of them where all numbers are texts, which is likely
MOST_LEFT_OUT = 4
_Form = tuple[dict[str, object], dict[str, object]]


def find_former_set(schema: Schema, hasher: Hasher, stored: Mapping[str, object], id: str) -> dict[str, object] | None:
    """Return the set, as it would be asked for now, of a key that other rules have made; None if none of them has.

    Parameters
    ----------
    stored
        What the row of that key holds.
    """
    own = {name: stored[name] for name, field in schema.fields.items() if not field.generated}
    makers = [_hasher(rounding) for rounding in dict.fromkeys((hasher.rounding, *ROUNDINGS))]
    for hashed, meant in _forms(schema, own):
        for make in makers:
            try:
                if _key(schema, hashed, make) == id:
                    return meant
            except ParameterError:
                continue
    return None


def former_key(schema: Schema, params: Mapping[str, object], rounding: str) -> str:
    """Return the key that a set would have if each way of writing it had one, and nothing had been retyped."""
    return _key(schema, params, _hasher(rounding))


@functools.cache
def _hasher(rounding: str) -> Hasher:
    """Return the one of each rounding, which knows the shapes of the sets that it has seen."""
    return Hasher(rounding)


def _key(schema: Schema, params: Mapping[str, object], make: Hasher) -> str:
    changed = schema.changed
    return make(changed.hashed(changed.with_removed(params), make.round, retyped=False))


def _forms(schema: Schema, own: Mapping[str, Any]) -> Iterator[_Form]:
    """Yield the ways in which a set may have been hashed, and what each means now; the likely ones first."""
    numbers = [name for name, value in own.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    whole = {n: int(own[n]) for n in numbers if isinstance(own[n], float) and own[n].is_integer()}
    real = {n: float(own[n]) for n in numbers if isinstance(own[n], int)}
    other: dict[str, int | float] = {**whole, **real}
    optional = [name for name in own if not schema.fields[name].required][:MOST_LEFT_OUT]
    for texts in _texts(numbers):
        flexible = [name for name in texts if name in other]
        most = MOST_ALL_APART if len(texts) == len(numbers) else MOST_APART
        all_forms = [own, {**own, **whole}, {**own, **real}]
        forms = all_forms[:1] if len(flexible) == len(other) <= most else all_forms  # they are apart then
        for left_out in _subsets(optional):
            for form in forms:
                for apart in _subsets(flexible) if len(flexible) <= most else [()]:
                    written = {**form, **{n: other[n] if form[n] is own[n] else own[n] for n in apart}}
                    meant = {name: value for name, value in written.items() if name not in left_out}
                    yield {name: str(value) if name in texts else value for name, value in meant.items()}, meant


def _texts(numbers: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield which of some numbers may have been hashed as texts: all of them, most often."""
    yield tuple(numbers)
    if numbers:
        yield ()
    counts = range(len(numbers) - 1, 0, -1)
    for count in counts if len(numbers) <= MOST_TEXTS else (len(numbers) - 1, 1):
        yield from itertools.combinations(numbers, count)


def _subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    for count in range(len(names) + 1):
        yield from itertools.combinations(names, count)
