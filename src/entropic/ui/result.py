"""The result of one run, as far as a page can show it: where it may be read, what is in it, and slices of its arrays.

Nothing is unpickled and nothing is executed: a loader of the user's is not asked.
"""

import csv
import gzip
import io
import json
import math
import os
import stat
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from entropic.db.raw import Raw, Recorded
from entropic.errors import EntropicError, ParameterError
from entropic.files.extent import extent
from entropic.formats.bounds import is_inside
from entropic.formats.libraries import library
from entropic.formats.part import Part, parts
from entropic.formats.read import read
from entropic.formats.suffixes import find_own
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.support.show import visible
from entropic.ui.columns import shown

PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
            ".webp": "image/webp", ".bmp": "image/bmp"}  # fmt: skip
"""What a browser draws, and cannot run: SVG is no picture in this sense."""
_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_TEXTS = (
    ".txt",
    ".md",
    ".log",
    ".out",
    ".err",
    ".yaml",
    ".yml",
    ".toml",
    ".ini",
    ".xml",
    ".html",
    ".svg",
    ".py",
    ".tex",
)
MOST_WHOLE = 64_000_000  # bytes of a file that has to be read whole to be shown
MOST_TEXT = 200_000  # characters
MOST_JSON = 5_000_000  # bytes
MOST_LINES = 200  # of a table
LONGEST, WIDEST = 20_000, 512  # values of a line, and of each axis of an image
_SPAN = 2**26  # values that are read for one image


class Unshowable(EntropicError):
    """A result that the page does not show; the text says why."""


def path_of(context: StoreContext[Base], id: str) -> str:
    """Return where the result of a run is, if the page may read it.

    A row may be anybody's, and so may the path in it: only what is in the folder of the results once all links are
    followed is read, and a registered file under the very path that was registered.

    Raises
    ------
    Unshowable
        If it lies elsewhere, or is not there.
    """
    raw = context.rows.read(id)
    if raw is None:
        raise Unshowable("there is no such run")
    return where(context, raw)


def where(context: StoreContext[Base], raw: Raw) -> str:
    """Return where the result of a row is, as `path_of` does."""
    path = context.rows.file_of(raw)
    if not os.path.lexists(path):
        raise Unshowable(f"its file {visible(os.path.basename(path))} is gone")
    if Recorded.of(raw).is_registered:
        return path
    root = os.path.realpath(context.staging.results_dir)
    if not is_inside(path, root) or os.path.realpath(path) == root:
        raise Unshowable("its file lies outside of the folder of the results, and is not read")
    return os.path.realpath(path)


def describe(context: StoreContext[Base], id: str) -> dict[str, Any]:
    """Return what the result of a run is: its arrays, or its beginning as a text or a table."""
    try:
        path = path_of(context, id)
        found = extent(path)
        told = {"name": visible(os.path.basename(path)), "size": found.size if found else None}
        told["folder"] = bool(found and found.folder)
        return told | _described(path)
    except Exception as error:  # noqa: BLE001  (libraries of formats raise whatever they like)
        why = str(error) if isinstance(error, EntropicError) else f"{type(error).__name__}: {error}"
        return {"kind": "none", "why": visible(why)[:500]}


def _described(path: str) -> dict[str, Any]:
    name, is_folder = os.path.basename(path).lower(), os.path.isdir(path)
    suffix = os.path.splitext(name)[1]
    if not is_folder and not stat.S_ISREG(os.stat(path).st_mode):
        raise Unshowable("it is not a file")
    if suffix in PICTURES and not is_folder:
        return {"kind": "picture"}
    if name.endswith(_TABLES):
        return {"kind": "table", **_csv(path)}
    if suffix == ".parquet" and not is_folder:
        return {"kind": "table", **_parquet(path)}
    if suffix == ".json":
        return _json(path)
    if suffix in _TEXTS:
        return _text(path)
    with opened(path) as arrays:
        return {"kind": "arrays", "arrays": [_told(part) for part in arrays]}


def _told(part: Part) -> dict[str, Any]:
    return {
        "name": part.name,
        "shape": list(part.shape),
        "dtype": part.dtype,
        "dims": [None if dim is None else visible(dim) for dim in part.dims],
        "attrs": {visible(str(name)): shown(_plain(value), 300) for name, value in list(part.attrs.items())[:50]},
    }


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


