"""The heartbeat: it renews the leases of the attempts that this process runs.

On the machine itself nobody needs it: there a process is alive as long as it exists. It is for those who cannot see
this process, such as another container that shares the folder, or another machine that shares the server.

Where only processes that see each other can share a store, a thread does it. Where machines can, or containers, it
must not depend on what the runner does: C code that holds the interpreter's lock for an hour stops every thread. So
there it is a small process of its own, one for all stores of this process: `lease_parent.py`, `lease_process.py`.
"""

import contextlib
import heapq
import itertools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from entropic.db.ledger import Ledger
from entropic.files.staging import Staging
from entropic.protocol.lease_parent import Book, the_process
from entropic.support import process
from entropic.support.background import Background, begin_once

LONGEST = 3600.0  # s between two renewals, however long a lease is: no system waits for centuries
log = logging.getLogger("entropic")
_all: "weakref.WeakSet[Any]" = weakref.WeakSet()


class LeaseKeeper(Protocol):
    """Renews the leases of one store's attempts, three times within each lease."""

    def add(self, id: str, attempt: str, owner: str) -> None:
        """Keep the lease of an attempt renewed from now on, for as long as its owner lives."""
        ...  # pragma: no cover

    def stop(self, attempt: str) -> None:
        """Renew the lease of an attempt no more."""
        ...  # pragma: no cover


def make_lease_keeper(ledger: Ledger, staging: Staging) -> LeaseKeeper:
    """Return what renews the leases of one store's attempts."""
    if ledger.database.is_shared:
        return Process(ledger)
    return Thread(ledger) if ledger.database.in_memory else Watchful(ledger, staging)


class Watchful:
    """Renews leases of a store in a file: by a thread, until somebody may be there who cannot see this process.

    That is so in a container, and where a name in the staging folder is of a worker of another one (or of another
    machine, or of an earlier start of this one). It is looked for with the first claim, and now and then after that.
    """

    def __init__(self, ledger: Ledger, staging: Staging) -> None:
        self._ledger, self._staging = ledger, staging
        self._thread, self._process = Thread(ledger), None if not process.is_contained() else Process(ledger)
        self._check_at = 0.0  # on the monotonic clock

    def add(self, id: str, attempt: str, owner: str) -> None:
        """Keep the lease of an attempt renewed from now on, for as long as its owner lives."""
        if self._process is None and time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + self._ledger.lease / 3
            if self._sees_strangers():
                self._process = Process(self._ledger)
        (self._process or self._thread).add(id, attempt, owner)

    def stop(self, attempt: str) -> None:
        """Renew the lease of an attempt no more."""
        self._thread.stop(attempt)
        if self._process is not None:
            self._process.stop(attempt)

    def _sees_strangers(self) -> bool:
        try:
            return any(found.worker and process.state(found.worker) == "elsewhere" for found in self._staging.listing())
        except OSError:  # the folder is gone, which the run itself will tell
            return False


class Clock:
    """One thread that tells all stores of this process when to renew; it ends when nobody has anything to renew.

    Each renewal is a short thread of its own, so that a database that is locked holds up no other one's leases. There
    is no lock, and a `SimpleQueue` takes what a signal handler puts while its thread puts something: should two threads
    ever start one at once, the two share the work.
    """

    def __init__(self) -> None:
        self._thread = Background("entropic-heartbeat", self._tick, self._wake, self._give_up)
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child there is no thread, and what was awaited is the parent's."""
        self._coming: SimpleQueue[_Beat] = SimpleQueue()

    def call(self, keeper: "Beating", pause: float) -> bool:
        """Have a store renew its leases after a pause, if it is still there then; False if there can be no thread.

        So it is while the interpreter ends, from Python 3.12 on. A run goes on all the same: whether its owner lives is
        asked of the system, and the lease, for other machines, is long enough for what runs at exit.
        """
        self._coming.put((time.monotonic() + pause, next(_numbers), weakref.ref(keeper)))
        if not self._thread.is_there:
            try:
                self._thread.start()
            except RuntimeError as error:
                log.info("leases are not renewed: %s", error)
                self._give_up()
                return False
        return True

    def _tick(self, turn: threading.Lock) -> None:
        coming, beats = self._coming, list[_Beat]()
        while turn.locked():
            try:
                heapq.heappush(beats, coming.get(timeout=max(0.0, beats[0][0] - time.monotonic()) if beats else 0.0))
            except Empty:
                if not beats and self._thread.leave(coming.empty):
                    return
            while beats and beats[0][0] <= time.monotonic():
                keeper = heapq.heappop(beats)[2]
                try:
                    if keeper() is not None:
                        begin_once("entropic-renewal", _renew, keeper)
                except RuntimeError:  # the process ends, or may have no more threads now
                    heapq.heappush(beats, (time.monotonic() + 1.0, next(_numbers), keeper))
        for beat in beats:  # for who comes after this one
            coming.put(beat)

    def _wake(self) -> None:
        self._coming.put((0.0, next(_numbers), lambda: None))

    def _give_up(self) -> None:
        """Renew nothing; each store calls again with its next claim."""
        with contextlib.suppress(Empty):
            while True:
                keeper = self._coming.get_nowait()[2]()
                if keeper is not None:
                    keeper.rest()


