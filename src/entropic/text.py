"""Compact JSON, quickly."""

import json
from collections.abc import Callable
from json.encoder import encode_basestring_ascii
from typing import Any

_make: Any = getattr(json.encoder, "c_make_encoder", None)  # None where there is no C, as in PyPy


def _not_json(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _encoder() -> Callable[[Any], str]:
    """Return `json.dumps` without white space; `json.dumps` itself makes a new encoder for every call."""
    if _make is None:
        return json.JSONEncoder(separators=(",", ":")).encode
    encode = _make(None, _not_json, encode_basestring_ascii, None, ":", ",", False, False, True)
    return lambda value: "".join(encode(value, 0))


compact = _encoder()
