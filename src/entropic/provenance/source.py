"""The source of functions and classes as they were compiled: their place in the syntax tree of their file."""

import ast
import functools
import itertools
import os
import sys
import textwrap
from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from entropic.provenance import notebook, texts
from entropic.provenance.compiled import has_defaults, is_compiled_from, is_written_out, line_of, may_have_changed

_Tree = ast.Module
PLACES = frozenset({"__name__", "__file__", "__path__", "__package__", "__spec__", "__loader__", "__doc__"})
"""Names of a module whose values say how and where it was loaded (and its docstring), and nothing of what it does."""


class Piece(NamedTuple):
    """A node of a syntax tree, and the lines of its text."""

    node: ast.AST
    text: str


def of_function(function: FunctionType) -> Piece | None:
    """Return the source of a function; None if there is none, or if it has changed since it was compiled."""
    code = function.__code__
    text = texts.read(code.co_filename, function.__globals__)
    tree = _parsed(text)
    line = line_of(function, text)
    if tree is None or line is None:
        return None
    named = _lambdas(tree) if code.co_name == "<lambda>" else _definitions(tree).get(code.co_name, [])
    found = [one for one in named if not isinstance(one, ast.ClassDef) and _begin(one) == line]
    if may_have_changed(code.co_filename):
        found = [one for one in found if has_defaults(function, one.args)]
    if len(found) > 1:
        found = [one for one in found if _spans(one, code)]
    return _piece(found[0], text) if len(found) == 1 else None


def of_class(cls: type) -> Piece | None:
    """Return the source of a class; None if there is none, or if it has changed since it was compiled."""
    functions = [one for value in vars(cls).values() if (one := _function_of(value)) is not None]
    own = [one for one in functions if one.__module__ == cls.__module__ and _is_written(one, cls)]
    module = sys.modules.get(cls.__module__)
    name = own[0].__code__.co_filename if own else getattr(module, "__file__", None)
    if not isinstance(name, str):
        return None
    text = texts.read(name, vars(module) if module is not None else {})
    tree = _parsed(text)
    lines = {line_of(one, text) for one in own}
    if tree is None or None in lines:
        return None
    path = [one for one in cls.__qualname__.split(".") if one != "<locals>"]
    found = _by_path(tree, path)
    if own:  # of several of one name, that with these methods
        found = [one for one in found if lines <= set(range(one.lineno, (one.end_lineno or one.lineno) + 1))]
    return _piece(found[-1], text) if found else None


def of_module(file: str) -> Piece | None:
    """Return the source of a whole file."""
    text = texts.read(file, {})
    tree = _parsed(text)
    return None if tree is None else Piece(tree, text)


def bindings(module_file: str | None, name: str, names: Mapping[str, Any]) -> list[ast.stmt]:
    """Return the statements of a module that bind a name, or change its value in place; a loop counts as a whole.

    Functions are looked into only where the module itself calls them, or decorates with them, such as `register`. What
    runs change, such as a cache, is not code.

    Of a notebook those of the cell that was run last, and of what was changed in its value since.

    Parameters
    ----------
    names
        Those of the module.
    """
    tree = _parsed(texts.read(module_file, {})) if isinstance(module_file, str) else None
    if tree is not None and (found := _names_bound(tree).get(name)):
        return list(found)
    cells = (text for text in reversed(notebook.cells(names)) if name in text)
    return notebook.bindings((cell for text in cells if (cell := _parsed(text)) is not None), name)


def imports(file: str) -> list[ast.Import | ast.ImportFrom]:
    """Return what a file imports, in functions and classes not looked into."""
    tree = _parsed(texts.read(file, {}))
    return [] if tree is None else _imports(tree)


@functools.lru_cache(maxsize=256)
def _imports(tree: _Tree) -> list[ast.Import | ast.ImportFrom]:
    inside = {each for one in _statements(tree) if isinstance(one, _DEFINITIONS) for each in _statements_in(one)}
    found = (one for one in _statements(tree) if isinstance(one, ast.Import | ast.ImportFrom))
    return [one for one in found if one not in inside]


