"""What the benchmarks say of their figures is so: goals are met or not, crowds ran each set once, releases are kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def record(program, file_system, **ratios):
    from figures import Record

    return Record(
        program, {"file system": file_system}, 1.0, {what.replace("_", " "): it for what, it in ratios.items()}
    )


def test_a_goal_is_met_up_to_its_bar_and_missed_above_it_and_else_not_measured():
    from bars import Bar, verdicts

    bars = [
        Bar("run", "hit", 2.0, ("memory", "disk")),
        Bar("run", "new sweep", 2.4, ("memory",)),
        Bar("arrays", "npy", 0.5),
        Bar("tables", "rows", 0.5),
    ]
    taken = [record("run", "tmpfs", hit=2.0, new_sweep=2.5), record("arrays", "ext4", npy=0.4)]
    told = [line.split() for line in verdicts(taken, bars).splitlines()]
    assert told[1] == ["run", "hit", "memory", "2.00", "2", "met"]
    assert told[2] == ["run", "hit", "disk", "-", "2", "not", "measured"]
    assert told[3] == ["run", "new", "sweep", "memory", "2.50", "2.4", "NOT", "MET"]
    assert told[4] == ["arrays", "npy", "0.40", "0.5", "met"]
    assert told[5] == ["tables", "rows", "-", "0.5", "not", "measured"]
    assert " ".join(told[6]) == "2 met, 1 not met, 2 not measured"


def test_a_program_alone_tells_of_the_goals_that_it_has_measured_and_of_no_others():
    from bars import verdicts_of

    taken = record("run", "ext4", **{"hit: entropic / limit": 3.0, "miss: entropic / signac": 0.9})
    told = verdicts_of(taken).splitlines()[1:]
    assert [line.split()[-1] for line in told] == ["MET", "met", "measured"]
    assert all(" disk " in line for line in told[:-1])


def test_every_goal_is_for_a_ratio_of_entropic_and_no_two_are_the_same():
    from bars import BARS
    from figures import name, parts

    for bar in BARS:
        what, who, base = parts(bar.figure)
        assert who == "entropic"
        assert name(what, who, base) == bar.figure
    assert len({(bar.program, bar.figure, bar.most, bar.places) for bar in BARS}) == len(BARS)


def test_who_keeps_files_alone_stands_beside_each_database_of_a_crowd():
    from crowd import Taken, ratios

    seconds = {("entropic", "sqlite"): 2, ("entropic", "postgresql"): 6, ("optuna", "sqlite"): 8, ("jug", "files"): 4}
    cpu = {("entropic", "sqlite"): 3, ("optuna", "sqlite"): 4}
    times = {who: Taken(taken, False, [], cpu.get(who, 0)) for who, taken in seconds.items()}
    assert ratios(times) == {
        "sqlite: entropic / optuna": 0.25,
        "sqlite, CPU: entropic / optuna": 0.75,
        "sqlite: entropic / jug": 0.5,
        "postgresql: entropic / jug": 1.5,
    }


def test_a_crowd_is_told_to_have_run_a_set_again_or_never():
    from crowd import Taken

    told = " ".join(Taken(2.0, False, [1, 0, 2], 0.5).told(3).split())
    assert told == "2 sets/s 2.00 s, CPU 0.50 s each ran once"
    assert Taken(2.0, True, [1, 1]).told(3).endswith("1 runs too many, 2 sets did not run")
    assert Taken(1.0, False, [1, 0]).exact(2)
    assert not Taken(1.0, False, [1, 0, 1]).exact(2)


def test_a_release_is_kept_with_its_own_ratios_and_releases_are_in_order(tmp_path):
    from history import keep, lines, releases

    taken = [
        record(
            "run", "tmpfs", **{"hit: entropic / limit": 2.0, "hit: 2.3.0 / limit": 216.8, "hit: joblib / limit": 19.0}
        ),
        record("arrays", "ext4", **{".npy: entropic / bare loop": 0.24}),
    ]
    old = keep(taken, "2.3.0", tmp_path)
    now = keep(taken, folder=tmp_path)
    assert json.loads(old.read_text())["measured"]["run in memory"]["ratios"] == {"hit / limit": 217.0}
    keep([record("arrays", "ext4", **{".npy: entropic / bare loop": 0.25})], folder=tmp_path)
    later = json.loads(now.read_text())
    for release in ("3.0.0", "3.10.0", "3.9.1"):
        (tmp_path / f"{release}.json").write_text(json.dumps(later | {"release": release}))
    (tmp_path / "3.0.0.dev0.json").write_text(json.dumps(later | {"release": "3.0.0.dev0"}))
    kept = [one for one in releases(tmp_path) if one["release"] in ("2.3.0", "3.0.0.dev0", "3.0.0", "3.9.1", "3.10.0")]
    assert [one["release"] for one in kept] == ["2.3.0", "3.0.0.dev0", "3.0.0", "3.9.1", "3.10.0"]
    assert lines(kept, "run in memory") == {"hit / limit": [217.0, 2.0, 2.0, 2.0, 2.0]}
    assert lines(kept, "arrays") == {".npy / bare loop": [None, 0.25, 0.25, 0.25, 0.25]}


def test_the_published_release_and_a_later_one_are_kept_in_the_tree():
    from history import lines, releases

    kept = releases()
    assert kept[0]["release"] == "2.3.0"
    assert len(kept) > 1
    hits = lines(kept, "run in memory")["hit / limit"]
    assert hits[-1] < hits[0]


@pytest.mark.slow
def test_a_crowd_shares_its_sets_and_each_runs_once(tmp_path):
    command = [sys.executable, BENCHMARKS / "crowd.py", "--processes", "2", "--sets", "6", "--dir", tmp_path]
    more = ["--systems", "entropic", "--kinds", "sqlite", "--json", tmp_path / "record.json"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "each ran once" in done.stdout
    assert json.loads((tmp_path / "record.json").read_text())["more"]["seconds"]["entropic on sqlite"]["cpu"] > 0
