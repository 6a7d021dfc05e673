"""Models that have changed: parameters that were added, removed, renamed or retyped since the first runs.

Each is a declaration in the model, by which a set is hashed as it was before. So no key moves, and no row or file is
touched: old programs, copies, journals and sidecars stay as right as they were.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import MappedColumn, mapped_column

from entropic.errors import ModelError, ParameterError
from entropic.params.fields import Field
from entropic.params.keys import Hasher, normalise, plain
from entropic.params.same import same
from entropic.params.spelling import Spelling, TypedHasher
from entropic.support.show import spelled

_PLAIN = (str, int, float, bool)
_NEVER: Any = object()
ADDED, REMOVED, RENAMED, NOW, RETYPED = "added", "removed", "renamed", "now", "retyped"
"""The entries of a column's `info` that say what became of it.

Its default, its one value, its name before, its name now, and the type of Python that it was of.
"""


# ---- declarations --------------------------------------------------------------------------------------------------
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
        The value with which the existing rows were made. It is recorded with the table, and cannot be changed.
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
        If the default is not a value, but makes one.
    """
    arguments = () if type_ is None else (type_,)
    return added_column(default, *arguments, index=index, comment=comment)


def added_column(default: object, *arguments: Any, **options: Any) -> MappedColumn[Any]:
    """Return the column of a parameter that was added, given what `mapped_column` takes."""
    _check_value("added", default, "with which the existing rows were made")
    return _column({ADDED: default}, default, *arguments, **options)


def removed(at: object, *, added: object = _NEVER, retyped: object = None, type_: object = None) -> Any:
    """Declare a parameter that the model has no more: it does not matter any longer, at one value.

    ::

        solver: Mapped[str] = removed("rk4")

    Sets do not give it, runners do not get it, and the rows that were made with this value are the hits. Rows with
    other values stay, with theirs, and can be selected. The column stays in the table.

    Parameters
    ----------
    at
        The value, as params gave it.
    added
        What the parameter was `added` with, if it had come later.
    retyped
        The type that it was `retyped` from, if it was.
    type_
        The column's SQLAlchemy type, if it is not that of the annotation.

    Returns
    -------
    MappedColumn
        For the body of a model, in the place of what was there.
    """
    _check_value("removed", at, "that sets without the parameter mean")
    info = {REMOVED: at, **_of_before(added, retyped)}
    return _column(info, at, *(() if type_ is None else (type_,)))


def renamed(before: str, *arguments: Any, added: object = _NEVER, retyped: object = None, **options: Any) -> Any:
    """Declare a parameter that had another name.

    ::

        dt: Mapped[float] = renamed("step")

    Sets and runners call it by its new name. The column of the table, and keys, keep the old one, so all rows are the
    hits that they were, and programs that know only the old name go on beside.

    Parameters
    ----------
    before
        The name of the column; the first one, if it was renamed more than once.
    added
        What the parameter was `added` with, if it had come later.
    retyped
        The type that it was `retyped` from, if it was.
    *arguments, **options
        As `mapped_column` takes them.

    Returns
    -------
    MappedColumn
        For the body of a model, in the place of what was there.
    """
    if not isinstance(before, str) or not before:
        raise ModelError(f"renamed(...) takes the name that the column has in the table, not {spelled(before)}")
    info = {RENAMED: before, **_of_before(added, retyped)}
    return _column(info, info.get(ADDED), before, *arguments, **options)


def retyped(before: type, *arguments: Any, added: object = _NEVER, **options: Any) -> Any:
    """Declare a parameter that took whole numbers, and takes any number now.

    ::

        dt: Mapped[float] = retyped(int)  # was dt: Mapped[int]

    A whole number, written as 1 or as 1.0, has the key that it had as an `int`, so all rows are the hits that they
    were; any other number is another key. Runners get a `float`. The column of a server's table becomes one of
    floating point numbers when a store is next opened to write; one of SQLite holds them as it is.

    Parameters
    ----------
    before
        `int`. No other type has values that are all values of the new one, in keys that tell them apart.
    added
        What the parameter was `added` with, if it had come later.
    *arguments, **options
        As `mapped_column` takes them.

    Returns
    -------
    MappedColumn
        For the body of a model, in the place of what was there.

    Raises
    ------
    ModelError
        If it was of another type.
    """
    if before is None:
        raise ModelError("retyped(...) takes the type that the parameter was of: retyped(int)")
    info = _of_before(added, before)
    return _column(info, info.get(ADDED), *arguments, **options)