def rebound(module_file: str | None, names: Mapping[str, Any]) -> frozenset[str]:
    """Return the names that functions of a module, or of a notebook, bind anew: what they hold is no code."""
    tree = _parsed(texts.read(module_file, {})) if isinstance(module_file, str) else None
    found = frozenset() if tree is None else _declared(tree)
    cells = (_parsed(text) for text in notebook.cells(names) if "global" in text)
    return found.union(*(_declared(cell) for cell in cells if cell is not None))


def is_literal(module_file: str | None, name: str) -> bool:
    """Tell whether a module gives a name values that are written out: the same wherever it is loaded."""
    tree = _parsed(texts.read(module_file, {})) if isinstance(module_file, str) else None
    found = [] if tree is None else _names_bound(tree).get(name, [])
    if tree is None or len(found) != 1 or found[0] not in tree.body:  # else it may depend on the process
        return False
    one = found[0]
    return isinstance(one, ast.Assign | ast.AnnAssign) and one.value is not None and is_written_out(one.value)


def placed(module_file: str | None) -> frozenset[str]:
    """Return the names of a module whose values tell where it lies, or under which name it was loaded."""
    tree = _parsed(texts.read(module_file, {})) if isinstance(module_file, str) else None
    return frozenset() if tree is None else _placed(tree)


@functools.lru_cache(maxsize=256)
def _placed(tree: _Tree) -> frozenset[str]:
    used = {
        name: {inner.id for one in bound for inner in ast.walk(one) if isinstance(inner, ast.Name)}
        for name, bound in _names_bound(tree).items()
    }
    found, more = set[str](), set(PLACES)
    while more:
        found |= more
        more = {name for name, names in used.items() if name not in found and not found.isdisjoint(names)}
    return frozenset(found - PLACES)


@functools.lru_cache(maxsize=256)
def _declared(tree: _Tree) -> frozenset[str]:
    return frozenset(name for one in _statements(tree) if isinstance(one, ast.Global) for name in one.names)


def _is_written(function: FunctionType, cls: type) -> bool:
    """Tell whether a method was written in its class, and not made for it, as `dataclass` makes some."""
    file, there = function.__code__.co_filename, getattr(sys.modules.get(cls.__module__), "__file__", None)
    text = texts.read(file, function.__globals__)
    if function.__qualname__ != f"{cls.__qualname__}.{function.__name__}" or not text:
        return False
    if file == "<string>":  # from Python 3.13 on this is also the text of `python -c`, of which nothing was made
        return is_compiled_from(function.__code__, text)
    return not os.path.isfile(file) or not there or os.path.basename(file) == os.path.basename(there)


def _function_of(value: Any) -> FunctionType | None:
    value = getattr(value, "__func__", getattr(value, "fget", value))
    return value if isinstance(value, FunctionType) else None


@functools.lru_cache(maxsize=256)
def _names_bound(tree: _Tree) -> dict[str, list[ast.stmt]]:
    found: dict[str, list[ast.stmt]] = {}
    changing = _changing(tree)

    def look(one: Any, loop: ast.stmt | None) -> None:
        if isinstance(one, ast.stmt):
            which = one if loop is None or isinstance(one, ast.ImportFrom) else loop
            for name in _touched(one, changing):
                if which not in (before := found.setdefault(name, [])):
                    before.append(which)
        if isinstance(one, _DEFINITIONS):
            return
        if isinstance(one, ast.For | ast.AsyncFor | ast.While):
            loop = loop or one
        for inside in _BODIES:
            for inner in getattr(one, inside, ()):
                look(inner, loop)

    look(tree, None)
    return found


