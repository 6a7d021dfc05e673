"""Where results come from, in the database: the environments of their runs, once each, and which row is of which."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from entropic.db.engine import Database
from entropic.db.flaws import sound_number, sound_origin
from entropic.db.former_keys import FormerKeys
from entropic.db.inputs import Inputs
from entropic.db.query import fetch
from entropic.db.statement import ByKeys, Statement
from entropic.db.tables import ORIGIN, code, environments, ledger, sources
from entropic.db.wording import KEPT, Wording
from entropic.provenance.part import Part
from entropic.support.failure import storable
from entropic.support.names import number_of

TOGETHER = 100  # environments that are read at once: each may hold a diff of a megabyte


class Origins:
    """Those of one model.

    Parameters
    ----------
    database, model
        The model is named by its table.
    """

    def __init__(self, database: Database, model: str) -> None:
        self._database, self._model = database, model
        self._known: set[int] = set()
        self._known_codes: set[int] = set()
        self.places: dict[int, tuple[str, str | None]] = {}
        """Host and job of environments that were asked for: what a number stands for never changes."""
        self.inputs = Inputs(database, model)
        """What the runs of its rows have read."""
        self.former_keys = FormerKeys(database, model)
        """The keys that its rows had before."""

    def knows(self, environment: int) -> bool:
        """Tell whether this process has recorded an environment, or seen that it is."""
        return environment in self._known

    def add_environment(self, environment: int, told: str, find: Callable[[int], str | None]) -> None:
        """Record an environment, unless somebody has; first what `find` tells of how it differed from its commit."""
        number = diff_of(parsed(told))
        if number is not None and (text := find(number)) is not None:
            self._add(sources, number, text)
        self._add(environments, environment, told)
        self._known.add(environment)

    def _add(self, table: sa.Table, number: int, text: str) -> None:
        add = _adding(self._database.wording, table)
        self._database.connection().change(add.sql, add.values({"number": number, "text_": text}))

    def _read(self, table: sa.Table, number: int) -> str | None:
        asked = _reading(self._database.wording, table)
        rows = self._database.connection().fetch(asked.sql, asked.values({"number": number}))
        return None if not rows else str(rows[0][0])

    def environment(self, number: int) -> str | None:
        """Return what is recorded of an environment, as text."""
        return self._read(environments, number)

    def diff(self, number: int) -> str | None:
        """Return what is recorded under a number of how a checkout differed from its commit."""
        return self._read(sources, number)

    def knows_code(self, number: int) -> bool:
        """Tell whether this process has recorded some code, or found nothing to record of it."""
        return number in self._known_codes

    def add_code(self, number: int, parts: Sequence[Part]) -> None:
        """Record the code of a store, unless somebody has: its texts first, once each."""
        self._known_codes.add(number)
        if not parts or self._read(code, number) is not None:
            return
        told = [[part.name, part.digest, number_of(part.text)] for part in parts]
        for text in sorted({part.text for part in parts}):
            self._add(sources, number_of(text), storable(text))
        self._add(code, number, json.dumps(told, separators=(",", ":")))

    def code(self, number: int) -> tuple[Part, ...]:
        """Return the parts of some code; none if it is unknown, or not as entropic writes it."""
        found = []
        try:
            for name, digest, source in json.loads(self._read(code, number) or "[]"):
                found.append(Part(str(name), str(digest), self._read(sources, int(source)) or ""))
        except (ValueError, TypeError, RecursionError, OverflowError):
            return ()
        return tuple(found)

    def codes(self) -> dict[int, int]:
        """Return how many claims with a result are of which code, where that is known."""
        counted = sa.select(ledger.c.code, sa.func.count()).where(
            ledger.c.model == self._model, ledger.c.code.is_not(None), ledger.c.size.is_not(None)
        )
        asked = Statement(counted.group_by(ledger.c.code), self._database.sql)
        found = self._database.connection().fetch(asked.sql, asked.values({}))
        return {number: int(count) for number, count in found if sound_number(number) is not None}

    def copy_to(self, other: "Origins") -> None:
        """Record in another database what the claims of this model refer to."""
        for column, table in ((ledger.c.environment, environments), (ledger.c.code, code)):
            asked = Statement(sa.select(column).where(ledger.c.model == self._model).distinct(), self._database.sql)
            for (number,) in self._database.connection().fetch(asked.sql, asked.values({})):
                if sound_number(number) is None:
                    continue
                if table is code:
                    other.add_code(number, self.code(number))
                elif (told := self.environment(number)) is not None:
                    other.add_environment(number, told, self.diff)

    def of(self, ids: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """Yield of those keys that have a claim: the key, and what `tables.ORIGIN` names."""
        for id, *told in _origins_of(self._database.wording, self._model).fetch(self._database, ids):
            yield id, *sound_origin(*told)

    def environments(self, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Return what is recorded of some environments, by their numbers; some may be unknown."""
        wanted = sorted(number for number in numbers if sound_number(number) is not None)
        found = dict[int, dict[str, Any]]()
        for start in range(0, len(wanted), TOGETHER):
            some = environments.c.id.in_(wanted[start : start + TOGETHER])
            for number, text in fetch(self._database, sa.select(environments).where(some)):
                found[int(number)] = parsed(text)
        return found


@lru_cache(KEPT)
def _origins_of(wording: Wording, model: str) -> ByKeys:
    return ByKeys(wording, sa.select(ledger.c.id, *ORIGIN).where(ledger.c.model == model), ledger.c.id)


@lru_cache(KEPT)
def _adding(wording: Wording, table: sa.Table) -> Statement:
    """Return the statement that adds, to one of our own tables, a text under its number, unless it is there."""
    new: dict[str, object] = {"id": sa.bindparam("number"), table.columns.keys()[1]: sa.bindparam("text_")}
    return Statement(wording.dialect.insert_new(table, new), wording.sql)


@lru_cache(KEPT)
def _reading(wording: Wording, table: sa.Table) -> Statement:
    """Return the statement that reads a text by its number."""
    asked = sa.select(table.columns.values()[1]).where(table.c.id == sa.bindparam("number"))
    return Statement(asked, wording.sql)


def parsed(told: Any) -> dict[str, Any]:
    """Return what a text says of an environment; nothing, if entropic did not write it."""
    try:
        found = json.loads(told)
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def diff_of(environment: dict[str, Any]) -> int | None:
    """Return the number of the text that says how an environment differed from its commit, if it names one."""
    git = environment.get("git")
    found = git.get("diff") if isinstance(git, dict) else None
    return found if type(found) is int and 0 <= found < 2**63 else None
