"""Which changes of code are changes of what it does: those that are seen, and those that are none."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entropic.provenance.change import change
from entropic.provenance.code import Code, code_of

HELPERS = """
G = 9.81
TABLE = {"a": 1, "b": 2}
_cache = {}
count = 0


def step(x, dt=0.1):
    return x + dt * G


def other(x):
    return x
"""
MODEL = '''
import math
import numpy as np
import helpers
from helpers import TABLE, step as advance
from dataclasses import dataclass


@dataclass
class Solver:
    """Solves."""

    tolerance: float = 1e-6

    def solve(self, x):
        return self.refine(x) * self.tolerance

    def refine(self, x):
        return x + 1


def run(params):
    """Run a simulation."""
    # with a comment
    total = 0.0
    for i in range(params["n"]):
        total += helpers.step(i) + math.sin(i)
    values = [x * total for x in range(3)]
    with open(params["result_file"], "w") as file:
        file.write(str(values))
    return Solver().solve(advance(total, dt=0.2)) + TABLE["a"] + np.pi
'''
SOLVE = "    def solve(self, x):\n        return self.refine(x) * self.tolerance\n"
REFINE = "    def refine(self, x):\n        return x + 1\n"
assert SOLVE + "\n" + REFINE in MODEL
FILES = {"model.py": MODEL, "helpers.py": HELPERS}


class Project:
    """A project of some files, each version of it in a folder of its own, imported anew."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()

    def code(self, files: dict[str, str] = FILES, name: str = "run") -> Code:
        return code_of(self.load(files, name))

    def load(self, files: dict[str, str] = FILES, name: str = "run") -> Any:
        folder = self._folder / str(next(self._numbers))
        names = [path.removesuffix(".py").replace("/", ".") for path in files]
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        for one in [one for one in sys.modules if one.partition(".")[0] in {name.partition(".")[0] for name in names}]:
            del sys.modules[one]
        sys.path[:] = [str(folder), *(one for one in sys.path if not one.startswith(str(self._folder)))]
        importlib.invalidate_caches()
        return getattr(importlib.import_module("model"), name)


@pytest.fixture
def project(tmp_path) -> Iterator[Project]:
    before, path = set(sys.modules), list(sys.path)
    yield Project(tmp_path)
    sys.path[:] = path
    for name in sys.modules.keys() - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def edited(*edits: tuple[str, str], file: str = "model.py") -> dict[str, str]:
    text = FILES[file]
    for old, new in edits:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    return {**FILES, file: text}


def helpers(*edits: tuple[str, str]) -> dict[str, str]:
    return edited(*edits, file="helpers.py")


