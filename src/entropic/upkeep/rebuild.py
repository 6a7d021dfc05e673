"""`Store.rebuild`: the rows of a database that was lost, made again of the results and their journals.

A row is made only where there is none, and only for a file that lies at its place with the recorded size. What a
journal says was looked at line by line (`files/journal.py`); it names only places in the results folder.
"""

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from entropic.db.claim_record import DELETING, IDLE, RUNNING, Claim, generation
from entropic.db.connection import Connection
from entropic.db.dialects.sqlite_file import uuid_in
from entropic.db.ledger import Ledger
from entropic.db.statement import Statement
from entropic.db.tables import ledger
from entropic.errors import DatabaseBusy, ResultLostWarning, warn
from entropic.files import environments, journal
from entropic.files.extent import Extent, extent
from entropic.files.journal import Deletion, Entry
from entropic.files.sidecar import NO_ORIGIN, Sidecar, Unreadable
from entropic.params.model import Base
from entropic.protocol import publish
from entropic.protocol.context import StoreContext
from entropic.support.names import whole
from entropic.support.show import one_line

_SHOWN = 10
_TOGETHER = 200  # rows in one transaction
_MOST_LINES = 1_000  # lines of journals, when a store opens


@dataclass(repr=False)
class Rebuild:
    """What `Store.rebuild` did (or, in a dry run, would do), and what it left.

    Attributes
    ----------
    made
        The keys of the rows that were made.
    left
        A sentence for each result that got no row.
    unknown
        Files that look like results of this store, of which no journal says anything.
    rows
        How many rows there were before.
    computed
        The outcome columns that the new rows lack until `Store.measure` computes them from the results.
    """

    made: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    rows: int = 0
    dry_run: bool = False
    computed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.made)} rows {'would be ' if self.dry_run else ''}made; {self.rows} were there"]
        if self.made and self.computed:
            lines += [f"{' and '.join(self.computed)} of these: measure() computes them from the results"]
        lines += _some("results get no row", self.left)
        lines += _some(
            "files look like results, and no journal says of what; they run again when they are asked for (register() "
            "takes them, from another folder, if you know their params)",
            self.unknown,
        )
        return "\n".join(lines)

    __repr__ = __str__


