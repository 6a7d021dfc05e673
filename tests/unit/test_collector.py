"""What a pause of the garbage collector does to what the program has frozen."""

from __future__ import annotations

import gc

import pytest

from entropic.support.collector import paused


@pytest.fixture
def counted(monkeypatch):
    """How often the frozen objects were counted, which takes the longer the more there are."""
    calls, count = [], gc.get_freeze_count
    monkeypatch.setattr(gc, "get_freeze_count", lambda: calls.append(count()) or calls[-1])
    return calls


def test_what_is_frozen_is_not_counted_for_a_few_objects(counted):
    with paused():
        kept = [[] for _ in range(100)]
    assert gc.isenabled() and kept and counted == []


def test_what_is_frozen_stays_frozen(counted):
    kept = [[] for _ in range(1_000)]
    gc.freeze()
    try:
        with paused():
            kept += [[] for _ in range(100_000)]
        assert gc.get_freeze_count() >= 1_000  # fewer than before, if some have been dropped
    finally:
        gc.unfreeze()
        gc.freeze()  # as `conftest` left it, or nearly


def test_what_was_made_is_not_looked_at_when_the_pause_ends():
    frozen, looks = gc.get_freeze_count(), []
    if frozen:
        gc.unfreeze()
    gc.callbacks.append(lambda phase, about: looks.append(about["generation"]) if phase == "start" else None)
    try:
        with paused():
            kept = [[] for _ in range(100_000)]
        young = gc.get_count()[0]
        assert kept and looks == [] and young < 1_000
    finally:
        gc.callbacks.pop()
        if frozen:
            gc.freeze()
