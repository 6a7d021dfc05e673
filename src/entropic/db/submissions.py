"""What a database knows of submissions: jobs that run sets for which no process waits."""

from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa

from entropic.db.connection import Connection
from entropic.db.engine import Database
from entropic.db.statement import Statement
from entropic.db.tables import meta
from entropic.support.names import KEY, WORKER, is_one

_PREFIX = "submission."


class Recorded(NamedTuple):
    """A submission, as it is recorded.

    Attributes
    ----------
    number
        Its own.
    place
        Which model, and which results folder it is of.
    secret
        With which everything in its spool is sealed: whoever can read the database may look.
    creator
        The call that submits it, until its jobs are submitted; then None.
    since
        When it was made, in seconds since 1970.
    """

    number: int
    place: str
    secret: bytes
    creator: str | None
    since: float


class Submissions:
    """The submissions of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: Connection, one: Recorded) -> None:
        """Record one, inside a transaction."""
        new = sa.insert(meta).values(name=sa.bindparam("name_"), value=sa.bindparam("value_"))
        statement = Statement(new, self._database.sql)
        connection.execute(statement.sql, statement.values({"name_": _name(one.number), "value_": _value(one)}))

    def submitted(self, one: Recorded) -> None:
        """Record that its jobs are submitted: from now on anybody looks after it."""
        change = sa.update(meta).where(meta.c.name == sa.bindparam("name_")).values(value=sa.bindparam("value_"))
        statement = Statement(change, self._database.sql)
        values = {"name_": _name(one.number), "value_": _value(one._replace(creator=None))}
        self._database.connection().change(statement.sql, statement.values(values))

    def remove(self, number: int) -> None:
        """Forget one that is over."""
        statement = Statement(sa.delete(meta).where(meta.c.name == sa.bindparam("name_")), self._database.sql)
        self._database.connection().change(statement.sql, statement.values({"name_": _name(number)}))

    def all(self) -> Iterator[Recorded]:
        """Return those that are recorded; what entropic has not written is left out."""
        like = meta.c.name.like(sa.bindparam("like_"))
        statement = Statement(sa.select(meta.c.name, meta.c.value).where(like), self._database.sql)
        values = statement.values({"like_": f"{_PREFIX}%"})
        for name, value in self._database.connection().fetch(statement.sql, values):
            number, words = str(name).removeprefix(_PREFIX), str(value).split()
            if len(words) != 4 or not number.isdigit() or not is_one(KEY, words[0]):
                continue
            place, secret, creator, since = words
            if creator != "-" and not is_one(WORKER, creator):
                continue
            try:
                yield Recorded(
                    int(number), place, bytes.fromhex(secret), None if creator == "-" else creator, float(since)
                )
            except ValueError:
                continue


def _name(number: int) -> str:
    return f"{_PREFIX}{number}"


def _value(one: Recorded) -> str:
    return f"{one.place} {one.secret.hex()} {one.creator or '-'} {one.since:.3f}"
