"""One variable of many runs, put together result by result."""

from typing import Any

from entropic.ask.axes import Grid
from entropic.ask.common_type import NoCommonTypeError, calendar, convert, equal, missing_type, unite
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
        self._calendar = calendar(first.values)  # of dates that are objects
        self._values: Any = None if first.is_coord else self._empty()

    def _empty(self) -> object:
        first = self._first.values
        return self._np.empty((*self._grid.shape, *first.shape), first.dtype)

    def put(self, place: tuple[int, ...], one: Variable, row: Base) -> None:
        """Put the variable of a run to its place.

        Raises
        ------
        LoadError
            If its shape is another than that of the first, or if no type holds its values beside those before.
        """
        np, first = self._np, self._first
        if one.values.shape != first.values.shape or one.dims != first.dims:
            raise LoadError(
                f"{self._name!r} has the shape {_shape(one)} in the run {row.id}, and {_shape(first)} in {self._id}: "
                "an array of both would be ragged; choose other variables with variables=[...], let the runner (or "
                "Store(..., loader=...)) pad or cut them to one shape, or load() them one by one"
            )
        if self._values is None:
            if equal(np, one.values, first.values):
                self._filled[place] = True
                return
            self._values = self._empty()
            self._values[self._filled] = first.values
        values = one.values
        if values.dtype != self._values.dtype or values.dtype.kind == "O":
            values = self._united(values, row)
        self._values[place] = values[()]  # not an array of one value, which a cell of objects would keep
        self._filled[place] = True

    def _united(self, values: Any, row: Base) -> object:
        """Return an array in the type that holds it and all before it, which these get too."""
        among_objects = values.dtype.kind == self._values.dtype.kind == "O"
        try:
            if among_objects and calendar(values) == self._calendar:
                return values
            mine, values = unite(self._np, self._values[self._filled], values)
        except NoCommonTypeError as error:
            raise LoadError(
                f"{self._name!r} of the run {row.id} cannot be in one array with that of {self._id} and others: "
                f"{error}; choose other variables with variables=[...], let the runner (or Store(..., loader=...)) "
                "write them alike, or load() them one by one"
            ) from error
        if mine.dtype != self._values.dtype:
            self._values = self._np.empty(self._values.shape, mine.dtype)
            self._values[self._filled] = mine
        self._calendar = calendar(values)
        return values

    def variable(self, runs: int) -> dict[str, Variable]:
        """Return what has become of it, by its name, with NaN where there is no run, or one of `runs` without it."""
        first = self._first
        if self._values is None:
            if self._filled.sum() == runs:
                return {self._name: first}
            self._values = self._empty()
            self._values[self._filled] = first.values
        values = self._values
        if not self._filled.all():
            values = self._with_nan(values)
        name = self._name
        if first.is_coord and name in first.dims:
            name += "_values"  # the coordinate of a dimension runs along that alone
        return {name: Variable((*self._grid.dims, *first.dims), values, first.attrs, first.is_coord)}

    def _with_nan(self, values: Any) -> object:
        np, dtype = self._np, missing_type(self._np, values.dtype)
        mine = values[self._filled]
        held = convert(np, mine, dtype)
        if held is None:  # whole numbers that no float is
            dtype, held = np.dtype(object), mine.astype(object)
        made = np.full(values.shape, np.array("NaT", dtype) if dtype.kind in "mM" else np.nan, dtype)
        made[self._filled] = held
        return made


def _shape(one: Variable) -> str:
    return f"({', '.join(f'{dim}: {size}' for dim, size in zip(one.dims, one.values.shape, strict=True))})"
