"""Outcome columns: filled by what a run returns, never part of a key, and no reason to lose a run."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import sqlalchemy as sa

from contract.models import PATIENCE, wait_until
from contract.outcome_models import Everything, Training, Verdict, train
from entropic import (
    Base,
    Mapped,
    ModelError,
    OutcomeWarning,
    ParameterError,
    ResultLostWarning,
    Store,
    expand_grid,
    key,
    outcome,
)
from entropic.protocol import plain_run, publish

OpenStore = Callable[..., Store[Any]]
NAN, INF = math.nan, math.inf


class Peaked(Base):
    __tablename__ = "peaked"

    n: Mapped[int]
    peak: Mapped[float] = outcome(lambda result: max(result["curve"]))


def returning(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda params: value


def test_what_a_run_returns_fills_its_outcome_columns_and_is_its_result(open_store: OpenStore) -> None:
    store = open_store(train, Training)
    row = store.run_or_retrieve({"rate": 0.25})
    assert (row.accuracy, row.epochs) == (0.75, 3)
    again = store.run_or_retrieve({"rate": 0.25})
    assert (again.id, again.accuracy, again.epochs) == (row.id, 0.75, 3)
    assert store.load(row) == {"accuracy": 0.75, "epochs": 3, "curve": [1, 2]}


def test_outcomes_are_no_part_of_the_key(open_store: OpenStore) -> None:
    assert open_store(train, Training).run_or_retrieve({"rate": 0.25}).id == key({"rate": 0.25})


def test_params_that_hold_an_outcome_are_refused_before_anything_runs(open_store: OpenStore) -> None:
    store = open_store(lambda params: pytest.fail("it ran"), Training)
    with pytest.raises(ParameterError, match="'accuracy', which is an outcome of Training"):
        store.run_or_retrieve({"rate": 0.25, "accuracy": 1.0})
    with pytest.raises(ParameterError, match="outcome"):
        store.sweep([{"rate": 0.25, "accuracy": 1.0}])


def test_a_runner_that_writes_its_own_file_fills_the_columns_all_the_same(open_store: OpenStore) -> None:
    def write(params: dict[str, Any]) -> dict[str, Any]:
        Path(params["result_file"]).write_text('"my own"')
        return {"accuracy": 0.5, "epochs": 1}

    store = open_store(write, Training)
    row = store.run_or_retrieve({"rate": 0.1})
    assert (row.accuracy, store.load(row)) == (0.5, "my own")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["serial", "workers", "stream"])
def test_a_sweep_brings_outcomes_home(open_store: OpenStore, how: str) -> None:
    store, sets = open_store(train, Training), expand_grid({"rate": [0.5, 0.25]})
    rows = list(store.stream(sets)) if how == "stream" else store.sweep(sets, workers=2 if how == "workers" else None)
    assert sorted(row.accuracy for row in rows) == [0.5, 0.75]


@pytest.mark.slow
def test_a_cluster_brings_outcomes_home(open_store: OpenStore, cluster: Any) -> None:
    import distributed

    with distributed.Client(cluster) as client:
        rows = open_store(train, Training).sweep(expand_grid({"rate": [0.5, 0.25]}), client=client)
    assert [row.accuracy for row in rows] == [0.5, 0.75]


def test_conditions_and_order_by_outcomes(open_store: OpenStore) -> None:
    store = open_store(train, Training)
    store.sweep(expand_grid({"rate": [0.1, 0.2, 0.3, 0.4]}))
    best = store.select(Training.accuracy > 0.65, order_by="-accuracy", limit=2)
    assert [row.rate for row in best] == [0.1, 0.2]
    assert [row.rate for row in store.select(epochs=3, order_by="accuracy", limit=1)] == [0.4]


def test_every_type_of_column_comes_back_as_it_was_returned(open_store: OpenStore) -> None:
    values = {
        "number": 0.1, "whole": 2**40, "flag": True, "text": "größer", "day": date(2026, 1, 2),
        "moment": datetime(2026, 1, 2, 3, 4, 5), "took": timedelta(seconds=1.5), "verdict": Verdict.BAD,
        "exact": Decimal("1.25"), "data": {"a": [1, None, {"b": 2.5}]},
    }  # fmt: skip
    store = open_store(lambda params: Path(params["result_file"]).write_text("1") and values, Everything)
    store.run_or_retrieve({"n": 1})
    row = store.run_or_retrieve({"n": 1})
    assert {name: getattr(row, name) for name in values} == values
    assert "not_recorded" not in row.custom_data


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), np.int64(1), True, 1, np.float64(0.5)])
def test_numbers_of_numpy_and_python_fill_a_column(open_store: OpenStore, value: Any) -> None:
    class Number(Base):
        __tablename__ = "a_number"

        n: Mapped[int]
        it: Mapped[float] = outcome()

    store = open_store(lambda params: Path(params["result_file"]).write_text("1") and {"it": value}, Number)
    assert store.run_or_retrieve({"n": 1}).it == float(value)


@dataclasses.dataclass
class AsDataclass:
    accuracy: float
    epochs: int


class AsTuple(NamedTuple):
    accuracy: float
    epochs: int


@pytest.mark.parametrize("made", [AsDataclass(0.5, 2), AsTuple(0.5, 2)])
def test_dataclasses_and_named_tuples_have_entries_too(open_store: OpenStore, made: Any) -> None:
    store = open_store(returning(made), Training)
    row = store.run_or_retrieve({"rate": 1.0})
    assert (row.accuracy, row.epochs, store.load(row)) == (0.5, 2, {"accuracy": 0.5, "epochs": 2})


def test_a_dataset_fills_columns_by_its_scalars_and_attributes(open_store: OpenStore) -> None:
    xarray = pytest.importorskip("xarray")
    made = xarray.Dataset({"u": ("x", [1.0, 2.0]), "accuracy": 0.5}, attrs={"epochs": 7})
    row = open_store(returning(made), Training, file_suffix=".nc").run_or_retrieve({"rate": 1.0})
    assert (row.accuracy, row.epochs) == (0.5, 7)


# ---- numbers that are not finite ---------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_run_that_diverged_reads_back_as_it_was_and_matches_no_condition(open_store: OpenStore, value: float) -> None:
    store = open_store(returning({"accuracy": value, "epochs": 1}), Training)
    for row in (store.run_or_retrieve({"rate": 1.0}), store.retrieve({"rate": 1.0}), *store.select()):
        assert row is not None
        assert repr(row.accuracy) == repr(value)
    assert list(store.select(Training.accuracy > 0.9)) == []
    assert list(store.select(Training.accuracy < 0.9)) == []
    assert "not_recorded" not in row.custom_data


def test_a_number_that_is_not_finite_does_not_fit_a_column_of_whole_numbers(open_store: OpenStore) -> None:
    with pytest.warns(OutcomeWarning, match="epochs"):
        row = open_store(returning({"accuracy": 1.0, "epochs": NAN}), Training).run_or_retrieve({"rate": 1.0})
    assert row.epochs is None
    assert "epochs" in row.custom_data["not_recorded"]


# ---- nothing is lost ---------------------------------------------------------------------------------------------
def test_a_missing_outcome_loses_no_run_and_the_row_says_why(open_store: OpenStore) -> None:
    store = open_store(returning({"accuracy": 1.0}), Training)
    with pytest.warns(OutcomeWarning, match="what the runner returned has no entry 'epochs'"):
        row = store.run_or_retrieve({"rate": 1.0})
    assert (row.accuracy, row.epochs) == (1.0, None)
    assert row.custom_data["not_recorded"] == {"epochs": "what the runner returned has no entry 'epochs'"}
    assert store.check().ok


@pytest.mark.parametrize("unfit", ["many", 2.5, 2**70, object(), [1], "\ud800"])
def test_an_unfit_outcome_loses_no_run(open_store: OpenStore, unfit: Any) -> None:
    store = open_store(lambda params: Path(params["result_file"]).write_text("1") and {"epochs": unfit}, Training)
    with pytest.warns(OutcomeWarning, match="epochs"):
        row = store.run_or_retrieve({"rate": 1.0})
    assert row.epochs is None
    assert row.custom_data["not_recorded"].keys() == {"accuracy", "epochs"}


def test_a_sweep_warns_once_of_what_is_missing(open_store: OpenStore) -> None:
    with pytest.warns(OutcomeWarning, match="epochs") as caught:
        open_store(returning({"accuracy": 1.0}), Training).sweep(expand_grid({"rate": [0.1, 0.2, 0.3]}))
    assert len(caught) == 1


def test_what_is_none_was_meant_so(open_store: OpenStore) -> None:
    row = open_store(returning({"accuracy": 1.0, "epochs": None}), Training).run_or_retrieve({"rate": 1.0})
    assert row.epochs is None
    assert "not_recorded" not in row.custom_data


# ---- computed from the result ------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_column_is_computed_from_the_loaded_result(open_store: OpenStore) -> None:
    store = open_store(returning({"curve": [1.0, 5.0, 2.0]}), Peaked)
    assert store.run_or_retrieve({"n": 1}).peak == 5.0
    assert store.sweep([{"n": 2}], workers=1)[0].peak == 5.0


def test_a_function_that_fails_loses_no_run(open_store: OpenStore) -> None:
    store = open_store(returning({"curve": []}), Peaked)
    with pytest.warns(OutcomeWarning, match="peak"):
        row = store.run_or_retrieve({"n": 1})
    assert row.peak is None
    assert row.custom_data["not_recorded"]["peak"].startswith("ValueError: ")


# ---- the table ---------------------------------------------------------------------------------------------------
def test_a_table_gains_its_outcome_columns_and_old_runs_are_still_hits(open_store: OpenStore) -> None:
    class Gained(Base):
        __tablename__ = "trainings_gained"

        rate: Mapped[float]

    old = open_store(train, Gained).run_or_retrieve({"rate": 0.5})

    class Gained(Base):  # type: ignore[no-redef]
        __tablename__ = "trainings_gained"

        rate: Mapped[float]
        accuracy: Mapped[float] = outcome(index=True)
        verdict: Mapped[Verdict] = outcome()

    store = open_store(train, Gained)
    found = store.run_or_retrieve({"rate": 0.5})
    assert (found.id, found.accuracy, found.created_at) == (old.id, None, old.created_at)
    with pytest.warns(OutcomeWarning, match="verdict"):
        assert store.run_or_retrieve({"rate": 0.25}).accuracy == 0.75
    assert [row.rate for row in store.select(Gained.accuracy > 0.5)] == [0.25]
    assert store.check().ok


def test_an_index_that_an_outcome_lacks_is_made_at_the_next_opening(open_store: OpenStore, place: Any) -> None:
    class Gained(Base):
        __tablename__ = "trainings_indexed"

        rate: Mapped[float]

    open_store(train, Gained)

    class Gained(Base):  # type: ignore[no-redef]
        __tablename__ = "trainings_indexed"
        __table_args__ = (sa.Index("both", "accuracy", "loss"),)  # both are new

        rate: Mapped[float]
        accuracy: Mapped[float] = outcome(index=True)
        loss: Mapped[float] = outcome()

    engine = sa.create_engine(place.url, poolclass=sa.NullPool)

    def indexes() -> dict[str, list[str]]:
        found = sa.inspect(engine).get_indexes("trainings_indexed")
        return {str(one["name"]): [str(name) for name in one["column_names"]] for one in found}

    open_store(train, Gained)
    made = indexes()
    assert made == {"both": ["accuracy", "loss"], "ix_trainings_indexed_accuracy": ["accuracy"]}
    if engine.dialect.name not in ("mysql", "mariadb"):
        return  # where a kill takes the column back, too
    with engine.begin() as connection:
        next(one for one in Gained.__table__.indexes if one.name == "both").drop(connection)
    assert indexes() != made
    open_store(train, Gained)
    assert indexes() == made


@pytest.mark.slow
def test_a_finished_run_whose_process_was_killed_keeps_its_outcomes(
    tmp_path: Path, place: Any, open_store: OpenStore
) -> None:
    script = tmp_path / "study.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from contract.outcome_models import Training, train
        from entropic import Store
        from entropic.protocol import publish

        publish.publish_locked = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        Store(train, Training, {str(tmp_path / "results")!r}, ".json", {place.url!r}).run({{"rate": 0.25}})
    """)
    )
    assert subprocess.run([sys.executable, script], check=False).returncode == -signal.SIGKILL
    store = open_store(lambda params: pytest.fail("it ran again"), Training)
    row = store.run_or_retrieve({"rate": 0.25})
    assert (row.accuracy, row.epochs) == (0.75, 3)
    assert store.check().ok


