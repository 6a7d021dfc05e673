"""How the tests type commands: to children that are forked, since to import the command line takes half a second."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "crash"))

from harness import Server


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The process that commands are forked from; they make calls of `cli.child`."""
    made = Server(tmp_path_factory.mktemp("commands"), "cli.child", flags=())
    yield made
    made.close()
