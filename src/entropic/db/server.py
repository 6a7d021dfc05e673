"""Connections to a server: they may break at any moment, and are worth keeping only while they are used.

What a lost connection, a deadlock or a full server has interrupted is done again as a whole, for as long as the
store waits; runners are never part of it. `tests/servers` cuts, kills and restarts real servers.
"""

import collections
import contextlib
import logging
import os
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.engine.interfaces import DBAPIConnection

from entropic.db.connection import Connection, T
from entropic.db.dialects.portable import Dialect, Pages
from entropic.errors import DatabaseBusy
from entropic.support.background import Background

log = logging.getLogger("entropic")

IDLE_SECONDS = 1.0  # a connection that is not used for this long is closed: runs may take hours, and be many
SHORTEST, LONGEST = 0.01, 1.0  # s between two tries to reach a server
MOST_CONFLICTS = 50  # in a row, each of which another transaction has won
TOLD_AFTER = 2.0  # s of waiting, until the log says so


class Interrupted(Exception):
    """What was under way has not happened, or nobody knows whether it has; it may be done again as a whole."""


class Conflict(Interrupted):
    """Another transaction went first: a deadlock, or a serialisation failure."""


class Lost(Interrupted):
    """The connection broke, or none could be made."""


class Patience:
    """How long what was interrupted is tried again, and with which pauses."""

    def __init__(self, name: object, wait: float) -> None:
        self._name, self._wait = name, wait
        self._pause, self._conflicts, self._told = SHORTEST, 0, False
        self._began = time.monotonic()

    def after(self, trouble: Interrupted) -> None:
        """Pause after trouble.

        Raises
        ------
        DatabaseBusy
            If it is of no use any more.
        """
        waited = time.monotonic() - self._began
        if isinstance(trouble, Conflict):
            self._conflicts += 1
            if self._conflicts >= MOST_CONFLICTS:
                raise DatabaseBusy(
                    f"{self._name} was blocked by other programs {self._conflicts} times ({trouble}); call again"
                ) from trouble
            time.sleep(random.uniform(0, SHORTEST * min(self._conflicts, 10)))
            return
        if waited > self._wait:
            raise DatabaseBusy(
                f"{self._name} could not be reached for {self._wait:g} s ({trouble}); check it and call again, or "
                "wait longer with ?timeout=SECONDS in db_url"
            ) from trouble
        if waited > TOLD_AFTER and not self._told:
            self._told = True
            log.warning("waiting up to %g s for %s: %s", self._wait, self._name, trouble)
        time.sleep(random.uniform(0.5, 1.0) * self._pause)
        self._pause = min(self._pause * 1.5, LONGEST)


