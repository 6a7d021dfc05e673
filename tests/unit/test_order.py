"""In which order the sets of a sweep are run."""

import random

from entropic.params.grid import expand_grid
from entropic.sweep.order import spread


def beginning(sets, count):
    return [sets[i] for i in spread(sets)[:count]]


def test_a_grid_begins_with_its_corners_then_each_step_halves_the_distances():
    sets = expand_grid({"x": [0, 1, 2, 3, 4], "y": [10.0, 1.0, 0.1, 0.01, 0.001]})
    corners = expand_grid({"x": [0, 4], "y": [10.0, 0.001]})
    coarse = expand_grid({"x": [0, 2, 4], "y": [10.0, 0.1, 0.001]})
    assert sorted(map(str, beginning(sets, 4))) == sorted(map(str, corners))
    assert sorted(map(str, beginning(sets, 9))) == sorted(map(str, coarse))


def test_every_set_comes_once():
    draw = random.Random(1)
    for _ in range(20):
        sets = [{"a": draw.randrange(9), "b": draw.choice(["x", None, True, 2.5]), "seed": i} for i in range(60)]
        assert sorted(spread(sets)) == list(range(60))


def test_points_that_lie_anywhere_are_spread_too():
    draw = random.Random(2)
    sets = sorted(({"x": draw.random(), "y": draw.random()} for _ in range(256)), key=lambda one: one["x"])
    found = beginning(sets, 64)
    quarters = {(int(4 * one["x"]), int(4 * one["y"])) for one in found}
    assert len(quarters) == 16
    assert len({(int(4 * one["x"]), int(4 * one["y"])) for one in sets[:64]}) < 16


def test_sets_that_differ_only_in_their_seed_come_after_all_points():
    sets = expand_grid({"n": [1, 2, 3], "seed": [7, 8]})
    assert {one["n"] for one in beginning(sets, 3)} == {1, 2, 3}


def test_the_order_is_the_same_whatever_else_is_asked():
    sets = expand_grid({"x": list(range(20)), "y": list("abc")})
    assert spread(sets) == spread([dict(reversed(one.items())) for one in sets])


def test_sets_that_do_not_differ_come_as_they_are_given():
    assert spread([{"n": 1}, {"n": 1.0}]) == [0, 1]
    assert spread([]) == []