SEEN = {
    "a constant in the runner": edited(("range(3)", "range(4)")),
    "an operator": edited(("x * total", "x + total")),
    "a key": edited(('TABLE["a"]', 'TABLE["b"]')),
    "an argument": edited(("dt=0.2", "dt=0.3")),
    "a function of a library": edited(("math.sin", "math.cos")),
    "the library of a function": edited(("math.sin(i)", "np.sin(i)")),
    "a statement that is gone": edited(("        file.write(str(values))\n", "        pass\n")),
    "the order of statements": edited(
        ("    total = 0.0\n", ""), ("        total += helpers", "        total = 0.0\n        total += helpers")
    ),
    "what a helper does": helpers(("x + dt * G", "x - dt * G")),
    "a default of a helper": helpers(("dt=0.1", "dt=0.01")),
    "a constant of a helper": helpers(("9.81", "9.80665")),
    "an entry of a table": helpers(('"a": 1', '"a": 7')),
    "a method that a method calls": edited(("x + 1", "x + 2")),
    "a default of a dataclass": edited(("1e-6", "1e-7")),
    "a name of a parameter that callers may use": helpers(("dt=0.1", "h=0.1"), ("dt * G", "h * G")),
    "two locals that changed places": edited(("x * total for x in range(3)", "total * x for x in range(3)")),
    "another helper": edited(("helpers.step(i)", "helpers.other(i)")),
    "a helper that is wrapped": helpers(("def step", "import functools\n@functools.cache\ndef step")),
    "a base class": edited(("class Solver:", "class Base:\n    def refine(self, x): ...\nclass Solver(Base):")),
}
NONE = {
    "a comment": edited(("# with a comment", "# with another one")),
    "a docstring": edited(('"""Run a simulation."""', '"""Run."""')),
    "no docstring": edited(('    """Run a simulation."""\n', "")),
    "layout": edited(
        (
            '    with open(params["result_file"], "w") as file:',
            "    with open(\n        params[\n\"result_file\"], 'w') as file:",
        )
    ),
    "annotations": edited(
        ("def run(params):", "def run(params: dict[str, object]) -> float:"), ("total = 0.0", "total: float = 0.0")
    ),
    "a renamed local": edited(
        ("    total = 0.0", "    whole = 0.0"),
        ("        total +=", "        whole +="),
        ("x * total", "x * whole"),
        ("advance(total,", "advance(whole,"),
    ),
    "a renamed loop variable": edited(
        ("for i in range", "for k in range"), ("step(i) + math.sin(i)", "step(k) + math.sin(k)")
    ),
    "a renamed variable of a comprehension": edited(("x * total for x in", "y * total for y in")),
    "the name of the runner's params": {**FILES, "model.py": MODEL.replace("params", "p")},
    "another name for an import": {
        **FILES,
        "model.py": MODEL.replace("import numpy as np", "import numpy").replace("np.pi", "numpy.pi"),
    },
    "a helper under another name": {
        **FILES,
        "model.py": MODEL.replace("step as advance", "step").replace("advance(", "step("),
    },
    "a helper by its module": edited(("advance(total", "helpers.step(total")),
    "a function that is not reached": helpers(("def other(x):\n    return x", "def other(x):\n    return x + 1")),
    "a constant spelled otherwise": helpers(("9.81", "981 / 100")),
    "the order of functions": {
        **FILES,
        "helpers.py": HELPERS[: HELPERS.index("def step")]
        + HELPERS[HELPERS.index("def other") :]
        + HELPERS[HELPERS.index("def step") : HELPERS.index("def other")],
    },
    "the order of methods": {**FILES, "model.py": MODEL.replace(SOLVE + "\n" + REFINE, REFINE + "\n" + SOLVE)},
    "a helper that moved into another module": {
        "model.py": MODEL.replace(
            "from helpers import TABLE, step as advance", "from helpers import TABLE\nfrom more import step as advance"
        ).replace("helpers.step", "advance"),
        "helpers.py": HELPERS.replace("def step(x, dt=0.1):\n    return x + dt * G\n", ""),
        "more.py": "from helpers import G\n\n\ndef step(x, dt=0.1):\n    return x + dt * G\n",
    },
    "a class that moved": {
        **FILES,
        "model.py": MODEL[: MODEL.index("@dataclass")]
        + "from solvers import Solver\n\n\n"
        + MODEL[MODEL.index("def run") :],
        "solvers.py": "from dataclasses import dataclass\n" + MODEL[MODEL.index("@dataclass") : MODEL.index("def run")],
    },
}


@pytest.mark.parametrize("what", SEEN)
def test_it_is_seen(what, project):
    assert project.code(SEEN[what]).number != project.code().number


@pytest.mark.parametrize("what", NONE)
def test_it_is_no_change(what, project):
    before, now = project.code(), project.code(NONE[what])
    assert now.number == before.number, change(before.parts, now.parts)


def test_the_change_is_told_by_its_name_and_its_lines(project):
    found = change(project.code().parts, project.code(SEEN["what a helper does"]).parts)
    assert found.changed == ("step",)
    assert "-    return x + dt * G\n+    return x - dt * G" in found.diff
    assert str(found) == "step changed"


