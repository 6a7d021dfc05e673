"""ASDF: the tree of a file, with its arrays; what it says of other files is not followed."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from entropic.formats.arrays import native
from entropic.formats.bounds import refuse

_OWN = ("asdf_library", "history")


def read_asdf(path: str, only: Any) -> dict[str, Any]:
    """Return a dict of dicts, lists, arrays, numbers and text."""
    asdf = import_module("asdf")
    wanted = None if only is None else {name.partition(".")[0] for name in only}
    with open(path, "rb") as file:
        tree = import_module("asdf.util").load_yaml(file, tagged=True)
    _check(path, tree, "")
    with open(path, "rb") as file, asdf.open(file, lazy_load=False, memmap=False) as opened:
        return {
            name: _plain(value)
            for name, value in opened.tree.items()
            if name not in _OWN and (wanted is None or name in wanted)
        }


def _check(path: str, value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        if "$ref" in value:
            refuse(path, f"cannot be read: {where!r} is a link to {value['$ref']}, which is not followed")
        if "ndarray" in str(getattr(value, "_tag", "")) and isinstance(value.get("source"), str):
            refuse(path, f"cannot be read: {where!r} has its values in another file, {value['source']}")
        for name, inner in value.items():
            _check(path, inner, f"{where}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(path, inner, where)


def _plain(value: Any) -> Any:
    np = import_module("numpy")
    if type(value).__module__.partition(".")[0] == "asdf" and hasattr(value, "dtype"):
        value = value[...]  # of which numpy.array would leave the mask out (asdf 3 and 4)
    if isinstance(value, np.ma.MaskedArray):
        return value.copy()
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "dtype"):
        return native(np.array(value))
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list) or (isinstance(value, tuple) and type(value) is tuple):
        return [_plain(inner) for inner in value]
    return value
