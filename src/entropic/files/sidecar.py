"""The sidecar: the once-only moment at which an attempt is finished.

It is created exclusively, filled by one write, and never written again. Complete (it parses and ends with a
newline), it says everything that publication needs, so anyone can publish the attempt. Torn, it says nothing, and
its attempt's name is burnt.
"""

import base64
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any
from uuid import UUID

from entropic.files.measure import Measure
from entropic.files.staging import Staging
from entropic.support.compact_json import compact

VERSION = 1


@dataclass(slots=True)  # not frozen, which would make every run a few microseconds slower
class Sidecar:
    """A finished attempt: its result and its row.

    Attributes
    ----------
    key : str
        The key's name in the staging folder.
    values : dict
        The user's columns, as the driver stores them.
    created_at : str
        ISO 8601, naive UTC.
    execution : str
        Which execution of the attempt wrote the result: its name in the staging folder ends with it and the suffix.
    slotted : bool
        Whether its publication moves an old result aside, into its slot.
    extra : bool
        Whether the runner left more files than its result.
    """

    model: str
    id: str
    key: str
    attempt: str
    owner: str
    values: dict[str, Any]
    custom_data: dict[str, Any]
    created_at: str
    execution: str
    suffix: str
    size: int
    mtime_ns: int
    folder: bool
    slotted: bool
    extra: bool

    @property
    def result(self) -> str:
        """The name of the result in the staging folder."""
        return f"{self.key}.{self.attempt}.{self.execution}{self.suffix}"

    @property
    def slot(self) -> str:
        """The name of the slot that a folder, or what replaces one, may have."""
        return f"{self.key}.{self.attempt}.{self.execution}.slot"

    @property
    def files(self) -> str:
        """The name of the folder of extra files in the staging folder."""
        return f"{self.key}.{self.attempt}.{self.execution}.files"

    def matches(self, found: Measure | None) -> bool:
        """Tell whether what lies somewhere is this attempt's result."""
        return found is not None and (found.size, found.mtime_ns) == (self.size, self.mtime_ns)


_JSON = {str, int, float, bool, type(None), dict, list}
_BOOL = {True: "true", False: "false"}


def name(key: str, attempt: str) -> str:
    """Return the name of an attempt's sidecar in the staging folder."""
    return f"{key}.{attempt}.json"


def create(staging: Staging, key: str, attempt: str) -> int:
    """Create an attempt's sidecar and return its descriptor.

    Raises
    ------
    FileExistsError
        If another execution of the attempt was first.
    """
    return os.open(staging.inside(name(key, attempt)), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)


def write(descriptor: int, sidecar: Sidecar, fsync: bool) -> None:
    """Fill a sidecar in one write and close it."""
    try:
        text = encode(sidecar)
        if os.write(descriptor, text) != len(text):
            raise OSError(28, "No space left on device")  # a short write: the disk, or a limit, is full
        if fsync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode(sidecar: Sidecar) -> bytes:
    """Return the text of a sidecar."""
    values = sidecar.values
    # In a third of the time that it takes to encode a dict of all this. The names are ours, and need no quoting.
    return (
        f'{{"entropic":{VERSION},"model":{_quoted(sidecar.model)},"id":{_quoted(sidecar.id)},"key":"{sidecar.key}",'
        f'"attempt":"{sidecar.attempt}","owner":"{sidecar.owner}",'
        f'"values":{compact(values if _JSON.issuperset(map(type, values.values())) else packed(values))},'
        f'"custom_data":{compact(sidecar.custom_data)},"created_at":"{sidecar.created_at}",'
        f'"execution":"{sidecar.execution}","suffix":{_quoted(sidecar.suffix)},"size":{sidecar.size},'
        f'"mtime_ns":{sidecar.mtime_ns},"folder":{_BOOL[sidecar.folder]},"slotted":{_BOOL[sidecar.slotted]},'
        f'"extra":{_BOOL[sidecar.extra]}}}\n'
    ).encode()


def decode(text: bytes) -> Sidecar | None:
    """Return what a sidecar says; None if it is torn."""
    if not text.endswith(b"\n"):
        return None
    try:
        fields = json.loads(text)
        fields.pop("entropic")
        fields["values"] = unpacked(fields["values"])
        return Sidecar(**fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def read(staging: Staging, key: str, attempt: str) -> Sidecar | None:
    """Return what an attempt's sidecar says; None if there is none, or it is torn."""
    try:
        with open(staging.inside(name(key, attempt)), "rb") as file:
            return decode(file.read())
    except FileNotFoundError:
        return None


def exists(staging: Staging, key: str, attempt: str) -> bool:
    """Tell whether an attempt has a sidecar, complete or torn."""
    return os.path.lexists(staging.inside(name(key, attempt)))


def discard(staging: Staging, key: str, attempt: str) -> None:
    """Remove the sidecar of an attempt that is over."""
    try:
        os.unlink(staging.inside(name(key, attempt)))
    except FileNotFoundError:
        pass


def packed(values: dict[str, Any]) -> dict[str, Any]:
    """Return values, as the driver stores them, as JSON has them."""
    return {name: _pack(value) for name, value in values.items()}


def unpacked(values: dict[str, Any]) -> dict[str, Any]:
    """Return what `packed` was given."""
    return {name: _unpack(value) if isinstance(value, dict) else value for name, value in values.items()}


def _pack(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, str | int | float | None):
        return value
    for kind, (name, pack, _) in _PACKED.items():
        if isinstance(value, kind):
            return {name: pack(value)}
    raise TypeError(f"{type(value).__name__} is not JSON")


def _unpack(value: dict[str, Any]) -> Any:
    ((name, text),) = value.items()
    return _UNPACK[name](text)


# What drivers take beside JSON's types: the name of each, to text, and back. A datetime is a date, and comes first.
_PACKED: dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
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
_UNPACK = {"float": float, **{name: unpack for name, _, unpack in _PACKED.values()}}