# ---- custom data -------------------------------------------------------------------------------------------------
def test_what_a_runner_adds_to_custom_data_is_recorded(open_store: OpenStore) -> None:
    def run(params: dict[str, Any]) -> int:
        params["custom_data"]["iterations"] = 12
        params["custom_data"]["tags"].append("late")
        return 1

    given = {"tags": ["early"]}
    row = open_store(run).run_or_retrieve({"n": 1, "dt": 1.0}, **given)
    assert (row.custom_data["iterations"], row.custom_data["tags"]) == (12, ["early", "late"])
    assert given == {"tags": ["early"]}


def test_custom_data_that_is_not_json_is_named_and_the_run_is_stored(open_store: OpenStore) -> None:
    def run(params: dict[str, Any]) -> int:
        params["custom_data"].update(good=1, bad=object())
        return 1

    store = open_store(run)
    with pytest.warns(OutcomeWarning, match="custom_data.bad"):
        row = store.run_or_retrieve({"n": 1, "dt": 1.0})
    assert row.custom_data["good"] == 1
    assert "not JSON" in row.custom_data["not_recorded"]["custom_data.bad"]


@pytest.mark.parametrize("left", [[1], "text"])
def test_custom_data_that_is_no_dict_any_more_is_said(open_store: OpenStore, left: Any) -> None:
    def run(params: dict[str, Any]) -> int:
        params["custom_data"] = left
        return 1

    with pytest.warns(OutcomeWarning, match="custom_data"):
        row = open_store(run).run_or_retrieve({"n": 1, "dt": 1.0}, tag="kept")
    assert row.custom_data["tag"] == "kept"


