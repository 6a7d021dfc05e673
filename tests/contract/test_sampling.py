"""`sample`, `Store.objective` and `Store.trials`, with the packages that ask for sets."""

from __future__ import annotations

import inspect
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.models import Colour
from entropic import Base, Mapped, ParameterError, Store, expand_grid, outcome, report, sample

OpenStore = Callable[..., Store[Any]]
METHODS = ["sobol", "halton", "lhs", "random"]
methods = pytest.mark.parametrize("method", METHODS)


class Bowl(Base):
    __tablename__ = "bowls"

    x: Mapped[float]
    y: Mapped[float]
    k: Mapped[int]
    colour: Mapped[Colour]
    loss: Mapped[float] = outcome()


class Line(Base):
    __tablename__ = "straight_lines"

    x: Mapped[float]
    n: Mapped[int | None]
    loss: Mapped[float] = outcome()


def bowl(params: dict[str, Any]) -> dict[str, Any]:
    return {"loss": (params["x"] - 1) ** 2 + (params["y"] - 0.01) ** 2 + params["k"]}


SPACE: dict[str, Any] = {"x": (0.5, 2.0), "y": (1e-3, 1, "log"), "k": (1, 3), "colour": [Colour.RED, Colour.BLUE]}


class Counted:
    """A runner that counts its calls."""

    def __init__(self, run: Callable[[dict[str, Any]], Any]) -> None:
        self.run, self.calls = run, 0

    def __call__(self, params: dict[str, Any]) -> Any:
        self.calls += 1
        return self.run(params)


# ---- samples ------------------------------------------------------------------------------------------------------
@methods
def test_samples_lie_in_the_space_and_are_of_its_types(method: Any) -> None:
    sets = sample(Bowl, SPACE, n=64, method=method, seed=3)
    assert len(sets) == 64
    for one in sets:
        assert list(one) == ["x", "y", "k", "colour"]
        assert 0.5 <= one["x"] <= 2
        assert 1e-3 <= one["y"] <= 1
        assert type(one["k"]) is int
        assert type(one["x"]) is float
    assert {one["k"] for one in sets} == {1, 2, 3}
    assert {one["colour"] for one in sets} == {Colour.RED, Colour.BLUE}
    assert 15 <= sum(one["y"] < 10**-1.5 for one in sets) <= 49  # half of them, by their logarithm


@methods
def test_the_same_seed_gives_the_same_sets_and_another_one_others(method: Any) -> None:
    turned = dict(reversed(SPACE.items()))
    assert sample(Bowl, SPACE, n=8, method=method) == sample(Bowl, turned, n=8, method=method, seed=0)
    assert sample(Bowl, SPACE, n=8, method=method) != sample(Bowl, SPACE, n=8, method=method, seed=1)


@pytest.mark.parametrize("method", ["sobol", "halton", "random"])
def test_more_points_begin_with_those_that_were_there(method: Any) -> None:
    assert sample(Bowl, SPACE, n=50, method=method)[:10] == sample(Bowl, SPACE, n=10, method=method)


def test_the_sobol_points_are_those_of_scipy() -> None:
    qmc = pytest.importorskip("scipy.stats.qmc")
    name = "rng" if "rng" in inspect.signature(qmc.Sobol).parameters else "seed"
    points = qmc.Sobol(1, **{name: np.random.default_rng(5)}).random(4)[:, 0] * 1.5 + 0.5
    assert [one["x"] for one in sample(Line, x=(0.5, 2.0), n=4, seed=5)] == pytest.approx(points)


def test_whole_numbers_include_both_ends_evenly() -> None:
    ks = [one["k"] for one in sample(Bowl, {**SPACE, "k": (1, 4)}, n=256)]
    assert {k: ks.count(k) for k in (1, 2, 3, 4)} == dict.fromkeys((1, 2, 3, 4), 64)


def test_a_whole_logarithmic_range_and_a_python_range_are_taken() -> None:
    ks = [one["k"] for one in sample(Bowl, {**SPACE, "k": (1, 1000, "log")}, n=64)]
    assert min(ks) >= 1
    assert sorted(ks)[32] < 60
    assert {one["k"] for one in sample(Bowl, {**SPACE, "k": range(2, 8, 2)}, n=64)} == {2, 4, 6}


