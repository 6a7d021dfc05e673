"""A sweep whose sets are asked for one at a time, as there is room: whoever names them sees the rows that came.

`Source` asks; `Searching` is the share of a sweep that asks it before it looks for something to do.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Generic

from entropic.errors import ParameterError
from entropic.files import workspace
from entropic.files.task import Task
from entropic.params.keys import Params
from entropic.protocol import run
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.lookup import Absent, Suspect
from entropic.protocol.request import Request
from entropic.protocol.respelled import warn_of_other_spelling
from entropic.support.show import spelled
from entropic.sweep.missing import Planned, check_allowed, keys_of, plan, sets_of
from entropic.sweep.options import Options
from entropic.sweep.progress import Bar
from entropic.sweep.share import Share


class Source(Generic[ModelT]):
    """Where the sets of a search come from: an iterable, or a generator that is sent the rows that came.

    Attributes
    ----------
    planned
        What was asked for so far, as a sweep plans it; `missing` holds only what has not come yet.
    waiting
        The keys that were asked for, and whose rows have not come out.
    is_open
        Whether it may name more sets.
    stored, missed
        How many sets were stored when they were asked for, and how many were not.
    """

    def __init__(
        self, context: StoreContext[ModelT], sets: Iterable[Any], in_flight: int, options: Options, custom: Params
    ) -> None:
        if not isinstance(in_flight, int) or isinstance(in_flight, bool) or in_flight < 1:
            raise ParameterError(f"in_flight is a number of sets from 1 on, not {spelled(in_flight)}")
        if options.order != "given" or options.deadline is not None:
            raise ParameterError(
                "order and deadline are for sets that are all named at the call; with in_flight the generator says in "
                "which order they come, and ends it when it returns"
            )
        self._context, self._most, self._options, self._custom = context, in_flight, options, custom
        self._sets: Iterator[Any] = sets_of(sets)
        self._begun = self._rests = False
        self._came: list[ModelT] = []
        self.planned: Planned[ModelT] = Planned()
        self.waiting: set[str] = set()
        self.is_open = True
        self.stored = self.missed = 0

    @property
    def has_room(self) -> bool:
        """Whether it may be asked for a set now: once it waits for a row, not before one has come."""
        return self.is_open and not self._rests and len(self.waiting) < self._most

    def ask(self) -> object:
        """Return the next set; None if there is none, or none before more rows have come.

        Raises
        ------
        ParameterError
            If it waits for rows, and none is under way.
        """
        came, self._came = self._came, []
        try:
            if self._begun and _listens(self._sets):
                one = self._sets.send(came)  # type: ignore[attr-defined]
            else:
                one, self._came = next(self._sets), came
        except StopIteration:
            self.is_open = False
            return None
        self._begun = True
        if one is None and not self.waiting:
            raise ParameterError("the generator yields None, to wait for rows, and nothing is under way; let it return")
        self._rests = one is None
        return one

    def find(self, one: Any) -> tuple[str, Planned[ModelT]]:
        """Return the key of a set, and what is known of it: nothing if it is under way, and has to be waited for."""
        (id,), (given,) = keys_of(self._context, [one])
        if id in self.waiting:
            self._rests = True
            return id, Planned()
        rerun = self._options.rerun and id not in self.planned.rows  # once, however often it is asked for
        found = plan(self._context, [given], self._options.retry_failed, custom_data=self._custom, rerun=rerun)
        check_allowed(self._context, found)
        self.planned.rows[id] = None
        return id, found

    def note_row(self, id: str, row: ModelT) -> None:
        """Take note of a row that comes out; the generator hears of it when it is next asked."""
        self._rests = False
        self.waiting.discard(id)
        self.planned.missing.pop(id, None)
        if hasattr(self._sets, "send"):
            self._came.append(row)

    def note_failed(self, ids: Iterable[str]) -> None:
        """Take note of sets that will have no row."""
        if gone := self.waiting.intersection(ids):
            self._rests = False
            self.waiting -= gone

    def close(self) -> None:
        """Let the generator end."""
        if (close := getattr(self._sets, "close", None)) is not None:
            close()


def _listens(sets: object) -> bool:
    """Tell whether an iterator takes what it is sent: a generator, but not while it yields from one that does not."""
    while (inner := getattr(sets, "gi_yieldfrom", None)) is not None:
        sets = inner
    return hasattr(sets, "send")


class Searching(Share[ModelT]):
    """One process's part in a search."""

    def __init__(
        self,
        context: StoreContext[ModelT],
        source: Source[ModelT],
        owner: str,
        bar: Bar,
        keep_going: bool,
        here: bool,
        retries: int = 0,
    ) -> None:
        super().__init__(context, source.planned.missing, {}, owner, bar, keep_going, retries=retries)
        self._source, self._is_here, self._is_ready = source, here, False

    @property
    def is_open(self) -> bool:
        """Whether there are, or may be, sets that may still get a row."""
        return (super().is_open or self._source.is_open) and not self.stops

    def ask_for_more(self) -> None:
        """Ask for sets, as there is room for them: perhaps there are no more."""
        source = self._source
        source.note_failed(self.failures)
        while source.has_room and not self.stops:
            one = source.ask()
            if one is None:
                break
            id, found = source.find(one)
            row = found.rows.get(id)
            if row is not None:
                source.stored += 1
                source.waiting.add(id)
                self.arrived.append((id, row))
            elif id in found.missing:
                self._enqueue(id, found.missing[id], found.known.get(id))

    def _next(self) -> Task | None:
        self.ask_for_more()
        return super()._next()

    def _enqueue(self, id: str, request: Request, known: Suspect | Absent | None) -> None:
        context, spelling = self._context, self._context.schema.spelling
        if not self._is_ready:
            if self._is_here:
                run.check_runner(context)
            workspace.prepare(context.staging, context.database.stay_current)
            context.current_code.prepare()
            self._is_ready = True
        if not spelling.warned and spelling.may_differ(request.params):
            spelling.warned = warn_of_other_spelling(context, {id: request.params})
        with self._lock:
            self._source.missed += 1
            self._source.waiting.add(id)
            self._source.planned.missing[id] = request
            self._claims.enqueue(id, known)

    def publish_if_due(self) -> None:
        """Publish what is finished: the next set may depend on it."""
        self.publish()


def counts(planned: Planned[ModelT], source: Source[ModelT] | None) -> tuple[int, int]:
    """Return how many sets of a sweep were stored before, and how many were not."""
    if source is not None:
        return source.stored, source.missed
    return len(planned.rows) - len(planned.missing) - len(planned.left_out), len(planned.missing)
