"""`Store.gc`: results that are not wanted any more go, and files of ours that no row needs.

A result goes as `Store.delete` lets it go: its row first, then its file through a slot, which anyone can finish. What
is decided here without a lock is decided again under it, so whoever runs, replaces or deletes a result meanwhile wins.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from entropic.ask.select import matching
from entropic.db.claim_record import DISTRUSTED, FAILED, IDLE, RUNNING, Claim
from entropic.db.connection import Connection
from entropic.db.flaws import claims_place
from entropic.db.query import fetch
from entropic.db.tables import ledger
from entropic.errors import ParameterError, PublishError, StoreError, UnreadableError
from entropic.files import checkpoints, logs
from entropic.files import place as places
from entropic.files.extent import extent
from entropic.files.staging import FOLDER
from entropic.params.model import Base, now_as_text, utcnow
from entropic.protocol.context import StoreContext
from entropic.protocol.delete import Verdict, delete_when_free
from entropic.protocol.wait import act_when_free
from entropic.support.names import whole
from entropic.support.show import spelled
from entropic.support.sizes import amount
from entropic.upkeep import unfinished, unneeded
from entropic.upkeep.recover import Left, recover, survey
from entropic.upkeep.repair import stray_extras
from entropic.upkeep.reports.cleaned import Cleanup, Kind, Removal

EPOCH = datetime(1970, 1, 1)
_c = ledger.c


@dataclass(frozen=True, slots=True)
class Limits:
    """How old, and how large together, the results may be that stay."""

    older_than: timedelta | None
    total_size: int | None

    @classmethod
    def of(cls, older_than: timedelta | float | None, total_size: int | None) -> "Limits":
        """Return what the user gave, checked."""
        if older_than is not None and not isinstance(older_than, timedelta):
            if isinstance(older_than, bool) or not isinstance(older_than, int | float) or not older_than >= 0:
                raise ParameterError(
                    f"older_than must be a timedelta or a number of seconds, not {spelled(older_than)}"
                )
            try:
                older_than = timedelta(seconds=older_than)
            except OverflowError:
                raise ParameterError(
                    f"older_than={spelled(older_than)} is too long; leave it out to keep everything"
                ) from None
        if older_than is not None and older_than < timedelta(0):
            raise ParameterError(f"older_than must not be negative: {older_than!r}")
        if total_size is not None and (type(total_size) is not int or total_size < 0):
            raise ParameterError(f"total_size must be a number of bytes, not {spelled(total_size)}")
        return cls(older_than, total_size)

    @property
    def before(self) -> datetime | None:
        """Naive UTC; what was made before is too old."""
        if self.older_than is None:
            return None
        now = utcnow()
        return now - min(self.older_than, now - EPOCH)


@dataclass(frozen=True, slots=True)
class _Held:
    """A file of ours, at its place, as the ledger knows it."""

    kind: Kind
    id: str
    attempt: str
    path: str
    recorded: int | None
    extra: bool
    about: str


def gc(
    context: StoreContext[Base],
    where: Sequence[object],
    equal: Mapping[str, object],
    limits: Limits,
    orphans: bool,
    leftovers: bool,
    dry_run: bool,
) -> Cleanup:
    """Remove what is asked for, or say what that would be."""
    if not dry_run:
        context.must_write("gc() would have to remove something")
    query = matching(context, where, equal)
    context.database.stay_current()  # else it would compare files with a database that is gone
    if context.staging.is_strange:
        raise StoreError(
            f"none of the results of {context.schema.name} is in {context.staging.results_dir}; open the store with "
            "the results_dir in which they were made. Nothing was removed"
        )
    report = Cleanup(dry_run=dry_run)
    if leftovers:
        _leftovers(context, report)
        _checkpoints(context, report, None if where or equal else limits.before)
        _selections(context, report)
        if not dry_run:
            unneeded.remove_reports(context)
    if where or equal or limits != Limits(None, None):
        _remove_each(context, report, _choose(context, report, query, limits))
    if orphans:
        _remove_each(context, report, _orphans(context, report, limits.before))
        _stray_extras(context, report, limits.before)
    return report


# ---- results -----------------------------------------------------------------------------------------------------
def _choose(context: StoreContext[Base], report: Cleanup, query: "sa.Select[Any]", limits: Limits) -> Iterator[_Held]:
    """Yield the results that break a limit, newest first; all that match, if there is no limit."""
    c, before, room = context.schema.table.c, limits.before, limits.total_size
    all_go = before is None and room is None
    old = sa.literal(0) if before is None else sa.case((c.created_at < before, 1), else_=0)
    query = query.where(_c.published.is_not(None), _c.registered.is_(None))
    columns = (c.id, _c.published, _c.path, _c.size, _c.extra, old, sa.cast(c.created_at, sa.String))
    query = query.with_only_columns(*columns).order_by(c.created_at.desc(), c.id)
    for id, published, path, size, extra, is_old, when in fetch(context.database, query):
        if not claims_place(id, path, published):
            continue  # `check` says what is wrong with it
        one = _Held("result", id, published, path, size, bool(extra), f"result of {str(when)[:19]} UTC")
        goes = all_go or bool(is_old)
        if not goes and room is not None:
            taken, reason = _examine(context, one)
            if reason is None:
                room -= taken  # once it is negative it stays so: what is older goes, however small
                goes = room < 0
        if goes:
            yield one


# ---- files without a row -----------------------------------------------------------------------------------------
def _orphans(context: StoreContext[Base], report: Cleanup, before: datetime | None) -> Iterator[_Held]:
    """Yield the files of ours that no row points to."""
    has_row = sa.exists().where(context.schema.table.c.id == _c.id)
    query = sa.select(_c.id, _c.published, _c.path, _c.size, _c.extra, _c.registered).where(
        (_c.model == context.model) & _c.published.is_not(None) & _c.state.in_([IDLE, FAILED]),
        ~has_row | _c.registered.is_not(None),
    )
    for id, published, path, size, extra, registered in fetch(context.database, query):
        if not claims_place(id, path, published):
            continue
        file = context.staging.path(path)
        if not os.path.lexists(file) or not _is_older(file, before):
            continue
        one = _Held("orphan", id, published, path, size, bool(extra), "a file without a row")
        if registered is None:
            yield one
        else:  # the ledger knows the size of that one now
            _keep(
                context,
                report,
                one,
                "its key has a registered file now, so there is no record of whether this one was changed",
            )


def _stray_extras(context: StoreContext[Base], report: Cleanup, before: datetime | None) -> None:
    """Remove extra files whose result was replaced; a crash cannot leave them, but an outsider's hand can."""
    found = [(path, claim) for path, claim in stray_extras(context) if _is_older(path, before)]
    if not found:
        return
    folders = [os.path.join(FOLDER, name) for name in os.listdir(os.path.join(context.staging.results_dir, FOLDER))]
    nothing_else = [context.staging.file(name) for name in folders] == [context.staging.root]
    registered = context.ledger.registered()
    for path, claim in found:
        inside = os.path.basename(path) + os.sep
        attempt = path.removesuffix(".files").rpartition(f"{whole(claim.path or '')}.")[2]
        reason = None
        if os.path.islink(path) or not os.path.isdir(path):
            reason = "it is not a folder that a run left"
        elif not nothing_else:
            reason = "another database uses this results folder too, and may own it"
        elif any(one.startswith(inside) for one in registered):
            reason = "there is a registered file in it"
        size = 0 if reason else _size(path)
        text = f"{claim.id}: extra files of a result that was replaced, {amount(size)}: {path}"
        if reason is not None:
            report.kept.append(Removal("orphan", claim.id, path, 0, f"{claim.id}: {path} stays: {reason}"))
        elif report.dry_run or _is_over(context, claim.id, attempt):
            if not report.dry_run:
                places.remove_tree(path)
            if not report.dry_run and os.path.lexists(path):
                text = f"{claim.id}: {path} stays, at least in part: something in it could not be removed"
                report.kept.append(Removal("orphan", claim.id, path, 0, text))
            else:
                report.removed.append(Removal("orphan", claim.id, path, size, text))