def _touched(one: ast.stmt, changing: Mapping[str, list[set[str]]]) -> set[str]:
    """Return the names that a statement binds, or whose values it changes itself or by a function that it calls."""
    found = notebook.bound(one) | notebook.changed(one)
    called = [(each, 1) for each in one.decorator_list] if isinstance(one, _DEFINITIONS) else []  # which is a call, too
    if isinstance(one, ast.Expr):
        called.append((one.value, 0))
    for each, calls in called:
        inner = each
        while isinstance(inner, ast.Call):
            inner, calls = inner.func, calls + 1
        if isinstance(inner, ast.Name):
            found.update(*changing.get(inner.id, [])[:calls])
    return found


@functools.lru_cache(maxsize=256)
def _changing(tree: _Tree) -> dict[str, list[set[str]]]:
    """Return the functions of a module, with the names that they bind anew in it, or whose values they change.

    First those of the function itself, then those of functions in it, which take another call, and so on: `register` of
    `@register("euler")` keeps a function when it decorates, and a cache is filled when what it has decorated is called.
    """
    found = {}
    for one in _statements(tree):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            levels, bodies = list[set[str]](), [one.body]
            while bodies:
                names, deeper = set[str](), list[list[ast.stmt]]()
                for each in itertools.chain.from_iterable(bodies):
                    _gather(each, names, deeper)
                levels.append(names)
                bodies = deeper
            found[one.name] = levels
    return found


def _gather(node: Any, names: set[str], deeper: list[list[ast.stmt]]) -> None:
    """Add what a statement changes to some names, and the bodies of the functions that it defines to others."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        deeper.append(node.body)
        return
    if isinstance(node, ast.stmt):
        names.update(node.names if isinstance(node, ast.Global) else notebook.changed(node))
    for inside in _BODIES:
        for inner in getattr(node, inside, ()):
            _gather(inner, names, deeper)


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


# ---- the tree of a file --------------------------------------------------------------------------------------------
@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> _Tree | None:
    try:
        return ast.parse(text) if text else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@functools.lru_cache(maxsize=256)
def _statements(tree: _Tree) -> list[ast.stmt]:
    return _statements_in(tree)


def _statements_in(node: ast.AST) -> list[ast.stmt]:
    """Return all statements of a file, or of one, without a look into their expressions, which are most of the tree."""
    found: list[ast.stmt] = []
    todo: list[Any] = [node]
    while todo:
        one = todo.pop()
        if isinstance(one, ast.stmt):
            found.append(one)
        for inside in _BODIES:  # of `try` and `match` also what has statements and is none itself
            todo += getattr(one, inside, ())
    return found


_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


@functools.lru_cache(maxsize=256)
def _lambdas(tree: _Tree) -> list[ast.Lambda]:
    return [one for one in ast.walk(tree) if isinstance(one, ast.Lambda)]


def _begin(node: Any) -> int:
    first: int = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    return first


def _spans(node: Any, code: CodeType) -> bool:
    """Tell whether the body of a function, one of several in a line, is where code comes from."""
    body = node.body if isinstance(node, ast.Lambda) else node.body[0]
    begin, end = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
    places = [(line, column) for line, _, column, _ in code.co_positions() if line is not None and column]
    return bool(places) and all(begin <= place <= end for place in places)


def _by_path(tree: _Tree, path: list[str]) -> list[Any]:
    found = _definitions(tree).get(path[0], [])
    for name in path[1:]:
        inside = (one for outer in found for one in _statements_in(outer))
        found = [one for one in inside if isinstance(one, _DEFINITIONS) and one.name == name]
    return [one for one in found if isinstance(one, ast.ClassDef)]


@functools.lru_cache(maxsize=256)
def _definitions(tree: _Tree) -> dict[str, list[Any]]:
    """Return the functions and classes of a file by name, of one name the innermost and latest one last."""
    found: dict[str, list[Any]] = {}
    for one in sorted(_statements(tree), key=lambda one: (one.col_offset, one.lineno)):
        if isinstance(one, _DEFINITIONS):
            found.setdefault(one.name, []).append(one)
    return found


def _piece(node: Any, text: str) -> Piece:
    lines = text.splitlines(keepends=True)[_begin(node) - 1 : node.end_lineno]
    return Piece(node, textwrap.dedent("".join(lines)))
