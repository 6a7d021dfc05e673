"""The hot path: from a key to its row in one statement and one look at the file."""

import os
import stat
import time
from collections.abc import Callable, Mapping
from typing import Any

from entropic.db.ledger import DISTRUSTED
from entropic.files.measure import measure
from entropic.files.patience import REMEMBERED, UNLISTED, looks
from entropic.protocol import verify
from entropic.protocol.context import ModelT, StoreContext

# The raw row of a key, and where its file lies if that is as recorded: then this is a hit, else a suspect. None and
# None where there is no row, or a newer result that lacks just its publication.
Look = tuple[Any, str | None]
# The key of some params, and their row if that is a hit, else the suspect, if there is one.
Found = tuple[str, ModelT | None, Any]


def finder(context: StoreContext[ModelT]) -> Callable[[Mapping[str, Any]], Found[ModelT]]:
    """Return the function that finds the row of some params, made once for a store: all of a hit is in it.

    A call for each step, and looking up what the step needs, would be a tenth of a hit. It knows only what most hits
    are; everything else is looked at `closely`.
    """
    key_of, brief, plain_hit = context.hasher.__call__, context.rows.brief, fast_check(context)

    def find(params: Mapping[str, Any]) -> Found[ModelT]:
        id = key_of(params)
        raw = brief(id)
        if raw is None:
            return id, None, None
        row = plain_hit(raw, params)
        return find_slowly(context, id, params) if row is None else (id, row, None)

    return find if context.rows.is_direct else lambda params: find_slowly(context, key_of(params), params)


def fast_check(context: StoreContext[ModelT]) -> Callable[[Any, Mapping[str, Any]], ModelT | None]:
    """Return the function that makes a row of what `rows.brief` returned, if it surely is the hit of some params."""
    rows, schema, folder, is_folder = context.rows, context.schema, context.staging.results_dir + os.sep, stat.S_IFDIR
    build, check = rows.build_brief, verify.verify

    def plain_hit(raw: Any, params: Mapping[str, Any]) -> ModelT | None:
        size, mtime_ns, place = raw[-3:]
        if place is None:
            return None
        try:
            path = folder + place
            seen = os.stat(path)
        except (OSError, ValueError, TypeError):  # not there, or no name of a file: whoever locks it says so
            return None
        if seen.st_mtime_ns != mtime_ns or seen.st_size != size or seen.st_mode & is_folder:
            return None
        row = build(raw, path)
        check(schema, rows, row.__dict__, params)
        return row

    return plain_hit


def find_slowly(context: StoreContext[ModelT], id: str, params: Mapping[str, Any]) -> Found[ModelT]:
    """Find a row that may be running, registered, a folder, suspect, or not made of plain columns."""
    raw, path = read(context, id)
    return (id, None, raw) if path is None else (id, context.row(raw, params, path), None)


def read(context: StoreContext[Any], id: str) -> Look:
    """Read a row and its claim, and look at its file, patiently."""
    raw = context.rows.read(id)
    found = (None, None) if raw is None else classify(context, raw)
    return found if found[0] is None or found[1] is not None else look_again(context, {id: found[0]})[id]


def look_again(context: StoreContext[Any], suspects: Mapping[str, Any]) -> dict[str, Look]:
    """Look patiently at the rows of some keys, given raw, whose files were not as recorded: all that says "lost" asks.

    Another host may have placed a file just now, where this one still remembers that it was not there, or how it was
    before. Then it is looked for as long as such a memory lasts, and no longer than a few seconds if the folder does
    not list it. A file that this host placed, or that was placed long ago, is not as it was, and nobody waits.
    """
    found: dict[str, Look] = {id: (raw, None) for id, raw in suspects.items()}
    waiting = _placed_elsewhere(context, suspects)
    if not waiting:
        return found
    context.database.let_go()  # others may need the connection meanwhile
    began = time.monotonic()
    for names in looks(context.staging.results_dir, REMEMBERED - min(waiting.values())):
        passed = time.monotonic() - began
        now = {context.rows.id_of(raw): raw for raw in context.rows.read_many(waiting)}
        for id, age in list(waiting.items()):
            raw, path = found[id] = classify(context, now[id]) if id in now else (None, None)
            if raw is None or path is not None or only_mtime_differs(context, raw):
                del waiting[id]
                continue
            is_listed = os.path.basename(context.rows.file_of(raw)) in names
            if age + passed > (REMEMBERED if is_listed else UNLISTED):
                del waiting[id]
        if not waiting:
            break
    return found


def _placed_elsewhere(context: StoreContext[Any], suspects: Mapping[str, Any]) -> dict[str, float]:
    """Return, by key, how many seconds ago another host placed a result, if that is not long."""
    if not context.database.is_shared:  # who uses a database in a file sees the same files
        return {}
    claims = context.ledger.find_many(suspects)
    ages = {claim.id: claim.now - claim.since for claim in claims if claim.since is not None and claim.placed_elsewhere}
    return {id: max(0.0, age) for id, age in ages.items() if age < REMEMBERED}


def classify(context: StoreContext[Any], raw: Any) -> Look:
    """Glance at what is under way for a raw row, and compare its file with what was recorded."""
    rows = context.rows
    running, size, mtime_ns = raw[-4:-1]
    if running is not None and context.is_finished(rows.id_of(raw), running):
        return None, None
    path = rows.file_of(raw)
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return raw, None
    if seen.st_mtime_ns == mtime_ns and seen.st_size == size and not seen.st_mode & stat.S_IFDIR:
        return raw, path  # most hits
    found = measure(path)
    if found is None or (size is not None and found.size != size):
        return raw, None
    *_, place, is_registered = rows.seen_of(raw)
    if place is not None and not is_registered and found.mtime_ns != mtime_ns:
        return raw, None
    return raw, path


def difference(size: int, recorded: int | None) -> str:
    """Say, after its path, what is wrong with a file that has another size than recorded."""
    if recorded == DISTRUSTED:
        return "may not have reached the disk whole before the machine went down"
    return f"has {size} bytes instead of {recorded}"


def only_mtime_differs(context: StoreContext[Any], suspect: Any) -> bool:
    """Tell whether a suspect's file has its size, and only another time: most likely the project was copied."""
    _, size, _, place, registered = context.rows.seen_of(suspect)
    found = measure(context.rows.file_of(suspect))
    return place is not None and not registered and found is not None and found.size == size
