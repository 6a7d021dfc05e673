"""The names that entropic makes, as patterns: what is read is one of them, or acts on nothing.

Whoever can write into a shared results folder, or hand over a database, decides what is read from it. So whatever
becomes a name, or a path, is compared with these where it is read: `db/flaws.py`, `files/sidecar.py`,
`files/staging.py`.
"""

import hashlib
import os
import re
import unicodedata
from datetime import datetime
from typing import Any

WORKER = r"[A-Za-z0-9-]{1,64}\.[0-9a-f]{8}\.[0-9]{1,10}\.[0-9]{1,20}\.[0-9]{1,20}"  # a `process.Call`
EXECUTION = rf"{WORKER}-[0-9]{{1,18}}"
ATTEMPT = r"[0-9]{1,18}-[0-9a-f]{8}"
UUID = r"[0-9a-f]{32}"
KEY = r"[0-9a-f]{16}"
SHA256 = r"[0-9a-f]{64}"
LONGEST = 255  # bytes of a name

_DEVICES = r"con|prn|aux|nul|com[0-9]|lpt[0-9]"  # reserved by Windows, with any suffix
_VERBATIM = re.compile(rf"(?!(?:{_DEVICES})\Z)[a-z0-9][a-z0-9_-]{{0,99}}")
_OURS = (".files", ".slot", ".spent")
_FOLDERS = (*_OURS, ".kept")  # whose files may be registered


def is_one(pattern: str, name: object) -> bool:
    """Tell whether something that was read is a text, and one of these names."""
    return isinstance(name, str) and re.fullmatch(pattern, name) is not None


def key_of(model: str, id: str) -> str:
    """Return the name of a key in the staging folder."""
    return hashlib.sha256(f"{model}\0{id}".encode()).hexdigest()[:16]


def number_of(text: str) -> int:
    """Return a number for a text, which every database holds, and which no other text is likely to have."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()[:8]) >> 1


def stem(id: str) -> str:
    """Return what the names of the results of an id begin with: nothing that is hidden, or leads anywhere."""
    if len(id) == 16 and not id.strip("0123456789abcdef"):  # most, sooner than by the pattern
        return id
    return id if _VERBATIM.fullmatch(id) else f"{_readable(id)}={hashlib.sha256(id.encode()).hexdigest()[:16]}"


def _readable(id: str) -> str:
    plain = unicodedata.normalize("NFKD", id).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-")[:40] or "id"


def is_suffix(suffix: object) -> bool:
    """Tell whether something can end the name of a result: it leads nowhere, and is not a name of ours.

    With a `/` it ends the name of a folder, and names the main file in it: `/run.xdmf`.
    """
    if not isinstance(suffix, str) or re.search(r"[\\\0]", suffix):
        return False
    end, slash, main = suffix.partition("/")
    lead = {"", os.curdir, os.pardir}
    if end in _OURS or "/" in main or (slash and (main in lead or end in lead - {""} or end.endswith(_FOLDERS))):
        return False
    return is_text(suffix)


def whole(place: str) -> str:
    """Return the name of all that lies at a place, or is named by a suffix: of the folder, if it has a main file."""
    return place if "/" not in place else place.partition("/")[0]  # most, in a third of the time


def is_place(id: str, place: object) -> bool:
    """Tell whether something is a place that the result of an id may have, with whatever suffix, and number before."""
    if not isinstance(place, str) or not place.startswith(stem(id)):
        return False
    return is_suffix(place.removeprefix(stem(id))) and all(map(is_short, place.split("/")))


def is_short(name: str) -> bool:
    """Tell whether a name is not longer than file systems take it."""
    return len(name.encode()) <= LONGEST


def is_recorded_path(path: Any) -> bool:
    """Tell whether something is a path as a registered file's is recorded: absolute, or below the results folder."""
    if not is_text(path) or not path or "\0" in path:
        return False
    return os.path.isabs(path) or os.pardir not in path.split(os.sep)


_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}"


def is_time(text: Any) -> bool:
    """Tell whether something is a time as `created_at` is written."""
    try:
        return is_one(_TIME, text) and datetime.fromisoformat(text) is not None
    except ValueError:
        return False


def is_text(text: object) -> bool:
    """Tell whether something is a text that a file name, or a database, can hold."""
    try:
        return isinstance(text, str) and text.encode() is not None
    except UnicodeEncodeError:
        return False
