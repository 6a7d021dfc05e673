"""A pytest plugin: a test that hangs fails, whatever it hangs in, and the run ends.

At its limit pytest-timeout raises an error in the main thread, which ends most hangs, and the run goes on. That does
not reach code that never comes back to Python, other threads that somebody joins, nor what a test tears down after it
has failed. So this ends the whole process some time later, with the stacks of all its threads on stderr. With
pytest-xdist that fails the test, and `--max-worker-restart 0` ends the run: a worker that replaces a crashed one may
wait for ever, since `--dist loadgroup` hands it what is done already (fixed after pytest-xdist 3.8).
`tests/unit/test_hangs.py` tries it.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from typing import Any

import pytest

STDERR = pytest.StashKey[int]()
LIMIT = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the settings say how long a test may go on beyond its limit."""
    parser.addini("backstop", "seconds between the limit of a test and the end of its process", default="30")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the terminal's stderr, which is not captured yet."""
    config.stash[STDERR] = os.dup(2)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of it."""
    os.close(config.stash[STDERR])


def count(item: pytest.Item, limit: float) -> None:
    """Begin to count, or begin again."""
    item.stash[LIMIT] = limit
    if not item.config.getoption("usepdb"):
        seconds = limit + float(item.config.getini("backstop"))
        faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[STDERR])


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Count beside pytest-timeout, which goes on as if this were not here."""
    count(item, settings.timeout)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Count again: both pytest and pytest-timeout stop at the first error."""
    if LIMIT in item.stash:
        count(item, item.stash[LIMIT])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Count until all is torn down."""
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_enter_pdb() -> None:
    """Give whoever debugs all the time that they want."""
    faulthandler.cancel_dump_traceback_later()
