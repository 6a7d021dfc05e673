"""What a process has finished of a sweep and not yet published: a few go together, and none waits for long."""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple

from entropic.db.raw import Raw
from entropic.files.sidecar import Sidecar
from entropic.files.task import Task
from entropic.protocol import lookup, run
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.current_code import Met
from entropic.protocol.lookup import Hit
from entropic.protocol.outcome_values import Gaps
from entropic.protocol.publish_many import Published, publish_many
from entropic.protocol.request import Request

log = logging.getLogger("entropic")

MOST_TOGETHER = 200  # in one transaction
PUBLISH_SECONDS = 0.2  # finished runs wait no longer than this


class Delivery(NamedTuple, Generic[ModelT]):
    """What has become of what was finished: rows, what has none and is wanted again, and why some was refused."""

    rows: list[tuple[str, ModelT]]
    wanted: list[str]
    refused: dict[str, Exception]


class Outbox(Generic[ModelT]):
    """The finished runs of a sweep that are to be published; for one thread at a time.

    Parameters
    ----------
    missing
        What is wanted, by key.
    """

    def __init__(self, context: StoreContext[ModelT], missing: Mapping[str, Request]) -> None:
        self._context, self._missing = context, missing
        self._finished: dict[str, tuple[Task, Sidecar]] = {}  # by attempt
        self._published_at = time.monotonic()
        self.gaps = Gaps()
        self.of_other_code: Met = {}
        """The keys of results that workers have made with other code than was sent to them, by its number."""

    @property
    def is_due(self) -> bool:
        """Whether what is finished is worth a transaction by now."""
        waited = time.monotonic() - self._published_at
        return bool(self._finished) and (waited > PUBLISH_SECONDS or len(self._finished) >= MOST_TOGETHER)

    def add(self, task: Task, finished: Sidecar) -> None:
        """Take in a finished run; one that is here already is the same."""
        self._finished[task.attempt] = task, finished
        code = None if finished.origin is None else finished.origin.code
        if code is not None and code != task.code and task.id not in (ids := self.of_other_code.setdefault(code, [])):
            ids.append(task.id)

    def publish(self) -> Delivery[ModelT]:
        """Publish what is finished, and read its rows. What an error or an interrupt keeps from that stays here."""
        finished, done = list(self._finished.values()), Published()
        if not finished:
            return Delivery([], [], {})
        try:
            publish_many(self._context, finished, done)
            for sidecar in done.superseded.values():
                run.settle_superseded(self._context, sidecar)
            rows, wanted = self._read_published([task.id for task, _ in finished if task.id not in done.refused], done)
            self._finished.clear()
            return Delivery(rows, wanted, done.refused)  # what is refused is kept, and recorded once that is possible
        finally:
            self._published_at = time.monotonic()

    def _read_published(self, ids: Iterable[str], done: Published) -> tuple[list[tuple[str, ModelT]], list[str]]:
        """Return the rows of what was published just now, and what has none, since it was not or is deleted."""
        rows, wanted = [], dict.fromkeys(ids)
        known = {id: raw for id in wanted if (raw := done.raws.get(id)) is not None}
        for raw in (*known.values(), *self._stored(wanted.keys() - known.keys())):
            id = self._context.rows.id_of(raw)
            params = self._missing[id].params
            row = self._context.row(raw, params)
            rows.append((id, row))
            self.gaps.see(row)
            del wanted[id]
            if log.isEnabledFor(logging.DEBUG):
                log.debug("ran %s in %s s", self._context.describe(params, id), row.custom_data.get("elapsed_seconds"))
        return rows, list(wanted)

    def _stored(self, ids: Iterable[str]) -> Iterable[Raw]:
        """Return the raw rows of what was published, and whose own is not known, as far as they are hits."""
        read = self._context.rows.read_many(ids)
        return (raw for raw in read if isinstance(lookup.classify(self._context, raw), Hit))
