"""`.npy` and `.npz`: arrays as numpy writes them, those of types that it knows only by their size included.

JAX and others give numpy types of their own (bfloat16), of which a file keeps but the size; numpy reads bytes then.
"""

import ast
from typing import Any

from entropic.ask.bounds import OWN_LOADER
from entropic.errors import LoadError
from entropic.formats.libraries import library

_BFLOAT16, _FLOAT8_E5M2 = "<V2", "<f1"  # how ml_dtypes has numpy write them; numpy's own void types begin with |
_END = ".npy"


def read_npy(path: str, _: Any) -> Any:
    """Return the array; of bfloat16 and float8_e5m2, as the float that holds it."""
    np = library("numpy", "numpy", "a .npy file")
    with open(path, "rb") as file:
        return _read(np, file, path, "")


def read_npz(path: str, only: Any) -> dict[str, Any]:
    """Return the arrays by their names."""
    np = library("numpy", "numpy", "a .npz file")
    arrays: dict[str, Any] = {}
    with np.load(path, allow_pickle=False) as archive:
        for member in archive.zip.namelist():  # numpy finds "a" by "a.npy", even where an array has that name
            name = member.removesuffix(_END)
            if only is not None and name not in only:
                continue
            if name in arrays:
                raise LoadError(
                    f"{path} holds two arrays that are called {name!r}; name one otherwise, or {OWN_LOADER}"
                )
            with archive.zip.open(member) as file:
                arrays[name] = _read(np, file, path, f", {name!r}") if member.endswith(_END) else file.read()
    return arrays


def _read(np: Any, file: Any, path: str, which: str) -> Any:
    begin = file.read(12)
    if begin[:6] != b"\x93NUMPY":
        file.seek(0)
        return np.load(file, allow_pickle=False)  # which says what it is
    long = begin[6] > 1  # the version of the format
    size = int.from_bytes(begin[8 : 12 if long else 10], "little")
    header = (b"" if long else begin[10:]) + file.read(size - (0 if long else 2))
    try:
        descr = ast.literal_eval(header.decode("latin1" if begin[6] < 3 else "utf-8"))["descr"]
    except (SyntaxError, ValueError, KeyError, TypeError):
        descr = None
    if descr in (_BFLOAT16, _FLOAT8_E5M2):
        return _as_float(np, file, header, descr)
    if isinstance(descr, str) and descr.startswith("<V"):
        raise LoadError(
            f"{path}{which} holds bytes of a type that numpy has no name for, such as a float8 or int4; write "
            f"floats, or {OWN_LOADER}"
        )
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _as_float(np: Any, file: Any, header: bytes, descr: str) -> Any:
    """Return numbers whose bits are the upper ones of a longer float as such floats."""
    said = ast.literal_eval(header.decode("latin1"))
    bits, larger, shift, target = ("<u2", "<u4", 16, "<f4") if descr == _BFLOAT16 else ("u1", "<u2", 8, "<f2")
    flat = np.frombuffer(file.read(), bits).astype(larger) << shift
    return flat.view(target).reshape(said["shape"], order="F" if said["fortran_order"] else "C")
