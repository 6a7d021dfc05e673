"""How the columns of a table in a database agree with those of its model, and how it gets what it lacks of them."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from entropic.db.dialects.portable import Dialect
from entropic.db.dialects.types import underlying
from entropic.db.tables import LATER, ledger
from entropic.errors import ModelError
from entropic.params.changed import ADDED, NOW, REMOVED, RENAMED, is_added, is_retyped
from entropic.params.outcomes import is_outcome
from entropic.support.show import spelled

_EXACT = 2**53  # up to which all whole numbers are floats


def comes_later(column: sa.Column[Any]) -> bool:
    """Tell whether a table gets a column by itself, should it have been made before there was one."""
    return is_outcome(column) or is_added(column)


def gain_later(connection: sa.Connection, dialect: Dialect) -> None:
    """Give the ledger what earlier versions did not record, if it lacks that."""
    if any(_lacking(connection, ledger, LATER, dialect)):
        _alter(connection, ledger, LATER, dialect, lambda lacking: None)


def alter_columns(
    connection: sa.Connection,
    table: sa.Table,
    dialect: Dialect,
    needs_more: bool = False,
    prepare: Callable[[Sequence[sa.Column[Any]]], None] = lambda lacking: None,
) -> None:
    """Add what a table lacks of the columns that came later, and change the type of those that were retyped.

    Other processes that would do the same wait.

    Where each step counts at once, as on MariaDB, a kill may leave a column without its index, which is made at the
    next opening (`test_an_index_that_an_outcome_lacks_is_made_at_the_next_opening`).

    Parameters
    ----------
    needs_more
        Whether there is something to `prepare` though the table is as it has to be.
    prepare
        Called with the columns that the user's table lacks, while nobody else changes it, before it is changed.
    """
    later = [column for column in table.c if comes_later(column) or is_retyped(column)]
    if later and (needs_more or any(_lacking(connection, table, later, dialect))):
        _alter(connection, table, later, dialect, prepare)


def _alter(
    connection: sa.Connection,
    table: sa.Table,
    wanted: Sequence[sa.Column[Any]],
    dialect: Dialect,
    prepare: Callable[[Sequence[sa.Column[Any]]], None],
) -> None:
    connection.rollback()
    with dialect.exclusively(connection), warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        columns, indexes, whole = _lacking(connection, table, wanted, dialect)
        prepare(columns)
        for column in columns:
            kind: Any = column.type.dialect_impl(connection.dialect)
            if isinstance(kind, sa.Enum) and hasattr(kind, "create"):  # PostgreSQL's, which has a name of its own
                kind.create(connection, checkfirst=True)
            dialect.alter(connection, _adding(column, dialect, connection))
            if column.comment and connection.dialect.supports_comments and not connection.dialect.inline_comments:
                connection.execute(sa.schema.SetColumnComment(column))  # which PostgreSQL takes only by itself
        if whole:
            dialect.alter(connection, _retyping(whole, dialect, connection))
        for index in indexes:
            connection.execute(sa.schema.CreateIndex(index))


def _adding(column: sa.Column[Any], dialect: Dialect, connection: sa.Connection) -> str:
    """Return the SQL that adds a column."""
    table = connection.dialect.identifier_preparer.format_table(column.table)
    return f"ALTER TABLE {table} ADD COLUMN {_declared(column, dialect, connection)}"


def _retyping(columns: Sequence[sa.Column[Any]], dialect: Dialect, connection: sa.Connection) -> str:
    """Return the SQL that changes the types of some columns to those of their model: the table is written anew once.

    Whether a column takes NULL stays as it is: rows of before may have some.
    """
    table = columns[0].table
    inspector, like = sa.inspect(connection), table.to_metadata(sa.MetaData())
    nullable = {one["name"]: one["nullable"] for one in inspector.get_columns(table.name, schema=table.schema)}
    changes = []
    for column in columns:
        declared = like.c[column.name]
        declared.nullable = nullable[column.name]
        changes.append(dialect.retyping(column, _declared(declared, dialect, connection), connection.dialect))
    return f"ALTER TABLE {connection.dialect.identifier_preparer.format_table(table)} {', '.join(changes)}"


def _declared(column: sa.Column[Any], dialect: Dialect, connection: sa.Connection) -> str:
    declared = column
    if (kind := dialect.type_to_add(connection, column)) is not column.type:
        declared = column.table.to_metadata(sa.MetaData()).c[column.name]
        declared.type = kind
    made = sa.schema.CreateColumn(declared).compile(dialect=connection.dialect)
    return f"{made}{_default(column, dialect, connection)}"


def _default(column: sa.Column[Any], dialect: Dialect, connection: sa.Connection) -> str:
    """Return what fills the rows that are there, and those of programs that do not know the column yet.

    A constant, which every database notes once instead of writing it into each row, whatever their number.
    """
    if not is_added(column) or (default := column.info[ADDED]) is None:
        return ""
    return f" DEFAULT {dialect.literal(default, column.type, connection.dialect)}"


def lacking_columns(
    connection: sa.Connection, table: sa.Table, wanted: Sequence[sa.Column[Any]]
) -> list[sa.Column[Any]]:
    """Return those columns of a table that it does not have in the database."""
    there = {column["name"] for column in sa.inspect(connection).get_columns(table.name, schema=table.schema)}
    return [column for column in wanted if column.name not in there]


def _lacking(
    connection: sa.Connection, table: sa.Table, wanted: Sequence[sa.Column[Any]], dialect: Dialect
) -> tuple[list[sa.Column[Any]], list[sa.Index], list[sa.Column[Any]]]:
    """Return what a table of the database lacks: columns, indexes with columns that came later, types of columns."""
    inspector = sa.inspect(connection)
    there = {column["name"]: column["type"] for column in inspector.get_columns(table.name, schema=table.schema)}
    columns = [column for column in wanted if column.name not in there]
    indexes = [index for index in table.indexes if any(column.name not in there for column in index.columns)]
    if dialect.makes_at_once and any(comes_later(column) for index in table.indexes for column in index.columns):
        made = {index["name"] for index in inspector.get_indexes(table.name, schema=table.schema)}
        indexes = [index for index in table.indexes if index.name not in made and any(map(comes_later, index.columns))]
    return columns, indexes, _to_retype(connection, wanted, there, dialect)


def _to_retype(
    connection: sa.Connection, wanted: Iterable[sa.Column[Any]], there: Mapping[str, Any], dialect: Dialect
) -> list[sa.Column[Any]]:
    """Return the columns whose type has to be changed, given the types that there are."""
    found = [column for column in wanted if is_retyped(column) and isinstance(there.get(column.name), sa.Integer)]
    return [] if not found or dialect.holds_any_type(connection, found[0].table) else found


def refuse_inexact(connection: sa.Connection, column: sa.Column[Any], model: str) -> None:
    """Refuse to make floats of whole numbers that none is.

    Raises
    ------
    ModelError
        If there is one in the table.
    """
    number: Any = sa.literal_column(connection.dialect.identifier_preparer.quote(column.name), sa.BigInteger())
    query = sa.select(number).select_from(column.table).where((number > _EXACT) | (number < -_EXACT))
    with connection.execute(query.execution_options(stream_results=True)) as found:
        for value in found.scalars():
            if isinstance(value, int) and int(float(value)) != value:
                raise ModelError(
                    f"{model}.{attribute_of(column)} cannot be retyped: a row has {value}, which no float equals "
                    f"(the nearest is {int(float(value))}), so it would become another number. Keep it Mapped[int], "
                    "or delete such rows. Nothing was done"
                )


def check_columns(
    connection: sa.Connection,
    table: sa.Table,
    model: str,
    dialect: Dialect,
    reads_only: bool = False,
    fills: bool = False,
) -> dict[str, object]:
    """Compare the table in the database with the model: an insert must not fail after hours of computing.

    Parameters
    ----------
    reads_only
        Whether the table is only looked at, so that it was not brought up to date before.
    fills
        Whether columns that came later and that it lacks are read as their defaults all the same.

    Returns
    -------
    dict[str, object]
        The types of the columns as they are in the database, by name.

    Raises
    ------
    ModelError
        If the model has columns that the table lacks, or the table requires some that the model lacks; if a column of
        whole numbers is one of floats in the model, which does not say so.
    """
    found = {column["name"]: column for column in sa.inspect(connection).get_columns(table.name, schema=table.schema)}
    lacking = [name for name in table.c.keys() if name not in found]  # noqa: SIM118  (not a dict)
    filled = [name for name in lacking if fills and comes_later(table.c[name])]
    lacking = [name for name in lacking if name not in filled]
    to_come = lacking if all(comes_later(table.c[name]) for name in lacking) else []
    types: dict[str, object] = {name: column["type"] for name, column in found.items()}
    types |= {name: table.c[name].type for name in filled}
    whole = _to_retype(connection, table.c, types, dialect) if reads_only else []
    if to_come or whole:
        sql = [_adding(table.c[name], dialect, connection) for name in to_come]
        sql += [_retyping(whole, dialect, connection)] if whole else []
        raise ModelError(
            f"the table {table.name!r} {_lacks(to_come, whole)}, which {model} has now; the next process that opens "
            f"the store to write (a sweep, say) changes the table, by {'; '.join(sql)}. No key moves, and no file is "
            "touched"
        )
    lacking = [name for name in lacking if not comes_later(table.c[name])]
    if lacking:
        lines = "; ".join(line_of(table.c[name], "added(VALUE)") for name in lacking)
        left = [name for name in found if name not in table.c]
        others = f" (or renamed({left[0]!r}), if it is that one under another name)" if len(left) == 1 else ""
        raise ModelError(
            f"the table {table.name!r} was made without {', '.join(map(repr, lacking))}, which {model} has now; write "
            f"{lines}, where VALUE is the value with which the existing rows were made{others}, or give the changed "
            "model another __tablename__"
        )
    for name, column in found.items():
        if name not in table.c and not column["nullable"] and column["default"] is None:
            raise ModelError(
                f"the table {table.name!r} requires {name!r}, which {model} no longer has; restore that column, or "
                f"write {line_of(sa.Column(name, column['type'], nullable=False), 'removed(VALUE)')}, where VALUE is "
                "the value at which the changed model does what the former one did, or give the changed model another "
                "__tablename__"
            )
    for one in table.c:
        if _is_retyped_in_silence(one, types.get(one.name)):
            line = line_saying(one, spelled(one.info[ADDED]) if is_added(one) else None, retyped=True)
            raise ModelError(
                f"the table {table.name!r} holds whole numbers in {one.name!r}, and {model} has {line_of(one, '')}: "
                f"1 and 1.0 have different keys, so existing rows would not be found; write {line}, which gives "
                "both the same key. Nothing was done"
            )
    return types


def _lacks(columns: Sequence[str], whole: Sequence[sa.Column[Any]]) -> str:
    told = [f"does not have {', '.join(map(repr, columns))} yet"] if columns else []
    if whole:
        told.append(f"does not take floats in {', '.join(repr(column.name) for column in whole)} yet")
    return ", and ".join(told)


def _is_retyped_in_silence(column: sa.Column[Any], there: object) -> bool:
    if column.info.get("entropic") or column.computed is not None or is_retyped(column):  # ours, or no parameter
        return False
    return isinstance(underlying(column.type), sa.Float) and isinstance(there, sa.Integer)


def line_saying(column: sa.Column[Any], added: str | None, retyped: bool) -> str:
    """Return the line of a model that says of a column, beside what it says already, what it was added with, if so.

    And whether it was of whole numbers.
    """
    options = ([f"added={added}"] if added is not None else []) + (["retyped=int"] if retyped else [])
    if REMOVED in column.info:
        return line_of(column, f"removed({', '.join([spelled(column.info[REMOVED]), *options])})")
    if RENAMED in column.info:
        return line_of(column, f"renamed({', '.join([repr(column.name), *options])})")
    if retyped:
        return line_of(column, f"retyped({', '.join(['int', *options[:-1]])})")
    return line_of(column, "" if added is None else f"added({added})")


def attribute_of(column: sa.Column[Any]) -> str:
    """Return what the model calls a column."""
    return str(column.info.get(NOW, column.name))


def line_of(column: sa.Column[Any], what: str) -> str:
    """Return the line of a model that declares a column so."""
    try:
        kind = column.type.python_type.__name__
    except NotImplementedError:  # of a type of the user's own
        kind = "..."
    line = f"{attribute_of(column)}: Mapped[{kind}{' | None' if column.nullable else ''}]"
    return f"{line} = {what}" if what else line
