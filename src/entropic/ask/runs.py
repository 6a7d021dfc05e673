"""`Runs`: the list of rows that sweeps and queries return, with its ways into other libraries."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, SupportsIndex, TypeVar, overload

from entropic.errors import ParameterError
from entropic.model import Base

ModelT = TypeVar("ModelT", bound=Base)
Loader = Callable[[str], Any]


class Runs(list[ModelT], Generic[ModelT]):
    """A list of rows that becomes a table, a labelled array, or the results themselves.

    It is a `list` in every respect; slices, sums and copies of it are `Runs` again, and it pickles. Make one of rows
    that you have chosen yourself with `Runs(rows)`.

    Parameters
    ----------
    rows
        Rows of one model.
    model
        Their class; needed only where there may be no rows.
    loader
        What reads a result file, as of `Store(..., loader=...)`.
    """

    def __init__(
        self, rows: Iterable[ModelT] = (), model: type[ModelT] | None = None, loader: Loader | None = None
    ) -> None:
        super().__init__(rows)
        self._model: type[ModelT] | None = model or getattr(rows, "_model", None)
        self._loader: Loader | None = loader or getattr(rows, "_loader", None)

    @property
    def model(self) -> type[ModelT]:
        """The class of the rows.

        Raises
        ------
        ParameterError
            If they are of several, or if there are none and nobody said.
        """
        kinds = {type(row) for row in self}
        if len(kinds) > 1:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ParameterError(f"these rows are of several models ({names}); take those of one")
        found = next(iter(kinds), self._model)
        if found is None:
            raise ParameterError("there are no rows, so nothing says which model they are of: Runs(rows, model=...)")
        return found

    # ---- a list like any other ---------------------------------------------------------------------------------
    def _like(self, rows: Iterable[ModelT]) -> "Runs[ModelT]":
        return Runs(rows, self._model, self._loader)

    @overload
    def __getitem__(self, index: SupportsIndex) -> ModelT: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs[ModelT]": ...
    def __getitem__(self, index: SupportsIndex | slice) -> "ModelT | Runs[ModelT]":
        if isinstance(index, slice):
            return self._like(super().__getitem__(index))
        return super().__getitem__(index)

    def __add__(self, other: list[ModelT]) -> "Runs[ModelT]":  # type: ignore[override]
        added = super().__add__(other)  # which refuses what is no list
        return self._like(added)

    def copy(self) -> "Runs[ModelT]":
        """Return a shallow copy."""
        return self._like(self)
