"""Commands that put in order: check, repair, gc, rm, note. What removes shows it first, and asks."""

import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from entropic.cli.ask import no_words
from entropic.cli.choices import failures_of, key_of, keys_only
from entropic.cli.command import Database, Named, Results, Table, Words, command, open_store
from entropic.cli.errors import FINE, FOUND, USAGE, end
from entropic.cli.look import Json, Tag, Where, Yes
from entropic.cli.output import cell, put, put_json
from entropic.cli.values import age, filters, size
from entropic.files.extent import extent_elsewhere
from entropic.params.model import Base, utcnow
from entropic.store import Store, context_of
from entropic.support.show import counted
from entropic.support.sizes import amount
from entropic.upkeep.reports.cleaned import Cleanup

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]


def sure(planned: Iterable[object], yes: bool) -> None:
    """Show what would be done, and ask whether to go on; where nobody can be asked, do not."""
    if yes:
        return
    for one in planned:
        put(str(one))
    if not sys.stdin.isatty():
        end(USAGE, "entropic: nothing was done, as there is no terminal to ask on; add --yes to do it without asking")
    if not typer.confirm("Go on?", err=True):
        end(FOUND, "nothing was done")


@command("[STORE]", "entropic check model.py:store", looks=True)
def check(
    words: Words = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare the bytes of results with their checksums, too.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", "-j", help="With --deep: results that are read at once.")] = 4,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Compare rows, claims and files; change nothing.

    With --deep, a comparison that was interrupted goes on where it was. Exits with 1 if anything is not in order.
    """
    store, words = open_store("check", words, named, db, table, results)
    no_words(words)
    report = store.check(deep=deep, workers=workers)
    if as_json:
        kinds = {name: [_finding(one) for one in found] for name, found in report.kinds().items()}
        told = {"compared": report.compared, "without_checksum": report.without_checksum} if deep else {}
        put_json({"ok": report.ok, "rows": report.rows, **told, **kinds})
    else:
        put(str(report))
    return FINE if report.ok else FOUND


def _finding(one: Any) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__slots__}


@command("[STORE]", "entropic repair model.py:store --dry-run")
def repair(
    words: Words = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Repair what can be repaired without a run.

    Shows what would be done, and asks. Exits with 1 if anything is left.
    """
    store, words = open_store("repair", words, named, db, table, results)
    no_words(words)
    planned = store.repair(dry_run=True)
    if not dry_run and planned.done:
        sure([planned], yes)
    done = planned if dry_run else store.repair()
    if as_json:
        put_json({"done": done.done, "ok": done.left.ok, "dry_run": dry_run})
    else:
        put(str(done))
    return FINE if done.left.ok else FOUND


@command("[STORE]", "entropic rebuild model.py:store --dry-run")
def rebuild(
    words: Words = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Make the rows of a lost database again, from the results.

    It reads the results and the journals beside them. Shows what would be made, and asks. Exits
    with 1 if a result gets no row.
    """
    store, words = open_store("rebuild", words, named, db, table, results)
    no_words(words)
    done = store.rebuild(dry_run=True)
    if not dry_run and done.made:
        sure([done], yes)
        done = store.rebuild()
    if as_json:
        put_json({"made": done.made, "left": done.left, "unknown": done.unknown, "dry_run": dry_run})
    else:
        put(str(done))
    return FOUND if done.left or done.unknown else FINE


@command("[STORE]", "entropic rekey model.py:store --dry-run")
def rekey(
    words: Words = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Give rows whose keys follow older rules their current keys.

    For example, rows that 2.3.0 made from numpy numbers. Shows these rows, and asks. Exits with 1 if a row is left
    under its old key.
    """
    store, words = open_store("rekey", words, named, db, table, results)
    no_words(words)
    done = store.rekey(dry_run=True)
    if not dry_run and done.taken:
        sure([done], yes)
        done = store.rekey()
    if as_json:
        conflicts = [str(one) for one in done.conflicts]
        told = {"moved": {done.before[id]: id for id in done.taken}, "conflicts": conflicts}
        put_json({"ok": done.ok, **told, "left": done.left, "dry_run": dry_run})
    else:
        put(str(done))
    return FINE if done.ok else FOUND


FailedBefore = Annotated[
    str | None,
    typer.Option("--older-than", metavar="TIME", help="Only if the run began longer ago, such as 30d or 12h."),
]


@command("[STORE] [KEY]... [NAME=VALUE]...", "entropic dismiss model.py:store n=100 --older-than 30d")
def dismiss(
    words: Words = None,
    older_than: FailedBefore = None,
    yes: Yes = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Forget failures: all of them, those of some keys or of sets with some values, or old ones.

    Shows them, and asks. Their sets then count as never run.
    """
    store, words = open_store("dismiss", words, named, db, table, results)
    found = failures_of(store, words)
    since = age(older_than) if older_than is not None else None
    if since is not None:
        found = [one for one in found if (utcnow() - one.started_at).total_seconds() > since]
    if found:
        sure(found, yes)
        found = store.dismiss([{"id": failure.id} for failure in found], older_than=since)
    put(f"{counted(len(found), 'failure')} dismissed")
    return FINE


OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="TIME", help="Remove results older than this: 30d, 12h or 90min."),
]
TotalSize = Annotated[
    str | None, typer.Option("--total-size", metavar="SIZE", help="Keep the newest results up to this, such as 10GB.")
]
NoOrphans = Annotated[bool, typer.Option("--no-orphans", help="Keep files whose rows were deleted.")]


@command("[STORE] [NAME=VALUE]...", "entropic gc model.py:store --older-than 30d --dry-run")
def gc(
    words: Words = None,
    older_than: OlderThan = None,
    total_size: TotalSize = None,
    where: Where = None,
    tag: Tag = None,
    no_orphans: NoOrphans = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Remove results by age, size or condition, and orphaned files.

    Shows what would be removed, and asks. Never removes files that this store did not make or that were changed since,
    nor results whose set is running.
    """
    store, words = open_store("gc", words, named, db, table, results)
    conditions = filters(store, words, where, tag)
    rules: dict[str, Any] = {
        "older_than_": age(older_than) if older_than is not None else None,
        "total_size_": size(total_size) if total_size is not None else None,
        "orphans_": not no_orphans,
    }
    done = store.gc(*conditions, **rules, dry_run_=True)
    if not dry_run and done.removed:
        sure([done], yes)
        done = store.gc(*conditions, **rules)
    if as_json:
        put_json(_cleanup(done, dry_run))
    else:
        put(str(done))
    return FINE


def _cleanup(done: Cleanup, dry_run: bool) -> dict[str, object]:
    lists = {"removed": [_finding(one) for one in done.removed], "kept": [_finding(one) for one in done.kept]}
    return {"size": done.size, **done.counts(), **lists, "dry_run": dry_run}


KeepFile = Annotated[bool, typer.Option("--keep-file", help="Delete the row only.")]


@command("[STORE] KEY...", "entropic rm model.py:store 3f9a 81c0")
def rm(
    words: Words = None,
    keep_file: KeepFile = False,
    yes: Yes = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Delete rows and their results.

    Shows them, and asks. Registered files stay.
    """
    store, words = open_store("rm", words, named, db, table, results)
    keys = [key_of(store, word) for word in keys_only(words, 1, None, "the keys to delete")]
    doomed = list(dict.fromkeys(keys))
    with_file = {key: not keep_file and not _is_registered(store, key) for key in doomed}
    sure((_described(store, key, with_file[key]) for key in doomed), yes)
    count = sum(store.delete({"id": key}, remove_file=with_file[key]) for key in doomed)
    put(f"deleted {counted(count, 'row')}")
    return FINE


@command("[STORE] KEY...", "entropic note model.py:store 3f9a --text 'the mesh was too coarse' --tag paper")
def note(
    words: Words = None,
    text: Annotated[str | None, typer.Option("--text", help="The note; it replaces an earlier one.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag to add. Repeatable.")] = None,
    untag: Annotated[list[str] | None, typer.Option("--untag", help="A tag to remove. Repeatable.")] = None,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Write a note on results, and tag them.

    `show` prints notes and tags, and `ls --tag` selects by tags. An empty --text removes the note.
    """
    store, words = open_store("note", words, named, db, table, results)
    keys = [key_of(store, word) for word in keys_only(words, 1, None, "the keys of which something is said")]
    put(
        f"{counted(store.note([{'id': key} for key in keys], text, tags=tag or [], untag=untag or []), 'result')} noted"
    )
    return FINE


def _is_registered(store: Store[Base], key: str) -> bool:
    found = context_of(store).ledger.find(key)
    return found is None or found.registered is not None or found.published is None


def _described(store: Store[Base], key: str, with_file: bool) -> str:
    row = store.retrieve({"id": key})
    path = row.result_file if row is not None else ""
    found = extent_elsewhere(path)
    what = f"and its file {path} ({amount(found.size) if found else 'which is gone'})"
    return cell(f"delete {key} {what if with_file else f'and leave its file {path}'}")