# ---- measured later ----------------------------------------------------------------------------------------------
def curves(params: dict[str, Any]) -> dict[str, Any]:
    return {"curve": [float(params["n"]), 1.0]}


def model_of(measure: Any = None) -> type[Base]:
    """Return the model of one table, with a column that is computed in this way; without it, if there is none."""
    body: dict[str, Any] = {"__tablename__": "measured", "__annotations__": {"n": Mapped[int]}, "__module__": __name__}
    if measure is not None:
        body |= {"peak": outcome(measure)}
        body["__annotations__"]["peak"] = Mapped[float]
    return type("Measured", (Base,), body)


def test_a_measure_that_is_added_later_is_filled_without_a_run(open_store: OpenStore) -> None:
    open_store(curves, model_of()).sweep([{"n": n} for n in range(5)])
    store = open_store(lambda params: pytest.fail("it ran"), model_of(lambda result: max(result["curve"])))
    assert store.measure().filled == 5
    assert [row.peak for row in store.select(order_by="n")] == [1.0, 1.0, 2.0, 3.0, 4.0]
    assert store.measure().filled == 0


@pytest.mark.slow
def test_a_function_that_changed_is_noticed_and_measured_anew(open_store: OpenStore) -> None:
    open_store(curves, model_of(lambda result: max(result["curve"]))).sweep([{"n": n} for n in (2, 3)])
    with pytest.warns(OutcomeWarning, match="peak of Measured is computed by another function now"):
        store = open_store(curves, model_of(lambda result: min(result["curve"])))
    assert store.measure().filled == 2
    assert {row.peak for row in store.select()} == {1.0}
    open_store(curves, model_of(lambda result: min(result["curve"])))  # without a warning