def _is_over(context: StoreContext[Base], id: str, attempt: str) -> bool:
    """Tell, by a look under the lock, whether an attempt's files are needed by nobody, and never will be."""

    def act(_: Connection, found: Claim | None, __: set[str]) -> bool:
        return found is not None and found.state != RUNNING and attempt != found.published

    return act_when_free(context, id, act)


# ---- what dead attempts left -------------------------------------------------------------------------------------
def _leftovers(context: StoreContext[Base], report: Cleanup) -> None:
    """Do what opening the store does: finished runs are recorded, the rest of the dead goes."""
    found = [
        _leftover(context, left)
        for left in survey(context)
        if left.unreadable is None and (left.finished is None or not left.current)
    ]
    if not report.dry_run:
        recover(context)
        found = [one for one in found if not os.path.lexists(one.path)]
    report.removed += found


def _leftover(context: StoreContext[Base], left: Left) -> Removal:
    names = [left.found.name]
    if left.finished is not None:
        names += [left.finished.result, left.finished.files, left.finished.slot]
    id = left.finished.id if left.finished else left.deleting.id if left.deleting else ""
    size = sum(_size(context.staging.inside(name)) for name in names)
    return Removal("leftover", id, context.staging.inside(left.found.name), size, f"{left}, {amount(size)}")


