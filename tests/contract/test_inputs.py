"""What a run has read of stores is recorded with its row, and a row is stale if that has changed since."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import json
import sqlite3
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contract.added_models import changing_in
from contract.models import OtherResult
from entropic import (
    Base,
    Mapped,
    ParameterError,
    StaleError,
    StaleWarning,
    Store,
    removed,
    renamed,
    retyped,
)


class ThirdResult(Base):
    __tablename__ = "third_results"

    n: Mapped[int]
    dt: Mapped[float]


ONE, TWO, THREE = ({"n": n, "dt": 0.5} for n in (1, 2, 3))


def made(scale: float) -> Any:
    """Return a runner that differs from others in what it holds."""
    return lambda params: params["n"] * scale


def reading(first: Store[Any]) -> Any:
    """Return a runner that goes on from a result of another store."""
    return lambda params: first.load(first.run_or_retrieve({"n": params["n"], "dt": params["dt"]})) + 100


@pytest.fixture(autouse=True)
def all_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(autouse=True)
def no_store_of_before(database_kind):
    """A server's databases are used again, so a store that the collector has not met yet would be one of another."""
    if database_kind != "sqlite":
        gc.collect()


@pytest.fixture
def first(open_store):
    """A store that others read."""
    return open_store(made(1.0))


@pytest.fixture
def open_second(open_store, first):
    """Open a store whose runs read the first one."""

    def open_it(run: Any = None, **options: Any) -> Store[Any]:
        return open_store(run or reading(first), OtherResult, **options)

    return open_it


def test_results_that_are_recorded_together_keep_what_each_has_read(store, place):
    ledger = store._context.ledger
    origins = {"long": (None, 7, 0.5, 1024, None), "reads": (None, 7, None, None, 2), "short": (None, 7) + (None,) * 3}

    def work(connection: Any) -> bool:
        attempts = ledger.claim_first_many(connection, {id: f"{id}.json" for id in origins}, "owner")
        results = [(id, attempts[id], 10, 20, False, 30, later) for id, later in origins.items()]
        return ledger.publish_many(connection, results)

    assert store._context.database.transact(work)
    recorded = place.fetch("SELECT id, environment, code, cpu_seconds, peak_memory, inputs FROM entropic_ledger")
    assert {id: tuple(later) for id, *later in recorded} == origins


def named(store: Store[Any], params: Any) -> list[tuple[str, str, str]]:
    return [(one.model, one.id, one.now) for one in store.inputs(params)]


# ---- which reads count -----------------------------------------------------------------------------------------------
WAYS = {
    "run_or_retrieve": lambda store, rows: store.run_or_retrieve(ONE),
    "run": lambda store, rows: store.run(ONE),
    "retrieve": lambda store, rows: store.retrieve(ONE),
    "load": lambda store, rows: store.load(ONE),
    "load of a row of before": lambda store, rows: store.load(rows[0]),
    "load of rows of before": lambda store, rows: list(rows.load()),
    "to_xarray of rows of before": lambda store, rows: rows.to_xarray(),
    "select": lambda store, rows: store.select(n=1),
    "iterate": lambda store, rows: list(store.iterate(n=1)),
    "to_pandas": lambda store, rows: store.to_pandas(n=1),
    "sweep": lambda store, rows: store.sweep([ONE]),
    "stream": lambda store, rows: list(store.stream([ONE])),
}


@pytest.mark.slow
def test_rows_of_before_are_those_of_the_store_that_has_their_results(open_second, first, open_store, tmp_path):
    other = open_store(results_dir=tmp_path / "others", db_url=f"sqlite:///{tmp_path / 'others.sqlite3'}")
    first.run_or_retrieve(ONE)
    rows = first.select(n=1)
    second = open_second(lambda params: list(rows.load()) is None)
    row = second.run_or_retrieve(ONE)
    assert named(second, row) == [("sim_results", rows[0].id, "same")]
    assert other.check().ok, "another store of this model is open here"