def test_what_a_function_calls_is_a_part_of_it(open_store: OpenStore) -> None:
    def first(curve: list[float]) -> float:
        return curve[0]

    def last(curve: list[float]) -> float:
        return curve[-1]

    def at(part: Callable[[list[float]], float]) -> Callable[[dict[str, list[float]]], float]:
        return lambda result: part(result["curve"])

    open_store(curves, model_of(at(first))).sweep([{"n": n} for n in (2, 3)])
    with pytest.warns(OutcomeWarning, match="computed by another function"):
        store = open_store(curves, model_of(at(last)))
    assert store.measure().filled == 2
    assert all(row.peak == store.load(row)["curve"][-1] for row in store.select())


def test_what_cannot_be_measured_is_said_once_and_tried_again_if_asked(open_store: OpenStore) -> None:
    open_store(curves, model_of()).sweep([{"n": n} for n in (2, 3)])
    store = open_store(curves, model_of(lambda result: 1 / (result["curve"][0] - 2)))
    found = store.measure()
    assert (found.filled, len(found.failed)) == (1, 1)
    assert "ZeroDivisionError" in repr(found)
    assert store.measure("peak").failed == {}
    assert len(store.measure(again=True).failed) == 1


def test_a_row_that_gets_no_value_is_not_counted_as_measured(open_store: OpenStore) -> None:
    open_store(curves, model_of()).sweep([{"n": n} for n in range(3)])
    store = open_store(curves, model_of(lambda result: result["curve"][0] or None))
    found = store.measure()
    assert (found.filled, found.empty) == (2, 1)
    again = store.measure()
    assert (again.filled, again.empty) == (0, 1)
    assert "peak: 0 rows measured\n" in str(again)


