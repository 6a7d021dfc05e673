"""Of a runner object, what it was made with counts as code, and what its runs leave in it does not."""

import functools
import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from entropic.provenance.code import code_of


class Cached:
    """A runner with a cache, a counter, a log, and a place in a sequence."""

    def __init__(self, scale=1.0, table=(1, 2)):
        self.scale, self.table = scale, list(table)
        self.cache, self.seen, self.order = {}, [], deque()
        self.calls, self.last, self.heap = 0, None, []
        self.names = itertools.count()

    def __call__(self, params):
        self.calls += 1
        self.last = params
        self.cache[params["n"]] = next(self.names)
        seen = self.seen
        seen.append(params["n"])
        self._note(params["n"])
        heapq.heappush(self.heap, params["n"])
        return params["n"] * self.scale * len(self.table)

    def _note(self, n):
        self.order.appendleft(n)


class Slotted:
    """One without a `__dict__`, and with a private name."""

    __slots__ = ("__calls", "later", "scale")

    def __init__(self, scale=1.0):
        self.scale, self.__calls = scale, 0

    def __call__(self, params):
        self.__calls += 1
        self.later = params
        return params["n"] * self.scale


@dataclass
class Configured:
    """A dataclass, which sets what it keeps by the name."""

    scale: float = 1.0
    tries: list = field(default_factory=list)

    def __call__(self, params):
        object.__setattr__(self, "tries", [*self.tries, params["n"]])
        return params["n"] * self.factor

    @functools.cached_property
    def factor(self):
        return 2 * self.scale


class Derived(Cached):
    """One whose state is changed by the class that it comes from."""


class Solver:
    """A part of a runner."""

    def __init__(self, scale=1.0):
        self.scale, self.steps = scale, 0

    def solve(self, n):
        self.steps += 1
        return n * self.scale


class Composed:
    """A runner that leaves the work to a part of it."""

    def __init__(self, scale=1.0):
        self.solver = Solver(scale)

    def __call__(self, params):
        return self.solver.solve(params["n"])


class Trained:
    """A runner whose bound method runs."""

    def __init__(self, scale=1.0):
        self.scale, self.history = SimpleNamespace(it=scale).it, []

    def set_scale(self, scale):
        self.scale = scale

    def run(self, params):
        (self.history, self.current) = [*self.history, params], params
        return params["n"] * self.scale


KINDS = [Cached, Slotted, Configured, Derived, Composed]


def number(runner):
    return code_of(runner).number


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_leave_in_an_object_is_no_other_code(kind):
    runner = kind()
    before = number(runner)
    for n in range(3):
        runner({"n": n})
    assert number(runner) == before == number(kind())


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_object_was_made_with_is_code(kind):
    runner = kind(2.0)
    runner({"n": 1})
    assert number(runner) != number(kind(1.0))


def test_the_object_of_a_bound_method_counts_in_the_same_way():
    runner = Trained()
    before = number(runner.run)
    runner.run({"n": 1})
    assert number(runner.run) == before
    assert number(Trained(2.0).run) != before
    runner.set_scale(2.0)  # which is no part of a run
    assert number(runner.run) == number(Trained(2.0).run) != before


def test_a_table_that_nobody_changes_counts_by_its_content():
    assert number(Cached(table=(1, 2))) != number(Cached(table=(1, 3)))


def test_of_the_diff_each_attribute_is_a_line():
    (state,) = (part for part in code_of(Slotted(3.0)).parts if part.name == "state")
    assert state.text == "scale = 3.0\n"


def test_a_store_that_is_opened_again_with_a_used_runner_has_no_stale_rows(open_store):
    runner = Cached()
    open_store(runner, on_stale="error").sweep([{"n": n, "dt": 0.5} for n in range(3)])
    again = open_store(runner, on_stale="error")
    assert len(again.sweep([{"n": n, "dt": 0.5} for n in range(4)])) == 4
    assert not again.stale()
    assert runner.calls == 4


def test_objects_that_hold_each_other_come_to_an_end():
    runner = Composed()
    runner.solver.owner = runner
    assert number(runner) == number(runner)


class Falling:
    """Adds to what it was made with under other names, and changes only copies of it."""

    def __init__(self, start=0.0, values=(1,), log=()):
        self.start, self.values, self.log = start, list(values), list(log)

    def __call__(self, params):
        time = self.start
        values = self.values
        log = self.log
        time += 0.5
        values = list(values)
        values[0] += 1
        log += [time]
        return time


def test_what_a_number_was_counts_though_it_is_added_to_under_another_name():
    assert code_of(Falling()).number != code_of(Falling(start=100.0)).number
    assert code_of(Falling()).number != code_of(Falling(values=(2,))).number
    assert code_of(Falling()).number == code_of(Falling(log=(1.0,))).number, "a list is changed by it"
