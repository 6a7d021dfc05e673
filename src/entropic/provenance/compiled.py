"""Whether the text of a file is what runs: the file may have been edited since it was imported."""

import ast
import functools
import os
import time
from types import CodeType, FunctionType
from typing import Any

from entropic.provenance import texts
from entropic.provenance.project import module_of
from entropic.provenance.values import bytecode_of, cells_of
from entropic.support import process

MARGIN = 2.0  # s by which clocks of files may differ from ours


@functools.cache
def _start() -> float:
    """Return when this process began, in seconds since 1970."""
    return time.time() - process.age()


def may_have_changed(file: str) -> bool:
    """Tell whether a file was changed since this process began: what it has imported may be of before."""
    try:
        seen = os.stat(file)
    except OSError:  # a cell of a notebook, or what has travelled: its text is kept
        return False
    return max(seen.st_mtime, seen.st_ctime) > _start() - MARGIN


def is_compiled_from(code: CodeType, text: str) -> bool:
    """Tell whether code comes from a text, and from the same lines of it."""
    return any(one == code for one in _codes(text, code.co_filename).get(code.co_name, []))


def line_of(function: FunctionType, text: str) -> int | None:
    """Return in which line of a text a function begins; None if it is another one there, or there is none.

    What stands above it may have been edited since it was imported.
    """
    code = function.__code__
    if not may_have_changed(code.co_filename) or is_compiled_from(code, text):
        return code.co_firstlineno
    alike = [one for one in _codes(text, code.co_filename).get(code.co_name, []) if _do_the_same(one, code)]
    return alike[0].co_firstlineno if len(alike) == 1 else None


def _do_the_same(one: CodeType, other: CodeType) -> bool:
    """Tell whether code is the same but for the lines in which it stands."""
    return one.co_qualname == other.co_qualname and _moved_to_line(one, 1) == _moved_to_line(other, 1)


def _moved_to_line(code: CodeType, line: int) -> CodeType:
    consts = tuple(_moved_to_line(one, line) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_firstlineno=line, co_linetable=b"", co_consts=consts)


def has_defaults(function: FunctionType, written: ast.arguments) -> bool:
    """Tell whether a function has the defaults that a text gives it, as far as these are written out."""
    has = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    nodes = [*written.defaults, *filter(None, written.kw_defaults)]
    if len(has) != len(nodes):
        return False
    return all(
        not is_written_out(node) or ast.literal_eval(node) == value for node, value in zip(nodes, has, strict=True)
    )


@functools.lru_cache(maxsize=64)
def _codes(text: str, file: str) -> dict[str, list[CodeType]]:
    found: dict[str, list[CodeType]] = {}
    try:
        todo = [compile(text, file, "exec", dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found
    while todo:
        code = todo.pop()
        found.setdefault(code.co_name, []).append(code)
        todo += [one for one in code.co_consts if isinstance(one, CodeType)]
    return found


def is_written_out(node: ast.expr) -> bool:
    """Tell whether a value is written out, so that its text says all of it."""
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def functions_of_another_version(name: str, file: str) -> list[str]:
    """Return the functions of a module, if it is imported, that are not those of its file any more."""
    todo = [] if (module := module_of(name)) is None else list(vars(module).values())
    seen, found, codes = dict[int, Any](), list[str](), _codes(texts.read(file, {}), file)
    while todo:
        one = todo.pop()
        if isinstance(one, type) and one.__module__ == name:
            more = [getattr(each, "__func__", getattr(each, "fget", each)) for each in vars(one).values()]
            todo += [each for each in more if isinstance(each, FunctionType)]
        if not isinstance(one, FunctionType) or one.__code__.co_filename != file or id(one) in seen:
            continue
        seen[id(one)] = one
        todo += [each for each in cells_of(one).values() if isinstance(each, FunctionType)]
        if bytecode_of(one.__code__) not in map(bytecode_of, codes.get(one.__code__.co_name, [])):
            found.append(one.__qualname__)
    return sorted(found)
