"""A space of parameter sets: for each column a range, a list of choices, or one value."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from entropic.errors import ParameterError
from entropic.params.keys import plain
from entropic.params.model import Schema
from entropic.params.same import same
from entropic.support.show import spelled

DIGITS = 12  # significant ones of a number that was sampled: the rest would differ from machine to machine


@dataclass(frozen=True, slots=True)
class Axis:
    """A column that varies: in a range, its ends included, or among some choices.

    Attributes
    ----------
    log
        Whether the logarithm is what is evenly spread.
    whole
        Whether its values are whole numbers.
    choices
        Its values, if they are no range; then `low` and `high` are the first and the last of their positions.
    """

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] | None = None

    def at(self, part: float) -> Any:
        """Return the value that a part of the whole, from 0 to less than 1, stands for."""
        if self.choices is not None:
            return self.choices[int(part * len(self.choices))]
        low, high = (self.low, self.high + 1) if self.whole else (self.low, self.high)
        if self.log:
            value = math.exp(math.log(low) + part * (math.log(high) - math.log(low)))
        else:
            value = low + part * (high - low)
        return self.value(math.floor(value) if self.whole else float(f"{value:.{DIGITS}g}"))

    def value(self, number: Any) -> Any:
        """Return the value of a coordinate: within the range, or, of choices, by position."""
        if self.choices is not None:
            return self.choices[min(max(round(number), 0), len(self.choices) - 1)]
        number = min(max(number, self.low), self.high)
        return round(number) if self.whole else float(number)

    @property
    def labels(self) -> list[Any]:
        """The choices as plain values, each of which tells one."""
        return [_label(choice) for choice in self.choices or ()]

    def of_label(self, label: Any) -> Any:
        """Return the choice that a label tells."""
        return next(choice for choice in self.choices or () if same(_label(choice), label))

    def taken(self, value: Any) -> Any:
        """Return a stored value as this axis gives it.

        Raises
        ------
        LookupError
            If it has no such value.
        """
        if self.choices is not None:
            for choice in self.choices:
                if same(choice, value):
                    return choice
        elif isinstance(value, int | float) and self.low <= value <= self.high:
            return round(value) if self.whole else float(value)
        raise LookupError(value)


def _label(choice: Any) -> Any:
    if isinstance(choice, enum.Enum):
        return choice.name
    choice = plain(choice)
    return choice if choice is None or isinstance(choice, bool | int | float | str) else spelled(choice)


@dataclass(frozen=True, slots=True)
class Space:
    """What varies, in the order given, and what does not."""

    axes: tuple[Axis, ...]
    fixed: dict[str, Any]

    @classmethod
    def of(cls, schema: Schema, columns: Mapping[str, Any]) -> "Space":
        """Return the space that these columns make.

        Raises
        ------
        ParameterError
            If a column does not take its values, or a column that every set needs is not given.
        """
        axes, fixed = [], {}
        for name, given in columns.items():
            field = schema.fields.get(name)
            if field is None:
                raise ParameterError(schema.unknown(name))
            if isinstance(given, tuple):
                axes.append(_range(name, given, isinstance(field.type, sa.Integer)))
                field.take(axes[-1].value(axes[-1].low), schema.name)
            elif isinstance(given, list | range):
                if not given:
                    raise ParameterError(f"{name} has an empty list of choices")
                axes.append(Axis(name, 0, len(given) - 1, whole=True, choices=tuple(given)))
                for choice in given:
                    field.take(choice, schema.name)
            else:
                field.take(given, schema.name)
                fixed[name] = given
        if missing := [name for name in schema.required if name not in columns]:
            raise ParameterError(
                f"{schema.name} requires {', '.join(map(repr, missing))} as well: give a range (low, high), a list of "
                "choices, or one value"
            )
        return cls(tuple(axes), fixed)


def _range(name: str, given: tuple[Any, ...], whole: bool) -> Axis:
    ends, rest = [plain(one) for one in given[:2]], given[2:]
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in ends)
    if len(ends) < 2 or not numbers or rest not in ((), ("log",)):
        raise ParameterError(
            f"{name}={spelled(given)} is not a range, which is (low, high) or (low, high, 'log'); choices are a list"
        )
    low, high = ends
    if not low < high:
        raise ParameterError(f"{name}={spelled(given)} is empty: the second number must be the larger one")
    if rest and low <= 0:
        raise ParameterError(f"{name}={spelled(given)} has no logarithm at its lower end, which must be above 0")
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise ParameterError(f"{name}={spelled(given)}: its column holds whole numbers, and so must the range")
    return Axis(name, int(low), int(high), bool(rest), True) if whole else Axis(name, low, high, bool(rest))
