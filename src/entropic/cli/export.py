"""The command that writes rows to a file: export."""

import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from entropic.ask.runs import Runs
from entropic.cli.command import Database, Named, Results, Table, Words, command, open_store
from entropic.cli.errors import FINE, UsageError, say
from entropic.cli.look import Sort, Tag, Where, Yes, record_of
from entropic.cli.output import as_utf8, on_terminal, put, put_json_rows
from entropic.cli.target import START
from entropic.cli.values import filters
from entropic.errors import EntropicError
from entropic.formats.libraries import library
from entropic.params.model import Base
from entropic.store import Store, context_of
from entropic.support.show import counted

if TYPE_CHECKING:
    from entropic.ask.columns import AnyColumn

Format = Annotated[
    Literal["csv", "parquet", "json", "netcdf"] | None,
    typer.Option("--format", "-f", help="The format.  [told by the file's suffix]"),
]
_SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".json": "json", ".nc": "netcdf"}
Dims = Annotated[
    str | None, typer.Option("--dims", metavar="NAMES", help="NetCDF: the dimensions.  [params that differ]")
]
Variables = Annotated[
    str | None, typer.Option("--variables", metavar="NAMES", help="NetCDF: which variables of the results.  [all]")
]


@command(
    "[STORE] [NAME=VALUE]... FILE",
    "entropic export model.py:store runs.csv --where 'dt<0.1'",
    looks=True,
)
def export(
    words: Words = None,
    where: Where = None,
    tag: Tag = None,
    sort: Sort = None,
    format_: Format = None,
    dims: Dims = None,
    variables: Variables = None,
    yes: Yes = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Write rows to a file: CSV, Parquet, JSON or NetCDF.

    NetCDF includes the results, as arrays labelled by the params that differ. FILE may be - for standard output.
    """
    store, words = open_store("export", words, named, db, table, results)
    files = [word for word in words if "=" not in word]
    if len(files) != 1:
        raise UsageError("give one file to write to, such as runs.csv, or - for standard output (with --format)")
    kind = format_ or _SUFFIXES.get(Path(files[0]).suffix)
    if kind is None:
        suffixes = ", ".join(_SUFFIXES)
        raise UsageError(
            f"the name {files[0]!r} does not tell a format; end it with one of {suffixes}, or give --format"
        )
    if files[0] == "-" and kind not in ("csv", "json"):
        raise UsageError(f"{kind} is binary, which is not printed; give a file to write to")
    path = os.path.join(START, files[0])
    if files[0] != "-" and os.path.exists(path) and not yes:
        raise UsageError(f"{files[0]} already exists; add --yes to replace it")
    conditions = filters(store, [word for word in words if "=" in word], where, tag)
    order = [name.strip() for name in sort.split(",")] if sort else None
    to = path if files[0] != "-" else None
    rows: Runs[Base] = Runs()
    made: list[AnyColumn] = []
    if kind in ("csv", "parquet"):
        made = _columns(store, conditions, order)
    else:
        rows = store.select(*conditions, order_by_=order)
    try:
        if made:
            _write_table(made, kind, to)
        else:
            _write(store, rows, kind, to, _names(dims), _names(variables))
    except OSError as error:
        if files[0] == "-" or isinstance(error, EntropicError):
            raise  # of any output, or of a result
        raise UsageError(f"{files[0]} cannot be written: {error.strerror or error}") from None
    if files[0] != "-":
        say(f"wrote {counted(len(made[0] if made else rows), 'row')} to {files[0]}")
    return FINE


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def _columns(store: Store[Base], conditions: Sequence[Any], order: list[str] | None) -> "list[AnyColumn]":
    from entropic.ask.tables import Asked, columns

    context, asked = context_of(store), Asked(conditions, {}, order, None, custom_data=True)
    return columns(context, lambda rows: Runs(rows, context.schema.model), asked)


def _write_table(made: "list[AnyColumn]", kind: str, path: str | None) -> None:
    from entropic.ask.export import csv_lines, write_parquet

    if kind == "parquet":
        write_parquet(made, path or "")
    elif path is not None:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.writelines(f"{line}\n" for line in csv_lines(made))
    elif on_terminal():
        put("\n".join(csv_lines(made)))
    else:
        with as_utf8() as file:
            file.writelines(f"{line}\n" for line in csv_lines(made))


def _write(
    store: Store[Base],
    rows: Runs[Base],
    kind: str,
    path: str | None,
    dims: list[str] | None,
    variables: list[str] | None,
) -> None:
    if kind == "netcdf":
        _write_netcdf(rows.to_xarray(dims, variables), path)
    elif path is None:
        with as_utf8() as file:
            put_json_rows((record_of(store, row) for row in rows), file)
    else:
        with open(path, "w", encoding="utf-8") as text:
            put_json_rows((record_of(store, row) for row in rows), text)


def _is_kept(values: Iterable[object]) -> bool:
    """Tell whether xarray writes objects as they are: None as text without a letter, all numbers as floats."""
    found = list(values)
    missing = any(value is None or value != value for value in found)
    return not any((missing and value == "") or (isinstance(value, int) and float(value) != value) for value in found)


def _write_netcdf(data: Any, path: str | None) -> None:
    """Write a data set; names of groups get dots, since no name in NetCDF has a slash."""
    names = {name: str(name).replace("/", ".") for name in {*data.variables, *data.dims} if "/" in str(name)}
    for name, one in data.variables.items():
        if one.dtype == object and not _is_kept(one.values.flat):
            raise UsageError(
                f"{name!r} cannot be written as NetCDF, which would not tell a missing value from an empty text, and "
                "would change whole numbers that no float equals; choose others with --variables, or another format"
            )
    try:
        data.rename(names).to_netcdf(path)
    except (ValueError, TypeError, NotImplementedError) as error:
        if not any(map(find_spec, ("netCDF4", "h5netcdf"))):  # without them xarray writes the old format, or none
            library("netCDF4", "netcdf", f"writing {os.path.basename(path or '')}")
        hint = "choose others with --variables"
        raise UsageError(f"{os.path.basename(path or '')} cannot be written as NetCDF: {error}; {hint}") from None