@pytest.mark.slow
@pytest.mark.each("way")
@pytest.mark.parametrize("way", WAYS)
def test_all_that_hands_out_rows_or_results_counts(open_second, first, way):
    first.sweep([ONE, TWO])
    rows = first.select(n=1)
    second = open_second(lambda params: WAYS[way](first, rows) is None)
    row = second.run_or_retrieve(ONE)
    key = first.retrieve(ONE).id
    assert named(second, row) == [("sim_results", key, "same")]
    assert [(one.model, one.id) for one in first.dependants(ONE)] == [("other_results", row.id)]
    assert first.dependants(TWO) == []


def test_what_only_tells_of_a_store_does_not_count(open_second, first):
    first.sweep([ONE, TWO])

    def run(params):
        first.plan([ONE]), first.status(), first.explain(ONE), first.failures(), first.check()
        return 1

    second = open_second(run)
    assert second.inputs(second.run_or_retrieve(ONE)) == []


@pytest.mark.slow
def test_what_runs_within_a_run_has_inputs_of_its_own(open_second, open_store, first):
    second = open_second()
    outer = open_store(lambda params: second.load(second.run_or_retrieve(params_of(params))), ThirdResult)
    row = outer.run_or_retrieve(ONE)
    assert [one.model for one in outer.inputs(row)] == ["other_results"]
    assert [one.model for one in second.inputs(ONE)] == ["sim_results"]
    assert first.inputs(ONE) == []


def params_of(params: dict[str, Any]) -> dict[str, Any]:
    return {"n": params["n"], "dt": params["dt"]}


def test_threads_that_a_runner_starts_read_for_it(open_second, first):
    first.run_or_retrieve(ONE)

    def run(params):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(first.load, ONE).result()

    second = open_second(run)
    second.run_or_retrieve(ONE)
    assert [one.model for one in second.inputs(ONE)] == ["sim_results"]


@pytest.mark.slow
def test_a_thread_that_a_run_has_left_reads_for_the_next_one(open_second, first):
    first.sweep([ONE, TWO])
    with ThreadPoolExecutor(1) as pool:
        second = open_second(lambda params: pool.submit(first.load, params_of(params)).result())
        second.run_or_retrieve(ONE)
        second.run_or_retrieve(TWO)
    for one in (ONE, TWO):
        assert [read.id for read in second.inputs(one)] == [first.retrieve(one).id]


@pytest.mark.slow
def test_a_task_that_a_run_has_left_in_a_loop_reads_for_the_next_one(open_second, first):
    first.sweep([ONE, TWO])
    loop = asyncio.new_event_loop()
    asked: Any = asyncio.Queue()
    tasks = []

    async def answer() -> None:
        while True:
            params, answered = await asked.get()
            answered.set_result(first.load(params))

    async def ask(params: dict[str, Any]) -> Any:
        if not tasks:  # with the context of the first run
            tasks.append(loop.create_task(answer()))
        answered = loop.create_future()
        await asked.put((params, answered))
        return await answered

    def run(params: dict[str, Any]) -> Any:
        if not threads:
            threads.append(threading.Thread(target=loop.run_forever))
            threads[0].start()
        return asyncio.run_coroutine_threadsafe(ask(params_of(params)), loop).result()

    async def stop() -> None:
        tasks[0].cancel()
        loop.call_soon(loop.stop)

    threads: list[threading.Thread] = []
    second = open_second(run)
    second.run_or_retrieve(ONE)
    second.run_or_retrieve(TWO)
    asyncio.run_coroutine_threadsafe(stop(), loop)
    threads[0].join()
    loop.close()
    for one in (ONE, TWO):
        assert [read.id for read in second.inputs(one)] == [first.retrieve(one).id]


@pytest.mark.slow
@pytest.mark.parametrize("who", ["the main thread", "a thread of before"])
def test_what_a_thread_reads_that_works_for_nobodys_run_is_no_input_of_it(open_second, first, who):
    first.sweep([ONE, TWO])
    begun, read = threading.Event(), threading.Event()

    def run(params):
        begun.set()
        assert read.wait(90)
        return first.load(params_of(params))

    second = open_second(run)
    with ThreadPoolExecutor(1) as runs, ThreadPoolExecutor(1) as others:
        others.submit(first.load, TWO).result()
        done = runs.submit(second.run_or_retrieve, ONE)
        assert begun.wait(90)
        first.load(TWO) if who == "the main thread" else others.submit(first.load, TWO).result()
        read.set()
        done.result()
    assert [one.id for one in second.inputs(ONE)] == [first.retrieve(ONE).id]


