"""HDF5, and NetCDF, which stands on it: what is read is in the file, or beside it where virtual data sets say so.

HDF5 opens other files by itself: through external links, for the storage of a data set, and for the sources of virtual
ones, which are zeros where there is no such file. `tests/ask/test_bounds.py` shows each.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from entropic.formats.bounds import is_inside, refuse
from entropic.formats.libraries import library

# The library is for one thread, and crashes if two files are read or written at once. A fork waits for it, and a child
# has a new one: `tests/ask/test_load.py`. It is reentrant, since a signal handler may load something in the middle of a
# load.
_ONE_AT_A_TIME = threading.RLock()
_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")  # how the formats of NetCDF begin that stand on nothing
_PATHS = 100_000
# Attributes by which HDF5 ties data sets to their scales; what these say is in the dimensions.
_PLUMBING = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "_Netcdf4Dimid"}
_SOFT = 16  # links to follow from one to the next; a circle has more


class Arrays(dict[str, Any]):
    """The data sets of an HDF5 file, by path; hard and soft links are paths as well.

    Attributes
    ----------
    attrs
        The attributes of each data set and group that has any, by path; those of the file itself are at `"/"`.
    dims
        The names of the dimensions of data sets that have scales, or labels; None for a dimension without.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attrs: dict[str, dict[str, Any]] = {}
        self.dims: dict[str, tuple[str | None, ...]] = {}


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep other threads from reading, or writing, files of these formats."""
    with _ONE_AT_A_TIME:
        yield


def read_hdf5(path: str, only: Any) -> Arrays:
    """Return the data sets by their path; those of text as text."""
    h5py = library("h5py", "hdf5", "an HDF5 file")
    arrays, bounds, seen = Arrays(), _Bounds(h5py, path), dict[Any, Any]()
    with _ONE_AT_A_TIME, h5py.File(bounds.real, "r") as file:
        _take_attributes(h5py, arrays, "/", file)
        for name, item in _items(h5py, bounds, file, only):
            if isinstance(item, h5py.Group):
                _take_attributes(h5py, arrays, name, item)
            elif only is None or name in only or item.is_scale:
                number = h5py.h5o.get_info(item.id).addr
                if number not in seen:
                    bounds.check(name, item)
                    seen[number] = _values(h5py, item)
                arrays[name] = seen[number]
                _take_attributes(h5py, arrays, name, item)
                _take_dimensions(arrays, name, item)
    return arrays


def _items(h5py: Any, bounds: "_Bounds", file: Any, only: Any) -> Iterator[tuple[str, Any]]:
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


def _take_attributes(h5py: Any, arrays: Arrays, name: str, item: Any) -> None:
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


def _take_dimensions(arrays: Arrays, name: str, item: Any) -> None:
    dims: list[str | None] = []
    for dim in item.dims:
        scales = [scale.name for scale in dim.values() if scale.name]
        dims.append(scales[0].strip("/") if scales else dim.label or None)
    if item.is_scale and item.ndim == 1:
        dims = [name]
    if any(dims) and len(set(dims) - {None}) == len([one for one in dims if one]):
        arrays.dims[name] = tuple(dims)


def read_netcdf(path: str, _: object) -> Any:
    """Return a `Dataset`, loaded; of a file with groups, a `DataTree`."""
    library("netCDF4", "netcdf", "a NetCDF file")
    xarray = library("xarray", "netcdf", "a NetCDF file")
    with open(path, "rb") as file:
        is_classic = file.read(4) in _CLASSIC
    real = os.path.realpath(path)
    with _ONE_AT_A_TIME:
        if is_classic or not _check_netcdf(library("h5py", "netcdf", "a NetCDF file"), path):
            return xarray.load_dataset(real, engine="netcdf4")
        with xarray.open_datatree(real, engine="netcdf4") as tree:
            return tree.load()


def _check_netcdf(h5py: Any, path: str) -> bool:
    """Refuse a file of whose parts any is elsewhere, since NetCDF's library follows links, too.

    Returns
    -------
    bool
        Whether it has groups.
    """
    bounds, groups = _Bounds(h5py, path), []

    def check(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            bounds.check(name, item)
        elif isinstance(item, h5py.Group):
            groups.append(name)

    links: list[str] = []  # looked at afterwards: an exception does not come through what visits them
    with h5py.File(bounds.real, "r") as file:
        file.visit_links(links.append)
        for name in links:
            link = file.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink | h5py.SoftLink):
                bounds.refuse(name, f"is a link into another file, {getattr(link, 'filename', '')}")
        file.visititems(check)
    return bool(groups)


class _Bounds:
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
                self._check_source(name, item.file, source.file_name, source.dset_name)

    def _check_source(self, name: str, file: object, other: str, dataset: str) -> None:
        if other == ".":
            self._check_target(name, file, dataset)
            return
        found = os.path.realpath(os.path.join(self._folder, other))
        if "%" in other + dataset:
            self.refuse(name, f"is a virtual data set of files that are named by a pattern, {other}")
        if not is_inside(found, self._folder):
            self.refuse(name, f"is a virtual data set of {other}, a file outside of the folder of the result")
        if not os.path.isfile(found):
            refuse(self.path, f"is incomplete: {name!r} is a virtual data set of {other}, which is missing")
        if (found, dataset) not in self._seen:
            self._seen.add((found, dataset))
            with self._h5py.File(found, "r") as source:
                self._check_target(name, source, dataset)

    def _check_target(self, name: str, file: Any, dataset: str) -> None:
        """Look at the source of a virtual data set."""
        where = self.follow(name, file, dataset, file["/"], "is a virtual data set of")
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
