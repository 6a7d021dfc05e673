"""A piece of source in a form in which only counts what it does: two texts with one form are one piece of code.

Comments, layout, docstrings and annotations are no part of it; local names are numbers, in the order in which they
come. Names of parameters stay, since callers may use them; so do those of attributes. What a name of the module leads
to is told by who asks (`refer`), so that `helpers.step(x)` and `step(x)` are one.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Form = Any  # nested tuples of texts
# Given a name that is not local and the attributes asked of it: what it is, and how many of these that has used up.
Refer = Callable[[str, list[str]], tuple[str, int]]
# Given a module that is imported within a function, and what of it.
Imports = Callable[[str | None, int, str | None], None]

_DROPPED = {"ctx", "type_comment", "annotation", "returns", "type_params", "kind", "simple", "type_ignores"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BY_NAME = {"locals", "vars", "eval", "exec", "dir"}  # who calls these may see how something is called


def form_of(node: ast.AST, refer: Refer, imports: Imports, is_runner: bool = False) -> Form:
    """Return the form of a function, a class, a whole module, a statement or an expression.

    Parameters
    ----------
    is_runner
        Whether it is called with one argument by its position, so that nobody uses the name of that.
    """
    return _Former(refer, imports, is_runner).outermost(node)


class _Scope:
    """What is bound in a function: names and their numbers; or, in a class or a module, names that stay as they are."""

    def __init__(self, names: Iterable[str], of: str = "function", keeps: bool = False) -> None:
        self.names, self.of, self.keeps = dict.fromkeys(names, -1), of, keeps


class _Former:
    def __init__(self, refer: Refer, imports: Imports, is_runner: bool) -> None:
        self._refer, self._imports, self._is_runner = refer, imports, is_runner
        self._scopes: list[_Scope] = []
        self._count = 0

    def outermost(self, node: ast.AST) -> Form:
        if isinstance(node, ast.Module):
            self._scopes.append(_Scope(_bound(_inside(node.body)), of="module"))
            return "module", self._body(node.body)
        if isinstance(node, ast.ClassDef):
            return self._class(node)
        if isinstance(node, _FUNCTIONS):
            return self._function(node)
        return self._of(node)

    # ---- names -------------------------------------------------------------------------------------------------
    def _local(self, name: str) -> Form | None:
        """Return what stands for a local name; None if it is none."""
        for i, scope in enumerate(reversed(self._scopes)):
            if name not in scope.names or (scope.of == "class" and i > 0):  # methods do not see names of their class
                continue
            if scope.of != "function":
                return "own", name
            if scope.keeps:
                return "local", name
            if scope.names[name] < 0:
                self._count += 1
                scope.names[name] = self._count
            return "local", str(scope.names[name])
        return None

    def _bind(self, name: str) -> Form:
        return self._local(name) or ("name", name)

    def _global(self, name: str, attributes: list[str]) -> Form:
        told, used = self._refer(name, attributes)
        return ("global", told, *attributes[used:])

    # ---- statements --------------------------------------------------------------------------------------------
    def _body(self, body: list[ast.stmt]) -> Form:
        return tuple(form for one in body if not _says_nothing(one) and (form := self._of(one)))

    def _value(self, value: Any) -> Form:
        if isinstance(value, ast.AST):
            return self._of(value)
        if isinstance(value, list):
            if value and all(isinstance(one, ast.stmt) for one in value):
                return self._body(value)
            return tuple(map(self._value, value))
        return type(value).__name__, repr(value)

    def _of(self, node: ast.AST) -> Form:
        made: Callable[[Any], Form] | None = getattr(self, f"_{type(node).__name__.lower()}_form", None)
        if made is not None:
            return made(node)
        fields = ((name, value) for name, value in ast.iter_fields(node) if name not in _DROPPED)
        told = ((name, self._value(value)) for name, value in fields if value is not None and value != [])
        return (type(node).__name__, *told)

    def _name_form(self, node: ast.Name) -> Form:
        return self._local(node.id) or self._global(node.id, [])

    def _attribute_form(self, node: ast.Attribute) -> Form:
        attributes, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            attributes.append(inner.attr)
            inner = inner.value
        attributes.reverse()
        if isinstance(inner, ast.Name) and self._local(inner.id) is None:
            return self._global(inner.id, attributes)
        return ("of", self._of(inner), *attributes)

    def _annassign_form(self, node: ast.AnnAssign) -> Form:
        if node.value is not None:
            return "Assign", ("targets", (self._of(node.target),)), ("value", self._of(node.value))
        in_class = bool(self._scopes) and self._scopes[-1].of != "function"
        return ("declared", self._of(node.target)) if in_class else ()  # a dataclass has such fields

    def _global_form(self, node: ast.Global) -> Form:
        return ()

    _nonlocal_form = _global_form

    def _excepthandler_form(self, node: ast.ExceptHandler) -> Form:
        name = () if node.name is None else self._bind(node.name)
        return "except", () if node.type is None else self._of(node.type), name, self._body(node.body)

    def _matchas_form(self, node: ast.MatchAs) -> Form:
        pattern = () if node.pattern is None else self._of(node.pattern)
        return "MatchAs", pattern, () if node.name is None else self._bind(node.name)

    def _matchstar_form(self, node: ast.MatchStar) -> Form:
        return "MatchStar", () if node.name is None else self._bind(node.name)

    def _import_form(self, node: ast.Import) -> Form:
        for one in node.names:
            self._imports(one.name, 0, None)
        names = ((one.name, self._bind(one.asname or one.name.partition(".")[0])) for one in node.names)
        return ("import", *names)

    def _importfrom_form(self, node: ast.ImportFrom) -> Form:
        for one in node.names:
            self._imports(node.module, node.level, one.name)
        names = ((one.name, self._bind(one.asname or one.name)) for one in node.names)
        return ("from", node.module or "", str(node.level), *names)

    # ---- what has a scope --------------------------------------------------------------------------------------
    def _functiondef_form(self, node: ast.FunctionDef) -> Form:
        return "def", self._bind(node.name), self._function(node)

    _asyncfunctiondef_form = _functiondef_form

    def _lambda_form(self, node: ast.Lambda) -> Form:
        return self._function(node)

    def _classdef_form(self, node: ast.ClassDef) -> Form:
        return "class", self._bind(node.name), self._class(node)

    def _function(self, node: Any) -> Form:
        given: ast.arguments = node.args
        decorators = [self._of(one) for one in getattr(node, "decorator_list", []) if not self._is_ours(one)]
        defaults = self._value([one for one in (*given.defaults, *given.kw_defaults) if one is not None])
        which = tuple("-" if one is None else "+" for one in given.kw_defaults)
        body: list[ast.stmt] = [ast.Return(node.body)] if isinstance(node, ast.Lambda) else node.body
        places = [*given.posonlyargs, *given.args]
        rest = [one for one in (given.vararg, given.kwarg) if one is not None]
        names = [one.arg for one in (*places, *given.kwonlyargs, *rest)]
        is_method = bool(self._scopes) and self._scopes[-1].of == "class"
        unnamed = (
            len(places) if isinstance(node, ast.Lambda) else int(is_method or (self._is_runner and not self._scopes))
        )
        nodes = _inside(body)
        declared = _declared(nodes)
        bound = [name for name in (*names, *_bound(nodes)) if name not in declared]
        self._scopes.append(_Scope(bound, keeps=_uses_names(node)))
        try:
            numbered = [self._bind(name) for name in names]
            called = [one.arg for one in given.args[max(0, unnamed - len(given.posonlyargs)) :]]
            shape = str(len(given.posonlyargs)), str(len(given.args)), str(given.vararg is not None), *which
            kind = "async" if isinstance(node, ast.AsyncFunctionDef) else "function"
            only = [one.arg for one in given.kwonlyargs]
            return kind, tuple(decorators), defaults, shape, (*called, "*", *only), tuple(numbered), self._body(body)
        finally:
            self._scopes.pop()

    def _is_ours(self, decorator: ast.expr) -> bool:
        """Tell whether a decorator is of entropic: it says where results go, not what they are."""
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        return bool(self._of(called)[:2] == ("global", "entropic"))

    def _class(self, node: ast.ClassDef) -> Form:
        outside = [self._value(part) for part in (node.decorator_list, node.bases, node.keywords)]
        self._scopes.append(_Scope(_bound(_inside(node.body)), of="class"))
        try:
            body = [one for one in node.body if not _says_nothing(one)]
            methods = [one for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
            rest = [one for one in body if one not in methods]
            # The order of methods is layout, unless one replaces another, as the setter of a property does.
            ordered = sorted(methods, key=lambda one: one.name)
            return "type", tuple(outside), self._body(rest), self._body(list(ordered))
        finally:
            self._scopes.pop()

    def _comprehension(self, node: Any) -> Form:
        first: ast.comprehension = node.generators[0]
        source = self._of(first.iter)  # outside
        self._scopes.append(_Scope(name for one in node.generators for name in _targets(one.target)))
        try:
            loops = []
            for one in node.generators:
                walked = source if one is first else self._of(one.iter)
                loops.append((self._of(one.target), walked, self._value(one.ifs), str(one.is_async)))
            parts = [self._of(getattr(node, name)) for name in ("key", "value", "elt") if hasattr(node, name)]
            return type(node).__name__, tuple(loops), tuple(parts)
        finally:
            self._scopes.pop()

    _listcomp_form = _setcomp_form = _dictcomp_form = _generatorexp_form = _comprehension


def _says_nothing(node: ast.stmt) -> bool:
    """Tell whether a statement is a docstring, a bare constant, or `pass`."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _declared(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that a function says are of its module, or of a function around it."""
    return {name for one in nodes if isinstance(one, ast.Global | ast.Nonlocal) for name in one.names}


