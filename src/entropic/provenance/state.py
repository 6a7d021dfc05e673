"""What of a runner object is what it was made with, and what is left behind by its runs: a counter, a cache.

An attribute that its run writes changes while it runs, so it tells nothing of the code: one that is written by the
method that is called, or by others of the object that this leads to. All others count by their value, as what a closure
holds does.
"""

import ast
import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from entropic.provenance import source
from entropic.provenance.project import is_ours, is_own, unwrapped
from entropic.provenance.values import Shown

MAKING = {"__init__", "__new__", "__post_init__", "__attrs_post_init__", "__attrs_init__", "__setstate__"}
_CHANGING = {"append", "appendleft", "extend", "extendleft", "insert", "add", "update", "setdefault", "pop", "popleft"}
_CHANGING |= {"popitem", "remove", "discard", "clear", "sort", "reverse", "rotate", "fill", "put", "write", "subtract"}
_CHANGING |= {"__setitem__", "difference_update", "intersection_update", "symmetric_difference_update", "move_to_end"}
_CHANGING_FIRST = {"next", "heappush", "heappop", "heapify", "heapreplace", "insort", "shuffle", "setattr"}
_IN_PLACE = ("__iadd__", "__isub__", "__imul__", "__itruediv__", "__ior__", "__iand__", "__ixor__")
DEEP = 3  # objects within objects
Names = frozenset[str]
Plain = Callable[[Any], Any]


def held(one: Any, home: str, plain: Plain, called: Names, depth: int = DEEP) -> list[tuple[str, Any, Any]]:
    """Return what an object was made with: the name of each attribute, its value, and that as what it counts by.

    Parameters
    ----------
    home
        The module of the runner.
    plain
        Returns what a value counts by.
    called
        The names of the methods that a run may call.

    Returns
    -------
    list of tuple
        For people, a value may be a text of all that is in it, as of the templates of a command.
    """
    if isinstance(one, type | ModuleType):
        return []
    run = run_of(_kind(one), home, called)
    texts = told() if is_ours(one) and callable(told := getattr(one, "_shows", None)) else {}
    found = []
    for name, value in sorted(_attributes(one)):
        if run.changes(name, value):
            continue
        if name in texts:
            found.append((name, Shown(texts[name]), plain(value)))
            continue
        inner = None
        if depth and is_own(type(value).__module__, home):
            inner = [(each, form) for each, _, form in held(value, home, plain, run.names, depth - 1)]
        found.append((name, value, (plain(value), inner) if inner else plain(value)))
    return found


def own_values(one: Any, home: str, called: Names) -> Iterator[Any]:
    """Yield the functions, the classes and the types of objects of the project that an object holds, however deep."""
    todo, seen = [(one, called, 0)], set[int]()
    while todo:
        here, names, depth = todo.pop()
        run = run_of(_kind(here), home, names)
        for name, value in sorted(_attributes(here)):
            behind = unwrapped(value)
            if run.changes(name, value) or id(behind) in seen:
                continue
            seen.add(id(behind))
            if not isinstance(behind, type) and not hasattr(behind, "__code__"):
                if not is_own(type(behind).__module__, home):
                    continue
                if depth < DEEP:
                    todo.append((behind, run.names, depth + 1))
                behind = type(behind)
            if is_own(getattr(behind, "__module__", None), home):
                yield behind


def _attributes(one: Any) -> list[tuple[str, Any]]:
    if is_ours(one) and callable(told := getattr(one, "_counts_by", None)):  # a command
        return list(told().items())
    found = dict(getattr(one, "__dict__", {}))
    for cls in type(one).__mro__:
        slots = vars(cls).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            name = _mangled(str(slot), cls.__name__)
            if name in ("__dict__", "__weakref__"):
                continue
            try:
                found[name] = object.__getattribute__(one, name)
            except AttributeError:  # not set yet
                continue
    return list(found.items())


def _kind(one: Any) -> Any:
    return type(one)


class Run(NamedTuple):
    """What a run does with an object.

    Attributes
    ----------
    writes
        The attributes that it writes.
    adds
        Those that it adds to under another name (`x = self.x; x += 1`): a list is changed by that, a number is not.
    names
        Those that occur behind a dot in it.
    """

    writes: Names
    adds: Names
    names: Names

    def changes(self, name: str, value: Any) -> bool:
        """Tell whether a run changes an attribute, whose value is this."""
        return name in self.writes or (name in self.adds and any(hasattr(value, one) for one in _IN_PLACE))


