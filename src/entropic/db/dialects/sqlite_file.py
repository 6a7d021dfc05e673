"""A SQLite file that is only looked at: how it is opened so that nothing in its folder is made or changed.

SQLite itself reads without a trace only what somebody has open: a reader of a database with a write-ahead log makes
the log, and the memory that belongs to it, where there are none, and leaves them. What nobody has open can be read as
`immutable`, without locks; but then SQLite does not see who begins to write in the meantime. So the file is looked at
before and after each such query, and whatever was read while it changed is read again.
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlsplit

from sqlalchemy.engine.interfaces import DBAPIConnection

from entropic.errors import DatabaseBusy

T = TypeVar("T")

# missing: no file, which reads as an empty database. shared: somebody may have it open, or an unfinished transaction
# is beside it; SQLite's locks work. still: nobody has it open. copied: its log holds what the file lacks, and the
# memory that SQLite needs to read it is not there and must not be made.
How = Literal["missing", "shared", "still", "copied"]
# Not with `readonly_shm`: SQLite would let a store of this very process that writes have no other memory either.
_OPTIONS: dict[How, str] = {"shared": "mode=ro", "still": "mode=ro&immutable=1"}

TICK = 0.02  # s; what was changed less than this ago may be changed again without another time
PAUSE = 0.005  # s between two looks at what is being changed
STARTING = 1.0  # s that another process may take between making its files and filling them
# A reader that must not repair what another process is making, or has left, is told so by these.
_STARTING = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY_RECOVERY,
    sqlite3.SQLITE_READONLY_CANTLOCK,
    sqlite3.SQLITE_READONLY_CANTINIT,
}


class Seen(NamedTuple):
    """How a file can be read, and what it looks like; what is beside it: its log, shared memory and journal."""

    how: How
    file: tuple[int, ...] | None
    beside: tuple[tuple[int, ...] | None, ...] = ()


class _Raw(sqlite3.Connection):
    """A driver connection that knows as what it was opened."""

    seen: Seen


def path_in(name: str) -> str:
    """Return the path of the file that a URL of SQLAlchemy names, which may be a URI of SQLite's."""
    return unquote(urlsplit(name).path) if name.startswith("file:") else name


