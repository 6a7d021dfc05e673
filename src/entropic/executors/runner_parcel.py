"""What a client's workers get of a runner: a small one goes with each bundle, a large one they read, once each.

A large one lies in a workspace of this process, in the results folder, which they share: so it goes when the sweep
ends, and, should the sweep be killed, as every workspace of a dead process.
"""

import functools
import hashlib
import os
import pickle
from typing import NamedTuple

from entropic.executors.pickling import Arrived, unpickled
from entropic.files.staging import Staging
from entropic.files.workspace import Workspace

MOST_WITH_BUNDLE = 32_000  # bytes; from 100 kB on Dask would make a key of its own of them, and share it among sweeps
FILE = "runner.pickle"


class Parcel(NamedTuple):
    """A pickled runner on its way: itself, or where it lies and what it must be."""

    data: bytes
    path: str = ""
    digest: str = ""


class Luggage:
    """A pickled runner, and where it lies while a sweep goes on.

    Parameters
    ----------
    data
        What `travel.pickled` made.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._parcel: Parcel | None = Parcel(data) if len(data) <= MOST_WITH_BUNDLE else None
        self._workspace: Workspace | None = None
        self._pid = os.getpid()

    def parcel(self, staging: Staging) -> Parcel:
        """Return what goes with a bundle; write the rest where workers find it, the first time."""
        if self._parcel is None:
            self._workspace = Workspace(staging)
            path = f"{self._workspace.path}{os.sep}{FILE}"
            with open(path, "wb") as file:
                file.write(self._data)
            self._parcel, self._data = Parcel(b"", path, hashlib.sha256(self._data).hexdigest()), b""
        return self._parcel

    def close(self) -> None:
        """Remove what lies in the folder, unless this is a child that was forked meanwhile."""
        if self._workspace is not None and os.getpid() == self._pid:
            self._workspace.close()
            self._workspace = None


def runner_of(parcel: Parcel) -> Arrived:
    """Return the runner; read and unpickled once per process.

    Raises
    ------
    Exception
        Whatever an import may raise, and if somebody has changed or removed what lay there.
    """
    return _read(parcel.path, parcel.digest) if parcel.path else unpickled(parcel.data)


@functools.lru_cache(maxsize=2)
def _read(path: str, digest: str) -> Arrived:
    with open(path, "rb") as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != digest:  # the folder may be anybody's to write in
        raise pickle.UnpicklingError(f"{path} is not what this sweep has put there")
    return unpickled.__wrapped__(data)