def test_a_measure_that_is_not_finite_is_measured_once(open_store: OpenStore) -> None:
    open_store(curves, model_of()).sweep([{"n": 2}])
    store = open_store(curves, model_of(lambda result: NAN))
    assert store.measure().filled == 1
    assert math.isnan(store.select()[0].peak)
    assert store.measure().filled == 0


@pytest.mark.slow
def test_a_result_that_is_not_as_recorded_is_not_measured(open_store: OpenStore) -> None:
    one, other = open_store(curves, model_of()).sweep([{"n": n} for n in (2, 3)])
    Path(one.result_file).write_text('{"curve": [99.0, 100.0, 101.0]}')
    store = open_store(curves, model_of(lambda result: max(result["curve"])))
    found = store.measure()
    assert found.filled == 1
    assert "not as recorded" in found.failed[one.id]
    assert {row.id: row.peak for row in store.select()} == {one.id: None, other.id: 3.0}
    with pytest.warns(ResultLostWarning):
        assert store.run_or_retrieve({"n": 2}).peak == 2.0


def test_a_copied_result_is_measured_though_it_bears_another_time(open_store: OpenStore) -> None:
    (row,) = open_store(curves, model_of()).sweep([{"n": 2}])
    os.utime(row.result_file, (1, 1))
    assert open_store(curves, model_of(lambda result: max(result["curve"]))).measure().filled == 1


