"""What one process has claimed of a sweep, and what it may still claim: a few at a time, so that others get some, too.

How many is measured by time. What is claimed but held up behind a long run is released for the others.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Generic, Literal, NamedTuple

from entropic.db.claim_record import FAILED, RUNNING, Claim
from entropic.db.connection import Connection
from entropic.db.raw import told
from entropic.errors import ForeignFileError, PublishError, RunFailed, UnreadableError
from entropic.files.task import Task
from entropic.protocol import run
from entropic.protocol.claim import Busy, begin_first_many, claim, decide, failed, find_pending, lock
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.find import find_many
from entropic.protocol.lookup import Absent, Suspect
from entropic.protocol.request import Progress, Request
from entropic.protocol.wait import Lookout, wait_for_any
from entropic.sweep.deadline import Deadline

PENDING: Literal["pending"] = "pending"  # what somebody has left half done comes first
# What becomes of a set: its task, who runs it, why it can have no row now; None: its row is to be read.
Decision = Task | Busy | RunFailed | PublishError | UnreadableError | Literal["pending"] | None

MOST_CLAIMED = 200  # in one transaction
CHUNK_SECONDS = 0.2  # a chunk of claims should last this long
WAIT_SECONDS = 0.3  # for others, before the sweep is told that there is nothing to do
RELEASE_SECONDS = 0.5  # claims that nobody has begun for this long are released


class Settled(NamedTuple, Generic[ModelT]):
    """Those of a chunk that need no run of ours: the rows that others have stored, and why some can have none."""

    rows: list[tuple[str, ModelT]]
    failures: dict[str, BaseException]


class Claims(Generic[ModelT]):
    """The sets of a sweep that have no row yet, by what is known of them; for one thread at a time.

    Parameters
    ----------
    missing
        What is wanted, by key.
    known
        What was found of those that are not new.
    owner
        The call that claims.
    until
        When the sweep is to be over: what cannot end before that is not claimed, and left.
    """

    def __init__(
        self,
        context: StoreContext[ModelT],
        missing: Mapping[str, Request],
        known: Mapping[str, Suspect | Absent],
        owner: str,
        until: Deadline | None = None,
    ) -> None:
        self._context, self._missing, self._owner, self._until = context, missing, owner, until
        # By attempts and not by times, since clocks of two machines differ:
        # `test_what_failed_while_a_clock_was_ahead_is_tried_again`.
        self._failed_before = self._failed(missing)
        self._asked: set[str] = set()  # beside those that were missing
        self._todo = deque(missing)
        self._seen = set(known)  # what is not new any more, or to be run again
        self._suspects = {id: one for id, one in known.items() if type(one) is Suspect}
        self._known_lost = dict(self._suspects)  # of which the user knows
        self._waited: dict[str, str] = {}  # the attempts that this process has waited for
        self._busy: dict[str, Claim] = {}
        self._met: set[str | None] = set()  # owners of sets that the latest chunk could not have
        self._lookout = Lookout(context)  # for the busy ones; a new one whenever there are some again
        self._claimed: deque[Task] = deque()
        self._may_run: set[str] = set()  # attempts that came back unbegun, and may have been begun elsewhere before
        self._last_taken = time.monotonic()
        self._chunk, self._chunk_began = 1, 0.0
        self.under_way: dict[str, Task] = {}
        """What is handed out and has not come back."""
        self.left: list[str] = []
        """What is not begun any more, as it is too late, or is waited for no longer."""
        self.left_running: set[str] = set()
        """What of it others run, once it was read."""

    def _failed(self, ids: Iterable[str]) -> dict[str, str]:
        """Return those that have failed, and their attempts."""
        return {one.id: one.attempt for one in self._context.ledger.find_many(ids) if one.state == FAILED}

    @property
    def is_open(self) -> bool:
        """Whether there are sets that may still get a row."""
        return bool(self._todo or self._busy or self._claimed)

    @property
    def has_claimed(self) -> bool:
        """Whether there is a task to hand out."""
        return bool(self._claimed)

    @property
    def has_unclaimed(self) -> bool:
        """Whether there are sets to be claimed, as far as is known."""
        return bool(self._todo)

    @property
    def waiting(self) -> list[str]:
        """What is claimed, or still to be, and not handed out."""
        return [*(task.id for task in self._claimed), *self._todo]

    @property
    def elsewhere(self) -> int:
        """How many sets others run."""
        return len(self._busy)

    def is_late(self, id: str) -> bool:
        """Tell whether it is too late for a set to begin."""
        return self._until is not None and self._until.begin_by(self._missing[id].params) < time.time()

    # ---- claiming ----------------------------------------------------------------------------------------------
    def claim_chunk(self) -> Settled[ModelT]:
        """Claim the next few sets that nobody has; return what there is to say of those that are not to be run."""
        self._resize()
        members, self._met = 1 + len(self._met), set()
        count = min(self._chunk, -(-len(self._todo) // (2 * members)))  # less and less, so that all end together
        ids: list[str] = []
        while self._todo and len(ids) < count:
            id = self._todo.popleft()
            # What was waited for has ended, one way or another, and is looked at first.
            (self.left if id not in self._waited and self.is_late(id) else ids).append(id)
        decisions: dict[str, Decision] = {**self._claim_first(ids)}
        rest = [id for id in ids if id not in decisions]
        if rest:
            decisions |= self._claim_rest(rest)
        failures: dict[str, BaseException] = {}
        to_read = []
        for id in ids:
            decision = decisions[id]
            if isinstance(decision, Task):
                self._hold(decision)
            elif isinstance(decision, Busy):
                if not self._busy:
                    self._lookout = Lookout(self._context)
                self._busy[id] = decision.claim
                self._met.add(decision.claim.owner)
            elif isinstance(decision, RunFailed | PublishError | UnreadableError):
                failures[id] = decision
            else:
                to_read.append(id)
        return Settled(self._read(to_read), failures)

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
            if decision == PENDING:
                try:
                    decisions[id] = claim(self._context, self._missing[id], self._owner, self._known_of(id))
                # It ended just now, and not well, or cannot be recorded, or not be read.
                except (RunFailed, PublishError, UnreadableError) as error:
                    decisions[id] = error
        return decisions

    def _decide(self, connection: Connection, id: str) -> Decision:
        try:
            found, taken = lock(self._context, connection, id)
            if find_pending(self._context, found) is not None:
                return PENDING
        except UnreadableError as error:  # the fault of this one alone
            return error
        if found is not None and found.state == FAILED and self._failed_meanwhile(found):
            return failed(self._context, self._missing[id], self._context.ledger.failure(id, connection))
        request, known = self._missing[id], self._known_of(id)
        try:
            return decide(self._context, connection, request, self._owner, known, found, taken)
        except ForeignFileError as error:  # said before its claim, so the transaction of the others can go on
            return error

    def _known_of(self, id: str) -> Progress:
        return Progress(suspect=self._suspects.get(id), waited=self._waited.get(id))

    def _failed_meanwhile(self, found: Claim) -> bool:
        """Tell whether a set failed since this sweep began: all who share a sweep run it once."""
        return found.attempt != self._failed_before.get(found.id) or found.attempt == self._waited.get(found.id)

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

    def _read(self, ids: list[str]) -> list[tuple[str, ModelT]]:
        """Read the rows that somebody has stored meanwhile; what has none after all is wanted again."""
        if not ids:
            return []
        wanted, rows = dict.fromkeys(ids), []
        for id in ids:
            self._suspects.pop(id, None)
        for id, found in find_many(self._context, {id: self._missing[id].params for id in ids}):
            if type(found) is Suspect:
                self._suspects[id] = found
            elif type(found) is not Absent:
                rows.append((id, found))
                del wanted[id]
        self.enqueue_again(wanted)
        return rows

    def enqueue(self, id: str, known: Suspect | Absent | None) -> None:
        """Enqueue one set more, of which this is known."""
        if id not in self._asked:  # else its failure is one of this sweep
            self._failed_before |= self._failed([id])
            self._asked.add(id)
        if known is not None:
            self._seen.add(id)
        if isinstance(known, Suspect):
            self._suspects[id] = known
        self._todo.append(id)

    def enqueue_again(self, ids: Iterable[str]) -> None:
        """Enqueue some sets once more: they are not new any more, so what is known of them is looked at first."""
        for id in ids:
            self._seen.add(id)
            self._todo.append(id)

    # ---- what others run ---------------------------------------------------------------------------------------
    def enqueue_freed(self) -> None:
        """Enqueue again what others have ended, if it is time to look."""
        self._enqueue_freed(self._lookout.find_free(self._busy))

    def wait_for_others(self) -> None:
        """Wait a moment for what others run, and enqueue again what they have ended."""
        self._enqueue_freed(wait_for_any(self._context, self._busy, WAIT_SECONDS, self._lookout))

    def _enqueue_freed(self, ids: list[str]) -> None:
        for id in ids:
            self._waited[id] = self._busy.pop(id).attempt
        self.enqueue_again(ids)

    # ---- handing out, and releasing ----------------------------------------------------------------------------
    def hand_out(self) -> Task:
        """Return the next claimed task, which is under way from here on."""
        task = self._claimed[0]
        self.under_way[task.id] = task
        self._claimed.popleft()  # only now, so that an interrupt finds it
        self._last_taken = time.monotonic()
        return task

    def warn_of_loss(self, task: Task) -> None:
        """Say that the result that was stored of a task is lost, unless that was said when the sweep began."""
        suspect = self._suspects.get(task.id)
        if suspect is not None and task.id not in self._known_lost:
            run.warn_of_loss(self._context, [(self._missing[task.id], suspect)])

    def leave(self, *tasks: Task) -> None:
        """Let others have tasks that it is too late for."""
        for task in tasks:
            self._context.lease_keeper.stop(task.attempt)
        self._end(tasks)
        for task in tasks:
            self.under_way.pop(task.id, None)
            self.left.append(task.id)

    def give_away(self, task: Task) -> None:
        """Leave a task whose claim is somebody else's by now."""
        self.under_way.pop(task.id, None)
        self.left.append(task.id)

    def leave_late(self) -> None:
        """Leave all that is not handed out, and that it is too late for by now."""
        late = {task.id: task for task in self._claimed if self.is_late(task.id)}
        self.leave(*late.values())
        self._claimed = deque(task for task in self._claimed if task.id not in late)
        todo, self._todo = self._todo, deque[str]()
        for id in todo:
            (self.left if self.is_late(id) else self._todo).append(id)

    def leave_to_others(self) -> None:
        """Wait no longer for what others run."""
        self.left += self._busy
        self._busy.clear()

    def read_left(self) -> Settled[ModelT]:
        """Return the rows of those that were left, and that others have stored; and what has failed there since."""
        kept = dict.fromkeys(self._not_replaced(self.left))
        rows = self._read([id for id in self.left if id not in kept])
        found = list(self._context.ledger.find_many([*kept, *self._todo]))
        failures: dict[str, BaseException] = {
            one.id: failed(self._context, self._missing[one.id], self._context.ledger.failure(one.id))
            for one in found
            if one.state == FAILED and self._failed_meanwhile(one)
        }
        self.left = [id for id in (*kept, *self._todo) if id not in failures]
        self._todo.clear()
        self.left_running = {one.id for one in found if one.state == RUNNING and not one.gone}
        return Settled(rows, failures)

    def _not_replaced(self, ids: Iterable[str]) -> list[str]:
        """Return those of some sets whose stored rows were to be replaced, and are what they were."""
        old = {id: self._known_lost[id] for id in ids if id in self._known_lost}
        replaced = {id: one.raw for id, one in old.items() if one.unwanted or one.stale}
        now = {self._context.rows.id_of(raw): raw for raw in self._context.rows.read_many(replaced)}
        return [id for id, raw in replaced.items() if id in now and told(now[id]) == told(raw)]

    def take_back(self, task: Task, late: bool = False, may_run: bool = False) -> None:
        """Take back a task that has not begun.

        Parameters
        ----------
        late
            Whether it is too late for it; else it is handed out again.
        may_run
            Whether it may all the same have begun before, elsewhere, and still be finished there.
        """
        if may_run:
            self._may_run.add(task.attempt)
        if late:
            self.leave(task)
        else:
            self._claimed.append(task)

    def release_if_idle(self) -> None:
        """Let others run what is claimed, and has not begun for a while."""
        if self._claimed and time.monotonic() - self._last_taken > RELEASE_SECONDS:
            self._release_claimed()

    def _release_claimed(self) -> None:
        if not self._claimed:
            return
        self._end(self._claimed)
        while self._claimed:
            task = self._claimed.pop()
            self._context.lease_keeper.stop(task.attempt)
            self._seen.add(task.id)
            self._todo.appendleft(task.id)
        self._chunk = 1

    def end_all(self, ended: bool) -> None:
        """Let others have all that is claimed; what still goes on elsewhere, unless it has `ended`, may be finished.

        The ledger says what that is, too: an interrupt may have come between a claim and the note that was to be made
        of it. What is finished all the same, and could not be published here, is left to whoever asks for it next.
        """
        ours: dict[str, Task | Claim] = {task.attempt: task for task in (*self.under_way.values(), *self._claimed)}
        ours |= {one.attempt: one for one in self._context.ledger.pending_of(self._owner) if one.state == RUNNING}
        if not ended:
            self._may_run.update(ours.keys() - {task.attempt for task in self._claimed})
        self._end(one for one in ours.values() if not self._context.is_finished(one.id, one.attempt))

    def _end(self, tasks: Iterable[Task | Claim]) -> None:
        """End the claims on some tasks, in the order of their keys; what may run is only abandoned."""
        ours = (task for task in tasks if task.owner == self._owner)  # else jobs run it, for which nobody waits
        claims, ledger = sorted((task.id, task.attempt) for task in ours), self._context.ledger
        if not claims:
            return

        def work(connection: Connection) -> None:
            for id, attempt in claims:
                (ledger.abandon if attempt in self._may_run else ledger.release)(connection, id, attempt)

        self._context.database.transact(work)

    def close(self) -> None:
        """Renew no leases any more, and look at no jobs."""
        self._lookout.close()
        for task in [*self.under_way.values(), *self._claimed]:
            self._context.lease_keeper.stop(task.attempt)
