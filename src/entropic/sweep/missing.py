"""The sets of a sweep before anything runs: each is checked, and is stored, or is missing."""

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic

from entropic.ask.given import set_of
from entropic.db.connection import Connection
from entropic.errors import ParameterError
from entropic.params.keys import RESERVED
from entropic.params.model import Base
from entropic.params.objects import names_of
from entropic.params.same import same
from entropic.protocol import run, verify
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.find import find_many, find_unwanted
from entropic.protocol.lookup import Absent, Suspect
from entropic.protocol.rehearse import rehearsal, rehearse
from entropic.protocol.request import Request
from entropic.support.collector import paused
from entropic.support.importing import importer
from entropic.support.show import spelled

NOTHING: Mapping[str, object] = MappingProxyType({})
PLANNED_TOGETHER = 50_000  # sets whose rows are read in one go: in the order of the keys each page is read once


@dataclass(slots=True)
class Planned(Generic[ModelT]):
    """The distinct sets of a sweep, checked.

    Attributes
    ----------
    rows
        Every key in the order in which it was first seen: its row, if rows are kept and it is stored.
    missing
        What has to be run, by key.
    known
        What is there, by key, of those that are not new: a row whose file is not as recorded, or about to be replaced.
    left_out
        The keys of sets that failed before and are not to be run again.
    """

    rows: dict[str, ModelT | None] = field(default_factory=dict)
    missing: dict[str, Request] = field(default_factory=dict)
    known: dict[str, Suspect | Absent] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def check_allowed(context: StoreContext[ModelT], planned: Planned[ModelT]) -> None:
    """Refuse to run anything in a store that is read-only, or while a script is only imported."""
    if planned.missing and (context.read_only is not None or importer() is not None):
        first = next(iter(planned.missing.values()))
        more = f" and {len(planned.missing) - 1:,} more" if len(planned.missing) > 1 else ""
        what = f"{context.describe(first.params, first.id)}{more}"
        context.must_run(f"{what} would have to run")


def rehearse_together(context: StoreContext[Base], missing: Mapping[str, Request]) -> None:
    """Insert all missing rows and take them back: sets that break a constraint against each other run neither."""
    if context.rows.is_constrained and len(missing) > 1:

        def work(connection: Connection) -> None:
            with rehearsal(connection):
                for request in missing.values():
                    rehearse(context, connection, request)

        context.database.transact(work)


def plan(
    context: StoreContext[ModelT],
    params: Iterable[object],
    retry_failed: bool = True,
    keep_rows: bool = True,
    given: dict[str, Mapping[str, object]] | None = None,
    changes: bool = True,
    custom_data: Mapping[str, object] = NOTHING,
    rerun: bool = False,
) -> Planned[ModelT]:
    """Check every set, and find the rows that are there, in a few queries.

    Parameters
    ----------
    retry_failed
        Whether those that failed before are missing, too; else they are left out.
    given
        Gets the first set of each key, if the caller wants to have them.
    changes
        Whether the time of a file that was copied may be recorded anew.
    custom_data
        What is stored with each set that is run, beside its own.
    rerun
        Whether all of them are missing, those too that are stored: their rows stay until they are replaced.
    """
    planned: Planned[ModelT] = Planned()
    coming = sets_of(params)
    while batch := list(itertools.islice(coming, PLANNED_TOGETHER)):
        with paused():
            fresh = _plan_batch(context, batch, planned, keep_rows, changes, custom_data, rerun)
        if given is not None:
            given.update(fresh)
    if not retry_failed:
        failed = {found.id for found in context.ledger.find_many(planned.missing) if found.failed}
        planned.left_out = [id for id in planned.missing if id in failed]
        for id in planned.left_out:
            del planned.missing[id]
            planned.known.pop(id, None)
    return planned


