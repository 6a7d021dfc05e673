"""Commands that work: sweep, retry, measure, audit."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from entropic.ask.failures import Failure
from entropic.ask.standing import Submitted
from entropic.cli.choices import failures_of
from entropic.cli.command import Database, Named, Results, Table, Words, command, open_store
from entropic.cli.errors import FINE, FOUND, NOTHING, UsageError, say
from entropic.cli.look import Json, Tag, Where
from entropic.cli.output import answers_only, cell, put, put_json
from entropic.cli.reflect import is_reflected, refuse
from entropic.cli.target import Target
from entropic.cli.values import filters, params, schema_of, with_defaults
from entropic.cli.values import grid as grid_of
from entropic.cli.values import slurm as asked_of_slurm
from entropic.params.grid import expand_grid
from entropic.params.model import Base
from entropic.store import Store, context_of
from entropic.support.failure import message_of
from entropic.support.passwords import without_passwords
from entropic.support.show import counted, duration
from entropic.sweep.seeds import Replicates, seeds
from entropic.upkeep.reports.audited import Audited

Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid", "-g", metavar="NAME=VALUES", help="1,2,3 or first:last:count. Repeatable: all combinations."
    ),
]
Workers = Annotated[int | None, typer.Option("--workers", "-j", help="Worker processes; -1 for one per core.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", help="Seconds that a run may take. Needs --workers or --slurm.")
]
Jobs = Annotated[
    str | None,
    typer.Option("--slurm", metavar="NAMES=VALUES", help="Run in jobs of Slurm: 'array=4 time=2:00:00 mem=4G'."),
]
Order = Annotated[
    Literal["given", "longest", "spread"],
    typer.Option("--order", help="Which sets run first: those that take longest, or a coarse grid."),
]
Until = Annotated[
    str | None,
    typer.Option("--deadline", metavar="TIME", help="Start no run that could not finish in this time: 2h, 90min, 30s."),
]
Retries = Annotated[
    int | None,
    typer.Option("--retries", help="How often a set runs again that was killed or took too long."),
]
Cores = Annotated[
    int | None,
    typer.Option("--cores", help="How many cores each run gets. Needs --workers or --slurm."),
]
Memory = Annotated[
    str | None, typer.Option("--memory", metavar="SIZE", help="How much a run may use before it is killed: 4GB, 500MB.")
]
Gpus = Annotated[int | None, typer.Option("--gpus", help="How many GPUs each run gets.")]
NoWait = Annotated[
    bool,
    typer.Option(
        "--no-wait",
        help="With --slurm: submit what is missing and return. Later, the same command collects results.",
    ),
]
OnError = Annotated[
    Literal["continue", "raise"], typer.Option("--on-error", help="With raise, no new run is started after a failure.")
]


Seeds = Annotated[
    int | None, typer.Option("--replicates", metavar="N", help="Run each set with N seeds, in the column seed.")
]


def sets(
    store: Store[Base], words: list[str], grid: list[str] | None, replicates: int | None = None
) -> list[dict[str, object]]:
    """Return the sets that the words, which hold in all of them, and the grids mean, each with so many seeds."""
    fixed = params(store, words, or_grids=True)
    product = grid_of(store, grid or [])
    if twice := fixed.keys() & product.keys():
        raise UsageError(f"{min(twice)!r} is given a value and a grid; give only one of them")
    if not fixed and not product:
        raise UsageError("no sets are named; give --grid NAME=VALUES, or NAME=VALUE")
    if replicates is not None:
        several = Replicates.of(replicates)
        several.check(schema_of(store))
        if several.column in fixed or several.column in product:
            raise UsageError(f"with --replicates, each run has a {several.column!r} of its own; leave it out")
        product[several.column] = [*seeds(several.n)]
    return [with_defaults(store, {**fixed, **one}) for one in expand_grid(product)]


@command(
    "[STORE] [NAME=VALUE]...",
    "entropic sweep model.py:store --grid alpha=1,2,3 --grid beta=0.1:0.5:5 --workers 4",
)
def sweep(
    words: Words = None,
    grid: Grid = None,
    workers: Workers = None,
    slurm: Jobs = None,
    no_wait: NoWait = False,
    timeout: Timeout = None,
    retries: Retries = None,
    cores: Cores = None,
    memory: Memory = None,
    gpus: Gpus = None,
    on_error: OnError = "continue",
    order: Order = "given",
    deadline: Until = None,
    no_retry: Annotated[bool, typer.Option("--no-retry", help="Skip sets that failed before.")] = False,
    rerun: Annotated[bool, typer.Option("--rerun", help="Run all sets, stored ones too.")] = False,
    replicates: Seeds = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Run those of the given sets that are not stored yet.

    With --rerun all sets run; each stored result stays until its set has run again.

    Exits with 1 if a run fails, or if sets were not begun because of --deadline. Ctrl-C, SIGTERM or SIGHUP ends the
    sweep; finished runs are stored. With --slurm and --no-wait, the command takes home what is done, submits what is
    missing, and returns: the same command, later, goes on.
    """
    store, words = Target(named, db, table, results).open(words or [])
    wanted = sets(store, words, grid, replicates)
    before = 0 if rerun else len(store.plan(wanted).stored)
    more = {"rerun": rerun, "order": order, "deadline": deadline, "retries": retries, "wait": not no_wait}
    more |= {"cores": cores, "memory": memory, "gpus": gpus}
    return _run(store, wanted, before, as_json, workers, slurm, timeout, on_error, not no_retry, more)


