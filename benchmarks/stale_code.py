"""Which edits of real functions count as a change of what they do: `python benchmarks/stale_code.py` prints a table.

Twenty public functions of Python's own library and of SciPy are copied into a project, with the module that they are
in, and edited by machine, each in twenty ways: ten that change what is computed, and ten that do not. An edit that
cannot be made to a function (no default to change, say) is left out.
"""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import linecache
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from entropic.provenance.code import Code, code_of

FUNCTIONS = {
    "calendar": "leapdays",
    "colorsys": "rgb_to_hls hls_to_rgb",
    "difflib": "get_close_matches ndiff",
    "fnmatch": "translate",
    "heapq": "merge nlargest",
    "ipaddress": "summarize_address_range",
    "nturl2path": "pathname2url",
    "quopri": "encodestring",
    "scipy.linalg._special_matrices": "toeplitz hadamard",
    "scipy.signal._waveforms": "sawtooth square chirp",
    "shlex": "split",
    "statistics": "linear_regression quantiles",
    "string": "capwords",
    "textwrap": "dedent wrap",
}
WANTED = 20
Edit = Callable[[ast.Module, Any, Code], ast.Module | str | None]


# ---- edits that change what is computed ----------------------------------------------------------------------------
def first(node: ast.AST, *kinds: type, where: Callable[[Any], bool] = lambda _: True) -> Any:
    body = node.body if isinstance(node, ast.FunctionDef) else [node]
    return next((one for part in body for one in ast.walk(part) if isinstance(one, kinds) and where(one)), None)


