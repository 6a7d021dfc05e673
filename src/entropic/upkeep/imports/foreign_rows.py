"""The rows of another store, read to be taken in: what it holds is looked at, since it may be anybody's.

Nothing there is changed, locked or waited for: it may be in use meanwhile, and need not be writable.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import sqlalchemy as sa

from entropic.ask.provenance import diff
from entropic.db.claim_record import DISTRUSTED, Claim
from entropic.db.columns import line_of
from entropic.db.dialects.types import underlying
from entropic.db.digests import Digest
from entropic.db.raw import Raw, Recorded
from entropic.db.raw import told as told_of
from entropic.errors import ModelError, ParameterError, StoreError, UnreadableError
from entropic.files import environments
from entropic.files.extent import extent, extent_elsewhere
from entropic.files.paths import ROOM_IN_NAME
from entropic.files.sidecar import NO_ORIGIN, Origin
from entropic.params.model import Base, Schema
from entropic.params.outcomes import NOT_RECORDED, NOTED, Outcomes, read_notes
from entropic.params.same import same
from entropic.protocol import verify
from entropic.protocol.context import StoreContext
from entropic.protocol.former import find_former_set
from entropic.provenance.input import Input
from entropic.support import names
from entropic.support.names import number_of, whole
from entropic.support.show import spelled
from entropic.upkeep.imports.foreign_result import REPLACED, NotTaken, Result

# Columns of one of these hold values of one kind; in this order, since an Enum is a kind of String.
_KINDS: dict[str, Any] = {
    "True or False": sa.Boolean,
    "whole numbers": sa.Integer,
    "floats": sa.Float,
    "decimals": sa.Numeric,
    "an enumeration": sa.Enum,
    "text": sa.String,
    "bytes": sa.LargeBinary,
    "dates with times": sa.DateTime,
    "dates": sa.Date,
    "times": sa.Time,
    "durations": sa.Interval,
    "UUIDs": sa.Uuid,
    "JSON": sa.JSON,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Theirs(Result):
    """A result of another store.

    Attributes
    ----------
    there : str
        The key that it has there.
    raw : Raw
        Its row there.
    store : StoreContext
        The other one.
    """

    there: str
    raw: Raw
    store: StoreContext[Any]

    def check(self, brought: str) -> None:
        """See that what was brought is what the row says that was read before: it may have been replaced meanwhile.

        A re-run places its file before its row is there, and until then its attempt is running.
        """
        now, found = self.store.rows.read(self.there), extent(brought)
        is_alike = found is not None and self.found is not None and found.size == self.found.size
        if now is None or told_of(now) != told_of(self.raw) or found is None or not is_alike:
            raise NotTaken(REPLACED)
        running, recorded = now[-4], now[-2]
        if running is not None and not found.folder and found.mtime_ns != recorded:
            raise NotTaken("it is being run again there; merge again when that has ended")


def refuse_unlike(context: StoreContext[Base], other: StoreContext[Base]) -> None:
    """Refuse a store whose results cannot be results of this one.

    Raises
    ------
    ModelError, StoreError
        Nothing was done.
    """
    ours, theirs = context.schema, other.schema
    called = names_here(ours, theirs)
    for lacking, where, has in (
        (ours.fields.keys() - called.values() - ours.changed.defaults.keys(), "there", ours),
        (theirs.fields.keys() - called.keys(), "here", theirs),
    ):
        if lacking:
            lines = [line_of(has.fields[name].column, _declared(has, name)) for name in sorted(lacking)]
            raise ModelError(
                f"{ours.name} of {context.database} and {theirs.name} of {other.database} do not have the same "
                f"parameters: there is no {', '.join(map(repr, sorted(lacking)))} {where}. Write {'; '.join(lines)} in "
                "the model that lacks it, so that both have the same columns, and merge then. Nothing was merged"
            )
    kinds = {mine: (_kind(ours.fields[mine].type), _kind(theirs.fields[name].type)) for name, mine in called.items()}
    before = {name: _kind(sa.Integer()) for name in ours.changed.retyped}
    unlike = [name for name, (here, there) in kinds.items() if there not in (here, before.get(name))]
    if unlike:
        here, there = kinds[unlike[0]]
        raise ModelError(
            f"the column {unlike[0]!r} is of {here} in {context.database}, and of {there} in {other.database}, so one "
            "set would have two keys. Give both models the same type (retyped(int) makes an int a float), and "
            "merge then. Nothing was merged"
        )
    unknown = sorted(theirs.outcomes.keys() - ours.outcomes.keys())
    unknown += sorted(other.database.types.keys() - set(theirs.table.c.keys()))
    if unknown:
        raise ModelError(
            f"{other.database} has {', '.join(map(repr, unknown))}, for which {ours.name} has no column, so what is in "
            "it would be lost: give it one (an outcome is added to the table by itself when the store is opened), or "
            "drop the column there. Nothing was merged"
        )
    if other.hasher.typed and not context.hasher.typed:
        raise StoreError(
            f"{other.database} was made with typed_keys=True, so its rows do not tell whether 1 or 1.0 was asked for, "
            f"and {context.database} has another key for each. Open a new store with typed_keys=True, and merge both "
            "into that. Nothing was merged"
        )
    if context.database.address == other.database.address and ours.table_name == theirs.table_name:
        raise StoreError(f"both stores are {context.database}: there is nothing to merge. Nothing was done")
    if other.staging.is_strange:
        raise StoreError(
            f"none of the results of {other.database} is in {other.staging.results_dir}; open it with the results_dir "
            "in which they were made. Nothing was merged"
        )


def _declared(schema: Schema, name: str) -> str:
    """Return how a model that lacks a parameter declares it: what was added there has the same default here."""
    default = schema.changed.defaults.get(name, ...)
    return "added(VALUE)" if default is ... else f"added({spelled(default)})"


def names_here(ours: Schema, theirs: Schema) -> dict[str, str]:
    """Return what parameters of the other model are called in this one: each has one name in keys, however renamed."""
    mine = {ours.changed.before.get(name, name): name for name in ours.fields}
    named = {name: theirs.changed.before.get(name, name) for name in theirs.fields}
    return {name: mine[in_keys] for name, in_keys in named.items() if in_keys in mine}


def _mean_the_same(ours: Schema, theirs: Schema) -> bool:
    """Tell whether a set has the same key in both models: what it leaves out means the same, and so do its numbers."""
    for name, mine in names_here(ours, theirs).items():
        if (mine in ours.changed.retyped) != (name in theirs.changed.retyped) and not isinstance(
            underlying(theirs.fields[name].type), sa.Integer
        ):
            return False
        for told, other in (
            (ours.changed.defaults, theirs.changed.defaults),
            (ours.changed.removed, theirs.changed.removed),
        ):
            if (mine in told) != (name in other) or (mine in told and not same(told[mine], other[name])):
                return False
    return True


def _kind(kind: Any) -> str:
    found = underlying(kind)
    return next((name for name, one in _KINDS.items() if isinstance(found, one)), type(found).__name__)


def read(
    context: StoreContext[Base],
    other: StoreContext[Base],
    raw: Raw,
    claim: Claim | None,
    checksum: int | None,
    origin: Origin,
    digest: Digest | None,
    inputs: tuple[Input, ...],
) -> Theirs:
    """Return a result of the other store, given its raw row and what its ledger says of it.

    Raises
    ------
    NotTaken
        If it is not as it was recorded there, or cannot be recorded here.
    """
    recorded = Recorded.of(raw)
    if recorded.place is not None and claim is None:
        raise NotTaken("its entry in the ledger there was not written by entropic")
    try:
        values = other.rows.plain(raw)
    except UnreadableError as error:
        raise NotTaken(str(error)) from error
    there = str(values["id"])
    if checksum is not None and other.rows.checksum(raw) != checksum:
        raise NotTaken("its row there was changed by hand; repair() there removes it")
    path, file = other.path_of(raw), other.rows.file_of(raw)
    real, stays = _where(other, path, recorded)
    found = extent_elsewhere(file if stays else real, recorded.size if recorded.size != DISTRUSTED else None)
    if found is None or not os.path.exists(file):
        raise NotTaken(f"its result there, {file}, is gone, or cannot be looked at")
    if recorded.size is not None and found.size != recorded.size:
        what = "may have been damaged by a power cut" if recorded.size == DISTRUSTED else "was changed"
        raise NotTaken(f"its result there, {path}, {what} since it was recorded")
    outcomes, custom_data = _outcomes(other, values)
    return Theirs(
        id=_key(context, other, values, there),
        there=there,
        raw=raw,
        store=other,
        params=_called_here(context, other, values),
        outcomes=outcomes,
        custom_data=custom_data,
        created_at=text_of(values["created_at"]),
        seconds=other.rows.seconds(raw),
        origin=origin,
        inputs=inputs,
        path=os.path.realpath(file) if stays else real,
        file=file,
        suffix=_suffix(other, there, claim, path),
        extra=_extra(other, claim),
        found=found,
        stays=stays,
        digest=digest.sha256 if digest is not None and digest.is_of(claim) else None,
    )


def _called_here(context: StoreContext[Base], other: StoreContext[Base], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some values that params give, by the names that they have here."""
    called, fields = names_here(context.schema, other.schema), other.schema.fields
    return {called[name]: values[name] for name, field in fields.items() if name in values and not field.generated}


