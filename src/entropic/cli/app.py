"""`entropic`: all its commands, and how it starts."""

from typing import Annotated

import typer

import entropic
from entropic.cli import ask, clean, export, freeze, look, move, page, work  # noqa: F401  (each adds its commands)
from entropic.cli.command import app
from entropic.cli.errors import prepare_output


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(entropic.__version__)
        raise typer.Exit


@app.callback()
def entry(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Run the experiments of a store, look at their results, and clean up."""


def main() -> None:
    """Run the command line."""
    prepare_output()
    app(prog_name="entropic")