def test_a_module_that_was_edited_after_its_import_is_not_taken_for_what_runs(project):
    run = project.load()
    before = code_of(run).number
    path = Path(run.__code__.co_filename)
    path.write_text(MODEL.replace("range(3)", "range(44)"))
    edited_since = code_of(run).number
    assert edited_since not in (before, project.code({**FILES, "model.py": path.read_text()}).number)


def test_what_a_run_changes_in_a_module_is_no_change_of_code(project):
    text = HELPERS.replace(
        "return x + dt * G", "global count\n    count += 1\n    _cache[x] = dt\n    return x + dt * G"
    )
    run = project.load({**FILES, "helpers.py": text})
    before = code_of(run)
    assert {"_cache", "step"} <= {part.name for part in before.parts}
    run.__globals__["helpers"].step(3)
    assert code_of(run).number == before.number


def test_closures_partials_methods_and_objects_count_with_what_they_hold():
    def make(scale: float) -> Any:
        return lambda params: params["n"] * scale

    class Bound:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        def __call__(self, params: Any) -> float:
            return self.scale

        def method(self, params: Any) -> float:
            return self.scale

    def run(scale: float, params: Any) -> float:
        return scale

    for one in (make, Bound, lambda scale: Bound(scale).method, lambda scale: functools.partial(run, scale)):
        assert code_of(one(1.0)).number == code_of(one(1.0)).number
        assert code_of(one(1.0)).number != code_of(one(2.0)).number
        assert code_of(one(1.0)).parts


def test_what_a_closure_keeps_of_its_own_runs_is_no_change():
    def memo(function: Any) -> Any:
        cache: dict[int, float] = {}
        calls, last = 0, [0]

        def run(n: int) -> float:
            nonlocal calls
            calls += 1
            last.append(n)
            if n not in cache:
                cache[n] = function(n)
            return cache[n]

        return run

    run = memo(float)
    before = code_of(run).number
    run(3)
    assert code_of(run).number == before


def test_an_edit_above_what_was_imported_is_no_change_and_one_of_a_default_is(project):
    run = project.load(edited(("return self.refine(x) * self.tolerance", "return self.refine(x)")))
    before, path = code_of(run).number, Path(run.__code__.co_filename)
    text = path.read_text()
    path.write_text("# a comment\n\n" + text)
    assert code_of(run).number == before
    helpers = path.parent / "helpers.py"
    helpers.write_text(helpers.read_text().replace("dt=0.1", "dt=0.7"))
    assert code_of(run).number != before


def test_a_cell_that_is_run_again_is_no_change_and_one_that_was_edited_is():
    cells = {"__name__": "__main__"}

    def cell(text: str, number: int) -> None:
        import linecache

        name, text = f"<ipython-input-{number}>", textwrap.dedent(text)
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        exec(compile(text, name, "exec"), cells)

    cell("def helper(x):\n    return x + 1\n", 1)
    cell("def run(params):\n    return helper(params['n'])\n", 2)
    first = code_of(cells["run"])
    assert {part.name for part in first.parts} == {"run", "helper"}
    assert first.is_current()
    cell("def helper(x):\n    # a comment\n    return x + 1\n", 3)
    assert not first.is_current()
    assert code_of(cells["run"]).number == first.number
    cell("def helper(x):\n    return x + 2\n", 4)
    assert code_of(cells["run"]).number != first.number


def test_three_modules_deep_and_through_imports_within_functions(project):
    def files(last: int, within: str = "") -> dict[str, str]:
        return {
            "model.py": "import a\n\n\ndef run(params):\n    return a.f()\n",
            "a.py": f"import b\n\n\ndef f():\n    {within or 'pass'}\n    return b.f()\n",
            "b.py": "import c\n\n\ndef f():\n    return c.f()\n",
            "c.py": f"def f():\n    return {last}\n",
            "lazy.py": f"import lazier\n\n\ndef g():\n    return {last}\n",
            "lazier.py": "x = 1\n",
        }

    assert project.code(files(1)).number != project.code(files(2)).number
    lazily = files(1, "from lazy import g")
    before = project.code(lazily)
    assert "lazy" not in sys.modules
    assert {part.name for part in before.parts} == {"run", "f", "module lazy", "module lazier"}
    assert project.code({**lazily, "lazy.py": "import lazier\n\n\ndef g():\n    return 2\n"}).number != before.number
    assert project.code({**lazily, "lazy.py": lazily["lazy.py"] + "# a comment\n"}).number == before.number


