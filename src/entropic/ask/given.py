"""What is given for params: a dict, an object (a dataclass, of attrs or pydantic), or a row that is given back."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from entropic.errors import ParameterError
from entropic.params.model import Base, own_values
from entropic.params.objects import names_of, set_of_object

if TYPE_CHECKING:
    from entropic.protocol.context import StoreContext


def set_of(context: "StoreContext[Base]", given: object) -> Any:
    """Return the set that a row was made of, or that an object stands for; what is neither, as it is.

    Where the values of the row alone would make another key (a column that was left out, 1.0 for 1), the `id` is in it.

    Raises
    ------
    ParameterError
        If it is a row of another model.
    """
    if not isinstance(given, Base):
        return given if type(given) is dict else set_of_object(given)
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


def one_or_several(context: "StoreContext[Base]", given: object) -> Any:
    """Return what was given with rows and objects replaced by their sets: one, several, or None."""
    if given is None or isinstance(given, Mapping | Base) or names_of(given) is not None:
        return set_of(context, given)
    return [set_of(context, one) for one in given] if isinstance(given, Iterable) else given
