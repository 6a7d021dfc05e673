"""Commands that look at rows: ls, show, diff."""

import filecmp
from dataclasses import asdict, fields
from typing import Annotated, Any

import typer

from entropic.ask.failures import place
from entropic.ask.runs import Runs
from entropic.cli.choices import failure_of, key_of, keys_only
from entropic.cli.command import Database, Named, Results, Table, Words, command, open_store
from entropic.cli.errors import FINE, UsageError
from entropic.cli.output import (
    cell,
    on_terminal,
    put,
    put_json,
    put_json_rows,
    put_pairs,
    put_table,
    put_traceback,
    utc,
)
from entropic.cli.values import SECONDS, filters, in_full, schema_of
from entropic.files.extent import extent_elsewhere
from entropic.params.fields import unknown_key
from entropic.params.keys import CUSTOM, RESERVED
from entropic.params.model import Base
from entropic.store import Store
from entropic.support.passwords import without_passwords
from entropic.support.show import counted
from entropic.support.sizes import amount

PAGE = 50  # rows on a terminal, if nobody says
_MOST = 20  # results that were read, and that have read

Where = Annotated[
    list[str] | None,
    typer.Option("--where", "-w", metavar="COND", help="A condition, such as 'dt<0.1'. Repeatable: all must hold."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Sort = Annotated[
    str | None,
    typer.Option("--sort", metavar="NAMES", help="Columns to sort by; -NAME sorts descending.  [newest first]"),
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", "-c", metavar="NAMES", help="Show exactly these columns, separated by commas."),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=0, help=f"How many rows; 0 for all.  [{PAGE} on a terminal, or with --page]"),
]
Page = Annotated[int, typer.Option("--page", min=1, help="Which page, of --limit rows each.")]
Stale = Annotated[
    bool, typer.Option("--stale", help="Only stale results: made by different code, or from inputs that changed since.")
]
Tag = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Only results with this tag. Repeatable.")]
All = Annotated[bool, typer.Option("--all", "-a", help="Show columns that are the same in all rows, too.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@command("[STORE] [NAME=VALUE]...", "entropic ls model.py:store n=100 --where 'dt<0.1' --sort=-dt", looks=True)
def ls(
    words: Words = None,
    where: Where = None,
    sort: Sort = None,
    columns: Columns = None,
    limit: Limit = None,
    page: Page = 1,
    every: All = False,
    stale: Stale = False,
    tag: Tag = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """List rows.

    On a terminal, a value that is the same in all rows is shown once above the table, and a long list page by page.
    """
    store, words = open_store("ls", words, named, db, table, results)
    conditions = filters(store, words, where, tag)
    if limit == 0 and page > 1:
        raise UsageError("--limit 0 shows all rows on one page; with --page give another limit, or none")
    if limit is None and (page > 1 or (on_terminal() and not as_json)):
        limit = PAGE
    order = [_by(store, name.strip()) for name in sort.split(",")] if sort else ["-created_at"]
    wanted = limit * page + 1 if limit else None
    if stale:
        keys = {row.id for row in store.stale(*conditions)}
        found = Runs([row for row in store.select(*conditions, order_by_=order) if row.id in keys][:wanted])
    else:
        found = store.select(*conditions, order_by_=order, limit_=wanted)
    rows = found[limit * (page - 1) : limit * page] if limit else found
    more = bool(limit) and len(found) > (limit or 0) * page
    names = _chosen(store, columns)
    if as_json:
        put_json_rows(
            record_of(store, row)
            if names is None
            else {
                name: utc(row.created_at) if name == "created_at" else _get(row, full) for name, full in names.items()
            }
            for row in rows
        )
        return FINE
    _show(store, rows, names, every)
    if more and on_terminal():
        put(f"More rows follow: --page {page + 1}, or --limit 0 for all.")
    return FINE


def _by(store: Store[Base], given: str) -> str:
    """Return the column to sort by, in full."""
    name = given.removeprefix("-")
    return given[: len(given) - len(name)] + in_full(store, name)


def _chosen(store: Store[Base], columns: str | None) -> dict[str, str] | None:
    """Return the columns that the user named, with their names in full."""
    if columns is None:
        return None
    names = {name.strip(): in_full(store, name.strip()) for name in columns.split(",")}
    known = list(schema_of(store).attributes.values())
    for name in names.values():
        if name not in known and not name.startswith(CUSTOM):
            raise UsageError(unknown_key(name, schema_of(store).name, known))
    return names


def _show(store: Store[Base], rows: Runs[Base], names: dict[str, str] | None, every: bool) -> None:
    if not rows:
        put("no rows")
        return
    own = schema_of(store).columns
    constant: list[str] = []
    if names is None and not every and len(rows) > 1 and on_terminal():
        constant = [name for name in own if len({cell(_get(row, name)) for row in rows}) == 1]
    took = "seconds" if "seconds" not in own else SECONDS
    usual = ["id", *(name for name in own if name not in constant), "created_at"]
    shown = names or {**{name: name for name in usual}, took: f"{CUSTOM}{SECONDS}"}
    titles = list(shown)
    cells = [[_get(row, name) for name in shown.values()] for row in rows]
    numbers = [name for i, name in enumerate(titles) if isinstance(cells[0][i], int | float)]
    if constant:
        put("the same in all rows: " + ", ".join(f"{cell(name)}={cell(_get(rows[0], name))}" for name in constant))
    put_table(titles, cells, numbers)


def _get(row: Any, name: str) -> object:
    head, _, rest = name.partition(".")
    return (row.custom_data or {}).get(rest) if rest else getattr(row, head)


def record_of(store: Store[Base], row: Any) -> dict[str, Any]:
    """Return a row as JSON tells it."""
    names = ["id", *schema_of(store).columns, *(name for name in RESERVED if name != "id")]
    return {name: getattr(row, name) for name in names} | {"created_at": utc(row.created_at)}


@command("[STORE] KEY", "entropic show model.py:store 3f9a\n(the beginning of a key is enough)", looks=True)
def show(
    words: Words = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Show everything that is known about one key.

    These are its row, its result, who is running it, and its last failure.
    """
    store, words = open_store("show", words, named, db, table, results)
    (typed,) = keys_only(words, 1, 1, "one key, or the beginning of one")
    running = store.status().running
    key = key_of(store, typed, [*(failure.id for failure in store.failures()), *running])
    row, failure = store.retrieve({"id": key}), failure_of(store, key)
    log = store.log_file({"id": key})
    origin, said = store.provenance({"id": key}), store.notes({"id": key}).get(key)
    if as_json:
        record: dict[str, Any] = record_of(store, row) if row is not None else {"id": key}
        record |= {"note": said and said.text, "tags": list(said.tags) if said else []}
        told = None if row is None else [{**asdict(one), "made_at": utc(one.made_at)} for one in store.inputs(row)]
        record["inputs"] = told
        record["provenance"] = origin and {one.name: getattr(origin, one.name) for one in fields(origin)}
        put_json(
            {**record, "running": running.get(key), "failure": failure and failure_record(failure), "log_file": log}
        )
        return FINE
    pairs: list[tuple[str, Any]] = [("id", key)]
    if row is not None:
        found = extent_elsewhere(row.result_file)
        pairs += [(name, getattr(row, name)) for name in schema_of(store).columns]
        pairs += [("created_at", f"{cell(row.created_at)} UTC"), ("result_file", row.result_file)]
        pairs += [("size", amount(found.size) if found else "(the file is gone; it runs again when asked for)")]
        pairs += [("note", said.text)] if said is not None and said.text else []
        pairs += [("tags", ", ".join(said.tags))] if said is not None and said.tags else []
        pairs += [(f"custom_data.{name}", value) for name, value in row.custom_data.items()]
        pairs += [] if origin is None else origin.shown()
        pairs += _near(store, row)
    elif failure is not None:
        pairs += list(failure.params.items())
    if key in running:
        owner = running[key]
        pairs.append(("running", f"on {owner.host} (pid {owner.pid}) since {cell(owner.since)} UTC"))
    put_pairs([*pairs, *([("log_file", log)] if log else [])])
    if failure is not None:
        where = cell(f"{failure.host} ({place(failure.pid, failure.job)})")
        put(f"\nits last run failed on {where} at {cell(failure.started_at)} UTC:\n")
        put_traceback(failure.error_type, failure.message, failure.traceback)
    return FINE


def _near(store: Store[Base], row: Base) -> list[tuple[str, Any]]:
    """Return what the run of a row has read, and which runs have read the row: a few of each, and how many more."""
    told: list[tuple[str, Any]] = []
    for name, found in (("has read", store.inputs(row)), ("was read by", store.dependants(row))):
        told += [(name if i == 0 else "", str(one)) for i, one in enumerate(found[:_MOST])]
        told += [("", f"and {len(found) - _MOST:,} more")] if len(found) > _MOST else []
    return told


def failure_record(failure: Any) -> dict[str, Any]:
    """Return all of a failure as JSON may have it: texts without the passwords that older records may hold."""
    found = {name: getattr(failure, name) for name in failure.__slots__ if name != "began"}
    found["started_at"] = utc(failure.started_at)
    return found | {name: without_passwords(found[name]) for name in ("message", "traceback")}


@command("[STORE] KEY KEY", "entropic diff model.py:store 3f9a 81c0", looks=True)
def diff(
    words: Words = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Show how two runs differ.

    Compares their params, their custom data and their results.
    """
    store, words = open_store("diff", words, named, db, table, results)
    typed = keys_only(words, 2, 2, "two keys, or the beginnings of two")
    failures = [failure.id for failure in store.failures()]
    keys = [key_of(store, one, failures) for one in typed]
    first, second = (_all_of(store, key) for key in keys)
    names = [name for name in {**first, **second} if name not in ("id", "result_file")]
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    differing = {name: (a, b) for name, (a, b) in pairs.items() if a != b and (a == a or b == b)}  # NaN is NaN here
    results = _compared(first.get("result_file"), second.get("result_file"))
    if as_json:
        put_json({"keys": keys, "differing": differing, "results": results})
        return FINE
    rows = [[name, *(cell(value) for value in values)] for name, values in differing.items()]
    put_table(["", *keys], rows)
    same = len(names) - len(differing)
    put(f"{counted(same, 'value')} {'is' if same == 1 else 'are'} equal; {results}")
    return FINE


def _all_of(store: Store[Base], key: str) -> dict[str, Any]:
    row = store.retrieve({"id": key})
    if row is None:
        failure = failure_of(store, key)
        return {**(failure.params if failure else {}), "failed": failure and f"{failure.error_type}: {failure.message}"}
    record = record_of(store, row)
    custom = record.pop("custom_data")
    return record | {f"custom_data.{name}": value for name, value in custom.items()}


def _compared(first: str | None, second: str | None) -> str:
    """Say whether two results are the same."""
    sizes = [extent_elsewhere(path) if path else None for path in (first, second)]
    if not first or not second or sizes[0] is None or sizes[1] is None:
        return "at least one of the results is missing"
    if first == second:
        return "both have the same result file"
    if sizes[0].folder or sizes[1].folder:
        return f"the results are folders of {amount(sizes[0].size)} and {amount(sizes[1].size)}"
    if filecmp.cmp(first, second, shallow=False):
        return "the results are equal, byte for byte"
    return f"the results differ ({amount(sizes[0].size)} and {amount(sizes[1].size)})"
