"""The model that the signature of a function says: a column for each of its parameters."""

import enum
import functools
import inspect
import typing
from collections.abc import Collection, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import FunctionType, NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, MappedColumn, mapped_column

from entropic.errors import ModelError
from entropic.params.changed import added_column
from entropic.params.changed import retyped as retyped_column
from entropic.params.keys import RESERVED
from entropic.params.model import Base
from entropic.params.outcomes import outcome

# As SQLAlchemy has it in a class body, but for float: since SQLAlchemy 2.1 that is a Double there, and the tables of
# studies have a Float (`test_the_columns_of_a_study_have_the_types_that_they_always_had`).
_TYPES: dict[type[object], type[sa.types.TypeEngine[Any]]] = {
    bool: sa.Boolean, int: sa.Integer, float: sa.Float, str: sa.String, bytes: sa.LargeBinary, datetime: sa.DateTime,
    date: sa.Date, time: sa.Time, timedelta: sa.Interval, Decimal: sa.Numeric, UUID: sa.Uuid,
}  # fmt: skip
_JSON = (dict, list, tuple, Mapping)
_NOTHING: Mapping[str, object] = {}


class Parameter(NamedTuple):
    """What a parameter of a function says of its column."""

    type: type[sa.types.TypeEngine[Any]] | sa.Enum
    nullable: bool
    choices: tuple[object, ...]  # of a Literal


def check_function(function: object) -> FunctionType:
    """Return a function, if it is one whose results can be stored.

    Raises
    ------
    ModelError
        Saying what it is, and what to do.
    """
    if (
        isinstance(function, staticmethod | classmethod | property)
        or inspect.ismethod(function)
        or _takes_self(function)
    ):
        why = (
            "is a method, and what it depends on of its object would not be part of the key; make it a function of "
            "plain values"
        )
    elif not inspect.isfunction(function):
        why = f"is a {type(function).__name__}; @study decorates a function that was defined by def"
    elif function.__name__ == "<lambda>":
        why = "is a lambda, which has no name to store results under; define it by def"
    elif inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        why = "is a coroutine or a generator, which returns before it has run; return the result"
    else:
        return function
    raise ModelError(f"{getattr(function, '__qualname__', repr(function))} {why}")


def _takes_self(function: object) -> bool:
    """Tell whether a function was defined in a class, and is given the object there: nobody annotates that."""
    owner: str = function.__qualname__.rpartition(".")[0] if inspect.isfunction(function) else ""
    if not owner or owner.endswith("<locals>"):
        return False
    return next(iter(inspect.signature(cast(FunctionType, function)).parameters), None) in ("self", "cls")


def read_parameters(
    function: FunctionType, signature: inspect.Signature, ignore: Collection[str], options: Collection[str]
) -> dict[str, Parameter]:
    """Return what each parameter says of its column.

    Parameters
    ----------
    function
        Whose annotations are resolved.
    signature
        Its parameters.
    ignore
        Those that get no column.
    options
        Names that no parameter may have, unless it is ignored: a sweep of the function takes them.

    Raises
    ------
    ModelError
        If one has no type that a column can hold, or a name that it cannot have.
    """
    try:
        hints = typing.get_type_hints(function)
    except Exception as error:
        raise ModelError(f"the annotations of {function.__qualname__} cannot be resolved: {error}") from error
    if unknown := [name for name in ignore if name not in signature.parameters]:
        raise ModelError(f"{function.__qualname__} has no parameter {unknown[0]!r} to ignore")
    found: dict[str, Parameter] = {}
    for name, parameter in signature.parameters.items():
        where = f"the parameter {name!r} of {function.__qualname__}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ModelError(f"{where} takes any number of arguments; name each, so that each has a column")
        if name in ignore:
            if parameter.default is parameter.empty:
                raise ModelError(f"{where} is ignored, so it needs a default, which other processes use")
            continue
        if name in RESERVED or hasattr(Base, name) or name.startswith("_"):
            raise ModelError(f"{where} has a name that belongs to the rows of a store; take another")
        if name in options:
            raise ModelError(f"{where} has the name of an option of sweep; take another name, or ignore it")
        found[name] = _kind(where, hints.get(name, _of_default(parameter.default)))
    return found


def read_added(
    function: FunctionType, signature: inspect.Signature, added: Collection[str], parameters: Mapping[str, Parameter]
) -> dict[str, object]:
    """Return the defaults of the parameters that a function has gained, by name.

    Raises
    ------
    ModelError
        If one is no parameter with a column, or has no default.
    """
    for name in added:
        if name not in parameters or signature.parameters[name].default is inspect.Parameter.empty:
            what = "no such parameter" if name not in parameters else "no default, to which stored results would belong"
            raise ModelError(f"added={name!r} of {function.__qualname__}: it has {what}")
    return {name: signature.parameters[name].default for name in added}