def _bound(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names that are bound in a scope, without those of functions and classes in it."""
    for node in nodes:
        if isinstance(node, ast.Name):
            if type(node.ctx) is not ast.Load:
                yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (one.asname or one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name is not None:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest is not None:
            yield node.rest


def _inside(body: Iterable[ast.AST]) -> list[ast.AST]:
    """Return all nodes of the same scope; by a list of what is still to do, as nested generators take twice as long."""
    found, todo = list[ast.AST](), list(body)
    while todo:
        node = todo.pop()
        found.append(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            todo += [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.ClassDef):
            todo += [*node.decorator_list, *node.bases, *node.keywords]
        elif isinstance(node, ast.Lambda):
            todo += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, _COMPREHENSIONS):
            todo.append(node.generators[0].iter)
            named = [one for one in ast.walk(node) if isinstance(one, ast.NamedExpr)]
            found += [*named, *(one.target for one in named)]
        else:
            todo += _children(node)
    return found


def _children(node: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            if not isinstance(value, ast.expr_context):
                found.append(value)
        elif isinstance(value, list):
            found += [one for one in value if isinstance(one, ast.AST)]
    return found


def _uses_names(node: ast.AST) -> bool:
    """Tell whether a function, or one in it, may see how something is called."""
    todo = [node]
    while todo:
        one = todo.pop()
        if isinstance(one, ast.Name):
            if one.id in _BY_NAME:
                return True
        else:
            todo += _children(one)
    return False


def _targets(target: ast.AST) -> Iterator[str]:
    yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))
