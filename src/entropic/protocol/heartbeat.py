"""The heartbeat: it renews the leases of the attempts that this process runs.

On the machine itself nobody needs it: there a process is alive as long as it exists. It is for those who cannot see
this process, such as another container that shares the folder, or another machine that shares the server.

Where only processes that see each other can share a store, a thread does it. Where machines can, or containers, it
must not depend on what the runner does: C code that holds the interpreter's lock for an hour stops every thread. So
there it is a small process of its own, `lease_process.py`.
"""

import heapq
import itertools
import json
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from entropic.db.ledger import Ledger
from entropic.files.staging import Staging
from entropic.support import process

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


def lease_keeper(ledger: Ledger, staging: Staging) -> LeaseKeeper:
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
        self._look_at = 0.0  # on the monotonic clock

    def add(self, id: str, attempt: str, owner: str) -> None:
        """Keep the lease of an attempt renewed from now on, for as long as its owner lives."""
        if self._process is None and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + self._ledger.lease / 3
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
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child there is no thread, and what was awaited is the parent's."""
        self._coming: SimpleQueue[_Beat] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, keeper: "Thread", pause: float) -> bool:
        """Have a store renew its leases after a pause, if it is still there then; False if there can be no thread.

        So it is while the interpreter ends, from Python 3.12 on. A run goes on all the same: whether its owner lives is
        asked of the system, and the lease, for other machines, is long enough for what runs at exit.
        """
        self._coming.put((time.monotonic() + pause, next(_numbers), weakref.ref(keeper)))
        if self._thread is None:
            thread = threading.Thread(target=self._tick, args=(self._coming,), name="entropic-heartbeat", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._coming = SimpleQueue()  # nobody would take it, and the next one is put again
                log.info("leases are not renewed: %s", error)
                return False
            self._thread = thread
        return True

    def _tick(self, coming: "SimpleQueue[_Beat]") -> None:
        beats: list[_Beat] = []
        while True:
            try:
                heapq.heappush(beats, coming.get(timeout=max(0.0, beats[0][0] - time.monotonic()) if beats else 0.0))
            except Empty:
                if not beats:
                    self._thread = None
                    if coming.empty():  # else it was put by somebody who saw this thread at work
                        return
                    self._thread = threading.current_thread()
            while beats and beats[0][0] <= time.monotonic():
                keeper = heapq.heappop(beats)[2]
                try:
                    threading.Thread(target=_renew, args=(keeper,), name="entropic-renewal", daemon=True).start()
                except RuntimeError:  # the process ends, or may have no more threads now
                    heapq.heappush(beats, (time.monotonic() + 1.0, next(_numbers), keeper))


_Beat = tuple[float, int, "weakref.ref[Thread]"]
_numbers = itertools.count()  # tells two beats of one moment apart
_clock = Clock()


def _renew(keeper: "weakref.ref[Thread]") -> None:
    """Renew, and come again until there is nothing to renew; a store that nobody has any more is not kept for it."""
    living = keeper()
    if living is not None and living.renew() and not _clock.call(living, living.pause):
        living.rest()


class Thread:
    """Renews leases in threads of this process: from a claim on, until there is nothing to renew."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.pause = min(ledger.lease / 3, LONGEST)
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Begin anew, with nothing to renew: in a forked child the attempts are the parent's."""
        self._lock = threading.RLock()  # a signal handler that comes in the middle may run something, too
        self._attempts: dict[str, tuple[str, str]] = {}  # id and owner by attempt
        self._beats = False

    def add(self, id: str, attempt: str, owner: str) -> None:
        """Keep the lease of an attempt renewed from now on, for as long as its owner lives."""
        with self._lock:
            self._attempts[attempt] = id, owner
            if not self._beats:
                self._beats = _clock.call(self, self.pause)

    def stop(self, attempt: str) -> None:
        """Renew the lease of an attempt no more."""
        self._attempts.pop(attempt, None)  # in one step, which needs no lock: `renew` goes over a copy

    def rest(self) -> None:
        """Wait for the next claim to begin again."""
        with self._lock:
            self._beats = False

    def renew(self) -> bool:
        """Renew all leases; False if there is none, and nothing to come again for."""
        with self._lock:
            for attempt, (_, owner) in list(self._attempts.items()):
                if process.state(owner) == "dead":
                    self.stop(attempt)  # an interrupt has kept its call from doing so
            attempts = [(id, attempt) for attempt, (id, _) in list(self._attempts.items())]
            if not attempts:
                self._beats = False
                return False
        try:
            self._ledger.renew(attempts)
        except Exception as error:  # noqa: BLE001  (the next beat may succeed; ending would be worse)
            log.warning("leases could not be renewed: %s", error)
        return True


class Process:
    """Renews leases in a process of its own, started with the first claim; it ends with this one, whatever happens."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._popen: Any = None
        self._end: Any = None  # ends it
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Begin anew, with nothing to renew: in a forked child the attempts, and the process, are the parent's."""
        self._lock = threading.RLock()  # a signal handler that comes in the middle may run something, too
        self._attempts: dict[
            str, tuple[tuple[object, ...], str]
        ] = {}  # what its statement takes, and owner, by attempt
        if self._popen is not None:
            self._popen.stdin.close()  # the child's copy, or it would not be told of the parent's end
            self._popen.returncode = 0  # not ours to wait for
            self._end.detach()
        self._popen = None

    def add(self, id: str, attempt: str, owner: str) -> None:
        """Keep the lease of an attempt renewed from now on, for as long as its owner lives."""
        with self._lock:
            for one in [one for one, (_, other) in self._attempts.items() if process.state(other) == "dead"]:
                self.stop(one)  # an interrupt has kept its call from doing so
            _, values = self._ledger.renewal(id, attempt)
            self._attempts[attempt] = values, owner
            if self._popen is None or not self._say({"add": attempt, "values": values}):
                self._start()

    def stop(self, attempt: str) -> None:
        """Renew the lease of an attempt no more."""
        with self._lock:
            if self._attempts.pop(attempt, None) is not None and self._popen is not None:
                self._say({"stop": attempt})

    def _say(self, what: dict[str, object]) -> bool:
        """Tell the process; False if it is gone: the next claim starts another, which is told of all of them."""
        try:
            text = json.dumps(what).encode() + b"\n"
            while text:
                text = text[self._popen.stdin.write(text) :]
        except OSError as error:
            log.warning("the process that renews leases has ended: %s", error)
            return False
        except ValueError:  # the pipe is closed: the collector, which ends this store, has begun with it
            return False
        return True

    def _start(self) -> None:
        if self._popen is not None:
            self._end()
        pulse = os.path.join(os.path.dirname(__file__), "lease_process.py")
        # It is told the address, password included, by a pipe that nobody else can read; Ctrl-C is not for it.
        # Unbuffered: a buffer has a lock, which a fork in another thread would leave locked in the child.
        command = [sys.executable, "-I", "-S", pulse]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)
        self._end = weakref.finalize(self, _end, self._popen)
        try:
            sql, _ = self._ledger.renewal("", "")
            self._say({**self._ledger.database.told(), "path": sys.path, "sql": sql, "parent": os.getpid(),
                       "every": min(self._ledger.lease / 3, LONGEST)})  # fmt: skip
            for attempt, (values, _) in self._attempts.items():
                self._say({"add": attempt, "values": values})
        except BaseException:  # half told, it would take the next claim for its instructions
            self._end()
            self._popen = None
            raise


def _end(popen: Any) -> None:
    try:
        popen.stdin.close()
    except OSError:
        pass
    # Not `wait` or `poll`: an interrupt in them can leave their lock taken, and the next would wait for it for ever.
    try:
        os.waitpid(popen.pid, 0)
    except ChildProcessError:  # somebody else has waited for it
        pass
    popen.returncode = 0


def _forked() -> None:
    _clock.forget()
    for keeper in _all:
        keeper.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