def test_a_module_that_the_function_around_a_runner_has_imported_is_followed(project):
    def files(last: int) -> dict[str, str]:
        made = "def make():\n    import a\n\n    def run(params):\n        return a.f()\n\n    return run\n"
        return {"model.py": f"{made}\n\nrun = make()\n", "a.py": f"def f():\n    return {last}\n"}

    assert project.code(files(1)).number == project.code(files(1)).number
    assert project.code(files(1)).number != project.code(files(2)).number


def test_other_names_of_other_code_do_not_collide(project):
    first = project.code({"model.py": "def run(params):\n    x = 1\n    return (lambda y: x + y)(2)\n"})
    second = project.code({"model.py": "def run(params):\n    x = 1\n    return (lambda y: y + x)(2)\n"})
    shadow = project.code({"model.py": "x = 5\n\n\ndef run(params):\n    def f():\n        x = 1\n    return x\n"})
    other = project.code({"model.py": "x = 6\n\n\ndef run(params):\n    def f():\n        x = 1\n    return x\n"})
    assert len({one.number for one in (first, second, shadow, other)}) == 4


WHERE = [
    "if True:\n    {}",
    "if not True:\n    pass\nelse:\n    {}",
    "try:\n    {}\nfinally:\n    pass",
    "try:\n    1 / 0\nexcept ZeroDivisionError:\n    {}",
    "try:\n    pass\nexcept ValueError:\n    pass\nelse:\n    {}",
    "try:\n    pass\nfinally:\n    {}",
    "for _ in range(1):\n    {}",
    "for _ in ():\n    pass\nelse:\n    {}",
    "while True:\n    {}\n    break",
    "with open(__file__):\n    {}",
    "match 1:\n    case 1:\n        {}",
]


@pytest.mark.parametrize("where", WHERE)
def test_functions_are_found_wherever_they_stand_and_so_is_that_one_binds_a_name_anew(project, where):
    text = where.format("def run(params): return params['n'] + count")
    text += "\n" + where.format("def forget(): global count; count = 5") + "\ncount = 0\n"
    run = project.load({"model.py": text})
    first = code_of(run)
    assert [part.text for part in first.parts if part.name == "run"] == [
        "def run(params): return params['n'] + count\n"
    ]
    run.__globals__["forget"]()
    assert run({"n": 1}) == 6
    assert code_of(run).number == first.number


PLACED = """
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
DATA = str(HERE / "data")
FILES = (DATA, 1)


def run(params):
    log.info("reading %s of %s", FILES, __name__)
    return os.path.exists(DATA)
"""


def test_where_a_module_lies_and_as_what_it_was_loaded_is_no_code(project, monkeypatch):
    as_module = project.load({"model.py": PLACED})
    spec = importlib.util.spec_from_file_location("__main__", as_module.__code__.co_filename)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "__main__", script)
    spec.loader.exec_module(script)
    as_script, moved = script.run, project.load({"model.py": PLACED})
    assert script.log.name == "__main__" and moved.__globals__["DATA"] != script.DATA
    number = code_of(moved).number
    assert number == code_of(as_module).number == code_of(as_script).number
    for old, new in (("(DATA, 1)", "(DATA, 2)"), ('/ "data"', '/ "other"'), ("r(__name__)", "r(__file__)")):
        assert project.code({"model.py": PLACED.replace(old, new)}).number != number, new


