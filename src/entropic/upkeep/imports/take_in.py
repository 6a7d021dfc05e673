"""Results that lie elsewhere, taken in one by one: what becomes of each, and of those that are here already."""

import os
from typing import Generic, Literal, TypeVar

from entropic.db.raw import Raw, Recorded
from entropic.errors import KeyCollisionError, ParameterError
from entropic.files.content import Strange, are_alike
from entropic.files.extent import extent_elsewhere
from entropic.files.sidecar import Origin
from entropic.params.model import Base
from entropic.params.same import same
from entropic.protocol import lookup
from entropic.protocol.claim import Busy
from entropic.protocol.context import StoreContext
from entropic.protocol.lookup import Suspect
from entropic.protocol.request import Progress
from entropic.protocol.verify import Altered
from entropic.protocol.wait import whom
from entropic.support.show import spelled
from entropic.upkeep.imports import adopt, foreign_rows
from entropic.upkeep.imports.foreign_result import NotTaken, Result
from entropic.upkeep.reports.merged import Conflict, Taken

Files = Literal["link", "copy", "leave"]
FILES = ("link", "copy", "leave")
R = TypeVar("R", bound=Result)


class Taking(Generic[R]):
    """Some results, on their way into a store.

    Parameters
    ----------
    files
        What becomes of their files.
    owner
        The call.
    done
        Where it is said what was done.
    takes_all
        Whether those are brought, too, that are to stay where they are.
    """

    def __init__(
        self, context: StoreContext[Base], files: Files, owner: str, done: Taken, takes_all: bool = False
    ) -> None:
        self._context, self._files, self._owner, self._takes_all = context, files, owner, takes_all
        self._busy: list[tuple[R, Busy]] = []
        self._planned: set[str] = set()  # in a dry run: no row says so
        self._done = done

    def take(self, result: R, here: Raw | None) -> None:
        """Take in a result, unless its key has one here; compare the two then."""
        try:
            while not self._is_settled(result, here):
                here = self._context.rows.read(result.id)
        except NotTaken as why:
            self._done.left.append(f"{result.name}: {why}")

    def take_busy_ones(self) -> None:
        """Try once more those that somebody ran, or took in, when it was their turn; nobody is waited for."""
        busy, self._busy = self._busy, []
        for result, _ in busy:
            self.take(result, self._context.rows.read(result.id))
        for result, who in self._busy:
            self._done.left.append(f"{result.name}: it is run, or taken in, by another process here, {whom(who.claim)}")

    def _is_settled(self, result: R, here: Raw | None) -> bool:
        """Do with a result what is to be done; False if its key's row is to be read again first."""
        progress = Progress(is_new=here is None)
        if here is not None:
            text = self._difference(result, here)
            if text == "":
                self._done.same += 1
                self._is_here(result)
                return True
            if text is not None:
                where = self._context.rows.file_of(here), result.file
                self._done.conflicts.append(Conflict(result.id, *where, f"{result.id}: {text}"))
                return True
            progress = Progress(suspect=Suspect(here))
        if self._done.dry_run:
            self._plan(result)
            return True
        taken = self._bring(result, here, progress)
        if isinstance(taken, Busy):
            self._busy.append((result, taken))
            return True
        if taken:
            self._count(result)
            self._is_here(result)
        return taken

    def _bring(self, result: R, lost: Raw | None, progress: Progress) -> bool | Busy:
        self._check(result)  # before anything is recorded of its origin
        origin = self._origin_of(result)
        if self._stays(result):
            return adopt.leave(self._context, result, origin, self._owner, lost)
        link = self._files == "link" and not result.stays  # what is not the store's may be written into
        return adopt.adopt(self._context, result, origin, self._owner, progress, link)

    def _check(self, result: R) -> None:
        """Refuse what no row here can hold, and, but for a copy of a whole store, what could not run here."""
        adopt.request_for(self._context, result)
        if not self._takes_all:
            try:
                self._context.schema.changed.for_runner(result.params)
            except ParameterError as error:
                raise NotTaken(str(error)) from error

    def _origin_of(self, result: R) -> Origin:
        """Return the origin that is recorded here."""
        return result.origin

    def _is_here(self, result: R) -> None:
        """Do what is to be done once a result is here."""

    def _stays(self, result: Result) -> bool:
        return self._files == "leave" or (result.stays and not self._takes_all)

    def _plan(self, result: R) -> None:
        self._check(result)
        if result.id in self._planned:
            text = f"{result.id}: two results there would have this key here"
            self._done.conflicts.append(Conflict(result.id, "", result.file, text))
            return
        self._planned.add(result.id)
        self._count(result)

    def _count(self, result: R) -> None:
        self._done.taken.append(result.id)
        if self._stays(result):
            self._done.registered.append(result.id)

    # ---- what is on both sides ---------------------------------------------------------------------------------
    def _difference(self, result: R, here: Raw) -> str | None:
        """Say how the result here differs; nothing ("") if it does not, None if it is lost, and may be replaced."""
        context = self._context
        try:
            context.verify(here, result.params)
        except Altered as error:
            raise NotTaken("its row here was changed by hand; repair() removes that; do the same again then") from error
        except KeyCollisionError:
            return "it is the key of another set here, and the two cannot both have it"
        if context.extent_of(here) is None:
            looked_up = lookup.recheck(context, {result.id: here})[result.id]
            if not isinstance(looked_up, Suspect) or context.extent_of(looked_up.raw) is not None:
                raise NotTaken("it is just being replaced here; do the same again")
            self._check_place(result)
            return None
        return self._differs_in_content(result, here) or self._differs_in_outcomes(result, here)

    def _check_place(self, result: Result) -> None:
        """Refuse a result whose place here, where the lost one was, has another suffix."""
        claim = self._context.ledger.find(result.id)
        if claim is None or claim.published is None or claim.path is None or self._stays(result):
            return
        if foreign_rows.suffix_of(result.id, claim.path) != result.suffix:
            raise NotTaken("its result here is gone, and had another suffix; delete() its row, and do the same again")

    def _differs_in_content(self, result: R, here: Raw) -> str:
        context, is_registered = self._context, Recorded.of(here).is_registered
        mine, yours = context.path_of(here), result.path
        if is_registered or result.stays:  # of several files the main one alone
            mine, yours = context.rows.file_of(here), result.file
        mine, yours = os.path.realpath(mine), os.path.realpath(yours)
        found, other = extent_elsewhere(mine), extent_elsewhere(yours)
        if found is None or other is None:
            raise NotTaken("it is just being replaced; do the same again")
        if found.size != other.size or found.folder != other.folder:
            return f"{mine} has {found.size:,} bytes, and {yours} has {other.size:,}"
        made = foreign_rows.text_of(context.rows.plain(here)["created_at"])
        if made == result.created_at and found.mtime_ns == other.mtime_ns:
            return ""  # one run, whose file was brought, or copied with its time
        try:
            is_same = are_alike(mine, yours)
        except FileNotFoundError as error:
            raise NotTaken("it is just being replaced; do the same again") from error
        except (PermissionError, Strange) as error:
            raise NotTaken(f"it is here, too, and the two cannot be compared: {error}") from error
        return "" if is_same else f"{mine} and {yours} have the same size, and not the same content"

    def _differs_in_outcomes(self, result: Result, here: Raw) -> str:
        values = self._context.rows.plain(here)
        for name, value in result.outcomes.values.items():
            mine = foreign_rows.plain(values[name])
            if mine is not None and value is not None and not same(mine, value):
                return f"its results are the same, and its {name!r} is {spelled(mine)} here and {spelled(value)} there"
        return ""
