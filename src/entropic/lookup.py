"""The hot path: from a key to its row in one statement and one look at the file."""

import os
import stat
from typing import Any

from entropic.db.ledger import RUNNING
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
    attempt, state, published, size, mtime_ns, _, registered = parts.rows.claim_of(raw)
    if state == RUNNING and parts.is_finished(parts.rows.id_of(raw), attempt):
        return None, None
    path = parts.rows.file_of(raw)
    try:
        seen = os.stat(path)
    except OSError:
        return raw, None
    if seen.st_size == size and seen.st_mtime_ns == mtime_ns and not stat.S_ISDIR(seen.st_mode):
        return raw, path  # most hits
    found = measure(path)
    if found is None or (size is not None and found.size != size):
        return raw, None
    if published is not None and registered is None and found.mtime_ns != mtime_ns:
        return raw, None
    return raw, path
