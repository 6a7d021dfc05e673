"""MAT files of MATLAB, Octave and scipy: version 4 to 7 through scipy, version 7.3, which is HDF5, through h5py.

MATLAB has no numbers and no vectors, only matrices with axes of length one, and writes doubles as small integers where
these hold them. What is returned has the types that MATLAB has, and no such axes: `tests/ask/test_mat.py`.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from entropic.formats.arrays import native
from entropic.formats.bounds import refuse
from entropic.formats.hdf5 import Hdf5Bounds, check_whole, one_at_a_time, read_hdf5
from entropic.formats.lossless import Unfit, as_array

_HDF5 = b"\x89HDF\r\n\x1a\n"
_NUMBERS = {
    "double": "float64",
    "single": "float32",
    "logical": "bool",
    **{name: name for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")},
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")


def read_mat(path: str, only: Any) -> object:
    """Return the variables by name: numbers, arrays, text; structs as dicts, cells as lists."""
    with open(path, "rb") as file:
        begin = file.read(520)
    if begin.startswith(_HDF5) or begin[512:] == _HDF5:
        return _of_hdf5(path, only)
    return _of_scipy(path, None if only is None else {name.partition(".")[0] for name in only})


def _squeezed(array: Any) -> Any:
    """Return a matrix of one row or column as a vector, and one of one number without axes."""
    array = native(array)
    if array.ndim != 2 or 1 not in array.shape:
        return array
    return array.reshape(()) if array.shape == (1, 1) else array.reshape(-1)


def _listed(array: Any, convert: Any) -> Any:
    """Return a cell array as a list, of lists where it has several rows."""
    if array.ndim <= 1 or array.size == 0:
        return [convert(one) for one in array.ravel()]
    if array.ndim == 2 and 1 in array.shape:
        return [convert(one) for one in array.ravel()]
    return [_listed(row, convert) for row in array]


def _complex(dtype: Any) -> str:
    return "complex64" if dtype == "float32" else "complex128"


def _refuse_class(path: str, name: str, kind: str) -> None:
    refuse(path, f"holds {name!r} of MATLAB's class {kind!r}, which only MATLAB understands; save its values")


# ---- version 4 to 7 ----------------------------------------------------------------------------------------------
def _of_scipy(path: str, only: set[str] | None) -> dict[str, Any]:
    io = import_module("scipy.io")
    # From scipy 1.20 on it is the default, and before that a warning.
    options = {"spmatrix": False} if "spmatrix" in signature(io.loadmat).parameters else {}
    with open(path, "rb") as file:  # else scipy looks for a file of another name, where this one has no suffix
        classes = {name: kind for name, _, kind in io.whosmat(file) if only is None or name in only}
        for name, kind in classes.items():
            if kind not in (*_NUMBERS, "char", "sparse", "struct", "cell"):
                _refuse_class(path, name, kind)
        file.seek(0)
        found = io.loadmat(file, variable_names=list(classes), **options) if classes else {}
        nested = [name for name, kind in classes.items() if kind in ("struct", "cell")]
        typed = {}
        if nested:
            file.seek(0)
            with warnings.catch_warnings():  # with the types, scipy leaves out what is imaginary: that is in `found`
                warnings.simplefilter("ignore", import_module("numpy").exceptions.ComplexWarning)
                typed = io.loadmat(file, variable_names=nested, mat_dtype=True, **options)
    made, sparse = {}, import_module("scipy.sparse")
    for name, kind in classes.items():
        value = found[name]
        if kind in _NUMBERS and not sparse.issparse(value) and value.dtype.kind in "biufc":
            dtype = _complex(_NUMBERS[kind]) if value.dtype.kind == "c" else _NUMBERS[kind]
            made[name] = _squeezed(value.astype(dtype, copy=False))
        else:
            made[name] = _converted(path, name, value, typed.get(name, value))
    return made


def _converted(path: str, name: str, value: Any, typed: Any) -> Any:
    """Return a value; `typed` is the same with MATLAB's types, but without what is imaginary."""
    if import_module("scipy.sparse").issparse(value):  # of which MATLAB has doubles and truths only
        value = import_module("scipy.sparse").csc_array(value)
        return value if value.dtype.kind in "bc" else value.astype("float64")
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if type(value).__name__ in ("MatlabFunction", "MatlabObject", "MatlabOpaque"):
        _refuse_class(path, name, type(value).__name__.removeprefix("Matlab").lower())
    if kind == "U":
        return _text(value)
    if getattr(value, "dtype", None) is not None and value.dtype.names is not None:
        pairs = [
            {field: _converted(path, f"{name}.{field}", one[field], other[field]) for field in value.dtype.names}
            for one, other in zip(value.ravel(), typed.ravel(), strict=True)
        ]
        return pairs[0] if value.size == 1 else pairs
    if kind == "O":
        wrapped = import_module("numpy").empty(value.shape, object)
        for at in import_module("numpy").ndindex(value.shape):
            wrapped[at] = (value[at], typed[at])
        return _listed(wrapped, lambda pair: _converted(path, name, *pair))
    if kind == "c":
        return _squeezed(value.astype(_complex(typed.dtype), copy=False))
    return _squeezed(typed) if hasattr(typed, "ndim") and kind else typed


