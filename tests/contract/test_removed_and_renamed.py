"""A parameter that is removed, at one value, or renamed: no key moves, no row and no file is touched."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.added_models import changing_in
from contract.models import CountingRunner
from entropic import (
    ModelError,
    ParameterError,
    Store,
    added,
    command,
    key,
    mapped_column,
    removed,
    renamed,
)

OpenStore = Callable[..., Store[Any]]
OLD = {"n": 1, "step": 0.5, "solver": "rk4"}


def model(n: Any = int, **columns: Any) -> type[Any]:
    """Return a model of one table."""
    return changing_in("changing", n=n, **columns)


def first() -> type[Any]:
    return model(step=float, solver=str)


# ---- renamed -----------------------------------------------------------------------------------------------------
def renaming() -> type[Any]:
    return model(dt=(float, renamed("step")), solver=str)


def test_rows_keep_their_keys_under_a_new_name(open_store: OpenStore, runner: CountingRunner) -> None:
    old = open_store(model=first()).run_or_retrieve(OLD)
    store = open_store(model=renaming())
    row = store.run_or_retrieve({"n": 1, "dt": 0.5, "solver": "rk4"})
    assert (row.id, row.dt, row.created_at) == (old.id, 0.5, old.created_at)
    fresh = store.run_or_retrieve({"n": 2, "dt": 0.5, "solver": "rk4"})
    assert fresh.id == key({**OLD, "n": 2})
    assert set(runner.calls[1]) >= {"n", "dt", "solver"}
    assert "step" not in runner.calls[1]
    assert store.check().ok


def test_who_knows_only_the_old_name_goes_on_beside(open_store: OpenStore, runner: CountingRunner) -> None:
    older = open_store(model=first())
    store = open_store(model=renaming())
    sets = [{"n": n, "dt": 0.5, "solver": "rk4"} for n in range(4)]
    rows = store.sweep(sets[:2])
    assert [one.id for one in older.sweep([{**OLD, "n": n} for n in range(4)])][:2] == [one.id for one in rows]
    assert [one.dt for one in store.sweep(sets)] == [0.5] * 4
    assert len(runner.calls) == 4
    assert older.check().ok
    assert store.check().ok


def test_a_new_name_is_what_is_selected_explained_and_shown(open_store: OpenStore) -> None:
    open_store(model=first()).run_or_retrieve(OLD)
    store = open_store(model=renaming())
    assert [row.n for row in store.select(dt=0.5)] == [1]
    assert list(store.select().to_pandas()["dt"]) == [0.5]
    assert store.explain({"n": 1, "dt": 0.5, "solver": "rk4"}).hit
    assert "dt: 0.25 vs 0.5" in str(store.explain({"n": 1, "dt": 0.25, "solver": "rk4"}))
    (row,) = store.select()
    assert store.run_or_retrieve(row).id == row.id


def test_the_old_name_in_params_is_told(open_store: OpenStore, runner: CountingRunner) -> None:
    open_store(model=first()).run_or_retrieve(OLD)
    store = open_store(model=renaming())
    for call in (store.run_or_retrieve, store.retrieve, lambda params: store.sweep([params])):
        with pytest.raises(ParameterError, match="'step', which is called 'dt' in Changing now"):
            call(OLD)
    assert len(runner.calls) == 1


def test_names_may_be_exchanged(open_store: OpenStore, runner: CountingRunner) -> None:
    old = open_store(model=model(a=int, b=int)).run_or_retrieve({"n": 1, "a": 2, "b": 3})
    store = open_store(model=model(a=(int, renamed("b")), b=(int, renamed("a"))))
    assert store.sweep([{"n": 1, "a": 3, "b": 2}])[0].id == store.run_or_retrieve({"n": 1, "a": 3, "b": 2}).id == old.id
    assert len(runner.calls) == 1


def test_a_failure_under_the_old_name_is_told_under_the_new_one(open_store: OpenStore) -> None:
    def fail(params: dict[str, Any]) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        open_store(fail, first()).run_or_retrieve(OLD)
    (failure,) = open_store(fail, renaming()).failures()
    assert failure.params == {"n": 1, "dt": 0.5, "solver": "rk4"}


@pytest.mark.slow
def test_what_was_added_may_be_renamed_and_renamed_again(open_store: OpenStore, runner: CountingRunner) -> None:
    old = open_store(model=model()).run_or_retrieve({"n": 1})
    open_store(model=model(solver=(str, added("rk4")))).run_or_retrieve({"n": 1, "solver": "euler"})
    with pytest.raises(ModelError, match=r"write method: Mapped\[str\] = renamed\('solver', added='rk4'\)"):
        open_store(model=model(method=(str, renamed("solver"))))
    for name in ("method", "scheme"):
        store = open_store(model=model(**{name: (str, renamed("solver", added="rk4"))}))
        assert store.run_or_retrieve({"n": 1}).id == store.run_or_retrieve({"n": 1, name: "rk4"}).id == old.id
        assert getattr(store.run_or_retrieve({"n": 1, name: "euler"}), name) == "euler"
    assert len(runner.calls) == 2


def test_a_name_that_changed_without_saying_so_is_an_error_with_the_line_to_write(open_store: OpenStore) -> None:
    open_store(model=first())
    with pytest.raises(ModelError, match=r"write dt: Mapped\[float\] = added\(VALUE\).*or renamed\('step'\)"):
        open_store(model=model(dt=float, solver=str))


# ---- removed -----------------------------------------------------------------------------------------------------
def removing(at: Any = "rk4", **options: Any) -> type[Any]:
    return model(step=float, solver=(str, removed(at, **options)))


def test_sets_without_what_was_removed_hit_the_rows_of_its_value(open_store: OpenStore, runner: CountingRunner) -> None:
    older = open_store(model=first())
    old, other = (older.run_or_retrieve({**OLD, "solver": one}) for one in ("rk4", "euler"))
    content = {path: path.read_bytes() for path in map(Path, (old.result_file, other.result_file))}
    store = open_store(model=removing())
    assert store.run_or_retrieve({"n": 1, "step": 0.5}).id == old.id
    assert store.run_or_retrieve(OLD).id == old.id  # who still gives it
    assert [row.id for row in store.sweep([{"n": 1, "step": 0.5}, OLD])] == [old.id]
    assert [row.id for row in store.select(solver="euler")] == [other.id]
    assert store.check().ok
    assert {path: path.read_bytes() for path in content} == content
    assert len(runner.calls) == 2


def test_a_runner_does_not_get_what_was_removed(open_store: OpenStore, runner: CountingRunner) -> None:
    store = open_store(model=removing())
    row = store.run_or_retrieve({"n": 1, "step": 0.5})
    store.run({"n": 1, "step": 0.5, "solver": "rk4"})
    store.sweep([{"n": 2, "step": 0.5}])
    assert (row.id, row.solver) == (key(OLD), "rk4")
    assert not any("solver" in params for params in runner.calls)
    assert open_store(model=first()).run_or_retrieve(OLD).id == row.id
    assert len(runner.calls) == 3


def test_another_value_of_what_was_removed_does_not_run(open_store: OpenStore, runner: CountingRunner) -> None:
    store = open_store(model=removing())
    for call in (store.run_or_retrieve, store.run, lambda params: store.sweep([params])):
        with pytest.raises(ParameterError, match="has removed 'solver', and always means 'rk4' now; leave it out"):
            call({**OLD, "solver": "euler"})
    assert runner.calls == []


def test_archives_and_frozen_selections_hold_rows_of_other_values_too(open_store: OpenStore, tmp_path: Path) -> None:
    rows = open_store(model=first()).sweep([OLD, {**OLD, "solver": "euler"}])
    store = open_store(model=removing())
    assert store.archive(tmp_path / "whole").left == []
    archived = Store(
        None, removing(), tmp_path / "whole" / "results", ".json", f"sqlite:///{tmp_path}/whole/db.sqlite3"
    )
    store.freeze("both")
    for one in (archived, store.at("both")):
        assert {(row.id, row.solver) for row in one.select()} == {(row.id, row.solver) for row in rows}
        assert one.check().ok
        assert one.retrieve({"n": 1, "step": 0.5}).solver == "rk4"
    elsewhere = {"results_dir": tmp_path / "other", "db_url": f"sqlite:///{tmp_path}/other.sqlite3"}
    other = open_store(model=removing(), **elsewhere)
    assert [left.partition(":")[0] for left in other.merge(archived).left] == [rows[1].id]  # it could not run there


def test_what_was_removed_at_another_value_than_it_was_added_with(
    open_store: OpenStore, runner: CountingRunner
) -> None:
    open_store(model=model()).run_or_retrieve({"n": 1})
    euler = open_store(model=model(solver=(str, added("rk4")))).run_or_retrieve({"n": 1, "solver": "euler"})
    with pytest.raises(ModelError, match=r"write solver: Mapped\[str\] = removed\('euler', added='rk4'\)"):
        open_store(model=model(solver=(str, removed("euler"))))
    store = open_store(model=model(solver=(str, removed("euler", added="rk4"))))
    assert store.run_or_retrieve({"n": 1}).id == euler.id
    same = open_store(model=model(solver=(str, removed("rk4", added="rk4"))))
    assert same.run_or_retrieve({"n": 1}).id == key({"n": 1})
    assert len(runner.calls) == 2


@pytest.mark.parametrize("typed", [False, True])
def test_what_was_missing_may_be_what_is_left(open_store: OpenStore, runner: CountingRunner, typed: bool) -> None:
    before = model(solver=(str | None, mapped_column()))
    old = open_store(model=before, typed_keys=typed).run_or_retrieve({"n": 1, "solver": None})
    store = open_store(model=model(solver=(str | None, removed(None))), typed_keys=typed)
    assert store.run_or_retrieve({"n": 1}).id == store.sweep([{"n": 1}])[0].id == old.id
    assert store.run_or_retrieve({"n": 2}).solver is None
    assert len(runner.calls) == 2


def test_keys_that_do_not_tell_ways_of_writing_apart_stay_too(open_store: OpenStore, runner: CountingRunner) -> None:
    old = open_store(model=first(), typed_keys=True).run_or_retrieve(OLD)
    changed = model(dt=(float, renamed("step")), solver=(str, removed("rk4")))
    store = open_store(model=changed, typed_keys=True)
    assert store.run_or_retrieve({"n": 1.0, "dt": 0.5}).id == store.sweep([{"n": 1, "dt": 0.5}])[0].id == old.id
    store.run_or_retrieve({"n": 2, "dt": 1})
    assert "solver" not in runner.calls[1]
    assert len(runner.calls) == 2


def test_a_column_that_is_gone_is_an_error_with_the_line_to_write(open_store: OpenStore) -> None:
    open_store(model=first())
    with pytest.raises(ModelError, match=r"requires 'solver'.* write solver: Mapped\[str\] = removed\(VALUE\)"):
        open_store(model=model(step=float))
    open_store(model=model(step=float, solver=str, tolerance=(float, added(0.5))))
    with pytest.raises(ModelError, match=r"or, if it does not matter .* = removed\(0.5, added=0.5\)"):
        open_store(model=first())


def test_a_program_whose_template_names_what_was_removed_is_refused(open_store: OpenStore) -> None:
    with pytest.raises(ParameterError, match="solver"):
        open_store(command("echo {solver} > {result_file}"), removing())


def test_rows_are_rebuilt_of_what_was_recorded_under_the_old_model(
    open_store: OpenStore, runner: CountingRunner, make_place: Any, tmp_path: Path
) -> None:
    old = open_store(model=first()).run_or_retrieve(OLD)
    (tmp_path / "other").mkdir()
    changed = model(dt=(float, renamed("step")), solver=(str, removed("rk4")))
    with make_place(tmp_path / "other") as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the results that are there without a row
        store = open_store(model=changed, db_url=place.url)
        assert store.rebuild().made == [old.id]
        assert store.run_or_retrieve({"n": 1, "dt": 0.5}).id == old.id
        assert store.check().ok
    assert json.loads(Path(old.result_file).read_text())["step"] == 0.5
    assert len(runner.calls) == 1


@pytest.mark.parametrize(
    ("name", "line"), [("removed", r"solver = removed\(VALUE\)"), ("renamed", r"= renamed\(BEFORE\)")]
)
def test_a_declaration_without_parentheses_is_refused(name: str, line: str) -> None:
    with pytest.raises(ModelError, match=line):
        model(solver=(str, {"removed": removed, "renamed": renamed}[name]))


@pytest.mark.parametrize("wrong", [lambda: removed(list), lambda: renamed(5), lambda: renamed("")])
def test_what_says_nothing_is_refused(wrong: Callable[[], Any]) -> None:
    with pytest.raises(ModelError):
        wrong()


def test_a_value_that_does_not_fit_what_was_removed_is_refused(open_store: OpenStore) -> None:
    with pytest.raises(ModelError, match=r"Changing.solver = removed\(5\) cannot be"):
        open_store(model=removing(5))