@command("[STORE] [KEY]... [NAME=VALUE]...", "entropic retry model.py:store n=100 --workers 4")
def retry(
    words: Words = None,
    workers: Workers = None,
    slurm: Jobs = None,
    no_wait: NoWait = False,
    timeout: Timeout = None,
    retries: Retries = None,
    cores: Cores = None,
    memory: Memory = None,
    gpus: Gpus = None,
    on_error: OnError = "continue",
    order: Order = "given",
    deadline: Until = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Run failed sets again: all of them, some keys, or those with some values.

    Exits with 1 if a set fails again, or was not begun because of --deadline.
    """
    store, words = Target(named, db, table, results).open(words or [])
    failures = failures_of(store, words, must_have_failed=True)
    if not failures and not as_json:
        put("nothing failed" + (" of what is named" if words else ""))
        return FINE
    wanted = [failure.params for failure in failures]
    more = {"order": order, "deadline": deadline, "retries": retries, "wait": not no_wait}
    more |= {"cores": cores, "memory": memory, "gpus": gpus}
    return _run(store, wanted, 0, as_json, workers, slurm, timeout, on_error, True, more)


@command("[STORE] [COLUMN]...", "entropic measure model.py:store peak")
def measure(
    words: Words = None,
    workers: Annotated[int, typer.Option("--workers", "-j", help="How many results are read at once.")] = 4,
    again: Annotated[bool, typer.Option("--again", help="Measure all rows anew, even if that failed before.")] = False,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Compute missing outcome columns from the results; run nothing.

    Exits with 1 if a row could not be measured.
    """
    store, words = open_store("measure", words, named, db, table, results)
    found = store.measure(*words, workers=workers, again=again)
    if as_json:
        put_json({"columns": found.names, "filled": found.filled, "empty": found.empty, "failed": found.failed})
    else:
        put(repr(found))
    return FOUND if found.failed else FINE


@command("[STORE] [NAME=VALUE]...", "entropic audit model.py:store --fraction 0.05 --workers 4")
def audit(
    words: Words = None,
    fraction: Annotated[float, typer.Option("--fraction", help="How large a part of the rows is run again.")] = 0.02,
    rtol: Annotated[float, typer.Option("--rtol", help="The relative difference up to which numbers agree.")] = 1e-9,
    seed: Annotated[int | None, typer.Option("--seed", help="Choose the same sample again.")] = None,
    where: Where = None,
    tag: Tag = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Run a sample of the stored sets again, and compare the results.

    Nothing that is stored is touched. What each run has shown is recorded. Exits with 1 if a result differs, and with
    5 if nothing was run again, since no row matches or all that were chosen are gone: then nothing is known.
    """
    store, words = open_store("audit", words, named, db, table, results)
    conditions = filters(store, words, where, tag)
    if is_reflected(store):
        refuse({})
    options: dict[str, Any] = {"fraction_": fraction, "rtol_": rtol, "seed_": seed, "workers_": workers}
    with answers_only():
        done = store.audit(*conditions, **options, timeout_=timeout)
    if as_json:
        lists = {name: [_audited(one) for one in getattr(done, name)] for name in ("agreed", "differing")}
        put_json({"ok": done.ok, "rows": done.rows, "seed": done.seed, **lists, "skipped": done.skipped})
    else:
        put(str(done))
    return FINE if done.ok else FOUND if done.differing else NOTHING


def _audited(one: Audited) -> dict[str, object]:
    return {"id": one.id, "text": one.text, "at": one.at, "host": one.host, "attempt": one.attempt}


def _run(
    store: Store[Base],
    wanted: list[dict[str, object]],
    before: int,
    as_json: bool,
    workers: int | None,
    slurm: str | None,
    timeout: float | None,
    on_error: object,
    retry_failed: bool,
    more: Mapping[str, object],
) -> int:
    if is_reflected(store):
        refuse({})
    began, cluster = time.monotonic(), asked_of_slurm(slurm)
    # A set that is left keeps the failure of an earlier call; with --no-retry that is why it has no row.
    leaves = bool(more["deadline"]) or not more["wait"]
    old = {(one.id, one.began) for one in store.failures(wanted)} if retry_failed and leaves else set()
    try:
        options: Any = {"workers": workers, "timeout": timeout, "on_error": on_error, "retry_failed": retry_failed}
        options |= {"client": cluster, **more}
        with answers_only():
            rows = store.sweep(wanted, **options)
            stored = {row.id for row in rows}
    except Exception as error:
        if on_error == "continue" or type(error).__module__.startswith("entropic."):
            raise
        say(f"entropic: stopped: {type(error).__qualname__}: {message_of(error)}")  # what a runner raised
        return FOUND
    asked = {context_of(store).hasher(one) for one in wanted}
    failed = [one for one in store.failures(wanted) if one.id not in stored] if asked - stored else []
    failed = [one for one in failed if (one.id, one.began) not in old]
    if rows.submitted is not None:
        return _say_submitted(rows.submitted, failed, as_json)
    seconds = time.monotonic() - began
    left = len(asked - stored) - len(failed) if more["deadline"] else 0
    if as_json:
        counts = {"sets": len(asked), "stored": before, "ran": len(stored) - before, "seconds": seconds}
        put_json({**counts, "failed": _failed(failed), **({"not_begun": left} if more["deadline"] else {})})
    else:
        put(
            f"{counted(len(asked), 'set')}: {before:,} already stored, {len(stored) - before:,} run in "
            f"{duration(seconds)}, {len(failed):,} failed" + (f", {left:,} not begun" if left else "")
        )
        _list_failed(failed)
    return FOUND if failed or asked - stored else FINE


def _say_submitted(found: Submitted, failed: list[Failure], as_json: bool) -> int:
    if as_json:
        put_json({**asdict(found), "failed": _failed(failed)})
    else:
        put(str(found))
        _list_failed(failed)
    return FOUND if failed else FINE


def _failed(failed: list[Failure]) -> list[dict[str, object]]:
    return [
        {"id": one.id, "params": one.params, "error": without_passwords(f"{one.error_type}: {one.message}")}
        for one in failed
    ]


def _list_failed(failed: list[Failure]) -> None:
    for one in failed[:5]:
        put(f"  {cell(one.id)}  {one.error_type}: {one.message}"[:200].partition("\n")[0])
    if failed:
        put("`entropic failed` shows the tracebacks, `entropic retry` runs what failed again")
