"""`Store.rekey`: rows whose keys other rules have made, such as those of 2.3.0, under the keys that they have now.

Each is taken in under its new key, as a result of another store is, and goes from the old one once it is there, in one
transaction with all that is said of it. Only a row with nothing under its new key is moved: what is under both, as a
kill may leave one, is listed, and stays. So whatever happens, each result is there, with all that belongs to it.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from entropic.db import audits
from entropic.db.claim_record import Claim
from entropic.db.connection import Connection
from entropic.db.notes import Notes
from entropic.db.raw import Raw, Recorded
from entropic.errors import ParameterError, SpellingWarning, warn
from entropic.files import logs
from entropic.params.model import Base
from entropic.protocol import delete, verify
from entropic.protocol.claim import is_busy
from entropic.protocol.context import StoreContext
from entropic.protocol.former import find_former_set
from entropic.provenance.input import Input
from entropic.support import process
from entropic.support.show import counted
from entropic.support.signals import Terminable
from entropic.upkeep.imports import foreign_rows
from entropic.upkeep.imports.foreign_result import NotTaken
from entropic.upkeep.imports.foreign_rows import Theirs, origin_of
from entropic.upkeep.imports.take_in import Taking
from entropic.upkeep.reports.merged import Conflict
from entropic.upkeep.reports.rekeyed import Rekeyed

_TOGETHER = 200  # rows that are looked at in one query
_MOST_KEYS = 50  # keys that the rules of now have not made, when a store is first opened
_CHOOSE = "delete({'id': ...}) the one that is not wanted, and do the same again, or leave both"


def rekey(context: StoreContext[Base], dry_run: bool) -> Rekeyed:
    """Give rows whose keys other rules have made their current keys; say which, and what was left."""
    if not dry_run:
        context.must_write("rekey() has to change the keys of rows")
    with Terminable(), (call := process.Call()).under_way:
        moving = _Moving(context, call.name, dry_run)
        moving.move(former(context))
        moving.take_busy_ones()
    return moving.done


def former(context: StoreContext[Base]) -> dict[str, dict[str, object]]:
    """Return the keys that other rules have made, each with the set that it belongs to."""
    asked = ((id, find_former_set(context.schema, context.hasher, stored, id)) for id, stored in _without_rule(context))
    return {id: params for id, params in asked if params is not None}


def _without_rule(context: StoreContext[Base]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the keys that the rules of now have not made, and what their rows hold."""
    for raw in context.rows.all():
        if verify.is_hash(id := context.rows.id_of(raw)):
            stored = context.rows.plain(raw)
            if verify.form_of(context.schema, context.hasher, stored, id) is None:
                yield id, stored


def warn_of_former(context: StoreContext[Base]) -> None:
    """Warn, when a table of before there was a ledger is first opened, of rows that nobody finds by their sets.

    Of many only some are looked at: to try all other rules takes milliseconds, for each row.
    """
    some = list(islice(_without_rule(context), _MOST_KEYS + 1))
    is_all, tried = len(some) <= _MOST_KEYS, some[:_MOST_KEYS]
    count = sum(find_former_set(context.schema, context.hasher, stored, id) is not None for id, stored in tried)
    if not count:
        return
    verb, they = ("is under a key that its set no longer has", "It runs")
    if count > 1:
        verb, they = ("are under keys that their sets no longer have", "They run")
    warn(
        f"{'' if is_all else 'at least '}{counted(count, 'row')} of {context.schema.name} {verb}: entropic 2.3.0 "
        f"hashed numbers of numpy as text. {they} again when asked for, unless rekey() of this store, or "
        "`entropic rekey`, gives such rows their current keys",
        SpellingWarning,
    )


