"""What the cells of a notebook say of a name: how it was bound last, and what was changed in its value since.

What functions change in it is not looked at: a cache that runs fill is no code.
"""

import ast
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_SETTING = frozenset(("update", "setdefault", "add", "discard"))  # twice is once
_CHANGING = _SETTING | {"append", "appendleft", "extend", "insert", "remove", "sort", "reverse", "fill"}
"""Methods of lists, dicts, sets and arrays, but for `clear` and `pop`: so is a cache emptied that runs have filled."""


def cells(names: Mapping[str, Any]) -> list[str]:
    """Return the texts of the cells that were run so far, as IPython keeps them; none of what is no notebook."""
    typed = names.get("In") if "get_ipython" in names else None
    return [text for text in typed if isinstance(text, str)] if isinstance(typed, list) else []


def bindings(latest: Iterable[ast.Module], name: str) -> list[ast.stmt]:
    """Return the statements that bound a name last, and those that have changed its value since.

    Cells are often run again: of statements that set the same item or attribute only the last one counts.

    Parameters
    ----------
    latest
        The cells, the latest first.
    """
    since: list[ast.stmt] = []
    for cell in latest:
        since[:0] = (found := _by_name(cell).get(name, []))
        if any(name in bound(one) for one in found):
            break
    counting: dict[str | int, ast.stmt] = {}
    for place, one in enumerate(since):
        which = _set_by(one, name) or place
        counting.pop(which, None)
        counting[which] = one
    return list(counting.values())


@functools.lru_cache(maxsize=256)
def _by_name(cell: ast.Module) -> dict[str, list[ast.stmt]]:
    found: dict[str, list[ast.stmt]] = {}
    for one in _statements(cell):
        for name in bound(one) | changed(one):
            found.setdefault(name, []).append(one)
    return found


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements of a cell in their order, in functions and classes not looked into."""
    for one in ast.iter_child_nodes(node):
        if isinstance(one, ast.stmt):
            yield one
        if not isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            yield from _statements(one)


def _targets(one: ast.stmt) -> list[ast.expr]:
    """Return what a statement assigns to, or deletes."""
    todo: list[ast.expr] = list(one.targets) if isinstance(one, ast.Assign | ast.Delete) else []
    todo += [one.target] if isinstance(one, ast.AugAssign | ast.AnnAssign) else []
    found = []
    while todo:
        each = todo.pop(0)
        if isinstance(each, ast.Tuple | ast.List):
            todo += each.elts
        else:
            found.append(each.value if isinstance(each, ast.Starred) else each)
    return found


def bound(one: ast.stmt) -> set[str]:
    """Return the names that a statement binds, whatever they held before."""
    if isinstance(one, ast.ImportFrom):
        return {alias.asname or alias.name for alias in one.names}
    if isinstance(one, ast.AugAssign | ast.Delete):
        return set()
    return {each.id for each in _targets(one) if isinstance(each, ast.Name)}


def changed(one: ast.stmt) -> set[str]:
    """Return the names whose values a statement changes in place."""
    return {root for each in _changed(one) if (root := _root(each)) is not None}


def _changed(one: ast.stmt) -> list[ast.expr]:
    """Return of what a statement changes the value: items, attributes, and what a method is called of."""
    if isinstance(one, ast.AugAssign):
        return [one.target]
    if isinstance(one, ast.Expr):
        return [] if (method := _method(one)) is None else [method.value]
    return [each for each in _targets(one) if not isinstance(each, ast.Name)]


def _method(one: ast.stmt) -> ast.Attribute | None:
    """Return the method that a statement calls, if it is one that changes a value."""
    called = one.value.func if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call) else None
    return called if isinstance(called, ast.Attribute) and called.attr in _CHANGING else None


def _set_by(one: ast.stmt, name: str) -> str | None:
    """Return a text that is the same for all statements that set the same item or attribute; None of others."""
    if isinstance(one, ast.Assign) and name not in bound(one):
        return " = ".join(map(ast.unparse, one.targets))
    method = _method(one)
    return ast.unparse(one) if method is not None and method.attr in _SETTING else None


def _root(one: ast.expr) -> str | None:
    """Return the name at which an item, or an attribute, begins."""
    while isinstance(one, ast.Attribute | ast.Subscript):
        one = one.value
    return one.id if isinstance(one, ast.Name) else None
