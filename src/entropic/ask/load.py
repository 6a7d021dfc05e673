"""`Store.load` and `Runs.load`: the results of rows."""

import os
from collections.abc import Mapping
from typing import Any

from entropic.ask.given import set_of
from entropic.errors import LoadError, ParameterError, ResultMissingError, note
from entropic.files.extent import NOT_THERE
from entropic.files.patience import turns_up
from entropic.formats.format import Names
from entropic.formats.read import Loader, read
from entropic.params.model import Base
from entropic.protocol import note_inputs, run
from entropic.protocol.context import StoreContext
from entropic.protocol.note_inputs import under_way
from entropic.support.show import spelled


def load(context: StoreContext[Base], what: Any, loader: Loader | None) -> Any:
    """Return the result of a row, or of the row of some params."""
    schema = context.schema
    if not isinstance(what, Base):
        what = set_of(context, what)
    if isinstance(what, Mapping):
        row = run.retrieve(context, what)
        if row is None:
            raise ResultMissingError(
                f"there is no result of {context.describe(what, context.hasher(what))}; run_or_retrieve runs it"
            )
        return load_row(row, loader)
    if not isinstance(what, schema.model):
        raise ParameterError(
            f"load takes a row of {schema.name}, or params, not {type(what).__name__}: {spelled(what)}"
        )
    if under_way:
        note_inputs.note(context, [what])
    if os.path.isabs(what.result_file):
        return load_row(what, loader)
    raw = context.rows.read(what.id)  # a row that the user has read from the database, where paths are short
    return load_row(what, loader, None if raw is None else context.rows.file_of(raw))


def load_row(row: Base, loader: Loader | None, path: str | None = None, only: Names = None) -> Any:
    """Return the result of a row.

    Raises
    ------
    ResultMissingError
        If its file is gone.
    """
    path = path or row.result_file
    try:
        os.stat(path)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
        if not turns_up(path):
            raise ResultMissingError(
                f"the result file {path} of {type(row).__name__} {row.id} is gone; run_or_retrieve and sweep run it "
                "again"
            ) from error
    try:
        return read(path, loader, only)
    except LoadError as error:
        import glob  # only for the message

        if beside := glob.glob(f"{glob.escape(path)}.*.files"):
            note(
                error,
                f"entropic: other files of its run lie in {beside[0]}; files that refer to each other stay together if "
                f"the store has file_suffix='/NAME{os.path.splitext(path)[1]}': NAME is then the main one",
            )
        raise
