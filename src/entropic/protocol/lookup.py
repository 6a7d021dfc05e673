"""Looking at a raw row and its file: is it a hit, a suspect, or nothing that can be served?"""

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

from entropic.db.claim_record import DISTRUSTED
from entropic.db.raw import Raw, Recorded
from entropic.files.patience import REMEMBERED, UNLISTED, list_repeatedly
from entropic.params.model import Base
from entropic.protocol.context import StoreContext


@final
@dataclass(frozen=True, slots=True)
class Hit:
    """A row whose file is as recorded, at this path."""

    raw: Raw
    path: str


@final
@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose file is not as recorded (gone, or of another size or time), or that was altered, or is stale.

    Or one that is to be replaced, whatever it is, since a sweep runs all its sets again.
    """

    raw: Raw
    altered: bool = False
    stale: bool = False
    unwanted: bool = False
    since: str = ""
    """Of a stale one: what its run has read, and has changed; empty if it is stale for its code."""


@final
@dataclass(frozen=True, slots=True)
class Absent:
    """No row that could be served: there is none, or this one is about to be replaced by a newer, finished result."""

    raw: Raw | None = None


Lookup = Hit | Suspect | Absent
ABSENT = Absent()


def read(context: StoreContext[Base], id: str) -> Lookup:
    """Read a row and its claim, and look at its file, patiently."""
    raw = context.rows.read(id)
    if raw is None:
        return ABSENT
    looked_up = classify(context, raw)
    return recheck(context, {id: raw})[id] if isinstance(looked_up, Suspect) else looked_up


def read_many(context: StoreContext[Base], ids: Iterable[str]) -> Iterator[tuple[str, Lookup]]:
    """Do the same for many keys in a few queries; yield each that has a row, the doubtful ones last."""
    suspects: dict[str, Raw] = {}
    for raw in context.rows.read_many(ids):
        looked_up = classify(context, raw)
        if isinstance(looked_up, Suspect):
            suspects[context.rows.id_of(raw)] = raw
        else:
            yield context.rows.id_of(raw), looked_up
    if suspects:
        yield from recheck(context, suspects).items()


def recheck(context: StoreContext[Base], suspects: Mapping[str, Raw]) -> dict[str, Lookup]:
    """Look patiently at the rows of some keys, given raw, whose files were not as recorded: all that says "lost" asks.

    Another host may have placed a file just now, where this one still remembers that it was not there, or how it was
    before. Then it is looked for as long as such a memory lasts, and no longer than a few seconds if the folder does
    not list it. A file that this host placed, or that was placed long ago, is not as it was, and nobody waits.
    """
    found: dict[str, Lookup] = {id: Suspect(raw) for id, raw in suspects.items()}
    waiting = _placed_elsewhere(context, suspects)
    if not waiting:
        return found
    context.database.free_connection()  # others may need the connection meanwhile
    began = time.monotonic()
    for names in list_repeatedly(context.staging.results_dir, REMEMBERED - min(waiting.values())):
        passed = time.monotonic() - began
        now = {context.rows.id_of(raw): raw for raw in context.rows.read_many(waiting)}
        for id, age in list(waiting.items()):
            looked_up = found[id] = classify(context, now[id]) if id in now else ABSENT
            if not isinstance(looked_up, Suspect) or only_mtime_differs(context, looked_up.raw):
                del waiting[id]
                continue
            is_listed = os.path.basename(context.path_of(looked_up.raw)) in names
            if age + passed > (REMEMBERED if is_listed else UNLISTED):
                del waiting[id]
        if not waiting:
            break
    return found


def _placed_elsewhere(context: StoreContext[Base], suspects: Mapping[str, Raw]) -> dict[str, float]:
    """Return, by key, how many seconds ago another host placed a result, if that is not long."""
    if not context.database.is_shared:  # who uses a database in a file sees the same files
        return {}
    claims = context.ledger.find_many(suspects)
    ages = {claim.id: claim.now - claim.since for claim in claims if claim.since is not None and claim.placed_elsewhere}
    return {id: max(0.0, age) for id, age in ages.items() if age < REMEMBERED}


def classify(context: StoreContext[Base], raw: Raw) -> Lookup:
    """Glance at what is under way for a raw row, and compare its file with what was recorded."""
    rows, recorded = context.rows, Recorded.of(raw)
    if recorded.running is not None and context.is_finished(rows.id_of(raw), recorded.running):
        return Absent(raw)
    path = rows.file_of(raw)
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return Suspect(raw)
    size, mtime_ns = recorded.size, recorded.mtime_ns
    if seen.st_mtime_ns == mtime_ns and seen.st_size == size and not seen.st_mode & stat.S_IFDIR:
        return Hit(raw, path)  # most of them
    found = context.extent_of(raw)
    if found is None or (size is not None and found.size != size):
        return Suspect(raw)
    if recorded.is_ours and found.mtime_ns != mtime_ns:
        return Suspect(raw)
    return Hit(raw, path)


def difference(size: int, recorded: int | None) -> str:
    """Say, after its path, what is wrong with a file that has another size than recorded."""
    if recorded == DISTRUSTED:
        return "may not have reached the disk whole before the machine went down"
    return f"has {size} bytes instead of {recorded}"


def only_mtime_differs(context: StoreContext[Base], suspect: Raw) -> bool:
    """Tell whether a suspect's file has its size, and only another time: most likely the project was copied."""
    recorded, found = Recorded.of(suspect), context.extent_of(suspect)
    return recorded.is_ours and found is not None and found.size == recorded.size
