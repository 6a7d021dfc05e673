"""`stream(generator, in_flight=...)`: sets are asked for as there is room; the generator sees what came."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contract.models import PATIENCE, CountingRunner, write_params
from contract.outcome_models import Training, train
from entropic import ParameterError, ReadOnlyError, RunsFailedWarning, Store

OpenStore = Callable[..., Store[Any]]


def one(n: int) -> dict[str, Any]:
    return {"n": n, "dt": 0.5}


def bisect() -> Generator[Any, list[Any], None]:
    """Look for the rate of an accuracy of 0.3: each set depends on the row before."""
    low, high = 0.0, 1.0
    while high - low > 0.01:
        (row,) = yield {"rate": (low + high) / 2}
        low, high = (row.rate, high) if row.accuracy > 0.3 else (low, row.rate)


@pytest.mark.parametrize("options", [{}, pytest.param({"workers": 1}, marks=pytest.mark.slow)], ids=["here", "workers"])
def test_each_set_may_depend_on_the_row_before(open_store: OpenStore, options: dict[str, Any]) -> None:
    store = open_store(train, Training)
    rates = [row.rate for row in store.stream(bisect(), in_flight=1, **options)]
    assert rates[:3] == [0.5, 0.75, 0.625]
    assert rates[-1] == pytest.approx(0.7, abs=0.01)
    assert [row.rate for row in store.stream(bisect(), in_flight=1)] == rates  # all of them hits
    assert store.check().ok


def test_no_more_sets_are_asked_for_than_may_be_in_flight(open_store: OpenStore, runner: CountingRunner) -> None:
    asked = []

    def endless() -> Iterator[dict[str, Any]]:
        for n in itertools.count():
            asked.append(n)
            yield one(n)

    with_room = open_store(runner).stream(endless(), in_flight=3)
    assert asked == []
    for came, _ in enumerate(itertools.islice(with_room, 10)):
        assert len(asked) - came <= 3
    with_room.close()
    assert len(asked) <= 13
    assert len(runner.calls) <= len(asked)


def test_several_are_in_flight_at_once(open_store: OpenStore, tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=PATIENCE)

    def run(params: dict[str, Any]) -> None:
        together.wait()
        write_params(params)

    with ThreadPoolExecutor(3) as pool:
        rows = list(open_store(run).stream(map(one, range(6)), pool, in_flight=3))
    assert sorted(row.n for row in rows) == list(range(6))


def test_a_generator_is_sent_the_rows_that_came_since(open_store: OpenStore) -> None:
    sent: list[list[int]] = []

    def four() -> Generator[Any, list[Any], None]:
        for n in range(4):
            sent.append([row.n for row in (yield one(n))])

    assert len(list(open_store().stream(four(), in_flight=1))) == 4
    assert sent == [[0], [1], [2], [3]]
    sent.clear()
    assert len(list(open_store().stream(four(), in_flight=3))) == 4
    assert len(sent) == 4
    assert len(set(itertools.chain(*sent))) == len(list(itertools.chain(*sent))) <= 4


def test_rows_reach_a_generator_around_a_plain_iterator(open_store: OpenStore) -> None:
    sent: list[int] = []

    def around() -> Generator[Any, list[Any], None]:
        yield from map(one, range(3))
        sent.extend(row.n for row in (yield one(3)))

    assert len(list(open_store().stream(around(), in_flight=1))) == 4
    assert sent == [0, 1, 2, 3]


def test_one_that_yields_none_waits_for_a_row(open_store: OpenStore) -> None:
    def rounds() -> Generator[Any, list[Any], None]:
        for number in range(3):
            for n in range(2):
                came = yield one(10 * number + n)
            while len(came) < 2:
                came += yield None

    rows = list(open_store().stream(rounds(), in_flight=8))
    assert {row.n for row in rows} == {0, 1, 10, 11, 20, 21}


def test_one_that_waits_for_nothing_is_told(open_store: OpenStore) -> None:
    def waits() -> Generator[Any, list[Any], None]:
        yield None

    with pytest.raises(ParameterError, match="nothing is under way"):
        list(open_store().stream(waits(), in_flight=2))


def test_a_set_that_is_named_again_comes_again_and_does_not_run(open_store: OpenStore, runner: CountingRunner) -> None:
    rows = list(open_store().stream(iter([one(1), one(2), one(1), one(1)]), in_flight=1))
    assert [row.n for row in rows] == [1, 2, 1, 1]
    assert runner.ns == [1, 2]
    rows = list(open_store().stream(iter([one(3), one(3), one(4)]), in_flight=3))
    assert sorted(row.n for row in rows)[-1] == 4
    assert sorted(runner.ns) == [1, 2, 3, 4]


def test_lists_objects_and_rows_are_taken_too(open_store: OpenStore, runner: CountingRunner) -> None:
    @dataclass
    class Setup:
        n: int
        dt: float = 0.5

    store = open_store()
    row = store.run(one(1))
    assert [found.n for found in store.stream([row, Setup(2), one(3)], in_flight=1)] == [1, 2, 3]


def refuse_odd(params: dict[str, Any]) -> None:
    if params["n"] % 2:
        raise ValueError("odd")
    write_params(params)


def test_a_failure_ends_the_search_or_is_left_out(open_store: OpenStore) -> None:
    store = open_store(refuse_odd)
    with pytest.raises(ValueError, match="odd"):
        list(store.stream(map(one, range(4)), in_flight=1))
    with pytest.warns(RunsFailedWarning, match="2 of 4 sets"):
        rows = list(store.stream(map(one, range(4)), in_flight=1, on_error="continue"))
    assert [row.n for row in rows] == [0, 2]
    rows = list(store.stream(map(one, range(4)), in_flight=2, retry_failed=False))
    assert sorted(row.n for row in rows) == [0, 2]
    assert store.check().ok


def test_what_the_generator_raises_comes_out_and_nothing_is_left_claimed(open_store: OpenStore) -> None:
    ended = []

    def breaks() -> Iterator[dict[str, Any]]:
        try:
            yield one(1)
            raise ZeroDivisionError("in the search")
        finally:
            ended.append(True)

    store = open_store()
    with pytest.raises(ZeroDivisionError, match="in the search"):
        list(store.stream(breaks(), in_flight=1))
    assert ended == [True]
    assert store.check().ok
    assert store.retrieve(one(1)) is not None


def test_closing_the_stream_closes_the_generator(open_store: OpenStore) -> None:
    ended = []

    def endless() -> Iterator[dict[str, Any]]:
        try:
            yield from map(one, itertools.count())
        finally:
            ended.append(True)

    stream = open_store().stream(endless(), in_flight=2)
    next(stream)
    stream.close()
    assert ended == [True]
    assert open_store().check().ok


def test_two_searches_share_the_work(open_store: OpenStore, runner: CountingRunner) -> None:
    def search(_: int) -> list[int]:
        return [row.n for row in open_store().stream(map(one, range(8)), in_flight=2)]

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(search, range(2)):
            assert sorted(found) == list(range(8))
    assert sorted(runner.ns) == list(range(8))


@pytest.mark.parametrize("in_flight", [0, -1, 1.5, True, "2"])
def test_what_is_no_number_of_sets_is_refused(store: Store[Any], in_flight: Any) -> None:
    with pytest.raises(ParameterError, match="in_flight is a number"):
        store.stream([one(1)], in_flight=in_flight)


def test_sets_that_do_not_fit_are_refused_when_they_are_named(store: Store[Any]) -> None:
    stream = store.stream(iter([one(1), {"m": 1}]), in_flight=1)
    assert next(stream).n == 1
    with pytest.raises(ParameterError, match="no column 'm'"):
        next(stream)
    with pytest.raises(ParameterError, match="a sweep takes several sets"):
        store.stream(one(1), in_flight=1)  # type: ignore[arg-type]


def test_a_store_that_is_read_only_serves_what_is_there(open_store: OpenStore) -> None:
    open_store().sweep([one(1), one(2)])
    looking = open_store(read_only=True)
    assert [row.n for row in looking.stream(iter([one(1), one(2)]), in_flight=1)] == [1, 2]
    with pytest.raises(ReadOnlyError):
        list(looking.stream(iter([one(3)]), in_flight=1))


def test_a_lost_result_is_said_and_runs_again(open_store: OpenStore, runner: CountingRunner) -> None:
    store = open_store()
    Path(store.run(one(1)).result_file).unlink()
    with pytest.warns(match="is gone"):
        assert [row.n for row in store.stream(iter([one(1)]), in_flight=1)] == [1]
    assert runner.ns == [1, 1]
