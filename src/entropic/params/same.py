"""When two values are the same but for the noise of rounding.

Numbers may differ by a relative 1e-9, which is more than rounding to 12 digits changes in numbers near 1, and less
than any two numbers that a user would tell apart.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from entropic.errors import ParameterError
from entropic.params.keys import normalise, plain, round_decimal

RELATIVE = 1e-9


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
        return bool(one == other) or normalise(one, round_decimal, ()) == normalise(other, round_decimal, ())
    except (ParameterError, ValueError, DeprecationWarning):  # a warning, as an error, of numpy 1 for empty arrays
        return False
