"""What an archive says of itself: to people, to programs that know nothing of entropic, and to repositories."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from entropic.ask.columns import Column, columns, kind_of_type
from entropic.ask.provenance import diff
from entropic.db.dialects.types import underlying
from entropic.db.origins import diff_of
from entropic.errors import ParameterError
from entropic.params.model import Base, Schema
from entropic.protocol.context import StoreContext

_ROLES = {
    "id": "the key of the row",
    "result_file": "where its result is, in this folder",
    "created_at": "when its run ended, UTC",
    "custom_data": "what was stored beside the columns, as JSON",
}
_TYPES = {  # of files, by the end of their names; others have none
    ".md": "text/markdown",
    ".json": "application/json",
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".sqlite3": "application/vnd.sqlite3",
    ".txt": "text/plain",
    ".h5": "application/x-hdf5",
    ".nc": "application/x-netcdf",
    ".png": "image/png",
}
CRATE = "https://w3id.org/ro/crate/1.1"


def table(rows: Sequence[Base], model: type[Base], folder: str) -> list[Column]:
    """Return some rows as columns; their files as they are called in the folder."""
    try:
        found = columns(rows, model, custom_data=True)
    except ParameterError:  # two of its fields would have one name
        found = columns(rows, model, custom_data=False)
        found.append(Column("custom_data", "json", [row.custom_data for row in rows], nullable=True))
    for column in found:
        if column.name == "result_file":
            column.values[:] = [os.path.relpath(path, folder) for path in column.values]
    return found


def schema(context: StoreContext[Base]) -> str:
    """Return, as JSON, which columns there are, and how keys are made."""
    found = context.schema
    told = [
        {
            "name": found.attributes.get(column.name, column.name),
            "column": column.name,
            "role": _role(found, found.attributes.get(column.name, column.name)),
            "type": kind_of_type(underlying(column.type)),
            "nullable": bool(column.nullable),
            "comment": column.comment,
        }
        for column in found.table.c
    ]
    keys = {"float_rounding": context.hasher.rounding, "typed_keys": context.hasher.typed}
    return _json({"model": found.name, "table": found.table_name, "columns": told, "keys": keys})


def _role(schema: Schema, name: str) -> str:
    return _ROLES.get(name) or ("an outcome of the run" if name in schema.outcomes else "a parameter")


def provenance(context: StoreContext[Base], rows: Sequence[Base]) -> str:
    """Return, as JSON, in what environment and by which code each result was made; each of these is told once."""
    known = {id: told for id, *told in context.origins.of([row.id for row in rows])}
    runs = [
        {"id": row.id, "ended_at": row.created_at.isoformat(), **_origin(row, known.get(row.id, [None] * 4))}
        for row in rows
    ]
    environments = context.origins.environments({one["environment"] for one in runs if one["environment"] is not None})
    codes = {one["code"] for one in runs if one["code"] is not None}
    code = {number: [part._asdict() for part in context.origins.code(number)] for number in sorted(codes)}
    numbers = sorted({number for one in environments.values() if (number := diff_of(one)) is not None})
    diffs = {number: diff(context, number) for number in numbers}
    return _json({"runs": runs, "environments": environments, "diffs": diffs, "code": code})


def _origin(row: Base, told: Sequence[Any]) -> dict[str, Any]:
    environment, code, cpu_seconds, peak_memory = told
    seconds = (row.custom_data or {}).get("elapsed_seconds")
    times = {"elapsed_seconds": seconds, "cpu_seconds": cpu_seconds, "peak_memory": peak_memory}
    return {**times, "environment": environment, "code": code}


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"


def crate(name: str, about: str, when: str, version: str, files: Iterable[Mapping[str, Any]]) -> str:
    """Return the metadata of a research object: https://www.researchobject.org/ro-crate.

    Parameters
    ----------
    when
        The day, as ISO 8601.
    version
        Of entropic.
    files
        Each with its `path` in the folder, its `size` and its `sha256`; folders of results with a `/` at the end.
    """
    entities = [_entity(one) for one in files]
    software = {"@id": "https://pypi.org/project/entropic/", "@type": "SoftwareApplication", "name": "entropic"}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": name,
        "description": about,
        "datePublished": when,
        "hasPart": [{"@id": one["@id"]} for one in entities],
    }
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": CRATE},
        "about": {"@id": "./"},
    }
    made = {
        "@id": "#archive",
        "@type": "CreateAction",
        "name": "the archive was written",
        "endTime": when,
        "instrument": {"@id": software["@id"]},
        "result": {"@id": "./"},
    }
    graph = [descriptor, root, *entities, {**software, "softwareVersion": version}, made]
    return _json({"@context": f"{CRATE}/context", "@graph": graph})


def _entity(one: Mapping[str, Any]) -> dict[str, Any]:
    from urllib.parse import quote  # here, since it takes longer to load than most of this

    path = one["path"]
    found = {"@id": quote(path), "@type": "Dataset" if path.endswith("/") else "File", "name": path.rstrip("/")}
    if "sha256" in one:
        found |= {"contentSize": str(one["size"]), "sha256": one["sha256"]}
    if kind := _TYPES.get(os.path.splitext(path)[1]):
        found["encodingFormat"] = kind
    return found


def _keywords(context: StoreContext[Base]) -> str:
    """Return how else a store must be opened to find the rows by their keys."""
    rounding = "" if context.hasher.rounding == "decimal" else f", float_rounding={context.hasher.rounding!r}"
    return rounding + (", typed_keys=True" if context.hasher.typed else "")


def readme(context: StoreContext[Base], count: int, version: str, when: str, has_parquet: bool) -> str:
    """Return what a person reads first: what this is, and how to read it, with entropic and without."""
    name, table = context.schema.name, context.schema.table_name
    own = ", ".join(f"`{column}`" for column in context.schema.fields) or "none"
    came_out = ", ".join(f"`{column}`" for column in context.schema.outcomes)
    parquet = "| `rows.parquet` | the same, with types |\n" if has_parquet else ""
    reading = 'pandas.read_parquet("rows.parquet")' if has_parquet else 'pandas.read_csv("rows.csv")'
    outcomes = f" Outcomes: {came_out}." if came_out else ""
    return f"""# {name}: {count:,} results

Written on {when} by entropic {version}. Each row of the table is one run: its parameters, what came out, and the file
with its result. Parameters: {own}.{outcomes}

| | |
| --- | --- |
| `results/` | the results, one file or folder for each row |
| `rows.csv` | the rows, UTF-8; nothing between two commas is a missing value |
{parquet}| `schema.json` | the columns: name, type, and what each is |
| `provenance.json` | where each result comes from: environment (versions, host, command line, commit), times, code |
| `db.sqlite3` | the same as a SQLite database, table `{table}` |
| `SHA256SUMS` | a checksum of each file |
| `ro-crate-metadata.json` | RO-Crate metadata; add authors and a licence there, or where you publish this |

## Without entropic

```
sha256sum --check SHA256SUMS
```

```python
import pandas

rows = {reading}
rows.result_file[0]  # a path in this folder
```

Dots in names of columns (`custom_data.elapsed_seconds`) are levels of `custom_data`. JSON is text in the table.

## With entropic

```
entropic ls --db sqlite:///db.sqlite3
```

```python
from entropic import Store

# {name} is your model; such a store only looks
store = Store(None, {name}, "results", {context.staging.suffix!r}, "sqlite:///db.sqlite3"{_keywords(context)})
store.merge(...)  # in your own store takes these results in
```
"""
