"""Columns as a data frame of pandas or Polars, or as a table of Arrow."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from entropic.ask.columns import Column
from entropic.formats.libraries import library

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


def to_pandas(columns: Sequence[Column]) -> "pandas.DataFrame":
    """Return a data frame of pandas."""
    pd = library("pandas", "pandas", "to_pandas")
    frame: pandas.DataFrame = pd.DataFrame({column.name: _pandas_series(pd, column) for column in columns})
    return frame


def _pandas_series(pd: Any, column: Column) -> object:
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


def to_arrow(columns: Sequence[Column]) -> "pyarrow.Table":
    """Return a table of Arrow."""
    pa = library("pyarrow", "arrow", "to_arrow")
    table: pyarrow.Table = pa.table({column.name: _arrow_array(pa, column) for column in columns})
    return table


def _arrow_array(pa: Any, column: Column) -> object:
    if column.kind == "label":
        places = [None if value is None else column.labels.index(value) for value in column.values]
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


def to_polars(columns: Sequence[Column]) -> "polars.DataFrame":
    """Return a data frame of Polars."""
    pl = library("polars", "polars", "to_polars")
    frame: polars.DataFrame = pl.DataFrame([_polars_series(pl, column) for column in columns])
    return frame


def _polars_series(pl: Any, column: Column) -> object:
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
