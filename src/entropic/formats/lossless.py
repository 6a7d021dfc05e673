"""What fits into a format: values are looked at before they are written; what would be changed or lost is refused."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

_SCALAR = bool | int | float | complex | str


class Unfit(TypeError):
    """What a format cannot hold as it is."""


def a_value(value: object) -> str:
    """Name the kind of a value in a message."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"a value of type {name}"


def is_from(value: object, *names: str) -> bool:
    """Tell whether a value's class, or one that it inherits from, has one of these names; imports nothing."""
    return any(f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}" in names for kind in type(value).__mro__)


def is_array(value: object) -> bool:
    """Tell whether a value is an array, or a number, of numpy's."""
    return is_from(value, "numpy.ndarray", "numpy.generic")


def is_frame(value: object) -> bool:
    """Tell whether a value is a table."""
    return is_from(value, "pandas.DataFrame", "polars.DataFrame", "pyarrow.Table")


def is_labelled(value: object) -> bool:
    """Tell whether a value is one of xarray's."""
    return is_from(value, "xarray.Dataset", "xarray.DataArray", "xarray.DataTree")


def as_array(value: object, where: str) -> Any:
    """Return a value as an array that holds all of it, or say why there is none."""
    numpy = import_module("numpy")
    if isinstance(value, str) and value.endswith("\0"):
        raise Unfit(f"{where} is text that ends with a zero, which numpy cuts off")
    if isinstance(value, numpy.ndarray) and type(value) not in (numpy.ndarray, numpy.memmap):
        raise Unfit(
            f"{where} is {a_value(value)}, which is more than its numbers (a mask, a unit): return those as arrays of "
            "their own, such as .filled(), .mask, .magnitude or .value"
        )
    if not isinstance(value, _SCALAR | numpy.ndarray | numpy.generic | list | tuple) and not _is_tensor(value):
        raise Unfit(f"{where} is {a_value(value)}, which is neither an array nor a number")
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


def as_arrays(value: object) -> dict[str, Any]:
    """Return the arrays of nested mappings, by their path."""
    if not isinstance(value, Mapping):
        raise Unfit("it takes a dict of arrays and numbers, which may be nested")
    found: dict[str, Any] = {}
    for name, inner in _named(value):
        if name in found or name.startswith("/") or "//" in name or name.endswith("/"):
            raise Unfit(f"the name {name!r} is there twice, or has an empty part")
        found[name] = as_array(inner, repr(name))
    return found


def as_labelled(value: Any) -> Any:
    """Return a `Dataset` or `DataTree`; a `DataArray` is the variable `result` of one, unless it has a name."""
    if not is_labelled(value):
        raise Unfit("it takes an xarray Dataset, DataArray or DataTree")
    return value.to_dataset(name=value.name or "result") if is_from(value, "xarray.DataArray") else value


def as_table(value: object) -> Any:
    """Return a table as it is, and refuse whatever is none."""
    if is_from(value, "pandas.Series"):
        raise Unfit("it takes a frame; make the series one by .to_frame()")
    if not is_frame(value):
        raise Unfit("it takes a data frame of pandas or polars, or a table of pyarrow")
    return value
