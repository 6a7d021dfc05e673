"""What tells whether stored values are still those that were stored, in whatever form a database gives them back."""

import json
import zlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

_LITERAL = {int, str, bytes, type(None)}  # what is in its canonical form


def sorted_json(text: object) -> object:
    """Return JSON in one form: MySQL gives it back in its own, and SQLite keeps a bare number as a number."""
    value = json.loads(text) if isinstance(text, str) else text
    if isinstance(value, int | float) and not isinstance(value, bool):
        return canonical(value)
    return json.dumps(value, sort_keys=True) if isinstance(text, str) else text


def checksum(values: Iterable[object]) -> int:
    """Return a CRC of stored values, alike for values that a database gives back in another way (`canonical`)."""
    same = [
        value if (kind := type(value)) in _LITERAL or (kind is float and not value.is_integer()) else canonical(value)  # type: ignore[attr-defined]
        for value in values
    ]
    return checksum_of_canonical(same)


def checksum_of_canonical(values: Iterable[object]) -> int:
    """Return the same of values that are their canonical form: whole numbers that are no floats, other floats, text."""
    return zlib.crc32(repr(list(values)).encode("utf-8", "backslashreplace"))


def canonical(value: object) -> object:
    """Return one form of values that databases take for the same.

    2 and 2.0 are one number, since SQLite stores either as the other; MariaDB knows `False` as 0, a time of day as a
    duration, and fills decimals up with zeros.
    """
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Decimal):
        if not value.is_finite():
            return float(value)
        if value == value.to_integral_value():
            return int(value)
        return float(value) if Decimal(float(value)) == value else f"{value:f}".rstrip("0")
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, time):
        return canonical(datetime.combine(date.min, value.replace(tzinfo=None)) - datetime.min)
    if isinstance(value, datetime):
        return str(value if value.tzinfo is None else value.astimezone(UTC))
    if isinstance(value, date | UUID):
        return str(value)
    return value
