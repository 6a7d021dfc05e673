"""A process's share of a sweep: what it has claimed, what is under way, what is finished and not yet published.

Claims are taken a few at a time, and results published a few at a time, both measured by time: others see what is
finished within half a second, and what is claimed but held up behind a long run is given back to them.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from entropic import lookup, publish, run
from entropic.claim import Busy, Want, begin_first_many, claim, decide, lock, undone
from entropic.db.ledger import Claim
from entropic.errors import note
from entropic.executors.contract import Outcome
from entropic.files import sidecar as sidecars
from entropic.files.attempt import Task
from entropic.files.sidecar import Sidecar
from entropic.parts import Parts
from entropic.wait import wait_for_any

log = logging.getLogger("entropic")

MOST_CLAIMED = 200  # in one transaction
CHUNK_SECONDS = 0.2  # a chunk of claims should last this long
PUBLISH_SECONDS = 0.2  # finished runs wait no longer than this, if the runner lets us
GIVE_BACK_SECONDS = 0.5  # claims behind a run that takes longer go back


class Share:
    """One process's part in a sweep.

    Parameters
    ----------
    rows
        Every key of the sweep with its row, or None; filled in here.
    missing
        What is wanted, by key.
    owner
        The call that claims.
    """

    def __init__(self, parts: Parts[Any], rows: dict[str, Any], missing: Mapping[str, Want], owner: str) -> None:
        self._parts, self._rows, self._missing, self._owner = parts, rows, missing, owner
        self._todo = deque(missing)
        self._busy: dict[str, Claim] = {}
        self._claimed: deque[Task] = deque()
        self._under_way: dict[str, Task] = {}
        self._here: Task | None = None  # the task that this thread executes
        self._here_since = 0.0
        self._finished: list[tuple[Task, Sidecar]] = []
        self._finished_since = 0.0
        self.astray: list[Outcome] = []  # what an executor could not bring home
        self.went_astray = False
        self.ran = 0
        self._chunk, self._chunk_began = 1, 0.0
        self._error: BaseException | None = None
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="entropic-sweep", daemon=True)
        self._clock.start()

    @property
    def is_open(self) -> bool:
        """Whether there are sets without a row."""
        return bool(self._todo or self._busy or self.astray)

    # ---- handing out -------------------------------------------------------------------------------------------
    def tasks(self) -> Iterator[Task]:
        """Yield claimed tasks, claiming as they are taken, until no unclaimed set is left.

        What goes wrong here is no fault of the executor that takes them: it comes out of `reraise`.
        """
        try:
            while (task := self._next()) is not None:
                yield task
        except Exception as error:  # noqa: BLE001
            self._error = error

    def _next(self) -> Task | None:
        with self._lock:
            self.reraise()
            while not self._claimed and self._todo:
                self._claim_chunk()
            if not self._claimed:
                return None
            task = self._claimed.popleft()
            self._under_way[task.id] = task
        if self._missing[task.id].suspect is not None:
            run.warn_of_loss(self._parts, self._missing[task.id])
        return task

    def _claim_chunk(self) -> None:
        """Claim the next few sets that nobody has, in one transaction."""
        self._resize()
        stored: list[str] = []
        undone_: list[str] = []
        ids = [self._todo.popleft() for _ in range(min(self._chunk, len(self._todo)))]
        with self._parts.database.transaction() as connection:
            first = begin_first_many(self._parts, connection, map(self._missing.__getitem__, ids), self._owner)
            for id in ids:
                if id in first:
                    self._hold(first[id])
                    continue
                found, taken = lock(self._parts, connection, id)
                if undone(self._parts, found) is not None:
                    undone_.append(id)
                    continue
                decision = decide(self._parts, connection, self._missing[id], self._owner, found, taken)
                if isinstance(decision, Task):
                    self._hold(decision)  # at once, so that an interrupt finds it
                elif isinstance(decision, Busy):
                    self._busy[id] = decision.claim
                else:
                    stored.append(id)
        for id in undone_:
            decided = claim(self._parts, self._missing[id], self._owner)
            if isinstance(decided, Task):
                self._hold(decided)
            elif isinstance(decided, Busy):
                self._busy[id] = decided.claim
            else:
                stored.append(id)
        self._read(stored)

    def _resize(self) -> None:
        now = time.monotonic()
        if self._chunk_began:
            quick = now - self._chunk_began < CHUNK_SECONDS
            self._chunk = min(self._chunk * 2, MOST_CLAIMED) if quick else max(self._chunk // 2, 1)
        self._chunk_began = now

    def _hold(self, task: Task) -> None:
        self._claimed.append(task)
        self._missing[task.id].waited = None
        self._parts.heart.add(task.id, task.attempt)

    def _read(self, ids: list[str]) -> None:
        """Read the rows that somebody has stored meanwhile; what has none after all is wanted again."""
        wanted = set(ids)
        for raw in self._parts.rows.read_many(ids):
            id = self._parts.rows.id_of(raw)
            want = self._missing[id]
            want.suspect, path = lookup.judge(self._parts, raw)
            if path is not None:
                self._rows[id] = self._parts.row(raw, want.params, path)
                wanted.discard(id)
        self._todo.extend(wanted)

    # ---- executing here ----------------------------------------------------------------------------------------
    def execute(self, task: Task) -> Sidecar | None:
        """Execute a task in this process."""
        self._here_since, self._here = time.monotonic(), task
        want = self._missing[task.id]
        want.attempt, want.began = task.attempt, time.time()
        try:
            finished = run.execute(self._parts, task)
        except StopIteration as error:  # which no generator can let out
            self._error = error
            return None
        self._here = None  # not if it raised: then it is the one that failed
        return finished

    # ---- taking home -------------------------------------------------------------------------------------------
    def take(self, outcome: Outcome) -> None:
        """Take in what has become of a task."""
        with self._lock:
            self.reraise()
            task = outcome.task
            self._under_way.pop(task.id, None)
            self._parts.heart.drop(task.attempt)
            if outcome.finished is None:
                self.astray.append(outcome)
                return
            if not self._finished:
                self._finished_since = time.monotonic()
            self._finished.append((task, outcome.finished))
            self._publish_if_due()

    def miss(self, reason: str) -> None:
        """Take in what was handed out and will not come home: what is finished lies on the disk."""
        for task in list(self._under_way.values()):
            self.take(Outcome(task, sidecars.read(task.area, task.key, task.attempt), reason))

    def _publish_if_due(self) -> None:
        waited = time.monotonic() - self._finished_since
        if self._finished and (waited > PUBLISH_SECONDS or len(self._finished) >= MOST_CLAIMED):
            self.publish()

    def publish(self) -> None:
        """Publish what is finished, and read its rows."""
        with self._lock:
            finished, self._finished = self._finished, []
            if not finished:
                return
            published = {task.id for task, _ in finished}
            try:
                for sidecar in publish.publish_many(self._parts, finished):
                    run.superseded(self._parts, sidecar)
            finally:
                self._read_published(published)

    def _read_published(self, ids: set[str]) -> None:
        """Read the rows of what was published just now; what has none, since it was not or is deleted, is wanted."""
        wanted = set(ids)
        for raw in self._parts.rows.read_many(ids):
            id = self._parts.rows.id_of(raw)
            self._rows[id] = self._parts.row(raw, self._missing[id].params)
            wanted.discard(id)
        self.ran += len(ids) - len(wanted)
        self._todo.extend(wanted)

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
        self._todo.extend(outcome.task.id for outcome in astray)

    def wait(self) -> None:
        """Wait until a set that somebody else runs is worth another look, if there are only such sets left."""
        if self._todo or not self._busy:
            return
        for id in wait_for_any(self._parts, self._busy):
            self._missing[id].waited = self._busy.pop(id).attempt
            self._todo.append(id)

    # ---- keeping time, and ending ------------------------------------------------------------------------------
    def _tick(self) -> None:
        """Do, while the runner takes its time, what should not wait for it."""
        while not self._closed.wait(PUBLISH_SECONDS / 2):
            with self._lock:
                try:
                    self._publish_if_due()
                    if self._here is not None and time.monotonic() - self._here_since > GIVE_BACK_SECONDS:
                        self._give_back(self._claimed)
                except Exception as error:  # noqa: BLE001  (raised where the user can see it)
                    self._error = error

    def reraise(self) -> None:
        """Raise what went wrong where nobody could see it."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _give_back(self, tasks: deque[Task]) -> None:
        """Let others run what is claimed and has not begun."""
        if not tasks:
            return
        with self._parts.database.transaction() as connection:
            for task in tasks:
                self._parts.ledger.release(connection, task.id, task.attempt)
        while tasks:
            task = tasks.pop()
            self._parts.heart.drop(task.attempt)
            self._todo.appendleft(task.id)
        self._chunk = 1

    def give_up(self, error: BaseException) -> None:
        """End early: publish what is finished, record what failed, and let others have the rest."""
        with self._lock, _noting(error):
            try:
                self.publish()
            finally:
                here, self._here = self._here, None
                if here is not None:
                    self._under_way.pop(here.id, None)
                    run.give_up(self._parts, self._missing[here.id], self._owner, error)
                with self._parts.database.transaction() as connection:
                    for task in [*self._under_way.values(), *(outcome.task for outcome in self.astray)]:
                        # A worker may still finish it; then it is taken in when it is next asked for.
                        self._parts.ledger.abandon(connection, task.id, task.attempt)
                self._give_back(self._claimed)

    def close(self) -> None:
        """Stop the clock."""
        self._closed.set()
        self._clock.join()
        for task in [*self._under_way.values(), *self._claimed]:
            self._parts.heart.drop(task.attempt)


@contextlib.contextmanager
def _noting(error: BaseException) -> Iterator[None]:
    """Add what goes wrong on the way out to the error that comes out."""
    try:
        yield
    except Exception as second:  # noqa: BLE001  (the first error is the one to see)
        note(error, f"entropic: and on the way out: {second}")
