"""What makes a command of a function: the options that are everywhere, the store that they name, and how it ends."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, ParamSpec

import typer
from typer.core import TyperCommand

from entropic.cli.errors import UsageError, errors_as_sentences, say
from entropic.cli.target import Target
from entropic.params.model import Base
from entropic.store import Store, context_of
from entropic.support.importing import importing
from entropic.support.signals import Terminable
from entropic.upkeep.open_store import make_no_database, open_read_only

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run the experiments of a store, look at their results, and clean up.",
    epilog="Name the store first, as file.py:store or module:store, or with --store, or with --db URL (for "
    "commands that run nothing), or in ENTROPIC_STORE or ENTROPIC_DB, or in [tool.entropic] of pyproject.toml. "
    "Exit codes: 0 success, 1 a problem, a miss or a failure was reported, 2 wrong usage, 5 nothing was audited, 130 "
    "interrupted.",
)

Words = Annotated[list[str] | None, typer.Argument(hidden=True)]
Named = Annotated[
    str | None, typer.Option("--store", "-s", metavar="NAME", help="The store: file.py:store or module:store.")
]
Database = Annotated[
    str | None,
    typer.Option("--db", metavar="URL", help="The database, in place of a script; for commands that run nothing."),
]
Table = Annotated[str | None, typer.Option("--table", metavar="NAME", help="With --db: the table of results.")]
Results = Annotated[str | None, typer.Option("--results", metavar="DIR", help="With --db: the results folder.")]

P = ParamSpec("P")


@contextmanager
def leaving_no_trace() -> Iterator[None]:
    """Open stores read-only, and write no compiled code of the scripts that are imported."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with open_read_only():
            yield
    finally:
        sys.dont_write_bytecode = before


def command(
    words: str, example: str, looks: bool = False, name: str | None = None
) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Make a command of a function that returns an exit code; it has the function's name, unless it is given one.

    Parameters
    ----------
    words
        Its words, as the help shows them.
    example
        One or more lines for the help.
    looks
        Whether it only looks and changes nothing; with `--dry-run` every command only looks.
    name
        What it is called, where Python has no such name for a function.
    """

    def register(function: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(function)
        def run(*args: P.args, **options: P.kwargs) -> None:
            # `--deep` notes how far it came.
            looks_only = bool((looks and not options.get("deep")) or options.get("dry_run"))
            looking = leaving_no_trace() if looks_only else nullcontext()
            # A signal is told as Ctrl-C is, before it ends us.
            with Terminable(), errors_as_sentences(looks_only), looking:
                code = function(*args, **options)
                sys.stdout.flush()  # here, where it may fail in a sentence
                raise typer.Exit(code)

        lines = "\n".join(f"  {line}" for line in example.splitlines())
        app.command(name or function.__name__, cls=_with_usage(words), epilog=f"\b\nExample:\n{lines}")(run)
        return function

    return register


def open_store(
    command: str, words: list[str] | None, named: str | None, db: str | None, table: str | None, results: str | None
) -> tuple[Store[Base], list[str]]:
    """Return the store that a command is about, and the words that do not name it.

    What its script would run while it is imported is refused; a command that runs things itself opens a `Target`.

    Raises
    ------
    UsageError
        If there is no database, which a command for what is stored does not make.
    """
    with importing(f"`entropic {command}`"), nullcontext() if command in _BEGINNING else make_no_database():
        store, words = Target(named, db, table, results).open(words or [])
    if (why := _without_database(store)) is not None:
        if command not in _BEGINNING:
            raise UsageError(why)
        say(f"entropic: {why}")
    return store, words


# Commands that have an answer before the first run, and one whose runs may be the first of other stores.
_BEGINNING = ("plan", "explain", "import", "merge", "rebuild")


def _without_database(store: Store[Base]) -> str | None:
    """Say that there is no database, and where the one is that was probably meant; None if there is one."""
    context = context_of(store)
    dialect = context.database.dialect
    if dialect.exists() or dialect.path is None:
        return None
    text = f"there is no database at {dialect.path}: nothing was run with it yet"
    if os.path.relpath(dialect.path).startswith(os.pardir):  # as an absolute path says
        return f"{text}, or db_url names the wrong file"
    script = getattr(sys.modules.get(context.schema.model.__module__), "__file__", None) or ""
    folder = os.path.dirname(os.path.abspath(script))
    if os.path.isfile(os.path.join(folder, os.path.relpath(dialect.path))):
        advice = f", but there is one in {folder}: start the command there"
    else:
        advice = ", in which a relative db_url begins: start the command where the script was started"
    return f"{text} from this folder{advice}, or write an absolute path in db_url"


def _with_usage(words: str) -> type[TyperCommand]:
    """Return the kind of a command whose usage calls its words so."""

    class Command(TyperCommand):
        def collect_usage_pieces(self, ctx: object) -> list[str]:
            return ["[OPTIONS]", words]

    return Command