def test_a_result_that_is_gone_keeps_what_was_measured_of_it_until_all_is_measured_anew(open_store: OpenStore) -> None:
    store = open_store(curves, model_of(lambda result: max(result["curve"])))
    one, other = store.sweep([{"n": n} for n in (2, 3)])
    Path(one.result_file).unlink()
    assert store.measure(again=True).filled == 1
    assert {row.id: row.peak for row in store.select()} == {one.id: None, other.id: 3.0}


def test_a_run_that_an_older_program_finished_is_measured_as_any_other(open_store: OpenStore) -> None:
    """Its process was killed before it had its row, which a newer one makes."""
    store = open_store(curves, model_of())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_run, "is_used", False)  # which publishes by itself
        patch.setattr(publish, "publish", lambda *_: (_ for _ in ()).throw(OSError("the database is away")))
        with pytest.raises(OSError, match="away"):
            store.run_or_retrieve({"n": 2})
    store = open_store(lambda params: pytest.fail("it ran"), model_of(lambda result: max(result["curve"])))
    assert store.run_or_retrieve({"n": 2}).peak is None
    assert store.measure().filled == 1
    assert store.select()[0].peak == 2.0


@pytest.mark.only_on("postgresql", "mariadb")
def test_measuring_beside_a_run_that_replaces_the_row_leaves_what_that_run_said(open_store: OpenStore) -> None:
    """The old result was read before; the re-run has done all but its COMMIT when its value is to be written."""
    has_read, is_placed, go_on = threading.Event(), threading.Event(), threading.Event()

    def load(path: str) -> Any:
        read = json.loads(Path(path).read_text())
        has_read.set()
        assert is_placed.wait(PATIENCE)
        return read

    open_store(lambda params: {"curve": [2.0]}, model_of()).run_or_retrieve({"n": 2})
    store = open_store(curves, model_of(lambda result: max(result["curve"])), loader=load)
    again = open_store(lambda params: {"curve": [7.0, 8.0]}, model_of(lambda result: max(result["curve"])))
    move = publish.move

    def and_wait(*args: Any) -> None:
        move(*args)
        is_placed.set()
        assert go_on.wait(PATIENCE)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(publish, "move", and_wait)
        measuring = pool.submit(store.measure)
        assert has_read.wait(PATIENCE)
        running = pool.submit(lambda: again.run({"n": 2}, tag="the new one"))
        assert is_placed.wait(PATIENCE)
        wait_until(lambda: blocked(store) or measuring.done())
        go_on.set()
        running.result(PATIENCE)
        measuring.result(PATIENCE)
    (row,) = store.select()
    assert (row.peak, row.custom_data["tag"]) == (8.0, "the new one")


def blocked(store: Store[Any]) -> bool:
    """Tell whether a statement waits for a lock of another transaction."""
    sql = {
        "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
        "mysql": "SELECT count(*) FROM information_schema.processlist "
        "WHERE command = 'Query' AND time_ms > 100 AND id <> connection_id()",
    }[store._context.database.dialect.url.get_backend_name()]
    with store._context.database.engine.connect() as connection:
        return bool(connection.exec_driver_sql(sql).scalar())


@pytest.mark.slow
def test_another_database_knows_which_function_computed_a_column(open_store: OpenStore, make_place, tmp_path) -> None:
    open_store(curves, model_of(lambda result: max(result["curve"]))).sweep([{"n": n} for n in (2, 3)])
    with pytest.warns(OutcomeWarning, match="another function now"):
        store = open_store(curves, model_of(lambda result: min(result["curve"])))
    (tmp_path / "other").mkdir()
    with make_place(tmp_path / "other") as place:
        store.copy_to(place.url)
        with pytest.warns(OutcomeWarning, match="another function now"):
            store = open_store(curves, model_of(lambda result: min(result["curve"])), db_url=place.url)
        assert store.measure().filled == 2
        assert {row.peak for row in store.select()} == {1.0}


