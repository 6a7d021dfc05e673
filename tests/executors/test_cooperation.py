"""Several processes sweep the same sets, with workers or without: they share the work, and the failures."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import pytest

from contract.models import ActingRunner, wait_until
from executors import acts

TEAMS = ("a", "b")
PAIRS = pytest.mark.parametrize(
    "pair",
    [
        ({}, {}),
        pytest.param(({"workers": 2}, {"workers": 2}), marks=pytest.mark.slow),
        pytest.param(({"workers": 2}, {}), marks=pytest.mark.slow),
        pytest.param(({"workers": 1}, {"workers": 3}), marks=pytest.mark.slow),
    ],
    ids=json.dumps,
)


@pytest.fixture
def logs(tmp_path: Path) -> dict[str, Path]:
    """A log for each team, since the workers of both write."""
    return {team: tmp_path / f"log of {team}" for team in TEAMS}


@pytest.fixture
def begin(start, logs, tmp_path):
    """Let two processes begin to sweep together: `told` makes the acts of a team, given its own and the other log."""

    def do(pair: tuple[dict[str, Any], ...], parts: Any, told: Any = lambda mine, others: {}, **more: Any) -> list[Any]:
        sweepers = [
            start(
                ns,
                log=str(logs[team]),
                options={**options, **more},
                acts=told(str(logs[team]), str(logs[other])),
                ready=str(tmp_path / f"ready {team}"),
                go=str(tmp_path / "go"),
            )
            for team, other, ns, options in zip(TEAMS, reversed(TEAMS), parts, pair, strict=True)
        ]
        wait_until(lambda: all((tmp_path / f"ready {team}").exists() for team in TEAMS))
        (tmp_path / "go").touch()
        return sweepers

    return do


def ran(logs: dict[str, Path]) -> list[int]:
    return sorted(n for log in logs.values() for n in acts.ns_in(log))


def check(open_store: Any) -> None:
    report = open_store().check()
    assert report.ok, report


@pytest.mark.slow
@pytest.mark.each
@PAIRS
def test_two_processes_that_sweep_the_same_sets_run_each_once_and_both_get_all(begin, open_store, logs, tmp_path, pair):
    ns = list(range(40))
    sweepers = begin(pair, (ns, ns[::-1]), lambda mine, other: {"all": ["last", str(tmp_path / "times"), 0.02]})
    assert [sweeper.said()["ns"] for sweeper in sweepers] == [ns, ns[::-1]]
    assert ran(logs) == ns
    check(open_store)


@pytest.mark.slow
@pytest.mark.each
@PAIRS
def test_both_processes_take_part(begin, open_store, logs, pair):
    """No run ends before both have begun one: a process that claims all at once would wait for ever."""
    ns = list(range(30))
    sweepers = begin(pair, (ns, ns), lambda mine, other: {"all": ["wait_for", other]})
    assert [sweeper.said()["ns"] for sweeper in sweepers] == [ns, ns]
    assert ran(logs) == ns
    assert all(acts.lines(log) for log in logs.values())
    check(open_store)


@pytest.mark.slow
def test_sweeps_that_overlap_run_each_set_once(begin, open_store, logs, tmp_path):
    parts = [list(range(30)), list(range(50, 10, -1))]
    pair = ({"workers": 2}, {"workers": 2})
    sweepers = begin(pair, parts, lambda mine, other: {"all": ["last", str(tmp_path / "times"), 0.01]})
    assert [sweeper.said()["ns"] for sweeper in sweepers] == parts
    assert ran(logs) == list(range(51))
    check(open_store)


@pytest.mark.slow
@pytest.mark.each
@PAIRS
def test_a_set_that_fails_is_run_once_by_all_together_and_all_go_on(begin, open_store, logs, pair):
    ns = list(range(12))
    sweepers = begin(
        pair,
        (ns, ns),
        # Nothing ends before both sweep, so neither can find the failure of a sweep before its own.
        lambda mine, other: {"all": ["wait_for", other], "0": ["wait_then_refuse", other]},
        on_error="continue",
    )
    for sweeper in sweepers:
        said = sweeper.said()
        assert said["ns"] == ns[1:]
        assert said["failed"] == [0]
        assert len(said["warned"]) == 1
        assert "1 of 12" in said["warned"][0]
    assert ran(logs) == ns
    check(open_store)


@pytest.mark.slow
@pytest.mark.each
@PAIRS
def test_a_set_that_fails_ends_all_sweeps_that_raise_and_is_run_once(begin, open_store, logs, pair):
    ns = list(range(12))
    sweepers = begin(pair, (ns, ns), lambda mine, other: {"all": ["wait_for", other], "0": ["wait_then_refuse", other]})
    for sweeper in sweepers:
        assert sweeper.status() == 1
        assert "refused 0" in sweeper.err()
    assert acts.ns_in(logs["a"]).count(0) + acts.ns_in(logs["b"]).count(0) == 1
    assert set(collections.Counter(ran(logs)).values()) == {1}
    check(open_store)


@pytest.mark.slow
def test_what_a_killed_process_had_not_finished_is_done_by_the_other(begin, open_store, logs, tmp_path):
    ns = list(range(60))
    pair = ({"workers": 2}, {"workers": 2})
    gate = tmp_path / "gate"
    victim, other = begin(pair, (ns, ns), lambda mine, other: {"all": ["wait_behind", mine, 4, str(gate)]})
    wait_until(lambda: all(len(acts.lines(log)) > 4 for log in logs.values()))
    victim.process.kill()
    victim.status()
    gate.touch()
    assert other.said()["ns"] == ns
    counts = collections.Counter(ran(logs))
    assert sorted(counts) == ns
    assert sum(counts.values()) <= len(ns) + 2, "at most the two runs that were under way ran again"
    wait_until(lambda: not victim.left())
    check(open_store)


@pytest.mark.slow
def test_a_sweep_waits_for_what_another_process_runs_and_takes_its_row(start, open_store, logs, tmp_path):
    gate = tmp_path / "gate"
    owner = start([1], log=str(logs["a"]), acts={"1": ["wait_for", str(gate)]}, options={"workers": 1})
    wait_until(lambda: acts.lines(logs["a"]))
    store = open_store(run=ActingRunner(logs["b"], {}))
    stream = store.stream([{"n": n, "dt": 0.5} for n in (1, 2)], workers=2)
    assert next(stream).n == 2, "what is free is done first"
    gate.touch()
    assert [row.n for row in stream] == [1]
    assert owner.said()["ns"] == [1]
    assert (acts.ns_in(logs["a"]), acts.ns_in(logs["b"])) == ([1], [2])