def check_retyped(function: FunctionType, retyped: Collection[str], parameters: Mapping[str, Parameter]) -> None:
    """See that what was retyped are parameters that are floats now.

    Raises
    ------
    ModelError
        Naming the one that is none.
    """
    for name in retyped:
        if name not in parameters or parameters[name].type is not sa.Float:
            what = "there is no such parameter" if name not in parameters else f"it is not a float; write {name}: float"
            raise ModelError(f"retyped={name!r} of {function.__qualname__}: {what}")


def _of_default(default: object) -> object:
    return None if default is inspect.Parameter.empty or default is None else type(default)


def _kind(where: str, hint: object) -> Parameter:
    if hint is None or hint is Any:
        raise ModelError(f"{where} has no type; annotate it, as in {where.split(chr(39))[1]}: float")
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _kind(where, inner[0])
    if origin in (Union, UnionType):
        others = [one for one in inner if one is not NoneType]
        kinds = {_kind(where, one) for one in others}
        if len(kinds) > 1 and {one.type for one in kinds} <= {sa.Integer, sa.Float}:
            kinds = {Parameter(sa.Float, False, ())}
        if len(kinds) != 1:
            raise ModelError(f"{where} may be of several types ({hint}); a column has one")
        (only,), nullable = kinds, NoneType in inner
        choices = (*only.choices, None) if only.choices and nullable else only.choices
        return Parameter(only.type, only.nullable or nullable, choices)
    if origin is Literal:
        types = {type(one) for one in inner if one is not None}
        if len(types) != 1 or (kind := _TYPES.get(next(iter(types)))) is None:
            raise ModelError(f"{where} is a Literal of several types ({hint}); a column has one")
        return Parameter(kind, None in inner, inner)
    hint = origin or hint
    if isinstance(hint, type):
        if issubclass(hint, enum.Enum):
            return Parameter(_enum(hint), False, ())
        if issubclass(hint, _JSON):
            return Parameter(sa.JSON, False, ())
        for one in hint.__mro__:
            if one in _TYPES:
                return Parameter(_TYPES[one], False, ())
    known = ", ".join(one.__name__ for one in _TYPES)
    raise ModelError(
        f"{where} has the type {hint}, which no column holds; use {known}, an Enum, a Literal, list or dict"
    )


@functools.cache
def _enum(kind: type[enum.Enum]) -> sa.Enum:
    return sa.Enum(kind)


def make_model(
    function: FunctionType,
    name: str | None,
    parameters: Mapping[str, Parameter],
    outcomes: Mapping[str, object],
    added: Mapping[str, object] = _NOTHING,
    retyped: Collection[str] = (),
) -> type[Base]:
    """Return the model of a function: a column for each parameter, and those of the outcomes.

    Parameters
    ----------
    function
        Which names it.
    name
        Of its table; None for that of the function.
    parameters
        As `read_parameters` returns them.
    outcomes
        The types of columns for what it returns, or what `outcome` returned.
    added
        The defaults of parameters that it has gained.
    retyped
        Those that were whole numbers.

    Raises
    ------
    ModelError
        If an outcome is called like a parameter, or has no type that a column can hold.
    """
    columns: dict[str, MappedColumn[Any]] = {}
    for key, one in parameters.items():
        kind: Any = sa.JSON(none_as_null=True) if one.type is sa.JSON else one.type
        if key in retyped:
            came = {"added": added[key]} if key in added else {}
            columns[key] = retyped_column(int, kind, nullable=one.nullable, **came)
        elif key in added:
            columns[key] = added_column(added[key], kind, nullable=one.nullable)
        else:
            columns[key] = mapped_column(kind, nullable=one.nullable)
    annotations: dict[str, object] = {}
    for key, given in outcomes.items():
        if key in parameters or key in RESERVED:
            raise ModelError(f"{function.__qualname__} has the parameter {key!r}, so that cannot be an outcome as well")
        if isinstance(given, MappedColumn):
            columns[key] = given
            annotations[key] = Mapped[float]  # of which it may say otherwise, by `type_`
        else:
            columns[key] = outcome(type_=_kind(f"the outcome {key!r}", given).type)
    title = "".join(part.capitalize() for part in function.__name__.split("_")) or "Study"
    body: dict[str, object] = {"__tablename__": name or function.__name__}
    # Where pickle finds it, once the study has the name of its function.
    body["__module__"], body["__qualname__"] = function.__module__, f"{function.__qualname__}.model"
    # A registry of its own: a script that is imported twice, or a notebook's cell, defines its study again.
    return type(
        title,
        (Base,),
        {**body, "metadata": sa.MetaData(), "__doc__": function.__doc__, "__annotations__": annotations, **columns},
    )