def test_a_thread_of_before_to_which_a_runner_gives_its_context_reads_for_it(open_second, first):
    first.run_or_retrieve(ONE)
    with ThreadPoolExecutor(1) as others:
        others.submit(first.load, ONE).result()
        second = open_second(
            lambda params: others.submit(contextvars.copy_context().run, first.load, params_of(params)).result()
        )
        second.run_or_retrieve(ONE)
    assert [one.model for one in second.inputs(ONE)] == ["sim_results"]


@pytest.mark.slow
def test_runs_of_several_threads_are_told_apart(open_second, first):
    first.sweep([ONE, TWO])
    both = threading.Barrier(2, timeout=90)

    def run(params):
        both.wait()
        return first.load(params_of(params))

    second = open_second(run)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(second.run_or_retrieve, [ONE, TWO]))
    for one in (ONE, TWO):
        assert [read.id for read in second.inputs(one)] == [first.retrieve(one).id]


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("how", ["workers", "pool", "dask"])
def test_runs_elsewhere_bring_home_what_they_have_read(open_second, first, how, request):
    second = open_second()
    if how == "workers":
        second.sweep([ONE, TWO], workers=2)
    elif how == "pool":
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            second.sweep([ONE, TWO], pool)
    else:
        from distributed import Client

        with Client(request.getfixturevalue("cluster")) as client:
            second.sweep([ONE, TWO], client)
    for one in (ONE, TWO):
        assert named(second, one) == [("sim_results", first.retrieve(one).id, "same")]
    first.run(ONE)
    assert [row.n for row in second.stale()] == [1]


def test_the_earlier_result_of_a_run_is_no_input_of_it(open_store):
    store: Any = open_store(lambda params: (store.retrieve({"id": params["id"]}), 1)[1])
    store.run_or_retrieve(ONE)
    assert store.inputs(store.run(ONE)) == []


@pytest.mark.slow
def test_a_failed_run_leaves_nothing_to_the_next(open_second, first):
    first.sweep([ONE, TWO])
    tries = []

    def run(params):
        tries.append(1)
        first.load(ONE if len(tries) == 1 else TWO)
        if len(tries) == 1:
            raise ValueError("not yet")
        return 1

    second = open_second(run)
    with pytest.raises(ValueError, match="not yet"):
        second.run_or_retrieve(ONE)
    second.run_or_retrieve(ONE)
    assert [one.id for one in second.inputs(ONE)] == [first.retrieve(TWO).id]


@pytest.mark.slow
def test_outside_of_runs_nothing_is_noted(open_second, first, monkeypatch):
    second = open_second()
    second.sweep([ONE, TWO])
    monkeypatch.setattr("entropic.protocol.note_inputs.note", lambda *_: pytest.fail("noted"))
    for store in (first, second):
        store.run_or_retrieve(ONE)
        store.sweep([ONE, TWO])
        list(store.select().load())
        store.load(ONE)


@pytest.mark.slow
def test_a_finished_run_that_another_call_records_has_its_inputs(open_second, first, monkeypatch):
    second = open_second()
    with monkeypatch.context() as patch:
        patch.setattr("entropic.db.inputs.Inputs.write", lambda *_: (_ for _ in ()).throw(ValueError("lost")))
        with pytest.raises(Exception, match="lost"):
            second.run_or_retrieve(ONE)
    refusing = open_second(lambda params: pytest.fail("ran again"), on_stale="ignore")
    assert refusing.run_or_retrieve(ONE).n == 1
    assert named(second, ONE) == [("sim_results", first.retrieve(ONE).id, "same")]
    assert second.check().ok


