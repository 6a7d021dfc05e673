"""From params to their rows, for one set and for many: all that asks for a stored result comes through here.

A hit is its row by then; whatever is none is a `Suspect` or `Absent`.
"""

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from entropic.db.build import is_listened_to
from entropic.db.raw import BRIEF_TAIL, Raw, Recorded
from entropic.errors import KeyCollisionError
from entropic.params.keys import Params
from entropic.params.model import Base
from entropic.protocol import compare, lookup, verify
from entropic.protocol import stale_rows as stale
from entropic.protocol.claim import confirm
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.lookup import ABSENT, Absent, Hit, Lookup, Suspect

# The key of some params, and their row, or why that is no hit.
Found = tuple[str, ModelT | Suspect | Absent]
T = TypeVar("T")
CONFIRMED_TOGETHER = 500  # files whose times are recorded anew in one transaction: all others wait for it to write


def make_finder(context: StoreContext[ModelT]) -> Callable[[Params], Found[ModelT]]:
    """Return the function that finds the row of some params, made once for a store: all of a hit is in it.

    A call for each step, and looking up what the step needs, would be a tenth of a hit. It knows only what most hits
    are; everything else is looked at `slowly`.
    """
    key_of, brief, plain_hit = context.hasher.__call__, context.rows.brief, make_fast_check(context)

    def find(params: Params) -> Found[ModelT]:
        id = key_of(params)
        raw = brief(id)
        if raw is None:
            return id, ABSENT
        row = plain_hit(raw, params)
        return id, find_slowly(context, id, params) if row is None else row

    def slowly(params: Params) -> Found[ModelT]:
        id = key_of(params)
        return id, find_slowly(context, id, params)

    return find if context.rows.is_direct else slowly


def find_many(
    context: StoreContext[ModelT], wanted: Mapping[str, Params], changes: bool = True, keep_rows: bool = True
) -> Iterator[Found[ModelT]]:
    """Find the rows of many sets, given by key, in a few queries; what is not yielded was never stored.

    Parameters
    ----------
    changes
        Whether the time of a file that was copied may be recorded anew.
    keep_rows
        Whether the caller wants the rows; else a hit may be yielded as a bare object with the compared values.
    """
    unclear = list(wanted)
    if context.rows.is_direct:
        plain_hit, unclear = make_fast_check(context, keep_rows), []
        for raw in context.rows.brief_many(wanted):
            row = plain_hit(raw, wanted[raw[0]])
            if row is None:
                unclear.append(raw[0])
            else:
                yield raw[0], row
    suspects: dict[str, Suspect] = {}
    readers: dict[str, Hit] = {}
    for id, looked_up in lookup.read_many(context, unclear):
        if isinstance(looked_up, Hit):
            if Recorded.of(looked_up.raw).inputs is None:
                yield id, serve(context, looked_up, wanted[id])
            else:
                readers[id] = looked_up
            continue
        if looked_up.raw is not None:
            with contextlib.suppress(verify.Altered):  # it runs again as it is
                context.verify(looked_up.raw, wanted[id])
        if isinstance(looked_up, Suspect):
            suspects[id] = looked_up
        else:
            yield id, looked_up
    since = explain_stale(context, readers) if readers else {}
    for id, hit in readers.items():
        yield id, serve(context, hit, wanted[id], since.get(id, ""))
    touched = accept_touched(context, suspects, changes)
    for id, suspect in suspects.items():
        copied = touched.get(id)
        yield id, suspect if copied is None else serve(context, copied, wanted[id])


def find_unwanted(context: StoreContext[ModelT], wanted: Mapping[str, Params]) -> Iterator[Found[ModelT]]:
    """Find the rows of many sets, given by key, as what is to be replaced, whatever their files are like."""
    for raw in context.rows.read_many(wanted):
        id = context.rows.id_of(raw)
        with contextlib.suppress(verify.Altered):  # it runs again in any case
            context.verify(raw, wanted[id])
        yield id, Suspect(raw, unwanted=True)


