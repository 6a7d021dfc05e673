"""Replicates: the same seeds everywhere and later, as many as an error needs, each run once, and told as one."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.models import SimResult, write_params
from entropic import (
    Base,
    ErrorBarWarning,
    Mapped,
    ParameterError,
    Replicates,
    Runs,
    RunsFailedWarning,
    Store,
    expand_grid,
    outcome,
    seeds,
    study,
)

FIRST_FIVE = [
    1878776328,
    336614359,
    1620722436,
    1842996703,
    608273276,
]  # of root 0, on any machine and with any version of numpy


class Noisy(Base):
    __tablename__ = "noisy"

    n: Mapped[int]
    seed: Mapped[int]
    energy: Mapped[float] = outcome()
    steps: Mapped[int] = outcome()
    label: Mapped[str] = outcome()


class Calls:
    """Draws from a normal distribution whose width is n; counts its calls."""

    def __init__(self, said: Any = None) -> None:
        self.seeds: list[int] = []
        self.said = said

    def __call__(self, params: dict[str, Any]) -> Any:
        self.seeds.append(params["seed"])
        if self.said is not None:
            return self.said(params)
        drawn = np.random.default_rng(params["seed"]).normal(10, params["n"], 3)
        return {"energy": float(drawn[0]), "steps": int(drawn[1] * 10), "label": "x", "trace": drawn.tolist()}


@pytest.fixture
def noisy(tmp_path):
    calls = Calls()
    store = Store(calls, Noisy, tmp_path / "results", ".json", f"sqlite:///{tmp_path}/db.sqlite3", on_stale="ignore")
    return store, calls


# ---- seeds -----------------------------------------------------------------------------------------------------------
def test_seeds_are_those_of_numpy_and_the_same_on_each_machine():
    children = np.random.SeedSequence(7).spawn(4)
    assert seeds(4, 7) == [int(child.generate_state(1)[0]) >> 1 for child in children]
    assert seeds(5) == FIRST_FIVE


def test_more_seeds_begin_with_the_same_and_none_comes_twice():
    many = seeds(2000)
    assert many[:5] == seeds(5)
    assert len(set(many)) == 2000
    assert all(0 <= one < 2**31 for one in many)
    assert not set(many) & set(seeds(100, 1))
    assert seeds(0) == []


@pytest.mark.parametrize("wrong", [{"n": -1}, {"n": 1.0}, {"n": True}, {"n": "5"}, {"n": 1, "root": -1}, {"n": 10**9}])
def test_what_is_no_number_of_seeds_is_refused(wrong):
    with pytest.raises(ParameterError, match="is a whole number from 0"):
        seeds(**wrong)


# ---- a number of them ----
@pytest.mark.slow
def test_each_set_runs_with_each_seed_and_more_are_asked_for_later(noisy):
    store, calls = noisy
    rows = store.sweep([{"n": 1}, {"n": 2}], replicates=2)
    assert [(row.n, row.seed) for row in rows] == [(n, seed) for n in (1, 2) for seed in seeds(2)]
    more = store.sweep([{"n": 1}, {"n": 2}, {"n": 1}], replicates=4)
    assert [(row.n, row.seed) for row in more] == [(n, seed) for n in (1, 2) for seed in seeds(4)]
    assert len(calls.seeds) == 8
    assert len(store.plan(expand_grid({"n": [1, 2], "seed": seeds(5)})).missing) == 2
    assert [row.seed for row in store.sweep([{"n": 1}], replicates=Replicates(2, root=9))] == seeds(2, 9)


def test_a_plan_counts_the_seeds_that_a_sweep_would_run(noisy):
    store, calls = noisy
    store.sweep([{"n": 1}], replicates=2)
    plan = store.plan([{"n": 1}, {"n": 2}], replicates=3)
    assert [one["seed"] for one in plan.stored] == seeds(2)
    assert [(one["n"], one["seed"]) for one in plan.missing] == [(1, seeds(3)[2]), *((2, seed) for seed in seeds(3))]
    rooted = store.plan([{"n": 1}], replicates=Replicates(2, root=9))
    assert [one["seed"] for one in rooted.missing] == seeds(2, 9)
    with pytest.raises(ParameterError, match="seed=3 is in a set"):
        store.plan([{"n": 1, "seed": 3}], replicates=2)
    assert len(calls.seeds) == 2


def test_a_plan_of_an_error_bound_counts_the_seeds_that_are_known_to_be_needed(noisy):
    store, calls = noisy
    wanted = Replicates(5, outcome="energy", error=0.2, most=60)
    assert len(store.plan([{"n": 1}], replicates=wanted).missing) == 5
    store.sweep([{"n": 1}], replicates=5)
    known = store.plan([{"n": 1}], replicates=wanted)
    assert (len(known.stored), bool(known.missing)) == (5, True)
    rows = store.sweep([{"n": 1}], replicates=wanted)
    assert len(rows) >= len(known)
    done = store.plan([{"n": 1}], replicates=wanted)
    assert (len(done.stored), len(done.missing)) == (len(rows), 0)
    assert len(calls.seeds) == len(rows)


@pytest.mark.parametrize(
    ("given", "sets", "why"),
    [
        (0, [{"n": 1}], "replicates is a whole number from 1"),
        (2.0, [{"n": 1}], "replicates is a whole number from 1"),
        (2, [{"n": 1, "seed": 3}], "seed=3 is in a set"),
        (2, [{"id": "mine", "n": 1}], "id='mine' is in a set"),
        (2, {"n": 1}, "a sweep takes several sets"),
        (Replicates(2, column="sed"), [{"n": 1}], "did you mean 'seed'"),
        (Replicates(2, outcome="energie", error=1), [{"n": 1}], "did you mean 'energy'"),
    ],
)
def test_what_cannot_be_replicated_is_refused_before_anything_runs(noisy, given, sets, why):
    store, calls = noisy
    with pytest.raises(ParameterError, match=why):
        store.sweep(sets, replicates=given)
    assert calls.seeds == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"outcome": "energy"},
        {"error": 1.0},
        {"outcome": "energy", "error": -1},
        {"outcome": "energy", "relative": math.inf},
    ],
)
def test_an_error_that_nobody_can_meet_is_refused(wrong):
    with pytest.raises(ParameterError):
        Replicates(5, **wrong)
    with pytest.raises(ParameterError, match="one run has no error"):
        Replicates(1, outcome="energy", error=1)
    with pytest.raises(ParameterError, match="most is a whole number from 5"):
        Replicates(5, outcome="energy", error=1, most=4)


def test_a_model_without_seeds_is_told_what_to_write(tmp_path):
    store = Store(write_params, SimResult, tmp_path / "r", ".json", f"sqlite:///{tmp_path}/db.sqlite3")
    with pytest.raises(ParameterError, match=r"seed: Mapped\[int\]"):
        store.sweep([{"n": 1, "dt": 0.5}], replicates=2)
    with pytest.raises(ParameterError, match="'dt' of SimResult cannot hold seeds"):
        store.sweep([{"n": 1}], replicates=Replicates(2, column="dt"))
    with pytest.raises(ParameterError, match="'replicates' is one"):
        store.sweep([{"n": 1, "dt": 0.5}], replicate=2)
    rows = store.sweep([{"dt": 0.5}], replicates=Replicates(2, column="n"))
    assert [row.n for row in rows] == seeds(2)


def test_a_study_gets_its_seed_by_name(tmp_path):
    calls = []

    @study(results=tmp_path / "r", db_url=f"sqlite:///{tmp_path}/db.sqlite3")
    def draw(n: int, seed: int, scale: float = 1.0) -> float:
        calls.append(seed)
        return n * scale

    assert [(row.n, row.seed) for row in draw.sweep(n=[1, 2], replicates=2)] == [
        (n, s) for n in (1, 2) for s in seeds(2)
    ]
    assert draw(1, seeds(1)[0]) == 1.0
    assert len(calls) == 4
    with pytest.raises(ParameterError, match="leave one out"):
        draw.sweep(n=1, seed=3, replicates=2)


# ---- until an error is small enough ----
def error_of(rows: list[Any]) -> float:
    values = [row.energy for row in rows]
    return statistics.stdev(values) / math.sqrt(len(values))


def test_each_set_has_as_many_as_its_error_needs(noisy):
    store, calls = noisy
    wanted = Replicates(5, outcome="energy", error=0.5, most=500)
    rows = store.sweep([{"n": 1}, {"n": 4}], replicates=wanted)
    by_set = {n: [row for row in rows if row.n == n] for n in (1, 4)}
    assert all(error_of(some) <= 0.5 for some in by_set.values())
    assert len(by_set[1]) < len(by_set[4]) < 200
    assert [row.seed for row in by_set[4]] == seeds(len(by_set[4]))
    assert len(calls.seeds) == len(rows)
    again = store.sweep([{"n": 1}, {"n": 4}], replicates=wanted)
    assert [row.id for row in again] == [row.id for row in rows]
    assert len(calls.seeds) == len(rows)
    loose = store.sweep([{"n": 4}], replicates=Replicates(5, outcome="energy", relative=0.5))
    assert len(loose) < len(by_set[4])


def test_an_error_that_is_not_met_is_said(noisy):
    store, _ = noisy
    with pytest.warns(ErrorBarWarning, match="1 set of 2.*has 7 runs"):
        rows = store.sweep([{"n": 0}, {"n": 4}], replicates=Replicates(2, outcome="energy", error=1e-6, most=7))
    assert len([row for row in rows if row.n == 0]) == 2, "which do not differ"


@pytest.mark.parametrize("said", [{"energy": math.nan}, {"energy": None}, {}])
def test_sets_that_will_never_have_an_error_do_not_run_on(tmp_path, said):
    calls = Calls(lambda params: {"steps": 1, "label": "", **said})
    store = Store(calls, Noisy, tmp_path / "r", ".json", f"sqlite:///{tmp_path}/db.sqlite3")
    with pytest.warns() as warned:
        store.sweep([{"n": 1}], replicates=Replicates(3, outcome="energy", error=0.1))
    assert any(issubclass(one.category, ErrorBarWarning) for one in warned)
    assert len(calls.seeds) == 3


def test_runs_that_fail_do_not_count_and_further_seeds_run(tmp_path):
    def fails_first(params: dict[str, Any]) -> Any:
        if params["seed"] == seeds(1)[0]:
            raise ValueError("no")
        return {"energy": float(params["seed"] % 3), "steps": 1, "label": ""}

    store = Store(Calls(fails_first), Noisy, tmp_path / "r", ".json", f"sqlite:///{tmp_path}/db.sqlite3")
    with pytest.warns(RunsFailedWarning):
        rows = store.sweep(
            [{"n": 1}], on_error="continue", replicates=Replicates(2, outcome="energy", error=0.5, most=100)
        )
    assert error_of(rows) <= 0.5
    assert [row.seed for row in rows] == seeds(len(rows) + 1)[1:]
    with pytest.raises(ValueError, match="no"):
        store.sweep([{"n": 2}], replicates=3)


@pytest.mark.slow
def test_several_processes_share_the_seeds_and_each_runs_once(tmp_path):
    script = tmp_path / "share.py"
    script.write_text(
        "import json, sys\n"
        "from pathlib import Path\n"
        "from databases import until\n"
        "from contract.test_replicates import Noisy, Calls\n"
        "from entropic import Replicates, Store\n"
        "calls = Calls()\n"
        "def run(params):\n"
        "    with open('calls', 'a') as file:\n"
        "        file.write(f\"{params['n']} {params['seed']}\\n\")\n"
        "    return calls(params)\n"
        "store = Store(run, Noisy, 'r', '.json', 'sqlite:///db.sqlite3', on_stale='ignore')\n"
        "Path(f'ready-{sys.argv[1]}').touch()\n"
        "until(lambda: all(Path(f'ready-{i}').exists() for i in range(3)), 'all three are ready')\n"
        "rows = store.sweep([{'n': 2}, {'n': 3}], replicates=Replicates(3, outcome='energy', error=0.5))\n"
        "print(json.dumps([[row.n, row.seed, row.energy] for row in rows]))\n"
        "assert store.check().ok\n"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    several = [
        subprocess.Popen(
            [sys.executable, str(script), str(i)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )
        for i in range(3)
    ]
    said = [one.communicate()[0] for one in several]
    assert [one.returncode for one in several] == [0, 0, 0]
    assert said[0] == said[1] == said[2]
    ran = (tmp_path / "calls").read_text().split("\n")[:-1]
    assert len(ran) == len(set(ran)) == len(json.loads(said[0]))


# ---- as one ----
@pytest.mark.slow
def test_tables_have_mean_deviation_and_number(noisy):
    store, _ = noisy
    rows = store.sweep([{"n": 1}, {"n": 2}], replicates=4)
    rows = Runs([row for row in rows if (row.n, row.seed) != (2, seeds(4)[3])])
    frame = rows.to_pandas(replicates="seed")
    assert list(frame.columns) == [
        "n",
        *(f"{name}_{what}" for name in ("energy", "steps") for what in ("mean", "std", "n")),
    ]
    assert frame["n"].tolist() == [1, 2]
    assert frame["energy_n"].tolist() == [4, 3]
    for n in (1, 2):
        values = [row.energy for row in rows if row.n == n]
        line = frame[frame.n == n].iloc[0]
        assert line.energy_mean == pytest.approx(statistics.mean(values))
        assert line.energy_std == pytest.approx(statistics.stdev(values))
    assert rows.to_polars(replicates="seed")["energy_n"].to_list() == [4, 3]
    assert rows.to_arrow(replicates="seed")["n"].to_pylist() == [1, 2]
    assert store.to_pandas(n=1, replicates="seed")["energy_n"].tolist() == [4]
    one = Runs(rows[:1]).to_pandas(replicates="seed")
    assert one["energy_n"].tolist() == [1]
    assert one["energy_std"].isna().all()
    with pytest.raises(ParameterError, match="replicates names the parameter"):
        rows.to_pandas(replicates="sead")
    custom = rows.to_pandas(custom_data=True, replicates="seed")
    assert custom["custom_data.elapsed_seconds_n"].tolist() == [4, 3]


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [False, True])
def test_arrays_have_mean_deviation_and_number(noisy, lazy):
    store, _ = noisy
    rows = store.sweep([{"n": 1}, {"n": 2}, {"n": 3}], replicates=4)
    rows = Runs([row for row in rows if (row.n, row.seed) != (2, seeds(4)[3])])
    found = rows.to_xarray(replicates="seed", variables=["energy", "steps", "label", "trace"], lazy=lazy)
    assert sorted(found.sizes.values()) == [3, 3]
    assert "seed" not in found.coords
    assert "label_mean" not in found
    assert found.n.values.tolist() == [1, 2, 3]
    assert found.energy_n.values.tolist() == found.trace_n.values.tolist() == [4, 3, 4]
    for i, n in enumerate((1, 2, 3)):
        some = [row for row in rows if row.n == n]
        traces = np.array([json.loads(Path(row.result_file).read_text())["trace"] for row in some])
        assert found.trace_mean.values[i] == pytest.approx(traces.mean(0))
        assert found.trace_std.values[i] == pytest.approx(traces.std(0, ddof=1))
        assert float(found.energy_std[i]) == pytest.approx(statistics.stdev(row.energy for row in some))
    with pytest.raises(ParameterError, match="replicates names the parameter"):
        rows.to_xarray(replicates="sead")


def test_what_is_missing_does_not_count_and_what_is_not_finite_does(tmp_path):
    told = {1: 1.0, 2: math.nan, 3: None}
    calls = Calls(
        lambda params: {"energy": told[params["n"]] if params["seed"] == seeds(1)[0] else 3.0, "steps": 1, "label": ""}
    )
    store = Store(calls, Noisy, tmp_path / "r", ".json", f"sqlite:///{tmp_path}/db.sqlite3")
    rows = store.sweep([{"n": 1}, {"n": 2}, {"n": 3}], replicates=3)
    frame = rows.to_pandas(replicates="seed")
    assert frame["energy_n"].tolist() == [3, 3, 2]
    assert frame["energy_mean"].isna().tolist() == [False, True, False]
    found = rows.to_xarray(variables=["energy"], replicates="seed")
    assert found.energy_n.values.tolist() == [3, 3, 2]
    assert np.isnan(found.energy_mean.values).tolist() == [False, True, False]
    assert found.energy_mean.values[2] == 3.0
