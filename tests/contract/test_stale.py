"""Rows that other code has made are told from those of now, and no others: scripts are edited between their runs."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest

from contract.models import SimResult, write_params
from entropic import ParameterError, StaleError, StaleWarning

ONE, TWO, THREE = ({"n": n, "dt": 0.5} for n in (1, 2, 3))


def made(scale: float) -> Any:
    """Return a runner that differs from others in what it holds."""

    def run(params: dict[str, Any]) -> None:
        Path(params["result_file"]).write_text(json.dumps(params["n"] * scale))

    return run


OLD, NEW = made(1.0), made(2.0)


@pytest.fixture(autouse=True)
def all_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# ---- what becomes of stale rows --------------------------------------------------------------------------------------
def test_a_sweep_warns_once_of_all_stale_rows_and_returns_them(open_store):
    open_store(OLD).sweep([ONE, TWO])
    store = open_store(NEW)
    with pytest.warns(
        StaleWarning, match=r"2 stored results of SimResult .*scale \(held\) changed.*\n--- scale"
    ) as told:
        rows = store.sweep([ONE, TWO, THREE])
    assert len(told) == 1
    assert [store.load(row) for row in rows] == [1.0, 2.0, 6.0]
    with pytest.warns(StaleWarning) as told:
        list(store.stream([ONE, TWO]))
    assert len(told) == 1


def test_a_single_call_warns_once_in_a_store(open_store):
    open_store(OLD).sweep([ONE, TWO])
    store = open_store(NEW)
    with pytest.warns(
        StaleWarning, match="stored result [0-9a-f]{16} of SimResult was made by different code: "
    ) as warned:
        store.run_or_retrieve(ONE)
    assert "It is returned unchanged. To run it again" in str(warned[0].message)
    store.run_or_retrieve(TWO)
    assert store.load(ONE) == 1.0


def test_the_same_code_is_never_stale(open_store):
    open_store(OLD).sweep([ONE, TWO])
    for runner in (OLD, made(1.0)):
        store = open_store(runner)
        store.sweep([ONE, TWO])
        store.run_or_retrieve(ONE)
        assert store.status().stale == 0
        assert not store.stale()


def test_stale_rows_run_again_if_asked(open_store):
    open_store(OLD).sweep([ONE, TWO])
    store = open_store(NEW, on_stale="rerun")
    with pytest.warns(StaleWarning, match="They run again") as told:
        rows = store.sweep([ONE, TWO, THREE])
    assert len(told) == 1
    assert [store.load(row) for row in rows] == [2.0, 4.0, 6.0]
    store.sweep([ONE, TWO, THREE])
    store.run_or_retrieve(ONE)
    assert store.check().ok


def test_a_single_stale_row_runs_again_if_asked(open_store):
    open_store(OLD).sweep([ONE, TWO])
    store = open_store(NEW, on_stale="rerun")
    with pytest.warns(StaleWarning, match="runs? again"):
        assert store.load(store.run_or_retrieve(ONE)) == 2.0
    assert store.load(store.run_or_retrieve(ONE)) == 2.0
    assert [store.load(row) for row in store.stale()] == [2.0]


def test_stale_rows_are_refused_if_asked_and_nothing_runs(open_store):
    open_store(OLD).sweep([ONE, TWO])
    store = open_store(NEW, on_stale="error")
    with pytest.raises(StaleError, match=r"2 stored results .*Nothing was run"):
        store.sweep([THREE, ONE, TWO])
    with pytest.raises(StaleError, match="was made by different code"):
        store.run_or_retrieve(ONE)
    with pytest.raises(StaleError):
        store.stream([ONE])
    assert [row.n for row in store.select()] == [1, 2]
    assert store.run_or_retrieve(THREE).n == 3


def test_stale_rows_are_served_without_a_word_if_asked(open_store):
    open_store(OLD).sweep([ONE, TWO])
    store = open_store(NEW, on_stale="ignore")
    assert [store.load(row) for row in store.sweep([ONE, TWO])] == [1.0, 2.0]
    assert store.load(store.run_or_retrieve(ONE)) == 1.0


def test_a_read_only_store_warns_and_cannot_run_again(open_store):
    open_store(OLD).run_or_retrieve(ONE)
    with pytest.warns(StaleWarning):
        open_store(NEW, read_only=True).run_or_retrieve(ONE)
    open_store(None).sweep([ONE])


def test_rows_of_before_are_unknown_and_not_stale(open_store, place):
    open_store(OLD).sweep([ONE, TWO])
    place.execute("UPDATE entropic_ledger SET code = NULL")
    store = open_store(NEW, on_stale="error")
    assert [store.load(row) for row in store.sweep([ONE, TWO])] == [1.0, 2.0]
    assert store.plan([ONE]).stale == []


def test_a_registered_row_is_of_no_code(open_store, tmp_path):
    (tmp_path / "mine.json").write_text("7")
    open_store(OLD).register(ONE, tmp_path / "mine.json")
    store = open_store(NEW, on_stale="error")
    assert store.load(store.run_or_retrieve(ONE)) == 7
    assert store.accept() == 0


# ---- accepting, and looking ------------------------------------------------------------------------------------------
def test_accepted_rows_are_of_the_code_of_now(open_store):
    open_store(OLD).sweep([ONE, TWO])
    store = open_store(NEW)
    assert store.accept(n=1) == 1
    store.run_or_retrieve(ONE)
    assert [row.n for row in store.stale()] == [2]
    assert store.accept(SimResult.dt < 1) == 1
    assert store.accept() == 0
    store.sweep([ONE, TWO])
    with pytest.warns(StaleWarning):
        open_store(OLD).sweep([ONE])


@pytest.mark.slow
def test_it_is_shown_by_plan_status_explain_and_stale(open_store):
    open_store(OLD).sweep([ONE, TWO])
    store = open_store(NEW)
    plan = store.plan([ONE, THREE])
    assert (plan.stale, plan.stored, plan.missing) == ([ONE], [ONE], [THREE])
    assert "1 stale result, of different code" in str(plan)
    assert store.status().stale == 2
    told = store.explain(ONE)
    assert told.hit
    assert "made by different code: scale (held) changed" in told.reason
    assert "-scale = 1.0\n+scale = 2.0" in told.change
    assert [row.n for row in store.stale(n=2)] == [2]
    again = open_store(NEW, on_stale="rerun")
    assert again.explain(ONE).state == "stale"
    plan = again.plan([ONE, THREE])
    assert (plan.stale, plan.stored, plan.missing) == ([ONE], [], [ONE, THREE])


def test_a_store_without_a_runner_knows_of_no_code(open_store):
    open_store(OLD).sweep([ONE, TWO])
    store = open_store(None)
    assert store.status().stale == 0
    assert not store.stale()
    assert store.explain(ONE).hit


class Object:
    """A runner that remembers what it ran."""

    def __init__(self, scale: float) -> None:
        self.scale, self.ran = scale, []

    def __call__(self, params: dict[str, Any]) -> float:
        self.ran.append(params["n"])
        return params["n"] * self.scale


@pytest.mark.slow
def test_what_a_runner_remembers_of_its_runs_is_no_change(open_store, monkeypatch):
    monkeypatch.setattr("entropic.protocol.current_code.REFRESH_SECONDS", 0.0)
    store = open_store(Object(1.0))
    for one in (ONE, TWO):
        store.run_or_retrieve(one)
    store.sweep([ONE, TWO, THREE])
    assert not store.stale()
    open_store(Object(1.0)).sweep([ONE, TWO, THREE])
    with pytest.warns(StaleWarning, match=r"state \(scale\) changed"):
        open_store(Object(2.0)).sweep([ONE])


def test_a_secret_in_the_code_is_not_recorded(open_store, place):
    database = {"password": "hunter2"}
    store = open_store(lambda params: write_params({**params, "x": len(database["password"])}))
    store.sweep([ONE])
    assert "hunter2" not in str(place.content())


# ---- what else counts ------------------------------------------------------------------------------------------------
def test_a_version_says_it_by_hand(open_store):
    open_store(OLD, version="1").run_or_retrieve(ONE)
    open_store(OLD, version="1", on_stale="error").run_or_retrieve(ONE)
    with pytest.raises(StaleError, match="version changed"):
        open_store(OLD, version="2", on_stale="error").run_or_retrieve(ONE)
    with pytest.raises(ParameterError, match="version must be a text"):
        open_store(OLD, version=2)


@pytest.mark.slow
def test_what_is_watched_counts(open_store, tmp_path, monkeypatch):
    mesh, folder = tmp_path / "mesh.vtk", tmp_path / "tables"
    mesh.write_text("1")
    folder.mkdir()
    (folder / "a").write_text("1")
    monkeypatch.setenv("OMP_SCHEDULE", "static")
    watch = [mesh, str(folder), "$OMP_SCHEDULE", "package:numpy", tmp_path / "not there"]

    def look(store: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            store.sweep([ONE])
        return [str(one.message) for one in told]

    store = open_store(OLD, watch=watch)
    assert look(store) == look(open_store(OLD, watch=watch)) == []
    mesh.write_text("22")
    (told,) = look(store)
    assert "mesh.vtk changed" in told
    mesh.write_text("1")
    (folder / "a").write_text("22")
    assert "tables changed" in look(open_store(OLD, watch=watch))[0]
    (folder / "a").write_text("1")
    monkeypatch.setenv("OMP_SCHEDULE", "dynamic")
    assert "-static" in look(store)[0]
    with pytest.raises(ParameterError, match="watch is a list"):
        open_store(OLD, watch="mesh.vtk")


def test_what_is_watched_may_move_with_its_project(open_store, tmp_path):
    for project in ("here", "there"):
        for name in ("a/mesh.vtk", "b/mesh.vtk", "steps.txt"):
            (tmp_path / project / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / project / name).write_text(name)

    def watching(project: str) -> Any:
        return open_store(OLD, watch=[tmp_path / project / name for name in ("a/mesh.vtk", "b/mesh.vtk", "steps.txt")])

    watching("here").sweep([ONE])
    assert watching("there").stale() == []
    (tmp_path / "there" / "b" / "mesh.vtk").write_text("another one")
    assert "watched b/mesh.vtk changed" in watching("there").explain(ONE).reason


def test_a_cell_that_is_run_again_is_seen_by_the_store_that_is_open(open_store):
    cells: dict[str, Any] = {"__name__": "__main__", "write_params": write_params}

    def cell(text: str, number: int) -> None:
        import linecache

        name = f"<ipython-input-{number}>"
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        exec(compile(text, name, "exec"), cells)

    cell("def helper(params):\n    write_params(params)\n", 101)
    cell("def run(params):\n    helper(params)\n", 102)
    store = open_store(cells["run"])
    store.sweep([ONE])
    cell("def helper(params):\n    # the same\n    write_params(params)\n", 103)
    store.sweep([ONE])
    cell("def helper(params):\n    write_params({**params, 'x': 1})\n", 104)
    with pytest.warns(StaleWarning, match="helper changed"):
        store.sweep([ONE, TWO])
    assert [row.n for row in store.stale()] == [1]


@pytest.mark.slow
def test_what_runs_leave_in_a_notebook_is_no_change_and_what_is_typed_anew_is(open_store):
    cells: dict[str, Any] = {"__name__": "__main__", "write_params": write_params, "get_ipython": None, "In": [""]}

    def cell(text: str) -> None:
        import linecache

        name = f"<ipython-input-2{len(cells['In'])}>"
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        cells["In"].append(text)  # IPython does so before it runs a cell
        exec(compile(text, name, "exec"), cells)

    def stale() -> int:
        return len(open_store(cells["run"]).stale())

    cell("seen, count, table = [], 0, [1, 2]")
    cell(
        "def run(params):\n    global count\n    count += 1\n    seen.append(params['n'])\n"
        "    write_params({**params, 'x': table})\n"
    )
    open_store(cells["run"]).sweep([ONE, TWO])
    assert (cells["seen"], cells["count"], stale()) == ([1, 2], 2, 0)
    cell("seen, count, table = [],  0, [1, 2]  # again")
    assert stale() == 0
    cells["In"].append("%%not python: seen = 7")
    cell("table = [1, 3]")
    assert stale() == 2
    cell("table = [1, 2]")
    cell("table += [3]")
    assert stale() == 2
    cell("seen, count, table = [], 0, [1, 2]")
    assert stale() == 0
    cell("names = {}\nnames[table[0]] = table.index(1)\nseen.clear()")
    assert stale() == 0, "nothing was changed in it"
    for change in ("table[0] = 5", "del table[0]", "table.append(3)", "for n in (7, 8):\n    table.insert(0, n)"):
        cell(change)
        assert stale() == 2, change
        cell("seen, count, table = [], 0, [1, 2]")
        assert stale() == 0, change
    cell("table[0] = 5")
    open_store(cells["run"]).sweep([ONE, TWO], rerun=True)
    cell("table[0] = 5")
    assert stale() == 0, "a cell that is run again"
    cell("seen, count, table = [], 0, [1, 4]")
    cell("table[0] = 5")
    assert stale() == 2, "what it was bound to counts, too"


@pytest.mark.slow
def test_a_rebuilt_store_and_a_copied_one_know_of_the_code(open_store, place, tmp_path):
    store = open_store(OLD)
    store.sweep([ONE])
    url = f"sqlite:///{tmp_path}/copy.db"
    store.copy_to(url)
    with pytest.warns(StaleWarning, match=r"scale \(held\) changed"):
        open_store(NEW, db_url=url).sweep([ONE])
    open_store(OLD, db_url=url).sweep([ONE])
    for table in (SimResult.__tablename__, "entropic_ledger"):
        place.execute(f"DELETE FROM {table}")
    open_store(OLD).rebuild()
    with pytest.warns(StaleWarning):
        open_store(NEW).sweep([ONE])


def test_two_processes_of_other_code_take_turns_and_come_to_an_end(open_store):
    for runner, value in ((OLD, 1.0), (NEW, 2.0), (OLD, 1.0)):
        store = open_store(runner, on_stale="rerun")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StaleWarning)
            assert store.load(store.run_or_retrieve(ONE)) == value
    assert store.check().ok


# ---- histories -------------------------------------------------------------------------------------------------------
MODEL = """
from entropic import Base, Mapped, Store

