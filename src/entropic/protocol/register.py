"""`Store.register`: a row for a file that was made elsewhere, which stays where it is and is never touched."""

import contextlib
import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entropic.db import members
from entropic.db.claim_record import UNUSED, Claim
from entropic.db.connection import Connection
from entropic.db.digests import REGISTERED
from entropic.db.raw import Raw
from entropic.errors import ParameterError, RegisterError, ResultMissingError
from entropic.files import checkpoints
from entropic.files.digest import digest_or_none
from entropic.files.durable import sync_content, sync_names
from entropic.files.extent import Extent, extent
from entropic.files.paths import refuses_path
from entropic.files.staging import FOLDER
from entropic.params.model import Base
from entropic.protocol import run
from entropic.protocol.claim import Busy, is_busy
from entropic.protocol.context import ModelT, StoreContext
from entropic.protocol.rehearse import row_of
from entropic.protocol.request import Request
from entropic.protocol.wait import act_when_free
from entropic.support import names
from entropic.support.process import Call
from entropic.support.show import spelled


def register(
    context: StoreContext[ModelT],
    params: Mapping[str, object],
    result_file: str | os.PathLike[str],
    custom: Mapping[str, object],
) -> ModelT:
    """Return the row for a file that exists already."""
    context.must_write("register() would have to add a row")
    id = context.hasher(params)
    request = run.prepare(context, id, params, custom)
    path = _path_of(result_file)
    try:
        found_file = extent(path)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        found_file = None
    if found_file is None:
        raise ResultMissingError(f"there is no file {path} to register for {context.describe(params, id)}")
    refuse_own(context, id, path)
    if context.fsync:
        with contextlib.suppress(PermissionError):  # of what others made, and only they may read
            sync_content(path)
            sync_names(os.path.dirname(path))
    sha256 = digest_or_none(path) if context.checksum else None
    before: Claim | None = None
    with (call := Call()).under_way:

        def act(connection: Connection, found: Claim | None, _: set[str]) -> Any:
            nonlocal before
            raw = context.rows.read_within(connection, id)
            if raw is not None:
                check_same(context, raw, params, path)
                if found is not None and found.registered is not None:  # as it is now
                    context.ledger.record_extent(connection, id, found_file.size, found_file.mtime_ns)
                    record_digest(context, connection, id, sha256)
                return context.rows.read_within(connection, id)
            if found is not None and is_busy(found, call.name):
                return Busy(found)
            insert(context, connection, found, request, path, found_file)
            record_digest(context, connection, id, sha256)
            before = found
            return context.rows.read_within(connection, id)

        row = context.row(act_when_free(context, id, act), params)
    if before is not None and before.attempt != UNUSED:
        checkpoints.discard(context.staging, context.key_of(id), before.attempt)
    return row


def record_digest(context: StoreContext[Base], connection: Connection, id: str, sha256: str | None) -> None:
    """Record the digest of a registered file; None: it is not known, and that of an earlier one counts no more."""
    if sha256 is None:
        context.digests.remove(connection, id)
    else:
        context.digests.write(connection, id, REGISTERED, sha256)


def _path_of(given: Any) -> str:
    """Return an absolute path that a database can hold."""
    try:
        path = os.path.abspath(os.fsdecode(given))
    except TypeError:
        raise ParameterError(f"result_file must be a path, not {spelled(given)}") from None
    refusal = refuses_path(path)
    if refusal is not None:
        raise ParameterError(f"result_file {path!a:.200} cannot be registered: it {refusal}; rename it first")
    return path


def check_same(context: StoreContext[Base], raw: Raw, params: Mapping[str, object], path: str) -> None:
    """Refuse another file than the one that the row has."""
    context.verify(raw, params)
    stored = context.rows.file_of(raw)
    if os.path.realpath(stored) == os.path.realpath(path):
        return
    raise RegisterError(
        f"{context.describe(params, context.rows.id_of(raw))} has a result already: {stored}; delete its row first to "
        f"register {path} in its place. Nothing was changed"
    )


def refuse_own(context: StoreContext[Base], id: str, path: str) -> None:
    """Refuse a file that a run of another key made: that run's next result would replace it.

    Raises
    ------
    RegisterError
        Nothing was changed.
    """
    relative = Path(context.staging.relative(path))
    if relative.parts[:1] == (FOLDER,):
        raise RegisterError(f"{path} is where this store keeps what is under way; register a file outside {FOLDER}")
    owner = context.ledger.owner_of(relative.parts[0] if not relative.is_absolute() else "")
    own_place = len(relative.parts) == 1 and owner == (context.model, id) and not relative.name.endswith(".files")
    if owner is not None and not own_place:
        raise RegisterError(
            f"{path} belongs to the result of another run, {owner[0]} {owner[1]}, which may replace it; register a copy"
        )


def insert(
    context: StoreContext[Base], connection: Connection, found: Claim | None, request: Request, path: str, file: Extent
) -> None:
    """Insert the row and record its file."""
    checksum = context.rows.own_checksum(request.row())
    insert_row(context, connection, found, request, row_of(context, request, path), checksum, file)


def insert_row(
    context: StoreContext[Base],
    connection: Connection,
    found: Claim | None,
    request: Request,
    row: Mapping[str, object],
    checksum: int,
    file: Extent,
) -> None:
    """Insert a row that is there whole, by column as the driver stores it, and record its file.

    Raises
    ------
    ParameterError
        If the table refuses it.
    """
    path = str(row["result_file"])
    recorded = context.staging.relative(path)
    if "/" in recorded and names.is_place(request.id, recorded):  # one file of a folder, not the whole of it
        recorded = f"./{recorded}"
    try:
        context.rows.upsert(connection, row)
    except context.database.refusals as error:
        raise ParameterError(
            f"the table refuses {context.describe(request.params, request.id)}: {error}; nothing was registered"
            f"{members.advice(context.database, context.schema.table, row)}"
        ) from error
    context.ledger.register(connection, found, request.id, recorded, file.size, file.mtime_ns, checksum)
