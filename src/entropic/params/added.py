"""Parameters that a model has gained: rows of before belong to a default, which keys leave out, so theirs stay."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import MappedColumn, mapped_column

from entropic.errors import ModelError, ParameterError
from entropic.params.fields import Field
from entropic.params.keys import Hasher, normalise
from entropic.params.spelling import Spelling, TypedHasher
from entropic.support.show import spelled

_PLAIN = (str, int, float, bool)


def added(default: object, *, type_: object = None, index: bool = False, comment: str | None = None) -> Any:
    """Declare a parameter that the model has gained since its first runs.

    ::

        class SimResult(Base):
            n: Mapped[int]
            dt: Mapped[float]
            solver: Mapped[str] = added("rk4")

    Rows of before belong to the default, and are hits as they were: a set that leaves the parameter out, or gives the
    default, keeps the key that it had without it; any other value is another key. The table gets the column when a
    store is next opened to write. A runner always finds the parameter among its params.

    Parameters
    ----------
    default
        What the rows of before were made with. It is recorded with the table, and cannot be changed.
    type_
        The column's SQLAlchemy type, if it is not that of the annotation.
    index
        Whether the database gets an index of it, for conditions on many rows.
    comment
        Kept with the column, in databases that do so.

    Returns
    -------
    MappedColumn
        For the body of a model.

    Raises
    ------
    ModelError
        If the default is no value, but makes one.
    """
    if isinstance(default, sa.ClauseElement) or (callable(default) and not isinstance(default, Enum)):
        raise ModelError(f"added(...) takes the value that the rows of before were made with, not {spelled(default)}")
    arguments = () if type_ is None else (type_,)
    return added_column(default, *arguments, index=index, comment=comment)


def added_column(default: object, *arguments: Any, **options: Any) -> MappedColumn[Any]:
    """Return the column of a parameter that was added, given what `mapped_column` takes."""
    if default is not None:
        options["insert_default"] = default
    return mapped_column(*arguments, info={"entropic": "added", "default": default}, **options)


def is_added(column: Any) -> bool:
    """Tell whether a column was declared by `added`."""
    return bool(column.info.get("entropic") == "added")


def held_default(column: sa.Column[Any]) -> object:
    """Return the default of a column that was added, as its own type holds it: of an enumeration a member's name."""
    default = Field(column.name, column).take(column.info["default"], str(column.table.name))
    return default.name if isinstance(default, Enum) and isinstance(column.type, sa.Enum) else default


class Added:
    """Those columns of one model that were added, with their defaults.

    Raises
    ------
    ModelError
        If a default does not fit its column.
    """

    def __init__(self, model: str, fields: Mapping[str, Field]) -> None:
        self._model, self._fields = model, {name: one for name, one in fields.items() if is_added(one.column)}
        self.defaults: dict[str, Any] = {}
        for name, field in self._fields.items():
            default = field.column.info["default"]
            try:
                if default is None and not field.column.nullable:
                    raise ParameterError(f"{name!r} is None, but its column is not nullable")
                self.defaults[name] = field.take(default, model)
            except ParameterError as error:
                raise ModelError(f"{model}.{name} = added({spelled(default)}) cannot be: {error}") from None

    def __bool__(self) -> bool:
        return bool(self.defaults)

    def fill(self, params: Any) -> Any:
        """Return a set with the defaults that it leaves out; itself, if it is whole, or no set."""
        if not isinstance(params, Mapping):
            return params
        lacking = {n: copy.deepcopy(default) for n, default in self.defaults.items() if n not in params}
        return {**params, **lacking} if lacking else params

    def without(self, params: Mapping[str, object], round_: Callable[[float], float]) -> Mapping[str, object]:
        """Return a set as its key is made: without what says no more than the default."""
        given = [name for name in self.defaults if name in params and self._is_default(name, params[name], round_)]
        return {name: value for name, value in params.items() if name not in given} if given else params

    def _is_default(self, name: str, value: Any, round_: Callable[[float], float]) -> bool:
        default = self.defaults[name]
        if type(value) is type(default) and type(value) in _PLAIN and value == default:
            return True
        try:
            taken = self._fields[name].take(value, self._model)
            return _text(taken, round_) == _text(default, round_)
        except ParameterError:  # it does not fit, which is said elsewhere
            return False


def _text(value: object, round_: Callable[[float], float]) -> str:
    return json.dumps(normalise(value, round_, ()), sort_keys=True)


class HasherOfAdded(Hasher):
    """Gives sets that say no more than the defaults of added columns the keys that they had without these."""

    def __init__(self, rounding: str, added: Added) -> None:
        super().__init__(rounding)
        self._added = added

    def __call__(self, params: Mapping[str, object]) -> str:
        """Return the key of one set."""
        return super().__call__(self._brief(params))

    def many(self, sets: Sequence[Mapping[str, object]]) -> list[str]:
        """Return the keys of many sets."""
        return super().many([self._brief(params) for params in sets])

    def text(self, params: Mapping[str, object]) -> str:
        """Return the canonical text of one set, whose hash is its key."""
        return super().text(self._brief(params))

    def _brief(self, params: Mapping[str, object]) -> Mapping[str, object]:
        if not isinstance(params, Mapping) or "id" in params:
            return params
        return self._added.without(params, self._round)


class TypedHasherOfAdded(TypedHasher):
    """The same where all ways of writing a set have one key."""

    def __init__(self, rounding: str, added: Added, spelling: Spelling) -> None:
        super().__init__(rounding, spelling)
        self._added = added

    def __call__(self, params: Mapping[str, object]) -> str:
        """Return the key of one set."""
        if not isinstance(params, Mapping) or "id" in params:
            return super().__call__(params)
        return Hasher.__call__(self, self._brief(params))

    def text(self, params: Mapping[str, object]) -> str:
        """Return the canonical text of one set, whose hash is its key."""
        return Hasher.text(self, self._brief(params))

    def _brief(self, params: Mapping[str, object]) -> Mapping[str, object]:
        return self._added.without(self._spelling.hashed(params), self._round)


def hasher(rounding: str, added: Added, spelling: Spelling | None) -> Hasher:
    """Return what makes the keys of a model with added columns; `spelling` is given where keys are typed."""
    return HasherOfAdded(rounding, added) if spelling is None else TypedHasherOfAdded(rounding, added, spelling)
