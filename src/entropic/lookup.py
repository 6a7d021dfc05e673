"""The hot path: from a key to its row in one statement and one look at the file."""

import os
import stat
from typing import Any

from entropic.files.measure import measure
from entropic.parts import Parts

# The raw row of a key, and where its file lies if that is as recorded: then this is a hit, else a suspect. None and
# None where there is no row, or a newer result that lacks just its publication.
Look = tuple[Any, str | None]


def read(parts: Parts[Any], id: str) -> Look:
    """Read a row and its claim, and look at its file."""
    raw = parts.rows.read(id)
    return (None, None) if raw is None else judge(parts, raw)


def judge(parts: Parts[Any], raw: Any) -> Look:
    """Glance at what is under way for a raw row, and compare its file with what was recorded."""
    rows = parts.rows
    running, size, mtime_ns, place, registered = raw[-5:]
    if running is not None and parts.is_finished(rows.id_of(raw), running):
        return None, None
    path = rows.file_of(raw)
    try:
        seen = os.stat(path)
    except OSError:
        return raw, None
    if seen.st_mtime_ns == mtime_ns and seen.st_size == size and not stat.S_ISDIR(seen.st_mode):
        return raw, path  # most hits
    found = measure(path)
    if found is None or (size is not None and found.size != size):
        return raw, None
    if place is not None and not registered and found.mtime_ns != mtime_ns:
        return raw, None
    return raw, path


def is_touched(parts: Parts[Any], suspect: Any) -> bool:
    """Tell whether a suspect's file has its size, and only another time: most likely the project was copied."""
    _, size, _, place, registered = parts.rows.seen_of(suspect)
    found = measure(parts.rows.file_of(suspect))
    return place is not None and not registered and found is not None and found.size == size
