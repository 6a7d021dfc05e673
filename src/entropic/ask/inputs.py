"""`Store.inputs` and `Store.dependants`: what the run of a row has read of stores, and which runs have read a row."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from entropic.params.model import Base
from entropic.protocol import open_stores, stale_rows
from entropic.protocol.context import StoreContext
from entropic.support.show import one_line


@dataclass(frozen=True, slots=True)
class Input:
    """A row that a run has read, of this store or of another.

    Attributes
    ----------
    model, id : str
        The name of its table, and its key: that which it has now, should it have got another one since.
    made_at : datetime
        Its `created_at`, as it was read; naive UTC.
    database : str
        The uuid of the database that it is in; empty if that is the one of the row whose run has read it.
    now : str
        `"same"`; `"replaced"`: it was made again since; `"stale"`: it is stale, in a way in which it was not when it
        was read; `"gone"`; or `"unknown"`: its store is not open in this process.
    """

    model: str
    id: str
    made_at: datetime
    database: str = ""
    now: str = "unknown"

    def __str__(self) -> str:
        return one_line(f"{self.model} {self.id}, made at {self.made_at:%Y-%m-%d %H:%M:%S} UTC: {self.now}")


@dataclass(frozen=True, slots=True)
class Dependant:
    """A row whose run has read another.

    Attributes
    ----------
    model, id : str
        The name of its table, and its key.
    read : datetime
        When what it has read was made, naive UTC: another time than that of the row now tells that it has read an
        earlier one.
    database : str
        The uuid of the database that it is in; empty if that is the one of the row that it has read.
    """

    model: str
    id: str
    read: datetime
    database: str = ""

    def __str__(self) -> str:
        return one_line(f"{self.model} {self.id}")


def inputs(context: StoreContext[Any], row: Base) -> list[Input]:
    """Return what the run of a row has read, in the order of models and keys."""
    mine = [one for _, one in context.origins.inputs.of([row.id])]
    states = stale_rows.states(context, row.id, mine)
    found = []
    for one in mine:
        id, now = states[one[:3]]
        found.append(Input(one.model, id, datetime.fromisoformat(one.made_at), one.database, now))
    return sorted(found, key=lambda one: (one.database, one.model, one.id))


def dependants(context: StoreContext[Any], row: Base) -> list[Dependant]:
    """Return the rows whose runs have read a row: of its own database, and of all whose stores are open here.

    Of a database that cannot be read at once nothing is known.
    """
    keys = [row.id, *_former(context, row.id)]
    found = [Dependant(*told) for told in _readers(context, "", context.model, keys)]
    found += _elsewhere(context, keys)
    return sorted(found, key=lambda one: (one.database, one.model, one.id))


def _former(context: StoreContext[Any], id: str) -> list[str]:
    """Return the keys that a row had before, but for those that another one has by now."""
    former = context.origins.former_keys.of(id)
    taken = context.origins.inputs.facts(context.model, context.schema.table.schema, former) if former else {}
    return [one for one in former if one not in taken]


def _elsewhere(context: StoreContext[Any], keys: list[str]) -> Iterator[Dependant]:
    own = context.database_uuid
    others = {one.database_uuid: one for one in open_stores.list_all() if one.database_uuid != own}
    for uuid, other in others.items():
        try:
            with other.database.without_waiting():
                found = list(_readers(other, own, context.model, keys))
        except other.database.troubles:
            continue
        for told in found:
            yield Dependant(*told, uuid)


def _readers(
    where: StoreContext[Any], database: str, model: str, keys: list[str]
) -> Iterator[tuple[str, str, datetime]]:
    """Yield, once each, what the database of a store tells of runs that have read a row under one of its keys."""
    found: dict[tuple[str, str], tuple[str, str, datetime]] = {}
    for key in keys:
        for told in where.origins.inputs.dependants(database, model, key):
            found.setdefault(told[:2], _made(told))
    yield from found.values()


def _made(told: tuple[str, str, str]) -> tuple[str, str, datetime]:
    model, id, made_at = told
    return model, id, datetime.fromisoformat(made_at)