def sets_of(params: object) -> Iterator[Mapping[str, object]]:
    """Return an iterator of sets, or say how to make one of what is none."""
    if isinstance(params, Mapping | Base) or names_of(params) is not None:
        raise ParameterError(
            f"a sweep takes several sets, each a dict, and got one {type(params).__name__}: for all combinations of "
            "lists of values write "
            "sweep(expand_grid({...})), for a single set [params]"
        )
    if hasattr(params, "columns") and (hasattr(params, "to_dict") or hasattr(params, "to_dicts")):
        how = ".to_dicts()" if hasattr(params, "to_dicts") else ".to_dict('records')"
        raise ParameterError(f"a sweep takes dicts, and got a {type(params).__name__}; pass {how} of it")
    if isinstance(params, str | bytes) or not isinstance(params, Iterable):
        raise ParameterError(f"a sweep takes several sets, each a dict, not {type(params).__name__}: {spelled(params)}")
    return iter(params)


def _plan_batch(
    context: StoreContext[ModelT],
    batch: list[Mapping[str, object]],
    planned: Planned[ModelT],
    keep_rows: bool,
    changes: bool,
    custom_data: Mapping[str, object],
    rerun: bool,
) -> dict[str, Mapping[str, object]]:
    """Plan some sets; return those that were not seen before, by key."""
    rows, missing = planned.rows, planned.missing
    fresh: dict[str, Mapping[str, object]] = {}
    ids, batch = keys_of(context, batch)
    for id, one in zip(ids, batch, strict=True):
        if id not in rows:
            rows[id] = None
            fresh[id] = one
        else:
            _check_repeated(context, id, one, rows[id], fresh, missing)
    absent, known = dict(fresh), planned.known
    for id, found in find_unwanted(context, fresh) if rerun else find_many(context, fresh, changes, keep_rows):
        if type(found) is Suspect or type(found) is Absent:
            known[id] = found
            continue
        del absent[id]
        if keep_rows:
            rows[id] = found
    for id, one in absent.items():
        missing[id] = run.prepare(context, id, one, _with_own(custom_data, one))
    return fresh


def keys_of(
    context: StoreContext[ModelT], batch: list[Mapping[str, object]]
) -> tuple[list[str], list[Mapping[str, object]]]:
    """Return the keys of some sets, and the sets: rows and objects among them as the sets that they stand for."""
    given = batch
    try:
        if context.hasher.typed:
            batch = [context.whole(one) for one in batch]
        elif context.schema.changed.is_any:  # of a row that is given by its id, only what is given counts
            batch = [one if isinstance(one, Mapping) and "id" in one else context.whole(one) for one in batch]
        return context.hasher.many(batch), batch
    except ParameterError:  # looked at only now: most sweeps are of dicts
        sets = [set_of(context, one) for one in given]
        if all(map(operator.is_, sets, given)):
            raise
    return keys_of(context, sets)


def _with_own(custom_data: Mapping[str, object], one: Mapping[str, object]) -> Mapping[str, object]:
    """Return the custom data of a sweep with those of one of its sets."""
    own = one.get("custom_data")
    if own is None:
        return custom_data
    if not isinstance(own, Mapping):
        raise ParameterError(f"custom_data of a set is a dict, not {spelled(own)}")
    return {**custom_data, **own}


def _check_repeated(
    context: StoreContext[Base],
    id: str,
    one: Mapping[str, object],
    row: object,
    fresh: Mapping[str, Mapping[str, object]],
    missing: Mapping[str, Request],
) -> None:
    """Compare a set with the earlier one of the same key."""
    if row is not None:
        verify.verify(
            context.schema, context.rows, {name: getattr(row, name) for name in context.schema.attributes.values()}, one
        )
        return
    if id not in fresh and id not in missing:  # its row was seen, and is not kept
        raw = context.rows.read(id)
        if raw is not None:
            context.verify(raw, one)
        return
    earlier = fresh[id] if id in fresh else missing[id].params
    for name in {**earlier, **one}:
        if name in RESERVED:
            continue
        if name not in earlier or name not in one or not same(earlier[name], one[name]):
            raise verify.collision(context.schema, id, earlier, one, name)
