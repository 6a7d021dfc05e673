"""Arrays by their names, with what a format says of their axes and units."""

from typing import Any

RESULT = "result"  # the name of what has none


class Arrays(dict[str, Any]):
    """The arrays of a file, by name or path.

    Attributes
    ----------
    attrs
        The attributes of each array and group that has any, by the same names; those of the file itself are at `"/"`.
    dims
        The names of the dimensions of arrays of which the file tells any; None for a dimension without.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attrs: dict[str, dict[str, Any]] = {}
        self.dims: dict[str, tuple[str | None, ...]] = {}


def native(array: Any) -> Any:
    """Return an array of numpy's in the byte order of this machine, since many libraries take no other."""
    if array.dtype.isnative:
        return array
    return array.astype(array.dtype.newbyteorder("="), copy=False)
