"""The hot path: from a key to its row in one statement and one look at the file."""

import os
import stat
from typing import Any

from entropic.db.ledger import RUNNING
from entropic.files.measure import measure
from entropic.parts import Parts

Look = tuple[Any, Any]  # the raw row of a hit, or the raw row of a suspect; at most one of them


def read(parts: Parts[Any], id: str) -> Look:
    """Read a row and its claim; return the row if its file is as recorded, and as a suspect if it is not."""
    raw = parts.rows.read(id)
    return (None, None) if raw is None else judge(parts, raw)


def judge(parts: Parts[Any], raw: Any) -> Look:
    """Glance at what is under way for a raw row, and compare its file with what was recorded."""
    attempt, state, published, size, mtime_ns, _, registered = parts.rows.claim_of(raw)
    if state == RUNNING and parts.is_finished(parts.rows.id_of(raw), attempt):
        return None, None  # a newer result lacks just its publication
    path = parts.rows.file_of(raw)
    try:
        seen = os.stat(path)
    except OSError:
        return None, raw
    if seen.st_size == size and seen.st_mtime_ns == mtime_ns and not stat.S_ISDIR(seen.st_mode):
        return raw, None  # most hits
    found = measure(path)
    if found is None or (size is not None and found.size != size):
        return None, raw
    if published is not None and registered is None and found.mtime_ns != mtime_ns:
        return None, raw
    return raw, None
