"""Tables by columns, through Arrow: Parquet, Feather (which is Arrow's own), and ORC.

pandas has no whole numbers beside missing ones unless it is told, and makes them floats; large ones are others then.
"""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from entropic.errors import LoadError
from entropic.formats.bounds import check_links
from entropic.formats.lossless import as_table, is_from
from entropic.formats.table import as_frame, check_written

_END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream; without it nobody knows whether that is all
_WHOLE = 2**53  # the whole numbers up to this are floats as well


def read_parquet(path: str, _: Any) -> object:
    """Return a data frame; of a folder, all of its parts together."""
    parquet, pandas = import_module("pyarrow.parquet"), import_module("pandas")
    if os.path.isdir(path):
        check_links(path)
        frame = pandas.read_parquet(path, engine="pyarrow")
        return _with_whole_numbers(frame, lambda names: parquet.read_table(path, columns=names))
    with open(path, "rb") as file:  # a file that it opens itself, a thread of its may close after it has returned
        frame = pandas.read_parquet(file, engine="pyarrow")
        return _with_whole_numbers(frame, lambda names: parquet.read_table(file, columns=names))


def read_feather(path: str, _: Any) -> object:
    """Return a data frame, of a file or of a stream."""
    pyarrow, feather = import_module("pyarrow"), import_module("pyarrow.feather")
    import_module("pandas")
    with open(path, "rb") as file:
        begin = file.read(6)
        file.seek(0)
        if begin[:4] == b"FEA1":
            table = feather.read_table(file)
        else:
            is_file = begin == b"ARROW1"
            with (pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream)(file) as reader:
                table = reader.read_all()
            if not is_file:
                file.seek(-len(_END), os.SEEK_END)
                if file.read() != _END:
                    raise LoadError(f"{path} is incomplete, or was never closed: the stream in it has no end")
    return _with_whole_numbers(table.to_pandas(), table.select)


def read_orc(path: str, _: Any) -> object:
    """Return a data frame."""
    orc = import_module("pyarrow.orc")
    import_module("pandas")
    with open(path, "rb") as file:
        table = orc.ORCFile(file).read()
    return _with_whole_numbers(table.to_pandas(), table.select)


def _with_whole_numbers(frame: Any, select: Callable[[list[str]], Any]) -> Any:
    """Return a data frame whose large whole numbers are still these, where there are missing ones beside them."""
    pandas = import_module("pandas")
    large = [
        name
        for name, dtype in frame.dtypes.items()
        if isinstance(name, str) and dtype == "float64" and (frame[name].abs() >= _WHOLE).any()
    ]
    for name in large if frame.columns.is_unique else ():
        column = select([name]).column(0)
        if import_module("pyarrow").types.is_integer(column.type):
            kind = pandas.UInt64Dtype() if str(column.type).startswith("u") else pandas.Int64Dtype()
            frame[name] = column.to_pandas(types_mapper=lambda _, kind=kind: kind).array
    return frame


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


def save_feather(value: object, path: str) -> None:
    """Write a table."""
    feather = import_module("pyarrow.feather")
    table = as_table(value)
    feather.write_feather(table.to_arrow() if is_from(table, "polars.DataFrame") else table, path)


def save_orc(value: object, path: str) -> None:
    """Write a table that is read as what it was."""
    pyarrow, orc = import_module("pyarrow"), import_module("pyarrow.orc")
    frame = as_frame(value)
    orc.write_table(pyarrow.Table.from_pandas(frame, preserve_index=False), path)
    check_written(path, frame, read_orc)