def _checkpoints(context: StoreContext[Base], report: Cleanup, before: datetime | None) -> None:
    """Remove checkpoints that nobody needs, and those of unfinished runs if they are too old."""
    for one in unneeded.survey(context):
        changed = unneeded.changed_at(context, one)
        if one.over is None and (before is None or changed >= before):
            continue
        path = checkpoints.path_of(context.staging, one.kept)
        size, age = _size(path), "" if one.over is not None else f", but are of {changed:%Y-%m-%d %H:%M:%S} UTC"
        removal = Removal("leftover", one.id, path, size, f"{one}{age}, {amount(size)}")
        if report.dry_run or checkpoints.remove(context.staging, one.kept):
            report.removed.append(removal)
        else:
            text = f"{path} stays, at least in part: something in it could not be removed"
            report.kept.append(Removal("leftover", one.id, path, 0, text))


def _selections(context: StoreContext[Base], report: Cleanup) -> None:
    """Remove what a killed freeze(), or unfreeze(), has left."""
    for path in unfinished.survey(context):
        size = _size(path)
        if not report.dry_run:
            places.remove_tree(path)
        if report.dry_run or not os.path.lexists(path):
            text = f"{unfinished.LEFT}, {amount(size)}: {path}"
            report.removed.append(Removal("leftover", "", path, size, text))
        else:
            text = f"{path} stays, at least in part: something in it could not be removed"
            report.kept.append(Removal("leftover", "", path, 0, text))


# ---- one file ----------------------------------------------------------------------------------------------------
def _remove_each(context: StoreContext[Base], report: Cleanup, chosen: Iterable[_Held]) -> None:
    for one in list(chosen):
        size, reason = _examine(context, one)
        if reason is None and not report.dry_run:
            try:
                reason = _remove(context, one)
            except (PublishError, UnreadableError) as error:  # a finished run, which is never given up here
                reason = str(error)
        if reason is None:
            path = context.staging.path(one.path)
            text = f"{one.id}: {one.about}, {amount(size)}: {path}"
            report.removed.append(Removal(one.kind, one.id, path, size, text))
        elif reason:
            _keep(context, report, one, reason)


def _keep(context: StoreContext[Base], report: Cleanup, one: _Held, reason: str) -> None:
    path = context.staging.path(one.path)
    report.kept.append(Removal(one.kind, one.id, path, 0, f"{one.id}: {path} stays: {reason}"))


def _examine(context: StoreContext[Base], one: _Held) -> tuple[int, str | None]:
    """Return how many bytes a file of ours takes, and why it may be none of ours any more."""
    path = context.staging.path(one.path)
    if os.path.islink(path):
        return 0, "it is a link, and its target may be yours; delete() removes its row"
    found = extent(path)
    if found is not None and one.recorded not in (None, DISTRUSTED) and found.size != one.recorded:
        return 0, f"it has {found.size} bytes instead of {one.recorded}, so somebody changed or replaced it"
    beside = _size(context.staging.extra(one.path, one.attempt)) if one.extra else 0
    return (found.size if found else 0) + beside, None


def _remove(context: StoreContext[Base], one: _Held) -> str | None:
    """Remove a row, if it has one, and its file; return why not, or nothing to say of what is gone already."""
    at = ""

    def decide(connection: Connection, found: Claim | None, begun: bool) -> Verdict[str | None]:
        if begun and (found is None or found.published is None):
            return Verdict(None)  # what was begun was committed, and has been finished by now
        if found is None or found.published != one.attempt or found.registered is not None:
            return Verdict("")  # replaced, or gone
        if found.state == RUNNING:
            return Verdict("a run of it is under way, or has died (then repair() releases its claim)")
        if context.rows.exists(connection, one.id) != (one.kind == "result"):
            return Verdict("")
        nonlocal at
        at = now_as_text()
        reason = _examine(context, one)[1]
        return Verdict(reason, goes=reason is None)

    reason, deleted, is_clean = delete_when_free(context, one.id, decide, keep_failure=True)
    if not is_clean:
        reason = f"its row is gone, but some of its files could not be removed from {context.staging.root}"
    if deleted is not None and context.journal is not None:
        context.journal.add_deletion(context.model, one.id, at)
    if deleted is not None and not deleted.failed:
        logs.discard(context.staging, context.key_of(one.id))
    return reason


def _is_older(path: str, before: datetime | None) -> bool:
    if before is None:
        return True
    try:
        return os.lstat(path).st_mtime < (before - EPOCH).total_seconds()
    except FileNotFoundError:
        return False


def _size(path: str) -> int:
    if os.path.islink(path):
        return 0
    found = extent(path)
    return found.size if found else 0
