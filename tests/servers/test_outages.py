"""Servers that die, stay away, hang, or do not let us in."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from contract.models import PATIENCE, CountingRunner, LoggingRunner, SimResult, content, wait_until
from databases import PASSWORD, Place
from entropic import DatabaseBusy, EntropicError, Store, StoreError
from servers.crowd import sets

pytestmark = pytest.mark.only_on("postgresql", "mariadb")
ONE, TWO, THREE = sets([1, 2, 3])
LIMIT = 3  # seconds; a server that is there does not take that long, however loaded the machine is


def slow(name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow)


@pytest.fixture
def place(own_server: Any) -> Place:
    """A database on a server that the test may stop; it goes with the server."""
    return Place.on_server(own_server)


def says_what_to_do(error: BaseException, place: Place) -> bool:
    """Whether an error names the database, and not the password."""
    return place.database in str(error) and PASSWORD not in str(error)


# ---- killed ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options", [pytest.param({}, id="serial"), pytest.param({"workers": 2}, id="workers", marks=pytest.mark.slow)]
)
def test_a_server_that_is_killed_in_the_middle_of_a_sweep_costs_no_run(
    open_store, place, own_server, tmp_path, options
):
    runner = LoggingRunner(tmp_path / "log")
    store = open_store(run=Slow(runner))
    with ThreadPoolExecutor(1) as thread:
        rows = thread.submit(store.sweep, sets(range(200)), **options)
        for many in (30, 90, 150):
            wait_until(lambda many=many: len(runner.lines()) >= many or rows.done())
            own_server.kill()
            own_server.start()
        assert [row.n for row in rows.result(PATIENCE)] == list(range(200))
    ran = Counter(n for _, n in runner.lines())
    assert set(ran) == set(range(200))
    assert max(ran.values()) == 1, [n for n, times in ran.items() if times > 1]
    assert store.check().ok


class Slow:
    """A runner that takes a moment, so that there is a middle of the sweep."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner

    def __call__(self, params: dict[str, Any]) -> None:
        self.runner(params)
        time.sleep(0.01)


def test_a_server_that_is_restarted_between_calls_is_found_again(open_store, own_server, runner):
    store = open_store()
    store.run_or_retrieve(ONE)
    own_server.stop()
    own_server.start()
    assert store.run_or_retrieve(ONE).n == 1
    own_server.kill()
    own_server.start()
    assert store.run_or_retrieve(TWO).n == 2
    assert runner.ns == [1, 2]
    assert store.check().ok


# ---- away --------------------------------------------------------------------------------------------------------
@pytest.mark.each
@pytest.mark.parametrize("what", [slow("opening"), slow("a hit"), "a miss"])
def test_a_server_that_is_down_is_waited_for_and_the_log_says_so(open_store, place, own_server, runner, what, caplog):
    store = open_store()
    store.run_or_retrieve(ONE)
    own_server.stop()
    caplog.set_level(logging.WARNING, "entropic")
    calls = {
        "opening": lambda: open_store().run_or_retrieve(ONE),
        "a hit": lambda: store.run_or_retrieve(ONE),
        "a miss": lambda: store.run_or_retrieve(TWO),
    }
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(calls[what])
        wait_until(lambda: caplog.records or waiting.done())
        assert not waiting.done()
        own_server.start()
        assert waiting.result(PATIENCE).n in (1, 2)
    (said,) = {record.getMessage() for record in caplog.records}
    assert place.database in said and PASSWORD not in said
    assert runner.ns == ([1, 2] if what == "a miss" else [1])


@pytest.mark.each
@pytest.mark.parametrize("what", ["opening", slow("a hit"), slow("a miss"), slow("a sweep")])
def test_a_server_that_stays_away_is_a_clear_error_after_the_timeout(open_store, place, own_server, runner, what):
    store = open_store(db_url=place.with_options(timeout=LIMIT))
    store.run_or_retrieve(ONE)
    own_server.stop()
    calls = {
        "opening": lambda: open_store(db_url=place.with_options(timeout=LIMIT)),
        "a hit": lambda: store.run_or_retrieve(ONE),
        "a miss": lambda: store.run_or_retrieve(TWO),
        "a sweep": lambda: store.sweep([ONE, TWO]),
    }
    began = time.monotonic()
    with pytest.raises(DatabaseBusy) as caught:
        calls[what]()
    assert time.monotonic() - began >= LIMIT
    assert isinstance(caught.value, StoreError) and isinstance(caught.value, TimeoutError)
    assert says_what_to_do(caught.value, place)
    assert runner.ns == [1]
    own_server.start()
    assert store.run_or_retrieve(TWO).n == 2  # the same store goes on


