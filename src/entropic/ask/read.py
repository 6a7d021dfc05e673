"""Readers of result files: by their suffix, through the libraries that own the formats. Nothing is unpickled.

What is read is read whole and its file is closed, so nothing that is returned changes or dangles when the file does.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from entropic.ask.libraries import library
from entropic.errors import LoadError

Loader = Callable[[str], Any]
Names = Iterable[str] | None  # of the arrays that are wanted; None: of all

_PICKLES = (".pkl", ".pickle", ".p", ".joblib", ".dill", ".pt", ".pth", ".ckpt")
# HDF5, on which NetCDF stands, is for one thread at a time, and crashes the process if two files are read at once.
_HDF5 = threading.Lock()
_OWN_LOADER = "give the store a loader, which is called with the path: Store(..., loader=read_it)"


def read(path: str, loader: Loader | None = None, only: Names = None) -> Any:
    """Return what a result file holds.

    Parameters
    ----------
    path
        Of a file, or of a folder (Zarr).
    loader
        Asked first; what it returns is returned, unless that is `NotImplemented`.
    only
        Names of arrays; a format that can leaves the others unread.

    Raises
    ------
    LoadError
        If nothing here reads such files, or this one does not hold what its name says.
    LibraryMissingError
        If the library of the format is not installed.
    """
    if loader is not None:
        found = loader(path)
        if found is not NotImplemented:
            return found
    name = os.path.basename(path).lower()
    reader = next((reader for suffix, reader in READERS.items() if name.endswith(suffix)), None)
    if reader is None:
        raise LoadError(f"{path} {_why_not(name)}; {_OWN_LOADER}")
    try:
        return reader(path, only)
    except (ImportError, LoadError, MemoryError):
        raise
    except Exception as error:
        if "allow_pickle" in str(error):
            reason = "holds Python objects, and reading those would unpickle them, which can run any code"
            raise LoadError(f"{path} {reason}; write numbers or text, or {_OWN_LOADER}") from error
        raise LoadError(
            f"{path} cannot be read as its name says: {type(error).__name__}: {error}; if that is another format, "
            f"{_OWN_LOADER}"
        ) from error


def _why_not(name: str) -> str:
    if name.endswith(_PICKLES):
        return "may be a pickle, which is not read, since that can run any code"
    suffix = os.path.splitext(name)[1]
    return f"has a name that ends with {suffix!r}, which no reader here is for"


def _npy(path: str, _: Names) -> Any:
    return library("numpy", "numpy", "a .npy file").load(path, allow_pickle=False)


def _npz(path: str, only: Names) -> dict[str, Any]:
    with library("numpy", "numpy", "a .npz file").load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if only is None or name in only}


def _hdf5(path: str, only: Names) -> dict[str, Any]:
    """Return the data sets by their path; those of text as text."""
    h5py = library("h5py", "hdf5", "an HDF5 file")
    arrays = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and (only is None or name in only):
            is_text = h5py.check_string_dtype(item.dtype) is not None
            arrays[name] = item.asstr()[()] if is_text else item[()]

    with _HDF5, h5py.File(path, "r") as file:
        file.visititems(take)
    return arrays


def _netcdf(path: str, _: Names) -> Any:
    library("netCDF4", "netcdf", "a NetCDF file")
    xarray = library("xarray", "netcdf", "a NetCDF file")
    with _HDF5:
        return xarray.load_dataset(path, engine="netcdf4")


def _zarr(path: str, only: Names) -> Any:
    """Return a `Dataset` where the arrays have named dimensions, else a dict of arrays, or the array itself."""
    zarr = library("zarr", "zarr", "a Zarr folder")
    found = zarr.open(path, mode="r")
    if isinstance(found, zarr.Array):
        return _zarr_array(path, found)
    groups, arrays = list(found.groups()), dict(found.arrays())
    if not groups and any(array.ndim for array in arrays.values()) and all(map(_has_dims, arrays.values())):
        for array in arrays.values():
            _refuse_pickles(path, array)
        xarray = library("xarray", "zarr", "a Zarr folder with named dimensions")
        with xarray.open_zarr(path, chunks=None, consolidated=False) as dataset:
            return dataset.load()
    named = _zarr_arrays(found, "")
    return {name: _zarr_array(path, array) for name, array in named if only is None or name in only}


def _zarr_arrays(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, array in group.arrays():
        yield prefix + name, array
    for name, inner in group.groups():
        yield from _zarr_arrays(inner, f"{prefix}{name}/")


def _zarr_array(path: str, array: Any) -> Any:
    _refuse_pickles(path, array)
    return array[...]


def _refuse_pickles(path: str, array: Any) -> None:
    """Refuse arrays of Python objects, of which Zarr's second format knows some that are pickles."""
    codecs = [*(getattr(array, "filters", None) or ()), *(getattr(array, "compressors", None) or ())]
    if any(getattr(codec, "codec_id", None) == "pickle" for codec in codecs):
        raise LoadError(f"{path} holds pickled objects, which are not read, since that can run any code; {_OWN_LOADER}")


def _has_dims(array: Any) -> bool:
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return bool(names) or array.ndim == 0


def _csv(path: str, _: Names) -> Any:
    separator = "\t" if ".tsv" in os.path.basename(path).lower() else ","
    return library("pandas", "pandas", "a .csv file").read_csv(path, sep=separator)


def _parquet(path: str, only: Names) -> Any:
    library("pyarrow", "pandas", "a .parquet file")
    pandas = library("pandas", "pandas", "a .parquet file")
    if os.path.isdir(path):
        return pandas.read_parquet(path, engine="pyarrow")
    with open(path, "rb") as file:  # a file that it opens itself, a thread of its may close after it has returned
        return pandas.read_parquet(file, engine="pyarrow")


def _json(path: str, _: Names) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _text(path: str, _: Names) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _image(path: str, _: Names) -> Any:
    image = library("PIL.Image", "images", "an image")
    with image.open(path) as found:
        pages = []
        for page in range(getattr(found, "n_frames", 1)):
            found.seek(page)
            found.load()
            pages.append(found.copy())
    return pages if len(pages) > 1 else pages[0]


READERS: dict[str, Callable[[str, Names], Any]] = {
    ".npy": _npy,
    ".npz": _npz,
    **dict.fromkeys((".h5", ".hdf5", ".he5"), _hdf5),
    **dict.fromkeys((".nc", ".nc4", ".cdf"), _netcdf),
    ".zarr": _zarr,
    ".parquet": _parquet,
    **dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), _csv),
    ".json": _json,
    **dict.fromkeys((".txt", ".md", ".log"), _text),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp"), _image),
}
