"""What times and memory of known runs tell of others."""

import enum
import math
import random

import pytest

from entropic.sweep.forecast import FEWEST, Estimate, Forecast


def learned(sets, seconds):
    return Forecast(sets, [seconds(one) for one in sets])


def grid(**columns):
    found = [{}]
    for name, values in columns.items():
        found = [{**one, name: value} for one in found for value in values]
    return found


def test_powers_of_numbers_are_found():
    forecast = learned(grid(n=[10, 20, 50, 100], m=[1, 2, 4]), lambda one: 1e-3 * one["n"] ** 2 * one["m"] ** 0.5)
    assert forecast.value({"n": 1000, "m": 9}) == pytest.approx(3000, rel=0.02)


def test_what_grows_exponentially_is_found():
    forecast = learned(grid(depth=[1, 2, 3, 4, 5, 6, 7, 8, 9]), lambda one: 0.01 * 2 ** one["depth"])
    assert forecast.value({"depth": 14}) == pytest.approx(0.01 * 2**14, rel=0.05)


def test_each_name_has_a_factor_of_its_own():
    class Solver(enum.Enum):
        FAST = 1
        SLOW = 2

    factor = {"a": 1, "b": 10}
    forecast = learned(
        grid(method=["a", "b"], solver=list(Solver), exact=[True, False], n=[1, 2, 4]),
        lambda one: factor[one["method"]] * one["solver"].value * (3 if one["exact"] else 1) * one["n"],
    )
    assert forecast.value({"method": "b", "solver": Solver.SLOW, "exact": True, "n": 8}) == pytest.approx(480, rel=0.02)
    assert forecast.value({"method": "a", "solver": Solver.FAST, "exact": False, "n": 8}) == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize("values", [[-2.0, -1.0, 0.0, 1.0, 2.0], [0, 1, 2, 3, 4]])
def test_numbers_that_have_no_logarithm_count_as_they_are(values):
    forecast = learned(grid(x=values, y=[1, 2]), lambda one: math.exp(one["x"]))
    assert forecast.value({"x": 2.5, "y": 1}) == pytest.approx(math.exp(2.5), rel=0.05)


def test_a_number_that_may_be_missing_has_a_part_for_that():
    forecast = learned(
        grid(cut=[None, 1.0, 2.0, 4.0], y=[1, 2, 3]), lambda one: 50 if one["cut"] is None else one["cut"]
    )
    assert forecast.value({"cut": None, "y": 2}) == pytest.approx(50, rel=0.05)
    assert forecast.value({"cut": 8.0, "y": 2}) == pytest.approx(8, rel=0.2)


def test_the_sum_over_the_known_runs_is_right():
    draw = random.Random(1)
    sets = grid(n=range(1, 30))
    seconds = [one["n"] * math.exp(draw.gauss(0, 1)) for one in sets]
    found, unsaid = Forecast(sets, seconds).sum_of(sets)
    assert (found.value, unsaid) == (pytest.approx(sum(seconds)), 0)
    assert found.low < found.value < found.high


def test_the_range_holds_about_nine_runs_of_ten():
    draw = random.Random(2)
    inside = asked = 0
    for _ in range(40):
        sets = [{"n": draw.choice([1, 3, 10, 30]), "m": draw.choice("abc")} for _ in range(40)]
        forecast = learned(sets, lambda one: one["n"] * math.exp(draw.gauss(0, 0.4)))
        for _ in range(50):
            one = {"n": draw.choice([1, 3, 10, 30]), "m": draw.choice("abc")}
            found = forecast.of(one)
            inside += found.low <= one["n"] * math.exp(draw.gauss(0, 0.4)) <= found.high
            asked += 1
    assert 0.85 < inside / asked < 0.97  # the same at each run of this test


def test_the_range_is_wider_the_farther_a_set_is():
    draw = random.Random(3)
    forecast = learned(grid(n=[1, 2, 4, 8, 16], k=[1, 2, 3]), lambda one: one["n"] * math.exp(draw.gauss(0, 0.2)))
    widths = [found.high / found.low for n in (4, 100, 10**6) if (found := forecast.of({"n": n, "k": 2}))]
    assert widths == sorted(widths)
    assert widths[2] > 1.5 * widths[0]


@pytest.mark.parametrize("seconds", [lambda n: 1 + n**2, lambda n: 10 + n**3, lambda n: 5 + n])
def test_what_begins_slowly_is_within_the_range_far_away(seconds):
    forecast = learned(grid(n=range(1, 11), k=[1, 2]), lambda one: seconds(one["n"]))
    for n in (5, 12, 20, 100):
        found = forecast.of({"n": n, "k": 1})
        assert found.low <= seconds(n) <= found.high
        total, _ = forecast.sum_of([{"n": n, "k": 1}])
        assert total.low <= seconds(n) <= total.high


