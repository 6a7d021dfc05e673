"""`sweep` with a Dask client: the cluster helps where it can, and whatever does not come back runs here."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract.models import PATIENCE, LoggingRunner, content, wait_until
from entropic import ClientLostError, FellBackWarning, ParameterError, expand_grid
from entropic.executors import dask
from entropic.sweep.progress import Bar

distributed = pytest.importorskip("distributed")
pytestmark = [
    # No worker of a cluster sees the database; what comes back is recorded as in every sweep, and that the address of
    # a server stays here, tests/servers proves on each of them.
    pytest.mark.only_on("sqlite"),
    pytest.mark.slow,
    pytest.mark.xdist_group("cluster"),  # one cluster at a time, in one process of the tests
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::UserWarning:distributed"),
]


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


class Boom(Exception):
    pass


def is_on_dask() -> bool:
    try:
        return distributed.get_worker() is not None
    except ValueError:
        return False


class PickyRunner(LoggingRunner):
    """Raises for `n` in `bad`: everywhere, or only on Dask's workers; `die` ends the process there instead."""

    def __init__(self, log: Path, bad: set[int], everywhere: bool = False, die: bool = False) -> None:
        super().__init__(log)
        self.bad, self.everywhere, self.die = bad, everywhere, die

    def __call__(self, params: dict[str, Any]) -> None:
        away = is_on_dask()
        if params["n"] in self.bad and (self.everywhere or away):
            if away and self.die:
                os._exit(1)
            with self.log.open("a") as log:
                log.write(f"{os.getpid()} {params['n']}\n")
            raise Boom(f"refused {params['n']}")
        super().__call__(params)


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as made:
        made.wait_for_workers(2, timeout=200)
        yield made


@pytest.fixture
def log(tmp_path):
    return LoggingRunner(tmp_path / "log")


@pytest.fixture
def store(open_store, log):
    return open_store(run=log)


def test_new_runs_go_to_the_workers_and_come_back_as_rows(store, client, log):
    rows = store.sweep(sets(*range(8)), client=client)
    assert [(row.n, content(row)["n"]) for row in rows] == [(n, n) for n in range(8)]
    assert os.getpid() not in {pid for pid, _ in log.lines()}
    assert sorted(n for _, n in log.lines()) == list(range(8))
    assert store.check().ok


def test_the_client_may_be_given_by_position(store, client, log):
    assert [row.n for row in store.sweep(sets(1, 2), client)] == [1, 2]
    assert os.getpid() not in {pid for pid, _ in log.lines()}


def test_a_client_that_is_not_the_default_one_is_used_all_the_same(store, cluster, log):
    with distributed.Client(cluster, set_as_default=False) as client:
        assert [row.n for row in store.sweep(sets(1, 2, 3), client=client)] == [1, 2, 3]
    assert os.getpid() not in {pid for pid, _ in log.lines()}


def test_new_runs_are_dispatched_through_client_map(store, client, monkeypatch):
    mapped = []
    original = client.map

    def spy(*args, **kwargs):
        futures = original(*args, **kwargs)
        mapped.extend(futures)
        return futures

    monkeypatch.setattr(client, "map", spy)
    store.sweep(sets(1, 2, 3), client=client)
    assert mapped
    assert all(isinstance(future, distributed.Future) for future in mapped)


def test_the_order_is_that_in_which_each_set_was_first_seen_and_duplicates_run_once(store, client, log):
    assert [row.n for row in store.sweep(iter(sets(5, 3, 5, 9, 3)), client=client)] == [5, 3, 9]
    assert sorted(n for _, n in log.lines()) == [3, 5, 9]


def test_cached_rows_are_reused(store, client, log):
    first = store.run(sets(2)[0])
    rows = store.sweep(sets(1, 2, 3), client=client)
    assert rows[1].created_at == first.created_at
    store.sweep(sets(1, 2, 3), client=client)
    assert sorted(n for _, n in log.lines()) == [1, 2, 3]


def test_a_sweep_in_which_all_is_cached_asks_nothing_of_the_client(store, client, monkeypatch):
    store.sweep(sets(1, 2))
    monkeypatch.setattr(client, "map", lambda *args, **kwargs: pytest.fail("map was called"))
    assert [row.n for row in store.sweep(sets(1, 2), client=client)] == [1, 2]
    assert store.sweep([], client=client) == []


