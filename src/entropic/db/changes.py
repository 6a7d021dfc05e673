"""What is recorded of parameters that a model has gained, so that no key changes its meaning.

A key that leaves a parameter out belongs to its default. So the default is recorded with the table before the table
gets the column, and a model that says otherwise does not open.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from entropic.db.dialects.portable import Dialect
from entropic.db.tables import add_columns, attribute_of, changes, line_of
from entropic.errors import ModelError
from entropic.params.changed import REMOVED, RENAMED, is_added
from entropic.support.show import spelled

Told = Mapping[str, str]
"""What is recorded of columns, by name: JSON."""


def gain(connection: sa.Connection, table: sa.Table, model: str, told: Told, dialect: Dialect) -> None:
    """Let a table have the columns that its model has gained; record first what the rows of before belong to.

    On MariaDB, where a column is there for good at once, a kill in between leaves the record without the column, which
    the next opening adds.

    Raises
    ------
    ModelError
        If the model says something else than is recorded.
    """

    def record(lacking: Sequence[sa.Column[Any]]) -> None:
        known = check(connection, table, model, told)
        for name in told.keys() - known.keys():
            if all(name != column.name for column in lacking) and _has_rows(connection, table):
                raise ModelError(
                    f"the table {table.name!r} had {name!r} before {model} declared it with added(), so the keys of "
                    f"its rows hold it; write {line_of(table.c[name], '')} as before. Nothing was done"
                )
            new = {"model": table.name, "name": name, "told": told[name]}
            connection.execute(dialect.insert_new(changes, new))

    known = check(connection, table, model, told)
    add_columns(connection, table, dialect, not told.keys() <= known.keys(), record)


def check(connection: sa.Connection, table: sa.Table, model: str, told: Told) -> dict[str, str]:
    """Return what is recorded, once it is known to be what the model says.

    Raises
    ------
    ModelError
        With the line to write.
    """
    # Of all models, and as plain text: to compile it would take longer than to read it, at every opening.
    found = connection.exec_driver_sql("SELECT model, name, told FROM entropic_changes")
    known: dict[str, str] = {name: text for model_table, name, text in found if model_table == table.name}
    for name, text in known.items():
        if name in told and _recorded(told[name]) == _recorded(text):
            continue
        default = spelled(_plain(text))
        if name not in table.c:
            line = f"{name}: Mapped[{type(_plain(text)).__name__}] ="
            raise ModelError(
                f"the table {table.name!r} has the parameter {name!r}, which {model} lacks, and a key without it means "
                f"{default}; write {line} added({default}), or, if it does not matter any more, {line} "
                f"removed({default}, added={default}). Nothing was done"
            )
        column, says = table.c[name], "does not say that it came later"
        if is_added(column):
            says = f"has the default {spelled(_plain(told[name]))}"
        line = line_of(column, f"added({default})")
        if REMOVED in column.info:
            line = line_of(column, f"removed({spelled(column.info[REMOVED])}, added={default})")
        elif RENAMED in column.info:
            line = line_of(column, f"renamed({column.name!r}, added={default})")
        raise ModelError(
            f"{model}.{attribute_of(column)} {says}, but was added with {default}, to which the rows of before belong; "
            f"write {line}, and give other values in params. Nothing was done"
        )
    return known


def _recorded(text: str) -> Any:
    """Return the default that is recorded, as JSON has it."""
    try:
        return json.loads(text)["added"]
    except (ValueError, LookupError, TypeError, RecursionError):
        what = f"what is recorded of a parameter that was added, {spelled(text)}, was not written by entropic"
        raise ModelError(f"{what}; restore entropic_changes from a backup") from None


def _plain(text: str) -> object:
    """Return the default that is recorded; of times and the like their text."""
    found = _recorded(text)
    return next(iter(found.values()), found) if isinstance(found, dict) else found


def _has_rows(connection: sa.Connection, table: sa.Table) -> bool:
    return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None