def test_what_is_one_of_both_for_sure_has_a_narrow_range_far_away():
    for seconds in (lambda n: float(n) ** 3, lambda n: 2.0**n):
        found = learned(grid(n=range(1, 11), k=[1, 2]), lambda one, of=seconds: of(one["n"])).of({"n": 20, "k": 1})
        assert found.high / found.low < 1.1
        assert found.value == pytest.approx(seconds(20), rel=0.1)


def test_a_zero_among_the_numbers_makes_no_exponential_of_a_power():
    forecast = learned(grid(n=range(21)), lambda one: 1 + one["n"])
    for n in (50, 200, 10_000):
        found = forecast.of({"n": n})
        assert found.value == pytest.approx(1 + n, rel=0.05)
        assert found.low <= 1.05 * (1 + n)


@pytest.mark.parametrize("n", [30, 50, 200, 1000, 10_000])
def test_far_from_numbers_that_may_be_negative_nothing_is_exponentially_wrong(n):
    forecast = learned(grid(n=range(-10, 21)), lambda one: 15 + one["n"])
    found = forecast.of({"n": n})
    assert (15 + n) / 30 < found.value < 5 * (15 + n)
    assert found.low < 15 + n
    total, _ = forecast.sum_of([{"n": n}] * 3)
    assert total.low < 3 * (15 + n)


def test_a_name_that_no_run_has_makes_the_range_wider():
    draw = random.Random(4)
    factor = {"a": 1, "b": 20, "c": 5}
    sets = grid(method=list("abc"), n=[1, 2, 3, 4])
    forecast = learned(sets, lambda one: factor[one["method"]] * math.exp(draw.gauss(0, 0.1)))
    known, new = forecast.of({"method": "a", "n": 2}), forecast.of({"method": "d", "n": 2})
    assert new.high / new.low > 5 * known.high / known.low


def test_of_what_is_the_same_in_all_runs_nothing_else_is_known():
    forecast = learned(grid(n=[1, 2, 3], tol=[0.1]), lambda one: one["n"])
    assert forecast.new_in({"n": 2, "tol": 0.2}) == "tol"
    assert (forecast.value({"n": 2, "tol": 0.2}), forecast.of({"n": 2, "tol": 0.2})) == (None, None)
    assert forecast.sum_of([{"n": 2, "tol": 0.1}, {"n": 2, "tol": 0.2}])[1] == 1
    assert forecast.new_in({"n": 2, "tol": 0.1}) is None


def test_seeds_say_nothing_of_a_time():
    forecast = learned(grid(seed=[7], n=[1, 2]), lambda one: 3.0)
    assert forecast.value({"seed": 8, "n": 1}) == pytest.approx(3)


@pytest.mark.parametrize("count", [1, 2, 3, FEWEST - 1])
def test_few_runs_tell_no_range_and_make_no_wild_slope(count):
    draw = random.Random(count)
    sets = [{name: draw.random() + 0.5 for name in "abcdefgh"} for _ in range(count)]
    forecast = learned(sets, lambda one: 1 + draw.random())
    for one in sets:
        found = forecast.of(one)
        assert (found.low, found.high) == (None, None)
        assert 0.3 < found.value < 6


def test_nothing_known_tells_nothing():
    forecast = Forecast([], [])
    assert (forecast.of({"n": 1}), forecast.value({"n": 1}), forecast.sum_of([{"n": 1}])) == (
        None,
        None,
        (Estimate(0.0, 0.0, 0.0), 1),
    )


@pytest.mark.parametrize(
    "values",
    [
        [1e300, 1e-300, 1.0, 2.0],
        [math.inf, math.nan, -math.inf, 0.0],
        [10**400, 1, 2, 3],
        [[1, 2], {"a": 1}, None, "text"],
        [f"name{i}" for i in range(200)],
        [0.0, -0.0, 5e-324, 1.0],
    ],
)
def test_any_values_give_finite_numbers(values):
    forecast = learned(grid(x=values, y=[1, 2, 3]), lambda one: one["y"])
    for value in (*values, 1e308, "other", None):
        found = forecast.of({"x": value, "y": 2})
        if found is not None:
            assert all(math.isfinite(one) for one in found)
            assert found.low <= found.value <= found.high


def test_many_columns_are_fitted_too():
    draw = random.Random(5)
    sets = [
        {f"c{i}": draw.choice("abcdefghijklmnop") for i in range(12)} | {"n": draw.randrange(1, 99)} for _ in range(99)
    ]
    assert learned(sets, lambda one: one["n"]).value({**sets[0], "n": 50}) == pytest.approx(50, rel=0.3)
