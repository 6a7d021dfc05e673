"""What the text of a statement depends on: of all databases for which that is the same, it is compiled once."""

import copy
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from entropic.db.dialects.portable import Dialect

KEPT = 32  # sets of statements, of different models or wordings, that a process keeps of each kind
_PLAIN = (str, int, float, tuple, type(None))
_OF_ONE_DATABASE = {"default_schema_name"}  # that no statement writes down
_NOWHERE = sa.make_url("sqlite://")  # what a kind of database says of statements holds for any of its databases


@dataclass(frozen=True)
class Wording:
    """How the databases of one kind, version, driver and setting have statements written.

    Two are equal if they write all statements alike: then what was made for one of them is used for the other.
    """

    kind: type[Dialect]
    settings: Hashable
    dialect: Dialect = field(compare=False, repr=False)
    """Of no database: statements ask it only for what its kind says."""
    sql: sa.Dialect = field(compare=False, repr=False)
    """SQLAlchemy's own, of no engine."""

    @classmethod
    def of(cls, dialect: Dialect, sql: sa.Dialect) -> "Wording":
        """Return that of a database, once SQLAlchemy has asked it for its version and its settings.

        All plain values that SQLAlchemy keeps of these count, be they of no consequence for any text.
        """
        kind, parts = type(dialect), (sql, sql.identifier_preparer, sql.type_compiler_instance)
        settings: Hashable = tuple((type(part), _plain(part)) for part in parts)
        if kind is Dialect:  # we do not know what its settings mean
            settings = object()  # which equals nothing else
        return cls(kind, settings, kind(_NOWHERE, 0.0), _without_engine(sql))


def _plain(part: object) -> Hashable:
    return frozenset(
        (name, type(value), value)
        for name, value in vars(part).items()
        if isinstance(value, _PLAIN) and name not in _OF_ONE_DATABASE
    )


def _without_engine(sql: sa.Dialect) -> sa.Dialect:
    """Return a copy that has no listeners: statements are kept, and the first database that has them must not be."""
    made: Any = copy.copy(sql)
    vars(made).pop("dispatch", None)
    for name, part in vars(sql).items():
        if getattr(part, "dialect", None) is sql:
            own = copy.copy(part)
            own.dialect = made
            setattr(made, name, own)
    return made  # type: ignore[no-any-return]
