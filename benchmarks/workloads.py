"""What is timed: each workload as one function that also proves that it did what its name says."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

from experiment import Params, parameter_sets, runs_done
from systems import Storing, open_system

LONG_ENOUGH = 0.2
"""Seconds that the passes of a read workload take together: one pass alone may be 2 ms."""

WARM = 20
"""Operations before the clock starts: connections, compiled statements, lazy imports."""

PROCESSES, PATIENCE = 8, 60.0
"""How many processes at once, and the seconds in which they must be there."""

ABSENT = 10_000_000
"""First number of the sets that are never stored beforehand."""


class Spent(NamedTuple):
    """What one operation took."""

    seconds: float  # by the clock on the wall
    cpu: float | None = None  # of this process; None where others take part


class WrongAnswer(Exception):
    """A system ran what it had stored, did not run what it lacked, or answered something else."""


@dataclass(frozen=True)
class Order:
    """What one worker is told to measure."""

    module: str  # of the system, in systems/
    workload: str
    folder: str
    count: int  # operations in one pass
    stored: int  # rows that are in the folder already
    seed: int


def fill(system: Storing, order: Order) -> Spent:
    """Store the rows that hits are drawn from; timed for nobody."""
    sets = parameter_sets(order.stored)
    return in_one_go(lambda: system.sweep(sets), system, sets)


def hit(system: Storing, order: Order) -> Spent:
    """One get of a stored set; the sets come in shuffled order, over all that is stored."""
    sets = parameter_sets(order.stored)
    random.Random(order.seed).shuffle(sets)
    draws = cycle(sets)

    def draw(count: int) -> tuple[Any, Params]:
        for params in islice(draws, count):
            answer = system.get(params)
        return answer, params

    before = runs_done()
    draw(WARM)
    spent, (answer, params) = in_passes(lambda: draw(order.count), order.count)
    expect(runs_done() == before, "a hit ran the experiment")
    expect(system.match([answer], [params]), "a hit gave another result")
    return spent


def retrieve_miss(system: Storing, order: Order) -> Spent:
    """One look for a set that is not stored, among many that are."""
    absent = cycle(parameter_sets(order.stored, first=ABSENT))

    def look(count: int) -> int:
        return sum(system.look(params) is not None for params in islice(absent, count))

    before = runs_done()
    look(WARM)
    spent, found = in_passes(lambda: look(order.count), order.count)
    expect(found == 0 and runs_done() == before, "a look found, or ran, what is not stored")
    return spent


def miss(system: Storing, order: Order) -> Spent:
    """One get of a set that is not stored: look, run, store."""
    for params in parameter_sets(WARM, first=ABSENT):
        system.get(params)
    sets = parameter_sets(order.count)
    return in_one_go(lambda: [system.get(params) for params in sets], system, sets)


def cached_sweep(system: Storing, order: Order) -> Spent:
    """A sweep over all that is stored."""
    sets = parameter_sets(order.stored)
    before = runs_done()
    system.sweep(sets[:WARM])
    spent, answers = in_passes(lambda: system.sweep(sets), order.stored)
    expect(runs_done() == before, "a cached sweep ran the experiment")
    expect(system.match(answers, sets), "a cached sweep gave other results")
    return spent


def new_sweep(system: Storing, order: Order) -> Spent:
    """A sweep of which nothing is stored."""
    system.sweep(parameter_sets(WARM, first=ABSENT))
    sets = parameter_sets(order.count)
    return in_one_go(lambda: system.sweep(sets), system, sets)


def eight_at_once(system: Storing, order: Order) -> Spent:
    """New runs in eight processes at the same time, in one store: each process gets sets of its own."""
    context = get_context("spawn")
    go, share = context.Barrier(PROCESSES + 1), max(1, order.count // PROCESSES)
    crowd = [context.Process(target=take_part, args=(order, number * share, share, go)) for number in range(PROCESSES)]
    for process in crowd:
        process.start()
    go.wait(PATIENCE)
    start = perf_counter()
    go.wait(PATIENCE)
    seconds = perf_counter() - start
    for process in crowd:
        process.join()
    expect(all(process.exitcode == 0 for process in crowd), "a process of eight failed")
    sets, before = parameter_sets(PROCESSES * share), runs_done()
    expect(system.match([system.get(params) for params in sets], sets), "eight processes left other results")
    expect(runs_done() == before, "a result of eight processes is lost")
    return Spent(seconds / (PROCESSES * share))


def take_part(order: Order, first: int, count: int, go: Any) -> None:
    """Be one of eight: open the store, wait for the others, and get."""
    system, sets = open_system(order.module, Path(order.folder)), parameter_sets(count, first)
    system.get(parameter_sets(1, first=ABSENT + first)[0])
    go.wait(PATIENCE)
    answers = [system.get(params) for params in sets]
    go.wait(PATIENCE)
    expect(system.match(answers, sets), "one of eight processes got other results")


def dask_sweep(system: Any, order: Order) -> Spent:
    """A sweep of new, short runs on a local Dask cluster of two processes."""
    from distributed import Client, LocalCluster  # only here: it is slow to import

    place = {"dashboard_address": ":0", "local_directory": order.folder}
    with LocalCluster(n_workers=2, threads_per_worker=1, **place) as cluster, Client(cluster) as client:
        system.sweep_on(client, parameter_sets(WARM, first=ABSENT))
        sets = parameter_sets(order.count)
        before = sum(client.run(runs_done).values())
        start = perf_counter()
        answers = system.sweep_on(client, sets)
        seconds = perf_counter() - start
        ran = sum(client.run(runs_done).values()) - before
    expect(ran == len(sets) and runs_done() == 0, f"{len(sets)} new sets made {ran} runs on the cluster")
    expect(system.match(answers, sets), "a sweep on Dask gave other results")
    return Spent(seconds / order.count)


def workers_sweep(system: Any, order: Order) -> Spent:
    """A sweep of new, short runs in two processes of this machine."""
    return beyond_the_start(system.sweep_in_workers, system, order)


def pool_sweep(system: Any, order: Order) -> Spent:
    """A sweep of new, short runs on a `ProcessPoolExecutor` of two."""

    def sweep(sets: list[Params]) -> list[Any]:
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            answers: list[Any] = system.sweep_in_pool(pool, sets)
        return answers

    return beyond_the_start(sweep, system, order)


def beyond_the_start(sweep: Callable[[list[Params]], list[Any]], system: Any, order: Order) -> Spent:
    """A run, without those that the processes take to start: the difference of a long sweep and a short one."""
    short, sets = parameter_sets(WARM, first=ABSENT), parameter_sets(WARM + order.count)
    start = perf_counter()
    sweep(short)
    middle = perf_counter()
    answers = sweep(sets)
    seconds = perf_counter() - middle - (middle - start)
    expect(runs_done() == 0, "a run was made in the process that sweeps")
    expect(system.match(answers, sets), "a sweep in processes gave other results")
    return Spent(seconds / order.count)


def in_passes(operation: Callable[[], Any], count: int) -> tuple[Spent, Any]:
    """One of `count` operations in a pass, the median of as many as are long enough, and what the last one gave."""
    times: list[float] = []
    used: list[float] = []
    while sum(times) < LONG_ENOUGH:
        answer = None  # what the pass before gave is freed outside the clock
        start, begun = perf_counter(), process_time()
        answer = operation()
        used.append(process_time() - begun)
        times.append(perf_counter() - start)
    return Spent(median(times) / count, median(used) / count), answer


def in_one_go(operation: Callable[[], list[Any]], system: Storing, sets: list[Params]) -> Spent:
    """One of `sets`, which are stored once: a median over parts would hide the checkpoints of the database."""
    before = runs_done()
    start, begun = perf_counter(), process_time()
    answers = operation()
    spent = Spent((perf_counter() - start) / len(sets), (process_time() - begun) / len(sets))
    ran = runs_done() - before
    expect(ran == len(sets), f"{len(sets)} new sets made {ran} runs")
    expect(system.match(answers, sets), "new runs gave other results")
    return spent


def expect(kept: bool, otherwise: str) -> None:
    if not kept:
        raise WrongAnswer(otherwise)