def _text(array: Any) -> Any:
    if array.size == 1:
        return str(array.ravel()[0])
    return native(array) if array.size else ""


# ---- version 7.3 -------------------------------------------------------------------------------------------------
def _of_hdf5(path: str, only: Any) -> Mapping[str, Any]:
    h5py = import_module("h5py")
    bounds = Hdf5Bounds(h5py, path)
    names = None if only is None else {name.partition(".")[0] for name in only}
    with one_at_a_time(), h5py.File(bounds.real, "r") as file:
        check_whole(h5py, bounds, file)
        items = {name: item for name, item in file.items() if not name.startswith("#")}
        if any("MATLAB_class" in item.attrs for item in items.values()):
            return {
                name: _item(h5py, path, name, item) for name, item in items.items() if names is None or name in names
            }
    return read_hdf5(path, only)  # HDF5 of another program, of which nothing is turned around


def _item(h5py: Any, path: str, name: str, item: Any) -> Any:
    kind = item.attrs.get("MATLAB_class", b"struct" if isinstance(item, h5py.Group) else b"")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if "MATLAB_sparse" in item.attrs:
        return _sparse(item, kind)
    if "MATLAB_object_decode" in item.attrs or kind not in (*_NUMBERS, "char", "struct", "cell"):
        _refuse_class(path, name, kind or "value")
    if isinstance(item, h5py.Group):
        return _struct(h5py, path, name, item)
    if "MATLAB_empty" in item.attrs:
        return _empty(item[()], kind)
    values = item[()].T
    if kind in ("cell", "struct"):  # references to what is elsewhere in the file
        return _listed(values, lambda one: _item(h5py, path, name, item.file[one]))
    if kind == "char":
        rows = ["".join(map(chr, row)) for row in values.reshape(values.shape[0], -1)]
        return rows[0] if len(rows) == 1 else import_module("numpy").array(rows)
    if values.dtype.names is not None:
        real, imaginary = (values[part].astype(_NUMBERS[kind], copy=False) for part in ("real", "imag"))
        joined = import_module("numpy").empty(values.shape, _complex(_NUMBERS[kind]))
        joined.real, joined.imag = real, imaginary
        return _squeezed(joined)
    return _squeezed(values.astype(_NUMBERS[kind], copy=False))


def _struct(h5py: Any, path: str, name: str, group: Any) -> Any:
    fields = dict(group.items())
    lists = {
        field: item
        for field, item in fields.items()
        if isinstance(item, h5py.Dataset) and "MATLAB_class" not in item.attrs
    }
    if not fields or len(lists) < len(fields):
        return {field: _item(h5py, path, f"{name}.{field}", item) for field, item in fields.items()}
    # Of an array of structs, each field holds references to the values of all of them.
    columns = {
        field: [_item(h5py, path, f"{name}.{field}", item.file[one]) for one in item[()].T.ravel()]
        for field, item in lists.items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _empty(shape: Any, kind: str) -> Any:
    if kind == "char":
        return ""
    if kind in ("cell", "struct"):
        return []
    return _squeezed(import_module("numpy").empty([int(size) for size in shape], _NUMBERS[kind]))


def _sparse(group: Any, kind: str) -> Any:
    sparse, starts = import_module("scipy.sparse"), group["jc"][()]
    shape = int(group.attrs["MATLAB_sparse"]), len(starts) - 1
    if "data" not in group:
        return sparse.csc_array(shape, dtype=_NUMBERS[kind])
    values = group["data"][()]
    if values.dtype.names is not None:
        values = values["real"] + 1j * values["imag"]
    else:
        values = values.astype(_NUMBERS[kind], copy=False)
    return sparse.csc_array((values, group["ir"][()].astype("int64"), starts.astype("int64")), shape=shape)


# ---- written -----------------------------------------------------------------------------------------------------
def save_mat(value: object, path: str) -> None:
    """Write numbers, arrays and text by their names, as version 5; nested dicts as structs."""
    io = import_module("scipy.io")
    if not isinstance(value, Mapping):
        raise Unfit("it takes a dict of arrays, numbers and text, which may be nested")
    io.savemat(path, dict(_written(value, "")), long_field_names=True)


def _written(value: Mapping[Any, Any], where: str) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        here = f"{where}{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise Unfit(
                f"the name {here!r:.80} is not valid in MATLAB, where a name is a letter and then at most 62 letters, "
                "digits and _"
            )
        if isinstance(inner, Mapping):
            if not inner:
                raise Unfit(f"{here!r} is an empty dict, of which nothing would be left")
            yield name, dict(_written(inner, f"{here}."))
            continue
        array = as_array(inner, repr(here))
        if array.dtype.kind == "U" and array.ndim == 0 and "\0" not in str(array):
            yield name, str(array)
        elif array.dtype.newbyteorder("=") not in (*_NUMBERS.values(), "complex64", "complex128"):
            raise Unfit(f"{here!r} has the dtype {array.dtype}, which MATLAB does not have")
        elif array.shape == (1,) or (array.ndim == 2 and 1 in array.shape):
            raise Unfit(f"{here!r} has the shape {array.shape}, and would be read without its axis of one; drop that")
        else:
            yield name, array.reshape(1, -1) if array.ndim < 2 else array
