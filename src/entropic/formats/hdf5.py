"""HDF5: what is read is in the file, or beside it where virtual data sets say so.

HDF5 opens other files by itself: through external links, for the storage of a data set, and for the sources of virtual
ones, which are zeros where there is no such file. `tests/ask/test_bounds.py` shows each.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NoReturn

from entropic.formats.arrays import Arrays
from entropic.formats.bounds import is_inside, refuse
from entropic.formats.lossless import Unfit, as_arrays

# The library is for one thread, and crashes if two files are read or written at once. A fork waits for it, and a child
# has a new one: `tests/ask/test_load.py`. It is reentrant, since a signal handler may load something in the middle of a
# load.
_ONE_AT_A_TIME = threading.RLock()
_PATHS = 100_000
_OF = "is a virtual data set of"
# Attributes by which HDF5 ties data sets to their scales; what these say is in the dimensions.
_PLUMBING = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "_Netcdf4Dimid"}
_SOFT = 16  # links to follow from one to the next; a circle has more


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep other threads from reading, or writing, files of these formats."""
    with _ONE_AT_A_TIME:
        yield


def read_hdf5(path: str, only: Any) -> Arrays:
    """Return the data sets by their path; those of text as text."""
    h5py = import_module("h5py")
    arrays, bounds, seen = Arrays(), Hdf5Bounds(h5py, path), dict[Any, Any]()
    with one_at_a_time(), h5py.File(bounds.real, "r") as file:
        take_attributes(h5py, arrays, "/", file)
        for name, item in items(h5py, bounds, file, only):
            if isinstance(item, h5py.Group):
                take_attributes(h5py, arrays, name, item)
            elif only is None or name in only or item.is_scale:
                number = h5py.h5o.get_info(item.id).addr
                if number not in seen:
                    bounds.check(name, item)
                    seen[number] = _values(h5py, item)
                arrays[name] = seen[number]
                take_attributes(h5py, arrays, name, item)
                take_dimensions(arrays, name, item)
    return arrays


def items(h5py: Any, bounds: "Hdf5Bounds", file: Any, only: Any) -> Iterator[tuple[str, Any]]:
    """Yield all groups and data sets by every path that leads to them (`visititems` has one path of each)."""
    waiting, count = [("", file, frozenset({h5py.h5o.get_info(file.id).addr}))], 0
    while waiting:
        prefix, group, above = waiting.pop()
        below = []
        for part in group:
            name = prefix + part
            link = group.get(part, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                if only is None or name in only:
                    bounds.refuse(name, f"is a link into another file, {link.filename}")
                continue
            item = bounds.follow(name, file, link.path, group) if isinstance(link, h5py.SoftLink) else group[part]
            if not isinstance(item, h5py.Group | h5py.Dataset):
                continue
            count += 1
            if count > _PATHS:
                refuse(bounds.path, f"has more than {_PATHS:,} paths, by links from group to group")
            yield name, item
            number = h5py.h5o.get_info(item.id).addr
            if isinstance(item, h5py.Group) and number not in above:  # else a circle
                below.append((f"{name}/", item, above | {number}))
        waiting += reversed(below)


def _values(h5py: Any, item: Any) -> Any:
    if h5py.check_string_dtype(item.dtype) is None:
        return item[()]
    try:
        return item.asstr()[()]
    except UnicodeDecodeError:  # as it is, rather than in an encoding that is guessed
        return item[()]


def take_attributes(h5py: Any, arrays: Arrays, name: str, item: Any) -> None:
    """Take down the attributes of a data set or group."""
    found, is_tied = {}, isinstance(item, h5py.Dataset) and (item.is_scale or "DIMENSION_LIST" in item.attrs)
    for key in item.attrs:
        try:
            value = item.attrs[key]
        except (OSError, TypeError, ValueError):  # of a type that h5py does not know
            continue
        kind = getattr(value, "dtype", None)
        if (
            (is_tied and key in _PLUMBING)
            or isinstance(value, h5py.Reference)
            or (kind is not None and _refers(h5py, kind))
        ):
            continue
        found[key] = value.item() if getattr(value, "ndim", None) == 0 else value
    if found:
        arrays.attrs[name] = found


def _refers(h5py: Any, dtype: Any) -> bool:
    """Tell whether something is a reference, which means nothing once its file is closed."""
    if h5py.check_string_dtype(dtype) is not None:
        return False
    return h5py.check_ref_dtype(dtype) is not None or h5py.check_vlen_dtype(dtype) is not None or dtype.kind == "V"


def take_dimensions(arrays: Arrays, name: str, item: Any) -> None:
    """Take down what the dimensions of a data set are called."""
    dims: list[str | None] = []
    for dim in item.dims:
        scales = [scale.name for scale in dim.values() if scale.name]
        dims.append(scales[0].strip("/") if scales else dim.label or None)
    if item.is_scale and item.ndim == 1:
        dims = [name]
    if any(dims) and len(set(dims) - {None}) == len([one for one in dims if one]):
        arrays.dims[name] = tuple(dims)


def check_whole(h5py: Any, bounds: "Hdf5Bounds", file: Any) -> bool:
    """Refuse a file of whose parts any is elsewhere.

    Returns
    -------
    bool
        Whether it has groups.
    """
    groups = []

    def check(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            bounds.check(name, item)
        elif isinstance(item, h5py.Group):
            groups.append(name)

    links: list[str] = []  # looked at afterwards: an exception does not come through what visits them
    file.visit_links(links.append)
    for name in links:
        link = file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink | h5py.SoftLink):
            bounds.refuse(name, f"is a link into another file, {getattr(link, 'filename', '')}")
    file.visititems(check)
    return bool(groups)


def save_hdf5(value: object, path: str) -> None:
    """Write arrays by their names; those of nested dicts by their path."""
    h5py = import_module("h5py")
    arrays = as_arrays(value)
    for name, array in arrays.items():
        if any(other.startswith(f"{name}/") for other in arrays):
            raise Unfit(f"{name!r} is both an array and a group of others")
        if array.dtype.kind in "SV" and array.dtype.names is None:
            raise Unfit(f"{name!r} holds bytes, which come back as text; make it numbers or text")
        if array.dtype.names is not None and h5py.h5t.py_create(array.dtype, logical=True).dtype != array.dtype:
            raise Unfit(f"{name!r} has fields that would come back without a part of their type, such as titles")
    with one_at_a_time(), h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array.dtype.kind == "U":
                file.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype())
            else:
                file.create_dataset(name, data=array)


