"""Where the modules are that code imports, and which of them are of the same project."""

import ast
import contextlib
import importlib.machinery
import itertools
import sys
from types import ModuleType
from typing import Any

from entropic.provenance import source
from entropic.provenance.project import is_own, lies_outside_libraries, module_of, top


def loaded_file(module: str) -> str | None:
    """Return the file of a module that is imported; None if it has none, or is not."""
    return getattr(module_of(module), "__file__", None)


def public_name(module: str) -> str:
    """Return the name of a module without what is private in it, which moves from version to version."""
    return ".".join(one for one in module.split(".") if not one.startswith("_")) or module


def is_lazy(module: ModuleType) -> bool:
    """Tell whether a module may load what is asked of it only when it is asked, as numpy does `numpy.random`."""
    return "__getattr__" in vars(module) or type(module) is not ModuleType


def imported_modules(package: str, module: str | None, level: int, what: str | None) -> list[str]:
    """Return the modules that an import names: it may be that what is taken from one is a module, too."""
    if level:
        parts = package.split(".") if package else []
        parts = parts[: len(parts) - (level - 1)] if level > 1 else parts
        module = ".".join([*parts, *([module] if module else [])])
    if not module:
        return []
    return [module] if what in (None, "*") else [module, f"{module}.{what}"]


def own_imports(modules: set[str], home: str, deep: int) -> set[str]:
    """Return some modules, and those of the project that they import at their top level, and these, so many times."""
    found, latest = set(modules), set(modules)
    for _ in range(deep):
        asked: set[str] = set()
        for name in latest:
            file = loaded_file(name)
            for one in source.imports(file) if isinstance(file, str) else ():
                package = name if hasattr(module_of(name), "__path__") else name.rpartition(".")[0]
                if isinstance(one, ast.Import):
                    asked.update(each.name for each in one.names)
                else:
                    for each in one.names:
                        asked.update(imported_modules(package, one.module, one.level, each.name))
        around = {each for one in asked for each in itertools.accumulate(one.split("."), "{}.{}".format)}
        latest = {one for one in around - found if is_own(one, home)}
        found |= latest
    return found


def find_file(name: str) -> str | None:
    """Return the file of a module, without importing it."""
    found = loaded_file(name)
    if isinstance(found, str):
        return found
    path: Any = None
    spec = None
    with contextlib.suppress(Exception):  # of finders of anybody's
        for i in range(name.count(".") + 1):
            spec = importlib.machinery.PathFinder.find_spec(".".join(name.split(".")[: i + 1]), path)
            if spec is None or (i < name.count(".") and spec.submodule_search_locations is None):
                return None  # what is no package has no modules
            path = spec.submodule_search_locations
    return spec.origin if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def is_own_file(name: str, file: str, home: str) -> bool:
    """Tell whether a module, in this file, is of the same project as another one."""
    if top(name) in sys.stdlib_module_names or top(name) == "entropic":
        return False
    return top(name) == top(home) or lies_outside_libraries(file)
