"""SHA-256 of results as they were published, and how far a comparison of all of them has come."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam

from entropic.db.claim_record import Claim
from entropic.db.connection import Connection
from entropic.db.engine import Database
from entropic.db.flaws import is_sound_digest, is_sound_mark
from entropic.db.statement import ByKeys, Statement
from entropic.db.tables import comparisons, digests
from entropic.db.wording import KEPT, Wording

REGISTERED = "registered"  # in the place of an attempt, which such a file has not
MOST_SEEN = 100_000  # results whose comparison is kept in memory
_c, _m = digests.c, comparisons.c


class Digest(NamedTuple):
    """What is recorded of the bytes of a result: of which attempt they are, and what differed when last compared."""

    attempt: str
    sha256: str
    found: str | None

    def is_of(self, claim: Claim | None) -> bool:
        """Tell whether it is that of the result which a claim has now."""
        if claim is None:
            return False
        return self.attempt == (claim.published if claim.registered is None else REGISTERED)


class Seen(NamedTuple):
    """What this process has found when it read a result: of which attempt, of which size and time, and if it is it.

    `is_same` is None if it could not be read.
    """

    attempt: str
    size: int
    mtime_ns: int
    is_same: bool | None


class Mark(NamedTuple):
    """How far a comparison has come: the last key, what was counted until then, and when it began (since 1970)."""

    after: str
    compared: int
    without: int
    began: float


class Digests:
    """Those of one model.

    Parameters
    ----------
    database, model
        The model is named by its table.
    """

    def __init__(self, database: Database, model: str) -> None:
        self._database, self._model = database, model
        self._seen: dict[str, Seen] = {}

    @property
    def _statements(self) -> "_Statements":
        return _statements(self._database.wording, self._model)  # most stores never need them

    def of(self, ids: Iterable[str], within: Connection | None = None) -> dict[str, Digest]:
        """Return what is recorded of some keys, perhaps within a transaction, by id; it may be of an older attempt."""
        return dict(_sound(self._statements.of.fetch(self._database, ids, within)))

    def write(self, connection: Connection, id: str, attempt: str, sha256: str) -> None:
        """Record, in a transaction, the digest of what an attempt has made."""
        values = {"key": id, "attempt_": attempt, "sha_": sha256, "found_": None}
        for statement in (self._statements.change, self._statements.add):
            if connection.execute(statement.sql, statement.values(values)).rowcount:
                return

    def remove(self, connection: Connection, id: str) -> None:
        """Forget, in a transaction, what was recorded of a key."""
        statement = self._statements.remove
        connection.execute(statement.sql, statement.values({"key": id}))

    # ---- comparing one by one ----------------------------------------------------------------------------------
    def seen(self, id: str) -> Seen | None:
        """Return what was found when the result of a key was read last, if that is known here."""
        return self._seen.get(id)

    def remember(self, id: str, seen: Seen) -> None:
        """Keep in memory what was found when the result of a key was read."""
        if len(self._seen) >= MOST_SEEN:
            self._seen.clear()  # whoever needs it reads again
        self._seen[id] = seen

    # ---- comparing all -----------------------------------------------------------------------------------------
    def mark(self) -> Mark | None:
        """Return how far a comparison has come that did not come to its end, if there is one."""
        statement = self._statements.mark
        rows = self._database.connection().fetch(statement.sql, statement.values({}))
        return Mark(*rows[0]) if rows and is_sound_mark(*rows[0]) else None

    def note(self, connection: Connection, id: str, attempt: str, found: str | None) -> None:
        """Note, in a transaction, what differs from a digest; None: nothing any more."""
        statement = self._statements.note
        connection.execute(statement.sql, statement.values({"key": id, "attempt_": attempt, "found_": found}))

    def set_mark(self, connection: Connection, mark: Mark) -> None:
        """Note, in a transaction, how far a comparison has come."""
        values = {f"{name}_": value for name, value in mark._asdict().items()}
        for statement in (self._statements.add_mark, self._statements.move_mark):
            connection.execute(statement.sql, statement.values(values))

    def remove_mark(self, connection: Connection) -> None:
        """Note, in a transaction, that a comparison has come to its end."""
        statement = self._statements.remove_mark
        connection.execute(statement.sql, statement.values({}))

    def differing(self) -> Iterator[tuple[str, Digest]]:
        """Yield the keys whose result differed when it was last compared, with what is recorded of it."""
        statement = self._statements.differing
        yield from _sound(self._database.connection().fetch(statement.sql, statement.values({})))


def _sound(rows: Iterable[Any]) -> Iterator[tuple[str, Digest]]:
    """Yield what was recorded of keys, without what entropic did not write."""
    return ((id, Digest(*told)) for id, *told in rows if is_sound_digest(*told))


class _Statements:
    """Made once, when the first of them is needed."""

    def __init__(self, wording: Wording, model: str) -> None:
        def compiled(statement: object) -> Statement:
            return Statement(statement, wording.sql)

        mine, is_one = _c.model == model, (_c.id == bindparam("key")) & (_c.model == model)
        asked = sa.select(_c.id, _c.attempt, _c.sha256, _c.found)
        self.of = ByKeys(wording, asked.where(mine), _c.id)
        new: dict[str, Any] = {
            "attempt": bindparam("attempt_"),
            "sha256": bindparam("sha_"),
            "found": bindparam("found_"),
        }
        self.change = compiled(sa.update(digests).where(is_one).values(**new))
        self.add = compiled(sa.insert(digests).values(id=bindparam("key"), model=sa.literal(model), **new))
        self.remove = compiled(sa.delete(digests).where(is_one))
        of_attempt = is_one & (_c.attempt == bindparam("attempt_"))
        self.note = compiled(sa.update(digests).where(of_attempt).values(found=bindparam("found_")))
        self.differing = compiled(asked.where(mine & _c.found.is_not(None)).order_by(_c.id))
        names = Mark._fields
        self.mark = compiled(sa.select(*(_m[name] for name in names)).where(_m.model == model))
        values: dict[str, object] = {name: bindparam(f"{name}_") for name in names}
        add = wording.dialect.insert_new(comparisons, {"model": sa.literal(model), **values})
        self.add_mark = compiled(add)
        self.move_mark = compiled(sa.update(comparisons).where(_m.model == model).values(**values))
        self.remove_mark = compiled(sa.delete(comparisons).where(_m.model == model))


@lru_cache(KEPT)
def _statements(wording: Wording, model: str) -> _Statements:
    return _Statements(wording, model)
