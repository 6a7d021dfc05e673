"""Savers of results: what a runner returns is written by the suffix, so that `load` returns it again.

What a format would change or lose in silence is refused, with the suffixes that hold it. Nothing is ever pickled.
"""

import dataclasses
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from entropic.errors import LibraryMissingError, SaveError
from entropic.formats.hdf5 import one_at_a_time
from entropic.formats.libraries import library
from entropic.formats.table import read_csv
from entropic.params.keys import plain

Saver = Callable[[Any, str], Any]
_OWN = "write params['result_file'] in the runner, or give the store a saver(value, path)"
_SCALAR = bool | int | float | complex | str


def save(value: object, path: str, saver: Saver | None = None, suffix: str | None = None) -> None:
    """Write a value as a result.

    Parameters
    ----------
    value
        What a runner returned.
    path
        Where to; what its name ends with says how.
    saver
        Asked first; if it returns `NotImplemented`, entropic's own savers are.
    suffix
        As which it is written, whatever the name ends with.

    Raises
    ------
    SaveError
        If nothing here writes such values in this format.
    LibraryMissingError
        If the library of the format is not installed.
    """
    if saver is not None and _saved(saver, value, path):
        return
    write = saver_of(suffix or path)
    if write is None:
        raise SaveError(
            f"the runner returned {a_value(value)} and wrote no file, and entropic writes no files that end with "
            f"{os.path.splitext(path)[1]!r}. {_advice(value, path)}"
        )
    try:
        write(value, path)
    except (LibraryMissingError, SaveError):
        raise
    except OSError as error:
        if error.errno is not None:  # the disk
            raise
        raise _refused(value, suffix or path, str(error)) from error
    except Unfit as error:
        raise _refused(value, suffix or path, str(error)) from None
    except Exception as error:
        raise _refused(value, suffix or path, f"{type(error).__qualname__}: {error}") from error


def _saved(saver: Saver, value: object, path: str) -> bool:
    try:
        return saver(value, path) is not NotImplemented
    except OSError as error:
        if error.errno is not None:  # the disk
            raise
        failed: Exception = error
    except Exception as error:  # noqa: BLE001  (what was computed is not to be lost for it)
        failed = error
    raise SaveError(
        f"the runner returned {a_value(value)}, and saver(value, path) raised {type(failed).__qualname__}: {failed}"
    ) from failed


def saver_of(path: str) -> Saver | None:
    """Return what writes files with such a name, or None."""
    name = os.path.basename(path).lower()
    return next((write for suffix, write in SAVERS.items() if name.endswith(suffix)), None)


class Unfit(TypeError):
    """What a format cannot hold as it is."""


def _refused(value: object, path: str, why: str) -> SaveError:
    suffix = next(suffix for suffix in SAVERS if path.lower().endswith(suffix))
    return SaveError(
        f"the runner returned {a_value(value)} and wrote no file, and a {suffix} file cannot hold it: {why}. "
        f"{_advice(value, path)}"
    )


def a_value(value: object) -> str:
    """Name the kind of a value in a message."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"a value of type {name}"


def _advice(value: object, but: str) -> str:
    """Return what to do about a value that a file cannot hold, as a sentence."""
    suffixes = [suffix for kinds, suffix in HOLDERS if kinds(value) and not but.lower().endswith(suffix)]
    return f"Use file_suffix={' or '.join(map(repr, suffixes))}, {_OWN}" if suffixes else _OWN[0].upper() + _OWN[1:]


def is_from(value: object, *names: str) -> bool:
    """Tell whether a value's class, or one that it inherits from, has one of these names; imports nothing."""
    return any(f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}" in names for kind in type(value).__mro__)


def _is_array(value: object) -> bool:
    return is_from(value, "numpy.ndarray", "numpy.generic")


def _is_frame(value: object) -> bool:
    return is_from(value, "pandas.DataFrame", "polars.DataFrame", "pyarrow.Table")


def _is_labelled(value: object) -> bool:
    return is_from(value, "xarray.Dataset", "xarray.DataArray")


