"""A row says which code has made it, also where a worker has loaded other code than the process that sweeps."""

from __future__ import annotations

import concurrent.futures
import importlib
import multiprocessing
import sys
import uuid
import warnings
from pathlib import Path
from typing import Any

import pytest

from contract.models import OtherResult
from entropic import StaleError, StaleWarning

ONE, TWO, THREE = ({"n": n, "dt": 0.5} for n in (1, 2, 3))
HELPER = """
import functools
import math
import multiprocessing
import os

PROCESS = os.getpid()
RATE = 2
FLOOR = math.floor(0.5)
TABLE = {"a": 0}
QUIET = 0
if multiprocessing.parent_process() is not None:
    QUIET = 1


def memo(function):
    cache = {}
    count = 0

    def inner(n):
        nonlocal count
        count += 1
        if n not in cache:
            cache[n] = function(n)
        return cache[n]

    return inner


def scale(factor):
    def decorated(function):
        @functools.wraps(function)
        def inner(n):
            return factor * function(n)

        return inner

    return decorated


@memo
def mesh(n):
    return n


class Grid:
    size = 1

    def __init__(self, n):
        self.n = n

    def points(self):
        return self.size * self.n


zero = lambda n: 0 * n
nothing = lambda n: 0 - 0 * n


@scale(1)
def step(n, more=0):
    n = Grid(mesh(n)).points()
    return n * RATE + FLOOR + TABLE["a"] + zero(n) + nothing(n) + more + 0 * (PROCESS + QUIET)
"""
STUDY = """
import json
from pathlib import Path
import {helper} as helper
def run(params):
    Path(params["result_file"]).write_text(json.dumps(helper.step(params["n"])))
"""


LAZY = """
import json
from pathlib import Path
def run(params):
    import {helper} as helper
    Path(params["result_file"]).write_text(json.dumps(helper.step(params["n"])))
"""


class Project:
    """A runner in a module, and a module that it uses, both of which another process imports."""

    def __init__(self, folder: Path, study: str = STUDY) -> None:
        self.folder, made = folder, uuid.uuid4().hex[:8]
        self.names = f"study_{made}", f"helper_{made}"
        self.write(self.names[1], HELPER)
        self.write(self.names[0], study.format(helper=self.names[1]))
        self.study = importlib.import_module(self.names[0])
        self.run = self.study.run

    @property
    def helper(self) -> Any:
        return importlib.import_module(self.names[1])

    def load_anew(self) -> Any:
        """Return the runner as a new process would import it."""
        importlib.reload(self.helper)
        self.study = importlib.reload(self.study)
        return self.study.run

    def write(self, name: str, text: str) -> None:
        path = self.folder / f"{name}.py"
        path.write_text(text)
        importlib.invalidate_caches()

    def edit(self, old: str, new: str) -> None:
        """Edit the helper; whoever has imported it goes on with what it was."""
        text = (self.folder / f"{self.names[1]}.py").read_text()
        assert old in text
        self.write(self.names[1], text.replace(old, new))


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a second is too coarse for what is edited at once
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return Project(folder)


@pytest.fixture
def lazy(project) -> Project:
    """One whose runner imports the other module only when it runs."""
    return Project(project.folder, LAZY)


@pytest.fixture(autouse=True)
def all_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(params=["workers", pytest.param("pool", marks=pytest.mark.slow)])
def way(request) -> Any:
    """How a sweep is executed: by new processes of its own, or by a pool."""
    if request.param == "workers":
        yield {"workers": 1}
        return
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield {"client": pool}


