"""Compact JSON, quickly."""

import json
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring_ascii
from json.scanner import make_scanner
from typing import Any, cast

_make: Any = getattr(json.encoder, "c_make_encoder", None)  # None where there is no C, as in PyPy


def _not_json(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _encoder() -> Callable[[Any, int], Iterable[str]]:
    """Return what `json.dumps` makes anew for every call."""
    if _make is None:
        return lambda value, _: json.JSONEncoder(separators=(",", ":")).iterencode(value)
    encode: Callable[[Any, int], Iterable[str]] = _make(
        *(None, _not_json, encode_basestring_ascii, None, ":", ",", False, False, True)
    )
    return encode


_encode = _encoder()


def compact(value: object) -> str:
    """Return a value as JSON without white space."""
    return "".join(_encode(value, 0))


_scan = cast(Any, make_scanner)(json.JSONDecoder())


def load_json(text: str | bytes | None) -> Any:
    """Decode what was encoded here, without the search for white space that takes half of `json.loads`."""
    if text is None:
        return None
    try:
        value, end = _scan(text, 0)
    except StopIteration:  # its word for what is not JSON
        return json.loads(text)
    except TypeError:
        if isinstance(text, bytes):  # as SQLite keeps some numbers
            return json.loads(text)
        raise
    return value if end == len(text) else json.loads(text)
