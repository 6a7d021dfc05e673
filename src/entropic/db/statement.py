"""A statement, compiled once for a dialect, run on a driver connection."""

import re
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from entropic.db.wording import Wording

if TYPE_CHECKING:
    from entropic.db.connection import Connection
    from entropic.db.engine import Database


def fixed(text: str) -> object:
    """Return a text as part of a statement, where it can be written without quoting: one value less to bind."""
    return sa.literal_column(f"'{text}'", sa.String) if re.fullmatch(r"\w+", text, re.ASCII) else sa.literal(text)


Texts = dict[Hashable, tuple[tuple[str, ...], dict[str, Any], str]]
"""Of statements that are compiled, by a name: the names of their values in order, those that are constant, the text."""
_texts: "weakref.WeakKeyDictionary[sa.Table, dict[Hashable, Texts]]" = weakref.WeakKeyDictionary()


def texts_on(table: sa.Table, wording: Wording) -> Texts:
    """Return the texts of statements on a user's table, which are kept as long as that is.

    They hold nothing of the table, or of its model, which could never go otherwise.
    """
    shape = table.name, table.schema, *table.c.keys()  # a model may get columns later
    return _texts.setdefault(table, {}).setdefault((wording, shape), {})


class Statement:
    """The text of a SQLAlchemy statement and the order of its values.

    Running compiled text on the driver's own cursor takes a fifth of the time of the same statement through
    `Connection.execute`; types and dialects are SQLAlchemy's all the same. It is compiled when it is first asked for: a
    store has more than thirty, and a hit needs two.

    Parameters
    ----------
    texts, name
        Where its text is kept, or found, under this name.
    """

    sql: str
    _names: tuple[str, ...]
    _fixed: dict[str, Any]

    def __init__(
        self, statement: Any, dialect: sa.Dialect, texts: "Texts | None" = None, name: Hashable = None
    ) -> None:
        self._statement, self._dialect, self._texts, self._name = statement, dialect, texts, name

    def __getattr__(self, name: str) -> Any:
        # (functools.cached_property would hold a lock meanwhile, which a process forked then would inherit for ever.)
        if name not in Statement.__annotations__:
            raise AttributeError(name)
        found = None if self._texts is None else self._texts.get(self._name)
        if found is None:
            compiled = self._statement.compile(dialect=self._dialect)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            found = tuple(compiled.positiontup or ()), constants, str(compiled)
            if self._texts is not None:
                self._texts[self._name] = found
        self._names, self._fixed, self.sql = found
        return self.__dict__[name]

    def values(self, given: Mapping[str, object]) -> tuple[object, ...]:
        """Return the values in the order of the text; constants of the statement need not be given."""
        return tuple(map({**self._fixed, **given}.__getitem__, self._names))

    def taking(self, *names: str) -> Callable[..., tuple[object, ...]]:
        """Return the function that takes the values of these names, in this order: faster, for the hot paths."""
        constants = [name for name in self._names if name not in names]
        fixed = tuple(self._fixed[name] for name in constants)
        if not constants and self._names == names[:1]:
            return lambda one: (one,)
        if len(names) == 1:
            place = self._names.index(names[0])
            before, after = fixed[:place], fixed[place:]
            return lambda one: (*before, one, *after)
        places = [(*names, *constants).index(name) for name in self._names]
        pick = itemgetter(*places)
        return lambda *given: pick(given + fixed)


class ByKeys:
    """A query for many keys, asked in as few round trips as the database takes.

    Parameters
    ----------
    query
        Without the condition on the keys.
    column
        That of the keys.
    texts, name
        Where its texts are kept, and under which name.
    """

    def __init__(
        self, wording: Wording, query: Any, column: Any, texts: Texts | None = None, name: Hashable = None
    ) -> None:
        self._wording, self._query, self._column, self._texts, self._name = wording, query, column, texts, name
        self._made: dict[int, tuple[str, Callable[[list[str]], tuple[object, ...]]]] = {}

    def fetch(self, database: "Database", keys: Iterable[str], within: "Connection | None" = None) -> Iterator[Any]:
        """Return the rows of those keys that have one, in any order; perhaps within a transaction."""
        counts, ordered = database.dialect.key_counts, sorted(keys)
        for start in range(0, len(ordered), counts[-1]):
            some = ordered[start : start + counts[-1]]
            count = next(count for count in counts if count >= len(some))
            sql, values = self._made.get(count) or self._make(count)
            if within is not None:
                yield from within.execute(sql, values(some)).fetchall()
            else:
                yield from database.connection().fetch(sql, values(some))

    def _make(self, count: int) -> tuple[str, Callable[[list[str]], tuple[object, ...]]]:
        condition, named = self._wording.dialect.one_of(self._column, count)
        statement = Statement(self._query.where(condition), self._wording.sql, self._texts, (self._name, count))
        names = list(named(list(map(str, range(count)))))
        if len(names) == 1:
            one = statement.taking(names[0])
            found = statement.sql, one
        else:
            in_order = statement.taking(*names)
            found = statement.sql, lambda keys: in_order(*keys, *(keys[-1:] * (count - len(keys))))
        self._made[count] = found
        return found