# ---- what becomes of the rows ----------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_replaced_input_makes_its_dependants_stale(open_second, first):
    second = open_second()
    second.sweep([ONE, TWO])
    first.run(ONE)
    assert [row.n for row in second.stale()] == [1]
    assert second.status().stale == 1
    plan = second.plan([ONE, TWO, THREE])
    assert (plan.stale, plan.stored) == ([ONE], [ONE, TWO])
    told = second.explain(ONE)
    assert told.hit
    assert f"sim_results {first.retrieve(ONE).id}, which it has read, was made again" in told.reason
    assert [one.now for one in second.inputs(ONE)] == ["replaced"]
    with pytest.warns(StaleWarning, match="made from inputs that have changed since: sim_results"):
        second.run_or_retrieve(ONE)
    with pytest.warns(StaleWarning, match="the stored result [0-9a-f]{16} of OtherResult was made from") as said:
        second.sweep([ONE, TWO])
    assert len(said) == 1


@pytest.mark.slow
def test_stale_dependants_run_again_once_if_asked(open_second, first):
    open_second().sweep([ONE, TWO])
    first.run(ONE)
    second = open_second(on_stale="rerun")
    before = second.retrieve(ONE).created_at
    with pytest.warns(StaleWarning, match="It runs again"):
        assert second.run_or_retrieve(ONE).created_at > before
    first.run(TWO)
    with pytest.warns(StaleWarning, match="It runs again"):
        second.sweep([ONE, TWO])
    second.sweep([ONE, TWO])
    assert not second.stale()
    assert second.check().ok


@pytest.mark.slow
def test_stale_dependants_are_refused_or_served_if_asked(open_second, first):
    open_second().sweep([ONE, TWO])
    first.run(ONE)
    with pytest.raises(StaleError, match="made from inputs that have changed since"):
        open_second(on_stale="error").run_or_retrieve(ONE)
    with pytest.raises(StaleError, match="Nothing was run"):
        open_second(on_stale="error").sweep([ONE, TWO, THREE])
    assert open_second(on_stale="ignore").run_or_retrieve(ONE).n == 1


@pytest.mark.slow
def test_an_input_of_other_code_makes_its_dependants_stale(open_store, open_second, first):
    open_second().sweep([ONE, TWO])
    changed = open_store(made(2.0))
    second = open_second()
    assert [row.n for row in second.stale()] == [1, 2]
    assert "is stale: its code has changed" in second.explain(ONE).reason
    assert [one.now for one in second.inputs(ONE)] == ["stale"]
    changed.accept()
    assert not second.stale()


@pytest.mark.slow
def test_who_reads_a_stale_row_is_not_stale_for_it_again_and_again(open_store, open_second, first):
    open_second().run_or_retrieve(ONE)
    changed = open_store(made(2.0), on_stale="warn")
    second = open_second(reading(changed), on_stale="rerun", version="of now")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StaleWarning)
        row = second.run(ONE)
    assert second.run_or_retrieve(ONE).created_at == row.created_at
    changed.run(ONE)
    with pytest.warns(StaleWarning, match="was made again"):
        second.run_or_retrieve(ONE)


@pytest.mark.slow
def test_a_chain_is_stale_up_to_its_end_and_mended_from_its_beginning(open_store):
    links: list[Any] = []

    def run(params):
        return 0 if params["n"] == 0 else links[0].run_or_retrieve({"n": params["n"] - 1, "dt": 0.5}).n

    links.append(open_store(run, on_stale="rerun"))
    last = {"n": 12, "dt": 0.5}
    links[0].sweep([{"n": n, "dt": 0.5} for n in range(13)])
    links[0].run({"n": 0, "dt": 0.5})
    assert sorted(row.n for row in links[0].stale()) == list(range(1, 13))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StaleWarning)
        links[0].run_or_retrieve(last)
    assert not links[0].stale()


@pytest.mark.slow
def test_accepted_rows_count_as_made_from_what_is_there_now(open_second, first):
    second = open_second()
    second.sweep([ONE, TWO])
    first.sweep([ONE, TWO])
    first.run(ONE)
    first.run(TWO)
    assert second.accept(n=1) == 1
    assert [row.n for row in second.stale()] == [2]
    assert [one.now for one in second.inputs(ONE)] == ["same"]
    first.run(ONE)
    assert [row.n for row in second.stale()] == [1, 2]


