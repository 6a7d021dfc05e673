"""What the tests on servers share: a proxy in front of the server, and children that are forked."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from databases import Place, Server, Servers, present
from proxy import Proxy

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "crash"))

from harness import Server as Children  # noqa: E402


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    """The way to this test's database that can be watched, and broken."""
    with Proxy(place) as made:
        yield made


@pytest.fixture
def through(open_store: Any, proxy: Proxy) -> Any:
    """Open a store that reaches its database through the proxy.

    Stale rows are ignored: the tests' runner remembers its calls, so it is another one to the next store, and to say
    how the two differ takes round trips of its own.
    """

    def open_it(*what: Any, timeout: float = 60, **options: Any) -> Any:
        options.setdefault("on_stale", "ignore")
        return open_store(*what, db_url=proxy.with_options(timeout=timeout), **options)

    return open_it


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """The process that children are forked from; they make calls of `servers.crowd`."""
    made = Children(tmp_path_factory.mktemp("children"))
    made.warm("servers.crowd:prepare")
    yield made
    made.close()


@pytest.fixture
def children(template: Children) -> Iterator[Children]:
    """Starts children; whatever a test leaves alive ends with the test."""
    yield template
    template.end_all()


@pytest.fixture
def small_server(database_kind: str, servers: Servers) -> Iterator[Server]:
    """A server that takes a dozen connections."""
    made = present(servers.private, database_kind, max_connections=12)
    yield made
    made.discard()


@pytest.fixture
def place_of(servers: Servers, tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    """Make another database, of any kind."""
    with contextlib.ExitStack() as places:

        def make(kind: str) -> Place:
            folder = tmp_path / f"another {kind}"
            folder.mkdir()
            on_server = kind != "sqlite"
            made = Place.on_server(present(servers.shared, kind)) if on_server else Place.on_sqlite(folder)
            return places.enter_context(made)

        yield make
