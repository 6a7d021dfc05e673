"""The command that shows a store in a browser: ui."""

import re
import sys
import webbrowser
from typing import Annotated

import typer

from entropic.cli.ask import no_words
from entropic.cli.command import Database, Named, Results, Table, Words, command, open_store
from entropic.cli.errors import FINE
from entropic.cli.output import put
from entropic.store import context_of

Port = Annotated[
    int | None, typer.Option("--port", "-p", min=0, max=65535, help="The port; 0 for any that is free.  [8642, or any]")
]
Host = Annotated[
    str, typer.Option("--host", help="The address to listen on. Add --exposed if other machines can reach it.")
]
Exposed = Annotated[bool, typer.Option("--exposed", help="Allow an address that other machines can reach.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="Another host name to accept, such as a proxy's. Repeatable."),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address; open no browser.")]


@command("[STORE]", "entropic ui model.py:store", looks=True)
def ui(
    words: Words = None,
    port: Port = None,
    host: Host = "127.0.0.1",
    exposed: Exposed = False,
    allow_host: AllowHost = None,
    no_browser: NoBrowser = False,
    named: Named = None,
    db: Database = None,
    table: Table = None,
    results: Results = None,
) -> int:
    """Show the store in a browser of this machine.

    The page is read-only. It needs the token in the address that is printed. Ctrl-C ends the command.
    """
    from entropic.ui.serve import Server

    name = named or (words[0] if words else None)
    store, words = open_store("ui", words, named, db, table, results)
    no_words(words)
    server = Server(context_of(store), port, host, exposed, allow_host or (), _source(name, db))

    def ready() -> None:
        put(repr(store))
        typer.echo(server.url)  # as it is: `put` would leave its token out
        put("Ctrl-C ends it.")
        sys.stdout.flush()
        if not no_browser:
            webbrowser.open(server.url)

    try:
        server.run(ready)
    except KeyboardInterrupt:  # which is how it ends
        put()
    return FINE


def _source(name: str | None, db: str | None) -> list[str]:
    """Return the Python lines that make the store, as far as they can be known."""
    match = re.fullmatch(r"(?:.*/)?(?P<module>[A-Za-z_][\w.]*?)(?:\.py)?(?::(?P<store>[A-Za-z_]\w*))?", name or "")
    if db is not None or match is None:
        return []
    store = match["store"] or "store"
    return [f"from {match['module']} import {store}" + ("" if store == "store" else " as store")]