_Beat = tuple[float, int, "Callable[[], Beating | None]"]
_numbers = itertools.count()  # tells two beats of one moment apart
_clock = Clock()


def _renew(keeper: "Callable[[], Beating | None]") -> None:
    """Renew, and come again until there is nothing to renew; a store that nobody has any more is not kept for it."""
    living = keeper()
    if living is not None and living.renew() and not _clock.call(living, living.pause):
        living.rest()


class Beating:
    """What the clock calls three times within each lease, from a claim on, until there is nothing to renew."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.pause = min(ledger.lease / 3, LONGEST)
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Begin anew, with nothing to renew: in a forked child the attempts are the parent's."""
        self._lock = threading.RLock()  # a signal handler that comes in the middle may run something, too
        self._beats = False

    def begin(self) -> None:
        """Have the clock call, if it does not yet.

        Without the lock first, which every run would take: who calls has noted its attempt before, and `renew` looks
        for one after it has said that there is none.
        """
        if self._beats:
            return
        with self._lock:
            if not self._beats:
                self._beats = _clock.call(self, self.pause)

    def rest(self) -> None:
        """Wait for the next claim to begin again."""
        with self._lock:
            self._beats = False

    def renew(self) -> bool:
        """Renew all leases; False if there is none, and nothing to come again for."""
        with self._lock:
            if not self.living():
                self._beats = False
                if not self.living():  # else one has come just now, and taken it that the clock still calls
                    return False
                self._beats = True
        try:
            self.beat()
        except Exception as error:  # noqa: BLE001  (the next beat may succeed; ending would be worse)
            log.warning("leases could not be renewed: %s", error)
        return True

    def living(self) -> bool:
        """Stop what an interrupt has kept its call from stopping; tell whether anything is left."""
        raise NotImplementedError

    def beat(self) -> None:
        """Renew what there is."""
        raise NotImplementedError


class Thread(Beating):
    """Renews leases in threads of this process."""

    def forget(self) -> None:
        """Begin anew, with nothing to renew: in a forked child the attempts are the parent's."""
        super().forget()
        self._attempts: dict[str, tuple[str, str]] = {}  # id and owner by attempt

    def add(self, id: str, attempt: str, owner: str) -> None:
        """Keep the lease of an attempt renewed from now on, for as long as its owner lives."""
        self._attempts[attempt] = id, owner
        self.begin()

    def stop(self, attempt: str) -> None:
        """Renew the lease of an attempt no more."""
        self._attempts.pop(attempt, None)  # in one step, which needs no lock: others go over a copy

    def living(self) -> bool:
        """Stop what an interrupt has kept its call from stopping; tell whether anything is left."""
        for attempt, (_, owner) in list(self._attempts.items()):
            if process.state(owner) == "dead":
                self.stop(attempt)
        return bool(self._attempts)

    def beat(self) -> None:
        """Renew what there is."""
        self._ledger.renew([(id, attempt) for attempt, (id, _) in list(self._attempts.items())])


class Process(Beating):
    """Renews leases in the process that does so for all stores of this one; a thread only sees that it is there."""

    def __init__(self, ledger: Ledger) -> None:
        self._book = Book()
        super().__init__(ledger)
        weakref.finalize(self, the_process.close, self._book)

    def forget(self) -> None:
        """Begin anew, with nothing to renew: in a forked child the attempts, and the process, are the parent's."""
        super().forget()
        self._book.attempts = {}

    def add(self, id: str, attempt: str, owner: str) -> None:
        """Keep the lease of an attempt renewed from now on, for as long as its owner lives."""
        self.living()
        if self._book.told is None:
            self._book.told = {
                **self._ledger.database.told(),
                "sql": self._ledger.renewal("", "")[0],
                "every": self.pause,
            }
        the_process.add(self._book, attempt, self._ledger.renewal(id, attempt)[1], owner)
        self.begin()

    def stop(self, attempt: str) -> None:
        """Renew the lease of an attempt no more."""
        the_process.stop(self._book, attempt)

    def living(self) -> bool:
        """Stop what an interrupt has kept its call from stopping; tell whether anything is left."""
        for attempt, (_, owner) in list(self._book.attempts.items()):
            if process.state(owner) == "dead":
                self.stop(attempt)
        return bool(self._book.attempts)

    def beat(self) -> None:
        """See that the process is there, which does the work."""
        the_process.ensure_running()


def _forked() -> None:
    _clock.forget()
    for keeper in _all:
        keeper.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
