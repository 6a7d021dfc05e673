"""When two values are the same but for the noise of rounding.

Numbers may differ by a relative 1e-9, which is more than rounding to 12 digits changes in numbers near 1, and less
than any two numbers that a user would tell apart. Texts are compared only of values that their text identifies:
others may print alike and be different, so they are compared by what they are made of, as pickle sees it.
"""

import contextlib
import ipaddress
import math
import sys
import types
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from entropic.params.keys import normalise, plain, round_decimal

RELATIVE = 1e-9
_TIMES = (date, datetime, time, timedelta, timezone, ZoneInfo)  # not every zone: tzrange of dateutil prints no hours
_ADDRESSES = (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)
_AS_THEY_ARE = (str, int, float)  # whatever a class derived from them prints
_TOLD = (*_AS_THEY_ARE, bytes, bytearray, complex, Decimal, Fraction, UUID, PurePath, range, *_TIMES, *_ADDRESSES)
_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
_KNOWN = ("datetime", "decimal", "fractions", "ipaddress", "pandas", "pathlib", "uuid", "zoneinfo")
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def same(one: object, other: object) -> bool:
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
    if _are_equal(one, other):
        return True
    if is_told_by_text(one) and is_told_by_text(other):
        return bool(normalise(one, round_decimal, ()) == normalise(other, round_decimal, ()))
    return _made_alike(one, other, {})


def is_told_by_text(value: object) -> bool:
    """Tell whether two values of this type that print alike are surely the same."""
    if value is None or isinstance(value, _AS_THEY_ARE):
        return True
    kind = type(value)
    return isinstance(value, _TOLD) and (str(kind.__module__).split(".")[0] in _KNOWN or not _prints_its_own(kind))


def _prints_its_own(kind: type) -> bool:
    """Tell whether a class derived from one of those prints something else: a day, say, of a time."""
    known: Any = next(base for base in kind.__mro__ if base in _TOLD)
    return bool(kind.__str__ is not known.__str__ or kind.__repr__ is not known.__repr__)


@contextlib.contextmanager
def unadvised(values: Iterable[object]) -> Iterator[None]:
    """Silence what scipy says of comparing sparse matrices, while these are compared: it is not its user who does.

    The filters of warnings are those of all threads, so they are touched only where there may be such a matrix.
    """
    advice = getattr(sys.modules.get("scipy.sparse"), "SparseEfficiencyWarning", None)
    if advice is None or all(type(value) in _PLAIN for value in values):
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", advice)
        yield


def _are_equal(one: object, other: object) -> bool:
    try:
        if type(one) in _PLAIN and type(other) in _PLAIN:
            return bool(one == other)
        with unadvised((one, other)):
            return bool(one == other)
    except Exception:  # noqa: BLE001  (arrays have no truth value, and the comparison may be anybody's)
        return False


def _made_alike(one: Any, other: Any, seen: dict[tuple[int, int], Any]) -> bool:
    """Tell whether two objects are of one type and made of the same parts, whatever they print."""
    if one is other:
        return True
    if type(one) is not type(other) or isinstance(one, _BY_NAME):
        return False
    if isinstance(one, _PLAIN):
        return bool(one == other or (one != one and other != other))
    pair = (id(one), id(other))
    if pair in seen:  # a circle: what differs is found elsewhere
        return True
    seen[pair] = one, other  # kept, since the id of what is gone is given to the next
    if isinstance(one, set | frozenset):  # whose order is another in each process
        return _are_equal(one, other)
    if type(one) is dict and one.keys() == other.keys():
        return all(_made_alike(value, other[name], seen) for name, value in one.items())
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(_made_alike(a, b, seen) for a, b in zip(one, other, strict=True))
    try:
        parts, others = _parts(one), _parts(other)
    except Exception:  # noqa: BLE001  (what cannot be taken apart, no pickle can hold)
        return False
    return _made_alike(parts, others, seen)


def _parts(value: object) -> list[object]:
    """Return what pickle makes an object of again; the order of a dict's items matters to it alone."""
    if type(value) is dict:
        return list(value.items())
    made = value.__reduce_ex__(4)
    return [list(part) if isinstance(part, Iterator) else part for part in (made if type(made) is tuple else [made])]
