"""safetensors: arrays by name, those of types that numpy does not have included."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from entropic.formats.arrays import Arrays, native
from entropic.formats.lossless import Unfit, as_arrays

_KNOWN = {
    "BOOL": "bool",
    **{f"{kind[0].upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "C64": "complex64",
}
# Floats that are the upper bits of a longer one: how to read them, what to shift them in, by how much, the float.
_UPPER = {"BF16": ("<u2", "<u4", 16, "float32"), "F8_E5M2": ("u1", "<u2", 8, "float16")}


def read_safetensors(path: str, only: Any) -> Arrays:
    """Return the arrays by name; bfloat16 and float8_e5m2 as the float that holds them."""
    safetensors, np, arrays = import_module("safetensors"), import_module("numpy"), Arrays()
    with open(path, "rb") as file:
        content = file.read()
    for name, tensor in safetensors.deserialize(content):
        if only is not None and name not in only:
            continue
        kind, data = tensor["dtype"], bytes(tensor["data"])
        if kind in _UPPER:
            bits, longer, shift, target = _UPPER[kind]
            array = (np.frombuffer(data, bits).astype(longer) << shift).view(target)
        elif kind in _KNOWN:
            array = np.frombuffer(data, np.dtype(_KNOWN[kind]).newbyteorder("<")).copy()
        else:
            raise ValueError(f"{name!r} is {kind}, which numpy does not have")
        arrays[name] = native(array).reshape(tensor["shape"])
    with safetensors.safe_open(path, framework="np") as opened:
        said = opened.metadata()
    if said:
        arrays.attrs["/"] = dict(said)
    return arrays


def save_safetensors(value: object, path: str) -> None:
    """Write arrays and numbers by name."""
    save_file = import_module("safetensors.numpy").save_file
    if not isinstance(value, Mapping) or any(isinstance(inner, Mapping) for inner in value.values()):
        raise Unfit("it takes a dict of arrays and numbers, which is not nested")
    arrays = as_arrays(value)
    for name, array in arrays.items():
        if name == "__metadata__":
            raise Unfit("the name '__metadata__' is the file's own")
        if array.dtype.name not in (set(_KNOWN.values()) - {"complex64"}):
            raise Unfit(f"{name!r} has the dtype {array.dtype}, which safetensors does not have")
    np = import_module("numpy")
    # Written as they lie in memory by some versions, whatever their strides.
    save_file({name: np.array(native(array), order="C") for name, array in arrays.items()}, path)
