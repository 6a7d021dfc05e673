"""Waiting for somebody else's run, without waiting for what cannot come."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from entropic.db.claim import RUNNING, Claim
from entropic.errors import CycleError
from entropic.files.task import Inside, inside
from entropic.params.model import Base, naive_utc
from entropic.protocol.claim import Act, Busy, T, settled
from entropic.protocol.context import StoreContext
from entropic.support import process

log = logging.getLogger("entropic")

SHORTEST, LONGEST = 0.002, 0.1  # s between two looks: a dead owner is seen well within a second
AWAY = 0.5  # s between two looks on a server, where each needs a connection that others may be waiting for
PATIENCE = 1.0  # s before the log says for whom a call waits


class Pauses:
    """The pauses between looks, which grow; on a server, this thread has no connection during the long ones.

    Else those who wait could hold all connections that the one for whom they wait needs to record its result:
    `tests/servers/test_crowds.py`.
    """

    def __init__(self, context: StoreContext[Base]) -> None:
        self._database, self._seconds = context.database, SHORTEST
        self._longest = AWAY if context.database.is_shared else LONGEST

    def sleep(self, least: float) -> None:
        """Pause, for some time at least, and longer the next time."""
        if self._seconds >= LONGEST:
            self._database.free_connection()
        time.sleep(max(self._seconds, least))
        self._seconds = min(self._seconds * 1.5, self._longest)


def act_when_free(context: StoreContext[Base], id: str, act: Act[T | Busy]) -> T:
    """Act on a key under the lock, as `settled` does, once nothing is half done and nobody runs it."""
    while True:
        done = settled(context, id, act)
        if isinstance(done, Busy):
            wait(context, done)
        elif done is not None:
            return done


def wait(context: StoreContext[Base], busy: Busy) -> str:
    """Return when the attempt has ended, is finished, or has lost its owner; return its name.

    Raises
    ------
    CycleError
        If that run waits, directly or through others, for one that this call is inside of.
    """
    wait_for_any(context, {busy.claim.id: busy.claim})
    return busy.claim.attempt


def wait_for_any(
    context: StoreContext[Base], busy: Mapping[str, Claim], seconds: float = float("inf"), pauses: Pauses | None = None
) -> list[str]:
    """Return, as soon as there are some, the ids of those claims that are worth another look; none after some time.

    Who waits for the same ones again gives the same `pauses`.
    """
    pauses = pauses or Pauses(context)
    with _announced(context, list(busy)):
        _refuse_own(busy.values())
        told, began = False, time.monotonic()
        while True:
            looked = time.monotonic()
            free = freed(context, busy)
            if free or looked - began > seconds:
                return free
            if not told and looked - began > PATIENCE:
                told = True
                first = next(iter(busy.values()))
                more = f", and for {len(busy) - 1} more" if len(busy) > 1 else ""
                log.info("waiting for %s %s, %s%s", context.schema.name, first.id, whom(first), more)
            pauses.sleep(time.monotonic() - looked)


def _refuse_own(busy: Iterable[Claim]) -> None:
    """Refuse to wait for what this very thread was doing when it was interrupted: see `Connection.beside`."""
    for one in busy:
        if process.waits_in_vain(one.owner, one.attempt):
            raise CycleError(
                f"{one.model} {one.id} is asked for in the middle of the very call that runs it, which cannot go on "
                "meanwhile: a signal handler, or __del__, has interrupted it; ask when that call has ended"
            )


def freed(context: StoreContext[Base], busy: Mapping[str, Claim]) -> list[str]:
    """Return the ids of those claims that are worth another look now."""
    now = {found.id: found for found in context.ledger.find_many(busy)}
    return [id for id, found in busy.items() if not _is_under_way(context, now.get(id), found.attempt)]


def _is_under_way(context: StoreContext[Base], now: Claim | None, attempt: str) -> bool:
    if now is None or now.state != RUNNING or now.attempt != attempt or now.dead:
        return False
    return not context.is_finished(now.id, now.attempt)


class Owner(NamedTuple):
    """Who runs a set: on which host, as which process, and since when (naive UTC)."""

    host: str
    pid: int
    since: datetime


def owner_of(found: Claim) -> Owner:
    """Return who runs a claim, and since when."""
    host, _, pid, *_ = (found.owner or "nobody.?.0").split(".")
    return Owner(host, int(pid), naive_utc(found.since or 0))


def whom(found: Claim) -> str:
    """Say who runs a claim, and since when."""
    owner = owner_of(found)
    return f"which has been running on {owner.host} (pid {owner.pid}) since {owner.since:%Y-%m-%d %H:%M:%S} UTC"


@contextlib.contextmanager
def _announced(context: StoreContext[Base], ids: list[str]) -> Iterator[None]:
    """Let the ledger say what a run waits for, while it waits: two runs that wait for each other would never end."""
    # Runs in other folders of the same database count too: a staging folder is named by its database.
    around = [run for run in inside.get() if os.path.basename(run.staging) == os.path.basename(context.staging.root)]
    if not around:
        yield
        return
    innermost = around[-1]
    ledger = context.ledger.of(innermost.model)
    ledger.wait_for(innermost.id, innermost.attempt, json.dumps([[context.model, id] for id in ids]))
    try:
        check_cycle(context, around, ids)
        yield
    finally:
        ledger.wait_for(innermost.id, innermost.attempt, None)


def check_cycle(context: StoreContext[Base], around: list[Inside], ids: list[str]) -> None:
    """Follow who waits for whom, starting with some keys; raise if that leads to a run that this call is inside of."""
    ours = {(run.model, run.id) for run in around}
    chains = [[(context.model, id)] for id in ids]
    seen = set()
    while chains:
        chain = chains.pop()
        key = chain[-1]
        if key in ours:
            path = " -> ".join(f"{model} {id}" for model, id in [*((run.model, run.id) for run in around), *chain])
            raise CycleError(f"a run needs its own result: {path}; runs may ask for other runs, but not in a circle")
        if key in seen:
            continue
        seen.add(key)
        found = context.ledger.of(key[0]).find(key[1])
        if found is not None and found.state == RUNNING and found.waits_for:
            chains += [[*chain, (model, id)] for model, id in json.loads(found.waits_for)]
