"""What a run returned, and its suffix cannot hold, is kept all the same: in a format that can, or in parts.

The first of these that holds the value: one file that `load` reads; a folder with a file for each part, and the rest in
its `contents.json`; its text, `repr`, which is not the value but has its numbers. Nothing is ever pickled.
"""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from entropic.formats.format import Saver
from entropic.formats.lossless import a_value, is_from
from entropic.formats.plain import as_json
from entropic.formats.save import HOLDERS
from entropic.formats.suffixes import find_own

STEM = "returned"
MOST_PARTS = 1_000  # files of one value; what is left then is kept as text
MOST_DEEP = 8
MOST_TEXT = 1_000_000  # characters of one text


class Kept(NamedTuple):
    """How a value was kept.

    Attributes
    ----------
    name
        Of the file or folder that holds it.
    lost
        The places in it of which only the text is kept: an empty name for the whole.
    refused
        The suffixes of formats that might have held the whole, and do not.
    """

    name: str
    lost: list[str]
    refused: list[str]


def keep(value: object, folder: str) -> Kept:
    """Write a value into a folder, under a name that is free there."""
    path = _free(os.path.join(folder, STEM))
    refused: list[str] = []
    suffix = _whole(value, path, refused)
    if suffix is not None:
        return Kept(os.path.basename(path) + suffix, [], refused)
    if _parts(value) is None:
        with open(f"{path}.txt", "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{a_value(value)}, of which only this text is kept:\n{_text(value)}\n")
        return Kept(f"{os.path.basename(path)}.txt", [""], refused)
    parts = _Parts(path)
    contents = parts.take(value, "", 0)
    with open(os.path.join(path, "contents.json"), "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(contents, file, indent=1, ensure_ascii=False)
    return Kept(os.path.basename(path), parts.lost, refused)


def _free(path: str) -> str:
    """Return a path of which the folder, whatever the suffix, has none: the run may have left files of its own."""
    folder, stem = os.path.split(path)
    count, names = 1, os.listdir(folder)
    while any(name.startswith(stem) for name in names):
        count += 1
        stem = f"{STEM}={count}"
    return os.path.join(folder, stem)


def _whole(value: object, path: str, refused: list[str]) -> str | None:
    """Write a value into one file; return the suffix of the first format that takes it, or None.

    Those that do not are added to `refused`.
    """
    suffixes = dict.fromkeys(suffix for holds, suffix in HOLDERS if holds(value))
    for suffix in sorted(suffixes, key=lambda one: one != ".json"):  # in which lists stay lists
        found = find_own(suffix)
        if found is not None and _try(found[1].save, value, path + suffix):
            return suffix
        refused.append(suffix)
    return None


def _try(write: Saver | None, value: object, path: str) -> bool:
    if write is None:
        return False
    try:
        write(value, path)
        return True
    except Exception:  # noqa: BLE001  (a format that does not take it, whatever its library says: the next one)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
        return False


class _Parts:
    """The files of one value's parts, in a folder of their own."""

    def __init__(self, folder: str) -> None:
        os.mkdir(folder)
        self._folder, self._count = folder, 0
        self._around: list[int] = []  # the objects that are taken apart now: one that holds itself is kept once
        self.lost: list[str] = []

    def take(self, value: object, where: str, depth: int) -> dict[str, Any]:
        """Keep a part, and return what `contents.json` says of it: its value, file, parts, or text."""
        with contextlib.suppress(Exception):  # of a value's own methods, too
            return {"value": as_json(value, "it")}
        if self._count < MOST_PARTS:
            suffix = _whole(value, os.path.join(self._folder, str(self._count)), [])
            if suffix is not None:
                self._count += 1
                return {"file": f"{self._count - 1}{suffix}"}
        parts = _parts(value) if depth < MOST_DEEP and id(value) not in self._around else None
        if parts is None:
            self.lost.append(where)
            return {"type": a_value(value), "text": _text(value)}
        self._around.append(id(value))
        found = [(str(name), self.take(part, f"{where}[{name!r}]", depth + 1)) for name, part in parts]
        self._around.pop()
        return {"type": a_value(value), "parts": found}


def _parts(value: Any) -> list[tuple[Any, Any]] | None:
    """Return what a value is made of, by name, or None if nothing here knows."""
    try:
        return list(_named_parts(value)) or None
    except Exception:  # noqa: BLE001  (whatever the value's own methods raise)
        return None


def _named_parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if is_from(value, "xarray.Dataset"):
        yield from [(name, {"dims": one.dims, "data": one.values, "attrs": one.attrs}) for name, one in _all(value)]
        yield "attrs", value.attrs
    elif is_from(value, "xarray.DataArray"):
        yield from [("dims", value.dims), ("data", value.values), ("attrs", value.attrs)]
        yield "coords", {name: one.values for name, one in value.coords.items()}
    elif is_from(value, "pandas.DataFrame"):
        yield from [("index", value.index.to_frame(index=False)), *((name, one) for name, one in value.items())]
    elif is_from(value, "pandas.Series"):
        yield "values", value.to_numpy()
    elif is_from(value, "polars.DataFrame"):
        yield from value.to_dict(as_series=False).items()
    elif is_from(value, "numpy.MaskedArray"):
        yield from [("data", value.data), ("mask", value.mask)]
    elif is_from(value, "numpy.ndarray") and value.dtype.hasobject and value.ndim:
        yield from enumerate(value)
    elif hasattr(value, "magnitude") and hasattr(value, "units"):  # of pint
        yield from [("magnitude", value.magnitude), ("units", str(value.units))]
    elif hasattr(value, "value") and hasattr(value, "unit"):  # of astropy
        yield from [("value", value.value), ("unit", str(value.unit))]
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        yield from value._asdict().items()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif not isinstance(value, type) and not callable(value) and type(value).__module__ != "builtins":
        yield from vars(value).items()


def _all(dataset: Any) -> list[tuple[Any, Any]]:
    return list(dataset.variables.items())


def _text(value: object) -> str:
    try:
        return repr(value)[:MOST_TEXT]
    except Exception as error:  # noqa: BLE001
        return f"(its text cannot be made: {type(error).__qualname__})"
