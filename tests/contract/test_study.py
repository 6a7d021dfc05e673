"""A function as a study: called again it loads, its signature is its model, and it goes wherever a function goes."""

from __future__ import annotations

import enum
import pickle
import runpy
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import sqlalchemy as sa

from entropic import ModelError, NamesakeWarning, ParameterError, Study, outcome, study

CALLS: list[Any] = []


class Scheme(enum.Enum):
    EULER = 1
    RK4 = 4


@pytest.fixture
def place_of(tmp_path: Path) -> dict[str, Any]:
    CALLS.clear()
    return {"results": tmp_path / "results", "db_url": f"sqlite:///{tmp_path / 'db.sqlite3'}"}


def test_a_study_runs_once_and_then_loads(place_of: dict[str, Any]) -> None:
    @study(suffix=".npz", **place_of)
    def pendulum(length: float, steps: int = 3) -> dict[str, Any]:
        CALLS.append(length)
        return {"angle": np.full(steps, length)}

    assert pendulum(length=1.0)["angle"].tolist() == [1.0, 1.0, 1.0]
    assert pendulum(length=1.0)["angle"].tolist() == [1.0, 1.0, 1.0]
    assert CALLS == [1.0]


def test_positional_and_keyword_calls_and_defaults_are_one_key(place_of: dict[str, Any]) -> None:
    @study(**place_of)
    def add(a: int, b: int = 2, *, c: int = 3) -> int:
        CALLS.append((a, b, c))
        return a + b + c

    assert [add(1), add(a=1), add(1, 2), add(1, c=3, b=2)] == [6] * 4
    assert CALLS == [(1, 2, 3)]


def test_a_study_sweeps_the_product_of_its_values(place_of: dict[str, Any]) -> None:
    @study(outcomes={"total": int}, **place_of)
    def add(a: int, b: int = 2) -> dict[str, int]:
        return {"total": a + b}

    rows = add.sweep(a=[1, 2], b=range(3))
    assert [(row.a, row.b, row.total) for row in rows] == [(a, b, a + b) for a in (1, 2) for b in range(3)]
    assert len(add.sweep(a=np.array([1, 2]))) == 2
    assert add.store.select(a=1, order_by="-total", limit=1)[0].b == 2


def test_the_model_is_made_of_the_signature(place_of: dict[str, Any]) -> None:
    @study(**place_of)
    def everything(
        n: int, x: float, name: str, flag: bool, scheme: Scheme, mode: Literal["fast", "slow"], grid: list[int],
        note: str | None = None, seed=7,
    ) -> list[Any]:  # fmt: skip
        return [n, x, name, flag, scheme.name, mode, grid, note, seed]

    given: Any = (1, 2.0, "a", True, Scheme.RK4, "fast", [1, 2])
    assert everything(*given) == [1, 2.0, "a", True, "RK4", "fast", [1, 2], None, 7]
    row = everything.store.select()[0]
    assert (row.scheme, row.mode, row.grid, row.note, row.seed) == (Scheme.RK4, "fast", [1, 2], None, 7)
    with pytest.raises(ParameterError, match="mode='medium' does not fit everything"):
        everything(1, 2.0, "a", True, Scheme.RK4, "medium", [1, 2])  # type: ignore[arg-type]


def test_the_columns_of_a_study_have_the_types_that_they_always_had() -> None:
    """Tables that exist were made so; SQLAlchemy's own types for annotations change, as that of float did."""

    def every(
        b: bool, i: int, f: float, n: int | float, s: str, y: bytes, e: Scheme, c: Literal["a", None], j: list[int]
    ) -> None: ...

    columns = study(every).model.__table__.c
    found = {column.name: (type(column.type), column.nullable) for column in columns if "entropic" not in column.info}
    assert found == {
        "b": (sa.Boolean, False),
        "i": (sa.Integer, False),
        "f": (sa.Float, False),
        "n": (sa.Float, False),
        "s": (sa.String, False),
        "y": (sa.LargeBinary, False),
        "e": (sa.Enum, False),
        "c": (sa.String, True),
        "j": (sa.JSON, False),
    }


def test_a_literal_may_be_optional(place_of: dict[str, Any]) -> None:
    @study(**place_of)
    def solve(scheme: Literal["euler", "rk4"] | None = None, order: Literal[1, 2] | None = None) -> list[Any]:
        return [scheme, order]

    assert solve() == [None, None]
    assert solve("rk4", 2) == ["rk4", 2]
    for wrong in ({"scheme": "heun"}, {"order": 3}):
        with pytest.raises(ParameterError, match="does not fit solve: it is one of"):
            solve(**wrong)


