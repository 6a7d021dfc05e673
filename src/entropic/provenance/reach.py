"""What a function, or a module, reaches of the same project.

That is found by the names that occur in its source: functions, classes with all their methods, and constants, in its
own module and up to `DEEP` modules away. Code of libraries is told by its names alone.
"""

import ast
import contextlib
import functools
import hashlib
import os
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from entropic.provenance import source, state
from entropic.provenance.canonical import Form, form_of
from entropic.provenance.compiled import functions_of_another_version
from entropic.provenance.modules import (
    find_file,
    imported_modules,
    is_lazy,
    is_own_file,
    loaded_file,
    own_imports,
    public_name,
)
from entropic.provenance.part import Part
from entropic.provenance.project import attribute, is_ours, is_own, module_of, top, unwrapped
from entropic.provenance.values import as_plain, as_shown, bytecode_of, cells_of, functions_in

DEEP = 3
_PYTHON = f"py{sys.version_info[0]}.{sys.version_info[1]}"  # its compiler decides what bytecode is


def _part(name: str, form: Form, text: str) -> Part:
    digest = hashlib.sha256(repr(form).encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return Part(name, digest, text)


class Reach:
    """What a function, or a module, reaches, found breadth first.

    Parameters
    ----------
    home
        The module of the function.
    is_module
        Whether the reach ends with the module, and what runs may fill is left out.
    by_value
        Whether a value that is computed when a module is imported is told by what it is, and not by its statement.
    """

    def __init__(self, home: str, runner: Any, is_module: bool = False, by_value: bool = True) -> None:
        self.parts: list[Part] = []
        self.reached: set[tuple[str, str]] = set()
        self.is_module, self.by_value = is_module, by_value
        self.held: list[Part] = []
        self.looked_up: list[tuple[Mapping[str, Any], str, Any]] = []
        self._imports: dict[str, frozenset[str]] = {}
        self._seen: set[Any] = set()
        self._kept: list[Any] = []  # what `_seen` knows by its id
        self._todo: deque[tuple[Callable[..., None], tuple[Any, ...], int]] = deque()
        self._home, self._runner = home, runner

    @property
    def runner(self) -> tuple[str, str] | None:
        """Where the runner is found by its name."""
        name = getattr(self._runner, "__name__", "")
        found = vars(there).get(name) if (there := module_of(self._home)) is not None else None
        return (self._home, name) if found is not None and unwrapped(found) is self._runner else None

    def walk(self) -> None:
        """Follow what it began with to the end."""
        while self._todo:
            act, given, depth = self._todo.popleft()
            act(*given, depth)

    def begin(self, function: Any) -> None:
        """Begin with the function, and with what is bound to it: of a partial, a method, a callable object."""
        values: list[tuple[str, Any]] = []
        one, called = function, "__call__"
        for _ in range(20):
            bound = getattr(one, "args", None), getattr(one, "keywords", None)
            if type(one).__module__ == "functools" and type(one).__name__ == "partial":
                values.append(("partial", bound))
            inner = getattr(one, "__self__", None)
            if inner is not None and not isinstance(inner, ModuleType):
                called, one = str(getattr(one, "__name__", called)), inner
                break
            behind = one
            for name in ("runner", "function", "func"):
                if (inner := attribute(one, name)) is not None and (name == "func" or is_ours(one)):
                    behind = inner
            if behind is one:
                break
            one = behind
        self.held = [_part(name, ("value", as_plain(value)), f"{name} = {as_shown(value)}\n") for name, value in values]
        if not isinstance(one, FunctionType | type | types.BuiltinFunctionType) and one is not None:
            with contextlib.suppress(TypeError):
                made_with = state.held(one, self._home, as_plain, frozenset((called,)))
                text = "".join(f"{name} = {as_shown(value)}\n" for name, value, _ in made_with)
                form = tuple((name, form) for name, _, form in made_with)
                if form:
                    self.held.append(_part("state", ("value", form), text))
                for held in state.own_values(one, self._home, frozenset((called,))):
                    self._reach(held, 0)
            self._reach(type(one), 0)
        if isinstance(self._runner, FunctionType | type):
            self._reach(self._runner, 0)
        if (where := self.runner) is not None:
            self.reached.add(where)

    def begin_with_names(self, names: Iterable[str]) -> None:
        """Begin with what some names of the module lead to; an empty one is all of it, imported or not."""
        there = vars(module) if (module := module_of(self._home)) is not None else {}
        for name in names:
            if name:
                _Names(self, there, {}, self._home, 0).refer(name, [])
            else:
                self.imported(self._home, 0)

    def _add(self, name: str, form: Form, text: str) -> None:
        self.parts.append(_part(name, form, text))

    def _leaves(self, module: str | None) -> bool:
        """Tell whether what is in a module is not to be looked at."""
        return self.is_module and module != self._home

    def _is_new(self, key: Any, *kept: Any) -> bool:
        if key in self._seen:
            return False
        self._seen.add(key)
        self._kept += kept
        return True

    # ---- functions and classes ---------------------------------------------------------------------------------
    def _reach(self, value: Any, depth: int) -> None:
        """Take in a function or a class, if it is of the project."""
        where = getattr(value, "__module__", None)
        if not is_own(where, self._home) or self._leaves(where) or not self._is_new(id(value), value):
            return
        act = self._function if isinstance(value, FunctionType) else self._class
        self.reached.add((value.__module__, value.__qualname__.partition(".")[0]))
        self._todo.append((act, (value,), depth))

    def _function(self, function: FunctionType, depth: int) -> None:
        name = function.__qualname__.rpartition(".<locals>.")[2]
        piece = source.of_function(function)
        names = _Names(self, function.__globals__, cells_of(function), function.__module__, depth)
        if piece is None:
            self._add(name, (_PYTHON, bytecode_of(function.__code__)), "")
            names.of_code(function.__code__)
        else:
            form = form_of(piece.node, names.refer, names.imported, is_runner=function is self._runner)
            self._add(name, form, piece.text)
        bound = [as_plain(function.__defaults__, False), as_plain(function.__kwdefaults__, False)]
        if any(one is not None for one in bound) and "<locals>" in function.__qualname__:
            self._add(f"{name} (defaults)", tuple(bound), "")
        cells = cells_of(function)
        changing = state.changed_in(piece.node) if cells and piece is not None else frozenset[str]()
        for cell, value in cells.items():
            if cell not in changing:  # a cache that runs fill, or a count of them
                names.held(cell, value)

    def _class(self, cls: type, depth: int) -> None:
        piece = source.of_class(cls)
        module = module_of(cls.__module__)
        methods = (unwrapped(getattr(value, "fget", value)) for value in vars(cls).values())
        own = [one for one in methods if isinstance(one, FunctionType) and one.__module__ == cls.__module__]
        cells = {cell: value for one in own for cell, value in cells_of(one).items() if value is not cls}
        names = _Names(self, vars(module) if module is not None else {}, cells, cls.__module__, depth)
        is_model = any(top(one.__module__) == "entropic" for one in cls.__mro__)
        if piece is None or is_model:
            for one in own:
                self._reach(one, depth)
            for base in cls.__bases__:
                self._reach(base, depth)
            return
        self._add(
            cls.__qualname__.rpartition(".<locals>.")[2], form_of(piece.node, names.refer, names.imported), piece.text
        )
        for cell, value in cells.items():  # of a class that a function has made
            names.held(cell, value)
        for value in list(vars(cls).values()):
            if isinstance(value, dict | list | tuple | set):
                names._reach_held(value, cls.__module__)
        names.changes(cls)

    def imported_from(self, where: str) -> frozenset[str]:
        """Return the modules of the project that a module and that of the runner import at their top level.

        What a registry holds counts if it comes from one of these; what has come from others tells of the process: a
        run may have loaded it.
        """
        if where not in self._imports:
            self._imports[where] = frozenset(own_imports({where, self._home}, self._home, DEEP))
        return self._imports[where]

    # ---- modules that are imported within functions ------------------------------------------------------------
    def imported(self, name: str, depth: int) -> None:
        """Take in a whole module that a function imports: it may not be there yet, and is not imported for this."""
        if depth <= DEEP and not self._leaves(name) and self._is_new(("module", name)):
            self._todo.append((self._module, (name,), depth))

    def _module(self, name: str, depth: int) -> None:
        file = find_file(name)
        if file is None or not is_own_file(name, file, self._home):
            return
        piece = source.of_module(file)
        if piece is None or not isinstance(piece.node, ast.Module):
            return
        tree = ast.Module([one for one in piece.node.body if not _is_main_guard(one)], [])
        package = name if os.path.basename(file) == "__init__.py" else name.rpartition(".")[0]

        def imports(module: str | None, level: int, what: str | None) -> None:
            for one in imported_modules(package, module, level, what):
                self.imported(one, depth + 1)

        self.reached.add((name, ""))
        form = form_of(tree, lambda root, _: (root, 0), imports)
        others = functions_of_another_version(name, file) if self.is_module else ()
        self._add(f"module {name}", (form, *others) if others else form, piece.text)


class _Names:
    """What the names in one function or class lead to."""

    def __init__(
        self, reach: Reach, names: Mapping[str, Any], cells: Mapping[str, Any], module: str, depth: int
    ) -> None:
        self._reach, self._names, self._cells = reach, names, cells
        self._module, self._depth = module, depth

    def refer(self, root: str, attributes: list[str]) -> tuple[str, int]:
        """Say what a name is, and take in what it leads to."""
        holder = self._names
        if root in self._cells:
            if not isinstance(self._cells[root], ModuleType):
                return f"held {root}", 0
            holder = self._cells  # as of an import in the function around this one
        if root not in holder or root in source.PLACES:
            return root, 0
        value, name, used = holder[root], root, 0
        if holder is self._names and root not in source.rebound(loaded_file(self._module), self._names):
            self._reach.looked_up.append((holder, name, value))
        where = self._module
        while isinstance(value, ModuleType) and used < len(attributes):
            if is_lazy(value) and not is_own(value.__name__, self._reach._home) and top(value.__name__) != "entropic":
                # What it has loaded so far tells of the process, and not of the code.
                return ".".join([public_name(value.__name__), *attributes[used:]]), len(attributes)
            inner = f"{value.__name__}.{attributes[used]}"
            if is_lazy(value) and is_own(value.__name__, self._reach._home) and find_file(inner) is not None:
                self._reach.imported(inner, self._depth + 1)  # alike, whether it was loaded or not
                return f"module {inner}", used + 1
            if attributes[used] not in vars(value):
                break
            holder, name, where = vars(value), attributes[used], value.__name__
            value, used = holder[name], used + 1
            if is_own(where, self._reach._home):
                self._reach.looked_up.append((holder, name, value))
        return self._say(value, name, where, holder), used

    def _say(self, value: Any, name: str, where: str, holder: Mapping[str, Any]) -> str:
        if isinstance(value, ModuleType):
            return f"module {value.__name__}"
        inner = unwrapped(value)
        if top(str(getattr(inner, "__module__", ""))) == "entropic" or top(type(inner).__module__) == "entropic":
            return "entropic"
        home = self._reach._home
        if is_own(where, home):
            self._reach.reached.add((where, name))
        if is_own(where, home) and callable(value) and not is_own(type(value).__module__, home):
            self._made(name, value, where, holder)
        if isinstance(inner, FunctionType | type):
            if is_own(inner.__module__, home):
                self._reach_own(inner)
                return f"own {inner.__name__}"
            return f"{public_name(inner.__module__)}.{inner.__qualname__}"
        if not is_own(where, home):
            return f"{public_name(where)}.{name}"
        if callable(value) and not is_own(type(value).__module__, home):  # a function of C, a ufunc
            return f"{public_name(str(getattr(value, '__module__', '')))}.{getattr(value, '__name__', name)}"
        if (depth := self._depth_of(where)) <= DEEP:
            self._constant(name, value, where, holder, depth)
        return f"value {name}"

    def _depth_of(self, module: str) -> int:
        return self._depth + (module != self._module)

    def _reach_own(self, value: Any) -> None:
        if is_own(value.__module__, self._reach._home) and (depth := self._depth_of(value.__module__)) <= DEEP:
            self._reach._reach(value, depth)

    def _reach_held(self, value: Any, where: str) -> None:
        """Take in what a registry, a partial or a generic function holds."""
        if self._reach.is_module:
            return
        for one in functions_in(value):
            if one.__module__ in self._reach.imported_from(where):
                self._reach_own(one)

    def _made(self, name: str, value: Any, where: str, holder: Mapping[str, Any]) -> None:
        """Take in how what is called was made: a partial, an interpolation, a function behind another one."""
        is_plain = isinstance(value, FunctionType | type) and unwrapped(value) is value
        if is_plain and not is_own(value.__module__, self._reach._home):
            return
        bound = source.bindings(loaded_file(where), name, holder)
        # A class without a source was made by a call, as a named tuple.
        is_defined = is_plain and (not bound or isinstance(value, FunctionType) or source.of_class(value) is not None)
        if not is_defined:
            self._reach_held(value, where)
        if bound and (any(map(_makes, bound)) or not is_defined) and (depth := self._depth_of(where)) <= DEEP:
            self._constant(name, value, where, holder, depth)

    def changes(self, cls: type) -> None:
        """Take in what a module changes in a class that it has made: `Scheme.step = step`."""
        file = loaded_file(cls.__module__)
        bound = source.bindings(file, cls.__name__, self._names) if self._names.get(cls.__name__) is cls else []
        forms = [form_of(one, self.refer, self.imported) for one in bound if not isinstance(one, ast.ImportFrom)]
        if forms:
            self._reach._add(f"{cls.__name__} (changed)", tuple(forms), "\n".join(map(ast.unparse, bound)) + "\n")

    def _constant(self, name: str, value: Any, where: str, holder: Mapping[str, Any], depth: int) -> None:
        if self._reach._leaves(where) or not self._reach._is_new((id(holder), name), holder):
            return
        self._reach.reached.add((where, name))
        file = loaded_file(where)
        by_statement = name in source.rebound(file, holder) or name in source.placed(file)
        if not self._reach.by_value and not source.is_literal(file, name):
            by_statement = True
        plain = None if by_statement else as_plain(value, mutable=False)
        if plain is not None:
            self._reach._add(name, ("value", plain), f"{name} = {as_shown(value)}\n")
            return
        self._reach._reach(type(value), depth)
        names = _Names(self._reach, holder, {}, where, depth)
        bound = source.bindings(file, name, holder)
        forms = [form_of(one, names.refer, names.imported) for one in bound if not isinstance(one, ast.ImportFrom)]
        if forms:
            text = "\n".join(ast.unparse(one) for one in bound)
            self._reach._add(name, tuple(forms), f"{text}\n")
            names._reach_held(value, where)
        elif origin := next((one for one in bound if isinstance(one, ast.ImportFrom)), None):
            self._imported_constant(name, value, origin, where, depth)
        elif not callable(value):  # its statement is not to be had
            self._reach._add(name, ("value", as_plain(value)), f"{name} = {as_shown(value)}\n")

    def _imported_constant(self, name: str, value: Any, origin: ast.ImportFrom, where: str, depth: int) -> None:
        package = where if hasattr(module_of(where), "__path__") else where.rpartition(".")[0]
        asked = next((one.name for one in origin.names if (one.asname or one.name) == name), name)
        (module, *_) = imported_modules(package, origin.module, origin.level, None)
        there = module_of(module)
        if there is not None and is_own(module, self._reach._home) and depth < DEEP and module != where:
            _Names(self._reach, vars(there), {}, module, depth + 1)._constant(
                asked, value, module, vars(there), depth + 1
            )

    def held(self, cell: str, value: Any) -> None:
        """Take in what a closure holds."""
        inner = unwrapped(value)
        if isinstance(inner, FunctionType | type):
            self._reach_own(inner)
            if isinstance(value, functools.partial) and not self._reach.is_module:
                self._reach._add(f"{cell} (held)", ("value", as_plain(value)), f"{cell} = {as_shown(value)}\n")
        elif isinstance(value, ModuleType) or top(type(value).__module__) == "entropic" or self._reach.is_module:
            return
        else:
            self._reach._reach(type(value), self._depth)
            self._reach._add(f"{cell} (held)", ("value", as_plain(value)), f"{cell} = {as_shown(value)}\n")

    def imported(self, module: str | None, level: int, what: str | None) -> None:
        """Take in what a function imports."""
        there = module_of(self._module)
        package = self._module if hasattr(there, "__path__") else self._module.rpartition(".")[0]
        for one in imported_modules(package, module, level, what):
            self._reach.imported(one, self._depth + 1)

    def of_code(self, code: CodeType) -> None:
        """Take in what the names in bytecode lead to."""
        for name in code.co_names:
            if name in self._names and name not in self._cells:
                self.refer(name, [one for one in code.co_names if one != name])
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                self.of_code(inner)


def _makes(one: ast.stmt) -> bool:
    """Tell whether a statement makes or changes a function or a class, and does not only name it: `f.rate = 2.0`."""
    if isinstance(one, ast.Assign | ast.AnnAssign):
        targets = one.targets if isinstance(one, ast.Assign) else [one.target]
        return isinstance(one.value, ast.Call) or not all(isinstance(each, ast.Name) for each in targets)
    return not isinstance(one, ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in {
        one.id for one in ast.walk(node.test) if isinstance(one, ast.Name)
    }
