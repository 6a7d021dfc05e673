"""Values as drivers take them, as JSON has them: in sidecars, and in failures."""

import base64
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID


def packed(values: dict[str, Any]) -> dict[str, object]:
    """Return values, as the driver stores them, as JSON has them."""
    return {name: _pack(value) for name, value in values.items()}


def unpacked(values: dict[str, Any]) -> dict[str, object]:
    """Return what `packed` was given."""
    return {name: _unpack(value) if isinstance(value, dict) else value for name, value in values.items()}


def _pack(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, str | int | float | None):
        return value
    for kind, (name, pack, _) in PACKED.items():
        if isinstance(value, kind):
            return {name: pack(value)}
    if isinstance(value, list | dict):
        return {"json": value}
    raise TypeError(f"{type(value).__name__} is not JSON")


def _unpack(value: dict[str, Any]) -> object:
    ((name, text),) = value.items()
    return _UNPACK[name](text)


PACKED: dict[type, tuple[str, Callable[[Any], object], Callable[[Any], object]]] = {
    bytes: ("base64", lambda value: base64.b64encode(value).decode(), base64.b64decode),
    datetime: ("datetime", datetime.isoformat, datetime.fromisoformat),
    date: ("date", date.isoformat, date.fromisoformat),
    time: ("time", time.isoformat, time.fromisoformat),
    timedelta: (
        "timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: timedelta(*parts),
    ),
    Decimal: ("decimal", str, Decimal),
    UUID: ("uuid", str, UUID),
}


_UNPACK = {"float": float, "json": lambda value: value, **{name: unpack for name, _, unpack in PACKED.values()}}
