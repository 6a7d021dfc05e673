"""How a runner travels: what can be imported where it goes by name, the rest (scripts, notebooks, closures) by value.

A script's runner may ask a store of the same script, and so refer to its model. SQLAlchemy's classes do not come apart
and together again by themselves, so a model goes as its table and what else its class holds.
"""

import functools
import io
import pickle
import sys
import types
import uuid
import weakref
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import cloudpickle
import sqlalchemy as sa
from sqlalchemy.orm import QueryableAttribute

from entropic.errors import ParameterError
from entropic.files.attempt import Runner
from entropic.params.model import Base
from entropic.support.passwords import withheld

# The models that have travelled, and their names on the way: one that comes twice is one class.
_names: "weakref.WeakKeyDictionary[type, str]" = weakref.WeakKeyDictionary()
_models: "weakref.WeakValueDictionary[str, type[Base]]" = weakref.WeakValueDictionary()
# What SQLAlchemy makes for a class, or what the copy gets from its table.
_MADE = {"__table__", "__table_args__", "__mapper__", "__mapper_args__", "__annotations__", "__init__"}
_MADE |= {"__dict__", "__weakref__", "__module__", "__doc__"}


def pickled(runner: Runner, places: set[str] | None = None) -> bytes:
    """Return the runner as it travels.

    It may refer to a store: passwords do not travel, and `places` gets the databases that lack theirs.

    Raises
    ------
    ParameterError
        If it cannot travel.
    """
    file = io.BytesIO()
    try:
        with withheld(set() if places is None else places):
            _Pickler(file).dump(runner)
    except Exception as error:
        raise ParameterError(
            f"the runner {runner!r:.80} cannot be sent to workers: {error}; open files, locks and connections inside "
            "the runner, or sweep without workers"
        ) from error
    return file.getvalue()


@functools.lru_cache(maxsize=4)
def unpickled(data: bytes) -> Runner:
    """Return a runner that has travelled; unpickled once per process."""
    runner: Runner = pickle.loads(data)
    return runner


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """cloudpickle's, which also takes models apart."""

    def reducer_override(self, obj: Any) -> object:
        if isinstance(obj, type) and issubclass(obj, Base) and obj is not Base and not _is_importable(obj):
            return _taken_apart(obj)
        if _is_wrapped_default(obj):
            return _with_context, (obj.__closure__[0].cell_contents,)
        return super().reducer_override(obj)


def _is_wrapped_default(obj: Any) -> bool:
    """Tell whether something is a column's default, which SQLAlchemy has wrapped so that it takes a context."""
    if not isinstance(obj, types.FunctionType) or obj.__closure__ is None:
        return False
    return bool(obj.__globals__.get("__name__") == "sqlalchemy.sql.schema")


def _is_importable(model: type) -> bool:
    """Tell whether a worker finds the class by its name, as cloudpickle sees it."""
    module = sys.modules.get(model.__module__)
    packages = model.__module__.split(".")
    by_value = cloudpickle.list_registry_pickle_by_value()
    if model.__module__ == "__main__" or any(".".join(packages[: i + 1]) in by_value for i in range(len(packages))):
        return False
    try:
        return attrgetter(model.__qualname__)(module) is model
    except AttributeError:  # made inside of a function
        return False


def _taken_apart(model: type[Base]) -> tuple[object, ...]:
    """Return what pickle takes: the class without its methods first, since these may refer to it."""
    mapper: Any = sa.inspect(model)
    name = _names.setdefault(model, uuid.uuid4().hex)
    _models.setdefault(name, model)
    table = model.__table__.to_metadata(sa.MetaData())  # type: ignore[attr-defined]
    attributes = {attr.key: attr.columns[0].name for attr in mapper.column_attrs}
    own = {
        key: value
        for key, value in vars(model).items()
        if key not in _MADE and not key.startswith("_sa_") and not isinstance(value, QueryableAttribute)
    }
    about = {"__module__": model.__module__, "__doc__": model.__doc__, "__qualname__": model.__qualname__}
    return _together, (name, model.__name__, model.__bases__, about, table, attributes), own, None, None, _complete


def _together(
    name: str,
    title: str,
    bases: tuple[type, ...],
    about: Mapping[str, object],
    table: sa.Table,
    attributes: Mapping[str, str],
) -> type[Base]:
    """Return a model that has travelled: the one that is here already, if it has come before."""
    model = _models.get(name)
    if model is None:
        # How `custom_data` is tracked hangs on the very object that is its type.
        table.c.custom_data.type = vars(Base)["custom_data"].column.type
        properties = {key: table.c[column] for key, column in attributes.items() if key != column}
        made = {**about, "__table__": table, "__mapper_args__": {"properties": properties}}
        metaclass: Any = type(Base)
        model = _models[name] = metaclass(title, bases, made)
        _names[model] = name
    return model


def _complete(model: type[Base], own: Mapping[str, object]) -> None:
    for key, value in own.items():
        if key not in vars(model):  # it has come before, or is at home
            setattr(model, key, value)


def _with_context(default: Any) -> object:
    return lambda context: default()