def test_fixed_values_alone_give_one_set_and_an_empty_sample_none() -> None:
    assert sample(Line, x=1.0, n=2) == [{"x": 1.0}, {"x": 1.0}]
    assert sample(Line, x=(0, 1), n=0) == []
    assert sample(Line, {"x": 1.0, "n": (5, 6)}, n=2)[0]["n"] in (5, 6)  # a column that is called like an option


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"z": (0, 1)}, "no column 'z'"),
        ({"loss": (0, 1)}, "outcome"),
        ({"x": (1, 0)}, "is empty"),
        ({"x": (0, 1, "log")}, "logarithm"),
        ({"x": (0, math.inf)}, "not a range"),
        ({"x": (0, 1, 2)}, "not a range"),
        ({"x": ("a", "b")}, "choices are a list"),
        ({"k": (0.5, 2)}, "whole numbers"),
        ({"k": [1, "two"]}, "does not fit"),
        ({"x": []}, "empty list"),
        ({"x": "one"}, "does not fit"),
    ],
)
def test_what_is_no_space_is_refused(columns: dict[str, Any], why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        sample(Bowl, {**SPACE, **columns}, n=2)


def test_what_every_set_needs_is_asked_for_and_options_are_checked() -> None:
    with pytest.raises(ParameterError, match="requires 'colour' as well"):
        sample(Bowl, x=(0, 1), y=1, k=1, n=2)
    for options in ({"n": -1}, {"n": 2.0}, {"n": 2, "method": "grid"}, {"n": 2, "seed": -1}):
        with pytest.raises(ParameterError):
            sample(Bowl, SPACE, **options)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="given twice"):
        sample(Bowl, SPACE, x=(0, 1), n=2)


@pytest.mark.slow
def test_a_sample_is_swept_and_extended(open_store: OpenStore) -> None:
    runner = Counted(bowl)
    store = open_store(runner, Bowl)
    assert len(store.sweep(sample(Bowl, SPACE, n=4))) == 4
    assert len(store.sweep(sample(Bowl, SPACE, n=8))) == 8
    assert runner.calls == 8


# ---- Optuna -------------------------------------------------------------------------------------------------------
@pytest.fixture
def optuna() -> Any:
    """Optuna, without its log."""
    found = pytest.importorskip("optuna")
    found.logging.set_verbosity(found.logging.ERROR)
    return found


def test_optuna_optimises_and_duplicates_are_hits(open_store: OpenStore, optuna: Any) -> None:
    runner = Counted(bowl)
    store = open_store(runner, Bowl)
    objective = store.objective("loss", **SPACE)
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    asked.optimize(objective, n_trials=5)
    assert runner.calls == 5
    assert asked.best_value == min(row.loss for row in store.select())
    for trial in asked.trials:
        asked.enqueue_trial(trial.params)
    asked.optimize(objective, n_trials=5)
    assert len(asked.trials) == 10
    assert runner.calls == 5


@pytest.mark.slow
def test_a_study_starts_from_what_is_stored(open_store: OpenStore, optuna: Any) -> None:
    store = open_store(Counted(bowl), Bowl)
    store.sweep(sample(Bowl, SPACE, n=6))
    store.sweep(expand_grid({"x": [99.0], "y": [0.5], "k": [1], "colour": [Colour.RED]}))  # outside
    trials = store.trials("loss", **SPACE)
    assert len(trials) == 6
    asked = optuna.create_study()
    asked.add_trials(trials)
    best = store.select(order_by="loss", limit=1)[0]
    assert asked.best_value == best.loss
    assert asked.best_params == {"x": best.x, "y": best.y, "k": best.k, "colour": best.colour.name}
    asked.enqueue_trial(asked.best_params)
    asked.optimize(store.objective("loss", **SPACE), n_trials=1)
    assert asked.trials[-1].value == best.loss
    assert len(store.select()) == 7