def _where(other: StoreContext[Base], path: str, recorded: Recorded) -> tuple[str, bool]:
    """Return where a result really is, and whether it was registered and is no part of the other store's folder.

    Raises
    ------
    NotTaken
        If a link that entropic did not make leads out of that folder.
    """
    folder = os.path.realpath(other.staging.results_dir)
    try:
        real = os.path.realpath(path)
    except ValueError as error:
        raise NotTaken(f"its result there is said to be {path!r:.80}, which is not a path") from error
    if real.startswith(folder + os.sep):
        return real, False
    if recorded.is_registered or recorded.place is None:
        return path, True
    raise NotTaken(f"{path} is a link that leads out of the results folder there; put what it leads to in its place")


def _suffix(other: StoreContext[Base], there: str, claim: Claim | None, path: str) -> str:
    if claim is not None and claim.published is not None and claim.registered is None and claim.path is not None:
        suffix = suffix_of(there, claim.path)
    else:
        name, usual = os.path.basename(path), other.staging.suffix
        suffix = usual if "/" not in usual and name.endswith(usual) else os.path.splitext(name)[1]
    return checked_suffix(suffix)


def checked_suffix(suffix: str) -> str:
    """Return a suffix that the name of a result here can have.

    Raises
    ------
    NotTaken
        If it cannot.
    """
    if not names.is_suffix(suffix) or len(whole(suffix).encode()) + ROOM_IN_NAME > names.LONGEST:
        raise NotTaken(f"its suffix {suffix!r:.80} is not one that the name of a result here can have")
    return suffix


