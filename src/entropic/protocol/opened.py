"""The stores that this process has open: they tell of rows that runs of other stores have read.

None is kept for it: a store that is dropped is gone from here.
"""

import itertools
import weakref
from collections.abc import Iterator
from typing import Any

from entropic.protocol.context import StoreContext

_open: "dict[tuple[str, str, bool], list[weakref.ref[StoreContext[Any]]]]" = {}


def add(context: StoreContext[Any]) -> None:
    """Take note of a store; one that has a runner tells more than one that only looks."""
    mine = _open.setdefault((context.database_uuid, context.model, context.maker.has_runner), [])
    mine.append(weakref.ref(context, mine.remove))


def find(database: str, model: str) -> StoreContext[Any] | None:
    """Return the store of a model in a database, if one is open here."""
    both = (_alive((database, model, has_runner)) for has_runner in (True, False))
    return next(itertools.chain.from_iterable(both), None)


def of_database(database: str) -> StoreContext[Any] | None:
    """Return any store in a database."""
    return next((one for key in list(_open) if key[0] == database for one in _alive(key)), None)


def all_() -> Iterator[StoreContext[Any]]:
    """Yield all that are open."""
    return (one for key in list(_open) for one in _alive(key))


def _alive(key: tuple[str, str, bool]) -> list[StoreContext[Any]]:
    """Return those of one kind, the one that was opened last first."""
    return [one for each in reversed(list(_open.get(key, ()))) if (one := each()) is not None]
