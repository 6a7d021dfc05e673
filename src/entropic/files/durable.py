"""Waiting for the disk, for stores that ask for it (`fsync=True`)."""

import os


def sync(path: str, deep: bool = True) -> None:
    """Return when a file, or a folder (with all that is in it, if `deep`), is on the disk."""
    if deep and os.path.isdir(path) and not os.path.islink(path):
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.is_symlink():
                    sync(entry.path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
