"""`Store.merge`: the results of another store, whatever its database and its folder, taken into this one.

Nothing changes in the other store, and nothing that is here. Each result is taken in by itself, so a merge that was
interrupted, or killed, goes on where it was when it is done again: what is here already is left as it is.
"""

from collections.abc import Iterable, Iterator

from entropic.db.claim_record import RUNNING
from entropic.db.connection import Connection
from entropic.db.notes import Notes
from entropic.db.raw import Raw
from entropic.errors import ParameterError
from entropic.files.sidecar import Origin
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.provenance.input import Input
from entropic.support import process
from entropic.support.show import spelled
from entropic.support.signals import Terminable
from entropic.upkeep import note
from entropic.upkeep.imports import foreign_rows
from entropic.upkeep.imports.foreign_result import NotTaken
from entropic.upkeep.imports.foreign_rows import Origins, Theirs, origin_of
from entropic.upkeep.imports.take_in import FILES, Files, Taking
from entropic.upkeep.reports.merged import Conflict, Merge

_TOGETHER = 200  # rows that are looked at in one query


def merge(context: StoreContext[Base], other: StoreContext[Base], files: Files, dry_run: bool) -> Merge:
    """Take in the results of another store; say what was done, and what was not."""
    if files not in FILES:
        raise ParameterError(f"files must be one of {', '.join(map(repr, FILES))}, not {spelled(files)}")
    if not dry_run:
        context.must_write("merge() has to add rows")
    foreign_rows.refuse_unlike(context, other)
    done = _merge(context, other, other.rows.all(), files, dry_run=dry_run)
    done.running, done.unrecorded, done.failed = _no_results(other)
    return done


def fill(context: StoreContext[Base], other: StoreContext[Base], raws: Iterable[Raw], files: Files) -> Merge:
    """Take some rows of a store into one that was made for them, with all files, those too that lie elsewhere."""
    return _merge(context, other, raws, files, takes_all=True)


def _merge(
    context: StoreContext[Base],
    other: StoreContext[Base],
    raws: Iterable[Raw],
    files: Files,
    dry_run: bool = False,
    takes_all: bool = False,
) -> Merge:
    with Terminable(), (call := process.Call()).under_way:
        merging = _Merging(context, other, files, call.name, dry_run, takes_all)
        for some in _chunks(other, raws):
            for result, here in merging.find_takeable(some):
                merging.take(result, here)
        merging.take_busy_ones()
    return merging.done


def _chunks(other: StoreContext[Base], found: Iterable[Raw]) -> Iterator[list[Raw]]:
    raws = sorted(found, key=other.rows.id_of)
    for begin in range(0, len(raws), _TOGETHER):
        yield raws[begin : begin + _TOGETHER]


def _no_results(other: StoreContext[Base]) -> tuple[int, int, int]:
    """Return how many runs are under way there, how many have ended and are not recorded, and how many have failed."""
    running = [one for one in other.ledger.pending().values() if one.model == other.model and one.state == RUNNING]
    ended = sum(other.is_finished(one.id, one.attempt) for one in running)
    alive = sum(not one.dead and not other.is_finished(one.id, one.attempt) for one in running)
    failed = [id for id, _ in other.ledger.failures()]
    with_row = {other.rows.id_of(raw) for raw in other.rows.read_many(failed)}
    return alive, ended, len(set(failed) - with_row)


class _Merging(Taking[Theirs]):
    """One merge, on its way."""

    def __init__(
        self,
        context: StoreContext[Base],
        other: StoreContext[Base],
        files: Files,
        owner: str,
        dry_run: bool,
        takes_all: bool,
    ) -> None:
        self.done = Merge(dry_run=dry_run)
        super().__init__(context, files, owner, self.done, takes_all)
        self._other = other
        self._checksums = other.ledger.checksums()
        self._origins = Origins(context, other)
        self._notes = Notes(other.database, other.model).all()
        self._former: dict[str, list[str]] = {}  # by the key that a row has there, those that it had before
        for old, now in other.origins.former_keys.all().items():
            self._former.setdefault(now, []).append(old)

    def find_takeable(self, raws: list[Raw]) -> Iterator[tuple[Theirs, Raw | None]]:
        """Yield those of some rows of the other store that can be taken in, each with the row that its key has here."""
        other, found = self._other, dict[str, Theirs]()
        ids = [other.rows.id_of(raw) for raw in raws]
        claims = {claim.id: claim for claim in other.ledger.find_many(ids)}
        origins = {id: tuple(told) for id, *told in other.origins.of(ids)}
        digests = other.digests.of(ids)
        read: dict[str, list[Input]] = {}
        for id, one in other.origins.inputs.of(ids):
            read.setdefault(id, []).append(one)
        for id, raw in zip(ids, raws, strict=True):
            try:
                told = self._checksums.get(id), origin_of(origins.get(id)), digests.get(id), tuple(read.get(id, ()))
                found[id] = foreign_rows.read(self._context, other, raw, claims.get(id), *told)
            except NotTaken as why:
                self.done.left.append(f"{id}: {why}")
        rows, keys = self._context.rows, {one.id for one in found.values()}
        here = {rows.id_of(raw): raw for raw in rows.read_many(keys)}
        for result in found.values():
            before = here.get(result.id) if result.id == result.there else rows.read(result.id)  # two may have one key
            yield result, before

    def _is_here(self, result: Theirs) -> None:
        """Let what is said of a result there be said of it here; a note that is here stays."""
        self._record_former(result)
        told = self._notes.get(result.there)
        if told is not None and (text := note.bring(self._context, result.id, told, self.done.dry_run)):
            here = self._context.rows.read(result.id)
            path = "" if here is None else self._context.rows.file_of(here)
            self.done.conflicts.append(Conflict(result.id, path, result.file, f"{result.id}: {text}"))

    def _record_former(self, result: Theirs) -> None:
        """Let runs that have read a result there, and are merged too, find it under the key that it has here."""
        former = {result.there, *self._former.get(result.there, ())} - {result.id}
        known = self._context.origins.former_keys
        if not former or self.done.dry_run:
            return
        new = former - set(known.of(result.id))
        if new:

            def act(connection: Connection) -> None:
                for one in sorted(new):
                    known.write(connection, one, result.id)

            self._context.database.transact(act)

    def _origin_of(self, result: Theirs) -> Origin:
        return self._origins.bring(result.origin)

    def _count(self, result: Theirs) -> None:
        super()._count(result)
        self.done.rekeyed += result.id != result.there
