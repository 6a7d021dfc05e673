"""A whole folder as it is, to be compared with what it was before."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


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


@contextlib.contextmanager
def open_to_all(folder: Path) -> Iterator[Path]:
    """Copy a folder to where another user may look at it: not below that of pytest, which is for its user alone."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    above = Path(tempfile.mkdtemp(prefix="entropic-open-"))
    above.chmod(0o755)
    try:
        shutil.copytree(folder, above / "project")
        (above / "project").chmod(0o755)
        yield above / "project"
    finally:
        shutil.rmtree(above)