# Which suffixes hold a value of what kind, best first.
HOLDERS: list[tuple[Callable[[Any], bool], str]] = [
    (_is_labelled, ".nc"),
    (_is_labelled, ".zarr"),
    (_is_frame, ".parquet"),
    (lambda value: _is_array(value) and not _is_labelled(value), ".npy"),
    (lambda value: isinstance(value, Mapping) and not _is_labelled(value), ".npz"),
    (lambda value: isinstance(value, Mapping | list | bool | int | float | str), ".json"),
    (lambda value: isinstance(value, str), ".txt"),
    (lambda value: is_from(value, "matplotlib.Figure", "PIL.Image"), ".png"),
]


# ---- arrays --------------------------------------------------------------------------------------------------------
def _array(value: object, where: str) -> Any:
    """Return a value as an array that holds all of it, or say why there is none."""
    numpy = library("numpy", "numpy", "saving an array")
    if isinstance(value, str) and value.endswith("\0"):
        raise Unfit(f"{where} is text that ends with a zero, which numpy cuts off")
    if isinstance(value, numpy.ndarray) and type(value) not in (numpy.ndarray, numpy.memmap):
        raise Unfit(
            f"{where} is {a_value(value)}, which is more than its numbers (a mask, a unit): return those as arrays of "
            "their own, such as .filled(), .mask, .magnitude or .value"
        )
    if not isinstance(value, _SCALAR | numpy.ndarray | numpy.generic | list | tuple) and not _is_tensor(value):
        raise Unfit(f"{where} is {a_value(value)}, which is no array and no number")
    array = numpy.asarray(value)
    if array.dtype.hasobject or (array.dtype.kind == "V" and array.dtype.names is None):
        raise Unfit(f"{where} has the dtype {array.dtype}, which is not written without pickle; make it numbers")
    return array


def _is_tensor(value: object) -> bool:
    return hasattr(value, "__array__") and is_from(value, "torch.Tensor", "jaxlib.ArrayImpl", "jax.Array")


