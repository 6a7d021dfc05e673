"""Columns as a data frame of pandas or Polars, or as a table of Arrow."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from entropic.ask.columns import AnyColumn, Column, Packed
from entropic.formats.libraries import library

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


def to_pandas(columns: Iterable[AnyColumn]) -> "pandas.DataFrame":
    """Return a data frame of pandas; columns that are made one after another are not in memory twice."""
    pd = library("pandas", "pandas", "to_pandas")
    frame: pandas.DataFrame = pd.DataFrame({column.name: _pandas_series(pd, column) for column in columns})
    return frame


def _pandas_series(pd: Any, column: AnyColumn) -> object:
    if isinstance(column, Packed):
        return _pandas_unpacked(pd, column)
    kind, values = column.kind, column.values
    if kind == "label":
        return pd.Series(pd.Categorical(values, categories=list(column.labels)))
    if kind == "date":
        days = [None if day is None else day.isoformat() for day in values]
        return pd.Series(days, dtype=object).astype("datetime64[s]")
    return pd.Series(values, dtype=_pandas_type(pd, column))


def _pandas_type(pd: Any, column: Column) -> object:
    text = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "string"
    types: dict[str, object] = {
        "boolean": "boolean" if column.nullable else "bool",
        "integer": "Int64" if column.nullable else "int64",
        "float": "float64",
        "text": text,
        "datetime": "datetime64[us, UTC]" if column.zone else "datetime64[us]",
        "duration": "timedelta64[us]",
    }
    return types.get(column.kind, object)


def _pandas_unpacked(pd: Any, column: Packed) -> object:
    """Return what `_pandas_series` returns, of values that are Arrow's."""
    pa, like, chunks = library("pyarrow", "arrow", "to_pandas"), column.like, column.chunks
    if like.kind == "label":
        np = library("numpy", "pandas", "to_pandas")
        codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks.chunks]
        found = np.concatenate(codes) if codes else []
        return pd.Series(pd.Categorical.from_codes(found, categories=list(like.labels)))
    if like.kind in ("boolean", "integer", "text"):
        type_ = pd.api.types.pandas_dtype(_pandas_type(pd, like))
        if hasattr(type_, "__from_arrow__"):  # one of pandas' own
            return pd.Series(type_.__from_arrow__(chunks), copy=False)
    if like.kind == "date":
        chunks = chunks.cast(pa.timestamp("s"))
    values = chunks.to_numpy()
    made = pd.Series(values if values.flags.writeable else values.copy(), copy=False)
    return made.dt.tz_localize("UTC") if like.zone else made


def to_arrow(columns: Iterable[AnyColumn]) -> "pyarrow.Table":
    """Return a table of Arrow."""
    pa = library("pyarrow", "arrow", "to_arrow")
    made = {one.name: one.chunks if isinstance(one, Packed) else arrow_array(pa, one) for one in columns}
    table: pyarrow.Table = pa.table(made)
    return table


def arrow_array(pa: Any, column: Column) -> Any:
    """Return the values of a column as an array of Arrow."""
    if column.kind == "label":
        place = {label: i for i, label in reversed([*enumerate(column.labels)])}
        places = [None if value is None else place[value] for value in column.values]
        labels = pa.array(column.labels, pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), labels)
    types: dict[str, Callable[[], object]] = {
        "boolean": pa.bool_,
        "integer": pa.int64,
        "float": pa.float64,
        "decimal": lambda: pa.decimal128(*column.digits),
        "text": pa.string,
        "bytes": pa.binary,
        "datetime": lambda: pa.timestamp("us", "UTC" if column.zone else None),
        "date": pa.date32,
        "time": lambda: pa.time64("us"),
        "duration": lambda: pa.duration("us"),
    }
    if column.kind not in types:
        return pa.array(column.as_text(), pa.string())
    return pa.array(column.values, types[column.kind]())


def to_polars(columns: Iterable[AnyColumn]) -> "polars.DataFrame":
    """Return a data frame of Polars."""
    pl = library("polars", "polars", "to_polars")
    frame: polars.DataFrame = pl.DataFrame([_polars_series(pl, column) for column in columns])
    return frame


def _polars_series(pl: Any, column: AnyColumn) -> object:
    if isinstance(column, Packed):
        made: Any = pl.Series(column.name, pl.from_arrow(column.chunks))
        return made.cast(pl.Enum(list(column.like.labels))) if column.kind == "label" else made
    types: dict[str, Callable[[], object]] = {
        "boolean": lambda: pl.Boolean,
        "integer": lambda: pl.Int64,
        "float": lambda: pl.Float64,
        "decimal": lambda: pl.Decimal(*column.digits),
        "label": lambda: pl.Enum(list(column.labels)),
        "text": lambda: pl.String,
        "bytes": lambda: pl.Binary,
        "datetime": lambda: pl.Datetime("us", "UTC" if column.zone else None),
        "date": lambda: pl.Date,
        "time": lambda: pl.Time,
        "duration": lambda: pl.Duration("us"),
    }
    if column.kind not in types:
        return pl.Series(column.name, column.as_text(), pl.String)
    values = column.values
    if column.kind == "float":
        values = [None if value is None else float(value) for value in values]
    return pl.Series(column.name, values, types[column.kind]())
