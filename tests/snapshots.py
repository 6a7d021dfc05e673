"""A whole folder as it is, to be compared with what it was before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return of every name below a folder, and of the folder itself, its kind, mode, owner, size, mtime and content.

    Of the memory that SQLite's processes share, only that it is there: every reader leaves a mark in it.
    """
    found = {}
    for name in [".", *sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))]:
        path, seen = folder / name, os.lstat(folder / name)
        if name.endswith("-shm"):
            found[name] = (oct(seen.st_mode), seen.st_uid, seen.st_ino)
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        size = seen.st_size if content else 0
        found[name] = (oct(seen.st_mode), seen.st_uid, seen.st_ino, size, seen.st_mtime_ns, content)
    return found
