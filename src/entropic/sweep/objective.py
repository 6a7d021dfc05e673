"""`Store.objective`: a store as the function that an optimiser asks; and `Store.trials`, what it knows already."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from entropic.ask.select import iterate
from entropic.errors import ParameterError
from entropic.executors.reporting import Listener, listening
from entropic.formats.libraries import library
from entropic.params.fields import unknown_key
from entropic.params.model import Base, Schema
from entropic.params.space import Axis, Space
from entropic.protocol.context import StoreContext
from entropic.support.show import spelled


class _Store(Protocol):
    def run_or_retrieve(self, params: Any, /) -> Any:
        """As `Store` has it."""

    def sweep(self, params: Any, /, *, workers: int | None) -> Any:
        """As `Store` has it."""


class Objective:
    """An outcome as a function of the columns that vary; what was asked before is not run again.

    Called with a trial of Optuna, it suggests what varies. Called with numbers, in the order of `names`, it is a
    function for scipy or `adaptive`: one number, a vector, or a matrix, of which each row is a point, and which is
    swept as a whole. Of choices, a number is the position. An outcome that is NULL is NaN.

    Attributes
    ----------
    names
        What varies.
    bounds
        Its ranges, as scipy takes them.
    problem
        The same, as SALib takes it.
    """

    def __init__(self, store: _Store, outcome: str, space: Space, workers: int | None) -> None:
        self._store, self._outcome, self._space, self._workers = store, outcome, space, workers
        self.names = [axis.name for axis in space.axes]
        self.bounds = [(axis.low, axis.high) for axis in space.axes]
        self.problem = {
            "num_vars": len(self.names),
            "names": list(self.names),
            "bounds": [list(ends) for ends in self.bounds],
        }
        self.__name__ = outcome

    def __call__(self, point: Any, /) -> Any:
        """Return the outcome at a point, or at each point of a matrix; run what was never run."""
        if hasattr(point, "suggest_float"):
            with listening(_pruning(point, self._outcome)):
                return self._at({axis.name: _suggested(axis, point) for axis in self._space.axes})
        if isinstance(point, Mapping):
            return self._at(dict(point))
        if hasattr(point, "tolist"):
            point = point.tolist()
        if not isinstance(point, Sequence):
            return self._at(self._varying([point]))
        if not point or not isinstance(point[0], Sequence):
            return self._at(self._varying(point))
        points = [self._varying(one) for one in point]
        self._store.sweep([{**self._space.fixed, **one} for one in points], workers=self._workers)
        return library("numpy", "numpy", "a matrix of points").array([self._at(one) for one in points])

    def _varying(self, numbers: Sequence[Any]) -> dict[str, Any]:
        axes = self._space.axes
        if len(numbers) != len(axes) or not all(isinstance(one, int | float) and one == one for one in numbers):
            raise ParameterError(
                f"a point of this objective is {len(axes)} numbers, of {', '.join(self.names)}, not {spelled(numbers)}"
            )
        return {axis.name: axis.value(number) for axis, number in zip(axes, numbers, strict=True)}

    def _at(self, varying: Mapping[str, Any]) -> float:
        value = getattr(self._store.run_or_retrieve({**self._space.fixed, **varying}), self._outcome)
        return math.nan if value is None else float(value)

    def __repr__(self) -> str:
        return f"<objective {self._outcome} of {', '.join(self.names)}>"


def space_of(schema: Schema, outcome: str, columns: Mapping[str, Any]) -> Space:
    """Return the space of an objective.

    Raises
    ------
    ParameterError
        If there is no such outcome, or no such space.
    """
    if outcome not in schema.outcomes:
        why = (
            "it is a parameter, not an outcome()"
            if outcome in schema.fields
            else unknown_key(outcome, schema.name, list(schema.outcomes))
        )
        raise ParameterError(f"{outcome!r} is not an outcome of {schema.name}: {why}")
    space = Space.of(schema, columns)
    if not space.axes:
        raise ParameterError("an objective needs a column that varies: a range (low, high), or a list of choices")
    return space


def trials(context: StoreContext[Base], outcome: str, space: Space) -> list[Any]:
    """Return what is stored of a space as trials of Optuna, in the order in which the runs ended."""
    optuna = library("optuna", "optuna", "trials")
    distributions = {axis.name: _distribution(axis, optuna.distributions) for axis in space.axes}
    return [
        optuna.trial.create_trial(
            params={axis.name: _told(axis, params[axis.name]) for axis in space.axes},
            distributions=distributions,
            value=value,
            user_attrs={"entropic_id": id},
        )
        for id, params, value in _stored(context, outcome, space)
    ]


def _stored(context: StoreContext[Base], outcome: str, space: Space) -> Iterable[tuple[str, dict[str, Any], float]]:
    """Yield key, params and outcome of those rows that the objective would find, and that have a finite outcome."""
    for row in iterate(context, (), {}, ["created_at", "id"]):
        value = getattr(row, outcome)
        try:
            params = {**space.fixed, **{axis.name: axis.taken(getattr(row, axis.name)) for axis in space.axes}}
            if value is not None and math.isfinite(value) and context.hasher(params) == row.id:
                yield row.id, params, float(value)
        except LookupError:  # outside of the space
            continue


def _pruning(trial: Any, outcome: str) -> Listener:
    """Return what tells a trial each value of its outcome that the run reports, and ends the run if it is pruned."""

    def hear(step: float | None, values: Mapping[str, Any]) -> None:
        value = values.get(outcome)
        try:
            trial.report(float(value), int(step))  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError, NotImplementedError):  # none, or a study of several outcomes
            return
        if trial.should_prune():
            raise library("optuna", "optuna", "trials").TrialPruned(f"pruned at step {step}: {outcome}={value}")

    return hear


def _suggested(axis: Axis, trial: Any) -> Any:
    if axis.choices is not None:
        return axis.of_label(trial.suggest_categorical(axis.name, axis.labels))
    suggest = trial.suggest_int if axis.whole else trial.suggest_float
    return axis.value(suggest(axis.name, axis.low, axis.high, log=axis.log))


def _distribution(axis: Axis, distributions: Any) -> Any:
    if axis.choices is not None:
        return distributions.CategoricalDistribution(axis.labels)
    kind = distributions.IntDistribution if axis.whole else distributions.FloatDistribution
    return kind(axis.low, axis.high, log=axis.log)


def _told(axis: Axis, value: Any) -> Any:
    """Return a value as Optuna knows it."""
    return value if axis.choices is None else axis.labels[axis.choices.index(value)]
