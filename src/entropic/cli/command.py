"""What makes a command of a function: the options that are everywhere, the store that it works on, and how it ends."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from entropic.cli.errors import FINE, errors_as_sentences
from entropic.cli.target import Target
from entropic.support.importing import importing
from entropic.support.signals import Terminable
from entropic.upkeep.opening import only_looking

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Look at, run and clean up the results of a store.",
    epilog="Name the store first, as file.py:store or module:store, or with --store, or with --db URL (where nothing "
    "is run), or in ENTROPIC_STORE or ENTROPIC_DB, or in [tool.entropic] of pyproject.toml. "
    "Exit codes: 0 fine, 1 something was found, is missing or failed, 2 wrong usage, 130 interrupted.",
)

_COMMON: dict[str, Any] = {
    "store": Annotated[
        str | None, typer.Option("--store", "-s", metavar="NAME", help="The store: file.py:store or module:store.")
    ],
    "db": Annotated[str | None, typer.Option("--db", metavar="URL", help="A database instead, where nothing is run.")],
    "table": Annotated[str | None, typer.Option("--table", metavar="NAME", help="With --db: the table of results.")],
    "results": Annotated[str | None, typer.Option("--results", metavar="DIR", help="With --db: the results folder.")],
}


@contextmanager
def leaving_no_trace() -> Iterator[None]:
    """Let stores be looked at only, and nothing be kept of the scripts that are imported."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with only_looking():
            yield
    finally:
        sys.dont_write_bytecode = before


def _parameter(name: str, kind: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def command(
    name: str, words: str, example: str, looks: bool = False, runs: bool = False
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Make a command of a function of a store, the words that were typed, and options of its own.

    Parameters
    ----------
    name
        The name of the command.
    words
        Its words, as the help shows them.
    example
        One or more lines for the help.
    looks
        Whether it only looks and changes nothing; with `--dry-run` every command only looks.
    runs
        Whether it may run something, and so may what it imports.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
        own = list(inspect.signature(function).parameters.values())[2:]
        kind = Annotated[list[str] | None, typer.Argument(hidden=True)]
        common = [_parameter(option, one) for option, one in _COMMON.items()]
        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        parameters = [_parameter("words", kind), *own, *common]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            looking = leaving_no_trace() if looks or given.get("dry_run") else nullcontext()
            with Terminable(), errors_as_sentences(), looking:  # a signal is told as Ctrl-C is, before it ends us
                target = Target(*(given.pop(option) for option in _COMMON))
                with nullcontext() if runs else importing(f"`entropic {name}`"):
                    store, rest = target.open(given.pop("words") or [])
                code = function(store, rest, **given) or FINE
                sys.stdout.flush()  # here, where it may fail in a sentence
                raise typer.Exit(code)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        lines = "\n".join(f"  {line}" for line in example.splitlines())
        app.command(name, cls=_with_usage(words), epilog=f"\b\nExample:\n{lines}")(run)
        return function

    return register


def _with_usage(words: str) -> type[TyperCommand]:
    """Return the kind of a command whose usage calls its words so."""

    class Command(TyperCommand):
        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            return ["[OPTIONS]", words]

    return Command
