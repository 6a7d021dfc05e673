"""Params that are objects: a dataclass, or an instance of a class of attrs or pydantic, wherever a dict is taken.

None of these libraries is imported: their classes are told by what they have.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from entropic.errors import ParameterError


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _OfAttrs(Protocol):
    __attrs_attrs__: ClassVar[Any]


class _OfPydantic(Protocol):
    __pydantic_fields__: ClassVar[dict[str, Any]]


Object = _Dataclass | _OfAttrs | _OfPydantic
"""What a type checker takes for such an object."""


def names_of(value: object) -> list[str] | None:
    """Return the names of the fields of such an object; None if it is none."""
    kind = type(value)
    if hasattr(kind, "__pydantic_validator__") and isinstance(fields := getattr(kind, "model_fields", None), Mapping):
        return [*fields, *(getattr(value, "__pydantic_extra__", None) or ())]
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return None


def set_of_object(given: object) -> Any:
    """Return the set that an object stands for: its fields, with objects in them as dicts; what is no object as it is.

    Raises
    ------
    ParameterError
        If it is the class instead of an instance, or if it contains itself.
    """
    if isinstance(given, type) and (dataclasses.is_dataclass(given) or hasattr(given, "__attrs_attrs__")):
        raise ParameterError(f"params are the class {given.__qualname__}; make an instance of it")
    if (names := names_of(given)) is None:
        return given
    try:
        return {name: _plain(getattr(given, name)) for name in names}
    except RecursionError:
        raise ParameterError(f"params, of type {type(given).__qualname__}, contain themselves") from None


def _plain(value: Any) -> Any:
    """Return a value with the objects in it, if there are any, as dicts, which a column of JSON holds."""
    if (names := names_of(value)) is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    if type(value) in (list, tuple):
        return type(value)(_plain(inner) for inner in value)
    if type(value) is dict:
        return {name: _plain(inner) for name, inner in value.items()}
    return value