def make_fast_check(context: StoreContext[ModelT], keep_rows: bool = True) -> Callable[[Raw, Params], ModelT | None]:
    """Return the function that makes a row of what `rows.brief` returned, if it surely is the hit of some params.

    Parameters
    ----------
    keep_rows
        Whether that is to be an instance. Else it is a bare object with the values to compare, which is made in a
        tenth of the time, unless somebody listens to what is loaded: that may change the values.
    """
    rows, schema, folder, is_folder = context.rows, context.schema, context.staging.results_dir + os.sep, stat.S_IFDIR
    is_bare = not keep_rows and not is_listened_to(schema)
    build, check, tail = rows.values_brief if is_bare else rows.build_brief, verify.verify, BRIEF_TAIL
    current_code, clock = context.current_code, time.monotonic

    def plain_hit(raw: Raw, params: Params) -> ModelT | None:
        code, size, mtime_ns, place = raw[tail]
        if place is None:
            return None
        try:
            path = folder + place
            seen = os.stat(path)
        except (OSError, ValueError, TypeError):  # not there, or no name of a file: whoever locks it says so
            return None
        if seen.st_mtime_ns != mtime_ns or seen.st_size != size or seen.st_mode & is_folder:
            return None
        if (
            code is not None
            and (code != current_code.number or clock() > current_code.due)
            and not current_code.serves(raw[0], code)
        ):
            return None
        row = build(raw, path)
        try:
            check(schema, rows, row.__dict__, params)
        except KeyCollisionError:  # or the row was changed by hand
            return None
        return row

    return plain_hit


def find_slowly(context: StoreContext[ModelT], id: str, params: Params) -> ModelT | Suspect | Absent:
    """Find a row that may be running, registered, a folder, suspect, or not made of plain columns."""
    looked_up: Lookup = lookup.read(context, id)
    if isinstance(looked_up, Suspect):
        looked_up = accept_touched(context, {id: looked_up}).get(id, looked_up)
    return serve(context, looked_up, params) if isinstance(looked_up, Hit) else looked_up


def serve(context: StoreContext[ModelT], hit: Hit, params: Params, since: str | None = None) -> ModelT | Suspect:
    """Return the row of a hit; a suspect if somebody has changed the row since it was stored, or if it is to run again.

    Parameters
    ----------
    since
        What `explain_stale` says of it, if that was asked already.

    Raises
    ------
    StaleError
        If other code made it, and the store is to refuse that.
    """
    inputs, code, *_ = Recorded.of(hit.raw)
    id = context.rows.id_of(hit.raw)
    if code is not None and not context.current_code.serves(id, code):
        return Suspect(hit.raw, stale=True)
    if inputs is not None and not context.current_code.is_other(code):
        since = explain_stale(context, {id: hit}).get(id, "") if since is None else since
        if since and not context.current_code.serves_since(id, since):
            return Suspect(hit.raw, stale=True, since=since)
    try:
        return context.row(hit.raw, params, hit.path)
    except verify.Altered:
        return Suspect(hit.raw, altered=True)


def explain_stale(context: StoreContext[Base], hits: Mapping[str, Hit]) -> dict[str, str]:
    """Return, of those of some hits that are stale for what their runs have read, why."""
    if context.current_code.on_stale == "ignore":
        return {}
    return {id: stale.sentence(reasons) for id, reasons in stale.find_reasons(context, hits).items()}


def accept_touched(
    context: StoreContext[Base], suspects: Mapping[str, Suspect], changes: bool = True
) -> dict[str, Hit]:
    """Return those of some suspects whose files only bear another time than recorded, as the hits that they are.

    Where a digest is recorded, the bytes are compared with it first. Then that time is recorded anew, under the lock,
    unless nothing may be changed; a few at a time, in the order of their keys, for in a copied project it may be all.
    """
    touched = {id: one.raw for id, one in suspects.items() if lookup.only_mtime_differs(context, one.raw)}
    ids, standing = sorted(touched), dict[str, Raw]()
    for start in range(0, len(ids), CONFIRMED_TOGETHER):
        some = {id: touched[id] for id in ids[start : start + CONFIRMED_TOGETHER]}
        for id in compare.differing(context, some):
            del some[id]
        standing |= confirm(context, some) if some and changes and context.read_only is None else some
    return {id: Hit(raw, context.rows.file_of(raw)) for id, raw in standing.items()}