def _of_before(added: object, retyped: object) -> dict[str, object]:
    """Return what else is said of a parameter that came later, or was of another type."""
    if retyped is not None and retyped is not int:
        before = getattr(retyped, "__name__", spelled(retyped))
        raise ModelError(
            f"a parameter can be retyped from int to float, and not from {before}: its rows would have other keys; "
            "remove this one, and add another"
        )
    info = {} if added is _NEVER else {ADDED: added}
    return info if retyped is None else {**info, RETYPED: retyped}


def _check_value(function: str, value: object, what: str) -> None:
    if isinstance(value, sa.ClauseElement) or (callable(value) and not isinstance(value, Enum)):
        raise ModelError(f"{function}(...) takes the value {what}, not {spelled(value)}")


def _column(info: dict[str, object], default: object, *arguments: Any, **options: Any) -> MappedColumn[Any]:
    if default is not None:
        options["insert_default"] = default
    return mapped_column(*arguments, info=info, **options)


def is_added(column: Any) -> bool:
    """Tell whether a parameter came after the first runs."""
    return ADDED in column.info


def is_retyped(column: Any) -> bool:
    """Tell whether a parameter was of whole numbers before."""
    return RETYPED in column.info


def held_default(column: sa.Column[Any]) -> object:
    """Return the default of a column that was added, as its own type holds it: of an enumeration a member's name."""
    default = Field(column.name, column).take(column.info[ADDED], str(column.table.name))
    return default.name if isinstance(default, Enum) and isinstance(column.type, sa.Enum) else default


# ---- what they mean for sets ---------------------------------------------------------------------------------------
class Changed:
    """What has changed in one model.

    Attributes
    ----------
    defaults
        Those of parameters that were added, as their columns hold them.
    removed
        The values of parameters that were removed, as they were given.
    before
        The names that keys have, of parameters that were renamed.
    retyped
        The names of parameters that took whole numbers before.

    Raises
    ------
    ModelError
        If a default, or the value of what was removed, does not fit its column, or what was retyped is no float.
    """

    def __init__(self, model: str, fields: Mapping[str, Field]) -> None:
        self._model, self._fields = model, fields
        said = {name: field.column.info for name, field in fields.items()}
        self.defaults: dict[str, Any] = {
            name: self._fitting(name, ADDED, info[ADDED]) for name, info in said.items() if ADDED in info
        }
        self.removed: dict[str, Any] = {name: info[REMOVED] for name, info in said.items() if REMOVED in info}
        for name, value in self.removed.items():
            self._fitting(name, REMOVED, value)
        for name, info in said.items():
            if RENAMED in info:
                info[NOW] = name
        self.before: dict[str, str] = {name: info[RENAMED] for name, info in said.items() if RENAMED in info}
        self.retyped = [name for name, info in said.items() if RETYPED in info]
        for name in self.retyped:
            if type(fields[name].type) not in (sa.Float, sa.Double):
                raise ModelError(
                    f"{model}.{name} was retyped from int, and that can only be to float; write {name}: Mapped[float] "
                    "= retyped(int)"
                )
        self._filled = {**self.defaults, **self.removed}
        self.is_any = bool(self.defaults or self.removed or self.before or self.retyped)
        """Whether anything has changed."""

    def _fitting(self, name: str, what: str, value: object) -> object:
        field = self._fields[name]
        try:
            if value is None and not field.column.nullable:
                raise ParameterError(f"{name!r} is None, but its column is not nullable")
            return field.take(value, self._model)
        except ParameterError as error:
            raise ModelError(f"{self._model}.{name} = {what}({spelled(value)}) cannot be: {error}") from None

    def fill(self, params: Any) -> Any:
        """Return a set with what it leaves out of what has changed, and floats for whole numbers of what was retyped.

        Itself, if it is so, or no set.
        """
        if not isinstance(params, Mapping):
            return params
        lacking = {n: copy.deepcopy(default) for n, default in self._filled.items() if n not in params}
        made = {name: self._as_float(name, params[name]) for name in self.retyped if name in params}
        return {**params, **lacking, **made} if lacking or made else params

    def _as_float(self, name: str, value: object) -> object:
        if isinstance(value, bool):  # which has another key than 1
            return value
        try:
            return self._fields[name].take(value, self._model)
        except ParameterError:  # it does not fit, which is said elsewhere
            return value

    def for_runner(self, params: Any) -> Any:
        """Return a set as a runner gets it: without what was removed.

        Raises
        ------
        ParameterError
            If the set has another value of that.
        """
        if not self.removed:
            return params
        for name, value in self.removed.items():
            if name in params and not self._is_at(name, params[name]):
                raise ParameterError(
                    f"params have {name}={spelled(params[name])}, but {self._model} has removed {name!r}, and always "
                    f"means {spelled(value)} now; leave it out (rows with other values can be selected, but not run)"
                )
        return {name: value for name, value in params.items() if name not in self.removed}

    def can_run(self, params: Mapping[str, object]) -> bool:
        """Tell whether what was removed has, in a set, the value that it has for ever."""
        return not any(name in params and not self._is_at(name, params[name]) for name in self.removed)

    def _is_at(self, name: str, value: object) -> bool:
        return same(self._fields[name].take(value, self._model), self.removed[name])

    def with_removed(self, params: Mapping[str, object]) -> Mapping[str, object]:
        """Return a set with the values of what was removed."""
        return {**self.removed, **params} if self.removed else params

    def hashed(
        self, params: Mapping[str, object], round_: Callable[[float], float], retyped: bool = True
    ) -> Mapping[str, object]:
        """Return a set that says what was removed as its key is made: as it was before anything changed.

        Without `retyped`, numbers stay as they are written.
        """
        if self.retyped and retyped:
            params = {**params, **self._whole(params, round_)}
        left_out = [name for name in self.defaults if name in params and self._is_default(name, params[name], round_)]
        if not left_out and not self.before:
            return params
        return {self.before.get(name, name): value for name, value in params.items() if name not in left_out}

    def _whole(self, params: Mapping[str, object], round_: Callable[[float], float]) -> dict[str, int]:
        """Return as integers, which they were before, the whole numbers in a set of what was retyped."""
        found = {}
        for name in self.retyped:
            value = params.get(name)
            value = plain(value.value if isinstance(value, Enum) else value)
            if isinstance(value, float) and (number := value if value.is_integer() else round_(value)).is_integer():
                found[name] = int(number)  # of a whole number all digits count, as they always did
        return found

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