def suffix_of(id: str, place: str) -> str:
    """Return the suffix of a place, without the number that tells it from another with the same name."""
    return re.sub(r"\A=[0-9]{1,2}(?=[./]|\Z)", "", place.removeprefix(names.stem(id)))


def _extra(other: StoreContext[Base], claim: Claim | None) -> str | None:
    """Return where the extra files of a result are, if it has any: a folder, and no link to one."""
    if claim is None or not claim.extra or claim.path is None or claim.published is None:
        return None
    path = other.staging.extra(claim.path, claim.published)
    return path if os.path.isdir(path) and not os.path.islink(path) else None


def _outcomes(other: StoreContext[Base], values: Mapping[str, Any]) -> tuple[Outcomes, dict[str, Any]]:
    """Return what a row says of its outcomes, and its custom data without the notes of that."""
    custom_data = dict(values["custom_data"] or {})
    if not other.schema.outcomes:
        return Outcomes({}, {}), custom_data
    why = read_notes(custom_data, NOT_RECORDED)
    missing = {name: str(why[name]) for name in other.schema.outcomes if name in why}
    found = {name: plain(values[name]) for name in other.schema.outcomes if name not in missing}
    if isinstance(custom_data.get(NOTED), Mapping):
        del custom_data[NOTED]
    if rest := {name: text for name, text in why.items() if name not in missing}:
        custom_data[NOT_RECORDED] = rest
    elif missing:
        del custom_data[NOT_RECORDED]
    return Outcomes(found, missing), custom_data


