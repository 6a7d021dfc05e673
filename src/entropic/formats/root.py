"""ROOT: trees, ntuples and histograms, without making classes of what a file says about its own."""

import functools
import os
from importlib import import_module
from typing import Any

from entropic.errors import LoadError
from entropic.formats.arrays import Arrays, native

_TREES = ("TTree", "TNtuple", "TNtupleD")
_NTUPLES = ("ROOT::RNTuple", "ROOT::Experimental::RNTuple")


def read_root(path: str, only: Any) -> Arrays:
    """Return the branches of trees by path, `tree/branch`, and of histograms `values`, `variances` and `edges`."""
    import_module("uproot")
    arrays, unread = Arrays(), []
    with open(path, "rb") as file, _file_class()(file) as opened:
        if opened.fEND > os.fstat(file.fileno()).st_size:
            raise LoadError(f"{path} is incomplete: it ends before it says that it does")
        directory = opened.root_directory
        kinds = directory.classnames(recursive=True, cycle=False)
        for name, kind in kinds.items():
            if kind.startswith("TDirectory"):
                continue
            if kind in _TREES or kind in _NTUPLES:
                _take_tree(arrays, name, directory[name], only)
            elif kind.startswith(("TH1", "TH2", "TH3", "TProfile")):
                _take_histogram(arrays, name, directory[name], only)
            elif kind == "TObjString":
                if only is None or name in only:
                    arrays[name] = str(directory[name])
            else:
                unread.append(f"{name} ({kind})")
    if unread:
        arrays.attrs["/"] = {"unread": unread}
    return arrays


def _take_tree(arrays: Arrays, path: str, tree: Any, only: Any) -> None:
    np = import_module("numpy")
    for name in tree.keys(recursive=False) if hasattr(tree, "num_entries") else ():
        here = f"{path}/{name}"
        if only is not None and here not in only:
            continue
        # One by one: to read several together, uproot may evaluate formulas that the file brings along.
        values = tree[name].array(library="np")
        if isinstance(values, dict | tuple):
            raise ValueError(f"{here!r} holds values of several fields")
        values = values if values.dtype == object else native(np.array(values))
        arrays[here] = values
        arrays.dims[here] = (f"{path}/entry", *[None] * (values.ndim - 1))


def _take_histogram(arrays: Arrays, path: str, histogram: Any, only: Any) -> None:
    axes = ("x", "y", "z")[: len(histogram.axes)]
    parts = {"values": histogram.values(), "variances": histogram.variances()}
    for name, values in parts.items():
        if values is not None and (only is None or f"{path}/{name}" in only):
            arrays[f"{path}/{name}"] = native(values)
            arrays.dims[f"{path}/{name}"] = tuple(f"{path}/{axis}" for axis in axes)
    for axis, found in zip(axes, histogram.axes, strict=True):
        name = f"{path}/edges" if len(axes) == 1 else f"{path}/{axis}_edges"
        if only is None or name in only:
            arrays[name] = native(found.edges())


@functools.cache
def _file_class() -> Any:
    """Return uproot's class of files, without the classes that it would write and run by what a file describes."""
    base: Any = import_module("uproot").ReadOnlyFile

    class File(base):  # type: ignore[misc]  # of a library that may not be there
        """A file whose descriptions of classes are left alone: uproot knows all that numbers need."""

        def streamers_named(self, classname: object) -> list[object]:
            return []

        def streamer_named(self, classname: object, version: object = "max") -> None:
            return None

    return File