@pytest.mark.each
@pytest.mark.parametrize("operation", ["run_or_retrieve", slow("run"), slow("sweep")])
def test_a_finished_run_that_cannot_be_published_is_kept(open_store, place, own_server, operation):
    def during(params):
        if params["n"] == 3:
            own_server.stop()

    runner = CountingRunner(during)
    store = open_store(run=runner, db_url=place.with_options(timeout=LIMIT))
    with pytest.raises(EntropicError) as caught:
        getattr(store, operation)(sets(range(6)) if operation == "sweep" else THREE)
    assert says_what_to_do(caught.value, place)
    own_server.start()
    runner.during = None
    ran = sorted(runner.ns)
    assert 3 in ran
    assert [content(row)["n"] for row in store.sweep(sets(ran))] == ran
    assert content(store.run_or_retrieve(THREE))["n"] == 3
    assert sorted(runner.ns) == ran  # nothing that was finished ran again
    assert len(store.sweep(sets(range(6)))) == 6
    assert sorted(runner.ns) == list(range(6))
    assert store.check().ok


def test_a_result_that_could_not_be_published_is_found_by_another_process(
    open_store, place, own_server, children, tmp_path
):
    runner = CountingRunner(during=lambda params: own_server.stop())
    with pytest.raises(EntropicError):
        open_store(run=runner, db_url=place.with_options(timeout=LIMIT)).run_or_retrieve(ONE)
    own_server.start()
    assert children.start("servers.crowd:ask", folder=str(tmp_path), url=place.url, ns=[1]).said() == [1]
    assert LoggingRunner(tmp_path / "log").lines() == []
    assert runner.ns == [1]


# ---- silent ------------------------------------------------------------------------------------------------------
def test_a_server_that_hangs_for_a_moment_is_waited_for(through, proxy, runner):
    store = through()
    store.run_or_retrieve(ONE)
    proxy.hang()
    threading.Timer(0.5, proxy.flow).start()
    assert store.run_or_retrieve(TWO).n == 2
    assert runner.ns == [1, 2]


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.parametrize("what", ["opening", "a hit", "a miss"])
def test_a_server_that_takes_connections_and_says_nothing_is_given_up_after_the_timeout(
    through, proxy, place, runner, what
):
    store = through(timeout=LIMIT)
    store.run_or_retrieve(ONE)
    proxy.hang()
    calls = {
        "opening": lambda: through(timeout=LIMIT),
        "a hit": lambda: store.run_or_retrieve(ONE),
        "a miss": lambda: store.run_or_retrieve(TWO),
    }
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(calls[what])
        try:
            with pytest.raises(DatabaseBusy) as caught:
                waiting.result(PATIENCE)
        finally:
            proxy.flow()
    assert says_what_to_do(caught.value, place)
    assert store.run_or_retrieve(TWO).n == 2
    assert runner.ns == [1, 2]


# ---- not ours ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wrong", ["password", "user", "database", "host"])
def test_what_will_not_get_better_by_waiting_is_an_error_at_once(place, tmp_path, wrong):
    url = sa.make_url(place.url)
    url = {
        "password": url.set(password="wr0ng/" + PASSWORD),
        "user": url.set(username="entropic_nobody"),
        "database": url.set(database="entropic_nowhere"),
        "host": url.set(host="no-such-host.invalid"),
    }[wrong].update_query_dict({"timeout": "300"})
    began = time.monotonic()
    with pytest.raises(StoreError) as caught:
        Store(CountingRunner(), SimResult, tmp_path / "results", db_url=url.render_as_string(hide_password=False))
    assert not isinstance(caught.value, DatabaseBusy)
    assert time.monotonic() - began < 150  # of the 300 s that a busy one is waited for
    assert PASSWORD not in str(caught.value)
    assert str(url.database) in str(caught.value) and str(url.host) in str(caught.value)
