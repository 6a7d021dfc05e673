"""Many processes at once, more than the server takes connections."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from contract.models import LoggingRunner
from databases import Place
from race.scenes import at_once

pytestmark = pytest.mark.only_on("postgresql", "mariadb")


def run_once(folder: Any, ns: list[int]) -> bool:
    """Whether each of these sets, and no other, has run once."""
    return Counter(n for _, n in LoggingRunner(folder / "log").lines()) == Counter(ns)


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.timeout(900)
@pytest.mark.parametrize("call", ["servers.crowd:sweep", "servers.crowd:ask"])
def test_100_processes_share_a_server_that_takes_a_dozen_connections(small_server, children, tmp_path, call):
    place, ns = Place.on_server(small_server), list(range(60))
    started = [
        children.start(call, folder=str(tmp_path), url=place.with_options(timeout=300), ns=ns) for _ in range(100)
    ]
    assert [sorted(child.said(600)) for child in started] == [ns] * 100
    assert run_once(tmp_path, ns)


def test_16_processes_open_a_store_on_an_empty_database_at_the_same_moment(place, children, tmp_path):
    started = [children.start("servers.crowd:open_together", folder=str(tmp_path), url=place.url) for _ in range(16)]
    at_once(str(tmp_path), started)
    assert [child.said() for child in started] == [[1, 2, 3]] * 16
    assert run_once(tmp_path, [1, 2, 3])


def test_a_few_processes_run_each_of_some_shared_sets_once(place, children, open_store, tmp_path):
    ns = list(range(30))
    calls = ["servers.crowd:ask", "servers.crowd:sweep"] * 3
    started = [children.start(call, folder=str(tmp_path), url=place.url, ns=ns) for call in calls]
    assert [sorted(child.said()) for child in started] == [ns] * 6
    assert run_once(tmp_path, ns)
    assert open_store().check().ok


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.timeout(900)
@pytest.mark.parametrize("call", ["servers.crowd:sweep", "servers.crowd:ask"])
def test_32_processes_run_each_of_200_shared_sets_once(place, children, open_store, tmp_path, call):
    ns = list(range(200))
    started = [children.start(call, folder=str(tmp_path), url=place.url, ns=ns) for _ in range(32)]
    assert [sorted(child.said(600)) for child in started] == [ns] * 32
    assert run_once(tmp_path, ns)
    assert open_store().check().ok