# ---- what differs ----------------------------------------------------------------------------------------------------
def test_a_worker_that_starts_after_an_edit_says_that_it_ran_other_code(open_store, project, way):
    store = open_store(project.run)
    store.run_or_retrieve(ONE)
    project.edit("n * RATE", "n * RATE + 100")
    with pytest.warns(StaleWarning, match="(?is)made by different code: step changed.*the workers had loaded.*100"):
        rows = store.sweep([ONE, TWO], **way)
    assert [store.load(row) for row in rows] == [2, 104]
    with pytest.warns(StaleWarning, match="step changed"):
        store.run_or_retrieve(TWO)
    assert store.check().ok


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("RATE = 2", "RATE = 3", id="a constant", marks=pytest.mark.slow),
        pytest.param("RATE = 2", "RATE = math.floor(3.5)", id="a constant that is computed now"),
        pytest.param(
            "math.floor(0.5)",
            "math.floor(1.5)",
            id="a constant that is computed in another way",
            marks=pytest.mark.slow,
        ),
        pytest.param('{"a": 0}', '{"a": 1}', id="a table", marks=pytest.mark.slow),
        pytest.param("QUIET = 0\n", "QUIET = 0\nTABLE['a'] = 1\n", id="an entry of a table", marks=pytest.mark.slow),
        pytest.param("more=0", "more=1", id="a default"),
        pytest.param("@scale(1)", "@scale(3)", id="an argument of a decorator"),
        pytest.param("@memo\n", "@memo\n@scale(3)\n", id="a decorator", marks=pytest.mark.slow),
        pytest.param("size = 1", "size = 3", id="an attribute of a class", marks=pytest.mark.slow),
        pytest.param("self.size * self.n", "self.size * self.n + 1", id="a method", marks=pytest.mark.slow),
        pytest.param("zero = lambda n: 0 * n", "zero = lambda n: 1 * n", id="the first of two lambdas"),
        pytest.param(
            "nothing = lambda n: 0 - 0 * n",
            "nothing = lambda n: 1 - 0 * n",
            id="the second of them",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_other_values_in_a_worker_are_other_code(open_store, project, old, new):
    store = open_store(project.run)
    store.run_or_retrieve(TWO)
    project.edit(old, new)
    with pytest.warns(StaleWarning, match="(?i)the workers had loaded"):
        (row,) = store.sweep([ONE], workers=1)
    assert store.load(row) != 2
    assert [row.n for row in store.stale()] == [1]
    assert [row.n for row in open_store(project.load_anew()).stale()] == [2]


def test_a_module_that_a_run_imports_counts_as_the_worker_finds_it(open_store, lazy):
    file = lazy.folder / f"{lazy.names[1]}.py"

    def edit_meanwhile() -> None:
        file.write_text(file.read_text().replace("n * RATE", "n * RATE + 100"))

    store = open_store(lazy.run)
    with pytest.warns(StaleWarning, match=f"(?is)module {lazy.names[1]} changed.*the workers had loaded"):
        (row,) = store.sweep([ONE], workers=1, worker_setup=edit_meanwhile)
    assert store.load(row) == 102
    assert not open_store(lazy.run).stale()


def test_a_module_that_a_worker_has_imported_in_an_earlier_run_counts_as_it_was(open_store, lazy):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        open_store(lazy.run).sweep([ONE], pool)
        lazy.edit("def step", "# what a step does\n\ndef step")
        open_store(lazy.run).sweep([ONE, TWO], pool)
        lazy.edit("n * RATE", "n * RATE + 100")
        store = open_store(lazy.run)
        with pytest.warns(StaleWarning) as told:
            assert store.load(store.sweep([THREE], pool)[0]) == 6
    assert "The workers had loaded that" in str(told[-1].message)
    assert len(store.stale()) == 3


def test_what_this_process_sets_in_a_module_is_not_what_workers_see(open_store, project, monkeypatch):
    monkeypatch.setattr(project.helper, "RATE", 7)
    store = open_store(project.run)
    with pytest.warns(StaleWarning, match=r"(?s)RATE changed.*-RATE = 2.*\+RATE = 7"):
        (row,) = store.sweep([ONE], workers=1)
    assert store.load(row) == 2


def test_what_the_setup_of_a_worker_sets_is_what_it_has_loaded(open_store, project, monkeypatch):
    monkeypatch.setattr(project.helper, "RATE", 7)
    name = project.helper.__name__

    def set_rate() -> None:
        importlib.import_module(name).RATE = 7  # type: ignore[attr-defined]

    store = open_store(project.run)
    (row,) = store.sweep([ONE], workers=1, worker_setup=set_rate)
    assert store.load(row) == 7
    assert not store.stale()


def test_a_worker_that_has_loaded_the_code_before_an_edit_says_so(open_store, project):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        open_store(project.run).sweep([ONE], pool)
        project.edit("n * RATE", "n * RATE + 100")
        store = open_store(project.load_anew())
        with pytest.warns(StaleWarning, match="(?i)the workers had loaded"):
            assert [store.load(row) for row in store.sweep([TWO], pool)] == [4]
    with pytest.warns(StaleWarning, match="made by different code"):
        store.run_or_retrieve(TWO)


def test_a_runner_of_a_script_says_so_of_the_modules_that_it_uses(open_store, project):
    def run(params: dict[str, Any]) -> None:
        Path(params["result_file"]).write_text(str(helper.step(params["n"])))

    helper = project.helper
    store = open_store(run)
    project.edit("n * RATE", "n * RATE + 100")
    with pytest.warns(StaleWarning, match="step changed"):
        (row,) = store.sweep([ONE], workers=1)
    assert store.load(row) == 102


def test_a_store_that_a_run_asks_in_a_worker_says_so_of_its_own_rows(open_store, project):
    inner = open_store(project.run, model=OtherResult)

    def run(params: dict[str, Any]) -> None:
        Path(params["result_file"]).write_text(str(inner.load(inner.run_or_retrieve({"n": params["n"], "dt": 0.5}))))

    project.edit("n * RATE", "n * RATE + 100")
    store = open_store(run)
    store.sweep([ONE], workers=1)
    assert store.load(ONE) == 102
    assert [row.n for row in inner.stale()] == [1]


def test_a_store_that_refuses_stale_results_refuses_these_and_keeps_them(open_store, project):
    store = open_store(project.run, on_stale="error")
    project.edit("RATE = 2", "RATE = 3")
    with pytest.raises(StaleError, match="RATE changed"):
        store.sweep([ONE], workers=1)
    assert store.status().stored == 1
    with pytest.raises(StaleError, match="RATE changed"):
        store.run_or_retrieve(ONE)


def test_a_store_that_runs_stale_results_again_does_so_once_that_helps(open_store, project):
    store = open_store(project.run, on_stale="rerun")
    project.edit("RATE = 2", "RATE = 3")
    with pytest.warns(StaleWarning, match="(?i)the workers had loaded.* the next call for it runs it again"):
        store.sweep([ONE], workers=1)
    with pytest.warns(StaleWarning, match="It runs again"):
        assert store.load(store.run_or_retrieve(ONE)) == 2
    store.run(ONE)


def test_a_store_that_ignores_stale_results_says_nothing(open_store, project):
    store = open_store(project.run, on_stale="ignore")
    project.edit("RATE = 2", "RATE = 3")
    assert len(store.sweep([ONE], workers=1)) == 1


# ---- what is the same ------------------------------------------------------------------------------------------------
def test_a_worker_with_the_same_code_says_so(open_store, project, way):
    store = open_store(project.run)
    store.run_or_retrieve(ONE)
    store.sweep([ONE, TWO], **way)
    assert not store.stale()
    store.run_or_retrieve(TWO)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("import functools", "# a module\n\nimport functools", id="a comment"),
        pytest.param("RATE = 2", "RATE = 2\ndef other():\n    return RATE + 1\n", id="what the runner does not use"),
    ],
)
def test_an_edit_that_changes_nothing_is_no_other_code(open_store, project, old, new, way):
    store = open_store(project.run)
    store.run_or_retrieve(ONE)
    project.edit(old, new)
    store.sweep([ONE, TWO], **way)
    assert not store.stale()


