"""`.npy` and `.npz`: arrays as numpy writes them, those of types that it knows only by their size included.

JAX and others give numpy types of their own (bfloat16), of which a file keeps but the size; numpy reads bytes then.
"""

import ast
import re
import warnings
import zipfile
from importlib import import_module
from typing import Any

from entropic.errors import LoadError
from entropic.formats.bounds import OWN_LOADER
from entropic.formats.lossless import Unfit, as_array, as_arrays

_BFLOAT16, _FLOAT8_E5M2 = "<V2", "<f1"  # how ml_dtypes has numpy write them; numpy's own void types begin with |
_UNNAMED = re.compile(rb"\A\x93NUMPY.{2,6}\{'descr': '<(V|f1')", re.DOTALL)
_HEADER = 64  # bytes, more than that takes
_END = ".npy"


def read_npy(path: str, _: object) -> Any:
    """Return the array; of bfloat16 and float8_e5m2, as the float that holds it."""
    np = import_module("numpy")
    with open(path, "rb") as file:
        return _read(np, file, path, "")


def read_npz(path: str, only: Any) -> dict[str, Any]:
    """Return the arrays by their names."""
    np = import_module("numpy")
    arrays: dict[str, Any] = {}
    # A file of our own: numpy (2.4) leaves one open in which it finds no whole archive.
    with open(path, "rb") as file_, np.load(file_, allow_pickle=False) as archive:
        for member in archive.zip.namelist():  # numpy finds "a" by "a.npy", even where an array has that name
            name = member.removesuffix(_END)
            if only is not None and name not in only:
                continue
            if name in arrays:
                raise LoadError(
                    f"{path} holds two arrays that are called {name!r}; give one another name, or {OWN_LOADER}"
                )
            with archive.zip.open(member) as file:
                arrays[name] = _read(np, file, path, f", {name!r}") if member.endswith(_END) else file.read()
    return arrays


def _read(np: Any, file: Any, path: str, which: str) -> Any:
    begin = file.read(_HEADER)
    if begin.startswith(b"PK"):
        raise LoadError(f"{path}{which} is an archive of arrays, and not one; name it .npz, or {OWN_LOADER}")
    if _UNNAMED.search(begin) is None:
        file.seek(0)
        return np.load(file, allow_pickle=False)
    start = 12 if begin[6] > 1 else 10  # by the version of the format
    size = int.from_bytes(begin[8:start], "little")
    file.seek(start)
    header = ast.literal_eval(file.read(size).decode("latin1"))
    descr = header["descr"]
    if descr in (_BFLOAT16, _FLOAT8_E5M2):
        return _as_float(np, file.read(), header)
    if isinstance(descr, str) and descr.startswith("<V"):
        raise LoadError(
            f"{path}{which} holds bytes of a type that numpy has no name for, such as a float8 or int4; write "
            f"floats, or {OWN_LOADER}"
        )
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _as_float(np: Any, content: bytes, header: dict[str, Any]) -> Any:
    """Return numbers whose bits are the upper ones of a longer float as such floats."""
    bits, larger, shift, target = ("<u2", "<u4", 16, "<f4") if header["descr"] == _BFLOAT16 else ("u1", "<u2", 8, "<f2")
    flat = np.frombuffer(content, bits).astype(larger) << shift
    return flat.view(target).reshape(header["shape"], order="F" if header["fortran_order"] else "C")


# ---- written ----------------------------------------------------------------------------------------------------
def save_npy(value: object, path: str) -> None:
    """Write an array."""
    array = as_array(value, "it")
    with open(path, "wb") as file:
        _write_array(file, array)


def _write_array(file: object, array: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that numpy before 1.17 cannot read
        import_module("numpy").lib.format.write_array(file, array, allow_pickle=False)


def save_npz(value: object, path: str) -> None:
    """Write arrays by their names; those of nested dicts by their path."""
    arrays = as_arrays(value)
    if both := next((name for name in arrays if f"{name}.npy" in arrays), None):
        raise Unfit(f"{both!r} and '{both}.npy' are one name in such a file")
    # As numpy.savez writes it, which has no place for an array that is called `file`.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write_array(file, array)
