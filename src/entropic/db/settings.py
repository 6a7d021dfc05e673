"""What is recorded once: the schema version and uuid of a database, the float rounding of a model."""

import uuid
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from entropic.db import layout
from entropic.db.claim_record import LEASE, LONGEST_LEASE, longest_lease
from entropic.db.engine import Database
from entropic.db.statement import Statement
from entropic.db.tables import meta, models
from entropic.db.wording import KEPT, Wording
from entropic.errors import StoreError
from entropic.params.keys import TYPED
from entropic.support import names


class Settings:
    """Reads the settings of a database, and records those that are new."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.recorded: set[str] = set()
        """Names of what this has recorded, since nothing was."""

    def _agree(self, table: sa.Table, name: str, value: str) -> str:
        """Return what is recorded under a name; record the given value if nothing is."""
        find, add = _statements(self._database.wording, table)
        connection = self._database.connection()
        found = connection.fetch(find.sql, (name,))
        if not found and self._database.dialect.read_only:
            return value
        if not found:
            connection.change(add.sql, add.values({"name_": name, "value_": value}))
            self.recorded.add(name)
            found = connection.fetch(find.sql, (name,))
        return str(found[0][0])

    def uuid(self) -> str:
        """Return the uuid of this database, which names its folder of attempts.

        Raises
        ------
        StoreError
            If the database was made by a later version of entropic, or says what entropic does not write.
        """
        version = self._agree(meta, layout.NAME, str(layout.VERSION))
        layout.check(version, self._database)
        if int(version) < layout.VERSION and not self._database.dialect.read_only:
            layout.advance(self._database, version)
        found = self._agree(meta, "uuid", uuid.uuid4().hex)
        if not names.is_one(names.UUID, found):  # it names a folder
            raise StoreError(f"{self._database} was not made by entropic: its uuid is {found!r:.80}; nothing was done")
        return found

    def agree_lease(self, lease: float) -> None:
        """Record a lease that is longer than any before: by it others judge which claims cannot be true."""
        if lease <= LEASE:
            return
        longer = sa.update(meta).where((meta.c.name == LONGEST_LEASE) & (meta.c.value == sa.bindparam("old")))
        change, new = Statement(longer.values(value=sa.bindparam("new")), self._database.sql), repr(float(lease))
        while longest_lease(recorded := self._agree(meta, LONGEST_LEASE, new)) < lease:  # others may record one, too
            self._database.connection().change(change.sql, change.values({"old": recorded, "new": new}))

    def agree_file(self, name: str, file: str) -> str:
        """Return which file is recorded under a name; this one, if none was."""
        return self._agree(meta, name, file)

    def change_file(self, name: str, before: str, now: str) -> None:
        """Record another file under a name, unless somebody has."""
        of_name = (meta.c.name == sa.bindparam("n")) & (meta.c.value == sa.bindparam("old"))
        change = Statement(sa.update(meta).where(of_name).values(value=sa.bindparam("new")), self._database.sql)
        self._database.connection().change(change.sql, change.values({"n": name, "old": before, "new": now}))

    def agree_keys(self, model: str, setting: str) -> None:
        """Record how a model's keys are made: how floats are rounded, and whether values are typed before.

        Raises
        ------
        StoreError
            If its rows were made with the other way.
        """
        recorded = self._agree(models, model, setting)
        if recorded != setting:
            unlike = recorded.endswith(TYPED) != setting.endswith(TYPED)
            theirs, ours = _options(recorded, unlike), _options(setting, unlike)
            raise StoreError(
                f"the keys of table {model!r} in {self._database} were made with {theirs}, and this store asks for "
                f"{ours}; open it with the former, or use another __tablename__"
            )


@lru_cache(KEPT)
def _statements(wording: Wording, table: sa.Table) -> tuple[Statement, Statement]:
    """Return what finds a value in one of our own tables by its name, and what records one unless there is one."""
    which, what = table.c[table.primary_key.columns.keys()[0]], table.columns.values()[1]
    find = sa.select(what).where(which == sa.bindparam("name"))
    new: dict[str, Any] = {which.name: sa.bindparam("name_"), what.name: sa.bindparam("value_")}
    return Statement(find, wording.sql), Statement(wording.dialect.insert_new(table, new), wording.sql)


def _options(setting: str, also_typed: bool) -> str:
    rounding = f"float_rounding={setting.removesuffix(TYPED)!r}"
    return f"{rounding}, typed_keys={setting.endswith(TYPED)}" if also_typed else rounding
