"""The state that SQLAlchemy keeps beside each instance, without what is the same for all, or empty until somebody asks.

It is SQLAlchemy's own `InstanceState` in every respect but its size: an instance that is only read never needs the set
and the dict that follow changes. Where SQLAlchemy makes something else than is known here, instances are all its own.
"""

import weakref
from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.util import memoized_property

_KNOWN = {"class_", "manager", "obj", "committed_state", "expired_attributes"}


def maker(model: type[Any], manager: Any) -> Callable[[], Any]:
    """Return what makes an instance of a model, with its state, and without calling `__init__`."""
    if not _is_known(model, manager):
        made: Callable[[], Any] = manager.new_instance
        return made
    of: Any = type("InstanceState", (_Lean,), {"class_": model, "manager": manager, "__slots__": ()})
    new: Any = model.__new__
    new_state: Any = of.__new__

    def make() -> Any:
        instance, state = new(model), new_state(of)
        state.obj = weakref.ref(instance, state._cleanup)
        instance._sa_instance_state = state
        return instance

    return make


def _is_known(model: type[Any], manager: Any) -> bool:
    """Tell whether SQLAlchemy gives an instance exactly the state that a lean one stands for."""
    instance = manager.new_instance()
    state: Any = instance_state(instance)
    names = {name for name in (*getattr(type(state), "__slots__", ()), *vars(state)) if not name.startswith("__")}
    if type(state) is not InstanceState or names != _KNOWN:
        return False
    as_made = (state.class_, state.manager, state.committed_state, state.expired_attributes)
    is_there = vars(instance) == {"_sa_instance_state": state} and state.obj() is instance
    return is_there and as_made == (model, manager, {}, set())


class _Lean(InstanceState[Any]):
    __slots__ = ()

    @memoized_property
    def committed_state(self) -> dict[str, Any]:
        """What changed attributes were before."""
        return {}

    @memoized_property
    def expired_attributes(self) -> set[str]:
        """What is to be loaded again."""
        return set()

    def __reduce_ex__(self, protocol: object) -> Any:
        return _usual, (), self.__getstate__()


def _usual() -> InstanceState[Any]:
    """Return what a pickled state becomes: SQLAlchemy's own, which needs no class of ours."""
    return InstanceState.__new__(InstanceState)
