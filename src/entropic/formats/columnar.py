"""Tables by columns, through Arrow: Parquet."""

import os
from importlib import import_module
from typing import Any

from entropic.formats.bounds import check_links
from entropic.formats.fit import as_table, is_from


def read_parquet(path: str, _: Any) -> object:
    """Return a data frame; of a folder, all of its parts together."""
    import_module("pyarrow")
    pandas = import_module("pandas")
    if os.path.isdir(path):
        check_links(path)
        return pandas.read_parquet(path, engine="pyarrow")
    with open(path, "rb") as file:  # a file that it opens itself, a thread of its may close after it has returned
        return pandas.read_parquet(file, engine="pyarrow")


def save_parquet(value: object, path: str) -> None:
    """Write a table."""
    import_module("pyarrow")
    table = as_table(value)
    if is_from(table, "pandas.DataFrame"):
        table.to_parquet(path, engine="pyarrow")
    elif is_from(table, "polars.DataFrame"):
        table.write_parquet(path)
    else:
        import_module("pyarrow.parquet").write_table(table, path)
