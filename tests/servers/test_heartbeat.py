"""Leases on servers: renewed whatever the runner does to its process, and by the server's clock."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.models import CountingRunner, gone, wait_until
from databases import words_of
from entropic.support import process

on_servers = pytest.mark.only_on("postgresql", "mariadb")
NOW = {
    "postgresql": "extract(epoch from clock_timestamp())::float8",
    "mariadb": "unix_timestamp(sysdate(6)) + 0e0",
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
}


def left_of_lease(place: Any) -> float:
    """Return for how many seconds the lease of the only claim still holds, by the server's clock."""
    ((seconds,),) = place.fetch(f"SELECT lease_until - ({NOW[place.kind]}) FROM entropic_ledger")
    return float(seconds)


def helpers(pid: int) -> set[int]:
    """The processes that a process has started, none if it has ended; but for git, which tells of the commit."""
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True) if child.name() != "git"}
    except psutil.NoSuchProcess:  # one of them
        return set()


def folder_of(path: Path) -> dict[str, str]:
    return {"folder": str(path), "marker": str(path / "marker")}


@on_servers
def test_the_lease_of_a_run_that_lets_no_other_thread_go_on_is_renewed_until_its_process_is_killed(
    place, children, tmp_path
):
    child = children.start("servers.crowd:hold_the_gil", **folder_of(tmp_path), url=place.url, seconds=100.0, lease=0.6)
    wait_until((tmp_path / "marker").exists)
    ends: set[float] = set()

    def renewed_for_four_leases() -> bool:
        assert left_of_lease(place) <= 0.7
        ends.update(end for (end,) in place.fetch("SELECT lease_until FROM entropic_ledger"))
        return len(ends) > 4 and max(ends) - min(ends) > 4 * 0.6

    wait_until(renewed_for_four_leases)
    started = helpers(child.pid)
    assert started
    child.kill()
    wait_until(lambda: all(map(gone, started)))
    assert left_of_lease(place) <= 0.6


@on_servers
def test_the_helper_ends_with_its_process(place, children, tmp_path):
    until = tmp_path / "until"
    child = children.start("servers.crowd:run_until", **folder_of(tmp_path), url=place.url, until=str(until), lease=0.6)
    wait_until(lambda: helpers(child.pid))
    started = helpers(child.pid)
    until.touch()
    assert child.said() == 1
    wait_until(lambda: all(map(gone, started)))


@on_servers
def test_a_process_has_one_helper_for_its_stores_on_several_databases(make_place, open_store, tmp_path):
    with contextlib.ExitStack() as places:
        stores, mine = [], [places.enter_context(make_place(tmp_path)) for _ in range(3)]

        def nest(params: Any) -> None:
            """Run another store's set in the middle of this one's; in the last, all three are under way."""
            if len(stores) > params["n"] + 1:
                stores[params["n"] + 1].run({"n": params["n"] + 1, "dt": 0.5})
                return
            before = [place.fetch("SELECT lease_until FROM entropic_ledger") for place in mine]
            for place, seen in zip(mine, before, strict=True):
                wait_until(lambda place=place, seen=seen: place.fetch("SELECT lease_until FROM entropic_ledger") > seen)
            words = [words_of(child) for child in psutil.Process().children()]
            assert len([one for one in words if one and one[-1].endswith("lease_process.py")]) == 1

        stores += [
            open_store(run=CountingRunner(during=nest), db_url=place.url, results_dir=tmp_path / str(n), lease=0.6)
            for n, place in enumerate(mine)
        ]
        stores[0].run({"n": 0, "dt": 0.5})
        assert all(store.check().ok for store in stores)


@on_servers
def test_a_hit_starts_no_helper(place, children, open_store, tmp_path):
    open_store().run_or_retrieve({"n": 1, "dt": 0.5})
    until = tmp_path / "until"
    child = children.start("servers.crowd:hit_until", **folder_of(tmp_path), url=place.url, until=str(until), lease=0.3)
    wait_until((tmp_path / "marker").exists)
    began = time.monotonic()
    while time.monotonic() - began < 1.0:  # more than three leases
        assert not helpers(child.pid)
        time.sleep(0.02)
    until.touch()
    assert child.said() > 1


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.skipif(process.is_contained(), reason="these tests run in a container, where there is one")
def test_on_sqlite_there_is_no_helper(place, children, tmp_path):
    child = children.start("servers.crowd:hold_the_gil", **folder_of(tmp_path), url=place.url, seconds=1.0, lease=0.3)
    wait_until((tmp_path / "marker").exists)
    while not gone(child.pid):
        assert not helpers(child.pid)
        time.sleep(0.02)
    assert child.said() == 1


@on_servers
@pytest.mark.parametrize("hours", [-5, 5])
def test_leases_are_measured_by_the_clock_of_the_server(open_store, place, monkeypatch, hours):
    real, left = time.time, []
    runner = CountingRunner(during=lambda params: left.append(left_of_lease(place)))
    store = open_store(run=runner, lease=30.0)
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
    store.run_or_retrieve({"n": 1, "dt": 0.5})
    assert 10 < left[0] <= 30.5