@pytest.mark.slow
def test_an_input_that_is_gone_says_nothing(open_second, first):
    second = open_second()
    second.sweep([ONE])
    first.delete(ONE, remove_file=True)
    second.run_or_retrieve(ONE)
    assert [one.now for one in second.inputs(ONE)] == ["gone"]
    first.run_or_retrieve(ONE)
    assert [row.n for row in second.stale()] == [1]


def test_a_run_that_reads_nothing_any_more_has_no_inputs(open_second, first):
    open_second().run_or_retrieve(ONE)
    second = open_second(made(3.0))
    second.run(ONE)
    assert second.inputs(ONE) == []
    assert first.dependants(ONE) == []
    open_second().run(ONE)
    assert len(first.dependants(ONE)) == 1
    second.delete(ONE)
    assert first.dependants(ONE) == []
    with pytest.raises(ParameterError, match="no such row"):
        second.inputs(ONE)


@pytest.mark.slow
def test_inputs_of_another_database_are_known_while_its_store_is_open(open_second, open_store, tmp_path):
    other: Any = open_store(made(1.0), db_url=f"sqlite:///{tmp_path}/other.db", results_dir=tmp_path / "elsewhere")
    second = open_second(reading(other))
    second.run_or_retrieve(ONE)
    key = other.retrieve(ONE).id
    assert named(second, ONE) == [("sim_results", key, "same")]
    assert [one.model for one in other.dependants(ONE)] == ["other_results"]
    other.run(ONE)
    assert [row.n for row in second.stale()] == [1]
    del other
    again = open_second(made(1.0), version="other")
    again.accept()


@pytest.mark.slow
@pytest.mark.parametrize("change", ["renamed", "removed", "retyped"])
def test_a_row_whose_model_has_changed_is_the_one_that_was_read_in_another_database_too(
    open_store, open_second, tmp_path, change
):
    before = {"n": int, "step": int}
    now: Any = {
        "renamed": {"n": int, "dt": (int, renamed("step"))},
        "removed": {"n": int, "step": (int, removed(2))},
        "retyped": {"n": int, "step": (float, retyped(int))},
    }[change]
    where = {"results_dir": tmp_path / "elsewhere", "db_url": f"sqlite:///{tmp_path}/other.db"}
    table = f"read_and_{change}"
    stores: Any = [open_store(made(1.0), changing_in(table, **before), **where)]
    second = open_second(lambda params: stores[0].load(stores[0].run_or_retrieve({"n": params["n"], "step": 2})))
    row = second.run_or_retrieve(ONE)
    key = stores[0].retrieve({"n": 1, "step": 2}).id
    stores[:] = []
    gc.collect()
    stores.append(first := open_store(made(1.0), changing_in(table, **now), **where))
    assert named(second, ONE) == [(table, key, "same")]
    assert second.stale() == []
    params = {"renamed": {"n": 1, "dt": 2}, "removed": {"n": 1}, "retyped": {"n": 1, "step": 2.0}}[change]
    assert [one.id for one in first.dependants(params)] == [row.id]
    first.run(params)
    assert named(second, ONE) == [(table, key, "replaced")]
    assert [one.n for one in second.stale()] == [1]


