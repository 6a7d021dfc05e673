"""Commands that bring results from one place to another: merge, archive."""

import contextlib
import os
from typing import Annotated, Literal

import typer

from entropic.cli.ask import no_words
from entropic.cli.clean import DryRun, sure
from entropic.cli.command import Database, Named, Results, Table, Words, command, leaving_no_trace, open_store
from entropic.cli.errors import FINE, FOUND, UsageError
from entropic.cli.look import Json, Where, Yes
from entropic.cli.output import put, put_json
from entropic.cli.reflect import open_reflected
from entropic.cli.target import START, checked
from entropic.cli.values import filters
from entropic.params.model import Base
from entropic.store import Store, context_of
from entropic.upkeep.opening import only_looking

Source = Annotated[str, typer.Option("--from", metavar="URL", help="The database of the other store.")]
TheirResults = Annotated[
    str | None, typer.Option("--from-results", metavar="DIR", help="The results folder of the other store.")
]
Files = Annotated[
    Literal["link", "copy", "leave"],
    typer.Option("--files", help="Hard links where possible, copies, or leave them where they are, registered."),
]


@command(
    "[STORE] --from URL",
    "entropic merge model.py:store --from sqlite:////home/ann/study/db.sqlite3 --dry-run",
)
def merge(
    source: Source,
    words: Words = None,
    their_results: TheirResults = None,
    files: Files = "link",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Take in the results of another store, of any database and folder; nothing changes there.

    Shows what would be taken in, and asks. Exits with 1 if the two have different results of one key, which are listed
    and left as they are, or if anything else was not taken in.
    """
    store, words = open_store("merge", words, named, db, table, results)
    no_words(words)
    other = _other(store, source, their_results)
    done = store.merge(other, files, dry_run=True)
    if not dry_run and done.taken:
        sure([done], yes)
        done = store.merge(other, files)
    if as_json:
        conflicts = [{"id": one.id, "here": one.here, "there": one.there, "text": one.text} for one in done.conflicts]
        lists = {"taken": done.taken, "registered": done.registered, "conflicts": conflicts, "left": done.left}
        numbers = {"same": done.same, "rekeyed": done.rekeyed, "running": done.running, "failed": done.failed}
        put_json({"ok": done.ok, **lists, **numbers, "unrecorded": done.unrecorded, "dry_run": dry_run})
    else:
        put(str(done))
    return FINE if done.ok else FOUND


def _other(store: Store[Base], source: str, results: str | None) -> Store[Base]:
    """Return the other store, which is only looked at, and whose code is not needed; paths are meant from START.

    Its script could not be imported beside ours: both make a model of the same table.
    """
    with contextlib.chdir(START), only_looking():
        schema = context_of(store).schema
        return open_reflected(checked(source, "--from"), schema.table_name, results, schema.model)


@command("[STORE] [NAME=VALUE]... OUT", "entropic archive model.py:store paper.zip n=100 --where 'dt<0.1'")
def archive(
    words: Words = None,
    where: Where = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Write results, their rows and all that is known of them into one folder or .zip, which must not exist.

    It can be read without entropic: it has CSV and Parquet, checksums, RO-Crate metadata, and a README that says how.
    Exits with 1 if a result is not in it, as it is gone or was changed.
    """
    with leaving_no_trace():
        store, words = open_store("archive", words, named, db, table, results)
    paths = [word for word in words if "=" not in word]
    if len(paths) != 1:
        raise UsageError("give one folder, or one .zip, to write to, such as paper.zip")
    conditions = filters(store, [word for word in words if "=" in word], where or [])
    done = store.archive(os.path.join(START, paths[0]), *conditions)
    if as_json:
        lists = {"results": done.results, "left": done.left, "outside": done.outside, "without": done.without}
        put_json({"ok": done.ok, "path": done.path, "size": done.size, **lists})
    else:
        put(str(done))
    return FINE if done.ok else FOUND
