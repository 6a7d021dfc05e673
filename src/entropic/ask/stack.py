"""One variable of many runs, put together result by result."""

from typing import Any

from entropic.ask.axes import Grid
from entropic.ask.variables import Variable
from entropic.errors import LoadError
from entropic.params.model import Base


class Stack:
    """An array over the grid of the runs, and over the dimensions of the variable.

    A coordinate that is the same in all results stays as it is, and becomes such an array only where it is not.
    """

    def __init__(self, np: Any, name: str, first: Variable, grid: Grid, row: Base) -> None:
        self._np, self._name, self._first, self._grid, self._id = np, name, first, grid, row.id
        self._filled = np.zeros(grid.shape, bool)
        self._values: Any = None if first.is_coord else self._empty()

    def _empty(self) -> Any:
        first = self._first.values
        return self._np.empty((*self._grid.shape, *first.shape), first.dtype)

    def put(self, place: tuple[int, ...], one: Variable, row: Base) -> None:
        """Put the variable of a run to its place.

        Raises
        ------
        LoadError
            If its shape is another than that of the first.
        """
        np, first = self._np, self._first
        if one.values.shape != first.values.shape or one.dims != first.dims:
            raise LoadError(
                f"{self._name!r} has the shape {_shape(one)} in the run {row.id}, and {_shape(first)} in {self._id}: "
                "an array of both would be ragged; choose other variables with variables=[...], let the runner (or "
                "Store(..., loader=...)) pad or cut them to one shape, or go through load() one by one"
            )
        if self._values is None:
            if _equal(np, one.values, first.values):
                self._filled[place] = True
                return
            self._values = self._empty()
            self._values[self._filled] = first.values
        type_ = np.result_type(self._values.dtype, one.values.dtype) if self._mixes(one) else np.dtype(object)
        if type_ != self._values.dtype:
            self._values = self._values.astype(type_)
        self._values[place] = one.values[()]  # not an array of one value, which a cell of objects would keep
        self._filled[place] = True

    def _mixes(self, one: Variable) -> bool:
        kinds = {self._values.dtype.kind, one.values.dtype.kind}
        return len(kinds) == 1 or kinds <= set("biufc")

    def variable(self) -> dict[str, Variable]:
        """Return what has become of it, by its name, with NaN where there is no run."""
        first = self._first
        if self._values is None:
            return {self._name: first}
        values = self._values
        if not self._filled.all():
            values = values.astype(missing_type(self._np, values.dtype), copy=False)
            values[~self._filled] = self._np.array("NaT", values.dtype) if values.dtype.kind in "mM" else self._np.nan
        name = self._name
        if first.is_coord and name in first.dims:
            name += "_values"  # the coordinate of a dimension lies along that alone
        return {name: Variable((*self._grid.dims, *first.dims), values, first.attrs, first.is_coord)}


def missing_type(np: Any, dtype: Any) -> Any:
    """Return the type that holds what this one does, and NaN: whole numbers, True and False become floats."""
    if dtype.kind in "fcmMO":
        return dtype
    return np.dtype(float) if dtype.kind in "biu" else np.dtype(object)


def _shape(one: Variable) -> str:
    return f"({', '.join(f'{dim}: {size}' for dim, size in zip(one.dims, one.values.shape, strict=True))})"


def _equal(np: Any, one: Any, other: Any) -> bool:
    return one.dtype.kind == other.dtype.kind and bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