# ---- arrays ------------------------------------------------------------------------------------------------------
_whole: OrderedDict[tuple[Any, ...], list[Part]] = OrderedDict()  # what was read whole, for the next slice of it
_whole_lock = threading.Lock()


@contextmanager
def opened(path: str) -> Iterator[list[Part]]:
    """Open the arrays of a result, in parts where its format can, else read whole if it is not too large."""
    with parts(path) as found:
        if found is not None:
            yield found
            return
    yield _read_whole(path)


def _read_whole(path: str) -> list[Part]:
    found = extent(path)
    if found is None:
        raise Unshowable("its file is gone")
    key = path, found.size, found.mtime_ns
    with _whole_lock:
        if key in _whole:
            return _whole[key]
        if size_when_read(path, found.size) > MOST_WHOLE:
            raise Unshowable(f"it is larger than the {MOST_WHOLE // 10**6} MB that are read whole to be shown")
        own = find_own(path)
        if own is None:  # a format of another package may do anything when it is read
            raise Unshowable(
                f"its format, {visible(os.path.splitext(path)[1])!r}, is not one that entropic reads itself"
            )
        value, arrays = read(path), own[1].arrays
        known = arrays(value) if arrays is not None else None
        made = list(_arrays_in(value if known is None else known))
        if not made:
            raise Unshowable("there is no array in it")
        _whole[key] = made
        while len(_whole) > 2:
            _whole.popitem(last=False)
        return made


def size_when_read(path: str, size: int) -> int:
    """Return how many bytes of memory a file of some bytes takes, if what is in it is packed."""
    if path.lower().endswith(".npz") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return max(size, sum(one.file_size for one in archive.infolist()))
    return size


def _arrays_in(value: Any, prefix: str = "") -> Iterator[Part]:
    """Yield the arrays of what a reader has returned."""
    np = library("numpy", "numpy", "the arrays of a result")
    if hasattr(value, "subtree"):  # a tree of data sets
        for node in value.subtree:
            yield from _arrays_in(node.to_dataset(), f"{node.path.strip('/')}/".lstrip("/"))
    elif hasattr(value, "variables"):
        for name, one in value.variables.items():
            yield _part(f"{prefix}{name}", one.values, tuple(map(str, one.dims)), one.attrs)
    elif hasattr(value, "to_numpy") and hasattr(value, "columns"):  # a data frame
        for name in value.columns:
            yield _part(f"{prefix}{name}", value[name].to_numpy())
    elif isinstance(value, Mapping):
        attrs, dims = getattr(value, "attrs", {}), getattr(value, "dims", {})
        for name, one in value.items():
            if isinstance(one, np.ndarray | np.generic):
                yield _part(f"{prefix}{name}", np.asarray(one), dims.get(name, ()), attrs.get(name))
            elif isinstance(one, Mapping) or hasattr(one, "columns"):
                yield from _arrays_in(one, f"{prefix}{name}/")
    else:
        yield _part(prefix, np.asarray(value))


def _part(name: str, values: Any, dims: tuple[str | None, ...] = (), attrs: Any = None) -> Part:
    dims = dims or (None,) * values.ndim
    return Part(name, values.shape, str(values.dtype), dims, attrs or {}, lambda at: values[at])


