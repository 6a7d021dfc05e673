"""The heartbeat: it renews the leases of the attempts that this process runs.

A thread, started with a claim and ended when there has been nothing to renew for a while. On the machine itself
nobody needs it: there a process is alive as long as it exists. It is for those who cannot see this process, such as
another container that shares the folder.
"""

import logging
import os
import threading
import time
import weakref

from entropic.db.ledger import Ledger

log = logging.getLogger("entropic")
_all: "weakref.WeakSet[Heart]" = weakref.WeakSet()


class Heart:
    """Renews the leases of one store's attempts, three times within each lease."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Begin anew, with nothing to renew: in a forked child the attempts are the parent's."""
        self._lock = threading.Lock()
        self._attempts: dict[str, str] = {}  # id by attempt
        self._thread: threading.Thread | None = None

    def add(self, id: str, attempt: str) -> None:
        """Keep the lease of an attempt renewed from now on."""
        with self._lock:
            self._attempts[attempt] = id
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="entropic-heartbeat", daemon=True)
                self._thread.start()

    def drop(self, attempt: str) -> None:
        """Renew the lease of an attempt no more."""
        with self._lock:
            self._attempts.pop(attempt, None)

    def _beat(self) -> None:
        while True:
            time.sleep(self._ledger.lease / 3)
            with self._lock:
                attempts = [(id, attempt) for attempt, id in self._attempts.items()]
                if not attempts:
                    self._thread = None
                    return
            try:
                self._ledger.renew(attempts)
            except Exception as error:  # noqa: BLE001  (the next beat may succeed; ending would be worse)
                log.warning("leases could not be renewed: %s", error)


def _forked() -> None:
    for heart in _all:
        heart.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