from helpers import step


class Row(Base):
    n: Mapped[int]


def run(params):
    # so far
    return step(params["n"])


if __name__ == "__main__":
    import sys, warnings
    warnings.simplefilter("always")
    store = Store(run, Row, "results", ".json", on_stale=sys.argv[1], db_url=sys.argv[2])
    workers = int(sys.argv[3]) or None
    before = {row.id: row.created_at for row in store.select()}
    rows = store.sweep([{"n": 1}, {"n": 2}], workers=workers)
    print([store.load(row) for row in rows], sum(before.get(row.id) != row.created_at for row in rows))
"""
HELPERS = """
FACTOR = 10


def step(n):
    return n * FACTOR
"""
RENAMED = MODEL.replace('    return step(params["n"])', '    n = params["n"]\n    return step(n)')


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.parametrize("workers", [0, 2])
def test_a_history_of_a_project(place, tmp_path, workers):
    def play(model: str, helpers: str, on_stale: str = "warn") -> tuple[str, str]:
        (tmp_path / "model.py").write_text(model)
        (tmp_path / "helpers.py").write_text(helpers)
        command = [sys.executable, "-B", "model.py", on_stale, place.url, str(workers)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip(), done.stderr

    assert play(MODEL, HELPERS) == ("[10, 20] 2", "")
    assert play(MODEL.replace("# so far", "# still"), "# moved\n\n" + HELPERS) == ("[10, 20] 0", "")
    told, warned = play(MODEL, HELPERS.replace("n * FACTOR", "n * FACTOR + 1"))
    assert told == "[10, 20] 0"
    assert "StaleWarning: 2 stored results of Row were made by different code: step changed" in warned
    assert "-    return n * FACTOR\n+    return n * FACTOR + 1" in warned
    told, warned = play(MODEL, HELPERS.replace("n * FACTOR", "n * FACTOR + 1"), "rerun")
    assert (told, "They run again" in warned) == ("[11, 21] 2", True)
    assert play(MODEL, HELPERS.replace("n * FACTOR", "n * FACTOR + 1"), "rerun") == ("[11, 21] 0", "")
    assert "FACTOR changed" in play(MODEL, HELPERS.replace("10", "20").replace("n * FACTOR", "n * FACTOR + 1"))[1]


@pytest.mark.slow
def test_ls_lists_stale_rows(open_store, tmp_path):
    (tmp_path / "script.py").write_text(
        textwrap.dedent(
            """
            import json
            from entropic import Base, Mapped, Store
            class Row(Base):
                n: Mapped[int]
            def run(params):
                return params["n"] + 1
            store = Store(run, Row, "results", ".json", "sqlite:///rows.db")
            if __name__ == "__main__":
                store.run_or_retrieve({"n": 5})
            """
        )
    )
    run = [sys.executable, "-B", "script.py"]
    subprocess.run(run, cwd=tmp_path, check=True)
    text = (tmp_path / "script.py").read_text()
    (tmp_path / "script.py").write_text(text.replace('params["n"] + 1', 'params["n"] + 22'))
    code = "import sys; from entropic.cli.app import main; sys.exit(main())"
    command = [sys.executable, "-B", "-c", code, "ls", "script.py:store", "--stale", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [row["n"] for row in json.loads(done.stdout)] == [5]
