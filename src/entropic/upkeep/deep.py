"""`Store.check(deep=True)`: the bytes of all results, compared with the digests that were recorded of them.

It goes through the keys in their order, and notes in the database how far it has come, and what differed: so who was
interrupted goes on there, and nothing but a few results under way is kept in memory.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import sqlalchemy as sa

from entropic.db.connection import Connection
from entropic.db.digests import Digest, Mark
from entropic.db.raw import Raw
from entropic.db.statement import Statement
from entropic.errors import ParameterError
from entropic.files.content import Strange
from entropic.files.digest import digest
from entropic.params.model import Base
from entropic.protocol import lookup
from entropic.protocol.context import StoreContext
from entropic.support.show import spelled

TOGETHER = 200  # keys in one query
NOTE_SECONDS = 1.0  # between two notes of how far it has come
_TRIES = 3  # for a result that is replaced just then


@dataclass(slots=True)
class Compared:
    """What came of a comparison.

    Attributes
    ----------
    compared, without
        How many results were read, and how many have no digest to compare with.
    began
        When it began (seconds since 1970), if that was an earlier call, which was interrupted.
    altered
        Of those that differ: the key, the path, and what is wrong.
    """

    compared: int
    without: int
    began: float | None
    altered: list[tuple[str, str, str]]


@dataclass(slots=True)
class _Reading:
    """A key on its way: what is recorded of its result, and what reads that; None where there is nothing to read."""

    id: str
    told: Digest | None
    future: "Future[str | None] | None" = None


def check_workers(workers: object) -> None:
    """Refuse a number of threads that cannot be started."""
    if not isinstance(workers, int) or isinstance(workers, bool) or not 1 <= workers <= 1_000:
        raise ParameterError(f"workers is a number of threads from 1 to 1,000, not {spelled(workers)}")


def compare(context: StoreContext[Base], workers: int) -> Compared:
    """Compare all results with their digests, by some threads; go on where an earlier call was interrupted."""
    mark = context.digests.mark()
    comparison = _Comparison(context, mark or Mark("", 0, 0, time.time()))
    with ThreadPoolExecutor(workers, thread_name_prefix="entropic-check") as pool:
        comparison.go_through(pool, 4 * workers)
    altered, done = comparison.end(), comparison.mark
    return Compared(done.compared, done.without, None if mark is None else mark.began, altered)


class _Comparison:
    """One of them, on its way.

    Parameters
    ----------
    mark
        Where it begins.
    """

    def __init__(self, context: StoreContext[Base], mark: Mark) -> None:
        self._context, self.mark = context, mark
        self._is_noted = context.read_only is None
        self._differing: dict[str, Digest] = {}  # as far as the database does not have it
        self._cleared: list[tuple[str, Digest]] = []
        self._noted = time.monotonic()
        key = context.schema.table.c.id
        page = sa.select(key).where(key > sa.bindparam("after_")).order_by(key).limit(sa.bindparam("count_"))
        self._page = Statement(page, context.database.sql)

    def go_through(self, pool: ThreadPoolExecutor, ahead: int) -> None:
        """Read what is to be read, and note how far that has come, whatever ends it."""
        under_way: deque[_Reading] = deque()  # in the order of the keys
        try:
            for reading in self._begin_readings(pool):
                under_way.append(reading)
                if len(under_way) > ahead:
                    self._take(under_way.popleft())
            while under_way:
                self._take(under_way.popleft())
        finally:
            for reading in under_way:
                if reading.future is not None:
                    reading.future.cancel()
            self._note()

    def _begin_readings(self, pool: ThreadPoolExecutor) -> Iterator[_Reading]:
        context, after = self._context, self.mark.after
        while ids := self._ids(after):
            raws = {context.rows.id_of(raw): raw for raw in context.rows.read_many(ids)}
            claims = {claim.id: claim for claim in context.ledger.find_many(ids)}
            known = context.digests.of(ids)
            for id in ids:
                raw, told = raws.get(id), known.get(id)
                if told is None or not told.is_of(claims.get(id)):
                    yield _Reading(id, None)
                elif raw is None or not _is_there(context, raw):
                    yield _Reading(id, told)
                else:
                    yield _Reading(id, told, pool.submit(_read, context.path_of(raw)))
            after = ids[-1]

    def _ids(self, after: str) -> list[str]:
        values = self._page.values({"after_": after, "count_": TOGETHER})
        return [str(id) for (id,) in self._context.database.connection().fetch(self._page.sql, values)]

    def _take(self, reading: _Reading) -> None:
        mark, compared = self.mark, False
        if reading.told is not None and reading.future is not None:
            compared = self._is_compared(reading.id, reading.told, reading.future.result())
        self.mark = Mark(reading.id, mark.compared + compared, mark.without + (reading.told is None), mark.began)
        if time.monotonic() - self._noted > NOTE_SECONDS:
            self._note()

    def _is_compared(self, id: str, told: Digest, found: str | None) -> bool:
        """Take in what was found of a result, or, if it was replaced meanwhile, of the new one; False if it is gone."""
        context = self._context
        for _ in range(_TRIES):
            if found == told.sha256:
                if told.found is not None:
                    self._cleared.append((id, told))
                return True
            raw, claim, now = context.rows.read(id), context.ledger.find(id), context.digests.of([id]).get(id)
            if raw is None or now is None or not now.is_of(claim) or not _is_there(context, raw):
                return False
            if (now.attempt, now.sha256) == (told.attempt, told.sha256) and found is not None:
                self._differing[id] = told._replace(found=found)
                return True
            told, found = now, _read(context.path_of(raw))
        return False

    def _note(self) -> None:
        """Note how far it has come, and what differed."""
        if not self._is_noted or not self.mark.after:
            return
        changed = sorted([*self._differing.items(), *((id, told._replace(found=None)) for id, told in self._cleared)])

        def work(connection: Connection) -> None:
            for id, told in changed:
                self._context.digests.note(connection, id, told.attempt, told.found)
            self._context.digests.set_mark(connection, self.mark)

        self._context.database.transact(work)
        self._differing, self._cleared, self._noted = {}, [], time.monotonic()

    def end(self) -> list[tuple[str, str, str]]:
        """Return what differs, those too that were found before an interrupt; the next call begins anew."""
        context, differing = self._context, self._differing
        if self._is_noted:
            context.database.transact(context.digests.remove_mark)
            differing = dict(context.digests.differing())
        claims = {claim.id: claim for claim in context.ledger.find_many(differing)}
        raws = {context.rows.id_of(raw): raw for raw in context.rows.read_many(differing)}
        own = {id: one for id, one in differing.items() if id in raws and one.is_of(claims.get(id))}
        return [(id, context.path_of(raws[id]), _text(id, context.path_of(raws[id]), one)) for id, one in own.items()]


def _is_there(context: StoreContext[Base], raw: Raw) -> bool:
    """Tell whether a result has its size, and no other one is on its way to its place; else others say what it is."""
    looked_up = lookup.classify(context, raw)
    if isinstance(looked_up, lookup.Suspect):
        return lookup.only_mtime_differs(context, looked_up.raw)
    return isinstance(looked_up, lookup.Hit)


def _read(path: str) -> str | None:
    """Return the digest of a result, or a sentence that says why it cannot be read; None if it is not there."""
    try:
        return digest(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"it cannot be read ({error.strerror})"[:200]
    except Strange:
        return "it cannot be read (there is a pipe, a socket or a device in it)"


def _text(id: str, path: str, told: Digest) -> str:
    found = str(told.found)
    if " " in found:
        return f"{id}: {path} cannot be compared with what was stored: {found}"
    return (
        f"{id}: {path} does not hold the bytes that were stored (SHA-256 {found[:12]}..., not {told.sha256[:12]}...): "
        "run() makes it again, and keeps these beside it, with 'changed' in the name; if they are right, delete() its "
        "row alone, and register() the file"
    )