class ServerConnection(Connection):
    """A driver connection of one thread to a server, made when it is needed and closed soon after.

    There is a `_cursor` only while nothing is under way: without one, the next use ends the session that is there, and
    makes another. So wherever interrupts come, however many, no answer is taken for that to another question, and no
    session keeps a lock: `tests/servers/test_interrupted_sessions.py`.
    """

    def __init__(self, database: Any, outer: Connection | None = None) -> None:
        super().__init__(database, outer)
        self._closing: Any = None  # closes what is open with the last reference to this
        self._to_begin = False  # a transaction begins with its first statement, in the same round trip
        self._used = 0.0

    # ---- statements --------------------------------------------------------------------------------------------
    def execute(self, sql: str, values: Sequence[object] = ()) -> Any:
        """Run one statement on the kept cursor and return the cursor; read it to its end before the next."""
        cursor = self._cursor or self._connect()
        begin, self._to_begin = self._to_begin, False
        self._do(cursor, lambda: self._dialect.execute(cursor, sql, values, begin))
        return cursor

    def execute_many(self, sql: str, values: Sequence[Sequence[object]]) -> int:
        """Run one statement for each of many sets of values, inside a transaction; return how many rows it changed."""
        cursor = self._cursor or self._connect()
        begin, self._to_begin = self._to_begin, False
        if begin:
            self._do(cursor, lambda: cursor.execute(self._dialect.begin))
        changed: int = self._do(cursor, lambda: self._dialect.execute_many(cursor, sql, values))
        return changed

    def fetch(self, sql: str, values: Sequence[object] = ()) -> list[object]:
        """Run one query and return all its rows."""
        return self._whole(lambda: self.execute(sql, values).fetchall())

    def scan(self, sql: str, values: Sequence[object], take: Callable[[Pages], T]) -> T:
        """Run one query, and return what is made of its rows, of which only some are in memory at a time."""
        return self._whole(lambda: self._scan(sql, values, take))

    def _scan(self, sql: str, values: Sequence[object], take: Callable[[Pages], T]) -> T:
        cursor = self._cursor or self._connect()
        pages = self._dialect.pages(self._raw, cursor, sql, values)
        try:
            # Until the last page there is no `_cursor`, so that who comes after an interrupt makes a session anew.
            made = take(iter(lambda: self._do(None, lambda: next(pages, [])), []))
            self._do(None, lambda: collections.deque(pages, 0))
        except BaseException:
            pages.close()
            self.close()
            raise
        self._cursor = cursor
        return made

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run one statement as a transaction of its own; return how many rows it changed."""
        if self._outer is not None:
            self.refuse_inside()
        return self._whole(lambda: int(self.execute(sql, values).rowcount))

    def _whole(self, act: Callable[[], T]) -> T:
        """Do something by itself, again if it is interrupted; as a part of a transaction only once."""
        if self.in_use():  # this thread holds the lock, so it is inside of `Database.transact`
            return act()

        def under_lock() -> T:
            with self.lock:
                if self.in_transaction:
                    self._abort()
                return act()

        return self.persist(under_lock)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Do some work in a transaction, from its beginning again where that may help."""
        return self.persist(lambda: super(ServerConnection, self).transact(work))

    def persist(self, act: Callable[[], T]) -> T:
        """Do what may be repeated as a whole, until it is not interrupted.

        Raises
        ------
        DatabaseBusy
            If that takes longer than this store waits.
        """
        patience = None
        while True:
            try:
                return act()
            except Interrupted as trouble:
                patience = patience or Patience(self._database, self.wait)
                patience.after(trouble)

    def _do(self, cursor: object, act: Callable[[], T]) -> T:
        """Ask the driver, and say what its errors mean."""
        self._cursor = None  # until all of the answer has been read
        before = sys.exception()
        try:
            result = act()
        except BaseException as error:
            interrupt = _interrupt_in(error, before)
            if interrupt is not None or not isinstance(error, self._error):
                self.close()
                if interrupt is not None and interrupt is not error:
                    raise interrupt from None
                raise
            trouble = self._dialect.trouble(error)
            if trouble == "lost":
                self.close()
                raise Lost(str(error)) from error
            self._cursor = cursor
            if trouble == "busy":
                raise self._database.locked() from error
            if trouble == "again":
                raise Conflict(str(error)) from error
            self._explain(error)
            raise
        self._used = time.monotonic()
        self._cursor = cursor
        return result

    # ---- transactions ------------------------------------------------------------------------------------------
    def guard(self) -> Any:
        """Return nothing more than the lock: what is left open ends with the connection, which `rest` closes soon."""
        if self._outer is not None:
            self.refuse_inside()
        return self.lock

    def _begin(self) -> None:
        self._to_begin = True

    def _commit(self) -> None:
        if not self._to_begin:
            self.execute("COMMIT")  # which finds it lost if it was closed meanwhile

    def _rollback(self) -> None:
        if self._to_begin:
            return
        cursor, self._cursor = self._cursor, None
        try:
            if cursor is not None:
                cursor.execute("ROLLBACK")
                self._cursor = cursor
        except self._error:
            pass  # it ends with its connection
        finally:
            if self._cursor is None:
                self.close()

    def _abort(self) -> None:
        self.close()
        self._end()

    def _end(self) -> None:
        self._to_begin = False
        super()._end()

    # ---- the driver --------------------------------------------------------------------------------------------
    def _connect(self) -> Any:
        self.close()  # one that an interrupt has left
        if self.in_transaction and not self._to_begin:
            raise Lost("the connection broke in the middle of a transaction")
        self._pooled, self._raw = self._database.connect()
        try:
            # Not __del__: with a store that is collected in a cycle, the driver's own may come first, and complain.
            self._closing = weakref.finalize(self, _close, self._dialect, self._raw)
            self._used = time.monotonic()
            keeper.watch(self)
            cursor = self._cursor = self._raw.cursor()
        except BaseException:
            self.close()
            raise
        return cursor

    def close(self) -> None:
        """Close it; the next statement opens it again. If this is interrupted, the next use or `rest` does it again."""
        self._cursor = None
        if self._raw is not None:  # and stays it until it is closed
            _close(self._dialect, self._raw)
            if self._closing is not None:
                self._closing.detach()
            self._pooled = self._raw = None

    def abandon(self) -> None:
        """Refuse all further use, after a fork; the session is the parent's, and does not end with this process."""
        if self._raw is not None and self._closing is not None:
            self._closing.detach()
        super().abandon()

    @property
    def is_open(self) -> bool:
        """Whether there is a session of it on the server."""
        return self._raw is not None

    def rest(self, now: float) -> None:
        """Close it if nobody has used it for a while; asked by the keeper's thread, which no signal interrupts."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            if now - self._used > IDLE_SECONDS:
                self.close()
        finally:
            self.lock.release()


def _interrupt_in(error: BaseException | None, before: BaseException | None) -> BaseException | None:
    """Return the interrupt that an error is or that led to it: a driver's tidying may fail, and hide a Ctrl-C.

    What was being handled before the driver was asked is not part of it (`tests/servers/test_connections.py`).
    """
    while error is not None and error is not before:
        if not isinstance(error, Exception):
            return error
        error = error.__context__
    return None


def _close(dialect: Dialect, raw: DBAPIConnection) -> None:
    try:
        dialect.end(raw)
    except Exception as error:  # noqa: BLE001  (it may be broken already)
        log.debug("closing a connection: %s", error)


class Keeper:
    """Closes, in a thread that lives as long as there are any, the connections that nobody uses."""

    def __init__(self) -> None:
        self._thread = Background("entropic-connections", self._keep)
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child must: it has neither the thread nor the connections."""
        self._watched: weakref.WeakSet[ServerConnection] = weakref.WeakSet()
        self._lock = threading.RLock()  # a signal handler may need a connection, too

    def watch(self, connection: ServerConnection) -> None:
        """Watch a connection until it is closed."""
        with self._lock:
            self._watched.add(connection)
            if not self._thread.is_there:
                with contextlib.suppress(RuntimeError):  # the interpreter ends, and closes it soon enough
                    self._thread.start()

    def _keep(self, turn: threading.Lock) -> None:
        while not (self._is_done() or turn.acquire(timeout=IDLE_SECONDS / 2)):  # which holds none of them meanwhile
            pass

    def _is_done(self) -> bool:
        now = time.monotonic()
        with self._lock:
            watched = list(self._watched)
        for connection in watched:
            connection.rest(now)
        with self._lock:
            for connection in list(self._watched):
                if not connection.is_open:
                    self._watched.discard(connection)
            return self._thread.leave(lambda: not self._watched)


keeper = Keeper()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keeper.forget)
