"""Lengths of time, as people write them."""

import re

_UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)


def parse_duration(text: str) -> float:
    """Return how many seconds `"2h"`, `"1h 30min"`, `"90s"` or `"2w"` is; `"90"` is 90, too.

    Units are s, min (or m), h, d and w, each at most once. A number without one counts as seconds only if it stands
    alone. Too many digits give infinity.

    Raises
    ------
    ValueError
        If it is not a length of time.
    """
    text = text.lower()
    parts: dict[int, float] = {}
    place = 0
    while place < len(text) or not parts:
        part = _PART.match(text, place)
        if part is None:
            raise ValueError(f"not a length of time: {text:.80}")
        is_alone = place == 0 and part.end() == len(text)
        unit = _UNITS.get(part[2] or ("s" if is_alone else ""))
        if unit is None or unit in parts:
            raise ValueError(f"not a length of time: {text:.80}")
        parts[unit] = float(part[1]) * unit
        place = part.end()
    return sum(parts.values())
