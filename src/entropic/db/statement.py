"""A statement, compiled once for a dialect, run on a driver connection."""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import sqlalchemy as sa


class Statement:
    """The text of a SQLAlchemy statement and the order of its values.

    Running compiled text on the driver's own cursor takes a fifth of the time of the same statement through
    `Connection.execute`; types and dialects are SQLAlchemy's all the same.
    """

    def __init__(self, statement: Any, dialect: sa.Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        self._names: tuple[str, ...] = tuple(compiled.positiontup or ())
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def values(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values in the order of the text; constants of the statement need not be given."""
        return tuple(map({**self._fixed, **given}.__getitem__, self._names))

    def taking(self, *names: str) -> Callable[..., tuple[Any, ...]]:
        """Return the function that takes the values of these names, in this order: faster, for the hot paths."""
        constants = [name for name in self._names if name not in names]
        fixed = tuple(self._fixed[name] for name in constants)
        if len(names) == 1:
            place = self._names.index(names[0])
            before, after = fixed[:place], fixed[place:]
            return lambda one: (*before, one, *after)
        places = [(*names, *constants).index(name) for name in self._names]
        pick = itemgetter(*places)
        return lambda *given: pick(given + fixed)
