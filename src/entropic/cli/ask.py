"""Commands that answer what is going on: status, failed, plan, explain."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from entropic.ask.failures import place
from entropic.cli.choices import failures_of
from entropic.cli.command import Database, Named, Results, Table, Words, command, open_store
from entropic.cli.errors import FINE, FOUND, UsageError
from entropic.cli.look import Json, failure_record
from entropic.cli.output import cell, put, put_json, put_json_rows, put_pairs, put_table, put_traceback, utc
from entropic.cli.reflect import by_values
from entropic.cli.values import params, with_defaults
from entropic.cli.watch import facts, keep_watching, left_of
from entropic.cli.work import Grid, Seeds, sets
from entropic.support.show import duration

Watch = Annotated[bool, typer.Option("--watch", help="Look again every few seconds, until Ctrl-C.")]
Every = Annotated[float, typer.Option("--every", min=0.2, metavar="SECONDS", help="With --watch: how often.")]


@command("[STORE] [NAME=VALUE]...", "entropic status model.py:store --watch", looks=True)
def status(
    words: Words = None,
    grid: Grid = None,
    replicates: Seeds = None,
    watch: Watch = False,
    every: Every = 3.0,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Show what is stored, what is running where, and what failed.

    It also shows how fast rows come. With --grid NAME=VALUES, or NAME=VALUE, it says how many of these sets are left,
    and how long they may take.
    """
    store, words = open_store("status", words, named, db, table, results)
    wanted = by_values(store, sets(store, words, grid, replicates)) if words or grid else []
    if watch and as_json:
        raise UsageError("--watch is for people, and --json for programs; give one of them")
    if watch:
        return keep_watching(store, wanted, every)
    found = store.status()
    if as_json:
        running = {key: owner._asdict() | {"since": utc(owner.since)} for key, owner in found.running.items()}
        record = {name: getattr(found, name) for name in found.__slots__}
        record |= {"first": utc(found.first), "last": utc(found.last)}
        record |= {"places": [one._asdict() for one in found.places]}
        record |= {"submissions": [one._asdict() | {"since": utc(one.since)} for one in found.submissions]}
        reported = {key: said.record() | {"at": utc(said.at)} for key, said in found.reported.items()}
        put_json({**record, "running": running, "reported": reported, "results_dir": store.results_dir})
        return FINE
    put(repr(store))
    put_pairs([*facts(found), *left_of(store, wanted, found)])
    if found.running:
        put()
        put_table(*found.table())
    return FINE


def no_words(words: list[str]) -> None:
    """Refuse words where there is nothing to name."""
    if words:
        raise UsageError(
            f"this command takes a store and nothing else, so {words[0]!r} has no meaning here; leave it out"
        )


Short = Annotated[bool, typer.Option("--short", help="One line each, without tracebacks.")]


@command("[STORE] [KEY]... [NAME=VALUE]...", "entropic failed model.py:store n=100 --short", looks=True)
def failed(
    words: Words = None,
    short: Short = False,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Show what failed and has not succeeded since, with tracebacks: all, some keys, or sets with some values.

    Exits with 1 if there are failures.
    """
    store, words = open_store("failed", words, named, db, table, results)
    found = failures_of(store, words)
    if as_json:
        put_json_rows(map(failure_record, found))
    elif not found:
        put("nothing failed" + (" of what is named" if words else ""))
    elif short:
        rows = [[one.id, _said(one.params), f"{one.error_type}: {one.message}", one.started_at] for one in found]
        put_table(["id", "params", "error", "started (UTC)"], rows)
    else:
        for failure in found:
            put(f"{cell(failure.id)}  {_said(failure.params)}")
            when, host = cell(failure.started_at), f"{cell(failure.host)} ({cell(place(failure.pid, failure.job))})"
            put(f"started {when} UTC on {host}, failed after {duration(failure.elapsed_seconds)}")
            put_traceback(failure.error_type, failure.message, failure.traceback)
            put(f"  its output: {cell(failure.log_file)}\n" if failure.log_file else "")
        put(f"{len(found):,} failed; `entropic retry` runs {'it' if len(found) == 1 else 'them'} again")
    return FOUND if found else FINE


def _said(values: dict[str, Any]) -> str:
    return " ".join(f"{cell(name)}={cell(value)}" for name, value in values.items())


@command(
    "[STORE] [NAME=VALUE]...",
    "entropic plan model.py:store --grid alpha=1,2,3 --grid beta=0.1:0.5:5",
    looks=True,
)
def plan(
    words: Words = None,
    grid: Grid = None,
    replicates: Seeds = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Show what a sweep would find and do; run nothing.

    Exits with 1 if anything is left to run, or was finished with a later version of entropic.
    """
    store, words = open_store("plan", words, named, db, table, results)
    found = store.plan(by_values(store, sets(store, words, grid, replicates)))
    left = bool(found.missing or found.failed or found.running or found.unreadable)
    if as_json:
        lists = {name: getattr(found, name) for name in ("stored", "missing", "running", "failed", "unreadable")}
        owners = [owner._asdict() for owner in found.owners]
        cost = found.cost()
        said = {name: (one := getattr(cost, name)) and one._asdict() for name in ("seconds", "memory")}
        said |= {name: getattr(cost, name) for name in ("runs", "memory_runs", "unsaid", "new")}
        put_json({**lists, "owners": owners, "estimate_seconds": found.estimate_seconds, "cost": said})
    else:
        put(str(found))
    return FOUND if left else FINE


@command("[STORE] NAME=VALUE...", "entropic explain model.py:store alpha=1 beta=0.3", looks=True)
def explain(
    words: Words = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Say whether a set is a hit or a miss, and why.

    Exits with 1 on a miss.
    """
    store, words = open_store("explain", words, named, db, table, results)
    (asked,) = by_values(store, [given := with_defaults(store, params(store, words))])
    found: Any = store.explain(asked)
    if asked is not given:
        found = replace(found, reason=f"{found.reason} (found by its values, as only the script can make its key)")
    if as_json:
        put_json({name: getattr(found, name) for name in found.__slots__})
    else:
        put(str(found))
    return FINE if found.hit else FOUND
