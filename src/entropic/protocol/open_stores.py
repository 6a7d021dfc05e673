"""The stores that this process has open: they tell of rows that runs of other stores have read.

None is kept for it: a store that is dropped is gone from here.
"""

import weakref
from typing import Any

from entropic.protocol.context import StoreContext

_open: "list[weakref.ref[StoreContext[Any]]]" = []


def add(context: StoreContext[Any]) -> None:
    """Take note of a store."""
    _open.append(weakref.ref(context, _open.remove))


def find(database: str, model: str) -> StoreContext[Any] | None:
    """Return the store of a model in a database, if one is open here; one that has a runner tells more than others."""
    mine = [one for one in list_all() if (one.database_uuid, one.model) == (database, model)]
    return next((one for one in mine if one.current_code.has_runner), mine[0] if mine else None)


def find_in_database(database: str) -> StoreContext[Any] | None:
    """Return any store in a database."""
    return next((one for one in list_all() if one.database_uuid == database), None)


def list_all() -> list[StoreContext[Any]]:
    """Return all that are open, the one that was opened last first."""
    return [one for each in reversed(list(_open)) if (one := each()) is not None]
