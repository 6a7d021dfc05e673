"""A statement, compiled once for a dialect, run on a driver connection."""

from collections.abc import Callable, Mapping
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

    def values_of(self, name: str) -> Callable[[Any], tuple[Any, ...]]:
        """Return the function that gives the values where only one is not constant: faster, for the hot path."""
        place = self._names.index(name)
        before = tuple(self._fixed[other] for other in self._names[:place])
        after = tuple(self._fixed[other] for other in self._names[place + 1 :])
        return lambda value: (*before, value, *after)
