"""A connection: one kept per thread, none ever carried over a fork, each transaction begun with its lock.

This one is SQLite's, whose driver is asked directly; `server` has the one of databases that are reached by a network.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from entropic.errors import StoreError

if TYPE_CHECKING:
    from entropic.db.engine import Database

SHORTEST, LONGEST = 0.0002, 0.01  # s between two looks whether a lock is free
T = TypeVar("T")
_open: "weakref.WeakSet[Connection]" = weakref.WeakSet()


class Connection:
    """A driver connection of one thread (of all threads, for a database in memory).

    `lock` is held during every transaction and every read, so that a fork in another thread waits for it.
    """

    def __init__(self, database: "Database") -> None:
        self._database = database
        self.lock = threading.RLock()
        self._pooled: Any = None
        self._raw: Any = None
        self._cursor: Any = None
        self._begun_by: int | None = None  # the thread, since one in memory is shared
        self._dead = False
        self._error: Any = database.driver_error
        _open.add(self)

    # ---- statements --------------------------------------------------------------------------------------------
    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement on the kept cursor and return the cursor; read it to its end before the next."""
        try:
            return (self._cursor or self._connect()).execute(sql, values)
        except self._error as error:
            if self._database.dialect.trouble(error) is None:
                self._explain(error)
                raise
            return self._patiently(sql, values)

    def execute_many(self, sql: str, values: Sequence[Sequence[Any]]) -> int:
        """Run one statement for each of many sets of values, inside a transaction; return how many rows it changed."""
        try:
            changed: int = (self._cursor or self._connect()).executemany(sql, values).rowcount
        except self._error as error:  # never that it is busy: the transaction holds the lock
            self._explain(error)
            raise
        return changed

    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run one query and return all its rows."""
        with self.lock:
            try:
                return self.execute(sql, values).fetchall()  # type: ignore[no-any-return]
            except self._error as error:
                if "decode to UTF-8" not in str(error):
                    raise
                self._raw.text_factory = _any_text
                return self.execute(sql, values).fetchall()  # type: ignore[no-any-return]

    def change(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run one statement as a transaction of its own; return how many rows it changed."""
        with self.lock:
            return int(self.execute(sql, values).rowcount)

    def persist(self, act: Callable[[], T]) -> T:
        """Do what may be repeated as a whole after trouble that passes; of SQLite's, statements wait themselves."""
        return act()

    # ---- transactions ------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Begin a transaction, where there is only one writer with the lock that makes it that.

        Call it inside the `try` that rolls back: an interrupt may come as soon as it has begun.
        """
        self.lock.acquire()
        try:
            self._begun_by = threading.get_ident()
            self._begin()
        except BaseException:
            self.rollback()
            raise

    def commit(self) -> None:
        """Make the transaction's changes visible."""
        self._commit()
        self._end()

    def rollback(self) -> None:
        """Undo the transaction; nothing, if it has ended (an interrupt may come just after a commit)."""
        if self.in_transaction:
            try:
                self._rollback()
            finally:
                self._end()

    @property
    def in_transaction(self) -> bool:
        """Whether this thread has begun a transaction on it."""
        return self._begun_by == threading.get_ident()

    def _begin(self) -> None:
        self.execute(self._database.dialect.begin)

    def _commit(self) -> None:
        self.execute("COMMIT")

    def _rollback(self) -> None:
        if self._raw is not None and self._raw.in_transaction:
            self._cursor.execute("ROLLBACK")

    def _end(self) -> None:
        self._begun_by = None
        self.lock.release()

    # ---- trouble -----------------------------------------------------------------------------------------------
    def _patiently(self, sql: str, values: Sequence[Any]) -> Any:
        deadline, pause = time.monotonic() + self._database.wait, SHORTEST
        while True:
            time.sleep(pause)
            pause = min(pause * 1.2, LONGEST)
            try:
                return (self._cursor or self._connect()).execute(sql, values)
            except self._error as error:
                if self._database.dialect.trouble(error) is None:
                    self._explain(error)
                    raise
                if time.monotonic() > deadline:
                    raise self._database.locked() from error

    def _explain(self, error: Exception) -> None:
        if isinstance(error, self._database.failures) and not isinstance(error, self._database.refusals):
            raise StoreError(
                f"{self._database} failed: {error}; look at its disk (is it full, is it writable), then call again"
            ) from error

    # ---- the driver --------------------------------------------------------------------------------------------
    def _connect(self) -> Any:
        if self._dead:
            raise StoreError("a store in memory works only in the process that made it; give db_url a file")
        self._pooled, self._raw = self._database.connect()
        self._cursor = self._raw.cursor()
        return self._cursor

    def close(self) -> None:
        """Close it; the next statement opens it again."""
        raw, self._pooled, self._raw, self._cursor = self._raw, None, None, None
        if raw is not None:
            raw.close()

    def abandon(self) -> None:
        """Refuse all further use, after a fork."""
        self._dead, self._cursor = True, None

    def __del__(self) -> None:
        if not self._dead:
            self.close()


def _any_text(data: bytes) -> str:
    """Return a text of a database that somebody else has written to: what is no UTF-8 is written out."""
    return data.decode("utf-8", "backslashreplace")


def _before_fork() -> None:
    """Close every idle connection and hold the rest: neither SQLite's locks nor a server's session survive a fork.

    A child that inherits an open database file believes that it holds its parent's locks, and may then write
    beside it. `tests/race/test_forks.py` shows both sides working on after a fork.
    """
    _one_fork.acquire()
    _forking[:] = list(_open)
    for connection in _forking:
        connection.lock.acquire()
        if connection._database.in_memory:
            continue
        connection.close()


def _after_fork() -> None:
    for connection in _forking:
        connection.lock.release()
    _forking.clear()
    _one_fork.release()


def _after_fork_in_child() -> None:
    for connection in _forking:
        if connection._database.in_memory:
            connection.abandon()
    _after_fork()


_forking: list[Connection] = []
_one_fork = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