@pytest.mark.slow
def test_order_deadline_and_fallback_are_parameters_where_a_function_has_them(place_of: dict[str, Any]) -> None:
    @study(**place_of)
    def solve(order: int, fallback: str = "none") -> int:
        return order

    rows = solve.sweep(order=[2, 1], fallback="mean", deadline="1h")
    assert [(row.order, row.fallback) for row in rows] == [(2, "mean"), (1, "mean")]

    @study(**{**place_of, "name": "solve_on_cores"})
    def fill(memory: int, cores: int = 1) -> int:
        return memory * cores

    assert [(row.memory, row.cores) for row in fill.sweep(memory=[2, 1], cores=3)] == [(2, 3), (1, 3)]

    @study(**{**place_of, "name": "solve_in_order"})
    def walk(n: int) -> int:
        return n

    assert [row.n for row in walk.sweep(n=[1, 2, 3], order="spread")] == [1, 2, 3]


def test_ignored_parameters_reach_the_function_and_are_no_part_of_the_key(place_of: dict[str, Any]) -> None:
    @study(ignore=["verbose"], **place_of)
    def quiet(n: int, verbose: bool = False) -> int:
        CALLS.append((n, verbose))
        return n

    assert [quiet(1, verbose=True), quiet(1), quiet(1, verbose=False), quiet(2)] == [1, 1, 1, 2]
    assert CALLS == [(1, True), (2, False)]


def test_studies_call_studies(place_of: dict[str, Any]) -> None:
    @study(ignore=["loud"], **place_of)
    def inner(n: int, loud: bool = False) -> int:
        CALLS.append(loud)
        return n * 10

    @study(ignore=["loud"], **place_of)
    def outer(n: int, loud: bool = False) -> int:
        return inner(n) + 1

    assert outer(3, loud=True) == 31
    assert outer(3) == 31
    assert CALLS == [False]


def a_method() -> Any:
    class Thing:
        @study()
        def method(self: Any, n: int) -> int:
            return n


def variadic(*args: int) -> int:
    return 0


def untyped(n) -> int:  # type: ignore[no-untyped-def]
    return 0


def reserved(id: str) -> int:
    return 0


def an_option(workers: int) -> int:
    return 0


def strange(n: complex) -> int:
    return 0


async def a_coroutine(n: int) -> int:
    return 0


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda n=1: n, "is a lambda"),
        (print, "builtin_function"),
        (variadic, "any number of arguments"),
        (untyped, "'n' of untyped has no type"),
        (reserved, "belongs to the rows"),
        (an_option, "option of sweep"),
        (strange, "complex"),
        (a_coroutine, "coroutine"),
        (study, "any number|belongs|type"),
    ],
)
def test_what_cannot_be_a_study_is_refused_with_a_reason(function: Any, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        study()(function)


def test_a_method_is_refused(place_of: dict[str, Any]) -> None:
    with pytest.raises((ModelError, RuntimeError)) as caught:
        a_method()
    error = caught.value.__cause__ if isinstance(caught.value, RuntimeError) else caught.value
    assert isinstance(error, ModelError)

    class Thing:
        def plain(self, n):  # type: ignore[no-untyped-def]
            return n

    for method in (Thing.plain, Thing().plain):
        with pytest.raises(ModelError, match="is a method, and what it depends on"):
            study(method)


def test_a_misspelled_argument_is_named_and_not_what_is_missing_for_it(place_of: dict[str, Any]) -> None:
    @study(**place_of)
    def spelled(length: float, steps: int = 10) -> float:
        return length

    for call in (lambda: spelled(lenght=1.0), lambda: spelled.sweep(lenght=[1.0])):  # type: ignore[call-arg]
        with pytest.raises(ParameterError, match=r"no parameter 'lenght'; did you mean 'length'\?"):
            call()


def test_parentheses_may_be_left_out() -> None:
    @study
    def plain(n: int) -> int:
        return n

    assert isinstance(plain, Study)
    with pytest.raises(ModelError, match=r"write|keywords: study\(results='results'\)"):
        study("results")  # type: ignore[call-overload]


def test_a_row_of_a_study_can_be_given_back(place_of: dict[str, Any]) -> None:
    @study(outcomes={"total": int}, **place_of)
    def add(a: int, b: int = 2) -> dict[str, int]:
        return {"total": a + b}

    rows = add.sweep(a=[1, 2])
    assert rows[0].params == {"a": 1, "b": 2}
    assert add.store.sweep(rows) == [*rows] or [row.id for row in add.store.sweep(rows)] == [row.id for row in rows]
    assert add.store.delete(rows[0])


@study(results="never made")
def importable(n: int) -> int:
    """Return it."""
    return n


def test_a_study_keeps_the_name_and_the_words_of_its_function() -> None:
    assert (importable.__name__, importable.__doc__) == ("importable", "Return it.")
    assert repr(importable) == "<study importable(n: 'int') -> 'int'>"
    assert not Path("never made").exists()


def test_an_importable_study_travels_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(importable)) is importable