@functools.lru_cache(256)
def run_of(cls: Any, home: str, called: Names) -> Run:
    """Return what the methods of a class do that are called so, and those to which they lead."""
    methods: dict[str, list[tuple[str, Any]]] = {}
    for one in cls.__mro__:
        piece = source.of_class(one) if is_own(one.__module__, home) else None
        for node in getattr(piece.node, "body", ()) if piece is not None else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in MAKING and _own(node):
                methods.setdefault(node.name, []).append((one.__name__, node))
    writes = {name for one in cls.__mro__ for name, value in vars(one).items() if _keeps_itself(value)}
    adds, names, todo, seen = set[str](), set(called), list(called), set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for owner, node in methods.get(name, ()):
            written, added = _written_in(node, _own(node))
            writes |= {_mangled(each, owner) for each in written}
            adds |= {_mangled(each, owner) for each in added}
            attributes = [each for each in ast.walk(node) if isinstance(each, ast.Attribute)]
            names |= {each.attr for each in attributes}
            todo += [each.attr for each in attributes]
    return Run(frozenset(writes), frozenset(adds), frozenset(names))


def _keeps_itself(value: Any) -> bool:
    """Tell whether a member of a class keeps what it has computed under its own name."""
    return isinstance(value, functools.cached_property)


def _own(node: Any) -> str:
    """Return what a method calls its object."""
    given = [*node.args.posonlyargs, *node.args.args]
    return given[0].arg if given else ""


def _written_in(method: ast.AST, own: str) -> tuple[set[str], set[str]]:
    """Return the attributes that a method writes or changes in place, and those that it adds to under another name."""
    aliases, others = dict[str, str](), set[str]()
    for node in ast.walk(method):
        if isinstance(node, ast.Assign | ast.NamedExpr | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if (name := _of(node.value, own, {})) is not None:
                aliases |= {one.id: name for one in targets if isinstance(one, ast.Name)}
            elif all(_of(one, own, {}) is None for one in targets):
                others |= {one.id for one in targets if isinstance(one, ast.Name)}
    for name in others:  # `y = self.y; y = y.copy(); y[0] = 1`: better said once too often that it counts
        aliases.pop(name, None)
    found, added = set[str](), set[str]()
    for node in ast.walk(method):
        for one in _changed(node):
            if isinstance(one, ast.Name):
                continue  # the name alone is bound anew
            name = _of(one, own, aliases)
            found |= {name} if name is not None else set()
        if isinstance(node, ast.Call):
            for one in _changed_by(node):
                name = _of(one, own, aliases)
                found |= {name} if name is not None else set()
            found |= _set_by_name(node, own)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id in aliases:
            added.add(aliases[node.target.id])
    return found, added


def changed_in(function: ast.AST) -> set[str]:
    """Return the names of variables whose values a function changes, or which it binds anew for the one around it."""
    found = set[str]()
    for node in ast.walk(function):
        if isinstance(node, ast.Nonlocal):
            found.update(node.names)
        changed = [one for one in _changed(node) if not isinstance(one, ast.Name)]
        for one in [*changed, *(_changed_by(node) if isinstance(node, ast.Call) else ())]:
            while isinstance(one, ast.Attribute | ast.Subscript):
                one = one.value
            found |= {one.id} if isinstance(one, ast.Name) else set()
    return found


def _changed(node: ast.AST) -> list[ast.expr]:
    """Return what a statement binds, or removes."""
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.For | ast.AsyncFor) or (isinstance(node, ast.AnnAssign) and node.value):
        targets = [node.target]
    elif isinstance(node, ast.withitem) and node.optional_vars is not None:
        targets = [node.optional_vars]
    else:
        return []
    return [each for one in targets for each in (one.elts if isinstance(one, ast.Tuple | ast.List) else [one])]


def _changed_by(call: ast.Call) -> Iterator[ast.expr]:
    """Yield what a call changes in place, as far as its name tells."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr in _CHANGING:
        yield function.value
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in _CHANGING_FIRST:
        yield from call.args[:1]
    yield from (one.value for one in call.keywords if one.arg == "out")


def _set_by_name(call: ast.Call, own: str) -> set[str]:
    """Return the attribute that `setattr`, or `object.__setattr__`, sets by a text."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("setattr", "__setattr__", "delattr") and len(call.args) >= 2:
        first, second = call.args[:2]
        if isinstance(first, ast.Name) and first.id == own and isinstance(second, ast.Constant):
            return {str(second.value)}
    return set()


def _of(node: ast.AST, own: str, aliases: dict[str, str]) -> str | None:
    """Return the attribute of the object that an expression is, or is a part of."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == own:
            return node.attr
        node = node.value
    return aliases.get(node.id) if isinstance(node, ast.Name) else None


def _mangled(name: str, cls: str) -> str:
    is_private = name.startswith("__") and not name.endswith("__")
    return f"_{cls.lstrip('_')}{name}" if is_private else name
