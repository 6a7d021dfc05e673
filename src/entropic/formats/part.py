"""A part of a result: what it holds, and a slice of one array, of files that may be larger than memory.

The bounds are those of whole results (`bounds`): nothing is unpickled, and nothing that leads out is followed.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from entropic.errors import LoadError
from entropic.formats import hdf5, zarr_folder
from entropic.formats.arrays import Arrays
from entropic.formats.libraries import library

MOST_ARRAYS = 1_000  # of one result that are listed
_HDF5 = (".h5", ".hdf5", ".he5", ".nc", ".nc4", ".cdf")
_CLASSIC = b"CDF"


@dataclass(frozen=True, slots=True)
class Part:
    """An array of a result: what it is, and how a slice of it is read.

    Attributes
    ----------
    name
        Its path in the result; empty if the result is one array.
    dims
        The names of its dimensions, as far as they have any.
    read
        Takes a tuple of whole numbers and slices, one for each dimension; works while the result is open.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    dims: tuple[str | None, ...]
    attrs: Mapping[str, Any]
    read: Callable[[tuple[Any, ...]], Any]


@contextmanager
def parts(path: str) -> Iterator[list[Part] | None]:
    """Open the arrays of a result that can be read in parts; None if its format cannot.

    Raises
    ------
    LoadError
        If it is not what its suffix says, or leads out of its folder.
    LibraryMissingError
        If the library of the format is not installed.
    """
    name = os.path.basename(path).lower()
    if name.endswith(".npy"):
        yield _of_npy(path)
    elif name.endswith((".zarr", ".zarr.zip")):
        yield _of_zarr(path)
    elif name.endswith(_HDF5) and _is_hdf5(path):
        yield from _of_hdf5(path)
    else:
        yield None


def _is_hdf5(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(3) != _CLASSIC


def _of_npy(path: str) -> list[Part] | None:
    np = library("numpy", "numpy", "a .npy file")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise LoadError(f"{path} holds Python objects, and reading those would unpickle them") from error
        raise LoadError(f"{path} cannot be read as its suffix says: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind == "V":
        return None  # an archive, or a type that only the reader of whole results knows
    return [Part("", array.shape, str(array.dtype), (None,) * array.ndim, {}, lambda at: np.array(array[at]))]


def _of_zarr(path: str) -> list[Part]:
    with zarr_folder.opened(path) as found:
        arrays = dict(zarr_folder.arrays_of(found))
        made = []
        for name, array in list(arrays.items())[:MOST_ARRAYS]:
            dims = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
            dims = tuple(dims) if dims and len(dims) == array.ndim else (None,) * array.ndim
            read = _reader_of_zarr(path, name)
            made.append(Part(name, tuple(array.shape), str(array.dtype), dims, dict(array.attrs), read))
    return made


def _reader_of_zarr(path: str, name: str) -> Callable[[tuple[Any, ...]], Any]:
    def read(at: tuple[Any, ...]) -> Any:
        with zarr_folder.opened(path) as found:
            return dict(zarr_folder.arrays_of(found))[name][at]

    return read


def _of_hdf5(path: str) -> Iterator[list[Part]]:
    h5py = library("h5py", "hdf5", "an HDF5 file")
    bounds = hdf5.Hdf5Bounds(h5py, path)
    with hdf5.one_at_a_time(), h5py.File(bounds.real, "r") as file:
        made, dims = list[Part](), Arrays()
        for name, item in hdf5.items(h5py, bounds, file, ()):  # links into other files are left out
            if not isinstance(item, h5py.Dataset):
                continue
            hdf5.take_dimensions(dims, name, item)
            hdf5.take_attributes(h5py, dims, name, item)
            named = dims.dims.get(name, (None,) * item.ndim)
            attrs = dims.attrs.get(name, {})
            made.append(
                Part(name, item.shape or (), str(item.dtype), named, attrs, _reader_of_hdf5(h5py, bounds, name, item))
            )
            if len(made) == MOST_ARRAYS:
                break
        yield made


def _reader_of_hdf5(h5py: Any, bounds: hdf5.Hdf5Bounds, name: str, item: Any) -> Callable[[tuple[Any, ...]], Any]:
    def read(at: tuple[Any, ...]) -> Any:
        bounds.check(name, item)
        if h5py.check_string_dtype(item.dtype) is not None:
            return item.asstr(errors="replace")[at]
        return item[at]

    return read