def plain(value: Any) -> Any:
    """Return the value of an outcome as a sidecar has it."""
    return value.name if isinstance(value, Enum) else value


def text_of(created_at: Any) -> str:
    """Return the time of a row as a sidecar has it."""
    if not isinstance(created_at, datetime):
        raise NotTaken(f"its row there says that it was made at {created_at!r:.80}, which is not a time")
    return created_at.replace(tzinfo=None).isoformat("T", "microseconds")


def _key(context: StoreContext[Base], other: StoreContext[Base], values: Mapping[str, Any], there: str) -> str:
    """Return the key that a row of the other store has here: another one, if keys are made in another way there."""
    id = there
    if context.hasher.setting != other.hasher.setting or not _mean_the_same(context.schema, other.schema):
        asked = verify.form_of(other.schema, other.hasher, values, there)
        if asked is None and verify.is_hash(there):
            asked = find_former_set(other.schema, other.hasher, values, there)
        if asked is None and verify.is_hash(there):
            raise NotTaken(
                "this store makes keys in another way, and the key of the row there does not follow from its values, "
                "so it is not known what was asked for; register() it with its params"
            )
        try:
            id = there if asked is None else context.hasher(_called_here(context, other, asked))
        except ParameterError as error:
            raise NotTaken(str(error)) from error
    try:
        context.database.check_id(id)
    except ParameterError as error:
        raise NotTaken(str(error)) from error
    return id


class Origins:
    """Where the results of the other store come from, told to this one before it has them."""

    def __init__(self, context: StoreContext[Base], other: StoreContext[Base]) -> None:
        self._context, self._other = context, other
        self._environments: dict[int, bool] = {}
        self._codes: set[int] = set()

    def bring(self, origin: Origin) -> Origin:
        """Record the environment and the code of a result here; return its origin, without what is not known there.

        Numbers are made of what they stand for, so they mean the same everywhere.
        """
        number, code = origin.environment, origin.code
        if number is not None and number not in self._environments:
            self._environments[number] = self._bring_environment(number)
        if code is not None and code not in self._codes:
            self._codes.add(code)
            if parts := self._other.origins.code(code):
                self._context.origins.add_code(code, parts)
        return origin if number is None or self._environments[number] else origin._replace(environment=None)

    def _bring_environment(self, number: int) -> bool:
        told = self._other.origins.environment(number)
        if told is None:  # a kill came before it was recorded there
            told = environments.read(self._other.staging, number)
        if told is None or number_of(told) != number:
            return False
        environments.keep(self._context.staging, number, told)
        self._context.origins.add_environment(number, told, self._bring_diff)
        return True

    def _bring_diff(self, number: int) -> str | None:
        text = diff(self._other, number)
        if text is not None and number_of(text) == number:
            environments.keep_diff(self._context.staging, text)
            return text
        return None


def origin_of(told: tuple[Any, ...] | None) -> Origin:
    """Return what the ledger of the other store says of the origin of a result."""
    return NO_ORIGIN if told is None else Origin(*told)