@pytest.mark.slow
@pytest.mark.parametrize("how", ["workers=2", "workers=None", "client=pool"])
def test_a_study_of_a_script_runs_in_other_processes(tmp_path: Path, how: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from concurrent.futures import ProcessPoolExecutor
        from entropic import study

        @study(results="inner")
        def inner(n: int) -> int:
            return n * 10

        @study(results="outer", outcomes={{"total": int}})
        def outer(n: int) -> dict:
            return {{"total": inner(n) + 1}}

        if __name__ == "__main__":
            with ProcessPoolExecutor(1) as pool:
                print([row.total for row in outer.sweep(n=[1, 2], {how})])
    """)
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[11, 21]", done.stderr


def test_an_outcome_of_a_study_may_be_computed(place_of: dict[str, Any]) -> None:
    @study(outcomes={"peak": outcome(lambda result: max(result))}, **place_of)
    def walk(n: int) -> list[int]:
        return list(range(n))

    assert [row.peak for row in walk.sweep(n=[3, 5])] == [2.0, 4.0]


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("results_dir", "'results'"),
        ("file_suffix", "'suffix'"),
        ("outcome", "'outcomes'"),
        ("database", "it has added"),
    ],
)
def test_an_option_that_no_study_has_is_refused_where_it_is_written(option: str, meant: str) -> None:
    with pytest.raises(ModelError, match=f"study has no option '{option}'; .*{meant}"):
        study(**{option: "x"})


# ---- another study of the same name ----------------------------------------------------------------------------------
FIT = """
from entropic import study

@study{options}
def fit(n: int{more}) -> int:
    return {body}

if __name__ == "__main__":
    {call}
"""


def test_a_namesake_is_told_when_its_store_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def opened(name: str, **parts: str) -> Study[..., Any]:
        Path(name).write_text(FIT.format(**{"options": "", "more": "", "body": "n", "call": "pass", **parts}))
        found: Study[..., Any] = runpy.run_path(name)["fit"]
        return found

    assert opened("a.py")(1) == 1
    with pytest.warns(NamesakeWarning, match=r"fit of a.py and fit of b.py are different functions and have one table"):
        assert opened("b.py", body="n + 1").store.status().stored == 1
    with pytest.raises(ModelError, match=r"fit of a.py and fit of c.py are different functions"):
        opened("c.py", more=", m: float = 0.5").store  # noqa: B018
    with warnings.catch_warnings():
        warnings.simplefilter("error", NamesakeWarning)
        assert opened("d.py")(1) == 1  # a copy
        assert opened("a.py")(1) == 1
        assert opened("b.py", body="n + 1", options="(name='mine')")(1) == 2
        Path("a.py").unlink()
        opened("e.py", body="n + 7").store.status()  # moved, and edited


def scripted(folder: Path, name: str, body: str = "n", options: str = "", more: str = "", call: str = "fit(1)") -> str:
    """Write a script with a study, run it in its folder, and return what it says on stderr."""
    (folder / name).write_text(FIT.format(body=body, options=options, more=more, call=call))
    done = subprocess.run([sys.executable, name], cwd=folder, capture_output=True, text=True, timeout=100)
    return done.stderr


@pytest.mark.slow
def test_a_study_of_the_same_name_in_another_script_is_told_before_anything_runs(tmp_path: Path) -> None:
    assert "Namesake" not in scripted(tmp_path, "a.py")
    told = scripted(tmp_path, "b.py", body="print('it ran') or n + 1", call="fit.store; raise SystemExit('not run')")
    assert "NamesakeWarning: the studies fit of a.py and fit of b.py are different functions and have one table" in told
    assert "@study(name='...')" in told
    assert "Namesake" not in scripted(tmp_path, "a.py")  # it was the first
    assert "fit of a.py and fit of b.py" in scripted(tmp_path, "b.py", more=", m: int = 2", call="fit(n=2)")
    assert "Namesake" not in scripted(tmp_path, "b.py", body="n + 1", options="(name='other')")
    assert "Namesake" not in scripted(tmp_path, "b.py", body="n + 1", options="(db_url='sqlite:///b.sqlite3')")


@pytest.mark.slow
def test_a_study_that_was_moved_or_edited_or_copied_is_the_same(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    scripted(first, "a.py")
    assert "Namesake" not in scripted(first, "a.py", body="n + 2")  # edited
    assert "Namesake" not in scripted(first, "copy.py", body="n + 2")
    (first / "copy.py").unlink()
    (first / "a.py").rename(first / "gone.py")
    (first / "gone.py").unlink()
    assert "Namesake" not in scripted(first, "b.py", body="n + 3")  # moved to another file, and edited
    assert "fit of b.py and fit of c.py" in scripted(first, "c.py", body="n + 4")
    (first / "b.py").write_text("def fit(n): return n")  # no study any more
    assert "Namesake" not in scripted(first, "c.py", body="n + 4")
    shutil.copytree(first, tmp_path / "second")
    assert "Namesake" not in scripted(tmp_path / "second", "c.py", body="n + 5")
