"""The process that renews the leases of another one, in all its databases: run by path, it imports nothing of ours.

Its parent writes messages: who it is; how a database is reached and with which statement (`open`, and `close`); which
attempts begin there and end (`add`, `stop`). When the pipe is closed, or the parent is gone, it ends. Each renewal is a
thread of its own, so that a database that does not answer delays no other.

Most processes end before there is anything to renew. So what is imported here takes 5 ms, and not 20: messages are
`marshal`'s, which is built in, and not JSON; threads, and the driver, come with the first renewal.
"""

from __future__ import annotations

import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False  # as in `typing`, which takes longer than all of these
if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from typing import Any

PARENT_SECONDS = 1.0  # between two looks whether the parent lives: something forked may keep the pipe open
MOST = 3  # renewals of one database at once: while one hangs, the next may succeed
LATER = 0.2  # s until a renewal is tried for which there was no thread
LENGTH = 4  # bytes before each message, which say how long it is


def main() -> None:
    """Renew, until the parent is gone; what a thread is in the middle of then ends with the process."""
    try:
        listen()
    finally:
        os._exit(0)


def listen() -> None:
    """Do what the parent says, and renew what is due."""
    messages = Messages(0)
    parent = (messages.next() or {}).get("parent")
    databases: dict[int, Database] = {}
    while True:
        due = min((one.due for one in databases.values()), default=time.monotonic() + PARENT_SECONDS)
        said = messages.next(min(PARENT_SECONDS, max(0.0, due - time.monotonic())))
        if said is None or os.getppid() != parent:
            return
        hear(said, databases)
        for one in databases.values():
            one.renew_if_due()


def hear(said: dict[str, Any], databases: dict[int, Database]) -> None:
    """Take in one thing that the parent has said."""
    if "open" in said:
        databases[said["open"]] = Database(said)
    elif "close" in said:
        databases.pop(said["close"], None)
    elif "add" in said:
        databases[said["in"]].add(said["add"], said["values"])
    elif "stop" in said:
        databases[said["in"]].values.pop(said["stop"], None)


class Database:
    """The attempts of one store, whose leases are renewed together."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._said, self._every = said, float(said["every"])
        self._at_work: list[threading.Thread] = []
        self.values: dict[str, Sequence[object]] = dict(said["attempts"])
        """What the statement takes, by attempt."""
        self.due = time.monotonic() if self.values else float("inf")
        """When to renew next, on the monotonic clock: at once what another process like this one has left."""

    def add(self, attempt: str, values: Sequence[object]) -> None:
        """Renew the lease of one more attempt, which has begun just now."""
        self.values[attempt] = values
        self.due = min(self.due, time.monotonic() + self._every)

    def renew_if_due(self) -> None:
        """Renew all leases if it is time for that."""
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + self._every if self.values else float("inf")
        if not self.values:
            return
        import threading

        self._at_work = [one for one in self._at_work if one.is_alive()]
        try:
            if len(self._at_work) == MOST:
                raise RuntimeError
            thread = threading.Thread(target=renew, args=(self._said, list(self.values.values())), daemon=True)
            thread.start()
            self._at_work.append(thread)
        except RuntimeError:
            self.due = now + min(self._every, LATER)


def renew(said: dict[str, Any], values: list[Sequence[object]]) -> None:
    """Renew all leases; what fails now may succeed at the next beat, and the parent meets the same trouble itself."""
    try:
        from importlib import import_module  # before the parent's path, on which there may be others of such names

        sys.path[:] = said["path"]
        connection = import_module(said["driver"]).connect(**said["arguments"])
        try:
            cursor = connection.cursor()
            for statement in said["before"]:
                cursor.execute(statement)
            for one in values:
                cursor.execute(said["sql"], one)
            for statement in said["after"]:
                cursor.execute(statement)
        finally:
            connection.close()
    except Exception:  # noqa: BLE001, S110
        pass


class Messages:
    """What arrives at a descriptor, with a time to wait for each."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._data = descriptor, b""

    def next(self, seconds: float | None = None) -> dict[str, Any] | None:
        """Return the next message, an empty one if none came in time, None at the end."""
        while len(self._data) < (end := self._end()):
            ready, _, _ = select.select([self._descriptor], [], [], seconds)
            if not ready:
                return {}
            more = os.read(self._descriptor, 65536)
            if not more:
                return None
            self._data += more
        said: dict[str, Any] = marshal.loads(self._data[LENGTH:end])
        self._data = self._data[end:]
        return said

    def _end(self) -> int:
        return LENGTH + int.from_bytes(self._data[:LENGTH], "big") if len(self._data) >= LENGTH else LENGTH


if __name__ == "__main__":
    main()
