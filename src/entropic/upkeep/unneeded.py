"""Checkpoints that nobody will go on from any more, and what runs have reported that are over.

An unfinished key's folder is wanted by its next attempt. It is over once a row is there, or the row was deleted: then
it was renamed to go, or whoever should have done that was killed. Names are seen first, and claims read after that: a
claim is there before what its attempt makes.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from entropic.db.claim_record import RUNNING
from entropic.db.query import fetch
from entropic.db.tables import ledger
from entropic.files import checkpoints, reports
from entropic.files.checkpoints import Kept, order
from entropic.files.staging import key_of
from entropic.params.model import Base
from entropic.protocol import lookup
from entropic.protocol.context import StoreContext
from entropic.protocol.lookup import Hit
from entropic.support import process
from entropic.support.names import ATTEMPT, WORKER, is_one


@dataclass(frozen=True, slots=True)
class Remains:
    """A folder of checkpoints, and the id of its key, if that is known.

    Attributes
    ----------
    over
        Why nobody will go on from it; None if its key's next attempt will, and nobody runs that now.
    """

    kept: Kept
    id: str
    over: str | None

    def __str__(self) -> str:
        whose = f"checkpoints of {self.id or 'an unknown run'}"
        return f"{self.kept.name}: {whose}, {self.over or 'from which its next attempt goes on'}"


@dataclass(frozen=True, slots=True)
class _Key:
    model: str
    id: str
    attempt: str
    state: str
    published: str | None


def survey(context: StoreContext[Base]) -> list[Remains]:
    """Return the checkpoints of this model's keys, and of keys that nobody knows, that no run is at work with."""
    found = checkpoints.listing(context.staging)
    if not found:
        return []
    keys = _keys({one.key for one in found}, context)
    ids = {key.id for key in keys.values() if key.model == context.model}
    raws = {context.rows.id_of(raw): raw for raw in context.rows.read_many(ids)}
    stored = {id for id, raw in raws.items() if isinstance(lookup.classify(context, raw), Hit)}
    return [one for kept in found if (one := _assess(context, kept, keys.get(kept.key), stored)) is not None]


def _keys(names: set[str], context: StoreContext[Base]) -> dict[str, _Key]:
    """Return what the ledger says of keys of all models, by their names in staging."""
    columns = (ledger.c.model, ledger.c.id, ledger.c.attempt, ledger.c.state, ledger.c.published)
    found = (_Key(*map(_text, row)) for row in fetch(context.database, sa.select(*columns)))  # type: ignore[arg-type]
    return {name: key for key in found if (name := key_of(key.model, key.id)) in names}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _assess(context: StoreContext[Base], kept: Kept, key: _Key | None, stored: set[str]) -> Remains | None:
    """Say whether a folder is needed; None if it is another model's, or if a run may be at work with it."""
    lives = process.state(kept.worker) == "alive"
    if key is None:
        return None if lives else Remains(kept, "", "which is not in the ledger")
    if key.model != context.model or not is_one(rf"{ATTEMPT}(\.{WORKER})?", key.attempt):
        return None
    if kept.over:
        return Remains(kept, key.id, "which are about to be removed")
    runs, mine, its = key.state == RUNNING, order(kept.attempt), order(key.attempt)
    if runs and mine[0] >= its[0]:
        return None
    if mine[0] != its[0]:
        return Remains(kept, key.id, "whose row was stored, or deleted, since then")
    if is_one(ATTEMPT, key.published) and order(key.published or "")[0] == mine[0]:
        is_needed = lives and mine > its  # by a run that was taken for dead no more when this one was first
        return None if is_needed else Remains(kept, key.id, "which is stored")
    return Remains(kept, key.id, "which is stored" if key.id in stored else None)


def remove_checkpoints(context: StoreContext[Base]) -> list[str]:
    """Remove the checkpoints that nobody needs; return what was removed, as sentences."""
    over = [one for one in survey(context) if one.over is not None]
    return [f"removed {one}" for one in over if checkpoints.remove(context.staging, one.kept)]


def remove_reports(context: StoreContext[Base]) -> None:
    """Remove what runs have reported that are over."""
    said = reports.seen(context.staging)
    if said:
        running = {(key_of(one.model, one.id), one.attempt) for one in context.ledger.pending().values()}
        reports.discard_others(context.staging, said, running)


def changed_at(context: StoreContext[Base], one: Remains) -> datetime:
    """Return when something was last written into a folder of checkpoints, naive UTC."""
    path = checkpoints.path_of(context.staging, one.kept)
    newest = 0.0
    for folder, _, files in os.walk(path):
        for each in (folder, *(os.path.join(folder, name) for name in files)):
            try:
                newest = max(newest, os.lstat(each).st_mtime)
            except OSError:  # on its way somewhere else
                continue
    return datetime.fromtimestamp(newest, UTC).replace(tzinfo=None)
