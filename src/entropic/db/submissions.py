"""What a database knows of submissions: jobs that run sets for which no process waits."""

import os
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

import sqlalchemy as sa

from entropic.db.connection import Connection
from entropic.db.engine import Database
from entropic.db.statement import Statement
from entropic.db.tables import meta
from entropic.support.names import KEY, WORKER, is_one, is_recorded_path

_PREFIX = "submission."
_ORIGIN = "submitted."  # of what was recorded later than the first submissions were; it may be missing
_LONGEST = 255  # characters of what is recorded, as the table has them on some databases


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
    by
        Who has submitted it, and to which Slurm; "" if that is not known.
    folder
        The absolute path of its results folder; "" if that is not known, or longer than can be recorded.
    """

    number: int
    place: str
    secret: bytes
    creator: str | None
    since: float
    by: str = ""
    folder: str = ""


class Submissions:
    """The submissions of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: Connection, one: Recorded) -> None:
        """Record one, inside a transaction."""
        new = sa.insert(meta).values(name=sa.bindparam("name_"), value=sa.bindparam("value_"))
        statement = Statement(new, self._database.sql)
        for name, value in ((_name(one.number), _value(one)), (f"{_ORIGIN}{one.number}", _origin(one))):
            connection.execute(statement.sql, statement.values({"name_": name, "value_": value}))

    def submitted(self, one: Recorded) -> None:
        """Record that its jobs are submitted: from now on anybody looks after it."""
        change = sa.update(meta).where(meta.c.name == sa.bindparam("name_")).values(value=sa.bindparam("value_"))
        statement = Statement(change, self._database.sql)
        values = {"name_": _name(one.number), "value_": _value(one._replace(creator=None))}
        self._database.connection().change(statement.sql, statement.values(values))

    def remove(self, number: int) -> None:
        """Forget one that is over."""
        which = (meta.c.name == sa.bindparam("name_")) | (meta.c.name == sa.bindparam("origin_"))
        statement = Statement(sa.delete(meta).where(which), self._database.sql)
        values = statement.values({"name_": _name(number), "origin_": f"{_ORIGIN}{number}"})
        self._database.connection().change(statement.sql, values)

    def all(self) -> Iterator[Recorded]:
        """Return those that are recorded; what entropic has not written is left out."""
        like = meta.c.name.like(sa.bindparam("like_")) | meta.c.name.like(sa.bindparam("origins_"))
        statement = Statement(sa.select(meta.c.name, meta.c.value).where(like), self._database.sql)
        values = statement.values({"like_": f"{_PREFIX}%", "origins_": f"{_ORIGIN}%"})
        found = {str(name): str(value) for name, value in self._database.connection().fetch(statement.sql, values)}
        for name, value in found.items():
            number, words = name.removeprefix(_PREFIX), value.split()
            if len(words) != 4 or not number.isdigit() or not is_one(KEY, words[0]):
                continue
            place, secret, creator, since = words
            if creator != "-" and not is_one(WORKER, creator):
                continue
            made_by = None if creator == "-" else creator
            origin = _read_origin(found.get(f"{_ORIGIN}{number}", ""))
            try:
                yield Recorded(int(number), place, bytes.fromhex(secret), made_by, float(since), *origin)
            except ValueError:
                continue


def _name(number: int) -> str:
    return f"{_PREFIX}{number}"


def _value(one: Recorded) -> str:
    return f"{one.place} {one.secret.hex()} {one.creator or '-'} {one.since:.3f}"


def _origin(one: Recorded) -> str:
    by, folder = quote(one.by) or "-", quote(os.fsencode(one.folder))
    return both if len(both := f"{by} {folder}") <= _LONGEST else by[:_LONGEST]


def _read_origin(value: str) -> tuple[str, str]:
    """Return by whom, and with which results folder, something was submitted; "" for what is not known."""
    by, _, folder = value.partition(" ")
    path = os.fsdecode(unquote_to_bytes(folder))
    return "" if by == "-" else unquote(by), path if os.path.isabs(path) and is_recorded_path(path) else ""
