"""Waiting for somebody else's run, without waiting for what cannot come."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from entropic.db.claim_record import RUNNING, Claim
from entropic.errors import CycleError
from entropic.files.task import Inside, inside
from entropic.params.model import Base, naive_utc
from entropic.protocol.claim import Act, Busy, T, act_when_settled
from entropic.protocol.context import StoreContext
from entropic.support import process

if TYPE_CHECKING:
    from entropic.protocol.submitted import Watch

log = logging.getLogger("entropic")

SHORTEST = 0.002  # s between the first two looks
SOON, LONGEST = 0.1, 0.5  # s between two later ones: a dead owner is seen well within a second
AWAY, FAR = 0.5, 5.0  # s on a server, where each needs a connection that others may be waiting for
SHARE = 0.05  # of the time waited so far, that the next pause may last: who waits for long is told a little later
WATCH_SECONDS = 5.0  # between two looks at the jobs of sets for which no process waits
PATIENCE = 1.0  # s before the log says for whom a call waits


class Lookout:
    """Looks, for a call that waits, whether others have ended: ever more seldom, the longer that takes.

    A look costs the same for one set and for thousands: one statement, one listing of a folder, and one question to
    the system for each owner. On a server, this thread has no connection during the long pauses. Else those who wait
    could hold all connections that the one for whom they wait needs to record its result:
    `tests/servers/test_crowds.py`. Whether an owner on this machine has died is asked without one.
    """

    def __init__(self, context: StoreContext[Base]) -> None:
        self._context, self._is_told = context, False
        self._soon, self._longest = (AWAY, FAR) if context.database.is_shared else (SOON, LONGEST)
        self._since = self._due = time.monotonic()
        self._pause = SHORTEST
        self._watch: Watch | None = None  # of submissions
        self._watched = self._since

    def find_free(self, busy: Mapping[str, Claim]) -> list[str]:
        """Return the ids of those claims that are worth another look; none, unless it is time to see."""
        began = time.monotonic()
        if began < self._due:
            return []
        self._tend_submissions(busy)
        free = find_free(self._context, busy)
        now = time.monotonic()
        if len(free) == len(busy):
            self.close()
        if free:  # more may end soon
            self._since = self._due = now
            self._pause = SHORTEST
        else:
            self._due = now + max(self._pause, 5 * (now - began))  # a million of them take a while
            self._pause = min(1.5 * self._pause, max(self._soon, SHARE * (now - self._since)), self._longest)
        return free

    def _tend_submissions(self, busy: Mapping[str, Claim]) -> None:
        """See what has become of jobs for which no process waits, if some of the sets are theirs: nobody else might."""
        now = time.monotonic()
        if now - self._watched < WATCH_SECONDS or self._context.read_only is not None:
            return
        self._watched = now
        if all(one.submission is None for one in busy.values()):
            return
        from entropic.protocol.submitted import Watch

        self._watch = self._watch or Watch(self._context)
        self._watch.tend()
        for trouble in self._watch.troubles:
            log.warning("%s; its sets are free", trouble)
        self._watch.troubles.clear()

    def close(self) -> None:
        """Wait for no answer of Slurm any more."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def rest(self, busy: Mapping[str, Claim], until: float) -> None:
        """Pause until it is time to look, or something else, but for no longer than a dead owner may stay unseen."""
        now = time.monotonic()
        if not self._is_told and now - self._since > PATIENCE:
            self._is_told = True
            first = next(iter(busy.values()))
            more = f", and for {len(busy) - 1} more" if len(busy) > 1 else ""
            log.info("waiting for %s %s, %s%s", self._context.schema.name, first.id, whom(first), more)
        if self._due - now >= SOON:
            self._context.database.free_connection()
        time.sleep(max(0.0, min(self._due - now, until - now, LONGEST)))
        if self._due - now > LONGEST and any(map(_is_gone, _owners(busy.values()))):
            self._due = now


def act_when_free(context: StoreContext[Base], id: str, act: Act[T | Busy]) -> T:
    """Act on a key under the lock, as `act_when_settled` does, once nothing is half done and nobody runs it."""
    while True:
        done = act_when_settled(context, id, act)
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
    context: StoreContext[Base],
    busy: Mapping[str, Claim],
    seconds: float = float("inf"),
    lookout: Lookout | None = None,
) -> list[str]:
    """Return, as soon as there are some, the ids of those claims that are worth another look; none after some time.

    Who waits for the same ones again gives the same `lookout`.
    """
    if lookout is None:
        with contextlib.closing(Lookout(context)) as lookout:
            return wait_for_any(context, busy, seconds, lookout)
    with _announced(context, list(busy)):
        _refuse_own(busy.values())
        deadline = time.monotonic() + seconds
        while not (free := lookout.find_free(busy)) and time.monotonic() < deadline:
            lookout.rest(busy, deadline)
        return free


def _refuse_own(busy: Iterable[Claim]) -> None:
    """Refuse to wait for what this very thread was doing when it was interrupted: see `Connection.beside`."""
    for one in busy:
        if process.waits_in_vain(one.owner, one.attempt):
            raise CycleError(
                f"{one.model} {one.id} is asked for in the middle of the very call that runs it, which cannot go on "
                "meanwhile: a signal handler, or __del__, has interrupted it; ask when that call has ended"
            )


def find_free(context: StoreContext[Base], busy: Mapping[str, Claim]) -> list[str]:
    """Return the ids of those claims that are worth another look now."""
    now = {found.id: found for found in context.ledger.find_many(busy)}
    same = [now[id] for id, before in busy.items() if id in now and now[id].attempt == before.attempt]
    alive = {owner for owner in _owners(same) if process.state(owner) == "alive"}
    held = [found for found in same if found.state == RUNNING and (found.owner in alive or not found.dead)]
    under_way = {found.id for found in held} - context.find_finished(held)
    return [id for id in busy if id not in under_way]


def _owners(claims: Iterable[Claim]) -> set[str | None]:
    return {found.owner for found in claims}


def _is_gone(owner: str | None) -> bool:
    return process.state(owner) == "dead" and process.number_of_submission(owner) is None


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
    if found.submission is not None:
        return f"which was submitted to Slurm at {owner.since:%Y-%m-%d %H:%M:%S} UTC"
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
    chains = {(context.model, id): [(context.model, id)] for id in ids}
    seen: set[tuple[str, str]] = set()
    while chains:
        for key, chain in chains.items():
            if key in ours:
                keys = [*((run.model, run.id) for run in around), *chain]
                path = " -> ".join(f"{model} {id}" for model, id in keys)
                raise CycleError(
                    f"a run needs its own result: {path}; runs may ask for other runs, but not in a circle"
                )
        seen |= chains.keys()
        further = {}
        for name in {model for model, _ in chains}:  # one statement for all that are equally far away
            for found in context.ledger.of(name).find_many([id for model, id in chains if model == name]):
                if found.state == RUNNING and found.waits_for:
                    for model, id in json.loads(found.waits_for):
                        further[model, id] = [*chains[name, found.id], (model, id)]
        chains = {key: chain for key, chain in further.items() if key not in seen}
