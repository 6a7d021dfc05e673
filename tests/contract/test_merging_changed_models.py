"""Stores whose models have gained, lost or renamed parameters become one, and no set means another one afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.added_models import changing_in
from contract.models import CountingRunner, content
from entropic import ModelError, Store, added, removed, renamed
from entropic.cli.reflect import open_reflected
from entropic.upkeep.open_store import filling, open_read_only

OpenStore = Callable[..., Store[Any]]


def changing(**columns: Any) -> type[Any]:
    """Return a model of one table."""
    return changing_in("changing_merged", n=int, **columns)


def write(params: dict[str, Any]) -> None:
    Path(params["result_file"]).write_text(json.dumps({"solver": params.get("solver", "rk4")}))


@pytest.fixture
def theirs(tmp_path: Path) -> OpenStore:
    """Open the store of a colleague, in a folder and a SQLite file of its own."""

    def open_it(model: type, **options: Any) -> Store[Any]:
        (tmp_path / "theirs").mkdir(exist_ok=True)
        url = f"sqlite:///{tmp_path}/theirs/db.sqlite3"
        return Store(write, model, tmp_path / "theirs" / "results", ".json", url, **options)

    return open_it


@pytest.mark.slow
@pytest.mark.parametrize(("files", "typed"), [("link", False), ("leave", True)], ids=["", "typed_keys"])
def test_rows_of_before_a_parameter_are_taken_in_with_its_default(
    open_store: OpenStore, theirs: OpenStore, runner: CountingRunner, files: str, typed: bool
) -> None:
    old = theirs(changing(), typed_keys=typed)
    rows = old.sweep([{"n": n} for n in range(3)])
    store = open_store(model=changing(solver=(str, added("rk4"))), typed_keys=typed)
    own = store.run_or_retrieve({"n": 0})
    euler = store.run_or_retrieve({"n": 1, "solver": "euler"})
    runner.calls.clear()
    done = store.merge(theirs(changing(), typed_keys=typed, read_only=True), files=files)
    assert (sorted(done.taken), done.rekeyed, done.left) == (sorted([rows[1].id, rows[2].id]), 0, [])
    assert [one.id for one in done.conflicts] == [own.id], "of one set there are two results"
    found = store.sweep([{"n": n, "solver": solver} for n in range(3) for solver in ("rk4", "euler")][:4])
    assert [(row.n, row.solver) for row in found] == [(0, "rk4"), (0, "euler"), (1, "rk4"), (1, "euler")]
    assert (found[2].id, found[3].id) == (rows[1].id, euler.id)
    assert [(call["n"], call["solver"]) for call in runner.calls] == [(0, "euler")]
    assert store.check().ok, str(store.check())
    again = store.merge(old, files=files)
    assert (again.taken, again.same) == ([], 2)


@pytest.mark.slow
def test_a_table_of_any_database_that_lacks_the_parameter_is_read_as_if_it_had_it(
    open_store: OpenStore, theirs: OpenStore, runner: CountingRunner, place: Any
) -> None:
    old = open_store(model=changing())
    rows = old.sweep([{"n": n} for n in range(2)])
    model = changing(solver=(str, added("rk4")), share=(float, added(0.1)))
    mine = theirs(model)
    with open_read_only(), filling():  # as `entropic merge` does
        other = open_reflected(place.url, model.__tablename__, str(old.results_dir), model)
    assert sorted(mine.merge(other).taken) == sorted(row.id for row in rows)
    assert [(row.n, row.solver, row.share) for row in mine.select(order_by="n")] == [(0, "rk4", 0.1), (1, "rk4", 0.1)]
    assert mine.run_or_retrieve({"n": 1, "share": 0.1}).id == rows[1].id
    assert mine.check().ok


@pytest.mark.slow
def test_rows_of_a_model_with_the_parameter_go_where_the_table_has_just_gained_it(
    open_store: OpenStore, theirs: OpenStore, runner: CountingRunner
) -> None:
    open_store(model=changing()).run_or_retrieve({"n": 1})
    other = theirs(changing(solver=(str, added("rk4"))))
    other.sweep([{"n": n, "solver": solver} for n in (1, 2) for solver in ("rk4", "euler")])
    with pytest.raises(
        ModelError, match=r"no 'solver' here. Write solver: Mapped\[str\] = added\('rk4'\) in the model"
    ):
        open_store(model=changing()).merge(other)
    store = open_store(model=changing(solver=(str, added("rk4"))))
    done = store.merge(other)
    assert (len(done.taken), len(done.conflicts), done.left) == (3, 1, [])
    runner.calls.clear()
    found = store.sweep([{"n": n, "solver": solver} for n in (1, 2) for solver in ("rk4", "euler")])
    assert [content(row)["solver"] for row in found[1:]] == ["euler", "rk4", "euler"]
    assert (runner.calls, store.check().ok) == ([], True)


def test_a_default_that_is_another_one_there_gets_a_key_that_says_it(
    open_store: OpenStore, theirs: OpenStore, runner: CountingRunner
) -> None:
    other = theirs(changing(solver=(str, added("euler"))))
    other.sweep([{"n": 1}, {"n": 1, "solver": "rk4"}])
    store = open_store(model=changing(solver=(str, added("rk4"))))
    done = store.merge(other)
    assert (len(done.taken), done.rekeyed, done.left) == (2, 2, [])
    assert [content(store.run_or_retrieve(one))["solver"] for one in ({"n": 1}, {"n": 1, "solver": "euler"})] == [
        "rk4",
        "euler",
    ]
    assert (runner.calls, store.check().ok) == ([], True)


def test_a_parameter_from_the_start_there_and_added_here_is_one_set(
    open_store: OpenStore, theirs: OpenStore, runner: CountingRunner
) -> None:
    other = theirs(changing(solver=str))
    other.sweep([{"n": 1, "solver": solver} for solver in ("rk4", "euler")])
    store = open_store(model=changing(solver=(str, added("rk4"))))
    done = store.merge(other)
    assert (len(done.taken), done.rekeyed) == (2, 1)
    assert store.run_or_retrieve({"n": 1}).solver == "rk4"
    assert (runner.calls, store.check().ok) == ([], True)


@pytest.mark.slow
def test_what_is_renamed_on_one_side_is_taken_under_its_name_here(
    open_store: OpenStore, theirs: OpenStore, runner: CountingRunner
) -> None:
    rows = theirs(changing(step=float)).sweep([{"n": 1, "step": 0.5}])
    store = open_store(model=changing(dt=(float, renamed("step"))))
    assert store.merge(theirs(changing(step=float))).taken == [rows[0].id]
    assert (store.run_or_retrieve({"n": 1, "dt": 0.5}).dt, runner.calls) == (0.5, [])
    back = theirs(changing(step=float))
    store.run_or_retrieve({"n": 2, "dt": 0.5})
    done = back.merge(store)
    assert (len(done.taken), done.same, back.run_or_retrieve({"n": 2, "step": 0.5}).step) == (1, 1, 0.5)
    assert (store.check().ok, back.check().ok) == (True, True)


@pytest.mark.slow
def test_of_what_was_removed_here_the_rows_that_still_count_are_taken(
    open_store: OpenStore, theirs: OpenStore, runner: CountingRunner
) -> None:
    rows = theirs(changing(solver=str)).sweep([{"n": 1, "solver": solver} for solver in ("rk4", "euler")])
    store = open_store(model=changing(solver=(str, removed("rk4"))))
    done = store.merge(theirs(changing(solver=str)))
    assert (done.taken, len(done.left)) == ([rows[0].id], 1)
    assert "has removed 'solver'" in done.left[0]
    assert (store.run_or_retrieve({"n": 1}).id, runner.calls) == (rows[0].id, [])
    assert store.check().ok


@pytest.mark.slow
def test_checksums_and_archives_of_a_changed_model_go_along(open_store: OpenStore, tmp_path: Path) -> None:
    open_store(write, changing(), checksum=True).run_or_retrieve({"n": 1})
    model = changing(solver=(str, added("rk4")))
    store = open_store(write, model, checksum=True)
    store.run_or_retrieve({"n": 2, "solver": "euler"})
    store.archive(tmp_path / "kept")
    kept = Store(None, model, tmp_path / "kept" / "results", ".json", f"sqlite:///{tmp_path}/kept/db.sqlite3")
    assert sorted(row.solver for row in kept.select()) == ["euler", "rk4"]
    assert kept.check(deep=True).compared == 2
