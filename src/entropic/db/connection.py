"""A connection: one kept per thread, none ever carried over a fork, each transaction begun with its lock.

This one is SQLite's, whose driver is asked directly; `server` has the one of databases that are reached by a network.
"""

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from entropic.db.dialects.portable import TOGETHER, Pages
from entropic.errors import DatabaseBusy, StoreError
from entropic.support.forks import around_forks, living

if TYPE_CHECKING:
    from entropic.db.engine import Database

SHORTEST, LONGEST = 0.0002, 0.01  # s between two looks whether a lock is free
T = TypeVar("T")
_open: "weakref.WeakSet[Connection]" = weakref.WeakSet()


class Connection:
    """A driver connection of one thread (of all threads, for a database in memory).

    `lock` is held during every transaction and every read, so that a fork in another thread waits for it. It is only
    ever taken by `with`, which no interrupt can part from its release; whether this thread has it is the one thing
    that tells, after any interrupt, whether the connection is in use.

    Parameters
    ----------
    database
        A weak proxy of it.
    outer
        The connection beside which this is: see `beside`.
    """

    def __init__(self, database: "Database", outer: "Connection | None" = None) -> None:
        # Nothing of a database leads back to it, so that its files are closed as soon as its store is dropped, however
        # seldom Python's collector looks at all objects (`test_a_store_that_is_dropped_closes_its_database_at_once`).
        self._database, self._dialect = database, database.dialect
        self._in_memory = database.in_memory
        self.wait = database.wait
        """s for which a locked or silent database is waited for."""
        self._outer = weakref.ref(outer) if outer is not None else None
        self._inner: Connection | None = None
        self.in_transaction = False
        """Whether a transaction has begun on it; also when its rollback was interrupted, until the next use."""
        self._pooled: Any = None
        self._raw: Any = None
        self._cursor: Any = None
        self._file: tuple[int, int] | None = None  # the one that is open
        self._dead = False
        self._error: Any = database.driver_error
        self.unlock()
        _open.add(self)

    def unlock(self) -> None:
        """Have a new lock, which nobody holds."""
        self.lock = threading.RLock()
        self.in_use: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]
        """Returns whether this thread is in the middle of using it."""

    @property
    def outer(self) -> "Connection | None":
        """The connection beside which this is, if it is."""
        return None if self._outer is None else self._outer()

    def beside(self) -> "Connection":
        """Return another one for this thread, which has been interrupted in the middle of using this one.

        So it is in a signal handler, in `__del__` or in a trace function that uses the store. What it interrupts
        reads on, afterwards, where it was: `tests/race/test_reentry.py`.
        """
        inner = self._inner
        if inner is None:
            inner = self._inner = type(self)(self._database, self)
        return inner.beside() if inner.in_use() else inner

    def refuse_inside(self) -> None:
        """Refuse to write in the middle of a transaction of this very thread, which would be waited for for ever."""
        outer = self.outer
        while outer is not None:
            if outer.in_transaction:
                raise DatabaseBusy(
                    f"{self._database} is locked by the very call that was interrupted here: code that runs in the "
                    "middle of a call, such as a signal handler or __del__, can read at any time, but cannot write "
                    "while that call is writing. Set a flag there, and write once the interrupted call has returned"
                )
            outer = outer.outer

    # ---- statements --------------------------------------------------------------------------------------------
    def execute(self, sql: str, values: Sequence[object] = ()) -> Any:
        """Run one statement on the kept cursor and return the cursor; read it to its end before the next."""
        try:
            return (self._cursor or self._connect()).execute(sql, values)
        except self._error as error:
            if self._dialect.trouble(error) is None:
                self._explain(error)
                raise
            return self._patiently(sql, values)

    def execute_many(self, sql: str, values: Sequence[Sequence[object]]) -> int:
        """Run one statement for each of many sets of values, inside a transaction; return how many rows it changed."""
        try:
            changed: int = (self._cursor or self._connect()).executemany(sql, values).rowcount
        except self._error as error:  # never that it is busy: the transaction holds the lock
            self._explain(error)
            raise
        return changed

    def fetch(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """Run one query and return all its rows."""
        with self.lock:
            try:
                return self.execute(sql, values).fetchall()  # type: ignore[no-any-return]
            except self._error as error:
                if "decode to UTF-8" not in str(error):
                    raise
                self._raw.text_factory = _any_text
                return self.execute(sql, values).fetchall()  # type: ignore[no-any-return]

    def scan(self, sql: str, values: Sequence[object], take: Callable[[Pages], T]) -> T:
        """Run one query, and return what is made of its rows, of which only some are in memory at a time.

        Parameters
        ----------
        take
            Called with the pages; anew, with all of them, if reading was interrupted in the middle.
        """
        with self.lock:
            try:
                return self._scan(sql, values, take)
            except self._error as error:
                if "decode to UTF-8" not in str(error):
                    raise
                self._raw.text_factory = _any_text
                return self._scan(sql, values, take)

    def _scan(self, sql: str, values: Sequence[object], take: Callable[[Pages], T]) -> T:
        cursor = self.execute(sql, values)
        self._cursor = self._raw.cursor()  # for what comes after it, should it not be read to its end
        try:
            return take(iter(lambda: cursor.fetchmany(TOGETHER), []))
        finally:
            cursor.close()

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run one statement as a transaction of its own; return how many rows it changed."""
        if self._outer is not None:
            self.refuse_inside()
        with self.lock:
            self.stay_current()
            return int(self.execute(sql, values).rowcount)

    def persist(self, act: Callable[[], T]) -> T:
        """Do what may be repeated as a whole after trouble that passes; of SQLite's, statements wait themselves."""
        return act()

    # ---- transactions ------------------------------------------------------------------------------------------
    def transact(self, work: Callable[["Connection"], T]) -> T:
        """Do some work in a transaction, as `Database.transact` promises."""
        with self.lock, self.guard():
            try:
                self.begin()
                result = work(self)
                self.commit()
                return result
            except BaseException:
                self.rollback()
                raise

    def guard(self) -> Any:
        """Return what ends an open transaction when it is left, whatever interrupts that; for a `with`."""
        if self._outer is not None:
            self.refuse_inside()
        self.stay_current()
        if self._cursor is None:
            self._connect()
        return self._raw  # the driver's own, in C

    def stay_current(self) -> None:
        """Leave a file that is no longer there: what went into it would be lost (`test_removed_files.py`).

        Asked before whatever is written, and not before a hit, which needs only what it has read.
        """
        if self._file is not None and self._dialect.file_there() != self._file:
            self.close()
            self._connect()

    def begin(self) -> None:
        """Begin a transaction, where there is only one writer with the lock that makes it that.

        Call it with `lock` held, inside the `try` that rolls back: an interrupt may come as soon as it has begun.
        """
        if self.in_transaction:
            self._abort()
        self.in_transaction = True
        self._begin()

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

    def _begin(self) -> None:
        self.execute(self._dialect.begin)

    def _commit(self) -> None:
        self.execute("COMMIT")

    def _rollback(self) -> None:
        if self._raw is not None:
            self._raw.rollback()  # which does nothing outside of a transaction

    def _abort(self) -> None:
        """End a transaction whose rollback was interrupted."""
        self._rollback()

    def _end(self) -> None:
        self.in_transaction = False

    # ---- trouble -----------------------------------------------------------------------------------------------
    def _patiently(self, sql: str, values: Sequence[object]) -> Any:
        deadline, pause = time.monotonic() + self.wait, SHORTEST
        while True:
            time.sleep(pause)
            pause = min(pause * 1.2, LONGEST)
            try:
                return (self._cursor or self._connect()).execute(sql, values)
            except self._error as error:
                if self._dialect.trouble(error) is None:
                    self._explain(error)
                    raise
                if time.monotonic() > deadline:
                    raise self._database.locked() from error

    def _explain(self, error: Exception) -> None:
        if isinstance(error, self._database.failures) and not isinstance(error, self._database.refusals):
            raise StoreError(
                f"{self._database} failed: {error}; check its disk (is it full? can it be written?), then call again"
            ) from error

    # ---- the driver --------------------------------------------------------------------------------------------
    def _connect(self) -> Any:
        outer = self.outer
        if self._dead or (outer is not None and outer._dead):
            raise StoreError(
                "a store in memory works only in the process that made it; use a file in db_url"
                if self._in_memory
                else f"this process was forked in the middle of using {self._database}, and cannot use it any more; "
                "do not fork in a signal handler"
            )
        self._pooled, self._raw = self._database.connect()
        self._file = self._dialect.file_there()
        self._cursor = self._raw.cursor()
        return self._cursor

    def close(self) -> None:
        """Close it; the next statement opens it again."""
        raw, self._pooled, self._raw, self._cursor = self._raw, None, None, None
        if raw is not None:
            raw.close()

    def abandon(self) -> None:
        """Refuse all further use, after a fork."""
        _abandoned.append(self._raw)  # never closed: it is the parent's
        self._dead, self._cursor = True, None

    def __del__(self) -> None:
        if not self._dead:
            self.close()


def _any_text(data: bytes) -> str:
    """Return a text of a database that somebody else has written to: what is no UTF-8 is written out."""
    return data.decode("utf-8", "backslashreplace")


# ---- forks: each of these may be done twice, as `support/forks.py` demands ------------------------------------------
def _hold() -> None:
    """Close every idle connection and hold the rest: neither SQLite's locks nor a server's session survive a fork.

    A child that inherits an open database file believes that it holds its parent's locks, and may then write
    beside it. `tests/race/test_forks.py` shows both sides working on after a fork.
    """
    global _inside
    if _inside is None:  # before any lock is taken
        _inside = {connection for connection in living(_open) if connection.in_use()}
    while others := [connection for connection in living(_open) if not connection.in_use()]:
        for connection in others:
            connection.lock.acquire()
    for connection in living(_open):
        if connection not in _inside and not connection._in_memory:
            connection.close()


def _release() -> None:
    global _inside
    if _inside is not None:
        for connection in living(_open):
            if connection.in_use() and connection not in _inside:
                connection.lock.release()
        _inside = None


def _begin_anew() -> None:
    global _inside
    for connection in living(_open):
        if connection._in_memory or connection in (_inside or ()):
            connection.abandon()
        else:
            connection.unlock()
    _inside = None


_abandoned: list[Any] = []
_inside: set[Connection] | None = None  # those in the middle of whose use this thread forks: see `Connection.beside`
around_forks(_hold, _release, _begin_anew)
