"""`Store.merge`: the results of another store, whatever its database and its folder, taken into this one.

Nothing changes in the other store, and nothing that is here. Each result is taken in by itself, so a merge that was
interrupted, or killed, goes on where it was when it is done again: what is here already is left as it is.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Literal

from entropic.db.claim import RUNNING
from entropic.db.notes import Notes
from entropic.db.raw import Raw, Recorded
from entropic.errors import KeyCollisionError, ParameterError
from entropic.files.content import Strange, are_alike
from entropic.files.extent import extent_elsewhere
from entropic.params.model import Base
from entropic.params.same import same
from entropic.protocol import lookup
from entropic.protocol.claim import Busy
from entropic.protocol.context import StoreContext
from entropic.protocol.lookup import Suspect
from entropic.protocol.request import Progress
from entropic.protocol.verify import Altered
from entropic.protocol.wait import whom
from entropic.support import process
from entropic.support.show import spelled
from entropic.support.signals import Terminable
from entropic.upkeep import adopt, note, theirs
from entropic.upkeep.merged import Conflict, Merge
from entropic.upkeep.theirs import NotTaken, Origins, Result, origin_of

Files = Literal["link", "copy", "leave"]
FILES = ("link", "copy", "leave")
_TOGETHER = 200  # rows that are looked at in one query


def merge(context: StoreContext[Base], other: StoreContext[Base], files: Files, dry_run: bool) -> Merge:
    """Take in the results of another store; say what was done, and what was not."""
    if files not in FILES:
        raise ParameterError(f"files must be one of {', '.join(map(repr, FILES))}, not {spelled(files)}")
    if not dry_run:
        context.must_write("merge() has to add rows")
    theirs.refuse_unlike(context, other)
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
            for result, here in merging.look_at(some):
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


class _Merging:
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
        self._context, self._other, self._files, self._owner = context, other, files, owner
        self._takes_all = takes_all
        self._checksums = other.ledger.checksums()
        self._origins = Origins(context, other)
        self._busy: list[tuple[Result, Busy]] = []
        self._planned: set[str] = set()  # in a dry run: no row says so
        self._notes = Notes(other.database, other.model).all()
        self.done = Merge(dry_run=dry_run)

    def look_at(self, raws: list[Raw]) -> Iterator[tuple[Result, Raw | None]]:
        """Yield those of some rows of the other store that can be taken in, each with the row that its key has here."""
        other, found = self._other, dict[str, Result]()
        ids = [other.rows.id_of(raw) for raw in raws]
        claims = {claim.id: claim for claim in other.ledger.find_many(ids)}
        origins = {id: tuple(told) for id, *told in other.origins.of(ids)}
        digests = other.digests.of(ids)
        for id, raw in zip(ids, raws, strict=True):
            try:
                told = self._checksums.get(id), origin_of(origins.get(id)), digests.get(id)
                found[id] = theirs.read(self._context, other, raw, claims.get(id), *told)
            except NotTaken as why:
                self.done.left.append(f"{id}: {why}")
        rows, keys = self._context.rows, {one.id for one in found.values()}
        here = {rows.id_of(raw): raw for raw in rows.read_many(keys)}
        for result in found.values():
            before = here.get(result.id) if result.id == result.there else rows.read(result.id)  # two may have one key
            yield result, before

    def take(self, result: Result, here: Raw | None) -> None:
        """Take in a result, unless its key has one here; compare the two then."""
        try:
            while not self._is_settled(result, here):
                here = self._context.rows.read(result.id)
        except NotTaken as why:
            self.done.left.append(f"{result.id}: {why}")

    def take_busy_ones(self) -> None:
        """Try once more those that somebody ran, or took in, when it was their turn; nobody is waited for."""
        busy, self._busy = self._busy, []
        for result, _ in busy:
            self.take(result, self._context.rows.read(result.id))
        for result, who in self._busy:
            self.done.left.append(f"{result.id}: it is run, or taken in, by another process here, {whom(who.claim)}")

    def _is_settled(self, result: Result, here: Raw | None) -> bool:
        """Do with a result what is to be done; False if its key's row is to be read again first."""
        progress = Progress(is_new=here is None)
        if here is not None:
            text = self._difference(result, here)
            if text == "":
                self.done.same += 1
                self._bring_note(result)
                return True
            if text is not None:
                where = self._context.rows.file_of(here), result.file
                self.done.conflicts.append(Conflict(result.id, *where, f"{result.id}: {text}"))
                return True
            progress = Progress(suspect=Suspect(here))
        if self.done.dry_run:
            self._plan(result)
            return True
        taken = self._bring(result, here, progress)
        if isinstance(taken, Busy):
            self._busy.append((result, taken))
            return True
        if taken:
            self._count(result)
            self._bring_note(result)
        return taken

    def _bring_note(self, result: Result) -> None:
        """Let what is said of a result there be said of it here; a note that is here stays."""
        told = self._notes.get(result.there)
        if told is not None and (text := note.bring(self._context, result.id, told, self.done.dry_run)):
            here = self._context.rows.read(result.id)
            path = "" if here is None else self._context.rows.file_of(here)
            self.done.conflicts.append(Conflict(result.id, path, result.file, f"{result.id}: {text}"))

    def _bring(self, result: Result, lost: Raw | None, progress: Progress) -> "bool | Busy":
        adopt.request_for(self._context, result)  # or refuse it before anything is recorded of its origin
        origin = self._origins.bring(result.origin)
        if self._stays(result):
            return adopt.leave(self._context, result, origin, self._owner, lost)
        link = self._files == "link"
        return adopt.adopt(self._context, self._other, result, origin, self._owner, progress, link)

    def _stays(self, result: Result) -> bool:
        return self._files == "leave" or (result.stays and not self._takes_all)

    def _plan(self, result: Result) -> None:
        adopt.request_for(self._context, result)
        if result.id in self._planned:
            text = f"{result.id}: two results there would have this key here"
            self.done.conflicts.append(Conflict(result.id, "", result.file, text))
            return
        self._planned.add(result.id)
        self._count(result)

    def _count(self, result: Result) -> None:
        self.done.taken.append(result.id)
        self.done.rekeyed += result.id != result.there
        if self._stays(result):
            self.done.registered.append(result.id)

    # ---- what is on both sides ---------------------------------------------------------------------------------
    def _difference(self, result: Result, here: Raw) -> str | None:
        """Say how the result here differs; nothing ("") if it does not, None if it is lost, and may be replaced."""
        context = self._context
        try:
            context.verify(here, result.params)
        except Altered as error:
            raise NotTaken("its row here was changed by hand; repair() removes that, merge again then") from error
        except KeyCollisionError:
            return "it is the key of another set here, and the two cannot both have it"
        if context.extent_of(here) is None:
            look = lookup.look_again(context, {result.id: here})[result.id]
            if not isinstance(look, Suspect) or context.extent_of(look.raw) is not None:
                raise NotTaken("it is just being replaced here; merge again")
            self._check_place(result)
            return None
        return self._differs_in_content(result, here) or self._differs_in_outcomes(result, here)

    def _check_place(self, result: Result) -> None:
        """Refuse a result whose place here, where the lost one was, has another suffix."""
        claim = self._context.ledger.find(result.id)
        if claim is None or claim.published is None or claim.path is None or self._stays(result):
            return
        if theirs.suffix_of(result.id, claim.path) != result.suffix:
            raise NotTaken("its result here is gone, and had another suffix; delete() its row, and merge again")

    def _differs_in_content(self, result: Result, here: Raw) -> str:
        context, is_registered = self._context, Recorded.of(here).is_registered
        mine, yours = context.path_of(here), result.path
        if is_registered or result.stays:  # of several files the main one alone
            mine, yours = context.rows.file_of(here), result.file
        mine, yours = os.path.realpath(mine), os.path.realpath(yours)
        found, other = extent_elsewhere(mine), extent_elsewhere(yours)
        if found is None or other is None:
            raise NotTaken("it is just being replaced; merge again")
        if found.size != other.size or found.folder != other.folder:
            return f"{mine} has {found.size:,} bytes, and {yours} has {other.size:,}"
        made = theirs.text_of(context.rows.plain(here)["created_at"])
        if made == result.created_at and found.mtime_ns == other.mtime_ns:
            return ""  # one run, whose file was brought, or copied with its time
        try:
            is_same = are_alike(mine, yours)
        except FileNotFoundError as error:
            raise NotTaken("it is just being replaced; merge again") from error
        except (PermissionError, Strange) as error:
            raise NotTaken(f"it is here, too, and the two cannot be compared: {error}") from error
        return "" if is_same else f"{mine} and {yours} have the same size, and not the same content"

    def _differs_in_outcomes(self, result: Result, here: Raw) -> str:
        values = self._context.rows.plain(here)
        for name, value in result.outcomes.values.items():
            mine = theirs.plain(values[name])
            if mine is not None and value is not None and not same(mine, value):
                return f"its results are the same, and its {name!r} is {spelled(mine)} here and {spelled(value)} there"
        return ""