def test_what_a_worker_ran_looks_like_what_was_run_here(store, client):
    (remote,) = store.sweep(sets(1), client=client)
    here = store.run(sets(2)[0])
    assert remote.custom_data.keys() == here.custom_data.keys() == {"elapsed_seconds"}
    assert Path(remote.result_file).parent == Path(here.result_file).parent
    assert content(remote).keys() == content(here).keys()
    assert remote.created_at.tzinfo is None


def test_every_set_is_checked_before_the_first_one_is_sent(store, client, log):
    with pytest.raises(ParameterError):
        store.sweep([*sets(1, 2), {"n": 3}], client=client)
    assert log.lines() == []


def test_a_client_that_is_closed_falls_back_to_a_process_of_its_own(store, cluster, log):
    client = distributed.Client(cluster, set_as_default=False)
    client.close()
    with pytest.warns(FellBackWarning, match="closed"):
        assert [row.n for row in store.sweep(sets(1, 2, 3), client=client)] == [1, 2, 3]
    assert [n for _, n in log.lines()] == [1, 2, 3]
    assert len({os.getpid(), *(pid for pid, _ in log.lines())}) == 2


def test_a_client_that_is_closed_is_an_error_where_nothing_is_to_run_instead(store, cluster, log):
    client = distributed.Client(cluster, set_as_default=False)
    client.close()
    with pytest.raises(ClientLostError, match="closed"):
        store.sweep(sets(1, 2, 3), client=client, fallback="raise")
    assert log.lines() == []
    assert [row.n for row in store.sweep(sets(1, 2, 3))] == [1, 2, 3], "nothing is claimed any more"


@pytest.mark.parametrize("fallback", ["local", "raise"])
def test_a_client_that_is_lost_when_all_is_done_is_missed_by_nobody(store, client, log, monkeypatch, fallback):
    def lose(self, coming):
        distributed.wait([*coming.futures], timeout=200)
        raise ConnectionError("the scheduler is gone")

    monkeypatch.setattr("entropic.executors.dask.Dask._next_batch", lose)
    assert [row.n for row in store.sweep(sets(1, 2, 3), client, fallback=fallback)] == [1, 2, 3]
    assert os.getpid() not in {pid for pid, _ in log.lines()}
    assert sorted(n for _, n in log.lines()) == [1, 2, 3]
    assert store.check().ok


