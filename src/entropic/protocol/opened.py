"""The stores that this process has open: they tell of rows that runs of other stores have read.

None is kept for it: a store that is dropped is gone from here.
"""

import weakref
from collections.abc import Iterator
from typing import Any

from entropic.protocol.context import StoreContext

_open: "weakref.WeakValueDictionary[tuple[str, str, bool], StoreContext[Any]]" = weakref.WeakValueDictionary()


def add(context: StoreContext[Any]) -> None:
    """Take note of a store; one that has a runner tells more than one that only looks."""
    _open[context.database_uuid, context.model, context.maker.has_runner] = context


def find(database: str, model: str) -> StoreContext[Any] | None:
    """Return the store of a model in a database, if one is open here."""
    return _open.get((database, model, True)) or _open.get((database, model, False))


def of_database(database: str) -> StoreContext[Any] | None:
    """Return any store in a database."""
    return next((one for (uuid, *_), one in list(_open.items()) if uuid == database), None)


def all_() -> Iterator[StoreContext[Any]]:
    """Yield all that are open."""
    return iter(list(_open.values()))
