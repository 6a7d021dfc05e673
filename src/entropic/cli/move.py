"""Commands that bring results from one place to another: merge, import, archive."""

import contextlib
import os
from dataclasses import replace
from typing import Annotated, Literal

import typer

import entropic
from entropic.cli.ask import no_words
from entropic.cli.clean import DryRun, sure
from entropic.cli.command import Database, Named, Results, Table, Words, command, leaving_no_trace, open_store
from entropic.cli.errors import FINE, FOUND, UsageError
from entropic.cli.look import Json, Tag, Where, Yes
from entropic.cli.output import put, put_json
from entropic.cli.reflect import open_reflected
from entropic.cli.target import START, checked
from entropic.cli.values import one_and_filters, params
from entropic.params.model import Base
from entropic.store import Store, context_of
from entropic.upkeep.open_store import filling, open_read_only

Source = Annotated[str, typer.Option("--from", metavar="URL", help="The database of the other store.")]
TheirResults = Annotated[
    str | None, typer.Option("--from-results", metavar="DIR", help="The results folder of the other store.")
]
Files = Annotated[
    Literal["link", "copy", "leave"],
    typer.Option("--files", help="Hard links where possible, copies, or files registered where they are."),
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
    """Take in the results of another store, which is not changed.

    The two may have different kinds of database. Shows what would be taken in, and asks. Exits with 1 if the two
    have different results of one key, which are listed and left as they are, or if anything else was not taken in.
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
    with contextlib.chdir(START), open_read_only(), filling():
        schema = context_of(store).schema
        return open_reflected(checked(source, "--from"), schema.table_name, results, schema.model)


@command(
    "[STORE] PATTERN [NAME=VALUE]...",
    "entropic import model.py:store 'runs/n={n}_dt={dt}/out.npy' solver=rk4 --dry-run\n"
    "entropic import model.py:store --signac project --file out.npy\n"
    "entropic import model.py:store --joblib cache --function simulate --trust-pickles\n"
    "entropic import model.py:store --psweep calc/database.pk --trust-pickles",
    name="import",
)
def import_(
    words: Words = None,
    joblib: Annotated[str | None, typer.Option("--joblib", metavar="DIR", help="A cache of joblib.Memory.")] = None,
    function: Annotated[
        str | None, typer.Option("--function", metavar="NAME", help="With --joblib: which function, if several.")
    ] = None,
    signac: Annotated[str | None, typer.Option("--signac", metavar="DIR", help="A project of signac.")] = None,
    psweep: Annotated[str | None, typer.Option("--psweep", metavar="FILE", help="A database.pk of psweep.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="NAME", help="With --signac or --psweep: each result's file.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            metavar="THEIRS=OURS",
            help="With --joblib, --signac or --psweep: what has another name there; THEIRS= is left out. Repeatable.",
        ),
    ] = None,
    trust_pickles: Annotated[
        bool, typer.Option("--trust-pickles", help="Unpickle results. That can run any code of whoever wrote them.")
    ] = False,
    files: Annotated[
        Literal["copy", "link", "leave"],
        typer.Option("--files", help="Copies, hard links where possible, or files registered where they are."),
    ] = "copy",
    keep_going: Annotated[
        bool, typer.Option("--continue", help="Take what fits the model, even if something does not.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Take in results that were made without entropic.

    These are files whose paths say their params, or what other tools keep. Shows what would be taken in, and asks.
    Exits with 1 if anything is in conflict, or was not taken in.
    """
    store, words = open_store("import", words, named, db, table, results)
    source, words = _source(words, {"--joblib": joblib, "--signac": signac, "--psweep": psweep}, function, file)
    if columns:
        if isinstance(source, str):
            raise UsageError("--columns is for --joblib, --signac and --psweep; a pattern names the columns itself")
        source = replace(source, columns=_renaming(columns))
    if trust_pickles:
        if not isinstance(source, entropic.JoblibCache | entropic.PsweepFrame):
            raise UsageError("--trust-pickles is for --joblib and --psweep, which keep pickles")
        source = replace(source, trust_pickles=True)
    given = params(store, words)
    on_error: Literal["raise", "continue"] = "continue" if keep_going else "raise"
    with contextlib.chdir(START):
        done = store.import_results(source, given, files=files, on_error=on_error, dry_run=True)
        if not dry_run and done.taken and (keep_going or not done.left):
            sure([done], yes)
            done = store.import_results(source, given, files=files, on_error=on_error)
    if as_json:
        conflicts = [{"id": one.id, "here": one.here, "there": one.there, "text": one.text} for one in done.conflicts]
        lists = {"taken": done.names, "registered": done.registered, "conflicts": conflicts, "left": done.left}
        put_json({"ok": done.ok, **lists, "same": done.same, "absent": done.absent, "dry_run": done.dry_run})
    else:
        put(str(done))
        if done.left and done.dry_run and not dry_run:
            put("nothing was taken in; --continue takes what fits")
    return FINE if done.ok else FOUND


def _renaming(given: list[str]) -> dict[str, str | None]:
    """Return the columns that `THEIRS=OURS` texts name, by what they are called there; None for what is left out."""
    found: dict[str, str | None] = {}
    for text in given:
        theirs, equals, ours = text.rpartition("=")
        if not equals or not theirs:
            raise UsageError(f"--columns {text!r} is not of the form THEIRS=OURS, or THEIRS= for what is left out")
        if theirs in found:
            raise UsageError(f"--columns names {theirs!r} twice; name it once")
        found[theirs] = ours or None
    return found


def _source(
    words: list[str], named: dict[str, str | None], function: str | None, file: str | None
) -> "tuple[str | entropic.JoblibCache | entropic.SignacWorkspace | entropic.PsweepFrame, list[str]]":
    """Return what is imported from, and the words that do not say so."""
    given = {option: path for option, path in named.items() if path is not None}
    if len(given) > 1:
        raise UsageError(f"give one of {', '.join(given)}: each is imported by itself")
    if function is not None and "--joblib" not in given:
        raise UsageError("--function is for --joblib")
    if file is not None and not given.keys() & {"--signac", "--psweep"}:
        raise UsageError("--file is for --signac and --psweep; a pattern names the files itself")
    if not given:
        if not words or "{" not in words[0]:
            raise UsageError("give a pattern first, such as 'runs/n={n}_dt={dt}/out.npy', with columns in braces")
        return words[0], words[1:]
    ((option, path),) = given.items()
    path = os.path.join(START, path)
    if option == "--joblib":
        return entropic.JoblibCache(path, function), words
    if option == "--psweep":
        return entropic.PsweepFrame(path, file), words
    if file is None:
        raise UsageError("--signac needs --file: which file of a job is its result, such as out.npy")
    return entropic.SignacWorkspace(path, file), words


@command("[STORE] [NAME=VALUE]... OUT", "entropic archive model.py:store paper.zip n=100 --where 'dt<0.1'")
def archive(
    words: Words = None,
    where: Where = None,
    tag: Tag = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Write results and all that is known of them to a folder or .zip.

    OUT must not exist. An archive can be read without entropic: it has CSV and Parquet, checksums, RO-Crate metadata,
    and a README that says how. Exits with 1 if a result is not in it because it is gone or was changed.
    """
    with leaving_no_trace():
        store, words = open_store("archive", words, named, db, table, results)
    wanted = "give one folder, or one .zip, to write to, such as paper.zip"
    path, conditions = one_and_filters(store, words, where, tag, wanted)
    done = store.archive(os.path.join(START, path), *conditions)
    if as_json:
        lists = {"results": done.results, "left": done.left, "outside": done.outside, "without": done.without}
        put_json({"ok": done.ok, "path": done.path, "size": done.size, **lists})
    else:
        put(str(done))
    return FINE if done.ok else FOUND
