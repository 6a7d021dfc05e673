"""`sweep` in this process, and `expand_grid`."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from contract.models import CountingRunner, SimResult, content, wait_until
from entropic import ParameterError, ResultLostWarning, Runs, expand_grid


def sets(*ns: int) -> list[dict[str, object]]:
    return [{"n": n, "dt": 0.5} for n in ns]


class Boom(Exception):
    pass


def fail_at(n: int, error: BaseException) -> CountingRunner:
    def during(params):
        if params["n"] == n:
            raise error

    return CountingRunner(during)


def test_every_set_is_run_and_comes_back_as_a_list_of_rows(store, runner):
    rows = store.sweep(sets(1, 2, 3))
    assert type(rows) is Runs
    assert isinstance(rows, list)
    assert [(type(row), row.n, content(row)["n"]) for row in rows] == [(SimResult, n, n) for n in (1, 2, 3)]
    assert sorted(runner.ns) == [1, 2, 3]


def test_the_rows_come_back_in_the_order_in_which_each_set_was_first_seen(store):
    store.run({"n": 7, "dt": 0.5})
    assert [row.n for row in store.sweep(sets(9, 7, 2, 9, 8, 2, 7))] == [9, 7, 2, 8]


def test_duplicates_run_once_however_they_are_spelled(store, runner):
    same = [{"n": 1, "dt": 0.3}, {"dt": 0.1 + 0.2, "n": 1}, {"n": 1, "dt": 0.3, "custom_data": {"a": 1}}]
    assert len(store.sweep(same)) == 1
    assert len(runner.calls) == 1


def test_cached_rows_are_reused_and_only_misses_run(store, runner):
    first = store.run({"n": 2, "dt": 0.5})
    rows = store.sweep(sets(1, 2, 3))
    assert sorted(runner.ns) == [1, 2, 3]
    assert rows[1].created_at == first.created_at
    store.sweep(sets(1, 2, 3))
    assert len(runner.calls) == 3


def test_what_a_sweep_ran_is_a_hit_for_every_other_call(store, runner):
    rows = store.sweep(sets(1, 2))
    assert store.retrieve(sets(1)[0]).result_file == rows[0].result_file
    assert store.run_or_retrieve(sets(2)[0]).created_at == rows[1].created_at
    assert len(runner.calls) == 2


def test_a_generator_is_consumed_once(store):
    seen = []

    def generate():
        for params in sets(1, 2, 3):
            seen.append(params["n"])
            yield params

    assert [row.n for row in store.sweep(generate())] == [1, 2, 3]
    assert seen == [1, 2, 3]


def test_the_sets_need_not_relate(store):
    zipped = ({"n": n, "dt": dt} for n, dt in zip([3, 1, 2], [0.1, 0.2, 0.3], strict=True))
    assert [(row.n, row.dt) for row in store.sweep(zipped)] == [(3, 0.1), (1, 0.2), (2, 0.3)]


def test_an_empty_sweep_is_an_empty_list(store, runner):
    assert store.sweep([]) == []
    assert store.sweep(iter(())) == []
    assert runner.calls == []


@pytest.mark.slow
def test_a_sweep_of_a_thousand_sets_comes_back_whole(store, runner):
    rows = store.sweep({"n": n, "dt": 0.5} for n in range(1000))
    assert [row.n for row in rows] == list(range(1000))
    assert len({row.result_file for row in rows}) == 1000
    assert [row.n for row in store.sweep({"n": n, "dt": 0.5} for n in reversed(range(1000)))] == [*range(999, -1, -1)]
    assert len(runner.calls) == 1000
    assert store.check().ok


def test_explicit_ids_count_in_a_sweep(store, runner):
    rows = store.sweep([{"n": 1, "dt": 0.5, "id": "a"}, {"n": 1, "dt": 0.5, "id": "b"}, {"n": 1, "dt": 0.5, "id": "a"}])
    assert [row.id for row in rows] == ["a", "b"]
    assert len(runner.calls) == 2


def test_the_dicts_given_are_untouched(open_store):
    def run(params):
        Path(params["result_file"]).write_text("x")
        params.clear()

    given = sets(1, 2)
    assert [row.n for row in open_store(run=run).sweep(given)] == [1, 2]
    assert given == sets(1, 2)


@pytest.mark.each
@pytest.mark.parametrize("bad", [{"n": 3}, {"n": 3, "dt": 0.5, "m": 1}, {"n": "3", "dt": 0.5}, {3: 1}, None, "n=3"])
def test_every_set_is_checked_before_the_first_one_runs(store, runner, bad):
    with pytest.raises(ParameterError):
        store.sweep([*sets(1, 2), bad])
    assert runner.calls == []
    assert store.retrieve(sets(1)[0]) is None


def test_an_iterable_that_fails_is_read_to_the_end_before_the_first_set_runs(store, runner):
    def generate():
        yield from sets(1, 2)
        raise Boom("the sampler broke")

    with pytest.raises(Boom, match="the sampler broke"):
        store.sweep(generate())
    assert runner.calls == []


def test_a_grid_given_in_place_of_its_expansion_is_refused(store, runner):
    with pytest.raises(ParameterError):
        store.sweep({"n": [1, 2], "dt": [0.5]})
    assert runner.calls == []


@pytest.mark.parametrize("error", [Boom("no convergence"), KeyboardInterrupt(), SystemExit(1)])
def test_what_has_finished_stays_finished_when_a_set_raises(open_store, runner, error):
    with pytest.raises(type(error)) as caught:
        open_store(run=fail_at(3, error)).sweep(sets(1, 2, 3, 4))
    assert caught.value is error
    store = open_store()
    assert [store.retrieve(params) is not None for params in sets(1, 2, 3)] == [True, True, False]
    assert content(store.retrieve(sets(2)[0]))["n"] == 2
    assert [row.n for row in store.sweep(sets(1, 2, 3, 4))] == [1, 2, 3, 4]
    assert not {1, 2} & set(runner.ns)
    assert store.check().ok


def test_an_exception_out_of_a_sweep_says_which_params_it_was(open_store):
    with pytest.raises(Boom) as caught:
        open_store(run=fail_at(4711, Boom("no convergence"))).sweep(sets(1, 4711))
    assert "4711" in "\n".join(caught.value.__notes__)


def test_a_runner_that_writes_nothing_for_one_set_is_an_error_that_keeps_the_others(open_store):
    def run(params):
        if params["n"] != 2:
            Path(params["result_file"]).write_text("x")

    store = open_store(run=run)
    with pytest.raises(FileNotFoundError):
        store.sweep(sets(1, 2))
    assert store.retrieve(sets(1)[0]).n == 1
    assert store.retrieve(sets(2)[0]) is None


@pytest.mark.slow
def test_others_see_what_is_finished_while_a_sweep_goes_on(open_store, place):
    def visible() -> int:
        ((count,),) = place.fetch("select count(*) from sim_results")
        return count

    def during(params):
        if params["n"] == 3:
            wait_until(lambda: visible() == 2, seconds=5)

    assert len(open_store(run=CountingRunner(during)).sweep(sets(1, 2, 3))) == 3


def test_a_runner_in_a_sweep_may_call_the_store(open_store):
    def during(params):
        if params["n"] > 0:
            store.run_or_retrieve({**params, "n": params["n"] - 1, "id": None} | {"id": f"n{params['n'] - 1}"})

    runner = CountingRunner(during)
    store = open_store(run=runner)
    rows = store.sweep({"n": n, "dt": 0.5, "id": f"n{n}"} for n in (3, 2, 1, 0))
    assert [row.n for row in rows] == [3, 2, 1, 0]
    assert sorted(runner.ns) == [0, 1, 2, 3]


def test_a_set_whose_file_is_gone_is_run_again_with_a_warning(store, runner):
    rows = store.sweep(sets(1, 2, 3))
    Path(rows[1].result_file).unlink()
    with pytest.warns(ResultLostWarning, match=rows[1].id):
        again = store.sweep(sets(1, 2, 3))
    assert runner.ns[3:] == [2]
    assert content(again[1])["n"] == 2
    assert again[0].created_at == rows[0].created_at


def test_a_grid_expands_to_the_full_product_in_the_order_of_itertools():
    grid = {"b": [1, 2, 3], "a": ["x", "y"], "c": [0.5]}
    expected = [{"b": b, "a": a, "c": c} for b, a, c in itertools.product([1, 2, 3], ["x", "y"], [0.5])]
    expanded = expand_grid(grid)
    assert expanded == expected
    assert type(expanded) is list
    assert [list(params) for params in expanded] == [["b", "a", "c"]] * 6


def test_the_product_of_nothing_is_one_empty_set_and_of_an_empty_list_is_none():
    assert expand_grid({}) == [{}]
    assert expand_grid({"a": [1, 2], "b": []}) == []


def test_the_expanded_sets_are_dicts_of_their_own_and_the_grid_is_untouched():
    grid = {"a": [1, 2], "b": [3]}
    first, second = expand_grid(grid)
    first["b"] = 99
    assert (second["b"], grid) == (3, {"a": [1, 2], "b": [3]})


def test_a_grid_can_be_fed_straight_to_a_sweep(store):
    rows = store.sweep(expand_grid({"n": [1, 2], "dt": [0.1, 0.2]}))
    assert [(row.n, row.dt) for row in rows] == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]