def slice_of(context: StoreContext[Base], id: str, name: str, at: str) -> tuple[dict[str, Any], Any]:
    """Return a line or an image of an array: what it is, and its values as a contiguous array of doubles, or None.

    Parameters
    ----------
    at
        For each dimension the place in it, or `*` for all of it, separated by commas; empty for the first image.

    Raises
    ------
    ParameterError
        If there is no such array, or no such place in it.
    Unshowable
        If the page does not show it.
    """
    np = library("numpy", "numpy", "the arrays of a result")
    with opened(path_of(context, id)) as arrays:
        part = next((one for one in arrays if one.name == name or (not name and len(arrays) == 1)), None)
        if part is None:
            raise ParameterError(f"the result has no array {name!r:.80}")
        places = _places(part, at)
        free = [i for i, one in enumerate(places) if one == "*"]
        most, span = (LONGEST if len(free) == 1 else WIDEST), 1
        chosen: list[Any] = list(places)
        steps, cut = list[int](), list[bool]()
        for i in reversed(free):
            length = part.shape[i]
            here = max(1, min(length, _SPAN // span))
            span *= here
            step = max(1, math.ceil(here / most))
            chosen[i] = slice(0, here, step)
            steps.insert(0, step)
            cut.insert(0, here < length)
        try:
            values = np.asarray(part.read(tuple(chosen)))
        except EntropicError:
            raise
        except Exception as error:
            raise Unshowable(f"it cannot be read: {type(error).__name__}: {error}") from error
    told: dict[str, Any] = {"at": places, "free": free, "steps": steps, "cut": cut, "shape": list(values.shape)}
    told["dims"] = [part.dims[i] for i in free]
    if values.dtype.kind == "c":
        values, told["magnitude"] = np.abs(values), True
    if values.dtype.kind not in "biuf":
        flat = values.reshape(-1)[:MOST_LINES].tolist()
        return told | {"texts": [shown(value, 500) for value in flat]}, None
    doubles = np.ascontiguousarray(values, dtype="<f8")
    finite = doubles[np.isfinite(doubles)]
    if finite.size:
        told |= {"min": float(finite.min()), "max": float(finite.max()), "mean": float(finite.mean())}
    return told, doubles


def _places(part: Part, at: str) -> list[Any]:
    count = len(part.shape)
    if not at:
        return [0] * (count - 2) + ["*"] * min(count, 2)
    given = at.split(",") if count else []
    if len(given) != count or sum(one == "*" for one in given) > 2:
        raise ParameterError(f"an array of {count} dimensions is not shown at {at!r:.80}")
    places: list[Any] = []
    for one, length in zip(given, part.shape, strict=True):
        if one != "*" and not (one.isascii() and one.isdigit() and len(one) < 16 and int(one) < length):
            raise ParameterError(f"{one!r:.20} is not a place in a dimension of {length}")
        places.append(one if one == "*" else int(one))
    return places


# ---- texts and tables --------------------------------------------------------------------------------------------
def _csv(path: str) -> dict[str, Any]:
    opener: Any = gzip.open if path.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        begin = file.read(MOST_TEXT)
        more = bool(file.read(1))
    text = begin.decode("utf-8", "replace")
    if more:
        text = text.rpartition("\n")[0]
    lines = list(csv.reader(io.StringIO(text), delimiter="\t" if ".tsv" in path.lower() else ","))
    header, rows = (lines[0], lines[1 : MOST_LINES + 1]) if lines else ([], [])
    told = [[shown(one, 200) for one in row] for row in rows]
    return {"columns": [shown(one, 200) for one in header], "rows": told, "more": more or len(lines) > MOST_LINES + 1}


def _parquet(path: str) -> dict[str, Any]:
    pyarrow = library("pyarrow.parquet", "pandas", "a .parquet file")
    with open(path, "rb") as file:
        table = pyarrow.ParquetFile(file)
        batch = next(iter(table.iter_batches(batch_size=MOST_LINES)), None)
        columns = [] if batch is None else [visible(name) for name in batch.schema.names]
        rows = [] if batch is None else [[shown(v, 200) for v in row.values()] for row in batch.to_pylist()]
        return {"columns": columns, "rows": rows, "more": table.metadata.num_rows > len(rows),
                "total": table.metadata.num_rows}  # fmt: skip


def _json(path: str) -> dict[str, Any]:
    if os.path.getsize(path) > MOST_JSON:
        return _text(path)
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
        text = json.dumps(value, indent=1, ensure_ascii=False)
    except (ValueError, RecursionError):
        return _text(path)
    return {"kind": "text", "text": visible(text[:MOST_TEXT]), "more": len(text) > MOST_TEXT}


def _text(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        found = file.read(MOST_TEXT)
        more = bool(file.read(1))
    return {"kind": "text", "text": visible(found.decode("utf-8", "replace")), "more": more}


def tail(path: str) -> dict[str, Any]:
    """Return the end of a log, which is a file and no link to one."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        file.seek(max(0, size - MOST_TEXT))
        return {"text": visible(file.read(MOST_TEXT).decode("utf-8", "replace")), "size": size, "cut": size > MOST_TEXT}
