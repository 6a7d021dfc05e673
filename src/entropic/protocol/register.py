"""`Store.register`: a row for a file that was made elsewhere, which stays where it is and is never touched."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entropic.db.connection import Connection
from entropic.db.ledger import Claim
from entropic.errors import ParameterError, RegisterError, ResultMissingError
from entropic.files.area import FOLDER
from entropic.files.measure import Measure, measure
from entropic.protocol import run
from entropic.protocol.claim import Busy, Want, is_busy, row_of
from entropic.protocol.context import ModelT, Parts
from entropic.protocol.wait import act_when_free
from entropic.support.process import Call


def register(
    parts: Parts[ModelT],
    params: Mapping[str, Any],
    result_file: str | os.PathLike[str],
    custom: Mapping[str, Any],
) -> ModelT:
    """Return the row for a file that exists already."""
    id = parts.hasher(params)
    want = run.prepare(parts, id, params, custom)
    path = os.path.abspath(os.fspath(result_file))
    found_file = measure(path)
    if found_file is None:
        raise ResultMissingError(f"there is no file {path} to register for {parts.describe(params, id)}")
    refuse_own(parts, id, path)
    with Call() as call:

        def act(connection: Connection, found: Claim | None, _: set[str]) -> Any:
            raw = parts.rows.read(id)
            if raw is not None:
                check_same(parts, raw, params, path)
                if found is not None and found.registered is not None:  # as it is now
                    parts.ledger.measured(connection, id, found_file.size, found_file.mtime_ns)
                return parts.rows.read(id)
            if found is not None and is_busy(found, call.name):
                return Busy(found)
            insert(parts, connection, found, want, path, found_file)
            return parts.rows.read(id)

        return parts.row(act_when_free(parts, id, act), params)


def check_same(parts: Parts[Any], raw: Any, params: Mapping[str, Any], path: str) -> None:
    """Refuse another file than the one that the row has."""
    parts.verify(raw, params)
    stored = parts.rows.file_of(raw)
    if os.path.realpath(stored) == os.path.realpath(path):
        return
    raise RegisterError(
        f"{parts.describe(params, parts.rows.id_of(raw))} has a result already: {stored}; delete its row first to "
        f"register {path} in its place. Nothing was changed"
    )


def refuse_own(parts: Parts[Any], id: str, path: str) -> None:
    """Refuse a file that a run of another key made: that run's next result would replace it.

    Raises
    ------
    RegisterError
        Nothing was changed.
    """
    relative = Path(parts.area.relative(path))
    if relative.parts[:1] == (FOLDER,):
        raise RegisterError(f"{path} is where this store keeps what is under way; register a file outside {FOLDER}")
    owner = parts.ledger.owner_of(relative.parts[0] if not relative.is_absolute() else "")
    own_place = len(relative.parts) == 1 and owner == (parts.model, id) and not relative.name.endswith(".files")
    if owner is not None and not own_place:
        raise RegisterError(
            f"{path} belongs to the result of another run, {owner[0]} {owner[1]}, which may replace it; register a copy"
        )


def insert(
    parts: Parts[Any], connection: Connection, found: Claim | None, want: Want, path: str, file: Measure
) -> None:
    """Insert the row and record its file."""
    recorded = parts.area.relative(path)
    try:
        parts.rows.upsert(connection, row_of(parts, want, path))
    except parts.database.refusals as error:
        raise ParameterError(
            f"the table refuses {parts.describe(want.params, want.id)}: {error}; nothing was registered"
        ) from error
    checksum = parts.rows.own_checksum(want.row())
    parts.ledger.register(connection, found, want.id, recorded, file.size, file.mtime_ns, checksum)
