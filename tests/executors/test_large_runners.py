"""A runner that weighs a lot is read once by each process of a pool, and nothing of it is left."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract.models import ActingRunner, wait_until
from entropic import FellBackWarning
from executors import acts

pytestmark = pytest.mark.slow  # to start pools takes a second


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


class Heavy(ActingRunner):
    """Says where it is unpickled."""

    def __init__(self, log: Path, loads: Path) -> None:
        super().__init__(log, {})
        self.weight, self.loads = os.urandom(1_000_000), loads

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        acts.append(self.loads, str(os.getpid()))


@pytest.fixture(params=["spawn", "fork", "loky"])
def pool(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "loky":
        made = pytest.importorskip("loky").ProcessPoolExecutor(2)
        yield made
        made.shutdown(wait=True, kill_workers=True)
    else:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(request.param)) as made:
            yield made


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks beside threads
def test_a_large_runner_is_read_once_by_each_process(open_store, pool, log, tmp_path):
    store = open_store(run=Heavy(log, tmp_path / "loads"))
    assert len(store.sweep(sets(*range(200)), pool)) == 200
    pids = {line.split()[0] for line in acts.lines(log)}
    assert sorted(acts.lines(tmp_path / "loads")) == sorted(pids)
    assert str(os.getpid()) not in pids
    assert not list((tmp_path / "results").rglob("runner.pickle"))
    assert store.check().ok


def test_one_that_somebody_has_changed_is_not_unpickled(open_store, log, tmp_path):
    """The results folder may be another's to write in."""
    loads = tmp_path / "loads"
    store = open_store(run=Heavy(log, loads))

    class Meddling(ProcessPoolExecutor):
        def submit(self, function: Any, /, *given: Any, **named: Any) -> Any:
            for path in (tmp_path / "results").rglob("runner.pickle"):
                path.write_bytes(path.read_bytes().replace(b"weight", b"wEight"))
            return super().submit(function, *given, **named)

    told = pytest.warns(FellBackWarning, match="is not what this sweep has put there")
    with Meddling(1, mp_context=multiprocessing.get_context("spawn")) as pool, told:
        assert len(store.sweep(sets(1, 2), pool)) == 2
        theirs = {str(pid) for pid in pool._processes}
    [pid] = {line.split()[0] for line in acts.lines(log)}
    assert acts.lines(loads) == [pid], "as it was sent to the process that runs what the pool does not"
    assert pid not in theirs
    wait_until(lambda: store.check().ok)
