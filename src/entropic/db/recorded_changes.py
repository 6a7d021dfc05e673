"""What is recorded of parameters that a model has gained, or retyped, so that no key changes its meaning.

A key that leaves a parameter out belongs to its default. So the default is recorded with the table before the table
gets the column, and a model that says otherwise does not open. Likewise the type that whole numbers have in keys.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from entropic.db.columns import alter_columns, attribute_of, line_saying, refuse_inexact
from entropic.db.dialects.portable import Dialect
from entropic.db.dialects.types import underlying
from entropic.db.tables import changes
from entropic.errors import ModelError
from entropic.params.changed import ADDED, RETYPED, is_retyped
from entropic.support.show import spelled

Told = Mapping[str, str]
"""What is recorded of columns, by name: JSON."""


def gain(connection: sa.Connection, table: sa.Table, model: str, told: Told, dialect: Dialect) -> None:
    """Let a table have the columns, and the types, that its model has gained; record first what rows of before mean.

    On MariaDB, where a column is there for good at once, a kill in between leaves the record without the column, which
    the next opening adds.

    Raises
    ------
    ModelError
        If the model says something else than is recorded.
    """

    def record(lacking: Sequence[sa.Column[Any]]) -> None:
        known = check(connection, table, model, told)
        for name in _news(told, known):
            says, has = _read(told[name]), _read(known[name]) if name in known else {}
            comes = any(name == column.name for column in lacking)
            if ADDED in says and ADDED not in has and not comes and _has_rows(connection, table):
                raise ModelError(
                    f"the table {table.name!r} had {name!r} before {model} declared it with added(), so the keys of "
                    f"its rows hold it; write {_line(table.c[name], has)} as before. Nothing was done"
                )
            if RETYPED in says and RETYPED not in has and not comes:
                refuse_inexact(connection, table.c[name], model)
            if has:
                this = (changes.c.model == table.name) & (changes.c.name == name)
                connection.execute(sa.update(changes).where(this).values(told=told[name]))
            else:
                new = {"model": table.name, "name": name, "told": told[name]}
                connection.execute(dialect.insert_new(changes, new))

    known = check(connection, table, model, told)
    alter_columns(connection, table, dialect, bool(_news(told, known)), record)


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
        has, says = _read(text), _read(told[name]) if name in told else {}
        if name not in table.c:
            raise ModelError(_absence(table, model, name, has))
        if ADDED in has and (ADDED not in says or says[ADDED] != has[ADDED]):
            said = (
                f"has the default {spelled(_plain(says[ADDED]))}"
                if ADDED in says
                else "does not say that it came later"
            )
            raise ModelError(
                f"{model}.{attribute_of(table.c[name])} {said}, but was added with {_default(has)}, the value that "
                f"older rows count as made with; write {_line(table.c[name], has)}, and give other values in params. "
                "Nothing was done"
            )
        # A program of before it was retyped goes on: its sets have the keys that they had.
        if RETYPED in has and RETYPED not in says and isinstance(underlying(table.c[name].type), sa.Float):
            raise ModelError(
                f"{model}.{attribute_of(table.c[name])} does not say that it held whole numbers before, and stored "
                f"rows have the keys of those; write {_line(table.c[name], has)}. Nothing was done"
            )
    return known


def _news(told: Told, known: Told) -> list[str]:
    """Return the names of columns of which something is to be recorded."""
    return [
        name for name, text in told.items() if name not in known or not _read(text).keys() <= _read(known[name]).keys()
    ]


def _absence(table: sa.Table, model: str, name: str, has: Mapping[str, Any]) -> str:
    """Return the sentence that says that a model lacks what it cannot lack."""
    value, kind, declared, options = "VALUE", "float", "retyped(int)", ["retyped=int"]
    means = "its rows have it in their keys"
    if ADDED in has:
        value = _default(has)
        means, options = f"a key without it means {value}", [f"added={value}", *options]
        declared = f"retyped(int, added={value})"
        if RETYPED not in has:
            kind, declared, options = type(_plain(has[ADDED])).__name__, f"added({value})", options[:1]
    line = f"{name}: Mapped[{kind}] ="
    return (
        f"the table {table.name!r} has the parameter {name!r}, which {model} lacks, and {means}; write {line} "
        f"{declared}, or, if it does not matter any more, {line} removed({', '.join([value, *options])}). Nothing was "
        "done"
    )


def _line(column: sa.Column[Any], has: Mapping[str, Any]) -> str:
    """Return the line of a model that says of a column what is recorded, beside what the model says already."""
    return line_saying(column, _default(has) if ADDED in has else None, RETYPED in has or is_retyped(column))


def _default(has: Mapping[str, Any]) -> str:
    return spelled(_plain(has[ADDED]))


def _read(text: str) -> dict[str, Any]:
    """Return what is recorded of a column, as JSON has it."""
    try:
        found = json.loads(text)
        if isinstance(found, dict) and not found.keys().isdisjoint((ADDED, RETYPED)):
            return found
    except (ValueError, TypeError, RecursionError):
        pass
    what = f"what is recorded of a parameter that was added, or retyped, {spelled(text)}, was not written by entropic"
    raise ModelError(f"{what}; restore entropic_changes from a backup") from None


def _plain(found: Any) -> object:
    """Return the default that is recorded; of times and the like their text."""
    return next(iter(found.values()), found) if isinstance(found, dict) else found


def _has_rows(connection: sa.Connection, table: sa.Table) -> bool:
    return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None
