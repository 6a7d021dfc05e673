"""What in the database was not made by entropic: every field that becomes a name, a path, a process or a time.

A claim with a flaw acts on nothing: `Ledger.lock` and `find` refuse it, whatever reads many leaves it out, and
`Store.check` says what is wrong (`tests/property/test_hostile_input.py`).
"""

import json
import math
from collections.abc import Callable
from typing import Any

from entropic.support import names

_STATES = ("idle", "running", "deleting", "failed")
_LATEST = 253_402_300_799  # the end of the year 9999, which is the last that a date can be of


def flaw(claim: Any) -> str | None:
    """Return what is wrong with a `Claim`, as a sentence that names its field; None if nothing is."""
    for name, is_right in _FIELDS.items():
        value = getattr(claim, name)
        if not is_right(value):
            return f"its {name} is {value!r:.80}, which entropic does not write"
    if claim.path is not None and not names.is_place(claim.id, claim.path):
        return f"its path is {claim.path!r:.80}, which is not a place of its result"
    return None


def claims_place(id: Any, path: Any, published: Any) -> bool:
    """Tell whether what the ledger says of a published result names a file of that id, and an attempt."""
    return _is_text(id) and names.is_place(id, path) and names.is_one(names.ATTEMPT, published)


def sound_origin(environment: Any, code: Any, cpu_seconds: Any, peak_memory: Any) -> tuple[Any, Any, Any, Any]:
    """Return what the ledger says of where a result comes from, without what entropic does not write."""
    took = cpu_seconds if _is_number(cpu_seconds) and cpu_seconds >= 0 else None
    return sound_number(environment), sound_number(code), took, sound_number(peak_memory)


def sound_number(value: Any) -> int | None:
    """Return what stands for an environment or some code, or counts bytes; None if it is no such number."""
    return value if _is_whole(value) and value >= 0 else None


def is_sound_audit(row: Any) -> bool:
    """Tell whether entropic may have written what came of a run that was done again."""
    id, attempt, at, host, agreed, told = row
    is_time, are_texts = _is_whole(at) and _is_seconds(at / 1e6), all(map(names.is_text, (id, host, told)))
    return is_time and are_texts and _is_flag(agreed) and _or_null(names.is_text)(attempt)


def is_sound_digest(attempt: Any, sha256: Any, found: Any) -> bool:
    """Tell whether entropic may have written what is recorded of the bytes of a result."""
    return names.is_text(attempt) and names.is_one(names.SHA256, sha256) and _or_null(names.is_text)(found)


def is_sound_mark(after: Any, compared: Any, without: Any, began: Any) -> bool:
    """Tell whether entropic may have written how far a comparison of all results has come."""
    counts = _is_whole(compared) and _is_whole(without) and compared >= 0 and without >= 0
    return names.is_text(after) and counts and _is_seconds(began)


def _is_seconds(value: Any) -> bool:
    """Tell whether something is a time in seconds since 1970 that can be said as a date."""
    return _is_number(value) and 0 <= value <= _LATEST


def _is_text(value: object) -> bool:
    return names.is_text(value) and value != ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_flag(value: object) -> bool:
    return isinstance(value, int) and value in (0, 1)


def _is_attempt(value: object) -> bool:
    # That of a delete says whose it is.
    return names.is_one(rf"{names.ATTEMPT}(?:\.{names.WORKER})?", value)


def _are_keys(text: Any) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return False
    return isinstance(found, list) and all(
        isinstance(one, list) and len(one) == 2 and all(map(_is_text, one)) for one in found
    )


def _or_null(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "id": _is_text,
    "model": _is_text,
    "attempt": _is_attempt,
    "state": lambda value: value in _STATES,
    "owner": _or_null(lambda value: names.is_one(names.WORKER, value)),
    "since": _or_null(_is_seconds),
    "lease_until": _or_null(lambda value: _is_number(value) and value >= 0),
    "waits_for": _or_null(_are_keys),
    "published": _or_null(lambda value: names.is_one(names.ATTEMPT, value)),
    "size": _or_null(lambda value: _is_whole(value) and value >= -1),  # -1: `ledger.DISTRUSTED`
    "mtime_ns": _or_null(_is_whole),
    "extra": _or_null(_is_flag),
    "registered": _or_null(names.is_recorded_path),
}