def _some(what: str, found: list[str]) -> list[str]:
    if not found:
        return []
    more = [f"  ... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return [f"{len(found)} {what}", *(f"  {one_line(text)}" for text in found[:_SHOWN]), *more]


def rebuild(context: StoreContext[Base], dry_run: bool) -> Rebuild:
    """Make the rows that the journals of the results folder tell of, and the database lacks."""
    if not dry_run:
        context.must_write("rebuild() has to add rows")
    done = Rebuild(dry_run=dry_run, computed=_computed(context))
    entries = _entries(context, done)
    with_row = {context.rows.id_of(raw) for raw in context.rows.all()}
    done.rows = len(with_row)
    done.unknown = _unknown(context, with_row | entries.keys())
    in_use = _in_use(context)
    found = [_choose(context, done, id, all_, in_use) for id, all_ in sorted(entries.items()) if id not in with_row]
    chosen = [one for one in found if one is not None]
    if dry_run:
        done.made = [entry.run.id for entry, _ in chosen]
        return done
    for begin in range(0, len(chosen), _TOGETHER):
        _make(context, done, chosen[begin : begin + _TOGETHER])
    _record_environments(context, {one.run.origin.environment for one, _ in chosen if one.run.origin is not None})
    return done


def _record_environments(context: StoreContext[Base], numbers: Iterable[int | None]) -> None:
    """Record in what environments runs were executed, which the lost database's folder tells."""
    for number in sorted(one for one in numbers if one is not None):
        text = environments.read_of_any(context.staging, number)
        if text is not None and not context.origins.knows(number):
            with contextlib.suppress(*context.database.troubles):  # no row is lost for it
                diff = partial(environments.read_diff_of_any, context.staging)
                context.origins.add_environment(number, text, diff)


def _entries(context: StoreContext[Base], done: Rebuild) -> dict[str, list[Entry]]:
    """Return what was recorded of each key since its row was last deleted."""
    entries: dict[str, list[Entry]] = {}
    deleted: dict[str, str] = {}
    unreadable = 0
    for one in journal.read(context.staging.results_dir):
        if isinstance(one, Unreadable):
            unreadable += 1
        elif isinstance(one, Deletion):
            if one.model == context.model:
                deleted[one.id] = max(one.at, deleted.get(one.id, ""))
        elif one.run.model == context.model:
            entries.setdefault(one.run.id, []).append(one)
    if unreadable:
        done.left.append(f"{unreadable} lines of the journals were cut off, or not written by this version of entropic")
    living = {id: [one for one in all_ if one.run.created_at > deleted.get(id, "")] for id, all_ in entries.items()}
    return {id: all_ for id, all_ in living.items() if all_}


def _in_use(context: StoreContext[Base]) -> set[str]:
    """Return the uuids of other databases that have used this folder and are not lost, as far as that can be told."""
    places = journal.places(context.staging.results_dir)
    places.pop(os.path.basename(context.staging.root), None)
    return {uuid for uuid, path in places.items() if uuid_in(path, context.database.dialect.wait) == uuid}


def _choose(
    context: StoreContext[Base], done: Rebuild, id: str, entries: list[Entry], in_use: set[str]
) -> tuple[Entry, Extent] | None:
    """Return what was recorded of the file that lies there, and its extent; None, and say why, if there is none.

    What the lost database had comes before what another one has that is in use.
    """
    entries.sort(key=lambda one: (one.of not in in_use, one.run.created_at), reverse=True)
    alike: list[tuple[Entry, Extent]] = []
    files = {place: extent(context.staging.path(place)) for place in {entry.place for entry in entries}}
    for entry in entries:
        found = files[entry.place]
        if found is not None and (found.size, found.folder) == (entry.run.size, entry.run.folder):
            alike.append((entry, found))
    if not alike:
        path = context.staging.path(entries[0].place)
        is_there = any(found is not None for found in files.values())
        done.left.append(f"{id}: {path} {'was changed since it was recorded' if is_there else 'is gone'}")
        return None
    alike = [one for one in alike if one[0].of not in in_use] or alike
    entry, found = next((one for one in alike if one[0].run.mtime_ns == one[1].mtime_ns), alike[0])
    backend = context.database.dialect.url.get_backend_name()
    if entry.database != backend:
        done.left.append(
            f"{id}: it was recorded by {entry.database}, whose values {backend} may not take; rebuild into a new "
            f"{entry.database} database, and copy_to() this one"
        )
        return None
    unknown = entry.run.values.keys() - {one.column.name for one in context.schema.fields.values()}
    if unknown:
        done.left.append(f"{id}: {context.schema.name} has no {', '.join(map(repr, sorted(unknown)))}, which it had")
        return None
    return entry, found


def _make(context: StoreContext[Base], done: Rebuild, chosen: list[tuple[Entry, Extent]]) -> None:
    """Make rows in one transaction; one by one, if the database refuses that."""
    try:
        made, left = context.database.transact(partial(_insert, context, chosen))
        done.made += made
        done.left += left  # only now: a transaction may be rolled back, and repeated
    except DatabaseBusy:
        raise
    except context.database.troubles as error:
        if len(chosen) == 1:
            done.left.append(f"{chosen[0][0].run.id}: {context.database} refuses its row: {error}")
            return
        for one in chosen:
            _make(context, done, [one])


def _insert(
    context: StoreContext[Base], chosen: Iterable[tuple[Entry, Extent]], connection: Connection
) -> tuple[list[str], list[str]]:
    """Make rows; return their keys, and why others got none."""
    made, left = [], []
    for entry, found in chosen:  # in the order of their keys: who locks several in another order meets a deadlock
        run = entry.run
        claim, taken = context.ledger.lock(connection, run.id)
        if context.rows.exists(connection, run.id):
            continue
        if extent(context.staging.path(entry.place)) != found:  # since it was chosen
            left.append(f"{run.id}: its file was replaced or removed just now; rebuild again")
            continue
        if entry.place in taken or (claim is not None and claim.state in (RUNNING, DELETING)):
            left.append(f"{run.id}: it is run just now, or another model has its place; rebuild again later")
            continue
        context.rows.values_of(run.values, [context.schema.attributes[name] for name in run.values])  # or raise
        context.rows.upsert(connection, publish.row_at(context, entry.place, _without_computed(context, run)))
        _record(context.ledger, connection, claim, entry, found, context.rows.own_checksum(run.values))
        publish.record_digest(context, connection, None, run)
        if run.inputs:
            context.origins.inputs.write(connection, run.id, run.inputs)
        made.append(run.id)
    return made, left


def _computed(context: StoreContext[Base]) -> list[str]:
    return [one.name for one in context.schema.asked_of_runs if one.measure is not None]


def _without_computed(context: StoreContext[Base], run: Sidecar) -> Sidecar:
    """Return what a run said without what functions computed: who knows whether they are those of now."""
    computed = _computed(context)
    if not computed or run.outcomes is None or run.missing is None:
        return run
    outcomes = {name: value for name, value in run.outcomes.items() if name not in computed}
    missing = {name: why for name, why in run.missing.items() if name not in computed}
    return replace(run, outcomes=outcomes, missing=missing)


def _record(
    ledger_: Ledger, connection: Connection, claim: Claim | None, entry: Entry, found: Extent, checksum: int
) -> None:
    """Let a claim say what it said when the run was published; no attempt's name is used again."""
    run = entry.run
    newest = claim is not None and generation(claim.attempt) >= generation(run.attempt)
    values: dict[str, Any] = {
        "attempt": claim.attempt if claim is not None and newest else run.attempt,
        "state": IDLE,
        "path": entry.place,
        "published": run.attempt,
        "size": found.size,
        "mtime_ns": found.mtime_ns,
        "extra": run.extra,
        "checksum": checksum,
        **(run.origin or NO_ORIGIN)._asdict(),
        "inputs": len(run.inputs) if run.inputs else None,
    }
    bound: dict[str, Any] = {name: sa.bindparam(f"{name}_") for name in values}
    key = {"id": sa.bindparam("key"), "model": sa.literal(ledger_.model)}
    nobody = {name: sa.null() for name in ("owner", "since", "lease_until", "waits_for", "registered", "failure")}
    if claim is None:
        made: Any = sa.insert(ledger).values(**key, **bound)
    else:
        is_mine = (ledger.c.id == key["id"]) & (ledger.c.model == key["model"])
        made = sa.update(ledger).where(is_mine).values(**bound, **nobody)
    statement = Statement(made, ledger_.database.sql)
    connection.execute(
        statement.sql, statement.values({"key": run.id, **{f"{name}_": value for name, value in values.items()}})
    )


def _unknown(context: StoreContext[Base], known: set[str]) -> list[str]:
    """Return the files that are named as results of this store are, and of whose keys nothing is known."""
    pattern = re.compile(rf"(?P<id>[0-9a-f]{{16}})(?:=[0-9]+)?{re.escape(whole(context.staging.suffix))}")
    found = [match for name in context.staging.results() if (match := pattern.fullmatch(name))]
    with_claim = {claim.id for claim in context.ledger.find_many([match["id"] for match in found])} if found else set()
    return sorted(match[0] for match in found if match["id"] not in known | with_claim)


def warn_of_lost_database(context: StoreContext[Base], has_rows: bool) -> None:
    """Warn where a database has no rows, and results lie there that were recorded by another one: was that lost?"""
    if has_rows or context.database.in_memory:
        return
    tells = _tells_of_results(context)
    if not tells and not (context.staging.is_new and _unknown(context, set())):
        return
    what = "with what was recorded of them" if tells else "of which nothing was recorded, or by an earlier version"
    advice = (
        "`entropic rebuild`, or rebuild() of this store, makes their rows again"
        if tells
        else "they run again when they are asked for"
    )
    warn(
        f"{context.database} has no rows of {context.schema.name}, and results lie in {context.staging.results_dir}, "
        f"{what}. If the database was lost, {advice}; if it is another one, see db_url",
        ResultLostWarning,
    )


def _tells_of_results(context: StoreContext[Base]) -> bool:
    """Tell whether the journals of other databases tell of a result of this model that is there."""
    others = journal.read(context.staging.results_dir, without=os.path.basename(context.staging.root))
    for _, one in zip(range(_MOST_LINES), others, strict=False):
        if not isinstance(one, Entry) or one.run.model != context.model:
            continue
        if os.path.lexists(context.staging.path(one.place)):
            return True
    return False
