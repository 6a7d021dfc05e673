"""HDF5, and NetCDF, which stands on it: what is read is in the file, or beside it where virtual data sets say so.

HDF5 opens other files by itself: through external links, for the storage of a data set, and for the sources of virtual
ones, which are zeros where there is no such file. `tests/ask/test_bounds.py` shows each.
"""

import os
import threading
from typing import Any, NoReturn

from entropic.ask.bounds import is_inside, refuse
from entropic.formats.libraries import library

# The library is for one thread, and crashes if two files are read at once. A fork waits for it, and a child has a new
# one: `tests/ask/test_load.py`. It is reentrant, since a signal handler may load something in the middle of a load.
_ONE_AT_A_TIME = threading.RLock()
_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")  # how the formats of NetCDF begin that stand on nothing
_SOFT = 16  # links to follow from one to the next; a circle has more


def read_hdf5(path: str, only: Any) -> dict[str, object]:
    """Return the data sets by their path; those of text as text."""
    h5py = library("h5py", "hdf5", "an HDF5 file")
    arrays: dict[str, object] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and (only is None or name in only):
            bounds.check(name, item)
            is_text = h5py.check_string_dtype(item.dtype) is not None
            arrays[name] = item.asstr()[()] if is_text else item[()]

    bounds = _Bounds(h5py, path)
    with _ONE_AT_A_TIME, h5py.File(bounds.real, "r") as file:
        file.visititems(take)
    return arrays


def read_netcdf(path: str, _: Any) -> object:
    """Return a `Dataset`, loaded."""
    library("netCDF4", "netcdf", "a NetCDF file")
    xarray = library("xarray", "netcdf", "a NetCDF file")
    with open(path, "rb") as file:
        is_classic = file.read(4) in _CLASSIC
    real = os.path.realpath(path)
    with _ONE_AT_A_TIME:
        if not is_classic:
            _check_netcdf(library("h5py", "netcdf", "a NetCDF file"), path)
        return xarray.load_dataset(real, engine="netcdf4")


def _check_netcdf(h5py: Any, path: str) -> None:
    """Refuse a file of whose parts any is elsewhere: NetCDF's library follows links, too."""
    bounds = _Bounds(h5py, path)

    def check(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            bounds.check(name, item)

    links: list[str] = []  # looked at afterwards: an exception does not come through what visits them
    with h5py.File(bounds.real, "r") as file:
        file.visit_links(links.append)
        for name in links:
            link = file.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink | h5py.SoftLink):
                bounds.refuse(name, f"is a link into another file, {getattr(link, 'filename', '')}")
        file.visititems(check)


class _Bounds:
    """The folder of an HDF5 file, which its data sets may not leave."""

    def __init__(self, h5py: Any, path: str) -> None:
        self._h5py, self._path = h5py, path
        self.real = os.path.realpath(path)  # HDF5 looks for other files beside the name under which it opens one
        self._folder = os.path.dirname(self.real)
        self._seen: set[tuple[str, str]] = set()

    def refuse(self, name: str, what: str) -> NoReturn:
        """Refuse the file because of one data set."""
        refuse(self._path, f"cannot be read: {name!r} {what}, which is not followed")

    def check(self, name: str, item: Any) -> None:
        """Refuse a data set whose values are in other files than those beside its own."""
        if item.external:
            self.refuse(name, f"has its values in another file, {item.external[0][0]}")
        if item.is_virtual:
            for source in item.virtual_sources():
                self._check_source(name, item.file, source.file_name, source.dset_name)

    def _check_source(self, name: str, file: Any, other: str, dataset: str) -> None:
        if other == ".":
            self._check_target(name, file, dataset)
            return
        found = os.path.realpath(os.path.join(self._folder, other))
        if "%" in other + dataset:
            self.refuse(name, f"is a virtual data set of files that are named by a pattern, {other}")
        if not is_inside(found, self._folder):
            self.refuse(name, f"is a virtual data set of {other}, a file outside of the folder of the result")
        if not os.path.isfile(found):
            refuse(self._path, f"is incomplete: {name!r} is a virtual data set of {other}, which is missing")
        if (found, dataset) not in self._seen:
            self._seen.add((found, dataset))
            with self._h5py.File(found, "r") as source:
                self._check_target(name, source, dataset)

    def _check_target(self, name: str, file: Any, dataset: str) -> None:
        """Follow the path of a source through a file, link by link."""
        where, parts, soft = file["/"], dataset.split("/"), 0
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
                self.refuse(name, f"is a virtual data set behind a link into another file, {link.filename}")
            else:
                lost = f"{dataset} of {os.path.basename(file.filename)}"
                refuse(self._path, f"is incomplete: {name!r} is a virtual data set of {lost}, which is missing")
        if isinstance(where, self._h5py.Dataset):
            self.check(name, where)


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
