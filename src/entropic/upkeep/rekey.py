"""`Store.rekey`: rows whose keys other rules have made, such as those of 2.3.0, under the keys that they have now.

Each is taken in under its new key, as a result of another store is, and goes from the old one once it is there. So a
kill leaves it under one of the two, or under both, and the next call goes on.
"""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from entropic.db.notes import Notes
from entropic.db.raw import Raw, Recorded
from entropic.errors import ParameterError, SpellingWarning, levels_to_user
from entropic.params.model import Base
from entropic.protocol import delete, verify
from entropic.protocol.context import StoreContext
from entropic.protocol.former import asked_before
from entropic.provenance.input import Input
from entropic.support import process
from entropic.support.show import counted
from entropic.support.signals import Terminable
from entropic.upkeep import note, theirs
from entropic.upkeep.elsewhere import NotTaken
from entropic.upkeep.rekeyed import Rekeyed
from entropic.upkeep.taking import Taking
from entropic.upkeep.theirs import Theirs, origin_of

_TOGETHER = 200  # rows that are looked at in one query


def rekey(context: StoreContext[Base], dry_run: bool) -> Rekeyed:
    """Give rows whose keys other rules have made the keys of now; say which, and what was left."""
    if not dry_run:
        context.must_write("rekey() has to change the keys of rows")
    with Terminable(), (call := process.Call()).under_way:
        moving = _Moving(context, call.name, dry_run)
        moving.move(former(context))
        moving.take_busy_ones()
    return moving.done


def former(context: StoreContext[Base]) -> dict[str, dict[str, object]]:
    """Return the keys that other rules have made, each with the set that it belongs to."""
    found = {}
    for raw in context.rows.all():
        if verify.is_hash(id := context.rows.id_of(raw)):
            stored = context.rows.plain(raw)
            if verify.form_of(context.schema, context.hasher, stored, id) is None:
                asked = asked_before(context.schema, context.hasher, stored, id)
                if asked is not None:
                    found[id] = asked
    return found


def warn_of_former(context: StoreContext[Base]) -> None:
    """Warn, when a table of before there was a ledger is first opened, of rows that nobody finds by their sets."""
    if found := former(context):
        warnings.warn(
            f"{counted(len(found), 'row')} of {context.schema.name} have keys that their sets do not have any more: "
            "entropic 2.3.0 hashed numbers of numpy as text. They run again when they are asked for, unless rekey() of "
            "this store, or `entropic rekey`, gives them the keys of now",
            SpellingWarning,
            stacklevel=levels_to_user(),
        )


class _Moving(Taking[Theirs]):
    """One call, on its way; the other store is this one."""

    def __init__(self, context: StoreContext[Base], owner: str, dry_run: bool) -> None:
        self.done = Rekeyed(dry_run=dry_run)
        super().__init__(context, "link", owner, self.done)
        self._checksums = context.ledger.checksums()
        self._notes = Notes(context.database, context.model).all()

    def move(self, asked: dict[str, dict[str, object]]) -> None:
        """Give each of some rows the key of its set."""
        ids = sorted(asked)
        for begin in range(0, len(ids), _TOGETHER):
            for result in self._look_at(asked, ids[begin : begin + _TOGETHER]):
                self.done.sets[result.id], self.done.before[result.id] = asked[result.there], result.there
                self.take(result, self._context.rows.read(result.id))

    def _look_at(self, asked: dict[str, dict[str, object]], ids: list[str]) -> Iterator[Theirs]:
        context = self._context
        claims = {claim.id: claim for claim in context.ledger.find_many(ids)}
        origins: dict[str, tuple[Any, ...]] = {id: tuple(told) for id, *told in context.origins.of(ids)}
        digests, read = context.digests.of(ids), dict[str, list[Input]]()
        for id, one in context.origins.inputs.of(ids):
            read.setdefault(id, []).append(one)
        for raw in context.rows.read_many(ids):
            id = context.rows.id_of(raw)
            try:
                told = self._checksums.get(id), origin_of(origins.get(id)), digests.get(id), tuple(read.get(id, ()))
                found = theirs.read(context, context, raw, claims.get(id), *told)
                stays = found.stays or Recorded.of(raw).is_registered
                yield replace(found, id=context.hasher(asked[id]), params=dict(asked[id]), stays=stays)
            except (NotTaken, ParameterError) as why:
                self.done.left.append(f"{id}: {why}")

    def _is_here(self, result: Theirs) -> None:
        """Let what is said of the old key be said of the new one, and let the old one go."""
        context, old = self._context, result.there
        if self.done.dry_run:
            return
        if (told := self._notes.get(old)) is not None:
            if text := note.bring(context, result.id, told, dry_run=False):
                self.done.left.append(f"{old}: {text}; its old note is left under its old key")
            else:
                known = Notes(context.database, context.model)
                context.database.transact(lambda connection: known.write(connection, old, "", (), told[1]))
        context.database.transact(lambda connection: context.origins.inputs.move(connection, old, result.id))
        if not delete.delete(context, {"id": old}, remove_file=not result.stays, expected=result.raw):
            self.done.left.append(f"{old}: it was replaced or deleted just now; do the same again")

    def _difference(self, result: Theirs, here: Raw) -> str | None:
        text = super()._difference(result, here)
        return f"{result.there} has another result than its new key: {text}" if text else text
