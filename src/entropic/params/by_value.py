"""Models as values, for processes that cannot import them: those of scripts, notebooks and functions.

SQLAlchemy's classes do not come apart and together again by themselves, so a model goes as its table and what else its
class holds. One that comes twice is one class, and one that comes home is the class that was sent.
"""

import io
import pickle
import types
import uuid
import weakref
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import cloudpickle
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, MappedColumn, QueryableAttribute, declared_attr

from entropic.errors import ModelError
from entropic.params import refusal
from entropic.support.importing import is_importable

# The models that have travelled, and their names on the way.
_names: "weakref.WeakKeyDictionary[type, str]" = weakref.WeakKeyDictionary()
_models: "weakref.WeakValueDictionary[str, type[Any]]" = weakref.WeakValueDictionary()
# Those that were made here of what has come, and what that was the last time.
_made_here: "weakref.WeakKeyDictionary[type, bytes]" = weakref.WeakKeyDictionary()
# What SQLAlchemy makes for a class, or what the copy gets from its table.
_MADE = {"__table__", "__table_args__", "__mapper__", "__mapper_args__", "__annotations__", "__init__"}
_MADE |= {"__dict__", "__weakref__", "__module__", "__doc__"}
_MADE |= {*refusal.NAMES}
_SENT = "_entropic_sent"
_OF_THE_TABLE = QueryableAttribute, MappedColumn, declared_attr
_BASE = "entropic.params.model", "Base"  # which imports what is here
_by_us: ContextVar[bool] = ContextVar("by_us", default=False)


class ModelPickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """cloudpickle's, which also takes models apart."""

    def dump(self, obj: object) -> None:
        """Pickle something, and let what asks `is_by_us` know by whom."""
        token = _by_us.set(True)
        try:
            super().dump(obj)
        finally:
            _by_us.reset(token)

    def reducer_override(self, obj: Any) -> object:
        """Return what pickle takes of an object; `NotImplemented` leaves it to pickle."""
        if _is_model(obj) and not _is_found_by_name(obj):
            return _taken_apart(obj)
        if is_wrapped_default(obj):
            return _with_context, (obj.__closure__[0].cell_contents,)
        return super().reducer_override(obj)


def is_by_us() -> bool:
    """Tell whether it is our own pickler that asks, in this thread, what something is made of."""
    return _by_us.get()


def dumped(model: type[Any]) -> bytes:
    """Return a model as bytes, from which `pickle` makes it again where nobody can import it."""
    file = io.BytesIO()
    ModelPickler(file).dump(model)
    return file.getvalue()


def loaded(name: str, data: bytes) -> type[Any]:
    """Return the model of some bytes; its methods are as they were when these were made, also where it is known."""
    model = _models.get(name)
    if model is None or _made_here.get(model, data) != data:
        model = pickle.loads(data)
        _made_here[model] = data
    return model


def name_of(model: type[Any]) -> str:
    """Return the name of a model on its way, which no other has in any process."""
    name = _names.setdefault(model, uuid.uuid4().hex)
    _models.setdefault(name, model)
    return name


def known(name: str) -> type[Any] | None:
    """Return the model that bears such a name in this process, if it was sent from here, or has come before."""
    return _models.get(name)


def remember(name: str, model: type[Any]) -> None:
    """Let a model of this process be the one that bears a name from now on."""
    _models[name] = model
    _names.setdefault(model, name)


def is_wrapped_default(obj: object) -> bool:
    """Tell whether something is a column's default, which SQLAlchemy has wrapped so that it takes a context."""
    if not isinstance(obj, types.FunctionType) or obj.__closure__ is None:
        return False
    return bool(obj.__globals__.get("__name__") == "sqlalchemy.sql.schema")


def _is_model(obj: object) -> bool:
    if not isinstance(obj, type) or not issubclass(obj, DeclarativeBase):
        return False
    return obj is not (base := _base_of(obj)) and base is not None


def _base_of(model: type) -> Any:
    return next((one for one in model.__mro__ if (one.__module__, one.__qualname__) == _BASE), None)


def _is_found_by_name(model: type) -> bool:
    """Tell whether a worker finds the class by its name, as cloudpickle sees it."""
    packages = model.__module__.split(".")
    by_value = cloudpickle.list_registry_pickle_by_value()
    if any(".".join(packages[: i + 1]) in by_value for i in range(len(packages))):
        return False
    return is_importable(model)


def _taken_apart(model: type[Any]) -> tuple[object, ...]:
    """Return what pickle takes: the class without its methods first, since these may refer to it."""
    mapper: Any = sa.inspect(model, raiseerr=False)
    about: dict[str, Any] = {"__module__": model.__module__, "__doc__": model.__doc__}
    about["__qualname__"] = model.__qualname__
    if mapper is None:  # it is abstract: its columns are in the tables of the models that it is a base of
        table, attributes, about["__abstract__"] = None, {}, True
    else:
        table = _table_to_send(mapper)
        columns = {attr.key: attr.columns[0] for attr in mapper.column_attrs}
        computed = [key for key, column in columns.items() if not model.__table__.c.contains_column(column)]
        if computed:  # rows would come home without it
            raise ModelError(f"{computed[0]!r} of {model.__name__} is not a column of its table")
        attributes = {key: column.name for key, column in columns.items()}
    own = {
        key: value
        for key, value in vars(model).items()
        if key not in _MADE and not key.startswith("_sa_") and not isinstance(value, _OF_THE_TABLE)
    }
    made_of = name_of(model), model.__name__, model.__bases__, about, table, attributes
    return _together, made_of, own, None, None, _complete


def _table_to_send(mapper: Any) -> sa.Table:
    """Return the copy of a model's table that is sent, the same each time.

    Each copy has other numbers, and equal bytes are not read twice where they arrive. The mapper keeps it, since a
    default may refer to the model, which no weak dictionary would then let go.
    """
    table: sa.Table | None = getattr(mapper, _SENT, None)
    if table is None or table.c.keys() != mapper.local_table.c.keys():  # a column may be added later
        table = mapper.local_table.to_metadata(sa.MetaData())
        setattr(mapper, _SENT, table)
    return table


def _together(
    name: str,
    title: str,
    bases: tuple[type, ...],
    about: Mapping[str, object],
    table: sa.Table | None,
    attributes: Mapping[str, str],
) -> type[Any]:
    """Return a model that has travelled: the one that is here already, if it has come before."""
    model = _models.get(name)
    if model is None:
        base = next(one for one in map(_base_of, bases) if one is not None)
        made = dict(about)
        if table is not None:
            # How `custom_data` is tracked hangs on the very object that is its type, and on what SQLAlchemy notes of
            # the column once it follows its changes.
            column = vars(base)["custom_data"].column
            table.c.custom_data.type, table.c.custom_data.info = column.type, dict(column.info)
            # Each column by its attribute, since a mixin may declare it, too.
            made |= {"__table__": table, **{key: table.c[column] for key, column in attributes.items()}}
        metaclass: Any = type(base)
        model = _models.setdefault(name, metaclass(title, bases, made))  # another thread may have been faster
        _names[model], _made_here[model] = name, b""
    return model


def _complete(model: type[Any], own: Mapping[str, object]) -> None:
    """Give a model that has come its methods, again if it has come before: what they refer to may have changed since.

    One that is at home has its own.
    """
    for key, value in own.items():
        if key not in vars(model) or model in _made_here:
            setattr(model, key, value)


def _with_context(default: Any) -> object:
    return lambda context: default()
