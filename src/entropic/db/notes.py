"""Notes and tags: what people say of results, in a table of its own beside theirs."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from entropic.db.connection import Connection
from entropic.db.engine import Database
from entropic.db.statement import ByKeys, Statement
from entropic.db.tables import notes
from entropic.support.names import number_of

_NOTE = ""  # the tag under which the note itself is
Told = tuple[str, tuple[str, ...]]
_c = notes.c


class Notes:
    """Those of one model.

    Parameters
    ----------
    database, model
        The model is named by its table.
    """

    def __init__(self, database: Database, model: str) -> None:
        self._database, self._model = database, model
        query = sa.select(_c.id, _c.tag, _c.text).where(_c.model == model)
        self._all, self._of = Statement(query, database.sql), ByKeys(database.wording, query, _c.id)
        new: dict[str, object] = {name: bindparam(f"{name}_") for name in notes.c.keys()}  # noqa: SIM118  (not a dict)
        self._add = Statement(database.dialect.insert_new(notes, new), database.sql)
        one = (_c.id == bindparam("key")) & (_c.model == model) & (_c.number == bindparam("which"))
        self._remove = Statement(sa.delete(notes).where(one), database.sql)

    def write(
        self, connection: Connection, id: str, text: str | None, tags: Iterable[str], without: Iterable[str]
    ) -> None:
        """Write, in a transaction, the note of a key (None: leave it; empty: remove it), and change its tags."""
        for tag in [*without, *([] if text is None else [_NOTE])]:
            connection.execute(self._remove.sql, self._remove.values({"key": id, "which": _number(tag)}))
        for tag, said in [*((tag, None) for tag in tags), *([(_NOTE, text)] if text else [])]:
            values = {"id_": id, "model_": self._model, "number_": _number(tag), "tag_": tag, "text_": said}
            connection.execute(self._add.sql, self._add.values(values))

    def move(self, connection: Connection, old: str, new: str) -> None:
        """Let, in a transaction, what is said of a key be said of another one; what is said of that stays, too."""
        told = _gathered(self._of.fetch(self._database, [old, new], connection))
        if old in told:
            text, tags = told[old]
            texts = dict.fromkeys(one for one in (text, told.get(new, ("", ()))[0]) if one)
            self.write(connection, new, "; ".join(texts), tags, ())
            self.write(connection, old, "", (), tags)

    def all(self) -> dict[str, Told]:
        """Return the notes and the tags of all keys that have any."""
        return _gathered(self._database.connection().fetch(self._all.sql, self._all.values({})))

    def of(self, ids: Iterable[str]) -> dict[str, Told]:
        """Return the notes and the tags of those of some keys that have any."""
        return _gathered(self._of.fetch(self._database, ids))


def _number(tag: str) -> int:
    """Return what stands for a tag in the key: an index of InnoDB has no room for a third text."""
    return 0 if tag == _NOTE else number_of(tag)


def _gathered(rows: Iterable[Any]) -> dict[str, Told]:
    found: dict[str, dict[str, str]] = {}
    for id, tag, text in rows:
        found.setdefault(id, {})[str(tag)] = str(text or "")
    return {id: (said.pop(_NOTE, ""), tuple(sorted(said))) for id, said in found.items()}


def has_tags(id: Any, model: str, tags: Iterable[str]) -> Any:
    """Return the condition that the key in a column has all of some tags."""
    each = ((_c.id == id) & (_c.model == model) & (_c.number == _number(tag)) for tag in tags)
    return sa.and_(sa.true(), *(sa.exists().where(one) for one in each))
