"""Readers of result files: by their suffix, through the libraries that own the formats.

Nothing is unpickled, and nothing outside the folder of the result is read (`bounds`).
What is read is read whole and its file is closed, so nothing that is returned changes or dangles when the file does.
"""

import json
import os
from collections.abc import Callable, Iterable

from entropic.errors import LoadError
from entropic.formats import image
from entropic.formats.bounds import OWN_LOADER, check_links
from entropic.formats.hdf5 import read_hdf5, read_netcdf
from entropic.formats.libraries import library
from entropic.formats.npy import read_npy, read_npz
from entropic.formats.table import read_csv
from entropic.formats.zarr_folder import read_zarr

Loader = Callable[[str], object]
Names = Iterable[str] | None  # of the arrays that are wanted; None: of all

_PICKLES = (".pkl", ".pickle", ".p", ".joblib", ".dill", ".pt", ".pth", ".ckpt")


def read(path: str, loader: Loader | None = None, only: Names = None) -> object:
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
        raise LoadError(f"{path} {_why_not(name)}; {OWN_LOADER}")
    try:
        return reader(path, only)
    except (ImportError, LoadError, MemoryError):
        raise
    except Exception as error:
        if "allow_pickle" in str(error):
            reason = "holds Python objects, and reading those would unpickle them, which can run any code"
            raise LoadError(f"{path} {reason}; write numbers or text, or {OWN_LOADER}") from error
        raise LoadError(
            f"{path} cannot be read as its suffix says: {type(error).__name__}: {error}; if the format is another, "
            f"{OWN_LOADER}"
        ) from error


def _why_not(name: str) -> str:
    if name.endswith(_PICKLES):
        return "may be a pickle, which is not read, since reading it can run any code"
    suffix = os.path.splitext(name)[1]
    return f"cannot be read: there is no reader for {suffix!r}"


def _parquet(path: str, only: Names) -> object:
    library("pyarrow", "pandas", "a .parquet file")
    pandas = library("pandas", "pandas", "a .parquet file")
    if os.path.isdir(path):
        check_links(path)
        return pandas.read_parquet(path, engine="pyarrow")
    with open(path, "rb") as file:  # a file that it opens itself, a thread of its may close after it has returned
        return pandas.read_parquet(file, engine="pyarrow")


def _json(path: str, _: Names) -> object:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _text(path: str, _: Names) -> str:
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


READERS: dict[str, Callable[[str, Names], object]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    **dict.fromkeys((".h5", ".hdf5", ".he5"), read_hdf5),
    **dict.fromkeys((".nc", ".nc4", ".cdf"), read_netcdf),
    ".zarr": read_zarr,
    ".parquet": _parquet,
    **dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), read_csv),
    ".json": _json,
    **dict.fromkeys((".txt", ".md", ".log"), _text),
    **dict.fromkeys(image.SUFFIXES, image.read_image),
}
