"""Limits of what one request may cost a database that others work with."""

import threading
import time
from typing import Any

import sqlalchemy as sa

from entropic.db.engine import Database
from entropic.errors import EntropicError, StoreError

SECONDS = 20.0  # that a request may take in the database
_STEPS = 20_000  # of SQLite's machine between two looks at the clock
_of_thread = threading.local()
_STOPPED = {"57014", 1969, 3024}  # statements that took too long: PostgreSQL, MariaDB, MySQL
_INTERRUPTED = 9  # SQLite's


class TooSlow(EntropicError):
    """A request that was ended, since it took the database too long."""


def limit(database: Database, seconds: float = SECONDS) -> None:
    """Let every connection of a database end what takes too long; call it before other threads use that."""

    def connected(raw: Any, _: object) -> None:
        name = database.sql.name
        if name == "sqlite":
            raw.set_progress_handler(_is_late, _STEPS)
        elif name == "postgresql":
            before, raw.autocommit = raw.autocommit, True
            raw.execute(f"SET statement_timeout = {round(seconds * 1000)}")
            raw.autocommit = before
        else:
            is_mariadb = getattr(database.sql, "is_mariadb", False) or name == "mariadb"
            with raw.cursor() as cursor:
                if is_mariadb:
                    cursor.execute(f"SET SESSION max_statement_time = {seconds:g}")
                else:
                    cursor.execute(f"SET SESSION max_execution_time = {round(seconds * 1000)}")

    sa.event.listen(database.engine, "connect", connected)
    mine = database.connection()
    with mine.lock:
        mine.close()  # the one of this thread has no limit yet


def begin(seconds: float = SECONDS) -> None:
    """Begin a request in this thread."""
    _of_thread.until = time.monotonic() + seconds


def _is_late() -> bool:
    return time.monotonic() > getattr(_of_thread, "until", float("inf"))


def too_slow(error: Exception, database: Database) -> bool:
    """Tell whether an error says that a statement took too long."""
    reason: Any = error.__cause__ if isinstance(error, StoreError) else error
    if not isinstance(reason, database.driver_error):
        return False
    if getattr(reason, "sqlite_errorcode", None) == _INTERRUPTED:
        return True
    return getattr(reason, "sqlstate", None) in _STOPPED or bool(reason.args and reason.args[0] in _STOPPED)
