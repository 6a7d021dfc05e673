"""A process's share of a sweep: it claims, hands out, takes home and publishes, and a thread of it keeps the time.

Others see what is finished within half a second, however long the runner takes with the next one.
"""

import contextlib
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic

from entropic.errors import FellBackWarning, note, noting, warn
from entropic.executors.contract import BY_A_MACHINE, TORN, Ending, ending_on_disk, is_late
from entropic.files import reports
from entropic.files import sidecar as sidecars
from entropic.files.reports import Reported
from entropic.files.task import Task
from entropic.params.keys import Params
from entropic.protocol import run
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.current_code import Met
from entropic.protocol.end import end_claim
from entropic.protocol.lookup import Absent, Suspect
from entropic.protocol.outcome_values import Gaps
from entropic.protocol.request import Request
from entropic.support import process
from entropic.support.background import Background
from entropic.support.failure import describe, message_of
from entropic.support.show import counted
from entropic.sweep import outbox
from entropic.sweep.claims import Claims
from entropic.sweep.deadline import Deadline
from entropic.sweep.outbox import Outbox
from entropic.sweep.progress import MOST_READ, REPORT_SECONDS, Bar

log = logging.getLogger("entropic")


class Share(Generic[ModelT]):
    """One process's part in a sweep.

    Parameters
    ----------
    missing
        What is wanted, by key.
    known
        What was found of those that are not new.
    owner
        The call that claims.
    bar
        Is told what the runs report.
    keep_going
        Whether a failed run leaves the rest to be run.
    until
        When it is to be over; None: when all is done.
    retries
        How often a set runs again whose run was ended by what a machine did.
    """

    def __init__(
        self,
        context: StoreContext[ModelT],
        missing: Mapping[str, Request],
        known: Mapping[str, Suspect | Absent],
        owner: str,
        bar: Bar,
        keep_going: bool = False,
        until: Deadline | None = None,
        retries: int = 0,
    ) -> None:
        self._context, self._missing, self._owner, self._until = context, missing, owner, until
        self._retries, self._retried = retries, Counter[str]()
        self._keep_going, self._pid = keep_going, os.getpid()
        self._claims = Claims(context, missing, known, owner, until)
        self._outbox = Outbox(context, missing)
        self.arrived: deque[tuple[str, ModelT]] = deque()
        """The keys and rows of sets that have got one, for whoever takes them from here."""
        self._here: tuple[Task, float] | None = None  # the task that this thread executes, and when it has begun that
        self.astray: list[Ending] = []  # what did not come back from an executor
        self.went_astray = False
        self.ran = 0
        self.failures: dict[str, BaseException] = {}
        self._error: BaseException | None = None
        self._bar, self._show_at = bar, 0.0  # when to show again what runs report
        self._lock = threading.RLock()
        self._clock = Background("entropic-sweep", self._tick)
        with contextlib.suppress(RuntimeError):  # none while the interpreter ends: then `take` publishes what is due
            self._clock.start()
        _all.add(self)

    @property
    def gaps(self) -> Gaps:
        """What the rows of this sweep's own runs lack."""
        return self._outbox.gaps

    @property
    def of_other_code(self) -> Met:
        """The keys of results that workers have made with other code than was sent to them, by its number."""
        return self._outbox.of_other_code

    @property
    def has_retried(self) -> bool:
        """Whether a run that was ended has run again."""
        return bool(self._retried)

    @property
    def is_open(self) -> bool:
        """Whether there are sets that may still get a row."""
        return (self._claims.is_open or bool(self.astray)) and not self.stops

    @property
    def stops(self) -> bool:
        """Whether a failure has ended the handing out."""
        return bool(self.failures) and not self._keep_going

    @property
    def under_way(self) -> int:
        """How many sets are handed out and have not come back."""
        return len(self._claims.under_way)

    @property
    def elsewhere(self) -> int:
        """How many sets others run."""
        return self._claims.elsewhere

    @property
    def left(self) -> list[str]:
        """What was not begun, as it could not end in time, or is waited for no longer."""
        return self._claims.left

    @property
    def left_running(self) -> set[str]:
        """What of it others run."""
        return self._claims.left_running

    def not_handed_out(self) -> list[Params]:
        """Return the sets that are still to be handed out, as far as is known."""
        with self._lock:
            return [self._missing[id].params for id in self._claims.waiting]

    def goes_on(self, attempt: str) -> bool:
        """Tell whether an attempt of ours ends, or is released, even if nothing more happens in this thread."""
        busy: bool = self._lock._is_owned()  # type: ignore[attr-defined]
        return not busy and (self._here is None or self._here[0].attempt != attempt)

    # ---- handing out -------------------------------------------------------------------------------------------
    def tasks(self) -> Iterator[Task | None]:
        """Yield claimed tasks, claiming as they are taken, until every set has a row or has failed.

        Where there is none at the moment, since others run what is left, yields None. What goes wrong here is no fault
        of the executor that takes them, which would take it for one: it comes out of `reraise`.
        """
        try:
            while not self.stops:
                task = self._next()
                if task is None and not (self._claims.elsewhere or self._claims.under_way):
                    return
                yield task
        except Exception as error:  # noqa: BLE001
            self._error = error

    def ask_for_more(self) -> None:
        """Ask for sets that are not known yet: all are, but in a search."""

    def _next(self) -> Task | None:
        claims, until = self._claims, self._until
        with self._lock:
            self.reraise()
            if until is not None and until.is_over:
                claims.leave_to_others()
            if claims.elsewhere and not claims.has_claimed and not claims.has_unclaimed:
                if claims.under_way:
                    claims.enqueue_freed()
                else:
                    self.publish()
                    claims.wait_for_others()
            while True:
                while not claims.has_claimed and claims.has_unclaimed and not self.stops:
                    rows, failures = claims.claim_chunk()
                    self.arrived.extend(rows)
                    self.failures |= failures
                if not claims.has_claimed or self.stops:
                    return None
                task = claims.hand_out()
                if until is None:
                    break
                task.begin_by = until.begin_by(task.params)
                if not is_late(task):
                    break
                claims.leave(task)
        claims.warn_of_loss(task)
        return task

    # ---- executing here ----------------------------------------------------------------------------------------
    def execute(self, task: Task) -> Ending:
        """Execute a task in this process."""
        began = time.time()
        self._here = task, began
        try:
            finished, error = run.execute(self._context, task), None
        except Exception as raised:  # noqa: BLE001  (whatever a runner raises)
            finished, error = None, raised
        self._here = None  # not after an interrupt: then it is the one that was interrupted
        if error is not None:
            return Ending(task, None, message_of(error), describe(error, began), error)
        return Ending(task, finished, TORN)

    # ---- taking home -------------------------------------------------------------------------------------------
    def take(self, ending: Ending, falls_back: bool, retries_failures: bool = True, ends: bool = True) -> None:
        """Take in what has become of a task.

        Parameters
        ----------
        falls_back
            Whether what does not come back from the executor is for this machine to run.
        retries_failures
            Whether that goes for what has failed there, too, unless the sweep keeps going: it may fail only there.
        ends
            Whether nothing that the executor was given can go on without its knowledge. Else what it gives back as
            unbegun may have begun before, on a worker that it lost sight of.
        """
        with self._lock:
            self.reraise()
            task = ending.task
            if ending.unbegun:
                may_run = not (ends or ending.untouched)
                finished = sidecars.read(task.staging, task.key, task.attempt) if may_run else None
                if finished is None:
                    self._claims.under_way.pop(task.id, None)
                    self._claims.take_back(task, ending.late, may_run)
                    return
                ending = Ending(task, finished)
            if ending.finished is not None:
                self._outbox.add(task, ending.finished)  # while it is under way, so that an interrupt finds it
            self._claims.under_way.pop(task.id, None)
            self._context.lease_keeper.stop(task.attempt)
            if ending.finished is not None:
                if self._until is not None:
                    self._until.add(task.params, ending.finished.custom_data.get("elapsed_seconds"))
            elif self._runs_again(ending):
                self._claims.enqueue_again([task.id])  # its claim is ours, so it is claimed anew
            elif ending.failure is not None and (self._keep_going or not (falls_back and retries_failures)):
                self._fail(ending)
            elif falls_back:
                self._context.database.transact(  # who wants it meanwhile need not wait for us
                    lambda connection: self._context.ledger.abandon(connection, task.id, task.attempt)
                )
                self.astray.append(ending)
            else:
                self._claims.enqueue_again([task.id])  # its claim is ours, so it is claimed anew
            self.publish_if_due()

    def _runs_again(self, ending: Ending) -> bool:
        """Tell whether what a machine did to a run is to be tried once more: it was killed, lost, or took too long."""
        id, failure = ending.task.id, ending.failure
        if failure is None or failure.get("type") not in BY_A_MACHINE or ending.spent:
            return False
        if self._retried[id] >= self._retries:
            return False
        self._retried[id] += 1
        log.info("%s is run again, retry %d of %d: %s", id, self._retried[id], self._retries, ending.reason)
        return True

    def _fail(self, ending: Ending) -> None:
        task, failure, error = ending.task, ending.failure, ending.error
        assert failure is not None
        assert error is not None
        try:
            recorded = end_claim(
                self._context, self._missing[task.id], lambda found: found.attempt == task.attempt, failure
            )
        except Exception as second:  # noqa: BLE001  (what the run raised is the one to see)
            note(error, f"entropic: this failure could not be recorded: {second}")
            recorded = True
        if not recorded:
            self._claims.enqueue_again([task.id])  # it is finished all the same, or somebody else has it
            return
        run.note_params(self._context, error, task)
        if self._keep_going:  # its frames hold whatever the run has made, and nobody will raise it
            for name in ("__traceback__", "__cause__", "__context__"):
                object.__setattr__(error, name, None)  # its own `__setattr__` may refuse: an exception may be frozen
        self.failures[task.id] = error
        log.debug("failed: %s: %s", self._context.describe(task.params, task.id), error)
        if not self._keep_going and self.under_way:
            log.warning("%s failed; %s under way will end first", task.id, counted(self.under_way, "run"))

    def miss(self, reason: str) -> None:
        """Take in what was handed out and will not come back: what is finished is on the disk."""
        for task in list(self._claims.under_way.values()):
            self.take(ending_on_disk(task, reason), falls_back=True)

    def publish_if_due(self) -> None:
        """Publish what is finished, if that is worth a transaction by now."""
        with self._lock:
            if self._outbox.is_due:
                self.publish()

    def publish(self) -> None:
        """Publish what is finished: its rows arrive."""
        with self._lock:
            rows, wanted, refused = self._outbox.publish()
            self.arrived.extend(rows)
            self.ran += len(rows)
            self.failures |= refused
            self._claims.enqueue_again(wanted)

    @property
    def told_astray(self) -> tuple[str, str]:
        """How many sets did not come back from an executor; and which, and why."""
        reasons = {ending.reason for ending in self.astray}
        sets = "; ".join(str(ending.task.params) for ending in self.astray[:5])
        more = "; ..." if len(self.astray) > 5 else ""
        why = "; ".join(sorted(reasons)[:5])
        return f"{counted(len(self.astray), 'set')} did not come back from the executor", f"{sets}{more}. Why: {why}"

    def read_left(self) -> None:
        """Take in what was not begun here, and others have stored meanwhile, or have seen fail."""
        with self._lock:
            rows, failures = self._claims.read_left()
            self.arrived.extend(rows)
            self.failures |= failures
            if self._until is not None:
                self._until.left += len(self._claims.left)

    def leave(self, tasks: Iterable[Task]) -> None:
        """Expect nothing any more: some tasks are somebody else's now, and so is what others run."""
        with self._lock:
            self.publish()
            for task in tasks:
                self._context.lease_keeper.stop(task.attempt)
                self._claims.give_away(task)
            self._claims.leave_to_others()
            self.read_left()

    def leave_late(self, astray: bool) -> None:
        """Leave what no executor has, and it is too late for.

        Parameters
        ----------
        astray
            Whether that goes for what did not come back from an executor, too. What has failed there has failed then,
            since it is not tried here.
        """
        if self._until is None:
            return
        with self._lock:
            if self._until.is_over:
                self._claims.leave_to_others()
            self._claims.leave_late()
            late = [ending for ending in self.astray if self._claims.is_late(ending.task.id)] if astray else []
            if not late:
                return
            gone = {ending.task.id for ending in late}
            self.astray = [ending for ending in self.astray if ending.task.id not in gone]
            self.went_astray = True
            for ending in late:
                if ending.failure is not None:
                    self._fail(ending)
                else:
                    self._claims.left.append(ending.task.id)

    def bring_home(self, where: str) -> None:
        """Want again, on this machine, what did not come back from an executor; say which sets, and why."""
        many, which = self.told_astray
        warn(f"{many} and will run {where}: {which}", FellBackWarning)
        astray, self.astray = self.astray, []
        self.went_astray = True
        self._claims.enqueue_again(ending.task.id for ending in astray)

    # ---- keeping time, and ending ------------------------------------------------------------------------------
    def _tick(self, turn: threading.Lock) -> None:
        """Do, while the runner takes its time, what should not wait for it."""
        while not turn.acquire(timeout=outbox.PUBLISH_SECONDS / 2) and process.state(self._owner) == "alive":
            with self._lock:
                try:
                    self.publish_if_due()
                    self._claims.release_if_idle()
                except Exception as error:  # noqa: BLE001  (raised where the user can see it)
                    self._error = error
            if time.monotonic() >= self._show_at:
                self._show_at = time.monotonic() + REPORT_SECONDS
                self._bar.tell(self._reported)

    def _reported(self) -> list[Reported]:
        """Return what the runs under way report."""
        attempts = [(task.key, task.attempt) for task in list(self._claims.under_way.values())]
        return list(reports.read(self._context.staging, attempts, MOST_READ).values())

    def reraise(self) -> None:
        """Raise what went wrong where nobody could see it."""
        if self._error is None:
            return
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise error

    def end_early(self, error: BaseException, ended: bool) -> None:
        """End early: publish what is finished, record what was interrupted, and let others have the rest.

        Parameters
        ----------
        ended
            Whether nothing that was handed out goes on.
        """
        if os.getpid() != self._pid:
            return  # a child that was forked meanwhile: nothing here is its own
        under_way = self._claims.under_way
        with self._lock, noting(error):
            try:
                for task in list(under_way.values()):
                    finished = sidecars.read(task.staging, task.key, task.attempt)
                    if finished is not None:
                        self._outbox.add(task, finished)
                        under_way.pop(task.id, None)
                known = set(self.failures)
                self.publish()
                for id in self.failures.keys() - known:
                    note(error, f"entropic: while this ended, another error occurred: {self.failures[id]}")
            finally:
                here, self._here = self._here, None
                if here is not None and under_way.pop(here[0].id, None) is not None:
                    task, began = here
                    run.end_early(self._context, self._missing[task.id], self._owner, error, task.attempt, began)
                # A worker that goes on may still finish its task; then it is taken in when it is next asked for.
                self._claims.end_all(ended)

    def close(self) -> None:
        """Stop the clock."""
        self._clock.close()
        self._claims.close()


def _forked() -> None:
    for share in _all:  # the thread that keeps its time may have held the lock, and is no more
        share._lock = threading.RLock()


_all: "weakref.WeakSet[Share[Any]]" = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
