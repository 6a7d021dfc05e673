"""A row that a run has read: which one, and as it was then."""

from typing import Any, NamedTuple

from entropic.support import names


class Input(NamedTuple):
    """A row that a run has read.

    Attributes
    ----------
    database
        The uuid of the database that it is in; empty if that is the one of the run's own row.
    model, id
        The name of its table, and its key.
    made_at
        Its `created_at`, as it was read: ISO 8601, naive UTC.
    stale_as
        Why it was stale when it was read, as a number; None: it was not, as far as that is known.
    """

    database: str
    model: str
    id: str
    made_at: str
    stale_as: int | None = None


def is_input(one: Any) -> bool:
    """Tell whether something that was read is an input as entropic writes it."""
    database, model, id, made_at, stale_as = one
    return (
        (database == "" or names.is_one(names.UUID, database))
        and names.is_text(model)
        and names.is_text(id)
        and "\0" not in model + id
        and names.is_time(made_at)
        and (stale_as is None or (type(stale_as) is int and 0 <= stale_as < 2**63))
    )
