"""`Store.copy_to`: all that a database knows of a store, written into another one, of any kind.

The results stay where they are: rows and claims name them by their place in the results folder.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa

from entropic.db.dialects.types import underlying
from entropic.db.tables import digests, former_keys, inputs, ledger, notes
from entropic.db.tables import outcomes as recorded
from entropic.errors import ParameterError, StoreError
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import counted
from entropic.upkeep import recover

TOGETHER = 1_000  # rows in one statement


def refuse_busy(context: StoreContext[Base]) -> None:
    """Take in what is finished, and refuse to copy what somebody is changing.

    Raises
    ------
    StoreError
        If runs are under way; nothing was copied.
    """
    context.must_write("copy_to() would first have to record finished runs")
    recover.recover(context)
    running = [claim for claim in context.ledger.pending().values() if claim.model == context.model and not claim.dead]
    if running:
        raise StoreError(
            f"{context.schema.name} has {counted(len(running), 'run')} under way; copy when that has ended. "
            "Nothing was copied"
        )


def copy(context: StoreContext[Base], target: StoreContext[Base]) -> None:
    """Copy rows and claims of one model into a database that has none of it, as one transaction.

    Raises
    ------
    StoreError
        If the other database knows this model already, or cannot hold it; nothing was copied.
    """
    claims = ledger.select().where(ledger.c.model == context.model)
    checksums = _checksums(context, target)
    try:
        with (
            context.database.engine.connect() as source,
            target.database.engine.connect() as connection,
            target.database.dialect.exclusively(connection),
        ):
            _refuse_used(target, connection)
            table = context.schema.table
            _insert(connection, *_as_kept(target, _values(source, table.select(), table)))
            told = (
                {**one, "checksum": checksums.get(one["id"], one["checksum"])}
                for one in _values(source, claims, ledger)
            )
            _insert(connection, sa.insert(ledger), told)
            # Opened just now, it has recorded the functions of now, as if they had computed what is copied.
            connection.execute(recorded.delete().where(recorded.c.model == target.model))
            of_model = recorded.select().where(recorded.c.model == context.model)
            _insert(connection, sa.insert(recorded), _values(source, of_model, recorded))
            said = notes.select().where(notes.c.model == context.model)
            _insert(connection, sa.insert(notes), _values(source, said, notes))
            known = digests.select().where(digests.c.model == context.model)
            _insert(connection, sa.insert(digests), _values(source, known, digests))
            read = inputs.select().where(inputs.c.model == context.model)
            _insert(connection, sa.insert(inputs), _values(source, read, inputs))
            former = former_keys.select().where(former_keys.c.model == context.model)
            _insert(connection, sa.insert(former_keys), _values(source, former, former_keys))
    except (sa.exc.StatementError, ValueError, TypeError) as error:  # also of a value that is none of its column's
        why = error.orig if isinstance(error, sa.exc.StatementError) else error
        raise StoreError(f"{target.database} refused the copy: {why}. Nothing was copied") from error
    context.origins.copy_to(target.origins)  # last: a copy that fails leaves nothing


def _checksums(context: StoreContext[Base], target: StoreContext[Base]) -> dict[str, int]:
    """Return what the other database has to expect of each row: it may store the same values in another form.

    A row that is not as it was stored gets none, so that it is found there, too.

    Raises
    ------
    StoreError
        If the other database cannot hold a row.
    """
    found, made = context.ledger.checksums(), {}
    columns = [column.name for column in context.schema.table.c]
    for raw in context.rows.all():
        id, values = context.rows.id_of(raw), dict(zip(columns, raw, strict=False))
        if (name := target.rows.binding.cut(values)) is not None:
            raise StoreError(
                f"the row {id} has {name}={values[name]!r}, and {context.schema.name} has whole numbers there, so "
                f"{target.database} might make another number of it; copy with the model that it was made with "
                f"({name}: Mapped[float] = retyped(int)). Nothing was copied"
            )
        if context.rows.checksum(raw) == found.get(id):
            values = context.rows.plain(raw)
            try:
                bound = {
                    field.column.name: target.rows.binding.bound(key, values[key])
                    for key, field in context.schema.fields.items()
                }
            except ParameterError as error:
                raise StoreError(f"{target.database} cannot hold the row {id}: {error}. Nothing was copied") from error
            made[id] = target.rows.own_checksum(bound)
    return made


def _refuse_used(target: StoreContext[Base], connection: sa.Connection) -> None:
    rows = sa.select(sa.literal(1)).select_from(target.schema.table).limit(1)
    claims = sa.select(ledger.c.id).where(ledger.c.model == target.model).limit(1)
    if connection.execute(rows).first() or connection.execute(claims).first():
        raise StoreError(
            f"the table {target.model!r} in {target.database} already has rows or claims; copy into a database "
            "that has none. Nothing was copied"
        )


def _values(source: sa.Connection, query: Any, table: sa.Table) -> Iterator[dict[str, Any]]:
    """Yield rows by column, without what the database makes itself."""
    made = {column.name for column in table.c if column.computed is not None or column.identity is not None}
    for row in source.execution_options(yield_per=TOGETHER).execute(query).mappings():
        yield {name: value for name, value in row.items() if name not in made}


class _AsKept(sa.types.UserDefinedType[Any]):
    """The type of a value that is in the driver's form already."""

    cache_ok = True


def _as_kept(target: StoreContext[Base], rows: Iterator[dict[str, Any]]) -> tuple[Any, Iterator[dict[str, Any]]]:
    """Return the statement that inserts rows, and its values: UUIDs in the form that the table there keeps."""
    schema, statement = target.schema, sa.insert(target.schema.table)
    fields = [(key, field.column) for key, field in schema.fields.items()]
    kept = {column.name: key for key, column in fields if isinstance(underlying(column.type), sa.Uuid)}
    if not kept:
        return statement, rows

    def bound(row: dict[str, Any]) -> dict[str, Any]:
        return {f"{name} as kept": target.rows.binding.bound(key, row.pop(name)) for name, key in kept.items()} | row

    as_kept = {name: sa.bindparam(f"{name} as kept", type_=_AsKept()) for name in kept}
    return statement.values(as_kept), map(bound, rows)


def _insert(connection: sa.Connection, statement: Any, rows: Iterator[dict[str, Any]]) -> None:
    while several := list(islice(rows, TOGETHER)):
        connection.execute(statement, several)
