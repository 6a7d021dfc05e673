"""Commands that bring stores together: merge."""

import contextlib
from typing import Annotated, Literal

import typer

from entropic.cli.ask import no_words
from entropic.cli.clean import DryRun, sure
from entropic.cli.command import Database, Named, Results, Table, Words, command, open_store
from entropic.cli.errors import FINE, FOUND
from entropic.cli.look import Json, Yes
from entropic.cli.output import put, put_json
from entropic.cli.reflect import open_reflected
from entropic.cli.target import START, checked
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
