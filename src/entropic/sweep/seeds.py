"""Seeds of replicates: runs of one set that differ in nothing but what random numbers they draw."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from entropic.db.dialects.types import underlying
from entropic.errors import ParameterError
from entropic.formats.libraries import library
from entropic.params.fields import unknown_key
from entropic.params.model import Schema
from entropic.support.show import spelled

MOST = 1_000_000


def seeds(n: int, root: int = 0) -> list[int]:
    """Return independent seeds, all of one number; the same on each machine.

    ::

        store.sweep(expand_grid({"dt": [0.1, 0.2], "seed": seeds(5)}))

    More of them begin with the same ones, so a sweep is extended, and only the new seeds run. They are made by numpy's
    `SeedSequence`, are all different, and below 2**31, so that columns and generators of all kinds take them.

    Parameters
    ----------
    n
        How many.
    root
        A whole number from 0 on: another one makes other seeds.

    Raises
    ------
    ParameterError
        If these are not such numbers.
    LibraryMissingError
        If numpy is not installed.
    """
    _check_count("n", n, 0)
    _check_count("root", root, 0, None)
    sequence = library("numpy.random", "numpy", "seeds").SeedSequence
    found: dict[int, None] = {}
    at = 0
    while len(found) < n:
        words = sequence(root, spawn_key=(at,)).generate_state(1)  # as the child that `spawn` makes has it
        found[int(words[0]) >> 1] = None
        at += 1
    return list(found)


@dataclass(frozen=True, slots=True)
class Replicates:
    """Runs of each set of a sweep that differ only in their seed: a number of them, or as many as an outcome needs.

    ::

        store.sweep(sets, replicates=Replicates(5, outcome="energy", error=0.01, most=200))

    Parameters
    ----------
    n
        How many runs each set has; with `outcome`, how many at least.
    column
        The column of whole numbers that takes the seed.
    root
        The number of which all seeds are made; see `seeds`.
    outcome
        An outcome column: a set gets more runs until the standard error of its mean is small enough.
    error, relative
        How large that may be: so much, or such a part of the mean; the larger of the two counts.
    most
        How many runs a set has at most.
    """

    n: int
    column: str = "seed"
    root: int = 0
    outcome: str | None = None
    error: float = 0.0
    relative: float = 0.0
    most: int = 1000

    def __post_init__(self) -> None:
        _check_count("replicates", self.n, 1)
        _check_count("root", self.root, 0, None)
        for name in ("error", "relative"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
                raise ParameterError(f"{name} is a number from 0 on, not {spelled(value)}")
        if self.outcome is None and (self.error or self.relative):
            raise ParameterError("error and relative are those of an outcome: Replicates(..., outcome='energy')")
        if self.outcome is not None:
            if not self.error and not self.relative:
                raise ParameterError(
                    f"say how large the error of {self.outcome!r} may be: error=0.01, or relative=0.05"
                )
            _check_count("most", self.most, max(self.n, 2))
            if self.n < 2:
                raise ParameterError("one run has no error; let each set have 2 at least, better 5: Replicates(5, ...)")

    @classmethod
    def of(cls, given: Any) -> "Replicates":
        """Return what a user gave as `replicates`: that, or how many."""
        return given if isinstance(given, cls) else cls(given)

    def check(self, schema: Schema) -> None:
        """Refuse a model that has no such columns.

        Raises
        ------
        ParameterError
            With what it has.
        """
        field = schema.fields.get(self.column)
        if field is None:
            raise ParameterError(
                f"replicates need a column for their seeds, {self.column}: Mapped[int], and "
                f"{unknown_key(self.column, schema.name, list(schema.fields))}; another one is named by "
                "replicates=Replicates(n, column=...)"
            )
        if not isinstance(underlying(field.type), sa.Integer):
            raise ParameterError(f"{self.column!r} of {schema.name} cannot hold seeds, which are whole numbers")
        if self.outcome is not None and self.outcome not in schema.outcomes:
            why = unknown_key(self.outcome, schema.name, list(schema.outcomes))
            raise ParameterError(f"{self.outcome!r} is not an outcome: {why}")
        if self.outcome is not None:
            kind = underlying(schema.outcomes[self.outcome].type)
            if not isinstance(kind, sa.Integer | sa.Float | sa.Numeric | sa.Boolean):
                raise ParameterError(f"{self.outcome!r} of {schema.name} holds no numbers, so its mean has no error")


def _check_count(name: str, value: Any, least: int, most: int | None = MOST) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        upto = "on" if most is None else f"to {most:,}"
        raise ParameterError(f"{name} is a whole number from {least} {upto}, not {spelled(value)}")
