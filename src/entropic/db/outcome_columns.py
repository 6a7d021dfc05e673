"""Outcome columns in the database: what a run has said of them becomes values that their columns take, and notes."""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from entropic.db.connection import Connection
from entropic.db.engine import Database
from entropic.db.raw import Raw
from entropic.db.rows import Rows
from entropic.db.statement import Statement
from entropic.errors import ParameterError
from entropic.params.model import Base, Schema
from entropic.params.outcomes import NOT_RECORDED, NOTED, Outcomes, read_notes

Notes = dict[str, dict[str, str]]


class OutcomeColumns:
    """Those of one model.

    A number that is not finite is NULL, and noted in `custom_data`: databases disagree on whether there is such a
    number, and on how it compares with others.
    """

    def __init__(self, database: Database, schema: Schema, rows: Rows[Base]) -> None:
        self._database, self._schema, self._rows = database, schema, rows
        self._updates: dict[tuple[str, ...], Statement] = {}
        # Of which nothing is noted where a run knew of no such column: `measure` fills them.
        self._computed = {one.name for one in schema.asked_of_runs if one.measure is not None}

    def bind(self, said: Outcomes, names: Iterable[str] | None = None) -> tuple[dict[str, object], Notes]:
        """Return the columns (all, or those named) as the driver stores them, and what the row notes of them.

        What does not fit its column is NULL, and the row says why.
        """
        bound: dict[str, Any] = {}
        not_finite: dict[str, str] = {}
        why = dict(said.missing)
        for name in self._schema.outcomes if names is None else names:
            column = self._schema.outcomes[name].column.name
            bound[column] = None
            value = said.values.get(name)
            if value is None:
                if name not in said.values and name not in why and name not in self._computed:
                    why[name] = "the process that ran it knew of no such column"
            elif _is_not_finite(value) and name in self._schema.float_outcomes:
                not_finite[name] = str(float(value))
            else:
                try:
                    taken = self._schema.outcomes[name].take(value, self._schema.name)
                    bound[column] = self._rows.binding.bound(name, taken)
                except ParameterError as error:
                    why[name] = str(error)[:500]
        return bound, {key: notes for key, notes in ((NOTED, not_finite), (NOT_RECORDED, why)) if notes}

    def write(self, connection: Connection, raw: Raw, said: Outcomes) -> dict[str, str]:
        """Write what was said into a row that was read in this transaction; return why some have no value."""
        names = [name for name in self._schema.outcomes if name in said.values or name in said.missing]
        bound, notes = self.bind(said, names)
        data = dict(self._rows.plain(raw)["custom_data"] or {})
        if _renote(data, names, notes):
            bound["custom_data"] = self._rows.binding.custom_data(data)
        self._update(connection, raw, bound)
        return notes.get(NOT_RECORDED, {})

    def clear_notes(self, connection: Connection, raw: Raw, name: str) -> None:
        """Let a row that was read in this transaction note nothing of a column."""
        data = dict(self._rows.plain(raw)["custom_data"] or {})
        _renote(data, [name], {})
        self._update(connection, raw, {"custom_data": self._rows.binding.custom_data(data)})

    def _update(self, connection: Connection, raw: Raw, bound: Mapping[str, object]) -> None:
        table = self._schema.table
        if tuple(bound) not in self._updates:
            given: dict[str, Any] = {name: bindparam(f"v_{name}") for name in bound}
            update = sa.update(table).where(table.c.id == bindparam("key")).values(given)
            self._updates[tuple(bound)] = Statement(update, self._database.sql)
        statement = self._updates[tuple(bound)]
        values = {f"v_{name}": value for name, value in bound.items()}
        connection.execute(statement.sql, statement.values({"key": self._rows.id_of(raw), **values}))


def _renote(data: dict[str, Any], names: Iterable[str], notes: Notes) -> bool:
    """Let custom data say of some columns these notes, and no others; tell whether that changes anything."""
    before = dict(data)
    for key in (NOTED, NOT_RECORDED):
        kept = {name: why for name, why in read_notes(data, key).items() if name not in names}
        if now := {**kept, **notes.get(key, {})}:
            data[key] = now
        elif isinstance(data.get(key), Mapping):
            del data[key]
    return data != before


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float | Decimal) and not math.isfinite(value)
