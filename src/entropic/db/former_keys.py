"""The keys that rows had before they got others: what has read a row under its former key still finds it.

A run that has read it may be recorded in a database that nobody had at hand when its key changed.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from entropic.db.connection import Connection
from entropic.db.engine import Database
from entropic.db.statement import ByKeys, Statement
from entropic.db.tables import former_keys
from entropic.db.wording import KEPT, Wording

_c = former_keys.c


class FormerKeys:
    """Those of one model.

    Parameters
    ----------
    database, model
        The model is named by its table.
    """

    def __init__(self, database: Database, model: str) -> None:
        self._database, self._model = database, model
        self._now = dict[str, ByKeys]()  # of each model that was asked for

    @property
    def _statements(self) -> "_Statements":
        return _statements(self._database.wording)  # most stores never need them

    def write(self, connection: Connection, old: str, new: str) -> None:
        """Record, in a transaction, that the row of a key, and of those that it had before, has another one now."""
        whose, made = {"whose": self._model}, self._statements
        for id in (old, new):  # the row of that is what it was, should it have been another one's before
            connection.execute(made.remove.sql, made.remove.values({**whose, "key": id}))
        connection.execute(made.change.sql, made.change.values({**whose, "key": old, "now_": new}))
        values = {"id_": old, "model_": self._model, "now_": new}
        connection.execute(made.add.sql, made.add.values(values))

    def all(self) -> dict[str, str]:
        """Return, of each key that a row of this model had before, the one that it has."""
        asked = self._statements.all
        found = self._database.connection().fetch(asked.sql, asked.values({"whose": self._model}))
        return {str(id): str(now) for id, now in found}

    def of(self, id: str) -> list[str]:
        """Return the keys that the row of a key had before."""
        asked = self._statements.of
        values = asked.values({"whose": self._model, "key": id})
        return [str(one) for (one,) in self._database.connection().fetch(asked.sql, values)]

    def now(self, model: str, ids: Iterable[str]) -> dict[str, str]:
        """Return, of those keys of a model in this database whose rows have others by now, these."""
        if model not in self._now:
            query: Any = sa.select(_c.id, _c.now).where(_c.model == model)
            self._now[model] = ByKeys(self._database.wording, query, _c.id)
        return {str(id): str(now) for id, now in self._now[model].fetch(self._database, ids)}


class _Statements:
    """Made once, when the first of them is needed."""

    def __init__(self, wording: Wording) -> None:
        mine = _c.model == bindparam("whose")
        self.all = Statement(sa.select(_c.id, _c.now).where(mine), wording.sql)
        self.of = Statement(sa.select(_c.id).where(mine & (_c.now == bindparam("key"))), wording.sql)
        self.remove = Statement(sa.delete(former_keys).where(mine & (_c.id == bindparam("key"))), wording.sql)
        change = sa.update(former_keys).where(mine & (_c.now == bindparam("key"))).values(now=bindparam("now_"))
        self.change = Statement(change, wording.sql)
        new: dict[str, object] = {name: bindparam(f"{name}_") for name in former_keys.c.keys()}  # noqa: SIM118
        self.add = Statement(sa.insert(former_keys).values(new), wording.sql)


@lru_cache(KEPT)
def _statements(wording: Wording) -> _Statements:
    return _Statements(wording)