# ---- where rows go, their inputs go ----------------------------------------------------------------------------------
@pytest.mark.slow
def test_copies_archives_merges_and_rebuilt_stores_know_them(open_second, first, place, tmp_path):
    second = open_second()
    second.sweep([ONE, TWO])
    wanted = named(second, ONE)
    url = f"sqlite:///{tmp_path}/copy.db"
    assert [(one.model, one.id) for one in second.copy_to(url).inputs(ONE)] == [one[:2] for one in wanted]
    second.archive(tmp_path / "kept")
    kept = Store(None, OtherResult, tmp_path / "kept/results", ".json", f"sqlite:///{tmp_path}/kept/db.sqlite3")
    assert [(one.model, one.id) for one in kept.inputs(ONE)] == [one[:2] for one in wanted]
    for files in ("copy", "leave"):
        where = {"results_dir": tmp_path / files, "db_url": f"sqlite:///{tmp_path}/by-{files}.db"}
        mine = open_second(**where)
        mine.merge(second, files)
        assert [(one.model, one.id) for one in mine.inputs(ONE)] == [one[:2] for one in wanted]
    for table in (OtherResult.__tablename__, "entropic_ledger", "entropic_inputs"):
        of_model = " WHERE model = 'other_results'" if table != OtherResult.__tablename__ else ""
        place.execute(f"DELETE FROM {table}{of_model}")
    rebuilt = open_second()
    rebuilt.rebuild()
    assert named(rebuilt, ONE) == wanted
    first.run(ONE)
    assert [row.n for row in rebuilt.stale()] == [1]


def test_a_sidecar_tells_of_inputs_as_a_later_version_and_of_nothing_else(tmp_path):
    from entropic.files import sidecar as sidecars
    from entropic.provenance.input import Input

    told = sidecars.Sidecar(
        *("m", "a", "k", "1-00000000", "o", {}, {}, "2026-01-01T00:00:00.000000"),
        *("e", ".json", 1, 1, False, False, False),
    )
    assert json.loads(sidecars.encode(told))["entropic"] == 1
    told.inputs = (Input("", "m", "b", "2026-01-01T00:00:00.000000"),)
    text = sidecars.encode(told)
    assert json.loads(text)["entropic"] == 2
    assert sidecars.decode(text).inputs == told.inputs


@pytest.mark.parametrize(
    "inputs",
    [
        [["", "m", "b", "yesterday", None]],
        [["../x", "m", "b", "2026-01-01T00:00:00.000000", None]],
        [["", 1, "b", "2026-01-01T00:00:00.000000", None]],
        [["", "m", "b", "2026-01-01T00:00:00.000000", "x"]],
        [[]],
        7,
    ],
)
def test_a_sidecar_with_inputs_that_entropic_does_not_write_is_unreadable(tmp_path, inputs):
    from entropic.files import sidecar as sidecars
    from entropic.support.names import key_of

    key, attempt = key_of("m", "a"), "1-00000000"
    owner = "host.00000000.1.1.1"
    made_ = sidecars.Sidecar(
        *("m", "a", key, attempt, owner, {}, {}, "2026-01-01T00:00:00.000000"),
        *(f"{owner}-1", ".json", 1, 1, False, False, False),
    )
    told = json.loads(sidecars.encode(made_))
    assert sidecars.flaw(sidecars.made_of(dict(told)), key, attempt) is None
    found = sidecars.made_of({**told, "entropic": 2, "inputs": inputs})
    assert not isinstance(found, sidecars.Sidecar) or sidecars.flaw(found, key, attempt) == "inputs"


def test_a_database_that_cannot_be_read_hides_nothing_else(open_store, open_second, first, tmp_path):
    row = open_second().run_or_retrieve(ONE)
    folder = tmp_path / "others"
    folder.mkdir()
    other = open_store(results_dir=folder / "results", db_url=f"sqlite:///{folder / 'db.sqlite3'}")
    with contextlib.closing(sqlite3.connect(folder / "db.sqlite3")) as base:
        base.execute("DROP TABLE entropic_inputs")
    assert [(one.model, one.id) for one in first.dependants(ONE)] == [("other_results", row.id)]
    del other


@pytest.mark.slow
def test_what_tells_of_other_code_is_not_forgotten_with_another_store_of_the_same_kind(open_store, open_second):
    def made(factor):
        return lambda params: {"x": params["n"] * factor}

    def reading(store):
        return lambda params: {"y": store.load(store.run_or_retrieve(ONE))["x"]}

    first = open_store(made(1.0))
    open_second(reading(first)).run_or_retrieve(ONE)
    changed = open_store(made(2.0))
    del first
    other = open_store(made(2.0))
    del other
    gc.collect()
    with pytest.raises(StaleError):
        open_second(reading(changed), on_stale="error").run_or_retrieve(ONE)