def test_trials_leave_out_what_has_no_number_and_what_the_objective_would_not_find(
    open_store: OpenStore, optuna: Any
) -> None:
    store = open_store(lambda params: {"loss": {1: math.nan, 2: math.inf}.get(params.get("n"), 0.5)}, Line)
    store.sweep([{"x": 0.1, "n": 1}, {"x": 0.1, "n": 2}, {"x": 0.1, "n": 3}, {"x": 0.1}, {"x": 1, "n": 3}])
    assert [trial.params for trial in store.trials("loss", x=(0.0, 1.0), n=3)] == [{"x": 0.1}]
    assert [trial.params for trial in store.trials("loss", x=(0.0, 1.0))] == [{"x": 0.1}]
    assert len(store.trials("loss", x=(0.0, 1.0), n=[1, 2, 3])) == 1


def test_a_run_that_reports_its_outcome_is_pruned_by_the_study(open_store: OpenStore, optuna: Any) -> None:
    steps: list[int] = []

    def train(params: dict[str, Any]) -> dict[str, Any]:
        for step in range(4):
            steps.append(step)
            report(step=step, loss=params["x"])
            report(step=step, lr="small")  # another value, and no number
            report(loss=params["x"])  # no step
        return {"loss": params["x"]}

    store = open_store(train, Line)
    objective = store.objective("loss", x=(0.0, 1.0))
    asked = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.5, n_warmup_steps=2))
    for x in (0.25, 0.75):
        asked.enqueue_trial({"x": x})
    asked.optimize(objective, n_trials=2)
    states = optuna.trial.TrialState
    assert [trial.state for trial in asked.trials] == [states.COMPLETE, states.PRUNED]
    assert asked.trials[1].intermediate_values == {0: 0.75, 1: 0.75, 2: 0.75}
    assert steps == [0, 1, 2, 3, 0, 1, 2]
    assert [row.x for row in store.select()] == [0.25]
    assert [failure.error_type for failure in store.failures()] == ["TrialPruned"]
    assert store.check().ok


def test_several_outcomes_are_not_pruned(open_store: OpenStore, optuna: Any) -> None:
    def train(params: dict[str, Any]) -> dict[str, Any]:
        report(step=1, loss=params["x"])
        return {"loss": params["x"]}

    objective = open_store(train, Line).objective("loss", x=(0.0, 1.0))
    asked = optuna.create_study(directions=["minimize", "minimize"])
    asked.optimize(lambda trial: (objective(trial), 1.0), n_trials=2)
    assert [trial.state for trial in asked.trials] == [optuna.trial.TrialState.COMPLETE] * 2


def test_a_run_that_diverged_is_a_failed_trial(open_store: OpenStore, optuna: Any) -> None:
    store = open_store(lambda params: {"loss": math.nan}, Line)
    asked = optuna.create_study()
    asked.optimize(store.objective("loss", x=(0.0, 1.0)), n_trials=2)
    assert [trial.state.name for trial in asked.trials] == ["FAIL", "FAIL"]


# ---- scipy, SALib, adaptive ---------------------------------------------------------------------------------------
def line(params: dict[str, Any]) -> dict[str, Any]:
    return {"loss": (params["x"] - 0.3) ** 2}


def flat(params: dict[str, Any]) -> dict[str, Any]:
    return {"loss": (params["x"] - 1) ** 2 + 10 * (params["y"] - 0.5) ** 2}


FLAT: dict[str, Any] = {"x": (0.0, 2.0), "y": (0.0, 1.0), "k": 1, "colour": Colour.RED}


def test_scipy_minimises(open_store: OpenStore, tmp_path: Path) -> None:
    scipy = pytest.importorskip("scipy.optimize")
    runner = Counted(flat)
    objective = open_store(runner, Bowl).objective("loss", **FLAT)
    found = scipy.minimize(objective, [0.2, 0.2], method="Nelder-Mead", bounds=objective.bounds, tol=1e-2)
    assert found.x == pytest.approx([1.0, 0.5], abs=0.1)
    calls = runner.calls
    scipy.minimize(objective, [0.2, 0.2], method="Nelder-Mead", bounds=objective.bounds, tol=1e-2)
    assert runner.calls == calls
    number = open_store(line, Line, results_dir=tmp_path / "lines").objective("loss", x=(0.0, 1.0))
    assert scipy.minimize_scalar(number, bounds=number.bounds[0], options={"xatol": 1e-2}).x == pytest.approx(0.3)