class _Moving(Taking[Theirs]):
    """One call, on its way; the other store is this one."""

    def __init__(self, context: StoreContext[Base], owner: str, dry_run: bool) -> None:
        self.done = Rekeyed(dry_run=dry_run)
        super().__init__(context, "link", owner, self.done)
        self._checksums = context.ledger.checksums()
        self._notes = Notes(context.database, context.model)
        self._shared = {os.path.realpath(context.staging.path(place)) for place in context.ledger.registered()}

    def move(self, asked: dict[str, dict[str, object]]) -> None:
        """Give each of some rows the key of its set, if nothing is there."""
        new: dict[str, str] = {}
        for old, params in sorted(asked.items()):
            try:
                new[old] = self._context.hasher(params)
            except ParameterError as why:
                self.done.left.append(f"{old}: {why}")
        wanted, ids = Counter(new.values()), list(new)
        for begin in range(0, len(ids), _TOGETHER):
            some = ids[begin : begin + _TOGETHER]
            claims = {claim.id: claim for claim in self._context.ledger.find_many({new[old] for old in some})}
            for result in self._find_movable(asked, new, some):
                here = self._context.rows.read(result.id)
                others = sorted(old for old in ids if new[old] == result.id) if wanted[result.id] > 1 else []
                if (text := self._obstacle(result, here, others, claims.get(result.id))) is not None:
                    self._leave(result, here, text)
                    continue
                self.done.sets[result.id], self.done.before[result.id] = asked[result.there], result.there
                self.take(result, None)

    def _obstacle(self, result: Theirs, here: Raw | None, others: list[str], claim: Claim | None) -> str | None:
        """Say what is under the new key of a row, or has its file; None if nothing is in its way."""
        if here is not None:
            return self._difference(result, here)
        if len(others) > 1:
            return f"{' and '.join(others)} are of one set, whose key is {result.id}; {_CHOOSE}"
        if claim is not None and is_busy(claim, self._owner):
            return f"its set is being run under its new key {result.id}; do the same again when that has ended"
        if not result.stays and {os.path.realpath(result.path), os.path.realpath(result.file)} & self._shared:
            return f"its file {result.file} is registered for another row, too, which would lose it"
        return None

    def _leave(self, result: Theirs, here: Raw | None, text: str) -> None:
        file = "" if here is None else self._context.rows.file_of(here)
        self.done.conflicts.append(Conflict(result.id, file, result.file, f"{result.there} keeps its key: {text}"))

    def _find_movable(
        self, asked: dict[str, dict[str, object]], new: dict[str, str], ids: list[str]
    ) -> Iterator[Theirs]:
        context = self._context
        claims = {claim.id: claim for claim in context.ledger.find_many(ids)}
        origins: dict[str, tuple[Any, ...]] = {id: tuple(told) for id, *told in context.origins.of(ids)}
        digests, read = context.digests.of(ids), dict[str, list[Input]]()
        for id, one in context.origins.inputs.of(ids):
            read.setdefault(id, []).append(one)
        for raw in sorted(context.rows.read_many(ids), key=context.rows.id_of):
            id = context.rows.id_of(raw)
            try:
                told = self._checksums.get(id), origin_of(origins.get(id)), digests.get(id), tuple(read.get(id, ()))
                found = foreign_rows.read(context, context, raw, claims.get(id), *told)
                stays = found.stays or Recorded.of(raw).is_registered
                yield replace(found, id=new[id], params=dict(asked[id]), stays=stays)
            except (NotTaken, ParameterError) as why:
                self.done.left.append(f"{id}: {why}")

    def _is_here(self, result: Theirs) -> None:
        """Let the old key go, and all that is said of it be said of the new one: both in one transaction."""
        context, old, new = self._context, result.there, result.id

        def along(connection: Connection) -> None:
            context.origins.inputs.move(connection, old, new)
            context.origins.former_keys.write(connection, old, new)
            self._notes.move(connection, old, new)
            audits.move(context.database, connection, context.model, old, new)

        logs.keep(context.staging, context.key_of(old), context.key_of(new))
        if not delete.delete(context, {"id": old}, remove_file=not result.stays, expected=result.raw, along=along):
            self.done.left.append(
                f"{old}: it was replaced or deleted just now, and is under its new key as it was before"
            )

    def _difference(self, result: Theirs, here: Raw) -> str:
        """Say that there is a row under the new key, whatever it holds."""
        text = f"its new key {result.id} has a row already; {_CHOOSE}"
        files = (os.path.realpath(path) for path in (result.file, self._context.rows.file_of(here)))
        return f"{text}. Both have one file, so do not remove that" if len(set(files)) == 1 else text
