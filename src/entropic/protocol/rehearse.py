"""A row before its run: what the table would refuse, or change, is refused while nothing is claimed."""

import contextlib
from collections.abc import Iterator

from entropic.db import members
from entropic.db.connection import Connection
from entropic.errors import ParameterError
from entropic.params.model import Base, now_as_text
from entropic.protocol.context import StoreContext
from entropic.protocol.request import Request, without_reserved


@contextlib.contextmanager
def rehearsal(connection: Connection) -> Iterator[None]:
    """Take back, within the transaction, what this block does."""
    connection.execute("SAVEPOINT rehearsal")
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):  # the whole transaction may be gone, and the first error is the one to see
            _take_back(connection)
        raise
    _take_back(connection)


def _take_back(connection: Connection) -> None:
    connection.execute("ROLLBACK TO SAVEPOINT rehearsal")
    connection.execute("RELEASE SAVEPOINT rehearsal")


def row_of(context: StoreContext[Base], request: Request, result_file: str) -> dict[str, object]:
    """Return the whole row of a wanted key, made now, by column as the driver stores it."""
    return {
        "id": request.id,
        "result_file": result_file,
        "created_at": context.rows.binding.created_at(now_as_text()),
        "custom_data": context.rows.binding.custom_data(request.custom_data),
        **request.row(),
    }


def rehearse(context: StoreContext[Base], connection: Connection, request: Request) -> None:
    """Insert the row, to be taken back: what the table refuses, or would change, is refused before the run.

    Raises
    ------
    ParameterError
        With what the database says, or the column that would not hold its value.
    """
    row = row_of(context, request, result_file="")
    try:
        context.rows.upsert(connection, row)
    except context.database.refusals as error:
        raise ParameterError(
            f"the table of {context.schema.name} refuses {without_reserved(request.params)!r:.300}: {error}; "
            f"nothing was run{members.advice(context.database, context.schema.table, row)}"
        ) from error
    altered = context.rows.altered(connection, row)
    if altered is not None:
        raise ParameterError(
            f"the column {altered!r} in the table of {context.schema.name} cannot hold {row[altered]!r:.80}: the "
            "column would cut it off or round it; give it a type that holds the value. Nothing was run"
        )
