"""What runs have read of stores, in the database of their rows: which row, and when that was made."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam

from entropic.db.connection import Connection
from entropic.db.engine import Database
from entropic.db.statement import ByKeys, Statement, fixed
from entropic.db.tables import inputs, ledger
from entropic.db.wording import KEPT, Wording
from entropic.provenance.input import Input, is_input
from entropic.support.names import number_of

_c, _l = inputs.c, ledger.c
_VALUES = ("id", "model", "number", "of_database", "of_model", "of_id", "made_at", "stale_as")


class Fact(NamedTuple):
    """What is known of a row now: when it was made, by which code, and how many results its run has read."""

    made_at: str
    code: int | None
    inputs: int | None


class Inputs:
    """Those of the rows of one model.

    Parameters
    ----------
    database, model
        The model is named by its table.
    """

    def __init__(self, database: Database, model: str) -> None:
        self._database, self._model = database, model
        self._facts: dict[str, ByKeys] = {}  # of each model that was asked for
        self._of: dict[str, ByKeys] = {}

    @property
    def _statements(self) -> "_Statements":
        return _statements(self._database.wording, self._model)  # most stores never need them

    def write(self, connection: Connection, id: str, read: Sequence[Input]) -> None:
        """Record, in a transaction, what the run of a key has read, in place of what an earlier one had."""
        made = self._statements
        connection.execute(made.remove.sql, made.remove.values({"key": id}))
        for which, one in {number(*one[:3]): one for one in read}.items():  # a sidecar may say one twice
            values = dict(zip(_VALUES, (id, self._model, which, *one), strict=True))
            connection.execute(made.add.sql, made.add.values({f"{name}_": each for name, each in values.items()}))

    def accept(self, connection: Connection, id: str, before: Input, now: Input) -> None:
        """Record, in a transaction, that a run may count as having read something as it is now, if it had read that."""
        values = {"which": number(*before[:3]), "before": before.made_at, "made_at_": now.made_at}
        given = {"key": id, **values, "stale_as_": now.stale_as}
        made = self._statements
        connection.execute(made.accept.sql, made.accept.values(given))

    def move(self, connection: Connection, old: str, new: str) -> None:
        """Record, in a transaction, that what runs have read of a row of this model has another key now."""
        made = self._statements
        old_number, new_number = (number("", self._model, id) for id in (old, new))
        readers, known = (
            {tuple(one) for one in connection.fetch(made.readers.sql, made.readers.values({"which": which}))}
            for which in (old_number, new_number)
        )
        for model, id in readers - known:
            values = {"which": old_number, "reader": id, "readers_model": model, "of_id_": new, "number_": new_number}
            connection.execute(made.move.sql, made.move.values(values))
        if readers & known:
            connection.execute(made.forget.sql, made.forget.values({"which": old_number}))

    def of(self, ids: Iterable[str], model: str | None = None) -> Iterator[tuple[str, Input]]:
        """Yield, of some keys of this model, or of another one in the same database, each result that its run read."""
        model = model or self._model
        if model not in self._of:
            self._of[model] = ByKeys(self._database.wording, self._statements.joined.where(_c.model == model), _c.id)
        for id, *told in self._of[model].fetch(self._database, ids):
            if is_input(one := Input(*told)):
                yield id, one

    def dependants(self, database: str, model: str, id: str) -> Iterator[tuple[str, str, str]]:
        """Yield the model and the key of each row of this database whose run has read a row, and when that was made."""
        asked = self._statements.reading
        values = asked.values({"which": number(database, model, id)})
        for its_model, its_id, made_at, _ in self._database.connection().fetch(asked.sql, values):
            if is_input(Input("", its_model, its_id, made_at)):
                yield its_model, its_id, made_at

    def with_some(self) -> dict[str, int | None]:
        """Return the keys whose runs have read something, and the code of each."""
        asked = self._statements.with_some
        return dict(self._database.connection().fetch(asked.sql, asked.values({})))

    def facts(self, model: str, schema: str | None, ids: Iterable[str]) -> dict[str, Fact]:
        """Return what is known of those keys of a model in this database that have a row."""
        if model not in self._facts:
            if model != self._model and not self._has(model, schema):
                return {}
            table: Any = sa.table(model, sa.column("id"), sa.column("created_at"), schema=schema)
            on = (_l.id == table.c.id) & (_l.model == model)
            asked = sa.select(table.c.id, table.c.created_at, _l.code, _l.inputs)
            query = asked.select_from(table.outerjoin(ledger, on))
            self._facts[model] = ByKeys(self._database.wording, query, table.c.id)
        found = self._facts[model].fetch(self._database, ids)
        return {str(id): Fact(_time_of(made_at), code, count) for id, made_at, code, count in found}

    def _has(self, model: str, schema: str | None) -> bool:
        """Look, by a connection of SQLAlchemy's, whether there is a table of another model, with our columns."""

        def columns() -> set[str]:
            inspector = sa.inspect(self._database.engine)
            if not inspector.has_table(model, schema=schema):
                return set()
            return {one["name"] for one in inspector.get_columns(model, schema=schema)}

        return {"id", "created_at"} <= self._database.persist(columns)


