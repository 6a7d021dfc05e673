"""Short runs travel together, long ones alone, and what has not begun is recalled."""

from types import SimpleNamespace

import pytest

from entropic.executors.bundles import MOST, Bundles
from entropic.executors.work import Report


@pytest.fixture(autouse=True)
def seen(monkeypatch):
    """Endings without files: a report's reason is the time that its run took."""

    def ending(task, report):
        return SimpleNamespace(task=task, finished=object(), failure=None, seconds=float(report.reason))

    monkeypatch.setattr("entropic.executors.bundles.ending", ending)


def home(bundles, bundle, seconds):
    return [one.task for one in bundles.endings(bundle, [Report(reason=str(seconds)) for _ in bundle])]


def test_before_anything_is_known_every_run_travels_alone():
    assert [len(bundle) for bundle in Bundles(range(8)).take(8, 2)] == [1] * 8


@pytest.mark.parametrize(("seconds", "together"), [(0.00001, MOST), (0.02, 10), (0.11, 1), (3600.0, 1)])
def test_a_bundle_is_a_fifth_of_a_second_of_work(seconds, together):
    bundles = Bundles(range(100_000))
    for bundle in bundles.take(4, 2):
        home(bundles, bundle, seconds)
    assert {len(bundle) for bundle in bundles.take(10 * MOST, 2)} == {together}


def test_one_long_run_makes_those_that_follow_travel_alone():
    bundles = Bundles(range(1_000))
    first, second = bundles.take(2, 2)
    home(bundles, first, 0.001)
    home(bundles, second, 5.0)
    assert {len(bundle) for bundle in bundles.take(100, 2)} == {1}


def test_every_worker_gets_some():
    bundles = Bundles(range(1_000))
    for bundle in bundles.take(2, 2):
        home(bundles, bundle, 0.0)
    assert [len(bundle) for bundle in bundles.take(8, 4)] == [2, 2, 2, 2]


def test_what_comes_back_without_having_begun_is_said_to_be_so():
    bundles = Bundles(range(10))
    for bundle in bundles.take(2, 2):
        home(bundles, bundle, 0.0)
    (bundle,) = bundles.take(4, 1)
    reports = [Report(reason="0.0"), Report(reason="0.0"), None, None]
    endings = list(bundles.endings(bundle, reports))
    assert [one.task for one in endings] == bundle
    assert [one.unbegun for one in endings[2:]] == [True, True]


def test_each_task_is_taken_once_and_the_end_is_known():
    bundles = Bundles(iter([1, 2, None, 3]))
    assert bundles.take(10, 1) == [[1], [2]]
    assert bundles.more
    assert bundles.take(10, 1) == [[3]]
    assert not bundles.more
    assert bundles.take(10, 1) == []
