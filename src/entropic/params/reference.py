"""How stores and rows name their model in a pickle, so that any pickler can send those of a script, too.

cloudpickle, which submitit, joblib, Dask and others use, sends classes of a script by value, and SQLAlchemy's do not
bear that; `pickle` sends them by a name that only processes of the same script know. A `Reference` says both, and
whoever reads it gets the model: the script's own where it is, otherwise one that is made of the value.
`tests/executors/test_models_of_scripts.py`
"""

import contextlib
import copy
import copyreg
import os
import sys
import uuid
import weakref
from contextvars import ContextVar
from typing import Any, Self

from sqlalchemy.orm import DeclarativeBase, InstanceState

from entropic.errors import ModelError
from entropic.params.refusal import ADVICE
from entropic.support.importing import is_importable
from entropic.support.passwords import withheld

_of_rows: "weakref.WeakKeyDictionary[type, Reference]" = weakref.WeakKeyDictionary()
_of_stores: "weakref.WeakKeyDictionary[type, Reference]" = weakref.WeakKeyDictionary()
_STATE = "_sa_instance_state"
# Of those who send; `joblib.hash` uses an older one, and a name on the way is of one process:
# `test_rows_of_a_script_have_one_hash_of_joblib`.
_PROTOCOL = 4
_WITHOUT_FILE = f"<{uuid.uuid4().hex}>"


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

    def __reduce_ex__(self, protocol: Any) -> tuple[object, ...]:
        from entropic.params import by_value  # here, since cloudpickle takes a while to be imported

        model = self.model
        if protocol < _PROTOCOL or by_value.is_by_us():
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
            by_value.remember(name, here)
            model = here
    if isinstance(value, bytes):
        return by_value.loaded(name, value)
    if model is None:
        raise ModelError(
            f"the model {qualname} was sent to this process, which does not have it, and could not be sent by value: "
            f"{value}; {ADVICE}"
        )
    return model


def _script() -> str:
    """Return the file of the script that this process runs; of a notebook, what it and its forks alone have."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.realpath(file) if isinstance(file, str) and os.path.isfile(file) else _WITHOUT_FILE


def _in_main(qualname: str) -> object:
    """Return what the main module itself has by a name; in a sweep's worker it also finds what has arrived."""
    first, *others = qualname.split(".")
    found: object = vars(sys.modules["__main__"]).get(first)
    for name in others:
        found = getattr(found, name, None)
    return found


class Portable:
    """What makes the rows of a model go wherever a `Reference` goes.

    Rows of models that can be imported, and all copies, are made as if this class were not there; whatever a model says
    itself of how it is pickled or copied is heeded: `test_what_a_model_says_of_pickling_and_copying_is_heeded`.
    """

    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced = super().__reduce_ex__(protocol)
        if protocol < _PROTOCOL or _copied.get() is self or isinstance(reduced, str) or reduced[0] is not _new:
            return reduced
        kind, *args = reduced[1]
        stands_for = reference(kind)
        if stands_for is kind:
            return reduced
        state = reduced[2]
        if isinstance(state, dict) and isinstance(state.get(_STATE), InstanceState):
            state = {**state, _STATE: _State(state[_STATE], stands_for)}
        return _instance, (stands_for, *args), state, *reduced[3:]

    def __copy__(self) -> Any:
        theirs = getattr(super(), "__copy__", None)  # of a class that comes after `Base`
        return copy.copy(_Reduced(_reduced(self))) if theirs is None else theirs()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        theirs = getattr(super(), "__deepcopy__", None)
        if theirs is not None:
            return theirs(memo)
        reduced = _reduced(self)
        if isinstance(reduced, str):
            return self
        make, *others = reduced

        def made(*args: Any) -> Any:
            memo[id(self)] = row = make(*args)  # before its state is copied, which refers to it
            return row

        return copy.deepcopy(_Reduced((made, *others)), memo)


_new = copyreg.__newobj__  # type: ignore[attr-defined]  # as which pickle makes what says nothing of how it is made
_copied: "ContextVar[object]" = ContextVar("copied", default=None)


def _reduced(row: Portable) -> Any:
    """Return what `copy` makes a copy of: what pickle takes of a row of a model that can be imported."""
    token = _copied.set(row)
    try:
        return row.__reduce_ex__(4)
    finally:
        _copied.reset(token)


class _Reduced:
    """Has `copy` make something of what it was reduced to."""

    def __init__(self, reduced: Any) -> None:
        self._reduced = reduced

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._reduced


def _instance(model: Any, *args: Any) -> Any:
    return model.__new__(model, *args)


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