def a_number(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    found = first(function, ast.Constant, where=lambda one: type(one.value) in (int, float))
    if found is None:
        return None
    found.value += 1
    return tree


def an_operator(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    found = first(function, ast.BinOp, ast.Compare, where=lambda one: not isinstance(getattr(one, "op", None), ast.Mod))
    if isinstance(found, ast.BinOp):
        found.op = ast.Sub() if isinstance(found.op, ast.Add) else ast.Add()
    elif found is not None:
        found.ops[0] = ast.NotEq() if isinstance(found.ops[0], ast.Eq) else ast.Eq()
    return found and tree


def a_condition(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    found = first(function, ast.If, ast.IfExp, ast.While)
    if found is not None:
        found.test = ast.UnaryOp(ast.Not(), found.test)
    return found and tree


def a_result(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    found = first(function, ast.Return, where=lambda one: one.value is not None)
    if found is not None:
        found.value = ast.Tuple([found.value], ast.Load())
    return found and tree


def a_default(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    if not function.args.defaults:
        return None
    function.args.defaults[-1] = ast.Constant("another")
    return tree


def an_argument(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    found = first(function, ast.Call)
    if found is not None:
        found.args.append(ast.Constant(None))
    return found and tree


def an_attribute(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    found = first(function, ast.Attribute)
    if found is not None:
        found.attr += "_"
    return found and tree


def a_statement(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    body = [one for one in function.body if not isinstance(one, ast.Expr)]
    if len(body) < 2:
        return None
    function.body.remove(body[0])
    return tree


def a_helper(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    names = {part.name for part in code.parts} - {function.name}
    found = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name in names]
    return a_result(tree, found[0], code) or a_number(tree, found[0], code) if found else None


def a_constant(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    names = {part.name for part in code.parts}
    for one in tree.body:
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name) and one.targets[0].id in names:
            found = first(one.value, ast.Constant, where=lambda inner: type(inner.value) in (int, float, str))
            if found is not None:
                found.value = found.value + (1 if not isinstance(found.value, str) else "x")
                return tree
    return None


# ---- edits that change nothing of what is computed -----------------------------------------------------------------
def layout(tree: ast.Module, function: Any, code: Code) -> ast.Module:
    return tree  # is unparsed: without comments, in another layout


def comments(tree: ast.Module, function: Any, code: Code) -> str:
    lines = []
    for line in ast.unparse(tree).splitlines():
        lines += (
            [f"{' ' * (len(line) - len(line.lstrip()))}# a comment", f"{line}  # and another"] if safe(line) else [line]
        )
    return "\n".join(lines) + "\n"


def safe(line: str) -> bool:
    return bool(line.strip()) and not any(quote in line for quote in "\"'\\")


def a_docstring(tree: ast.Module, function: Any, code: Code) -> ast.Module:
    if ast.get_docstring(function) is not None:
        function.body.pop(0)
    function.body.insert(0, ast.Expr(ast.Constant("Another docstring.")))
    return tree


def annotations(tree: ast.Module, function: Any, code: Code) -> ast.Module:
    for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
        one.annotation = ast.Name("object", ast.Load())
    function.returns = ast.Constant(None)
    return tree


def a_local(tree: ast.Module, function: Any, code: Code) -> ast.Module | None:
    args = function.args
    given = {one.arg for one in ast.walk(function) if isinstance(one, ast.arg)} | {
        one.arg for one in (args.vararg, args.kwarg) if one is not None
    }
    stored = [one.id for one in ast.walk(function) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
    declared = {name for one in ast.walk(function) if isinstance(one, ast.Global | ast.Nonlocal) for name in one.names}
    names = [name for name in stored if name not in given | declared]
    for one in ast.walk(function):
        if isinstance(one, ast.Name) and one.id in names:
            one.id = f"renamed_{one.id}"
    return tree if names else None


def the_order(tree: ast.Module, function: Any, code: Code) -> ast.Module:
    tree.body.remove(function)
    tree.body.append(function)
    return tree


def an_import(tree: ast.Module, function: Any, code: Code) -> ast.Module:
    after = sum(
        (isinstance(one, ast.ImportFrom) and one.module == "__future__") or isinstance(one, ast.Expr)
        for one in tree.body[:2]
    )
    tree.body.insert(after, ast.Import([ast.alias("abc", "unused")]))
    return tree


def another_function(tree: ast.Module, function: Any, code: Code) -> ast.Module:
    tree.body += ast.parse("def never_called(x):\n    return x + 1\n").body
    return tree


def a_pass(tree: ast.Module, function: Any, code: Code) -> ast.Module:
    function.body.insert(1 if ast.get_docstring(function) is not None else 0, ast.Pass())
    return tree


CHANGES: dict[str, Edit] = {
    "a number": a_number,
    "an operator": an_operator,
    "a condition, negated": a_condition,
    "a returned value": a_result,
    "a default": a_default,
    "an argument of a call": an_argument,
    "an attribute": an_attribute,
    "a statement, removed": a_statement,
    "a helper": a_helper,
    "a constant of the module": a_constant,
}
NONE: dict[str, Edit] = {
    "layout, all comments removed": layout,
    "comments": comments,
    "a docstring": a_docstring,
    "annotations": annotations,
    "renamed locals": a_local,
    "the order of functions": the_order,
    "an import that nobody uses": an_import,
    "a function that nobody calls": another_function,
    "a `pass`": a_pass,
}
ELSEWHERE = "the module, moved and renamed"


# ---- playing them --------------------------------------------------------------------------------------------------
def load(folder: Path, name: str, text: str) -> ModuleType:
    """Import a text as a module of the project, from a file of its own."""
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def node_of(tree: ast.Module, name: str) -> Any:
    return next((one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name), None)


def play(folder: Path, name: str) -> Iterator[tuple[str, bool]]:
    """Yield each edit that can be made to a function, and whether it counts as a change."""
    module, _, function = name.rpartition(".")
    found = importlib.import_module(module)
    text = "".join(linecache.getlines(str(found.__file__)))
    short = f"p{len(list(folder.iterdir()))}_"
    before = code_of(getattr(load(folder, f"{short}model", text), function))
    tree = ast.parse(text)
    for number, (what, edit) in enumerate({**CHANGES, **NONE}.items()):
        edited = copy.deepcopy(tree)
        made = edit(edited, node_of(edited, function), before)
        if made is None:
            continue
        new = made if isinstance(made, str) else ast.unparse(ast.fix_missing_locations(made))
        try:
            now = code_of(getattr(load(folder, f"{short}{number}model", new), function))
        except (SyntaxError, TypeError, ValueError, AttributeError):
            continue  # it can no longer be imported
        yield what, now.number != before.number
    yield ELSEWHERE, code_of(getattr(load(folder, f"{short}elsewhere", text), function)).number != before.number


def main() -> int:
    seen: dict[str, list[bool]] = {what: [] for what in (*CHANGES, *NONE, ELSEWHERE)}
    done = 0
    with tempfile.TemporaryDirectory() as name:
        for function in (f"{module}.{one}" for module, names in FUNCTIONS.items() for one in names.split()):
            try:
                results = list(play(Path(name), function))
            except (ImportError, AttributeError) as error:  # of another version
                print(f"{function} is left out: {error}", file=sys.stderr)
                continue
            done += 1
            for what, changed in results:
                seen[what].append(changed)
            if done == WANTED:
                break
    print(f"{done} functions\n")
    for title, names, right in (("changes", CHANGES, True), ("no changes", [*NONE, ELSEWHERE], False)):
        print(f"| {title} | edits | {'caught' if right else 'false alarms'} |\n| --- | --- | --- |")
        for what in names:
            print(f"| {what} | {len(seen[what])} | {sum(seen[what])} |")
        every = [one for what in names for one in seen[what]]
        print(f"| **all** | **{len(every)}** | **{sum(every)}** |\n")
    missed = sum(not one for what in CHANGES for one in seen[what])
    false = sum(one for what in (*NONE, ELSEWHERE) for one in seen[what])
    return int(bool(missed or false))


if __name__ == "__main__":
    sys.exit(main())
