"""Commands that run: sweep, retry."""

import time
from typing import Annotated, Any, Literal

import typer

from entropic.cli.choices import key_of
from entropic.cli.command import command
from entropic.cli.errors import FINE, FOUND, UsageError, say
from entropic.cli.look import Json
from entropic.cli.output import answers_only, cell, put, put_json
from entropic.cli.reflect import refuse
from entropic.cli.values import grid as grid_of
from entropic.cli.values import params
from entropic.params.grid import expand_grid
from entropic.store import Store
from entropic.support.failure import message_of
from entropic.support.passwords import without_passwords
from entropic.sweep.plan import duration

Grid = Annotated[
    list[str] | None,
    typer.Option("--grid", "-g", metavar="NAME=VALUES", help="1,2,3 or first:last:count; repeatable: the product"),
]
Workers = Annotated[int | None, typer.Option("--workers", "-j", help="processes; -1: one for each core")]
Timeout = Annotated[float | None, typer.Option("--timeout", help="seconds that a run may take; needs --workers")]
OnError = Annotated[
    Literal["continue", "raise"], typer.Option("--on-error", help="raise: begin nothing new after a failure")
]


def sets(store: Store[Any], words: list[str], grid: list[str] | None) -> list[dict[str, Any]]:
    """Return the sets that the words, which hold in all of them, and the grids mean."""
    fixed, product = params(store, words), grid_of(store, grid or [])
    if twice := fixed.keys() & product.keys():
        raise UsageError(f"{min(twice)!r} has a value and a grid")
    if not fixed and not product:
        raise UsageError("which sets? give --grid NAME=VALUES, or NAME=VALUE")
    return [{**fixed, **one} for one in expand_grid(product)]


@command(
    "sweep",
    "[STORE] [NAME=VALUE]...",
    "entropic sweep model.py:store --grid alpha=1,2,3 --grid beta=0.1:0.5:5 --workers 4",
    runs=True,
)
def sweep(
    store: Store[Any],
    words: list[str],
    grid: Grid = None,
    workers: Workers = None,
    timeout: Timeout = None,
    on_error: OnError = "continue",
    no_retry: Annotated[bool, typer.Option("--no-retry", help="leave out what failed before")] = False,
    as_json: Json = False,
) -> int:
    """Run what is missing of some sets.

    Exits with 1 if any fails. Ctrl-C, SIGTERM or SIGHUP ends it; what is finished is stored.
    """
    wanted = sets(store, words, grid)
    before = len(store.plan(wanted).stored)
    return _run(store, wanted, before, as_json, workers, timeout, on_error, not no_retry)


@command("retry", "[STORE] [KEY]...", "entropic retry model.py:store --workers 4", runs=True)
def retry(
    store: Store[Any],
    words: list[str],
    workers: Workers = None,
    timeout: Timeout = None,
    on_error: OnError = "continue",
    as_json: Json = False,
) -> int:
    """Run again what failed: all, or some keys.

    Exits with 1 if any fails again.
    """
    failures = store.failures()
    if words:
        known = [failure.id for failure in failures]
        keys = {key_of(store, word, known) for word in words}
        if fine := keys - set(known):
            raise UsageError(f"{min(fine)} has not failed")
        failures = [failure for failure in failures if failure.id in keys]
    if not failures and not as_json:
        put("nothing failed")
        return FINE
    return _run(store, [failure.params for failure in failures], 0, as_json, workers, timeout, on_error, True)


def _run(
    store: Store[Any],
    wanted: list[dict[str, Any]],
    before: int,
    as_json: bool,
    workers: int | None,
    timeout: float | None,
    on_error: Any,
    retry_failed: bool,
) -> int:
    if store._context.runner is refuse:
        refuse({})
    began = time.monotonic()
    try:
        options: Any = {"workers": workers, "timeout": timeout, "on_error": on_error, "retry_failed": retry_failed}
        with answers_only():
            stored = {row.id for row in store.sweep(wanted, **options)}
    except Exception as error:
        if on_error == "continue" or type(error).__module__.startswith("entropic."):
            raise
        say(f"entropic: stopped: {type(error).__qualname__}: {message_of(error)}")  # what a runner raised
        return FOUND
    asked = {store._context.hasher(one) for one in wanted}
    failed = [failure for failure in store.failures(wanted) if failure.id not in stored] if asked - stored else []
    seconds = time.monotonic() - began
    if as_json:
        names = [
            {"id": one.id, "params": one.params, "error": without_passwords(f"{one.error_type}: {one.message}")}
            for one in failed
        ]
        counts = {"sets": len(asked), "stored": before, "ran": len(stored) - before, "seconds": seconds}
        put_json({**counts, "failed": names})
    else:
        put(
            f"{len(asked):,} sets: {before:,} stored before, {len(stored) - before:,} run in {duration(seconds)}, "
            f"{len(failed):,} failed"
        )
        for one in failed[:5]:
            put(f"  {cell(one.id)}  {one.error_type}: {one.message}"[:200].partition("\n")[0])
        if failed:
            put("`entropic failed` shows their tracebacks, `entropic retry` runs them again")
    return FOUND if failed or asked - stored else FINE
