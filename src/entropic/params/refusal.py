"""Says what to do where cloudpickle takes a model apart, which it cannot put together again."""

import pickle
from typing import Any, NoReturn

ADVICE = "put the model, and what uses it, into a module that the script imports"
NAMES = ("__0_by_value__", " by value")


class Refusal:
    """What cloudpickle meets when it takes a model apart, as it does if a function that is sent names the model."""

    def __init__(self, model: type[Any]) -> None:
        self._module, self._name = model.__module__, model.__qualname__

    def __reduce__(self) -> NoReturn:
        raise pickle.PicklingError(
            f"a function (or another object) that is sent to another process refers to the model {self._name} of "
            f"{'the script' if self._module == '__main__' else self._module}, and a model cannot be sent on its own; "
            "stores and rows can: use the store in the function and do not name the model, not even in annotations, "
            f"or {ADVICE}"
        )


def refuse_by_value(model: type[Any]) -> None:
    """Let a pickler that takes a model apart say what to do, before it fails at something inside of SQLAlchemy's.

    cloudpickle takes the attributes in the order of their names, capitals before `_`. The name with a space is only for
    those models that have such columns, since it shows where an editor lists what a model has.
    """
    name = next((name for name in NAMES if name < min(vars(model))), NAMES[-1])
    type.__setattr__(model, name, Refusal(model))