def number(database: str, model: str, id: str) -> int:
    """Return what stands for a row that was read."""
    return number_of(f"{database}\0{model}\0{id}")


def _time_of(created_at: Any) -> str:
    """Return the time of a row as text; of one that is none, what it is: no run has read that."""
    try:
        return as_text(created_at)
    except ValueError:
        return str(created_at)


def as_text(time: Any) -> str:
    """Return the time of a row, as Python or the driver has it, as ISO 8601 to the microsecond."""
    made = time if isinstance(time, datetime) else datetime.fromisoformat(str(time))
    return made.replace(tzinfo=None).isoformat("T", "microseconds")


class _Statements:
    """Made once, when the first of them is needed."""

    def __init__(self, wording: Wording, model: str) -> None:
        told = sa.select(_c.id, _c.of_database, _c.of_model, _c.of_id, _c.made_at, _c.stale_as)
        on = (_l.id == _c.id) & (_l.model == _c.model) & _l.inputs.is_not(None)
        joined = told.select_from(inputs.join(ledger, on))
        self.joined = joined
        reading = sa.select(_c.model, _c.id, _c.made_at, _c.stale_as).select_from(inputs.join(ledger, on))
        self.reading = Statement(reading.where(_c.number == bindparam("which")), wording.sql)
        mine = (_c.id == bindparam("key")) & (_c.model == fixed(model))
        self.remove = Statement(sa.delete(inputs).where(mine), wording.sql)
        self.add = Statement(sa.insert(inputs).values({name: bindparam(f"{name}_") for name in _VALUES}), wording.sql)
        that = _c.number == bindparam("which")
        self.readers = Statement(sa.select(_c.model, _c.id).where(that), wording.sql)
        its = that & (_c.id == bindparam("reader")) & (_c.model == bindparam("readers_model"))
        moved: dict[str, Any] = {"of_id": bindparam("of_id_"), "number": bindparam("number_")}
        self.move = Statement(sa.update(inputs).where(its).values(moved), wording.sql)
        self.forget = Statement(sa.delete(inputs).where(that), wording.sql)
        one = mine & (_c.number == bindparam("which")) & (_c.made_at == bindparam("before"))
        anew: dict[str, Any] = {"made_at": bindparam("made_at_"), "stale_as": bindparam("stale_as_")}
        self.accept = Statement(sa.update(inputs).where(one).values(anew), wording.sql)
        with_some = sa.select(_l.id, _l.code).where(_l.model == model, _l.inputs.is_not(None), _l.size.is_not(None))
        self.with_some = Statement(with_some, wording.sql)


@lru_cache(KEPT)
def _statements(wording: Wording, model: str) -> _Statements:
    return _Statements(wording, model)
