"""A row that somebody has changed counts as lost: it stops nobody, is served to nobody, and can be repaired."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.models import LooseResult, content
from entropic import KeyCollisionError, ParameterError, RegisterError, ResultLostWarning

SETS = [{"n": n, "dt": 0.5} for n in range(4)]


@pytest.fixture
def changed(store, runner, place):
    """A store of four rows, the second of which holds n = 77, and its id."""
    ids = [row.id for row in store.sweep(SETS)]
    place.execute(f"UPDATE sim_results SET n = 77 WHERE id = '{ids[1]}'")
    runner.calls.clear()
    return store, ids[1]


@pytest.mark.slow
@pytest.mark.parametrize("call", ["run_or_retrieve", "sweep", "stream", "workers"])
def test_its_set_runs_again_with_a_warning_and_nothing_else_does(changed, runner, call):
    store, id = changed
    calls = {
        "run_or_retrieve": lambda: [store.run_or_retrieve(one) for one in SETS],
        "sweep": lambda: store.sweep(SETS),
        "stream": lambda: sorted(store.stream(SETS), key=lambda row: row.n),
        "workers": lambda: store.sweep(SETS, workers=1),
    }
    with pytest.warns(ResultLostWarning, match=r"changed by hand"):
        rows = calls[call]()
    assert [row.n for row in rows] == [0, 1, 2, 3]
    assert [content(row)["n"] for row in rows] == [0, 1, 2, 3]
    if call != "workers":
        assert runner.ns == [1]
    assert store.check().ok, str(store.check())
    assert store.run_or_retrieve(SETS[1]).id == id


def test_a_run_replaces_it(changed):
    store, id = changed
    row = store.run(SETS[1])
    assert (row.id, row.n) == (id, 1)
    assert store.check().ok


def test_looking_says_what_it_is(changed, runner):
    store, id = changed
    with pytest.warns(ResultLostWarning, match=r"changed by hand.*n=77"):
        assert store.retrieve(SETS[1]) is None
    assert store.retrieve({"id": id}).n == 77
    explanation = store.explain(SETS[1])
    assert explanation.state == "lost"
    assert "changed by hand" in str(explanation)
    assert [one["n"] for one in store.plan(SETS).missing] == [1]
    (finding,) = store.check().mismatched
    assert finding.id == id
    assert "another key" in str(finding)
    assert "repair()" in str(finding)
    with pytest.raises((KeyCollisionError, RegisterError, ParameterError), match="changed by hand"):
        store.register(SETS[1], __file__)
    assert runner.calls == []


def test_repair_removes_the_row_and_keeps_the_file(changed, runner):
    store, id = changed
    path = Path(store.retrieve({"id": id}).result_file)
    assert "columns were changed by hand" in str(store.repair(dry_run=True))
    assert store.retrieve({"id": id}).n == 77
    done = store.repair()
    assert any(id in one and "removed" in one for one in done.done)
    assert store.retrieve({"id": id}) is None
    assert path.exists()
    assert store.check().mismatched == []
    store.gc()
    assert not path.exists()
    assert [row.n for row in store.sweep(SETS)] == [0, 1, 2, 3]
    assert runner.ns == [1]


def test_it_can_be_deleted(changed):
    store, _ = changed
    assert store.delete(SETS[1], remove_file=True) is True
    assert store.check().ok


def test_the_set_that_it_says_now_is_no_hit(changed, runner):
    store, _ = changed
    assert store.run_or_retrieve({"n": 77, "dt": 0.5}).n == 77
    assert runner.ns == [77]


def test_a_row_in_which_only_what_nobody_asks_for_was_filled_is_served_and_check_says_so(open_store, runner, place):
    store = open_store(model=LooseResult)
    asked = {"name": "a", "grid": [1]}
    row = store.run(asked)
    place.execute(f"UPDATE loose_results SET note = 'mine' WHERE id = '{row.id}'")
    assert store.run_or_retrieve(asked).note == "mine"
    assert len(runner.calls) == 1
    (finding,) = store.check().mismatched
    assert "is served" in str(finding)
    assert "not served" not in str(finding)
    assert store.repair().done == []
    assert store.retrieve(asked).note == "mine"


def test_a_collision_of_keys_is_still_one(store, runner):
    store.run({"n": 1, "dt": 1e-13})
    with pytest.raises(KeyCollisionError, match="share the key"):
        store.run({"n": 1, "dt": 2e-13})


@pytest.mark.only_on("sqlite")
def test_without_a_checksum_the_key_tells(changed, runner, place):
    store, _ = changed
    place.execute("UPDATE entropic_ledger SET checksum = NULL")
    (finding,) = store.check().mismatched
    assert "another key" in str(finding)
    with pytest.warns(ResultLostWarning, match="changed by hand"):
        assert [row.n for row in store.sweep(SETS)] == [0, 1, 2, 3]
    assert runner.ns == [1]