def _named(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the entries of nested mappings, by their path."""
    for name, inner in value.items():
        if not isinstance(name, str) or name in ("", ".", "..") or "\0" in name:
            raise Unfit(f"the name {name!r:.80} is not text that can name an array")
        here = f"{path}{name}"
        if isinstance(inner, Mapping):
            if not inner:
                raise Unfit(f"{here!r} is an empty dict, of which nothing would be left")
            yield from _named(inner, f"{here}/")
        else:
            yield here, inner


def _arrays(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Unfit("it takes a dict of arrays and numbers, which may be nested")
    found: dict[str, Any] = {}
    for name, inner in _named(value):
        if name in found or name.startswith("/") or "//" in name or name.endswith("/"):
            raise Unfit(f"the name {name!r} is there twice, or has an empty part")
        found[name] = _array(inner, repr(name))
    return found


def _npy(value: object, path: str) -> None:
    array = _array(value, "it")
    with open(path, "wb") as file:
        _write_array(file, array)


def _write_array(file: object, array: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that numpy before 1.17 cannot read
        library("numpy", "numpy", "saving an array").lib.format.write_array(file, array, allow_pickle=False)


def _npz(value: object, path: str) -> None:
    arrays = _arrays(value)
    if both := next((name for name in arrays if f"{name}.npy" in arrays), None):
        raise Unfit(f"{both!r} and '{both}.npy' are one name in such a file")
    # As numpy.savez writes it, which has no place for an array that is called `file`.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write_array(file, array)


def _hdf5(value: object, path: str) -> None:
    h5py = library("h5py", "hdf5", "an HDF5 file")
    arrays = _arrays(value)
    for name, array in arrays.items():
        if any(other.startswith(f"{name}/") for other in arrays):
            raise Unfit(f"{name!r} is an array, and what holds others")
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


# ---- labelled arrays -----------------------------------------------------------------------------------------------
def _dataset(value: Any) -> Any:
    if not _is_labelled(value):
        raise Unfit("it takes an xarray Dataset or DataArray")
    return value if hasattr(value, "data_vars") else value.to_dataset(name=value.name or "result")


def _netcdf(value: object, path: str) -> None:
    library("netCDF4", "netcdf", "a NetCDF file")
    computed = _dataset(value).compute()  # before the others wait: its threads may be among them
    with one_at_a_time():
        computed.to_netcdf(path, engine="netcdf4")


def _zarr(value: object, path: str) -> None:
    library("zarr", "zarr", "a Zarr folder")
    _dataset(value).to_zarr(path, mode="w", consolidated=False)


# ---- tables --------------------------------------------------------------------------------------------------------
def _table(value: object) -> Any:
    if is_from(value, "pandas.Series"):
        raise Unfit("it takes a frame; make the series one by .to_frame()")
    if not _is_frame(value):
        raise Unfit("it takes a data frame of pandas or polars, or a table of pyarrow")
    return value


def _parquet(value: object, path: str) -> None:
    library("pyarrow", "pandas", "a .parquet file")
    table = _table(value)
    if is_from(table, "pandas.DataFrame"):
        table.to_parquet(path, engine="pyarrow")
    elif is_from(table, "polars.DataFrame"):
        table.write_parquet(path)
    else:
        library("pyarrow.parquet", "arrow", "a .parquet file").write_table(table, path)


def _csv(value: object, path: str) -> None:
    pandas = library("pandas", "pandas", "a .csv file")
    table = _table(value)
    if not is_from(table, "pandas.DataFrame"):
        table = table.to_pandas()
    if not isinstance(table.index, pandas.RangeIndex) or (table.index.start, table.index.step) != (0, 1):
        raise Unfit("its index would be lost; make it a column by .reset_index()")
    names = [str(name) for name in table.columns]
    if names and (names[0].startswith("#") or all(map(_is_number, names))):
        raise Unfit("the names of its columns would be read as a comment, or as its first row")
    separator = "\t" if ".tsv" in os.path.basename(path).lower() else ","
    table.to_csv(path, sep=separator, index=False)
    try:
        pandas.testing.assert_frame_equal(read_csv(path, None), table, check_dtype=True)
    except (AssertionError, ValueError) as error:  # a LoadError is one
        os.unlink(path)
        reason = " ".join(str(error).split())
        raise Unfit(f"it would be read as something else ({reason:.200})") from None


def _is_number(name: str) -> bool:
    try:
        complex(name)
    except ValueError:
        return False
    return True


# ---- JSON, text, pictures ------------------------------------------------------------------------------------------
def _json(value: object, path: str) -> None:
    text = json.dumps(as_json(value, "it"), ensure_ascii=False)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def as_json(value: object, where: str) -> Any:
    """Return a value of JSON's types that is read as what was returned."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    value = plain(value)
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, Enum)):
        if isinstance(value, str):
            value.encode()
        return value
    if isinstance(value, Mapping) and not _is_labelled(value):
        for name in value:
            if not isinstance(name, str):
                raise Unfit(f"{where} has the key {name!r:.80}, which would become text; JSON has only text as keys")
        return {str(name): as_json(inner, f"{where}[{name!r}]") for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner, f"{where}[{i}]") for i, inner in enumerate(value)]
    hint = " (.tolist() makes a list of it)" if _is_array(value) else ""
    raise Unfit(f"{where} is {a_value(value)}, which is not JSON{hint}")


def _text(value: object, path: str) -> None:
    if not isinstance(value, str):
        raise Unfit("it takes text")
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(value)


def _picture(value: Any, path: str) -> None:
    if is_from(value, "matplotlib.Figure"):
        value.savefig(path)
    elif is_from(value, "PIL.Image") and not path.lower().endswith(".svg"):
        value.save(path)
    else:
        raise Unfit("it takes a figure of matplotlib, or (but for .svg) a Pillow image")


# What each of them needs: a module, and the extra that brings it. A picture brings its own.
NEEDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys((".npy", ".npz"), ("numpy", "numpy")),
    **dict.fromkeys((".h5", ".hdf5"), ("h5py", "hdf5")),
    ".nc": ("netCDF4", "netcdf"),
    ".zarr": ("zarr", "zarr"),
    ".parquet": ("pyarrow", "pandas"),
    **dict.fromkeys((".csv", ".tsv"), ("pandas", "pandas")),
}
SAVERS: dict[str, Saver] = {
    ".npy": _npy,
    ".npz": _npz,
    **dict.fromkeys((".h5", ".hdf5"), _hdf5),
    ".nc": _netcdf,
    ".zarr": _zarr,
    ".parquet": _parquet,
    **dict.fromkeys((".csv", ".tsv"), _csv),
    ".json": _json,
    **dict.fromkeys((".txt", ".md"), _text),
    **dict.fromkeys((".png", ".pdf", ".svg"), _picture),
}
