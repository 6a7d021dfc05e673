"""After a power cut: results whose names, sizes and times reached the disk, and whose data did not, are not served.

A file system keeps a file's size and time in its journal, and its data where there was time to write them. What was
appended has its size only once it is written. What was written through a mapping, or into a file that had its size
before, as HDF5 and numpy do, may be zeros of the right size: `tests/crash/test_power_cut.py` cuts it off. So runs that
take long enough wait for the disk (`files.durable.is_cheap`), and of the others the latest are looked at when a
store is opened for the first time since the machine was started: what never reached the disk shows there as a hole.
"""

import contextlib
import logging
import os
import stat
import time
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa

from entropic.db.claim_record import DISTRUSTED, RUNNING, Claim
from entropic.db.connection import Connection
from entropic.db.query import fetch
from entropic.errors import ResultLostWarning, warn
from entropic.files.durable import files_below, is_cheap
from entropic.files.subfolder import opened
from entropic.params.model import Base, utcnow
from entropic.protocol.context import StoreContext
from entropic.support import process
from entropic.support.show import counted

log = logging.getLogger("entropic")
_STARTS = "starts"
# Before the latest run that is known of. A system writes what is older than half a minute, or a few of them on laptops.
WINDOW = timedelta(minutes=10)
KEPT_SECONDS = 60 * 86400.0  # how long it is remembered which start of the machine was looked at


def distrust_after_cut(context: StoreContext[Base], is_new: bool) -> None:
    """Distrust what a power cut may have damaged, once for each start of the machine.

    Parameters
    ----------
    is_new
        Whether nothing ever ran in this results folder with this database.
    """
    model = context.key_of("")
    mark = f"{model}.{process.start_of_machine()}"
    if _is_marked(context, mark):
        return
    if not is_new:
        _distrust_latest(context)
    if context.read_only is not None:  # nothing is recorded, but what may be damaged is said
        return
    try:
        with opened(context.staging.root, _STARTS, make=True) as folder:
            _forget_old(folder, model)
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=folder))
    except FileExistsError:  # another process has looked at the same time; or it is a file
        pass
    except OSError as error:  # a link that leads elsewhere, say: then it is looked again next time
        log.warning("%s cannot be used: %s", context.staging.inside(_STARTS), error.strerror)


def _is_marked(context: StoreContext[Base], mark: str) -> bool:
    """Tell whether somebody has looked since the machine was started."""
    with contextlib.suppress(OSError), opened(context.staging.root, _STARTS) as folder:
        return stat.S_ISREG(os.stat(mark, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _distrust_latest(context: StoreContext[Base]) -> None:
    created = context.schema.table.c.created_at
    newest = fetch(context.database, sa.select(sa.func.max(created)).where(created <= utcnow()))[0][0]
    if newest is None:
        return
    since = datetime.fromisoformat(str(newest)) - WINDOW
    ids = [id for (id,) in fetch(context.database, sa.select(context.schema.table.c.id).where(created >= since))]
    claims = {claim.id: claim for claim in context.ledger.find_many(ids) if _is_settled(claim)}
    distrusted = []
    for raw in context.rows.read_many(claims):
        id = context.rows.id_of(raw)
        seconds = context.rows.seconds(raw) or 0.0
        if _may_be_damaged(context, claims[id], seconds) and (
            context.read_only is not None or context.database.transact(partial(_distrust, context, claims[id]))
        ):
            distrusted.append(id)
    if distrusted:
        warn(
            f"this machine was restarted, and parts of {counted(len(distrusted), 'result')} of the latest runs of "
            f"{context.schema.name} never reached the disk: {', '.join(distrusted[:5])}"
            f"{', ...' if len(distrusted) > 5 else ''}. These sets run again when asked for",
            ResultLostWarning,
        )


def _is_settled(claim: Claim) -> bool:
    return claim.published is not None and claim.registered is None and claim.state != RUNNING


def _distrust(context: StoreContext[Base], seen: Claim, connection: Connection) -> bool:
    found, _ = context.ledger.lock(connection, seen.id)
    if found is None or not _is_settled(found) or found.published != seen.published:
        return False
    context.ledger.record_extent(connection, seen.id, DISTRUSTED, DISTRUSTED)
    return True


def _may_be_damaged(context: StoreContext[Base], claim: Claim, seconds: object) -> bool:
    """Tell whether a result was not waited for, as its run took too short, and has a hole."""
    path = context.staging.path(claim.path or "")
    beside = [context.staging.extra(claim.path or "", claim.published or "")] if claim.extra else []
    try:
        if isinstance(seconds, int | float) and is_cheap([path, *beside], seconds):
            return False
        return any(_has_hole(file) for one in (path, *beside) for file in files_below(one))
    except OSError:  # gone, or not to be read: whoever asks for it sees that
        return False


def _has_hole(path: str) -> bool:
    """Tell whether a file has a part for which nothing was ever written on the disk."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size or not hasattr(os, "SEEK_HOLE"):
            return False
        if hasattr(os, "posix_fadvise"):  # what was read since is in memory, and counts as data
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return os.lseek(file.fileno(), 0, os.SEEK_HOLE) < size


def _forget_old(folder: int, model: str) -> None:
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):  # another process was sooner; or it is no file
            made = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
            if name.startswith(f"{model}.") and made < time.time() - KEPT_SECONDS:
                os.unlink(name, dir_fd=folder)
