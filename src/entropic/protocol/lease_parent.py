"""The parent's side of the one process that renews leases, for all stores of this process: `lease_process.py`.

It is started with the first claim, and ends with the last store, or with this process, whatever happens. Should
somebody kill it, another one is started, which is told of all attempts, and renews their leases at once.
"""

import itertools
import json
import logging
import marshal
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from entropic.protocol.lease_process import LENGTH

log = logging.getLogger("entropic")
_PROGRAM = os.path.join(os.path.dirname(__file__), "lease_process.py")
_numbers = itertools.count()


class Book:
    """The attempts of one store whose leases are to be renewed."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        self.attempts: dict[str, tuple[tuple[object, ...], str]] = {}
        """What the statement takes, and the owner, by attempt."""
        self.told: Mapping[str, object] | None = None
        """How to renew: what `Database.told` says, the statement, and how often."""


def message(what: Mapping[str, object]) -> bytes:
    """Return what is written to the process: plain values only, of whatever subclass they are here."""
    plain = marshal.dumps(json.loads(json.dumps(what)))
    return len(plain).to_bytes(LENGTH, "big") + plain


class LeaseProcess:
    """The process, as its parent sees it. Nothing is logged under its lock: the collector may want it anywhere."""

    def __init__(self) -> None:
        self._popen: Any = None
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child the process is the parent's, and so is all that it was told."""
        if self._popen is not None:
            self._popen.stdin.close()  # the child's copy, or it would not be told of the parent's end
            self._popen.returncode = 0  # not ours to wait for
        self._popen = None
        self._lock = threading.RLock()  # a signal handler that comes in the middle may run something, too
        self._books: dict[int, Book] = {}  # of which it was told
        self._closed: deque[Book] = deque()

    def add(self, book: Book, attempt: str, values: tuple[object, ...], owner: str) -> None:
        """Have the lease of an attempt renewed from now on."""
        with self._lock:
            there = self._popen is not None
            if not there:
                self._start()
            is_told = self._knows(book)
            book.attempts[attempt] = values, owner  # told or not: an interrupt leaves what can be stopped
            if not (is_told and self._say({"add": attempt, "in": book.number, "values": values})):
                is_told = False
                self._start()
        if there and not is_told:
            log.warning("the process that renews leases had ended; another one was started")
        self._tidy()

    def stop(self, book: Book, attempt: str) -> None:
        """Have the lease of an attempt renewed no more."""
        with self._lock:
            if attempt in book.attempts:
                if book.number in self._books:
                    self._say({"stop": attempt, "in": book.number})
                book.attempts.pop(attempt, None)  # only now, so that an interrupt finds it
        self._tidy()

    def ensure_running(self) -> None:
        """Start another one if it has ended."""
        with self._lock:
            is_there = self._say({})
            if not is_there:
                self._start()
        if not is_there:
            log.warning("the process that renews leases had ended; another one was started")
        self._tidy()

    def close(self, book: Book) -> None:
        """Forget a store that is gone; the collector asks for it, in the middle of anything."""
        self._closed.append(book)
        self._tidy()

    def _tidy(self) -> None:
        """Forget the stores that are gone, unless this thread is in the middle of something that ends with this."""
        while self._closed and not self._lock._is_owned():  # type: ignore[attr-defined]
            with self._lock:
                while self._closed:
                    book = self._closed.popleft()
                    if self._books.pop(book.number, None) is not None and self._books:
                        self._say({"close": book.number})
                if not self._books:
                    self._end()

    def _knows(self, book: Book) -> bool:
        """Tell whether it knows a store, of which it is told if it does not."""
        if book.number in self._books:
            return True
        is_told = self._open(book)
        self._books[book.number] = book  # only now, so that an interrupt leaves it to be told
        return is_told

    def _open(self, book: Book) -> bool:
        attempts = {attempt: values for attempt, (values, _) in book.attempts.items()}
        return self._say({"open": book.number, "path": sys.path, **(book.told or {}), "attempts": attempts})

    def _say(self, what: Mapping[str, object]) -> bool:
        """Tell the process something; False if it is gone."""
        if self._popen is None:
            return False
        data = message(what)
        try:
            while data:
                data = data[self._popen.stdin.write(data) :]
        except (OSError, ValueError):  # ValueError: its end was interrupted, after the pipe was closed
            return False
        except BaseException:  # half told, it would take what comes next for the rest
            self._end()
            raise
        return True

    def _start(self) -> None:
        self._end()
        # It is told the addresses, passwords included, by a pipe that nobody else can read; Ctrl-C is not for it.
        # Unbuffered: a buffer has a lock, which a fork in another thread would leave locked in the child.
        command = [sys.executable, "-I", "-S", _PROGRAM]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)
        try:
            self._say({"parent": os.getpid()})
            for book in self._books.values():
                self._open(book)
        except BaseException:  # half told, it would know some of them only
            self._end()
            raise

    def _end(self) -> None:
        popen = self._popen
        if popen is None:
            return
        try:
            popen.stdin.close()
        except OSError:
            pass
        # Not `wait` or `poll`: an interrupt in them can leave their lock taken, for which the next would wait for ever.
        try:
            os.waitpid(popen.pid, 0)
        except ChildProcessError:  # somebody else has waited for it
            pass
        popen.returncode = 0
        self._popen = None


the_process = LeaseProcess()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=the_process.forget)
