"""Members of an enumeration that a column of a server does not take, as one that the model has gained."""

from collections.abc import Mapping

import sqlalchemy as sa

from entropic.db.engine import Database


def advice(database: Database, table: sa.Table, row: Mapping[str, object]) -> str:
    """Return what to write so that the table takes a row which it has refused; nothing if that was not the reason."""
    for name, value in row.items():
        there = database.types.get(name)
        if isinstance(there, sa.Enum) and isinstance(value, str) and value not in there.enums:
            dialect, column = database.dialect, table.c[name]
            widened = dialect.widening(column, value, there, database.sql)
            renamed = dialect.renaming(column, ("OLD", value), there, database.sql)
            return (
                f". The column {name!r} takes {', '.join(there.enums)} in this table. If {value!r} is a new member: "
                f"{widened}. If a member was renamed: {renamed}. Then call again"
            )
    return ""
