"""The public API as its users' type checkers see it: checked by mypy, never run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

from entropic import (
    Archive,
    Audit,
    Audited,
    Base,
    Conflict,
    Estimate,
    Finding,
    Mapped,
    Merge,
    Note,
    Plan,
    Repair,
    Report,
    Runs,
    Store,
    command,
    expand_grid,
    key,
    mapped_column,
    outcome,
    sample,
    study,
)


class Sim(Base):
    __tablename__ = "sims"
    n: Mapped[int]
    dt: Mapped[float] = mapped_column(default=0.1)


def runner(params: dict[str, Any]) -> None:
    Path(params["result_file"]).touch()


store = Store(runner, Sim, results_dir=Path("results"), file_suffix=".npy", db_url="sqlite:///db.sqlite3", lease=5.0)
assert_type(store, Store[Sim])
row = store.run({"n": 1}, note="first")
assert_type(row, Sim)
assert_type(row.n, int)
assert_type(row.custom_data, dict[str, Any])
assert_type(store.run_or_retrieve({"n": 1}), Sim)
assert_type(store.retrieve({"n": 1}), Sim | None)


@dataclass(frozen=True)
class Setup:
    n: int


assert_type(store.run_or_retrieve(Setup(1)), Sim)
assert_type(store.sweep([Setup(1), {"n": 2}]), Runs[Sim])
assert_type(key(Setup(1)), str)
assert_type(store.register({"n": 2}, "elsewhere.npy"), Sim)
assert_type(store.sweep(expand_grid({"n": [1, 2], "dt": [0.1]})), Runs[Sim])
assert_type(store.sweep({"n": n} for n in range(3)), Runs[Sim])
runs = store.select(Sim.dt < 0.1, Sim.n.in_([1, 2]), order_by="-dt", limit=3, n=1)
assert_type(runs, Runs[Sim])
assert_type(runs[0], Sim)
assert_type(runs[:2], Runs[Sim])
assert_type(next(store.iterate(order_by=Sim.n.desc())), Sim)
as_list: list[Sim] = runs
assert_type(store.delete({"n": 1}, remove_file=True), bool)
assert_type(store.check(), Report)
assert_type(store.check(deep=True, workers=2).altered, list[Finding])
assert_type(store.audit(Sim.dt < 0.1, fraction=0.1, seed=1, n=1), Audit)
assert_type(store.audits(), list[Audited])
assert_type(store.sweep([{"n": 2}], rerun=True), Runs[Sim])
assert_type(store.sweep([{"n": 2}], order="spread", deadline="2h"), Runs[Sim])
assert_type(store.plan([{"n": 2}]).cost().seconds, Estimate | None)
assert_type(store.plan([{"n": 2}], replicates=3), Plan)
assert_type(store.repair(dry_run=True), Repair)
merged = store.merge(Store(None, Sim), files="copy", dry_run=True)
assert_type(merged, Merge)
assert_type(merged.conflicts[0], Conflict)
assert_type(store.archive(Path("out"), Sim.dt < 0.1, n=1), Archive)
assert_type(store.note(row, "fine", tags=["paper"]), int)
assert_type(store.notes(row), dict[str, Note])
store.merge(store, files="move")  # type: ignore[arg-type]
assert_type(key({"n": 1}), str)
assert_type(store.results_dir, Path)
store.run(1)  # type: ignore[arg-type]
Store(runner, int)  # type: ignore[type-var]


# ---- outcomes ----------------------------------------------------------------------------------------------------
class Training(Base):
    __tablename__ = "typed_trainings"
    rate: Mapped[float]
    accuracy: Mapped[float] = outcome()
    peak: Mapped[float] = outcome(lambda result: max(result["losses"]), index=True)


def train(params: dict[str, Any]) -> dict[str, object]:
    return {"accuracy": 0.9, "losses": [1.0, 0.5]}


trainings = Store(train, Training, file_suffix=".json")
assert_type(trainings.select(Training.accuracy > 0.9, order_by="-accuracy", limit=5), Runs[Training])
assert_type(trainings.run_or_retrieve({"rate": 0.1}).peak, float)
assert_type(trainings.measure("peak").filled, int)
assert_type(trainings.sweep(sample(Training, rate=(1e-3, 1, "log"), n=8)), Runs[Training])
Store(command("./solve {result_file}", columns={"accuracy": r"A=(\S+)"}), Training)


@study(results="results/pendulum", suffix=".npz", ignore=["verbose"], checkpoints=True)
def pendulum(length: float, steps: int = 1000, *, verbose: bool = False) -> dict[str, list[float]]:
    return {"angle": [length] * steps}


@study
def double(n: int) -> int:
    return 2 * n


assert_type(pendulum(1.0, steps=3), dict[str, list[float]])  # as the function itself
assert_type(double(n=1), int)
assert_type(pendulum.params(1.0), dict[str, Any])
pendulum.sweep(length=[0.5, 1.0], workers=-1).to_xarray()
pendulum("long")  # type: ignore[arg-type]
pendulum(lenght=1.0)  # type: ignore[call-arg]
double(1, 2)  # type: ignore[call-arg]
