"""How stores and rows name their model in a pickle, so that any pickler can send those of a script, too.

cloudpickle, which submitit, joblib, Dask and others use, sends classes of a script by value, and SQLAlchemy's do not
bear that; `pickle` sends them by a name that only processes of the same script know. A `Reference` says both, and
whoever reads it gets the model: the script's own where it is, otherwise one that is made of the value.
`tests/executors/test_models_of_scripts.py`
"""

import contextlib
import copy
import os
import sys
import weakref
from typing import Any, Self

from sqlalchemy.orm import DeclarativeBase, InstanceState

from entropic.errors import ModelError
from entropic.params.refusal import ADVICE
from entropic.support.importing import is_importable
from entropic.support.passwords import withheld

_of_rows: "weakref.WeakKeyDictionary[type, Reference]" = weakref.WeakKeyDictionary()
_of_stores: "weakref.WeakKeyDictionary[type, Reference]" = weakref.WeakKeyDictionary()
_STATE = "_sa_instance_state"


def reference(model: Any, *, of_store: bool = False) -> Any:
    """Return what stands for a model in a pickle: the model itself where it can be imported, else a `Reference`.

    The methods of a model may ask a store. Then its database's password goes along only where a store goes itself
    (`of_store`): `test_the_password_of_a_database_is_not_in_a_row`.
    """
    if is_importable(model):
        return model
    references = _of_stores if of_store else _of_rows
    return references.get(model) or references.setdefault(model, Reference(model, with_passwords=of_store))


def resolve(model: Any) -> Any:
    """Return the model that something stands for; a copy that was made without a pickle still has the reference."""
    return model.model if isinstance(model, Reference) else model


class Reference:
    """A model, as it goes into a pickle: by its name on the way, its script, and its value.

    There is one for all rows of a model, so that a list of them says it once.
    """

    def __init__(self, model: type[Any], *, with_passwords: bool) -> None:
        self._model, self._with_passwords = weakref.ref(model), with_passwords

    @property
    def model(self) -> type[Any]:
        """What it stands for."""
        found = self._model()
        assert found is not None  # whoever uses it has a row of the model, or a store
        return found

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        from entropic.params import by_value  # here, since cloudpickle takes a while to be imported

        model = self.model
        if by_value.is_by_us():
            return _itself, (model,)
        try:
            with contextlib.nullcontext() if self._with_passwords else withheld(set()):
                value: bytes | str = by_value.dumped(model)
        except Exception as error:  # noqa: BLE001  (of anybody's objects; where the script is, its name is enough)
            value = f"{type(error).__name__}: {error}"
        script = _script() if _in_main(model.__qualname__) is model else None
        return _found, (by_value.name_of(model), script, model.__qualname__, value)


def _itself(model: type[Any]) -> type[Any]:
    return model


def _found(name: str, script: str | None, qualname: str, value: bytes | str) -> type[Any]:
    """Return a model that has come: that of this process, if it is from here or has come before; else of its value."""
    from entropic.params import by_value

    model = by_value.known(name)
    if model is None and script is not None and script == _script():  # as in a process that was started by spawn
        here = _in_main(qualname)
        if isinstance(here, type) and issubclass(here, DeclarativeBase):
            by_value.know(name, here)
            model = here
    if isinstance(value, bytes):
        return by_value.loaded(name, value)
    if model is None:
        raise ModelError(
            f"the model {qualname} was sent to this process, which does not run its script "
            f"{script or 'or function'}, and it could not be sent by value: {value}; {ADVICE}"
        )
    return model


def _script() -> str | None:
    """Return the file of the script that this process runs, if it is one."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.realpath(file) if isinstance(file, str) else None


def _in_main(qualname: str) -> object:
    """Return what the main module itself has by a name; in a worker of ours it also finds what has arrived."""
    first, *others = qualname.split(".")
    found: object = vars(sys.modules["__main__"]).get(first)
    for name in others:
        found = getattr(found, name, None)
    return found


class Portable:
    """What makes the rows of a model go wherever a `Reference` goes."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced = super().__reduce_ex__(protocol)
        stands_for = reference(type(self))
        if stands_for is type(self) or protocol < 2:
            return reduced
        assert isinstance(reduced, tuple)
        state = reduced[2]
        if not isinstance(state, dict) or not isinstance(state.get(_STATE), InstanceState):
            return reduced
        return _instance, (stands_for,), {**state, _STATE: _State(state[_STATE], stands_for)}

    def __copy__(self) -> Self:
        return self._copied(lambda state: state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._copied(lambda state: copy.deepcopy(state, memo), memo)

    def _copied(self, of_state: Any, memo: dict[int, Any] | None = None) -> Self:
        """Return what `copy` makes of an object that says nothing of how it is pickled."""
        reduced: Any = super().__reduce_ex__(4)
        make, args, state, *_ = reduced
        made: Any = make(*args)
        if memo is not None:
            memo[id(self)] = made
        if (state := of_state(state)) is not None:
            if hasattr(made, "__setstate__"):
                made.__setstate__(state)
            else:
                vars(made).update(state)
        return made  # type: ignore[no-any-return]


def _instance(model: Any) -> Any:
    return model.__new__(model)


class _State:
    """What SQLAlchemy keeps beside a row, as it is pickled: with a reference in each place that has the model."""

    def __init__(self, state: InstanceState[Any], stands_for: Reference) -> None:
        self._state, self._stands_for = state, stands_for

    def __reduce__(self) -> tuple[object, ...]:
        parts = {name: self._put(value) for name, value in self._state.__getstate__().items()}
        manager = parts["manager"] = copy.copy(parts["manager"])
        vars(manager).update({name: self._put(value) for name, value in vars(manager).items()})
        return _usual_state, (), parts

    def _put(self, value: Any) -> Any:
        if value is self._stands_for.model:
            return self._stands_for
        if type(value) in (tuple, list):  # an identity key, a path
            return type(value)(map(self._put, value))
        return value


def _usual_state() -> InstanceState[Any]:
    return InstanceState.__new__(InstanceState)