def test_a_study_of_an_installed_package_counts_with_the_whole_package(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("lib") / "site-packages"
    (folder / "installed").mkdir(parents=True)
    (folder / "installed" / "__init__.py").touch()
    (folder / "installed" / "helpers.py").write_text(HELPERS)
    text = "from entropic import study\nfrom .helpers import step\n@study\ndef run(n: int): return step(n)\n"
    (folder / "installed" / "studies.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    run = importlib.import_module("installed.studies").run
    found = code_of(sys.modules["entropic.study"]._Call(run.function, ()))  # what its store runs
    assert {"run", "step", "G"} <= {part.name for part in found.parts}


LAZY = """
import importlib
def __getattr__(name):
    if name != "parts": raise AttributeError(name)
    return importlib.import_module(f"{__name__}.parts")
"""


@pytest.fixture
def lazy(tmp_path_factory, monkeypatch) -> Iterator[None]:
    """A library that loads its module `parts` when that is asked for."""
    folder = tmp_path_factory.mktemp("lib") / "site-packages"
    (folder / "lazy").mkdir(parents=True)
    (folder / "lazy" / "__init__.py").write_text(LAZY)
    (folder / "lazy" / "parts.py").write_text("def step(x): return x\nclass Solver:\n    def solve(self): return 1\n")
    monkeypatch.syspath_prepend(folder)
    yield
    for name in ("lazy", "lazy.parts"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("use", ["lazy.parts.step(1)", "lazy.parts.Solver.solve(1)", "map(lazy.parts, [1])"])
@pytest.mark.usefixtures("lazy")
def test_what_a_lazy_library_has_loaded_so_far_is_no_change_of_code(project, use):
    run = project.load({"model.py": f"import lazy\ndef run(params): return {use}\n"})
    before = code_of(run)
    assert "parts" not in vars(sys.modules["lazy"])
    importlib.import_module("lazy.parts")  # as anything else may do that a script imports
    assert "parts" in vars(sys.modules["lazy"])
    assert code_of(run).number == before.number
    other = project.code({"model.py": f"import lazy\ndef run(params): return {use.replace('parts', 'pieces')}\n"})
    assert other.number != before.number


def test_a_function_of_a_lazy_library_is_the_same_under_each_name(project):
    by_path = project.code({"model.py": "import numpy as np\ndef run(params): return np.random.default_rng(1)\n"})
    for text in (
        "import numpy\ndef run(params): return numpy.random.default_rng(1)\n",
        "from numpy import random\ndef run(params): return random.default_rng(1)\n",
        "from numpy.random import default_rng as make\ndef run(params): return make(1)\n",
    ):
        assert project.code({"model.py": text}).number == by_path.number, text


# ---- what a module makes when it is imported -------------------------------------------------------------------------
WRAPS = """
import functools
def times(k):
    def wrap(g):
        @functools.wraps(g)
        def w(x):
            return g(x) * k
        return w
    return wrap
"""
REGISTRY = """
REG = {}
def register(name):
    def keep(one):
        REG[name] = one
        return one
    return keep
"""
MADE = {  # a module in which 2.0 becomes 3.0, and what a runner calls there
    "a partial": ("import functools\ndef g(k, x): return k * x\nf = functools.partial(g, 2.0)\n", "f(1)"),
    "what a partial calls": ("import functools\ndef g(x): return x * 2.0\nf = functools.partial(g)\n", "f(1)"),
    "a partial that a closure holds": (
        "import functools\ndef g(k, x): return k * x\ndef make(h):\n    return lambda x: h(x)\n"
        "f = make(functools.partial(g, 2.0))\n",
        "f(1)",
    ),
    "a method of an object": ("class C(float):\n    def v(self): return self + 1\nf = C(2.0).v\n", "f()"),
    "a decorator, called": (f"{WRAPS}def g(x): return x\nf = times(2.0)(g)\n", "f(1)"),
    "a decorator": (f"{WRAPS}@times(2.0)\ndef f(x): return x\n", "f(1)"),
    "a function of a function": ("def make(k):\n    def f(x): return x * k\n    return f\nf = make(2.0)\n", "f(1)"),
    "a class of a function": ("def make(k):\n class D:\n  def v(s): return k\n return D\nC = make(2.0)\n", "C().v()"),
    "a named tuple": ("import collections\nP = collections.namedtuple('P', 'a b', defaults=(2.0,))\n", "P(1)"),
    "an enumeration": ("import enum\nE = enum.Enum('E', {'A': 2.0})\n", "E.A.value"),
    "a polynomial": ("import numpy as np\nf = np.poly1d([1.0, 2.0])\n", "f(1)"),
    "a table": ("import numpy as np\nY = [0.0, 2.0]\nf = np.polynomial.Polynomial(Y)\n", "f(1)"),
    "a vectorized function": ("import numpy as np\n@np.vectorize\ndef f(x): return x * 2.0\n", "f(1)"),
    "a function, vectorized": ("import numpy as np\ndef g(x): return x * 2.0\nf = np.vectorize(g)\n", "f(1)"),
    "a generic function": (
        "import functools\n@functools.singledispatch\ndef f(x): return x\n@f.register\ndef _(x: int): return x * 2.0\n",
        "f(1)",
    ),
    "an item that is appended": ("K = [1.0]\nK.append(2.0)\n", "sum(K)"),
    "a list that is extended": ("K = [1.0]\nK += [2.0]\n", "sum(K)"),
    "an item that is set": ("K = {}\nK['a'] = 2.0\n", "K['a']"),
    "an attribute that is set": ("import types\nK = types.SimpleNamespace()\nK.a = 2.0\n", "K.a"),
    "an array that is filled": ("import numpy as np\nA = np.zeros(3)\nA.fill(2.0)\n", "A.sum()"),
    "a loop": ("K = []\nfor i in range(3):\n    K.append(i * 2.0)\n", "sum(K)"),
    "how often a loop goes": ("K = []\nfor i in range(int(2.0)):\n    K.append(i)\n", "sum(K)"),
    "what a function sets that is called": ("K = {}\ndef setup(**k): K.update(k)\nsetup(k=2.0)\n", "K['k']"),
    "what such a function does": ("_k = None\ndef setup():\n    global _k\n    _k = 2.0\nsetup()\n", "_k"),
    "an attribute of a function": ("def f(): return f.k\nf.k = 2.0\n", "f()"),
    "a method that is set": ("class C: pass\ndef v(self): return 2.0\nC.v = v\n", "C().v()"),
    "a registered function": (f"{REGISTRY}@register('f')\ndef f(x): return x * 2.0\n", "REG['f'](1)"),
    "a registered class": (f"{REGISTRY}@register('C')\nclass C:\n    k = 2.0\n", "REG['C']().k"),
    "a registered subclass": (
        "class B:\n reg = {}\n def __init_subclass__(cls): B.reg['C'] = cls\nclass C(B):\n k = 2.0\n",
        "B.reg['C']().k",
    ),
    "a function in a list": ("def f(x): return x * 2.0\nSTEPS = [g for g in (f,)]\n", "STEPS[0](1)"),
}  # fmt: skip


@pytest.mark.parametrize("by_name", [False, True], ids=["import", "from"])
@pytest.mark.parametrize("what", MADE)
def test_what_a_module_makes_when_it_is_imported_is_seen(what, by_name, project):
    text, use = MADE[what]
    root = use.partition("(")[2].rstrip(")") if use.startswith("sum(") else use.partition("(")[0].partition("[")[0]
    root = root.partition(".")[0]
    runner = f"from lib import {root}\n" if by_name else "import lib\n"
    runner += f"def run(params): return {use if by_name else use.replace(root, f'lib.{root}', 1)}\n"
    before = project.code({"model.py": runner, "lib.py": text})
    assert text.count("2.0") == 1
    assert project.code({"model.py": runner, "lib.py": text.replace("2.0", "3.0")}).number != before.number
    assert project.code({"model.py": runner, "lib.py": f"{text}\ndef other(): return 7\n"}).number == before.number


def test_what_another_module_registers_is_seen(project):
    files = {
        "model.py": "import lib\nimport schemes\ndef run(params): return lib.REG['f'](1)\n",
        "lib.py": REGISTRY,
        "schemes.py": "import lib\n@lib.register('f')\ndef f(x): return x * 2.0\n",
    }
    assert project.code(files | {"schemes.py": files["schemes.py"].replace("2.0", "3.0")}).number != (
        project.code(files).number
    )


@pytest.mark.parametrize("used", ["@keep", "@keep_at_most(9)"])
def test_another_function_with_the_same_cache_is_no_change(used, project):
    text = (
        "CACHE = {}\n"
        "def keep(f):\n    def kept(x):\n        if x not in CACHE:\n            CACHE[x] = f(x)\n"
        "        return CACHE[x]\n    return kept\n"
        "def keep_at_most(n):\n    return lambda f: keep(f)\n"
        f"{used}\ndef mine(x): return x + 1.0\n"
        f"{used}\ndef other(x): return x + 2.0\n"
    )
    files = {"model.py": "import lib\ndef run(params): return lib.mine(1)\n", "lib.py": text}
    number = project.code(files).number
    assert project.code(files | {"lib.py": text.replace("2.0", "3.0")}).number == number
    assert project.code(files | {"lib.py": text.replace("1.0", "3.0")}).number != number


def test_a_lambda_that_moved_to_another_module_is_no_change(project):
    here = {"model.py": "step = lambda x: x + 1\ndef run(params): return step(1)\n"}
    there = {
        "model.py": "from lib import step\ndef run(params): return step(1)\n",
        "lib.py": "step = lambda x: x + 1\n",
    }
    assert project.code(here).number == project.code(there).number


def test_what_only_a_run_loads_into_a_registry_is_no_change(project):
    run = project.load(
        {
            "model.py": "import importlib\nimport lib\ndef run(params):\n"
            "    importlib.import_module('schemes')\n    return lib.REG['f'](1)\n",
            "lib.py": REGISTRY,
            "schemes.py": "import lib\n@lib.register('f')\ndef f(x): return x * 2.0\n",
        }
    )
    before = code_of(run).number
    assert run({}) == 2.0
    assert code_of(run).number == before


@pytest.mark.parametrize("more", ["print(K)", "len(K)", "plotted = [one for one in K]", "K.copy()", "K.index(1.0)"])
def test_a_statement_that_only_reads_a_value_is_no_change(more, project):
    text = "K = [1.0]\ndef run(params): return K[0]\n"
    assert project.code({"model.py": f"{text}{more}\n"}).number == project.code({"model.py": text}).number


def test_a_module_of_the_projects_own_lazy_package_is_seen_and_loading_it_is_no_change(project):
    files = {
        "model.py": "import pkg\ndef run(params): return pkg.a.f(1)\n",
        "pkg/__init__.py": "import importlib\ndef __getattr__(name): return importlib.import_module(f'pkg.{name}')\n",
        "pkg/a.py": "def f(x): return x * 2.0\n",
    }
    run = project.load(files)
    before = code_of(run).number
    assert run({}) == 2.0
    assert code_of(run).number == before
    assert project.code(files | {"pkg/a.py": "def f(x): return x * 3.0\n"}).number != before


def test_code_without_a_source_has_one_number_in_each_process():
    script = (
        "from entropic.provenance.code import code_of\n"
        "names = {'__name__': '__main__'}\n"
        'exec(\'def run(params): return params in {"euler", "rk4", "heun", "verlet"}\', names)\n'
        "print(code_of(names['run']).number)\n"
    )
    numbers = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": str(seed)}, text=True,
            capture_output=True, check=True,
        ).stdout
        for seed in range(4)
    }  # fmt: skip
    assert len(numbers) == 1


@pytest.mark.parametrize("odd", [print, len, dict, object(), None, 3], ids=lambda odd: type(odd).__name__)
def test_of_what_is_built_in_nothing_is_known(odd):
    assert code_of(odd).parts == ()