def test_a_client_whose_map_raises_falls_back_to_a_process_of_its_own(store, client, log, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("the scheduler is gone")

    monkeypatch.setattr(client, "map", broken)
    with pytest.warns(FellBackWarning, match="the scheduler is gone"):
        assert [row.n for row in store.sweep(sets(1, 2, 3), client=client)] == [1, 2, 3]
    assert len({os.getpid(), *(pid for pid, _ in log.lines())}) == 2


def test_a_runner_that_cannot_be_pickled_falls_back_to_this_process(open_store, client, log):
    lock = threading.Lock()

    def run(params):
        with lock:
            log(params)

    with pytest.warns(FellBackWarning, match="cannot be sent to workers"):
        assert [row.n for row in open_store(run=run).sweep(sets(1, 2), client=client)] == [1, 2]
    assert log.lines() == [(os.getpid(), 1), (os.getpid(), 2)]


def test_a_set_that_the_runner_refused_on_a_worker_is_run_here(open_store, client, tmp_path):
    runner = PickyRunner(tmp_path / "log", bad={2})
    store = open_store(run=runner)
    with pytest.warns(FellBackWarning, match="'n': 2.*refused 2"):
        rows = store.sweep(sets(1, 2, 3), client=client)
    assert [content(row)["n"] for row in rows] == [1, 2, 3]
    tries = [pid for pid, n in runner.lines() if n == 2]
    assert len(tries) == 2
    assert [n for pid, n in runner.lines() if pid == tries[1]] == [2], "the second time in a process of its own"
    assert os.getpid() not in tries


def test_if_it_raises_here_too_that_exception_comes_out_and_the_others_are_kept(open_store, client, tmp_path):
    store = open_store(run=PickyRunner(tmp_path / "log", bad={2}, everywhere=True))
    with pytest.warns(FellBackWarning), pytest.raises(Boom, match="refused 2"):
        store.sweep(sets(1, 2, 3), client=client)
    assert [store.retrieve(params) is not None for params in sets(1, 2, 3)] == [True, False, True]
    assert store.check().ok


def test_a_runner_of_any_size_goes_to_the_workers_once_each(open_store, client, tmp_path):
    class Heavy(LoggingRunner):
        def __init__(self, log):
            super().__init__(log)
            self.weight, self.loads = os.urandom(1_000_000), tmp_path / "loads"

        def __setstate__(self, state):
            self.__dict__.update(state)
            with self.loads.open("a") as loads:
                loads.write(f"{os.getpid()}\n")

    runner = Heavy(tmp_path / "log")
    store = open_store(run=runner)
    for ns in (range(40), range(40, 50)):
        assert len(store.sweep(sets(*ns), client=client)) == len(ns)
    pids = {pid for pid, _ in runner.lines()}
    assert os.getpid() not in pids
    loads = runner.loads.read_text().split()
    assert len(loads) <= 2 * len(pids)  # for each of the two sweeps
    assert store.check().ok


def test_a_client_for_coroutines_is_refused_with_a_sentence(store, log):
    async def sweep():
        async with distributed.Client(processes=False, asynchronous=True, dashboard_address=":0") as client:
            store.sweep(sets(1), client)

    with pytest.raises(ParameterError, match="asynchronous"):
        asyncio.run(sweep())
    assert log.lines() == []


def test_a_cluster_without_workers_is_waited_for_and_that_is_said_once(store, log, caplog, monkeypatch):
    shown: list[str] = []
    monkeypatch.setattr(Bar, "show", lambda self, new, running, failed, elsewhere, standing="": shown.append(standing))
    monkeypatch.setattr(dask, "NOBODY_SECONDS", 0.0)
    with (
        distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        rows = pool.submit(store.sweep, sets(1, 2), client)
        wait_until(lambda: "no workers" in shown)
        wait_until(lambda: "the Dask cluster has had no workers" in caplog.text)
        cluster.scale(1)
        assert [row.n for row in rows.result(PATIENCE)] == [1, 2]
    assert caplog.text.count("the Dask cluster has had no workers") == 1
    assert sorted(n for _, n in log.lines()) == [1, 2]


def test_a_full_grid_comes_home_in_order_and_in_order_on_disk(store, client, log):
    rows = store.sweep(expand_grid({"n": list(range(10)), "dt": [0.1, 0.2, 0.3]}), client=client)
    assert [(row.n, row.dt) for row in rows] == [(n, dt) for n in range(10) for dt in (0.1, 0.2, 0.3)]
    assert len(log.lines()) == 30
    assert store.check().ok


# The last of all: on a busy machine the next test would wait for minutes until the cluster has workers again.
def test_a_set_that_kills_every_worker_it_meets_runs_here_and_what_they_had_finished_is_not_run_again(
    open_store, client, tmp_path
):
    runner = PickyRunner(tmp_path / "log", bad={2}, die=True)
    store = open_store(run=runner)
    with pytest.warns(FellBackWarning):
        rows = store.sweep(sets(1, 2, 3, 4), client=client)
    assert [content(row)["n"] for row in rows] == [1, 2, 3, 4]
    assert os.getpid() not in {pid for pid, _ in runner.lines()}
    assert sorted(n for _, n in runner.lines()) == [1, 2, 3, 4]
    assert store.check().ok


def write_two_files(params):
    main = Path(params["result_file"])
    main.with_name("part.txt").write_text(str(params["n"]))
    main.write_text(json.dumps({"part": "part.txt"}))


def test_results_of_several_files_come_back_whole(open_store, client):
    store = open_store(write_two_files, file_suffix="/main.json")
    for row in store.sweep(sets(1, 2), client=client):
        assert Path(row.result_file).with_name(store.load(row)["part"]).read_text() == str(row.n)
    assert store.check().ok