class Hdf5Bounds:
    """The folder of an HDF5 file, which its data sets may not leave."""

    def __init__(self, h5py: Any, path: str) -> None:
        self._h5py, self.path = h5py, path
        self.real = os.path.realpath(path)  # HDF5 looks for other files beside the name under which it opens one
        self._folder = os.path.dirname(self.real)
        self._seen: set[tuple[str, str]] = set()

    def refuse(self, name: str, what: str) -> NoReturn:
        """Refuse the file because of one data set."""
        refuse(self.path, f"cannot be read: {name!r} {what}, which is not followed")

    def check(self, name: str, item: Any) -> None:
        """Refuse a data set whose values are in other files than those beside its own."""
        if item.external:
            self.refuse(name, f"has its values in another file, {item.external[0][0]}")
        if item.is_virtual:
            for source in item.virtual_sources():
                self.check_source(name, item.file, source.file_name, source.dset_name)

    def check_source(self, name: str, file: object, other: str, dataset: str, what: str = _OF) -> None:
        """Refuse what is said to be in another file if that is not there, or leads out of the folder."""
        if other == ".":
            self._check_target(name, file, dataset, what)
            return
        found = os.path.realpath(os.path.join(self._folder, other))
        if "%" in other + dataset:
            self.refuse(name, f"{what} files that are named by a pattern, {other}")
        if not is_inside(found, self._folder):
            self.refuse(name, f"{what} {other}, a file outside of the folder of the result")
        if not os.path.isfile(found):
            refuse(self.path, f"is incomplete: {name!r} {what} {other}, which is missing")
        if (found, dataset) not in self._seen:
            self._seen.add((found, dataset))
            with self._h5py.File(found, "r") as source:
                self._check_target(name, source, dataset, what)

    def _check_target(self, name: str, file: Any, dataset: str, what: str) -> None:
        """Look at the source of a virtual data set."""
        where = self.follow(name, file, dataset, file["/"], what)
        if isinstance(where, self._h5py.Dataset):
            self.check(name, where)

    def follow(self, name: str, file: Any, target: str, start: Any, what: str = "is a link to") -> Any:
        """Follow a path through a file, link by link, to the object there."""
        where, parts, soft = file["/"] if target.startswith("/") else start, target.split("/"), 0
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            link = where.get(part, getlink=True) if isinstance(where, self._h5py.Group) else None
            if isinstance(link, self._h5py.HardLink):
                where = where[part]
            elif isinstance(link, self._h5py.SoftLink) and soft < _SOFT:
                where, soft = file["/"] if link.path.startswith("/") else where, soft + 1
                parts = [*link.path.split("/"), *parts]
            elif isinstance(link, self._h5py.ExternalLink):
                self.refuse(name, f"{what} what is behind a link into another file, {link.filename}")
            else:
                lost = f"{target} of {os.path.basename(file.filename)}"
                refuse(self.path, f"is incomplete: {name!r} {what} {lost}, which is missing")
        return where


def _before_fork() -> None:
    _ONE_AT_A_TIME.acquire()


def _after_fork() -> None:
    # Else Ctrl-C has ended the wait for it.
    if _ONE_AT_A_TIME._is_owned():  # type: ignore[attr-defined]
        _ONE_AT_A_TIME.release()


def _after_fork_in_child() -> None:
    global _ONE_AT_A_TIME
    _ONE_AT_A_TIME = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