def grown() -> type[Base]:
    """Return the model of `model_of()` with columns of several kinds more, one of them with an index."""
    body: dict[str, Any] = {"__tablename__": "measured", "__module__": __name__}
    body["__annotations__"] = {"n": Mapped[int], "peak": Mapped[float], "verdict": Mapped[Verdict]}
    body |= {"peak": outcome(peak_of, index=True), "verdict": outcome()}
    return type("Measured", (Base,), body)


def peak_of(result: Any) -> Any:
    return max(result["curve"])


def curves_of_verdict(params: dict[str, Any]) -> dict[str, Any]:
    return {**curves(params), "verdict": "GOOD"}


def open_and_run(url: str, folder: Path, together: Any, ns: list[int]) -> None:
    together.wait(PATIENCE)
    store: Store[Any] = Store(curves_of_verdict, grown(), folder, ".json", url)
    assert len(store.sweep([{"n": n} for n in ns])) == len(ns)
    store.measure()


@pytest.mark.slow
def test_processes_that_add_columns_at_once_beside_an_older_program_lose_nothing(
    open_store: OpenStore, place: Any
) -> None:
    older = open_store(curves, model_of())
    older.sweep([{"n": n} for n in range(5)])
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(5)
    arguments = [(place.url, older.results_dir, together, list(range(part, part + 20))) for part in range(4)]
    children = [context.Process(target=open_and_run, args=one) for one in arguments]
    for child in children:
        child.start()
    together.wait(PATIENCE)
    older.sweep([{"n": n} for n in range(100, 130)])
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    store = open_store(lambda params: pytest.fail("it ran"), grown())
    store.measure()
    assert [(row.n, row.peak) for row in store.select(order_by="n")] == [
        (n, max(n, 1.0)) for n in (*range(23), *range(100, 130))
    ]
    inspector = sa.inspect(sa.create_engine(place.url, poolclass=sa.NullPool))
    assert ["peak"] in [one["column_names"] for one in inspector.get_indexes("measured")]
    assert store.check().ok


def test_only_outcomes_can_be_measured(open_store: OpenStore) -> None:
    with pytest.raises(ParameterError, match="no column 'rate'"):
        open_store(train, Training).measure("rate")


def test_a_returned_outcome_that_is_added_later_is_taken_from_results_that_hold_it(open_store: OpenStore) -> None:
    class Later(Base):
        __tablename__ = "later"

        rate: Mapped[float]

    open_store(train, Later).sweep(expand_grid({"rate": [0.25, 0.5]}))

    class Later(Base):  # type: ignore[no-redef]
        __tablename__ = "later"

        rate: Mapped[float]
        accuracy: Mapped[float] = outcome()
        loss: Mapped[float] = outcome()

    store = open_store(lambda params: pytest.fail("it ran"), Later)
    assert store.measure().names == []  # only what a function computes is measured unasked
    found = store.measure("accuracy", "loss")
    assert (found.filled, len(found.failed)) == (0, 2)
    rows = store.select(order_by="rate")
    assert [row.accuracy for row in rows] == [0.75, 0.5]
    assert rows[0].custom_data["not_recorded"] == {"loss": "its result has no entry 'loss'"}
    store.measure("accuracy", again=True)
    assert [row.accuracy for row in store.select(order_by="rate")] == [0.75, 0.5]


def test_a_row_with_outcomes_can_be_given_back(open_store: OpenStore, tmp_path: Path) -> None:
    for typed in (False, True):
        store = open_store(train, Training, typed_keys=typed, db_url="sqlite://", results_dir=tmp_path / str(typed))
        rows = store.sweep(expand_grid({"rate": [0.25, 0.5]}))
        assert rows[0].params == {"rate": 0.25}
        assert [row.id for row in store.sweep(rows)] == [row.id for row in rows]
        assert store.run_or_retrieve(rows[0]).id == store.run_or_retrieve(rows[0].params).id == rows[0].id
        assert store.explain(rows[0]).hit
        with pytest.raises(ParameterError, match="'accuracy', which is an outcome of Training"):
            store.run_or_retrieve({"rate": 0.1, "accuracy": 1.0})
        assert store.delete(rows[0])


