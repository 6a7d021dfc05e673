"""Values that code reaches, as texts: the same text for values that make the same result."""

import contextlib
import functools
import hashlib
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import CodeType, FunctionType, MappingProxyType
from typing import Any

from entropic.provenance.canonical import Form
from entropic.provenance.project import attribute, unwrapped

MOST_BYTES = 2**20  # of an array, or a text, that counts by its content
MOST_ITEMS = 10_000  # of a list or a dict, likewise


class Shown:
    """What stands for a value that people see as this text, line by line: what differs in it is to be found."""

    def __init__(self, text: str) -> None:
        self.text = text


def as_shown(value: Any) -> str:
    """Return a value as people see it, however large it is, and whoever has written its `repr`."""
    if type(value) is Shown:
        return value.text
    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001  (of anybody's)
        return f"<{type(value).__qualname__}>"


def as_plain(value: Any, mutable: bool = True, depth: int = 6) -> Any:
    """Return a value as texts; None if it is none that counts by its content.

    Parameters
    ----------
    mutable
        Whether what may have been changed since it was made counts, too.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        kind = type(value)
        if kind.__module__ != "builtins":  # a member of an enumeration, say
            inner = getattr(value, "value", None) if hasattr(value, "name") else getattr(value, "item", lambda: "")()
            return kind.__name__, str(getattr(value, "name", "")), repr(inner)
        return kind.__name__, repr(value)
    if isinstance(value, tuple | frozenset) or (mutable and isinstance(value, list | set)):
        some = value if len(value) <= MOST_ITEMS else [len(value), *islice(value, MOST_ITEMS)]
        inner = [as_plain(one, mutable, depth - 1) for one in some] if depth else [len(value)]
        if not mutable and any(one is None for one in inner):
            return None
        ordered = inner if isinstance(value, tuple | list) else sorted(map(repr, inner))
        return type(value).__name__, tuple(ordered)
    if mutable and isinstance(value, Mapping):
        items = islice(value.items(), MOST_ITEMS) if depth else ()
        inner = [(as_plain(key, True, 1), as_plain(one, True, depth - 1)) for key, one in items]
        return "dict", len(value), tuple(inner)
    if mutable and isinstance(value, functools.partial):
        return "partial", as_plain(value.args, True, depth - 1), as_plain(value.keywords, True, depth - 1)
    if type(value).__module__ in ("decimal", "fractions", "datetime", "uuid", "pathlib"):
        return type(value).__name__, str(value)
    if mutable and type(value).__module__ == "numpy" and hasattr(value, "tobytes"):
        data = value.tobytes() if value.nbytes <= MOST_BYTES and not value.dtype.hasobject else b""
        return "array", str(value.dtype), str(value.shape), hashlib.sha256(data).hexdigest()
    return ("object", type(value).__qualname__) if mutable else None


def functions_in(value: Any, depth: int = 3) -> Iterator[Any]:
    """Yield the functions and classes behind a value: in a dict, a list, a partial, or registered with a function."""
    inner: Iterable[Any] = ()
    if isinstance(value, dict):  # not any mapping: of those in files it would read all
        inner = dict.values(value)
    elif isinstance(value, list | tuple | set | frozenset):
        inner = value
    elif isinstance(value, functools.partial):
        inner = (value.func, *value.args, *value.keywords.values())
    elif isinstance(found := unwrapped(value), FunctionType | type):
        yield found
        inner = registry.values() if isinstance(registry := attribute(value, "registry"), MappingProxyType) else ()
    if depth:
        for one in islice(inner, MOST_ITEMS):
            if not isinstance(one, bool | int | float | complex | str | bytes):
                yield from functions_in(one, depth - 1)


def cells_of(function: FunctionType) -> dict[str, Any]:
    """Return what a function holds of the functions around it, by name."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not filled yet
            if name != "__class__":
                found[name] = cell.cell_contents
    return found


def bytecode_of(code: CodeType) -> Form:
    """Return what a function does whose source is not to be had, without its docstring."""
    consts = code.co_consts[1:] if code.co_consts[:1] and isinstance(code.co_consts[0], str) else code.co_consts
    # Not by `repr`: the order of a set of texts is another one in each process.
    inner = tuple(bytecode_of(one) if isinstance(one, CodeType) else as_plain(one) for one in consts)
    return code.co_code.hex(), code.co_names, inner