@pytest.mark.slow
def test_salib_analyses_a_matrix_that_is_swept_as_a_whole(open_store: OpenStore) -> None:
    sampling, analysis = pytest.importorskip("SALib.sample.sobol"), pytest.importorskip("SALib.analyze.sobol")
    runner = Counted(flat)
    objective = open_store(runner, Bowl).objective("loss", **FLAT)
    points = sampling.sample(objective.problem, 8, calc_second_order=False)
    values = objective(points)
    assert values.shape == (len(points),)
    assert values == pytest.approx([flat({"x": x, "y": y})["loss"] for x, y in points])
    calls = runner.calls
    assert (objective(points) == values).all()
    assert runner.calls == calls
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few points
        found = analysis.analyze(objective.problem, values, calc_second_order=False)
    assert set(found) >= {"S1", "ST"}


@pytest.mark.slow
def test_a_matrix_is_swept_in_workers(open_store: OpenStore) -> None:
    objective = open_store(flat, Bowl).objective("loss", **FLAT, workers=1)
    assert objective([[0.0, 0.5], [1.0, 0.5], [0.0, 0.5]]).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_adaptive_learns_a_function(open_store: OpenStore) -> None:
    adaptive = pytest.importorskip("adaptive")
    runner = Counted(line)
    objective = open_store(runner, Line).objective("loss", x=(0.0, 1.0))
    learner = adaptive.Learner1D(objective, bounds=objective.bounds[0])
    adaptive.runner.simple(learner, goal=lambda learner: learner.npoints >= 6)
    assert runner.calls == learner.npoints
    assert learner.data[0.0] == pytest.approx(0.09)
    again = adaptive.Learner1D(objective, bounds=objective.bounds[0])
    adaptive.runner.simple(again, goal=lambda learner: learner.npoints >= 6)
    assert runner.calls == learner.npoints


# ---- what an objective is -----------------------------------------------------------------------------------------
def test_an_objective_takes_numbers_vectors_and_dicts(open_store: OpenStore) -> None:
    objective = open_store(bowl, Bowl).objective("loss", **{**SPACE, "y": 0.01})
    assert objective.names == ["x", "k", "colour"]
    assert objective([1.0, 2.2, 0]) == 2.0
    assert objective(np.array([1.0, 2.0, 1.0])) == 2.0
    assert objective({"x": 1.0, "k": 3, "colour": Colour.RED}) == 3.0
    assert objective.problem["num_vars"] == 3
    with pytest.raises(ParameterError, match="3 numbers, of x, k, colour"):
        objective([1.0])
    with pytest.raises(ParameterError, match="3 numbers"):
        objective([math.nan, 1, 1])


def test_an_objective_travels(open_store: OpenStore) -> None:
    objective = open_store(line, Line).objective("loss", x=(0.0, 1.0))
    assert pickle.loads(pickle.dumps(objective))(0.3) == 0.0


def test_an_outcome_that_is_missing_is_not_a_number(open_store: OpenStore) -> None:
    objective = open_store(lambda params: {"loss": None}, Line).objective("loss", x=(0.0, 1.0))
    assert math.isnan(objective(0.5))


@pytest.mark.parametrize(
    ("name", "columns", "why"),
    [
        ("x", {"x": (0, 1)}, "it is a parameter"),
        ("lost", {"x": (0, 1)}, "did you mean 'loss'"),
        ("loss", {"x": 1.0}, "needs a column that varies"),
        ("loss", {"n": (0, 1)}, "requires 'x' as well"),
    ],
)
def test_what_is_no_objective_is_refused(open_store: OpenStore, name: str, columns: Any, why: str) -> None:
    store = open_store(line, Line)
    for ask in (store.objective, store.trials):
        with pytest.raises(ParameterError, match=why):
            ask(name, **columns)