def test_what_runs_have_left_in_a_module_is_no_other_code(open_store, project):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        store = open_store(project.run)
        for one in ({"workers": 1}, {"client": pool}, {"client": pool}):
            store.run(ONE)  # and so `mesh` has kept something here
            store.sweep([ONE, TWO], **one)
            store.delete(TWO)
        assert not store.stale()
        open_store(project.run, version="2").sweep([THREE], pool)


def test_two_functions_of_one_name_are_told_apart(open_store, project):
    other = f"other_{project.names[1]}"
    project.write(other, "def step(n):\n    return 10 * n\n")
    text = (project.folder / f"{project.names[0]}.py").read_text()
    project.write(
        project.names[0], f"import {other} as other\n" + text.replace("step(params", "step(other.step(1) * params")
    )
    store = open_store(project.load_anew())
    project.edit("return factor * function(n)", "return factor * function(n) + 100")
    project.write(other, "def step(n):\n    return 10 * n + 1\n")
    with pytest.warns(StaleWarning, match="step changed"):
        (row,) = store.sweep([ONE], workers=1)
    assert store.load(row) == 122
    importlib.reload(sys.modules[other])
    assert not open_store(project.load_anew()).stale()


# ---- what others see later -------------------------------------------------------------------------------------------
def test_what_was_edited_before_a_worker_began_counts_as_current_once_it_is_loaded(open_store, project, tmp_path):
    store = open_store(project.run)
    store.run_or_retrieve(ONE)
    project.edit("n * RATE", "n * RATE + 100")
    with pytest.warns(StaleWarning):
        store.sweep([TWO], workers=1)
    now = open_store(project.load_anew())
    assert now.load(TWO) == 104
    assert [row.n for row in now.stale()] == [1]