def test_outcome_without_parentheses_is_refused() -> None:
    with pytest.raises(ModelError, match="write a = outcome"):

        class Wrong(Base):
            __tablename__ = "wrong"

            n: Mapped[int]
            a: Mapped[float] = outcome  # type: ignore[assignment]


# ---- tables and arrays -------------------------------------------------------------------------------------------
def test_outcomes_are_in_tables_and_arrays(open_store: OpenStore) -> None:
    pytest.importorskip("xarray")
    pytest.importorskip("pandas")
    store = open_store(curves, model_of(lambda result: max(result["curve"]) if result["curve"][0] else NAN))
    rows = store.sweep([{"n": n} for n in (0, 2, 3)])
    frame = rows.to_pandas()
    assert list(frame.columns) == ["id", "n", "peak", "created_at", "result_file"]
    assert frame.peak.fillna(-1).tolist() == [-1.0, 2.0, 3.0]
    data = rows.to_xarray()
    assert data.peak.dims == ("n",)
    assert data.curve.dims == ("n", "curve_0")
    assert data.peak.fillna(-1).values.tolist() == [-1.0, 2.0, 3.0]


def test_a_scalar_of_the_result_that_is_called_like_an_outcome_gives_way_to_the_column(open_store: OpenStore) -> None:
    pytest.importorskip("xarray")

    def write(params: dict[str, Any]) -> dict[str, Any]:
        Path(params["result_file"]).write_text(json.dumps({"accuracy": -1.0, "epochs": [1, 2, 3]}))
        return {"accuracy": 1 - params["rate"], "epochs": 3}

    store = open_store(write, Training)
    data = store.sweep(expand_grid({"rate": [0.25, 0.5]})).to_xarray()
    assert data.accuracy.values.tolist() == [0.75, 0.5]
    assert data.epochs.values.tolist() == [[1, 2, 3]] * 2, "a curve is what was asked for"


def test_truths_and_texts_of_which_some_are_missing_stay_what_they_are(open_store: OpenStore) -> None:
    pytest.importorskip("xarray")
    told = {1: True, 2: None, 3: False}
    store = open_store(lambda params: {"flag": told[params["n"]], "text": told[params["n"]] and "yes"}, Everything)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutcomeWarning)
        data = store.sweep(expand_grid({"n": [1, 2, 3]})).to_xarray(variables=["flag", "text"])
    assert data.flag.fillna(9).values.tolist() == [1.0, 9.0, 0.0]
    assert data.text.isnull().values.tolist() == [False, True, True]


def test_an_array_of_outcomes_reads_no_result(open_store: OpenStore) -> None:
    pytest.importorskip("xarray")
    store = open_store(train, Training, loader=lambda path: pytest.fail("it was read"))
    data = store.sweep(expand_grid({"rate": [0.25, 0.5]})).to_xarray(variables=["accuracy"])
    assert data.accuracy.values.tolist() == [0.75, 0.5]
    assert list(data.data_vars) == ["accuracy"]


@pytest.mark.slow
def test_the_command_line_sorts_and_chooses_by_outcomes(open_store: OpenStore, place: Any) -> None:
    store = open_store(train, Training)
    store.sweep(expand_grid({"rate": [0.1, 0.2, 0.3]}))
    command = [sys.executable, "-m", "entropic", "ls", "--db", place.url, "--results", str(store.results_dir)]
    command += ["--sort=-accuracy", "--where", "accuracy>0.75", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [(row["rate"], row["accuracy"]) for row in json.loads(done.stdout)] == [(0.1, 0.9), (0.2, 0.8)]
