"""Numbers of bytes, as people write and read them."""

import re
from decimal import Decimal

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.ASCII)


def parse_size(text: str) -> int:
    """Return how many bytes `"4GB"`, `"500MB"` or `"1.5GiB"` is; `"100"` is 100.

    Raises
    ------
    ValueError
        If the text is not a size.
    """
    match = _SIZE.fullmatch(text.lower())
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"not a size: {text:.80}")
    return int(Decimal(match[1]) * (_BINARY if match[3] else _UNITS)[match[2]])


def amount(size: int) -> str:
    """Return a number of bytes as a person would say it."""
    for factor, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 999.5 * factor else f"{size / factor:,.0f} {unit}"
    return f"{size} bytes"
