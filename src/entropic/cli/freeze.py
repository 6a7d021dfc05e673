"""Commands that show results as people keep them: view, freeze, frozen, unfreeze."""

import os
from dataclasses import asdict
from typing import Annotated

import typer

from entropic.cli.ask import no_words
from entropic.cli.choices import keys_only
from entropic.cli.clean import sure
from entropic.cli.command import Database, Named, Results, Table, Words, command, open_store
from entropic.cli.errors import FINE, FOUND, UsageError, say
from entropic.cli.look import Json, Tag, Where, Yes
from entropic.cli.output import put, put_json, put_table, utc
from entropic.cli.target import START
from entropic.cli.values import one_and_filters
from entropic.support.sizes import amount
from entropic.upkeep.reports.frozen import Frozen

Hard = Annotated[bool, typer.Option("--hard", help="Make hard links, to files on the same disk.")]


@command("[STORE] [NAME=VALUE]... OUT PATTERN", "entropic view model.py:store out/ 'n={n}/dt={dt}'", looks=True)
def view(
    words: Words = None,
    where: Where = None,
    tag: Tag = None,
    hard: Hard = False,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Make or update a tree of links to results, named by params.

    It changes nothing in the store, and touches nothing in OUT that it did not make. Exits with 1 if a row has no link.
    """
    store, words = open_store("view", words, named, db, table, results)
    patterns = [word for word in words if "{" in word]
    wanted = "give one folder, and one pattern with columns in it, such as 'n={n}/dt={dt}'"
    if len(patterns) != 1:
        raise UsageError(wanted)
    path, conditions = one_and_filters(store, [word for word in words if "{" not in word], where, tag, wanted)
    done = store.view(os.path.join(START, path), patterns[0], *conditions, hard_=hard)
    if as_json:
        lists = {"made": done.made, "removed": done.removed, "left": done.left}
        put_json({"path": done.path, "links": done.links, **lists})
    else:
        put(str(done))
    return FOUND if done.left else FINE


@command("[STORE] [NAME=VALUE]... NAME", "entropic freeze model.py:store n=100 paper-v1 --where 'dt<0.1'")
def freeze(
    words: Words = None,
    where: Where = None,
    tag: Tag = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Freeze a selection of results, as they are now, under a name.

    `store.at(name)` reads them, whatever happens later: re-runs, `gc` and `rm` take nothing from the selection. Either
    all of it is frozen or nothing.
    """
    store, words = open_store("freeze", words, named, db, table, results)
    wanted = "give one name for the selection, such as paper-v1"
    name, conditions = one_and_filters(store, words, where, tag, wanted)
    done = store.freeze(name, *conditions)
    if as_json:
        put_json(_selection(done))
    else:
        put(str(done))
    return FINE


def _selection(one: Frozen) -> dict[str, object]:
    return {**asdict(one), "made_at": utc(one.made_at)}


@command("[STORE]", "entropic frozen model.py:store", looks=True)
def frozen(
    words: Words = None,
    as_json: Json = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """List frozen selections."""
    store, words = open_store("frozen", words, named, db, table, results)
    no_words(words)
    found = store.frozen()
    if as_json:
        put_json([_selection(one) for one in found])
    elif not found:
        put("nothing is frozen")
    else:
        rows = [[one.name, one.results, amount(one.size), one.made_at, one.path] for one in found]
        put_table(["name", "results", "size", "frozen (UTC)", "path"], rows, ["results"])
    return FINE


@command("[STORE] NAME", "entropic unfreeze model.py:store paper-v1")
def unfreeze(
    words: Words = None,
    yes: Yes = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Remove a frozen selection; the results of the store stay.

    Shows it, and asks.
    """
    store, words = open_store("unfreeze", words, named, db, table, results)
    (name,) = keys_only(words, 1, 1, "the name of one selection")
    found = next((one for one in store.frozen() if one.name == name), None)
    if found is not None:
        sure([found], yes)
    store.unfreeze(name)
    say(f"{name} is not frozen any more")
    return FINE
