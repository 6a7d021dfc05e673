"""`Runs`: the list of rows that sweeps and queries return, with its ways into other libraries."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar, overload

from entropic.ask.load import load_row
from entropic.errors import ParameterError
from entropic.formats.read import Loader
from entropic.params.model import Base, Schema, loaded
from entropic.params.reference import reference, resolve
from entropic.protocol.note_inputs import note_given, under_way
from entropic.support.show import aligned, html_table, visible

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow
    import xarray

    from entropic.ask.columns import Column
    from entropic.ask.provenance import Provenance
    from entropic.ask.standing import Submitted

ModelT = TypeVar("ModelT", bound=Base)
_Telling = Callable[[Sequence[Any]], "list[Provenance]"]
_SHOWN = 10  # rows; in a notebook twice as many
_COLUMNS = 9
_HIDDEN = ("result_file", "created_at", "custom_data")


class Runs(list[ModelT], Generic[ModelT]):
    """A list of rows that can become a table, a labelled array, or the results themselves.

    It is a `list` in every respect; slices, sums and copies of it are `Runs` again, and it can be pickled. `Runs(rows)`
    makes one from rows that you have chosen yourself.

    Parameters
    ----------
    rows
        Rows of one model.
    model
        The class of the rows; needed only if there may be none.
    loader
        What reads a result file, as of `Store(..., loader=...)`.
    """

    def __init__(
        self, rows: Iterable[ModelT] = (), model: type[ModelT] | None = None, loader: Loader | None = None
    ) -> None:
        super().__init__(rows)
        self._model: type[ModelT] | None = model or getattr(rows, "_model", None)
        self._loader: Loader | None = loader or getattr(rows, "_loader", None)
        self._tell: _Telling | None = getattr(rows, "_tell", None)
        self.submitted: Submitted | None = None
        """How the sweep stands whose rows these are, if it did not wait: `wait=False`."""

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
            raise ParameterError(f"these rows belong to several models ({names}); take those of one")
        found = next(iter(kinds), self._model)
        if found is None:
            raise ParameterError("there are no rows that tell the model; name it: Runs(rows, model=...)")
        return found

    # ---- results -----------------------------------------------------------------------------------------------
    def load(self) -> Iterator[Any]:
        """Yield the result of each row, in order, as `Store.load` returns it; each is read when it is asked for."""
        self._note()
        return (load_row(row, self._loader) for row in self)

    def to_xarray(
        self,
        dims: str | Sequence[str] | None = None,
        variables: str | Sequence[str] | None = None,
        *,
        axes: "Mapping[str, str | Sequence[str | None]] | None" = None,
        lazy: bool = False,
        replicates: str | None = None,
    ) -> "xarray.Dataset":
        """Return the results as a labelled array over the parameters that differ.

        Each parameter that differs becomes a dimension with its values as coordinates: numbers and times sorted, the
        others in the order of the rows. Parameters that change together (a zipped sweep) share the dimension of the
        first of them. The others become attributes. Cells without a run hold NaN; whole numbers and booleans become
        floats then. A result that is a single number or array is called `result`; the arrays of `.npz`, HDF5, NetCDF
        and Zarr, the entries of JSON and the columns of tables keep their names, and NetCDF and Zarr their dimensions
        and coordinates. A variable with the name of a parameter gets the prefix `result_`.

        Parameters
        ----------
        dims
            The parameters that span the array, in this order; others that differ become coordinates. `"run"` puts all
            runs along one dimension, for a sample that does not fill a grid.
        variables
            The variables of the results, and fields of custom data such as `"custom_data.elapsed_seconds"`; None for
            all variables of the results, an empty list for none.
        axes
            Names for the axes of arrays that have none, by array, such as `{"prey": "t", "image": ("y", "x")}`; an
            array of the result with such a name becomes the coordinate. None finds the axes that are obvious, such as
            a `t` as long as the other arrays; an empty dict leaves all axes as they are.
        lazy
            Whether to return Dask arrays, which load a result when it is needed; names, shapes, types and
            coordinates are then those of the first result.
        replicates
            The parameter in which the runs of a set differ, `"seed"`: of each variable `x` of numbers there are
            `x_mean`, `x_std` (with n - 1; NaN of a single run) and `x_n` over them, and the others are left out.

        Raises
        ------
        LoadError
            If a result cannot be read, or if shapes differ between runs.
        ParameterError
            If two runs belong in the same cell, or if the runs would fill almost nothing of the grid.
        """
        from entropic.ask.dataset import to_xarray  # here, as below: they would slow down every `import entropic`

        self._note()
        return to_xarray(self, self.model, self._loader, dims, variables, lazy, axes, replicates)

    # ---- tables ------------------------------------------------------------------------------------------------
    def to_pandas(
        self,
        custom_data: bool = False,
        results: str | Sequence[str] = (),
        *,
        provenance: bool = False,
        replicates: str | None = None,
    ) -> "pandas.DataFrame":
        """Return the rows as a data frame, with the types of the model's columns, even if there are no rows.

        Enumerations are categories of their names, as in the database. Dates and times are
        `datetime64`, whole numbers that may be missing `Int64`; decimals, bytes and JSON stay Python objects.

        Parameters
        ----------
        custom_data
            Whether its fields become columns, such as `custom_data.elapsed_seconds`; otherwise it is left out.
        results
            Single values of the results that become columns, called as in `to_xarray`: `"result"` for a result that is
            one number, `"energy"` for an entry of JSON or `.npz`. The results are read in several threads.
        provenance
            Whether what `Store.provenance` tells becomes columns, such as `provenance.host`.
        replicates
            The parameter in which the runs of a set differ, `"seed"`: there is a row for each set then, with its
            params, and of each number `x` the columns `x_mean`, `x_std` (with n - 1; missing of a single run), `x_n`.

        Raises
        ------
        LoadError
            If a result cannot be read, or holds an array under such a name.
        ParameterError
            If no result has such a name.
        """
        from entropic.ask import frames

        return frames.to_pandas(self._columns(custom_data, results, provenance, replicates))

    def to_polars(
        self,
        custom_data: bool = False,
        results: str | Sequence[str] = (),
        *,
        provenance: bool = False,
        replicates: str | None = None,
    ) -> "polars.DataFrame":
        """Return the rows as a Polars data frame, as `to_arrow` does; enumerations are `Enum`s."""
        from entropic.ask import frames

        return frames.to_polars(self._columns(custom_data, results, provenance, replicates))

    def to_arrow(
        self,
        custom_data: bool = False,
        results: str | Sequence[str] = (),
        *,
        provenance: bool = False,
        replicates: str | None = None,
    ) -> "pyarrow.Table":
        """Return the rows as an Arrow table, with the types of the model's columns, even if there are no rows.

        Enumerations are dictionaries of their names, decimals `decimal128`, times in microseconds; UUIDs and JSON are
        text, and so are the values of types that Arrow does not have.

        Parameters
        ----------
        custom_data
            Whether its fields become columns, such as `custom_data.elapsed_seconds`; otherwise it is left out.
        results
            Single values of the results that become columns, called as in `to_xarray`: `"result"` for a result that is
            one number, `"energy"` for an entry of JSON or `.npz`. The results are read in several threads.
        provenance
            Whether what `Store.provenance` tells becomes columns, such as `provenance.host`.
        replicates
            The parameter in which the runs of a set differ, `"seed"`: there is a row for each set then, with its
            params, and of each number `x` the columns `x_mean`, `x_std` (with n - 1; missing of a single run), `x_n`.

        Raises
        ------
        LoadError
            If a result cannot be read, or holds an array under such a name.
        ParameterError
            If no result has such a name.
        """
        from entropic.ask import frames

        return frames.to_arrow(self._columns(custom_data, results, provenance, replicates))

    def _columns(
        self, custom_data: bool, results: "str | Sequence[str]", provenance: bool, replicates: str | None
    ) -> "list[Column]":
        found = self._columns_of_runs(custom_data, results, provenance)
        if replicates is None:
            return found
        from entropic.ask.replicates import aggregated

        return aggregated(found, Schema(self.model), replicates)

    def _columns_of_runs(self, custom_data: bool, results: "str | Sequence[str]", provenance: bool) -> "list[Column]":
        from entropic.ask import columns

        found = columns.columns(self, self.model, custom_data)
        if provenance:
            from entropic.ask import provenance as origin

            if self._tell is None:
                raise ParameterError(
                    "only rows that a store has returned just now tell their provenance; select() them"
                )
            found += origin.columns(self._tell(self))
        if not results:
            return found
        from entropic.ask.scalars import scalars

        self._note()
        return found + scalars(self, self._loader, results, {column.name for column in found})

    def _note(self) -> None:
        """Note that the run around this reads these results, which may have been selected before it began."""
        if under_way:
            note_given(self)

    # ---- looks -------------------------------------------------------------------------------------------------
    def __repr__(self) -> str:
        header, rows, more = self._shown(_SHOWN)
        table = [f"  {line}" for line in aligned([header, *rows])] if rows else []
        return visible("\n".join([self._title(), *table, *more]))

    def _repr_html_(self) -> str:
        header, rows, more = self._shown(2 * _SHOWN)
        return html_table(rows, header, self._title(), "".join(more))

    def _title(self) -> str:
        names = sorted({type(row).__name__ for row in self}) or [self._model.__name__ if self._model else "no model"]
        return f"{len(self):,} run{'s' * (len(self) != 1)} of {', '.join(names)}"

    def _shown(self, most: int) -> tuple[list[str], list[list[Any]], list[str]]:
        """Return the names, and values of the first rows, and what to say of the rest."""
        some = self[:most]
        names = list(dict.fromkeys(name for row in some for name in loaded(row) if name not in _HIDDEN))
        chosen = [*names[:_COLUMNS], *(["created_at"] if some else [])]
        rows = [[loaded(row).get(name, "") for name in chosen] for row in some]
        more = [f"  ... and {len(self) - most:,} more"] if len(self) > most else []
        return chosen, rows, more

    # ---- a list like any other ---------------------------------------------------------------------------------
    def _like(self, rows: Iterable[ModelT]) -> "Runs[ModelT]":
        made = Runs(rows, self._model, self._loader)
        made._tell = self._tell
        return made

    def __getstate__(self) -> dict[str, object]:
        model = None if self._model is None else reference(self._model)
        return {**vars(self), "_model": model, "_tell": None}  # a store stays where it is

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({**state, "_model": resolve(state["_model"])})

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
