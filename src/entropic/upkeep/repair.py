"""`Store.check` and `Store.repair`: find what does not fit together, and repair what needs no run."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING

from entropic.db.claim_record import RUNNING, Claim
from entropic.db.raw import Raw, Recorded
from entropic.errors import ParameterError, UnreadableError
from entropic.files import checkpoints
from entropic.params.model import Base, naive_utc
from entropic.protocol import lookup, verify
from entropic.protocol.compare import DIFFERENCE, differing, is_comparable
from entropic.protocol.context import StoreContext
from entropic.protocol.delete import delete
from entropic.protocol.lookup import Suspect, difference
from entropic.support.names import whole
from entropic.support.show import counted, html_table, one_line, spelled
from entropic.upkeep import unfinished, unneeded
from entropic.upkeep.deep import check_workers, compare
from entropic.upkeep.recover import recover, release_dead, survey

if TYPE_CHECKING:
    from entropic.protocol.holders import Holder

_SHOWN = 10
_COUNTS = ("rows", "compared", "without_checksum", "resumed")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not in order: its key (if known), its path, and a sentence that says what is wrong."""

    id: str
    path: str
    text: str

    def __str__(self) -> str:
        return one_line(self.text)


@dataclass(repr=False)
class Report:
    """What `Store.check` found: a list for each kind; all are empty when all is well.

    Attributes
    ----------
    missing
        Rows whose result file is gone.
    damaged
        Rows whose result file has another size than recorded.
    orphans
        Result files of this store that have no row.
    dead_claims
        Keys whose claim belongs to a process that is gone and that finished nothing, or to a submission to Slurm of
        which no job is left.
    unseen
        Keys that were submitted to Slurm, where nobody can tell from here if jobs of the submission are left. That
        alone is not a fault: `ok` does not count them.
    leftovers
        What dead attempts left behind, finished or not.
    mismatched
        Rows whose values are not those that their key was made from.
    unreadable
        What a later version of entropic recorded, or what entropic did not write; all of it is left alone.
    altered
        Rows whose result does not hold the bytes that were stored, by its checksum: of files with another time than
        recorded, and with `deep=True` of all; then those too that cannot be read.
    rows
        How many rows there are.
    compared, without_checksum
        With `deep=True`: how many results were compared byte by byte, and how many rows have no checksum for that.
    resumed
        When the comparison began, if an earlier call began it and was interrupted.
    """

    missing: list[Finding] = field(default_factory=list)
    damaged: list[Finding] = field(default_factory=list)
    orphans: list[Finding] = field(default_factory=list)
    dead_claims: list[Finding] = field(default_factory=list)
    leftovers: list[Finding] = field(default_factory=list)
    mismatched: list[Finding] = field(default_factory=list)
    unreadable: list[Finding] = field(default_factory=list)
    altered: list[Finding] = field(default_factory=list)
    unseen: list[Finding] = field(default_factory=list)
    rows: int = 0
    compared: int | None = None
    without_checksum: int | None = None
    resumed: datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether everything is in order."""
        return not any(found for name, found in self.kinds().items() if name != "unseen")

    def kinds(self) -> dict[str, list[Finding]]:
        """Return the lists by their names."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _COUNTS}

    def _title(self) -> str:
        title = counted(self.rows, "row")
        if self.compared is None:
            return title
        title += f", {counted(self.compared, 'result')} compared byte by byte"
        if self.without_checksum:
            title += f" ({self.without_checksum:,} have no checksum to compare with: see checksum=True)"
        if self.resumed is not None:
            title += f", by this call and one that began {self.resumed:%Y-%m-%d %H:%M} UTC and was interrupted"
        return title

    def __str__(self) -> str:
        lines = [self._title() + (", all in order" if self.ok else "")]
        for name, found in self.kinds().items():
            if found:
                lines.append(f"{name.replace('_', ' ')}: {len(found)}")
                lines += [f"  {finding}" for finding in found[:_SHOWN]]
                lines += [f"  ... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        found = [(name.replace("_", " "), one) for name, several in self.kinds().items() for one in several]
        rows = [(kind, one.id, one.text) for kind, one in found[: 5 * _SHOWN]]
        more = f"... and {len(found) - len(rows)} more" if len(found) > len(rows) else ""
        title = self._title() + (", all in order" if self.ok else "")
        return html_table(rows, ("kind", "id", "finding"), title, more)


@dataclass(repr=False)
class Repair:
    """What `Store.repair` did (or, in a dry run, would do), and the report of what is left."""

    done: list[str]
    left: Report
    dry_run: bool = False

    def __str__(self) -> str:
        lines = [self._title(), *(f"  {one_line(sentence)}" for sentence in self.done)]
        return "\n".join([*lines, str(self.left)])

    def _title(self) -> str:
        if not self.done:
            return "nothing to repair"
        return counted(len(self.done), "repair") + (" to make" if self.dry_run else " made")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table([(sentence,) for sentence in self.done], title=self._title()) + self.left._repr_html_()


def check(
    context: StoreContext[Base], deep: bool = False, workers: int = 4, held: "list[Holder] | None" = None
) -> Report:
    """Compare rows, claims and files; change nothing.

    Parameters
    ----------
    held
        Which submissions hold sets, if that was looked at.
    """
    if deep not in (True, False):
        raise ParameterError(f"deep must be True or False, not {spelled(deep)}")
    check_workers(workers)
    report = Report()
    context.database.stay_current()  # else it would find all in order in a file that is gone
    checksums = context.ledger.checksums()
    with_row: dict[str, str] = {}
    lost: dict[str, Raw] = {}
    touched: dict[str, Raw] = {}
    for raw in context.rows.all():
        report.rows += 1
        id, path = context.rows.id_of(raw), context.rows.file_of(raw)
        with_row[id] = path
        recorded, found = Recorded.of(raw), context.extent_of(raw)
        if found is None or recorded.size not in (None, found.size):
            lost[id] = raw
        elif not deep and is_comparable(recorded, found):
            touched[id] = raw
        _check_values(context, report, raw, id, path, checksums.get(id))
    for id, looked_up in lookup.recheck(context, lost).items():
        if isinstance(looked_up, Suspect):
            _check_file(context, report, looked_up.raw, id, context.rows.file_of(looked_up.raw))
    for id in sorted(differing(context, touched)):
        text = f"{id}: {with_row[id]} {DIFFERENCE}; it runs again when asked for"
        report.altered.append(Finding(id, with_row[id], text))
    for claim in context.ledger.all():
        _check_claim(context, report, claim, with_row)
    _check_submissions(report, _submissions(context) if held is None else held)
    for flawed, what in context.ledger.flawed():
        text = f"{flawed.id!s:.80}: its entry in the ledger was not written by entropic: {what}; it is left alone"
        report.unreadable.append(Finding(str(flawed.id), "", text))
    _check_extra_files(context, report)
    for one in unneeded.survey(context):
        if one.over is not None:
            path = checkpoints.path_of(context.staging, one.kept)
            report.leftovers.append(Finding(one.id, path, str(one)))
    for path in unfinished.survey(context):
        report.leftovers.append(Finding("", path, f"{path}: {unfinished.LEFT}; gc() removes it"))
    for left in survey(context):
        id = left.finished.id if left.finished else ""
        kind = report.leftovers if left.unreadable is None else report.unreadable
        kind.append(Finding(id, context.staging.inside(left.found.name), str(left)))
    if deep:
        done = compare(context, workers)
        report.compared, report.without_checksum = done.compared, done.without
        report.resumed = None if done.began is None else naive_utc(done.began)
        report.altered = [Finding(*told) for told in done.altered]
    return report


def _check_file(context: StoreContext[Base], report: Report, raw: Raw, id: str, path: str) -> None:
    size, found = Recorded.of(raw).size, context.extent_of(raw)
    if found is None:
        report.missing.append(Finding(id, path, f"{id}: its result file {path} is gone; it runs again when asked for"))
    elif size is not None and found.size != size:
        text = f"{id}: {path} {difference(found.size, size)}; it runs again when asked for"
        report.damaged.append(Finding(id, path, text))


def _check_values(
    context: StoreContext[Base], report: Report, raw: Raw, id: str, path: str, recorded: int | None
) -> None:
    try:
        context.rows.plain(raw)
    except UnreadableError as error:
        report.unreadable.append(Finding(id, path, str(error)))
        return
    is_as_stored = recorded is not None and context.rows.checksum(raw) == recorded
    if is_as_stored and not context.schema.changed.retyped:
        return
    if not has_its_key(context, raw) and not is_as_stored:
        text = (
            f"{id}: its columns were changed by hand, and have another key; its set counts as lost, and runs again "
            "when asked for. repair() removes the row, and keeps its file"
        )
    elif verify.is_of_before(context.schema, context.hasher, context.rows.plain(raw), id):
        text = f"{id}: its key follows older rules, so its set will run again; rekey() gives the row its current key"
    elif recorded is not None and not is_as_stored:
        text = f"{id}: its columns are not all as they were stored; it is served to whoever asks for what they hold"
    else:
        return
    report.mismatched.append(Finding(id, path, text))


def has_its_key(context: StoreContext[Base], raw: Raw) -> bool:
    """Tell whether the values of a row may have its key."""
    id, stored = context.rows.id_of(raw), context.rows.plain(raw)
    return verify.may_have(context.schema, context.hasher, stored, id)


def _check_claim(context: StoreContext[Base], report: Report, claim: Claim, with_row: dict[str, str]) -> None:
    if claim.state == RUNNING and claim.gone and not context.is_finished(claim.id, claim.attempt):
        owner = claim.owner or "a call that abandoned it"
        text = f"{claim.id}: claimed by {owner}, which is gone; it runs again when asked for"
        if not claim.dead:
            text = (
                f"{claim.id}: claimed by {owner}, before this host was restarted; it runs again when asked for, once "
                "its lease has expired or repair() has released the claim"
            )
        report.dead_claims.append(Finding(claim.id, "", text))
    if claim.published is None or claim.path is None or claim.state == RUNNING:
        return
    path = context.staging.path(claim.path)
    if with_row.get(claim.id) != context.staging.file(claim.path) and os.path.lexists(path):
        report.orphans.append(Finding(claim.id, path, f"{claim.id}: {path} is a result of this store without a row"))


def _submissions(context: StoreContext[Base]) -> "list[Holder]":
    """Return which submissions hold sets, as Slurm says, if there are any."""
    if all(claim.submission is None for claim in context.ledger.pending().values()):
        return []
    from entropic.protocol.holders import survey  # here: nothing else in this module needs Slurm

    return survey(context, ask=True)


def _check_submissions(report: Report, held: "list[Holder]") -> None:
    for one in held:
        if one.is_gone or one.is_unseen:
            kind = report.dead_claims if one.is_gone else report.unseen
            kind += [Finding(id, "", one.told(id)) for id in one.keys]


def _check_extra_files(context: StoreContext[Base], report: Report) -> None:
    for path, claim in stray_extras(context):
        text = f"{claim.id}: {path} holds extra files of a result that was replaced"
        report.orphans.append(Finding(claim.id, path, text))


def stray_extras(context: StoreContext[Base]) -> Iterator[tuple[str, Claim]]:
    """Return the folders of extra files that belong to no result any more, each with the claim on its place."""
    pattern = re.compile(r"(?P<place>.+)\.(?P<attempt>\d+-[0-9a-f]{8})\.files", re.DOTALL)
    found = [match for name in context.staging.results() if (match := pattern.fullmatch(name))]
    if not found:
        return
    claims = {whole(claim.path): claim for claim in context.ledger.all() if claim.path is not None}
    for match in found:  # those of places that this model never had are another model's, or no files of ours
        claim = claims.get(match["place"])
        if claim is not None and claim.state != RUNNING and match["attempt"] != claim.published:
            yield context.staging.path(match[0]), claim


def _of_other_keys(context: StoreContext[Base], report: Report) -> list[Finding]:
    """Return those of the rows that do not hold what was stored whose values have another key."""
    raws = {context.rows.id_of(raw): raw for raw in context.rows.read_many(one.id for one in report.mismatched)}
    return [one for one in report.mismatched if one.id in raws and not has_its_key(context, raws[one.id])]


def _remove_row(context: StoreContext[Base], finding: Finding) -> str:
    delete(context, {"id": finding.id}, remove_file=False)
    return (
        f"{finding.id}: its row, which somebody had changed, was removed; {finding.path} is kept until gc() removes it"
    )


def repair(context: StoreContext[Base], dry_run: bool) -> Repair:
    """Repair what can be repaired without a run: record, finish, remove, release."""
    if not dry_run:
        context.must_write("repair() would have to change something")
    held = _submissions(context)
    before = check(context, held=held)
    if dry_run:
        coming = [*before.leftovers, *before.dead_claims, *_of_other_keys(context, before)]
        return Repair([*(finding.text for finding in coming), *_freed(context, held)], before, dry_run=True)
    done = [_remove_row(context, finding) for finding in _of_other_keys(context, before)]
    done += recover(context)
    from entropic.protocol.holders import repair_submissions  # here: who only looks needs nothing of Slurm

    sentences, freed, held = repair_submissions(context, held)
    done += sentences
    done += release_dead(context, even_without_row=True, said=freed)
    done += recover(context)  # a torn sidecar can go once its claim has moved on
    done += unneeded.remove_checkpoints(context)
    unneeded.remove_reports(context)
    return Repair(done, check(context, held=held))


def _freed(context: StoreContext[Base], held: "list[Holder]") -> list[str]:
    """Return what a repair would free although nobody can tell from here if jobs are left, as sentences."""
    if not held:
        return []
    from entropic.protocol.holders import would_free

    return [
        f"{id}: submitted to Slurm as {one.jobs}, which cannot be asked from here; jobs that wait find nothing to do"
        for one in would_free(context, held)
        for id in one.keys
    ]
