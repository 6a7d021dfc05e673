"""The folder by which a sweep and the tasks of its jobs hear of each other: names and renames, and no server.

::

    luggage                     what each task needs first: the settings of the script, and the runner
    <number>.todo               a bundle of sets for whoever takes it, by a rename: only one can
    <number>.again              a set that took longer than its job had left: for a task that has nearly all of its time
    <number>.<task>.doing       the same, taken
    <count>.<task>.said         what has become of sets: a file for many, if they are short
    <task>.alive                a sign of life, renewed now and then; `sweep.alive` is that of the sweep
    end                         nothing is wanted any more
    left                        no sweep waits for these jobs: they go on until no bundle is left
    index                       then: which sets are in which bundle

`<task>` is `<job>-<restart>-<process>`, so that a name tells which job, and which start of it, a bundle went to.

It is a workspace of the sweep's process: it goes with the sweep and, should that be killed, as every workspace of a
dead process. (That of jobs for which no sweep waits is a folder of its own: `submission`.) Whatever is unpickled out of
it is sealed with a key that only the sweep and its jobs know, since the results folder may be anybody's to write in:
`test_what_somebody_puts_into_the_spool_is_not_unpickled`.
"""

import contextlib
import errno
import hashlib
import hmac
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from entropic.files.subfolder import at, content, put
from entropic.support.background import Background

BEAT_SECONDS = 10.0  # between two signs of life
SILENT_SECONDS = 120.0  # without one
SWEEP, END, LUGGAGE, LEFT, INDEX = "sweep", "end", "luggage", "left", "index"
JOB = r"[0-9]{1,12}(?:_[0-9]{1,9})?"
_TASK = rf"(?P<task>(?P<job>{JOB})-(?P<restart>[0-9]{{1,6}})-[0-9]{{1,9}})"
_NAME = re.compile(rf"(?:(?P<number>[0-9]{{1,18}})\.)?(?:{_TASK}\.)?(?P<kind>todo|again|doing|said|alive)")
_TASK_ALONE = re.compile(_TASK)
_NO_FOLDER = {errno.ENOTDIR, errno.ELOOP}  # but a file, or a link, that somebody has put in its place
_SEAL = hashlib.sha256().digest_size


class Forged(Exception):
    """A file in the spool is not what the sweep, or a task of its jobs, has put there."""


class Name(NamedTuple):
    """What a name in the spool says."""

    kind: str
    number: int
    task: str


class Spool:
    """One end of the folder.

    Parameters
    ----------
    folder
        Where it is.
    key
        With which everything in it is sealed.
    """

    def __init__(self, folder: str, key: bytes) -> None:
        self.folder, self._key = folder, key

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder, which is no link; anew each time, since a network file system then looks what is in it."""
        try:
            with at(self.folder) as folder:
                yield folder
        except OSError as error:
            is_link = error.errno in _NO_FOLDER and error.filename == self.folder
            if not is_link and error.errno != errno.ESTALE:  # removed while it was open here, on a network
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.folder) from error

    def listing(self) -> list[Name]:
        """Return what is there, in the order of the numbers."""
        with self._opened() as folder:
            found = [_NAME.fullmatch(name) for name in os.listdir(folder)]
        names = [Name(one["kind"], int(one["number"] or 0), one["task"] or "") for one in found if one]
        return sorted(names, key=lambda one: (one.number, one.task))

    def put(self, name: str, data: bytes) -> None:
        """Put a sealed file there, all of it at once."""
        new = f".{name}.{threading.get_ident()}.new"  # two threads give signs of life
        with self._opened() as folder:
            put(folder, name, self._seal(name, data) + data, new)

    def get(self, name: str, sealed_as: str = "") -> bytes:
        """Return what a file holds.

        Parameters
        ----------
        sealed_as
            The name by which it was put, if it was renamed.

        Raises
        ------
        Forged
            If nobody who has the key has put it there.
        """
        with self._opened() as folder:
            text = content(name, folder)
        seal, data = text[:_SEAL], text[_SEAL:]
        if not hmac.compare_digest(seal, self._seal(sealed_as or name, data)):
            raise Forged(f"{name} in {self.folder} is not what this sweep has put there")
        return data

    def _seal(self, name: str, data: bytes) -> bytes:
        return hmac.digest(self._key, f"{name}\0".encode() + data, "sha256")

    def rename(self, name: str, to: str) -> bool:
        """Rename a file, which one of those who try can; tell whether that was this one."""
        try:
            with self._opened() as folder:
                os.rename(name, to, src_dir_fd=folder, dst_dir_fd=folder)
        except FileNotFoundError:
            return self.has(to)  # a network folder does it, loses its answer, and is asked again
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, as far as they are there."""
        gone = list(names)
        with contextlib.suppress(FileNotFoundError), self._opened() as folder:
            for name in gone:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        return os.path.lexists(f"{self.folder}{os.sep}{name}")

    def beat(self, who: str) -> None:
        """Give a sign of life.

        By a new file and a rename, so that the folder has changed from here: a network file system then asks for what
        is in it, in place of remembering that.
        """
        self.put(f"{who}.alive", b"")

    def silence(self, who: str, own: str) -> float:
        """Return how many seconds before the latest sign of `own` that of somebody was: by one clock, the folder's."""
        times = (os.stat(f"{self.folder}{os.sep}{name}.alive").st_mtime for name in (own, who))
        return next(times) - next(times)


class Heart:
    """Gives signs of life from a thread, whatever else this process does."""

    def __init__(self, spool: Spool, who: str) -> None:
        self._spool, self._who = spool, who
        spool.beat(who)
        self._thread = Background("entropic-spool", self._beat)
        self._thread.start()

    def _beat(self, turn: threading.Lock) -> None:
        while not turn.acquire(timeout=BEAT_SECONDS):
            try:
                self._spool.beat(self._who)
            except OSError:  # a folder on a network that is away for a moment, or has lost its answer to a rename
                if not os.path.isdir(self._spool.folder):  # it has gone
                    return

    def close(self) -> None:
        """Give no more."""
        self._thread.close()


class Patience:
    """Pauses between two looks at the folder: short ones while something happens, longer ones while nothing does."""

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest, self._longest = shortest, longest
        self._pause = shortest

    def news(self) -> None:
        """Something has happened."""
        self._pause = self._shortest

    def wait(self) -> None:
        """Wait for a moment."""
        time.sleep(self._pause)
        self._pause = min(self._longest, 1.5 * self._pause)


def job_of(task: str) -> tuple[str, int]:
    """Return the job that a task is of, and how often that had been started again by then."""
    found = _TASK_ALONE.fullmatch(task)
    assert found is not None, task
    return found["job"], int(found["restart"])
