"""A process's share of a sweep: what it has claimed, what is under way, what is finished and not yet published.

Claims are taken a few at a time, and results published a few at a time, both measured by time: others see what is
finished within half a second, and what is claimed but held up behind a long run is given back to them.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from entropic.db.connection import Connection
from entropic.db.ledger import FAILED, Claim
from entropic.errors import ForeignFileError, PublishError, RunFailed, UnreadableError, note, noting
from entropic.executors.contract import TORN, Outcome, outcome_on_disk
from entropic.files import sidecar as sidecars
from entropic.files.attempt import Task
from entropic.files.sidecar import Sidecar
from entropic.protocol import lookup, publish, run
from entropic.protocol.claim import Busy, begin_first_many, claim, decide, failed, lock, undone
from entropic.protocol.context import StoreContext
from entropic.protocol.find import find_many
from entropic.protocol.lookup import Absent, Hit, Suspect
from entropic.protocol.request import Progress, Request
from entropic.protocol.wait import LONGEST, Pauses, freed, wait_for_any
from entropic.support import process
from entropic.support.failure import describe, message_of

log = logging.getLogger("entropic")

UNDONE: Literal["undone"] = "undone"  # what somebody has left half done comes first
# What becomes of a set: its task, who runs it, why it can have no row now; None: its row is to be read.
Decision = Task | Busy | RunFailed | PublishError | UnreadableError | Literal["undone"] | None

MOST_CLAIMED = 200  # in one transaction
CHUNK_SECONDS = 0.2  # a chunk of claims should last this long
PUBLISH_SECONDS = 0.2  # finished runs wait no longer than this
WAIT_SECONDS = 0.3  # for others, before the sweep is told that there is nothing to do
GIVE_BACK_SECONDS = 0.5  # claims that nobody has begun for this long go back


class Share:
    """One process's part in a sweep.

    Parameters
    ----------
    missing
        What is wanted, by key.
    known
        What was found of those that are not new.
    owner
        The call that claims.
    on_row
        Called with the key and the row of each set that has got one.
    keep_going
        Whether a failed run leaves the rest to be run.
    """

    def __init__(
        self,
        context: StoreContext[Any],
        missing: Mapping[str, Request],
        known: Mapping[str, Suspect | Absent],
        owner: str,
        on_row: Callable[[str, Any], None],
        keep_going: bool = False,
    ) -> None:
        self._context, self._missing, self._owner, self._on_row = context, missing, owner, on_row
        self._keep_going = keep_going
        self._began, self._pid = time.time(), os.getpid()
        self._todo = deque(missing)
        self._suspects = {id: one for id, one in known.items() if type(one) is Suspect}
        self._known_lost = set(self._suspects)  # of which the user knows
        self._seen = set(known)  # what is not new any more, or to be run again
        self._waited: dict[str, str] = {}  # the attempts that this process has waited for
        self._busy: dict[str, Claim] = {}
        self._met: set[str | None] = set()  # owners of sets that the latest chunk could not have
        self._pauses: Pauses | None = None  # while there is nothing to do but to wait for others
        self._look_again = 0.0  # when to look at the busy ones again
        self._claimed: deque[Task] = deque()
        self._last_taken = time.monotonic()
        self.under_way: dict[str, Task] = {}
        self._here: tuple[Task, float] | None = None  # the task that this thread executes, and when it has begun that
        self._finished: list[tuple[Task, Sidecar]] = []
        self._published_at = time.monotonic()
        self.astray: list[Outcome] = []  # what an executor could not bring home
        self.went_astray = False
        self.ran = 0
        self.failures: dict[str, BaseException] = {}
        self._chunk, self._chunk_began = 1, 0.0
        self._error: BaseException | None = None
        self._lock = threading.RLock()
        self._open = threading.Lock()  # until it is released: an `Event` that an interrupt sets may never be set
        self._open.acquire()
        self._clock = threading.Thread(target=self._tick, name="entropic-sweep", daemon=True)
        self._clock.start()

    @property
    def is_open(self) -> bool:
        """Whether there are sets that may still get a row."""
        return bool(self._todo or self._busy or self._claimed or self.astray) and not self.stops

    @property
    def stops(self) -> bool:
        """Whether a failure has ended the handing out."""
        return bool(self.failures) and not self._keep_going

    @property
    def elsewhere(self) -> int:
        """How many sets others run."""
        return len(self._busy)

    def goes_on(self, attempt: str) -> bool:
        """Tell whether an attempt of ours ends, or is given back, even if nothing more happens in this thread."""
        busy: bool = self._lock._is_owned()  # type: ignore[attr-defined]
        return not busy and (self._here is None or self._here[0].attempt != attempt)

    # ---- handing out -------------------------------------------------------------------------------------------
    def tasks(self) -> Iterator[Task | None]:
        """Yield claimed tasks, claiming as they are taken, until every set has a row or has failed.

        Where there is none at the moment, since others run what is left, yields None. What goes wrong here is no fault
        of the executor that takes them: it comes out of `reraise`.
        """
        try:
            while not self.stops:
                task = self._next()
                if task is None and not (self._busy or self.under_way):
                    return
                yield task
        except Exception as error:  # noqa: BLE001
            self._error = error

    def _next(self) -> Task | None:
        with self._lock:
            self.reraise()
            if not self._claimed and not self._todo and self._busy:
                self._look_around()
            while not self._claimed and self._todo and not self.stops:
                self._claim_chunk()
            if not self._claimed or self.stops:
                return None
            task = self._claimed[0]
            self.under_way[task.id] = task
            self._claimed.popleft()  # only now, so that an interrupt finds it
            self._last_taken = time.monotonic()
        if (suspect := self._suspects.get(task.id)) is not None and task.id not in self._known_lost:
            run.warn_of_loss(self._context, [(self._missing[task.id], suspect)])
        return task

    def _look_around(self) -> None:
        """Want again what others have ended: wait for that, if there is nothing else to do."""
        if self.under_way:
            began = time.monotonic()
            if began < self._look_again:
                return
            free = freed(self._context, self._busy)
            took = time.monotonic() - began
            self._look_again = time.monotonic() + max(LONGEST, 5 * took)  # a million of them take a while
        else:
            self.publish()
            self._pauses = self._pauses or Pauses(self._context)
            free = wait_for_any(self._context, self._busy, WAIT_SECONDS, self._pauses)
        if free:
            self._pauses = None
        for id in free:
            self._waited[id] = self._busy.pop(id).attempt
            self._want_again(id)

    def _want_again(self, id: str) -> None:
        self._seen.add(id)
        self._todo.append(id)

    def _claim_chunk(self) -> None:
        """Claim the next few sets that nobody has."""
        self._resize()
        members, self._met = 1 + len(self._met), set()
        count = min(self._chunk, -(-len(self._todo) // (2 * members)))  # less and less, so that all end together
        ids = [self._todo.popleft() for _ in range(count)]
        decisions: dict[str, Decision] = {**self._claim_first(ids)}
        rest = [id for id in ids if id not in decisions]
        if rest:
            decisions |= self._claim_rest(rest)
        self._read([id for id in ids if not self._sort_in(id, decisions[id])])

    def _claim_first(self, ids: list[str]) -> dict[str, Task]:
        """Claim, in one transaction, those sets that nobody has ever claimed."""
        requests = [self._missing[id] for id in ids if id not in self._seen]
        if not requests:
            return {}
        return self._context.database.transact(
            lambda connection: begin_first_many(self._context, connection, requests, self._owner)
        )

    def _claim_rest(self, ids: list[str]) -> dict[str, Decision]:
        """Look, in one transaction, at sets that were claimed before, and claim those that nobody runs."""

        def work(connection: Connection) -> dict[str, Decision]:
            # Locked in the order of the keys: who locks several in another order meets a deadlock.
            return {id: self._decide(connection, id) for id in sorted(ids)}

        decisions = self._context.database.transact(work)
        for id, decision in decisions.items():
            if decision == UNDONE:
                try:
                    decisions[id] = claim(self._context, self._missing[id], self._owner, self._known_of(id))
                # It ended just now, and not well, or cannot be recorded, or not be read.
                except (RunFailed, PublishError, UnreadableError) as error:
                    decisions[id] = error
        return decisions

    def _decide(self, connection: Connection, id: str) -> Decision:
        try:
            found, taken = lock(self._context, connection, id)
            if undone(self._context, found) is not None:
                return UNDONE
        except UnreadableError as error:  # the fault of this one alone
            return error
        failure = self._failed_meanwhile(connection, found) if found is not None and found.state == FAILED else None
        try:
            return failure or decide(
                self._context, connection, self._missing[id], self._owner, self._known_of(id), found, taken
            )
        except ForeignFileError as error:  # said before its claim, so the transaction of the others can go on
            return error

    def _known_of(self, id: str) -> Progress:
        return Progress(suspect=self._suspects.get(id), waited=self._waited.get(id))

    def _sort_in(self, id: str, decision: Decision) -> bool:
        """Do with a set what was decided; False if its row is to be read."""
        if isinstance(decision, Task):
            self._hold(decision)
        elif isinstance(decision, Busy):
            self._busy[id] = decision.claim
            self._met.add(decision.claim.owner)
        elif isinstance(decision, RunFailed | PublishError | UnreadableError):
            self.failures[id] = decision
        return decision is not None

    def _failed_meanwhile(self, connection: Connection, found: Claim) -> RunFailed | None:
        """Return the failure of a set that failed since this sweep began: all who share a sweep run it once."""
        request, failure = self._missing[found.id], self._context.ledger.failure(found.id, connection)
        ended = failure.get("started_at", 0.0) + failure.get("elapsed_seconds", 0.0)
        if ended < self._began and found.attempt != self._waited.get(found.id):
            return None
        return failed(self._context, request, failure)

    def _resize(self) -> None:
        now = time.monotonic()
        if self._chunk_began:
            quick = now - self._chunk_began < CHUNK_SECONDS
            self._chunk = min(self._chunk * 2, MOST_CLAIMED) if quick else max(self._chunk // 2, 1)
        self._chunk_began = now

    def _hold(self, task: Task) -> None:
        self._claimed.append(task)
        self._waited.pop(task.id, None)
        self._context.lease_keeper.add(task.id, task.attempt, task.owner)

    def _read(self, ids: list[str]) -> None:
        """Read the rows that somebody has stored meanwhile; what has none after all is wanted again."""
        wanted = dict.fromkeys(ids)
        for id in ids:
            self._suspects.pop(id, None)
        for id, found in find_many(self._context, {id: self._missing[id].params for id in ids}):
            if type(found) is Suspect:
                self._suspects[id] = found
            elif type(found) is not Absent:
                self._on_row(id, found)
                del wanted[id]
        for id in wanted:
            self._want_again(id)

    # ---- executing here ----------------------------------------------------------------------------------------
    def execute(self, task: Task) -> Outcome:
        """Execute a task in this process."""
        began = time.time()
        self._here = task, began
        try:
            finished, error = run.execute(self._context, task), None
        except Exception as raised:  # noqa: BLE001  (whatever a runner raises)
            finished, error = None, raised
        self._here = None  # not after an interrupt: then it is the one that was interrupted
        if error is not None:
            return Outcome(task, None, message_of(error), describe(error, began), error)
        return Outcome(task, finished, TORN)

    # ---- taking home -------------------------------------------------------------------------------------------
    def take(self, outcome: Outcome, falls_back: bool) -> None:
        """Take in what has become of a task.

        Parameters
        ----------
        falls_back
            Whether what failed where it ran is run in this process, unless the sweep keeps going.
        """
        with self._lock:
            self.reraise()
            task = outcome.task
            self.under_way.pop(task.id, None)
            if outcome.unbegun:
                self._claimed.append(task)
                return
            self._context.lease_keeper.drop(task.attempt)
            if outcome.finished is not None:
                self._finished.append((task, outcome.finished))
            elif outcome.failure is not None and (self._keep_going or not falls_back):
                self._fail(outcome)
            elif falls_back:
                self._context.database.transact(  # who wants it meanwhile need not wait for us
                    lambda connection: self._context.ledger.abandon(connection, task.id, task.attempt)
                )
                self.astray.append(outcome)
            else:
                self._want_again(task.id)  # its claim is ours, so it is claimed anew
            self.publish_if_due()

    def _fail(self, outcome: Outcome) -> None:
        task, failure, error = outcome.task, outcome.failure, outcome.error
        assert failure is not None
        assert error is not None
        try:
            recorded = run.end_claim(
                self._context, self._missing[task.id], lambda found: found.attempt == task.attempt, failure
            )
        except Exception as second:  # noqa: BLE001  (what the run raised is the one to see)
            note(error, f"entropic: and its failure could not be recorded: {second}")
            recorded = True
        if not recorded:
            self._want_again(task.id)  # it is finished all the same, or somebody else has it
            return
        run.note_params(self._context, error, task)
        if self._keep_going:  # its frames hold whatever the run has made, and nobody will raise it
            error = error.with_traceback(None)
            error.__cause__ = error.__context__ = None
        self.failures[task.id] = error
        log.debug("failed: %s: %s", self._context.describe(task.params, task.id), error)
        if not self._keep_going and self.under_way:
            log.warning("%s failed; %d runs are under way and end first", task.id, len(self.under_way))

    def miss(self, reason: str) -> None:
        """Take in what was handed out and will not come home: what is finished lies on the disk."""
        for task in list(self.under_way.values()):
            self.take(outcome_on_disk(task, reason), falls_back=True)

    def publish_if_due(self) -> None:
        """Publish what is finished, if that is worth a transaction by now."""
        with self._lock:
            waited = time.monotonic() - self._published_at
            if self._finished and (waited > PUBLISH_SECONDS or len(self._finished) >= MOST_CLAIMED):
                self.publish()

    def publish(self) -> None:
        """Publish what is finished, and read its rows."""
        with self._lock:
            finished, self._finished = self._finished, []
            if not finished:
                return
            done = publish.Published()
            try:
                publish.publish_many(self._context, finished, done)
                for sidecar in done.superseded.values():
                    run.superseded(self._context, sidecar)
                self.failures |= done.refused  # it is kept, and recorded as soon as that is possible
            finally:
                self._read_published([task.id for task, _ in finished if task.id not in done.refused], done.raws)
                self._published_at = time.monotonic()

    def _read_published(self, ids: Iterable[str], raws: Mapping[str, Any]) -> None:
        """Take in the rows of what was published just now; what has none, since it was not or is deleted, is wanted.

        Parameters
        ----------
        raws
            What is known of them; the rest is read.
        """
        wanted = dict.fromkeys(ids)
        known = {id: raw for id in wanted if (raw := raws.get(id)) is not None}
        read = self._context.rows.read_many(wanted.keys() - known.keys())
        for raw in (*known.values(), *(raw for raw in read if isinstance(lookup.classify(self._context, raw), Hit))):
            id = self._context.rows.id_of(raw)
            params = self._missing[id].params
            row = self._context.row(raw, params)
            self._on_row(id, row)
            del wanted[id]
            if log.isEnabledFor(logging.DEBUG):
                log.debug("ran %s in %s s", self._context.describe(params, id), row.custom_data.get("elapsed_seconds"))
            self.ran += 1
        for id in wanted:
            self._want_again(id)

    def bring_home(self) -> None:
        """Want again, in this process, what an executor could not bring home; say which sets, and why."""
        astray, self.astray = self.astray, []
        self.went_astray = True
        reasons = {outcome.reason for outcome in astray}
        sets = "; ".join(str(outcome.task.params) for outcome in astray[:5]) + ("; ..." if len(astray) > 5 else "")
        log.warning(
            "%d sets did not come home and run in this process: %s. Why: %s",
            *(len(astray), sets, "; ".join(sorted(reasons)[:5])),
        )
        for outcome in astray:
            self._want_again(outcome.task.id)

    # ---- keeping time, and ending ------------------------------------------------------------------------------
    def _tick(self) -> None:
        """Do, while the runner takes its time, what should not wait for it."""
        while not self._open.acquire(timeout=PUBLISH_SECONDS / 2) and process.state(self._owner) == "alive":
            with self._lock:
                try:
                    self.publish_if_due()
                    if self._claimed and time.monotonic() - self._last_taken > GIVE_BACK_SECONDS:
                        self._give_back(self._claimed)
                except Exception as error:  # noqa: BLE001  (raised where the user can see it)
                    self._error = error

    def reraise(self) -> None:
        """Raise what went wrong where nobody could see it."""
        if self._error is None:
            return
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise error

    def _give_back(self, tasks: deque[Task]) -> None:
        """Let others run what is claimed and has not begun."""
        if not tasks:
            return
        self._let_go(tasks, self._context.ledger.release)
        while tasks:
            task = tasks.pop()
            self._context.lease_keeper.drop(task.attempt)
            self._seen.add(task.id)
            self._todo.appendleft(task.id)
        self._chunk = 1

    def _let_go(self, tasks: Iterable[Task], end: Callable[[Connection, str, str], bool]) -> None:
        """End the claims on some tasks, in the order of their keys."""
        claims = sorted((task.id, task.attempt) for task in tasks)

        def work(connection: Connection) -> None:
            for id, attempt in claims:
                end(connection, id, attempt)

        self._context.database.transact(work)

    def give_up(self, error: BaseException, ended: bool) -> None:
        """End early: publish what is finished, record what was interrupted, and let others have the rest.

        Parameters
        ----------
        ended
            Whether nothing that was handed out goes on.
        """
        if os.getpid() != self._pid:
            return  # a child that was forked meanwhile: nothing here is its own
        with self._lock, noting(error):
            try:
                for task in list(self.under_way.values()):
                    finished = sidecars.read(task.staging, task.key, task.attempt)
                    if finished is not None:
                        self._finished.append((task, finished))
                        del self.under_way[task.id]
                known = set(self.failures)
                self.publish()
                for id in self.failures.keys() - known:
                    note(error, f"entropic: and on the way out: {self.failures[id]}")
            finally:
                here, self._here = self._here, None
                if here is not None and self.under_way.pop(here[0].id, None) is not None:
                    task, began = here
                    run.give_up(self._context, self._missing[task.id], self._owner, error, task.attempt, began)
                # A worker that goes on may still finish its task; then it is taken in when it is next asked for.
                end = self._context.ledger.release if ended else self._context.ledger.abandon
                self._let_go(self.under_way.values(), end)
                self._give_back(self._claimed)

    def close(self) -> None:
        """Stop the clock."""
        if self._open.locked():
            self._open.release()
        self._clock.join()
        for task in [*self.under_way.values(), *self._claimed]:
            self._context.lease_keeper.drop(task.attempt)