class ReadOnlyFile:
    """A SQLite file that is only read, by any number of threads.

    Parameters
    ----------
    path
        Need not exist.
    wait
        Seconds that a file which does not come to rest is waited for.
    """

    def __init__(self, path: str, wait: float) -> None:
        self.path, self._wait = path, wait
        self._of_thread = threading.local()
        self._half_done: tuple[int, ...] | None = None  # the journal of a transaction that a dead process left
        self._copy: tuple[Seen, str] | None = None
        self._copying = threading.Lock()
        self._removals: list[weakref.finalize[..., ReadOnlyFile]] = []
        _all.add(self)

    def forget(self) -> None:
        """Begin anew in a forked child: a copy is the parent's to remove.

        Nobody copies at a fork, which waits for all connections that are in use or being opened.
        """
        self._copy = None
        while self._removals:
            self._removals.pop().detach()

    # ---- reading -----------------------------------------------------------------------------------------------
    def see(self) -> Seen:
        """Look at the file, and at what is beside it."""
        file = _stat(self.path)
        if file is None:
            return Seen("missing", None)
        log, memory, journal = (_stat(self.path + end) for end in ("-wal", "-shm", "-journal"))
        if log is not None and memory is not None:
            return Seen("shared", file)
        if log is not None and _size(log):
            return Seen("copied", file, (log,))
        if journal is not None and _size(journal):
            return Seen("copied" if self._half_done == _content(journal) else "shared", file, (journal,))
        return Seen("still", file)

    def read_steadily(self, act: Callable[[], T]) -> T:
        """Read, and read again until nobody has changed the file meanwhile.

        Raises
        ------
        DatabaseBusy
            If that takes longer than this store waits.
        """
        began = time.monotonic()
        while True:
            seen = self._of_thread.seen = self._see_settled()
            failed: Exception | None = None
            try:
                result = act()
            except Exception as error:  # noqa: BLE001  (what is read from a file that changes may be anything)
                failed = error
            waited = time.monotonic() - began
            if seen.how == "shared" or self.see() == seen:
                if failed is None:
                    return result
                if not self._is_passing(seen, failed, waited):
                    raise failed
            elif waited > self._wait:
                raise DatabaseBusy(
                    f"{self.path} kept changing for {self._wait:g} s, and could not be read in between; "
                    "call again when less is written to it, or wait longer with ?timeout=SECONDS in db_url"
                ) from failed
            time.sleep(PAUSE)

    def _see_settled(self) -> Seen:
        """Look at the file once its time tells every further change."""
        seen = self.see()
        if seen.how == "still" and seen.file is not None and abs(time.time() - seen.file[-1] / 1e9) < TICK:
            time.sleep(TICK)
            seen = self.see()
        return seen

    def _is_passing(self, seen: Seen, error: Exception, waited: float) -> bool:
        """Tell whether reading that failed may go better in a moment, or in another way."""
        code = _code(error)
        if code == sqlite3.SQLITE_READONLY_ROLLBACK and seen.how == "shared" and len(seen.beside) == 1:
            self._half_done = _content(seen.beside[0])
            return True
        return code in _STARTING and seen.how == "shared" and waited < min(STARTING, self._wait) and self.is_readable

    @property
    def is_readable(self) -> bool:
        """Whether this user may read the file."""
        return os.access(self.path, os.R_OK)

    # ---- connections -------------------------------------------------------------------------------------------
    def connect(self, **given: Any) -> sqlite3.Connection:
        """Return a connection that changes nothing, given what the driver's `connect` takes beside the file."""
        seen = getattr(self._of_thread, "seen", None) or self.see()
        if seen.how == "missing":
            raw = sqlite3.connect(":memory:", factory=_Raw, **given)
        elif seen.how == "copied":
            raw = sqlite3.connect(self._copied(seen), factory=_Raw, **given)
        else:
            uri = f"file:{quote(self.path)}?{_OPTIONS[seen.how]}"
            raw = sqlite3.connect(uri, uri=True, factory=_Raw, **given)
        raw.seen = seen
        return raw

    def is_outdated(self, raw: DBAPIConnection) -> bool:
        """Tell whether the file has changed so that a connection shows it no more."""
        before, now = raw.seen, self._of_thread.seen
        if before.how == now.how == "shared":
            return bool(before.file[:2] != now.file[:2])  # another file has taken its place
        return bool(before != now)

    def _copied(self, seen: Seen) -> str:
        """Return the path of a copy in which SQLite may take in the log, or undo what was left unfinished."""
        with self._copying:
            if self._copy is None or self._copy[0] != seen:
                folder = tempfile.mkdtemp(prefix="entropic-")
                self._removals.append(weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True))
                for end in ("", "-wal", "-journal"):
                    if os.path.exists(self.path + end):
                        shutil.copyfile(self.path + end, os.path.join(folder, "copy" + end))
                self._copy = seen, folder
            return os.path.join(self._copy[1], "copy")


def uuid_in(path: str, wait: float) -> str | None:
    """Return the uuid of the store database that a file is, without changing it; None if it is none.

    Raises
    ------
    DatabaseBusy
        If it does not come to rest in so many seconds.
    """
    if not os.path.isfile(path):
        return None
    file = ReadOnlyFile(path, wait)

    def ask() -> Any:
        with contextlib.closing(file.connect(timeout=wait)) as raw:
            return raw.execute("SELECT value FROM entropic_meta WHERE name = 'uuid'").fetchone()

    try:
        found = file.read_steadily(ask)
    except (sqlite3.DatabaseError, OSError):  # no database, or a damaged one, or not ours to read
        return None
    return None if found is None else str(found[0])


_all: "weakref.WeakSet[ReadOnlyFile]" = weakref.WeakSet()


def _forked() -> None:
    for one in _all:
        one.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _stat(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(seen: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return what changes with the content alone: SQLite, as root, gives a journal to the owner of its file."""
    return None if seen is None else seen[:-1]


def _size(seen: tuple[int, ...]) -> int:
    return seen[2]


def _code(error: BaseException | None) -> int:
    """Return SQLite's code of an error that may be wrapped in others."""
    while error is not None:
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code is not None:
            return code
        error = getattr(error, "orig", None) or error.__cause__
    return 0