# ---- keys ----------------------------------------------------------------------------------------------------------
class HasherOfChanged(Hasher):
    """Gives sets of a model that has changed the keys that they had before."""

    def __init__(self, rounding: str, changed: Changed) -> None:
        super().__init__(rounding)
        self._changed = changed

    def __call__(self, params: Mapping[str, object]) -> str:
        """Return the key of one set."""
        return super().__call__(self._before(params))

    def many(self, sets: Sequence[Mapping[str, object]]) -> list[str]:
        """Return the keys of many sets."""
        return super().many([self._before(params) for params in sets])

    def text(self, params: Mapping[str, object]) -> str:
        """Return the canonical text of one set, whose hash is its key."""
        return super().text(self._before(params))

    def _before(self, params: Mapping[str, object]) -> Mapping[str, object]:
        if not isinstance(params, Mapping) or "id" in params:
            return params
        return self._changed.hashed(self._changed.with_removed(params), self.round)


class TypedHasherOfChanged(TypedHasher):
    """The same where all ways of writing a set have one key."""

    def __init__(self, rounding: str, changed: Changed, spelling: Spelling) -> None:
        super().__init__(rounding, spelling)
        self._changed = changed

    def __call__(self, params: Mapping[str, object]) -> str:
        """Return the key of one set."""
        if not isinstance(params, Mapping) or "id" in params:
            return super().__call__(params)
        return self._key(self._before(params))

    def text(self, params: Mapping[str, object]) -> str:
        """Return the canonical text of one set, whose hash is its key."""
        return Hasher.text(self, self._before(params))

    def _before(self, params: Mapping[str, object]) -> Mapping[str, object]:
        return self._changed.hashed(self._spelling.hashed(params), self.round)


def hasher(rounding: str, changed: Changed, spelling: Spelling | None) -> Hasher:
    """Return what makes the keys of a model that has changed; `spelling` is given where keys are typed."""
    return HasherOfChanged(rounding, changed) if spelling is None else TypedHasherOfChanged(rounding, changed, spelling)
