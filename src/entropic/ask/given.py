"""Rows that are given back: the set that a row was made of, wherever params are taken."""

from collections.abc import Iterable, Mapping
from typing import Any

from entropic.errors import ParameterError
from entropic.params.model import Base, own_values
from entropic.protocol.context import StoreContext

Given = Mapping[str, Any] | Base


def set_of(context: StoreContext[Base], given: object) -> Any:
    """Return the set that a row was made of; what is no row, as it is.

    Where the values of the row alone would make another key (a column that was left out, 1.0 for 1), the `id` is in it.

    Raises
    ------
    ParameterError
        If it is a row of another model.
    """
    if not isinstance(given, Base):
        return given
    if getattr(type(given), "__tablename__", None) != context.model:
        raise ParameterError(
            f"this is a row of {type(given).__name__}, and the store is one of {context.schema.name}; give a row of "
            "its own, or params"
        )
    params = own_values(given)
    try:
        is_key = context.hasher(params) == given.id
    except ParameterError:  # a value that came back as another type
        is_key = False
    return params if is_key else {"id": given.id, **params}


def sets_of(context: StoreContext[Base], given: object) -> Any:
    """Return the sets that rows were made of, if rows were given in a list or tuple; anything else as it is.

    Only the first is looked at: most sweeps are of sets, and a look at each of a million would take as long as reading.
    """
    if isinstance(given, list | tuple) and given and isinstance(given[0], Base):
        return [set_of(context, one) for one in given]
    return given


def one_or_several(context: StoreContext[Base], given: object) -> Any:
    """Return what was given with rows replaced by their sets: one, several, or None."""
    if given is None or isinstance(given, Mapping | Base):
        return set_of(context, given)
    return [set_of(context, one) for one in given] if isinstance(given, Iterable) else given
