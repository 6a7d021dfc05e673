"""One experiment may be written in several ways: 1 or 1.0, None or left out, a default given or not.

Each has a key of its own, unless a store was made with `typed_keys=True`: then sets are brought to the types of
their columns, and to the defaults of these, before they are hashed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from entropic.errors import ParameterError
from entropic.params.fields import Field
from entropic.params.keys import RESERVED, Hasher, plain
from entropic.params.same import same
from entropic.support.show import spelled

_NATURAL = {int: sa.Integer, str: sa.String, bool: sa.Boolean}  # where such values have no other spelling
_MOST_LEFT_OUT = 8  # columns that are tried, one by one, as left out or given


class Spelling:
    """The ways to write the sets of one model."""

    def __init__(self, model: str, fields: Mapping[str, Field], unknown: Callable[[str], str]) -> None:
        self._model, self._fields, self._unknown = model, fields, unknown
        self.warned = False
        """Whether a single call has said already that a set is stored in another way."""
        self._defaults: dict[str, Any] = {}
        self._empty: set[str] = set()
        for name, field in fields.items():
            default = field.column.default
            if isinstance(default, sa.ColumnDefault) and default.is_scalar:
                self._defaults[name] = default.arg
            elif default is None and field.column.server_default is None and field.column.nullable:
                self._empty.add(name)
        self.is_strict = not self._defaults and not self._empty
        """Whether only numbers can be written in several ways, since no parameter may be left out."""
        self._unnatural = {
            name: {kind for kind, natural in _NATURAL.items() if not isinstance(field.type, natural)}
            for name, field in fields.items()
        }

    def typed(self, params: Mapping[str, object]) -> dict[str, object]:
        """Return a set as its row will say it: of the types of the columns, with the defaults that it leaves out.

        Raises
        ------
        ParameterError
            If a value does not fit, or is True or False for a number.
        """
        made = {name: value if name in RESERVED else self._value(name, value) for name, value in params.items()}
        for name, default in self._defaults.items():
            if name not in made:
                made[name] = self._value(name, default)
        return {**made, **dict.fromkeys(self._empty - made.keys())}

    def hashed(self, params: Mapping[str, object]) -> dict[str, object]:
        """Return what is hashed of a set: what is missing is left out, so a column can be added and keys stay."""
        return {n: v for n, v in self.typed(params).items() if v is not None or n not in self._empty}

    def _value(self, name: str, value: object) -> object:
        field = self._fields.get(name)
        if field is None:
            raise ParameterError(self._unknown(name))
        value = plain(value)
        if isinstance(value, bool) and isinstance(field.type, sa.Integer | sa.Numeric | sa.Float):
            raise ParameterError(
                f"{name}={value} does not fit {self._model}.{name}: the column holds numbers, and with typed_keys=True "
                f"{value} is not a number; pass {int(value)}, or declare the column as Mapped[bool]"
            )
        typed = field.take(value, self._model)
        if isinstance(typed, float):
            return typed + 0.0  # -0.0 is 0.0, as most databases have it
        return typed.normalize() if isinstance(typed, Decimal) else typed

    def may_differ(self, params: Mapping[str, object]) -> bool:
        """Tell whether a set could be written in another way."""
        if not self.is_strict:
            return True
        unnatural = self._unnatural
        for name, value in params.items():
            if isinstance(value, float):
                if value.is_integer():
                    return True
            elif name in unnatural and type(value) in unnatural[name]:
                return True
        return False

    def others(self, params: Mapping[str, object]) -> Iterator[dict[str, object]]:
        """Yield other ways to write a set, as far as somebody may have done so."""
        own = {name: value for name, value in params.items() if name not in RESERVED}
        try:
            full = self.typed({n: int(v) if isinstance(v, bool) and self._is_number(n) else v for n, v in own.items()})
        except ParameterError:
            return
        given = {name: full[name] for name in own}
        for values in (given, *self._left_out(full, given)):
            yield values
            whole = {
                n: int(v) for n, v in values.items() if isinstance(v, float) and v.is_integer() and self._is_number(n)
            }
            if whole:
                yield {**values, **whole}

    def _left_out(self, full: Mapping[str, object], given: Mapping[str, object]) -> Iterator[dict[str, object]]:
        """Yield a set with one column more, or less, of those that say no more than if they were left out."""
        if self.is_strict:
            return
        silent = [name for name, value in full.items() if self._is_default(name, value)]
        yield dict(full)
        yield {name: value for name, value in full.items() if name not in silent}
        for one in silent[:_MOST_LEFT_OUT]:
            yield {name: full[name] for name in full if (name in given) != (name == one)}

    def _is_number(self, name: str) -> bool:
        """Tell whether a column holds numbers, for which 1, 1.0 and True are one; in JSON they are not."""
        return name in self._fields and isinstance(self._fields[name].type, sa.Integer | sa.Numeric | sa.Float)

    def _is_default(self, name: str, value: object) -> bool:
        if name in self._defaults:
            return same(self._defaults[name], value)
        return value is None and name in self._empty


class TypedHasher(Hasher):
    """Gives one key to all ways of writing a set."""

    typed = True

    def __init__(self, rounding: str, spelling: Spelling) -> None:
        super().__init__(rounding)
        self._spelling = spelling

    def __call__(self, params: Mapping[str, object]) -> str:
        """Return the key of one set."""
        if not isinstance(params, Mapping) or "id" in params:
            return super().__call__(params)
        return super().__call__(self._spelling.hashed(params))

    def many(self, sets: Sequence[Mapping[str, object]]) -> list[str]:
        """Return the keys of many sets."""
        return [self(params) for params in sets]

    def text(self, params: Mapping[str, object]) -> str:
        """Return the canonical text of one set, whose hash is its key."""
        return super().text(self._spelling.hashed(params))


def both(one: Mapping[str, object], other: Mapping[str, object]) -> str:
    """Say in what two ways of writing a set differ."""
    names = [name for name in {**one, **other} if name not in RESERVED]
    unlike = [n for n in names if n not in one or n not in other or repr(one[n]) != repr(other[n])]
    sides = [
        ", ".join(f"{n}={spelled(values[n])}" if n in values else f"{n} left out" for n in unlike)
        for values in (one, other)
    ]
    return f"{sides[0]} is asked for, {sides[1]} is stored"
