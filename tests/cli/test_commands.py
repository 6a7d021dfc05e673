"""The command line, as a user types it: what it prints, how it ends, and what the documentation says of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from contract.models import PATIENCE, SimResult, wait_until
from entropic import Store, report

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json
from entropic import Base, Mapped, Store

class Point(Base):
    __tablename__ = "points"
    x: Mapped[float]
    n: Mapped[int]

def run(params):
    print("printed by the runner")
    if params["n"] == 3:
        raise ValueError("three is refused")
    with open(params["result_file"], "w") as file:
        json.dump(params["x"], file)

store = Store(run, Point, file_suffix=".json", db_url="sqlite:///points.sqlite3")
print("printed by the script")
if __name__ == "__main__":
    raise SystemExit("must not happen")
"""


@pytest.fixture
def entropic(commands, tmp_path, tmp_path_factory):
    """Call a command as `python -m entropic` does; return what it prints."""
    (tmp_path / "model.py").write_text(SCRIPT)
    env = {k: v for k, v in os.environ.items() if not k.startswith("ENTROPIC_")}
    out, err = (tmp_path_factory.mktemp("told") / name for name in ("out", "err"))

    def call(*words, code=0, cwd=tmp_path, **more):
        child = commands.start(
            "cli.child:command", words=words, cwd=str(cwd), env={**env, **more}, out=str(out), err=str(err)
        )
        status, said, call.stderr = child.status(), out.read_text(), err.read_text()
        assert status == code, (said, call.stderr)
        assert "Traceback" not in call.stderr
        return said

    yield call
    commands.end_all()


@pytest.mark.slow
def test_the_command_is_there_under_its_name_and_as_a_module(entropic):
    lines = [[str(Path(sys.executable).with_name("entropic"))], [sys.executable, "-m", "entropic"]]
    said = [subprocess.run([*line, "--help"], capture_output=True, text=True, check=True).stdout for line in lines]
    assert said == [entropic("--help")] * 2


def run_script(path, text):
    """Write a script, and let it run what it has to run: a command that looks does not."""
    path.write_text(text)
    subprocess.run([sys.executable, path.name], cwd=path.parent, capture_output=True, check=True, timeout=100)


@pytest.mark.slow
def test_a_sweep_is_planned_run_looked_at_and_cleaned(entropic, tmp_path):
    sets = ["model.py:store", "--grid", "x=0.1:0.5:5", "--grid", "n=1,3"]
    assert len(json.loads(entropic("plan", *sets, "--json", code=1))["missing"]) == 10
    swept = json.loads(entropic("sweep", *sets, "--json", code=1))
    assert (swept["sets"], swept["ran"], len(swept["failed"])) == (10, 5, 5)

    rows = json.loads(entropic("ls", "model.py", "--where", "x<0.35", "--sort=-x", "--json"))
    assert [row["x"] for row in rows] == [0.3, 0.2, 0.1]
    assert len(entropic("ls", "--db", "sqlite:///points.sqlite3", "n=1").splitlines()) == 6

    assert "three is refused" in entropic("failed", "model.py", code=1)
    one, two = rows[0]["id"], rows[1]["id"]
    assert rows[0]["result_file"] in entropic("show", "model.py", one[:10])
    assert json.loads(entropic("diff", "model.py", one, two, "--json"))["differing"]["x"] == [0.3, 0.2]
    assert json.loads(entropic("status", "model.py", "--json"))["failed"] == 5
    assert entropic("explain", "model.py", "x=0.3", "n=1")
    assert entropic("explain", "model.py", "x=0.7", "n=1", code=1)

    entropic("rm", "model.py", one, code=2)
    assert Path(rows[0]["result_file"]).exists()
    entropic("rm", "model.py", one, "--yes")
    assert not Path(rows[0]["result_file"]).exists()
    assert json.loads(entropic("gc", "model.py", "n=1", "--dry-run", "--json"))["result"] == 4
    entropic("gc", "model.py", "n=1", code=2)
    assert json.loads(entropic("gc", "model.py", "n=1", "--yes", "--json"))["result"] == 4
    assert "all in order" in entropic("check", "model.py")


@pytest.mark.slow
def test_results_are_checked_to_the_byte_run_again_and_audited(entropic, tmp_path):
    (tmp_path / "model.py").write_text(SCRIPT.replace('.json",', '.json", checksum=True,'))
    entropic("sweep", "model.py:store", "n=1", "--grid", "x=1,2")
    told = json.loads(entropic("check", "model.py:store", "--deep", "--json"))
    assert (told["ok"], told["compared"], told["without_checksum"]) == (True, 2, 0)
    done = json.loads(entropic("audit", "model.py:store", "n=1", "--fraction", "1", "--seed", "3", "--json"))
    assert (done["ok"], done["rows"], done["seed"], len(done["agreed"])) == (True, 2, 3, 2)
    first = next((tmp_path / "results").glob("*.json"))
    seen = first.stat()
    first.write_text("7.0")
    os.utime(first, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # with another time it would be no result any more
    assert "does not hold the bytes" in entropic("check", "model.py:store", "--deep", code=1)
    assert "1 agrees, 1 differs" in entropic("audit", "model.py:store", "--fraction", "1", "--rtol", "1e-6", code=1)
    assert "2 run" in entropic("sweep", "model.py:store", "n=1", "--grid", "x=1,2", "--rerun")
    assert "all in order" in entropic("check", "model.py:store", "--deep")


@pytest.mark.slow
def test_files_are_imported_by_the_pattern_of_their_paths(entropic, tmp_path):
    for name in ("x=1.5_n=1", "x=2_n=2", "x=wide_n=2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "out.json").write_text("[1]")
    pattern = "runs/x={x}_n={n}/out.json"
    assert "x=wide" in entropic("import", "model.py", pattern, "--dry-run", code=1)
    assert "nothing was taken in" in entropic("import", "model.py", pattern, "--yes", code=1)
    entropic("import", "model.py", pattern, "--continue", code=2)
    assert "add --yes" in entropic.stderr
    done = json.loads(entropic("import", "model.py", pattern, "--continue", "--yes", "--json", code=1))
    assert sorted(done["taken"].values()) == ["runs/x=1.5_n=1/out.json", "runs/x=2_n=2/out.json"]
    assert len(json.loads(entropic("ls", "model.py", "--json"))) == 2
    other = ("import", "model.py", "runs/*_n={n}/out.json", "x=7.5", "--files", "leave", "--yes")
    assert "1 in conflict" in entropic(*other, code=1)
    for words in (["runs"], ["--signac", "runs"], [pattern, "--trust-pickles"], ["--joblib", "a", "--psweep", "b"]):
        entropic("import", "model.py", *words, code=2)


def test_what_signac_calls_otherwise_is_imported_under_our_names(entropic, tmp_path):
    job = tmp_path / "theirs" / "workspace" / ("0" * 32)
    job.mkdir(parents=True)
    (job / "signac_statepoint.json").write_text('{"box": {"x": 1.5}, "n": 1, "threads": 8}')
    (job / "out.json").write_text("1")
    signac = ("import", "model.py", "--signac", "theirs", "--file", "out.json", "--yes")
    assert "nothing says its x" in entropic(*signac, code=1)
    renamed = (*signac, "--columns", "box.x=x", "--columns", "threads=")
    assert "1 result" in entropic(*renamed)
    assert json.loads(entropic("ls", "model.py", "--json"))[0]["x"] == 1.5
    for wrong, why in ((["--columns", "x"], "THEIRS=OURS"), (["--columns", "box.x=y"] * 2, "'box.x' twice")):
        entropic(*signac, *wrong, code=2)
        assert why in entropic.stderr
    entropic("import", "model.py", "theirs/{n}.json", "--columns", "a=b", code=2)
    assert "a pattern names the columns itself" in entropic.stderr


@pytest.mark.parametrize("text", ["1:2", "1:2:3:4", "1:2:x", "1:2:0.5"])
def test_a_range_that_is_none_is_told_how_one_is_written(entropic, text):
    entropic("plan", "model.py", "x=1", "--grid", f"n={text}", code=2)
    assert f"n={text}: a range is first:last:count, both ends included" in entropic.stderr


@pytest.mark.slow
def test_a_sweep_says_what_it_could_not_begin_before_its_deadline(entropic, tmp_path):
    (tmp_path / "model.py").write_text(
        SCRIPT.replace(
            '    print("printed by the runner")', '    params["custom_data"]["elapsed_seconds"] = 7200.0'
        ).replace('["n"] == 3', '["x"] == 9')
    )
    assert "1 failed" in entropic("sweep", "model.py", "n=1", "--grid", "x=1,2,3,4,5,6,7,8,9", code=1)
    assert "6 h 0 min" in entropic("plan", "model.py", "n=1", "--grid", "x=9,10,11", code=1)
    planned = json.loads(entropic("plan", "model.py", "n=1", "--grid", "x=9,10,11", "--json", code=1))
    assert planned["cost"]["seconds"]["value"] == pytest.approx(planned["estimate_seconds"]) == pytest.approx(21600)
    late = ["sweep", "model.py", "n=1", "--grid", "x=8,9,10", "--deadline", "1h", "--order", "spread"]
    assert "0 failed, 2 not begun" in entropic(*late, code=1)
    assert "by the deadline of 60 minutes" in entropic.stderr
    told = json.loads(entropic(*late, "--json", code=1))
    assert (told["failed"], told["not_begun"]) == ([], 2), "the failure of x=9 is of an earlier call"
    assert "1 failed, 1 not begun" in entropic(*late, "--no-retry", code=1), "which is why x=9 was left out"
    assert "0 failed, 1 not begun" in entropic("retry", "model.py", "--deadline", "1h", code=1)
    entropic(*late[:-3], "soon", code=2)
    assert "such as '2h'" in entropic.stderr


@pytest.mark.slow
def test_each_set_of_a_sweep_is_run_with_so_many_seeds(entropic, tmp_path):
    (tmp_path / "seeded.py").write_text(
        SCRIPT.replace("n: Mapped", "seed: Mapped[int]\n    n: Mapped").replace("points", "seeded")
    )
    swept = json.loads(entropic("sweep", "seeded.py", "x=1", "--grid", "n=1,2", "--replicates", "2", "--json"))
    assert (swept["sets"], swept["ran"]) == (4, 4)
    entropic("sweep", "model.py", "x=1", "n=1", "--replicates", "2", code=2)
    assert "seed: Mapped[int]" in entropic.stderr


@pytest.mark.slow
def test_the_store_of_a_colleague_is_merged_by_its_url(entropic, tmp_path):
    (tmp_path / "hers").mkdir()
    run_script(
        tmp_path / "hers" / "hers.py",
        SCRIPT.replace('raise SystemExit("must not happen")', 'store.sweep([{"x": x, "n": 1} for x in (1, 2)])'),
    )
    url = "sqlite:///hers/points.sqlite3"
    planned = json.loads(entropic("merge", "model.py", "--from", url, "--dry-run", "--json"))
    assert (len(planned["taken"]), planned["dry_run"], (tmp_path / "results").exists()) == (2, True, False)
    entropic("merge", "model.py", "--from", url, code=2)
    assert "add --yes" in entropic.stderr
    assert "2 results taken in" in entropic("merge", "model.py", "--from", url, "--files", "copy", "--yes")
    assert json.loads(entropic("merge", "model.py", "--from", url, "--json"))["same"] == 2
    Path(json.loads(entropic("ls", "model.py", "--json"))[0]["result_file"]).write_text("[0.0]")
    said = entropic("merge", "model.py", "--from", url, "--from-results", "hers/results", code=1)
    assert "1 in conflict" in said
    entropic("merge", "model.py", "--from", "sqlite:///nowhere.sqlite3", code=2)
    entropic("merge", "model.py", "--from", "nonsense", code=2)
    assert "--from must be the URL" in entropic.stderr


@pytest.mark.slow
def test_a_selection_is_frozen_listed_and_unfrozen(entropic, tmp_path):
    entropic("sweep", "model.py", "n=1", "--grid", "x=1,2,3")
    assert "paper-v1: 2 results" in entropic("freeze", "model.py", "paper-v1", "--where", "x>1")
    entropic("freeze", "model.py", "paper-v1", code=2)
    entropic("freeze", "model.py", code=2)
    (told,) = json.loads(entropic("frozen", "model.py", "--json"))
    assert (told["name"], told["results"]) == ("paper-v1", 2)
    assert "paper-v1" in entropic("frozen", "model.py")
    entropic("unfreeze", "model.py", "paper-v1", code=2)  # nobody can be asked
    entropic("unfreeze", "model.py", "paper-v1", "--yes")
    assert "nothing is frozen" in entropic("frozen", "model.py")


@pytest.mark.slow
def test_a_tree_of_links_is_made_by_a_pattern(entropic, tmp_path):
    entropic("sweep", "model.py", "n=1", "--grid", "x=1,2,3")
    told = json.loads(entropic("view", "model.py", "out", "n={n}/x={x}", "--where", "x>1", "--json"))
    assert (told["links"], told["left"]) == (2, [])
    assert len(list((tmp_path / "out/n=1").iterdir())) == 2
    assert "2 removed" in entropic("view", "model.py", "out", "n={n}/x={x}", "--where", "x>7")
    entropic("view", "model.py", "out", "n={n}", code=2)
    assert "add {x}" in entropic.stderr
    entropic("view", "model.py", "out", code=2)


@pytest.mark.slow
def test_a_store_is_archived_by_conditions_and_looked_at_without_its_script(entropic, tmp_path):
    entropic("sweep", "model.py:store", "--grid", "x=1,2,3", "n=1")
    assert "2 results" in entropic("archive", "model.py", "paper.zip", "--where", "x>1")
    assert (tmp_path / "paper.zip").is_file()
    told = json.loads(entropic("archive", "--db", "sqlite:///points.sqlite3", "paper", "n=1", "--json"))
    assert (told["ok"], told["path"], len(told["results"])) == (True, str(tmp_path / "paper"), 3)
    assert len(json.loads(entropic("ls", "--db", "sqlite:///paper/db.sqlite3", "--json"))) == 3
    assert "all in order" in entropic("check", "--db", "sqlite:///paper/db.sqlite3")
    entropic("archive", "model.py", "paper", code=2)
    assert "exists already" in entropic.stderr
    entropic("archive", "model.py", code=2)
    Path(json.loads(entropic("ls", "model.py", "--json"))[0]["result_file"]).unlink()
    assert "is gone" in entropic("archive", "model.py", "other", code=1)


@pytest.mark.slow
def test_results_are_noted_shown_and_listed_by_tag(entropic, tmp_path):
    entropic("sweep", "model.py:store", "--grid", "x=1,2,3", "n=1")
    one, two, _ = (row["id"] for row in json.loads(entropic("ls", "model.py", "--sort", "x", "--json")))
    assert "2 results noted" in entropic("note", "model.py", one, two[:10], "--text", "too coarse", "--tag", "paper")
    entropic("note", "--db", "sqlite:///points.sqlite3", two, "--text", "", "--tag", "b", "--untag", "paper")
    assert "too coarse" in entropic("show", "model.py", one)
    told = json.loads(entropic("show", "model.py", two, "--json"))
    assert (told["note"], told["tags"]) == ("", ["b"])
    assert [row["id"] for row in json.loads(entropic("ls", "model.py", "--tag", "paper", "--json"))] == [one]
    exported = json.loads(entropic("export", "model.py", "-", "--format", "json", "--tag", "paper"))
    assert [row["id"] for row in exported] == [one]
    assert len(json.loads(entropic("archive", "model.py", "all.zip", "--tag", "paper", "--json"))["results"]) == 1
    assert json.loads(entropic("gc", "model.py", "--tag", "paper", "--dry-run", "--json"))["result"] == 1
    entropic("note", "model.py", one, code=2)
    assert "nothing is said" in entropic.stderr


CUSTOM = """
from model import Point, Store
store = Store(lambda params: open(params["result_file"], "w").close(), Point, db_url={url!r})
if __name__ == "__main__":
    for n, value in enumerate([1, 2.5, "1", "b", True, None, [1]]):
        store.run({{"x": 0.0, "n": n}}, tag=value)
"""


WANTED = {
    "tag=1": [0],
    "tag=true": [4],
    'tag="1"': [2],
    "tag=null": [5],
    "tag!=1": [1, 2, 3, 4, 6],
    "tag!=null": [0, 1, 2, 3, 4, 6],
    "tag!=b": [0, 1, 2, 4, 6],
    "tag>0.5": [0, 1],
    "tag>=a": [3],
}


@pytest.mark.slow
def test_conditions_on_custom_data_are_by_type_and_value(entropic, tmp_path, place):
    run_script(tmp_path / "custom.py", CUSTOM.format(url=place.url))
    for condition, wanted in WANTED.items():
        found = json.loads(entropic("ls", "custom.py", "--where", f"custom_data.{condition}", "--json"))
        assert sorted(row["n"] for row in found) == wanted, condition


@pytest.mark.slow
def test_what_is_not_compared_is_refused_in_a_sentence(entropic, tmp_path):
    (tmp_path / "points.sqlite3").touch()
    for condition in ("tag=[1,2]", "tag<[1,2]", "tag<true", "tag>null", "tag!={}"):
        entropic("ls", "model.py", "--where", f"custom_data.{condition}", code=2)
        assert re.search("do not compare|has no order", entropic.stderr), condition


TYPED = """
import datetime, enum, uuid
from typing import Any
from sqlalchemy import JSON, Integer
from sqlalchemy.dialects import mysql
from entropic import Base, Mapped, Store, mapped_column

class Mode(enum.Enum):
    FAST = "f"
    SLOW = "s"

class Typed(Base):
    __tablename__ = "typed"
    n: Mapped[int]
    mode: Mapped[Mode | None]
    uid: Mapped[uuid.UUID | None]
    pause: Mapped[datetime.timedelta | None]
    flag: Mapped[bool | None]
    level: Mapped[int | None] = mapped_column(Integer().with_variant(mysql.TINYINT(), "mysql", "mariadb"))
    tree: Mapped[Any] = mapped_column(JSON, nullable=True)
    title: Mapped[str | None]

store = Store(lambda params: open(params["result_file"], "w").close(), Typed, {folder!r}, db_url={url!r})
if __name__ == "__main__":
    store.run({{"n": 1, "mode": Mode.FAST}})
    store.run({{"n": 1, "mode": Mode.SLOW}})
    store.run({{"n": 2, "uid": uuid.UUID(int=5)}})
    store.run({{"n": 3, "pause": datetime.timedelta(seconds=3.5)}})
    store.run({{"n": 4, "flag": True, "level": 7, "tree": {{"b": 1, "a": [2.5]}}}})
    store.run({{"n": 5, "mode": Mode.FAST, "title": "x"}})
    store.run({{"n": 6, "title": "x"}})
"""


@pytest.fixture
def typed(entropic, tmp_path, place):
    """The words that name a store of many types: by its script, and by its database alone."""
    run_script(tmp_path / "typed.py", TYPED.format(folder=str(tmp_path / "made"), url=place.url))
    return ["typed.py"], ["--db", place.url, "--results", str(tmp_path / "made")]


@pytest.mark.slow
def test_a_database_alone_finds_what_its_script_finds(entropic, typed, place):
    script, words = typed
    pause = "pause=3.5"
    entropic("explain", *script, "n=3", pause)
    if not place.url.startswith("postgresql"):  # others hold a duration as a time
        pause = "pause=1970-01-01T00:00:03.5"
    assert "all in order" in entropic("check", *words)
    uid = "uid=00000000-0000-0000-0000-000000000005"
    for one in (
        ["n=1", "mode=SLOW"],
        ["n=2", uid],
        ["n=3", pause],
        ["n=4", "flag=true", "level=7", 'tree={"a":[2.5],"b":1}'],
    ):
        entropic("explain", *words, *one)
    assert [row["n"] for row in json.loads(entropic("ls", *words, uid, "--json"))] == [2]
    assert [row["n"] for row in json.loads(entropic("ls", *words, "flag=true", "--json"))] == [4]
    entropic("explain", *words, "n=2", "mode=SLOW", code=1)
    planned = json.loads(entropic("plan", *words, "--grid", "n=1,7", "--grid", "mode=FAST,SLOW", "--json", code=1))
    assert [len(planned[state]) for state in ("stored", "missing")] == [2, 2]


@pytest.mark.slow
def test_a_database_alone_says_where_only_the_script_can_make_a_key(entropic, typed):
    _, words = typed
    (row,) = json.loads(entropic("ls", *words, "n=5", "--json"))
    entropic("explain", *words, "n=5", "mode=FAST", code=2)
    assert all(said in entropic.stderr for said in ("'mode'", "file.py:store", row["id"]))
    entropic("explain", *words, f"id={row['id']}")


@pytest.mark.slow
def test_the_project_says_which_store_and_files_are_meant_from_there(entropic, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.entropic]\nstore = "model.py:store"\n')
    (tmp_path / "deep").mkdir()
    entropic("sweep", "x=1", "n=1", cwd=tmp_path / "deep")
    entropic("export", "runs.json", cwd=tmp_path / "deep")
    assert json.loads((tmp_path / "deep" / "runs.json").read_text())[0]["x"] == 1.0
    entropic("export", "runs.json", cwd=tmp_path / "deep", code=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ls"], "no store is named"),
        (["ls", "no.py:store"], "there is no file"),
        (["ls", "model.py:stor"], "model.py:store"),
        (["ls", "model.py", "m=1"], "no column 'm'"),
        (["ls", "model.py", "--where", "x~1"], "not a condition"),
        (["sweep", "model.py", "--grid", "n=1.5"], "whole number"),
        (["sweep", "model.py", "--grid", "n=1:4:3"], "whole numbers"),
        (["sweep", "--db", "sqlite:///no.sqlite3", "n=1"], "no database"),
        (["ls", "--db", "postgres:me:secret@host"], "must be the URL"),
        (["ls", "model.py", "--limit", "9" * 20], "limit must be a number of rows"),
        (["ls", "model.py", "--page", "9" * 20], "limit must be a number of rows"),
        (["ls", "model.py", "--where", f"n<{'9' * 30}"], "refused this query"),
        (["ls", "model.py", f"n={'9' * 30}"], "beyond 64 bits"),
        (["ls", "model.py", f"n={'9' * 5_000}"], "whole number"),
        (["sweep", "model.py", "--grid", "n=0:1:" + "9" * 30], "first:last:count"),
        (["sweep", "model.py", "--grid", "n=0:1e999999:2"], "first:last:count"),
        (["sweep", "model.py", "--grid", "n=" + "[" * 20_000], "not a JSON list"),
        (["sweep", "model.py", "n=1", "x=1", "--workers", "9" * 20], "workers must be a number"),
        (["sweep", "model.py", "n=1", "x=1", "--workers", "1", "--timeout", "1e400"], "timeout must be a number"),
        (["sweep", "model.py", "n=1", "x=1", "--workers", "1", "--memory", "4 apples"], "memory must be a size"),
        (["sweep", "model.py", "n=1", "x=1", "--cores", "2"], "cores is for workers and Slurm"),
        (["sweep", "model.py", "n=1", "x=1", "--slurm", "cpus_per_task=2", "--cores", "3"], "contradict each other"),
        (["sweep", "model.py", "n=1", "x=1", "--slurm", "node=2"], "--slurm has no 'node'"),
        (["sweep", "model.py", "n=1", "x=1", "--slurm", "nodes=two"], "nodes of Slurm must be a whole number"),
        (["sweep", "model.py", "n=1", "x=1", "--slurm", "", "--workers", "2"], "give workers or client, not both"),
        (["gc", "model.py", "--older-than", "9" * 400 + "d", "--dry-run"], "older_than"),
        (["gc", "model.py", "--older-than", "30", "--yes"], "'30' is not a length of time; write it as 30d, 12h"),
        (["gc", "model.py", "--total-size", "x", "--dry-run"], "not a size"),
    ],
)
def test_a_mistake_is_a_sentence(entropic, tmp_path, words, said):
    (tmp_path / "points.sqlite3").touch()  # without a database, that is what is told
    entropic(*words, code=2)
    assert said in entropic.stderr
    assert "secret" not in entropic.stderr


def test_a_database_that_is_not_there_is_told_and_is_not_made(entropic, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for words in (["ls"], ["check"], ["audit"], ["gc", "--dry-run"], ["rm", "--yes"]):
        entropic(*words, "model.py", code=2)
        assert f"there is no database at {tmp_path}/points.sqlite3: nothing was run" in entropic.stderr
    assert "1 missing" in entropic("plan", "model.py", "x=1", "n=1", code=1)
    assert "there is no database at" in entropic.stderr
    assert not (tmp_path / "points.sqlite3").exists()
    entropic("sweep", "model.py", "x=1", "n=1")
    assert "3f10f1a5" in entropic("ls", "model.py")
    entropic("ls", "../model.py", code=2, cwd=elsewhere)
    assert f"there is no database at {elsewhere}/points.sqlite3" in entropic.stderr
    assert f"there is one in {tmp_path}: start the command there" in entropic.stderr
    assert not [*elsewhere.iterdir()]


def test_failures_are_named_by_their_values_too(entropic):
    entropic("sweep", "model.py", "n=3", "--grid", "x=1,2,3", code=1)
    one = json.loads(entropic("failed", "model.py", "x=2", "--json", code=1))
    assert [failure["params"] for failure in one] == [{"x": 2.0, "n": 3}]
    assert len(json.loads(entropic("failed", "model.py", "n=3", "--json", code=1))) == 3
    assert json.loads(entropic("failed", "model.py", one[0]["id"], "x=1", "--json")) == []
    assert "nothing failed of what is named" in entropic("failed", "model.py", "n=4")
    assert "1 set:" in entropic("retry", "model.py", "x=2.0", code=1)
    assert "nothing failed of what is named" in entropic("retry", "model.py", "x=7")
    assert "1 failure dismissed" in entropic("dismiss", "model.py", "x=1", "--yes")
    assert len(json.loads(entropic("failed", "model.py", "--json", code=1))) == 2
    for word in ("failed", "retry", "dismiss"):
        entropic(word, "model.py", "y=1", code=2)
        assert "no column 'y'" in entropic.stderr


def test_an_audit_of_nothing_ends_as_pytest_does_without_tests(entropic):
    entropic("sweep", "model.py", "x=1", "n=1")
    assert "nothing was audited" in entropic("audit", "model.py", "x=2", code=5)
    assert json.loads(entropic("audit", "model.py", "x=2", "--json", code=5))["ok"] is False
    assert "1 agrees" in entropic("audit", "model.py")


def test_a_store_that_cannot_be_opened_is_told_by_the_line_of_the_script_and_not_by_ours(entropic, tmp_path):
    entropic("sweep", "model.py", "--grid", "n=1", "x=1")
    (tmp_path / "model.py").write_text(SCRIPT.replace("n: Mapped[int]", "n: Mapped[int]\n    more: Mapped[int]"))
    entropic("status", "model.py", code=2)
    assert "added(VALUE)" in entropic.stderr
    assert f"model.py could not be imported ({tmp_path / 'model.py'}, line " in entropic.stderr
    assert len(entropic.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_size_beyond_all_disks_is_a_size(entropic, tmp_path):
    (tmp_path / "points.sqlite3").touch()
    assert "nothing would be removed" in entropic("gc", "model.py", "--total-size", "9" * 400 + "GB", "--dry-run")


def test_every_command_and_option_is_in_the_documentation():
    import typer

    from entropic.cli.app import app

    text = (ROOT / "docs" / "command-line.md").read_text()
    for name, command in typer.main.get_command(app).commands.items():
        assert f"entropic {name} " in text, name
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert re.search(rf"{option}\b", text), (name, option)


@pytest.mark.slow
def test_the_import_of_the_library_loads_nothing_of_the_command_line():
    code = "import entropic, sys; print({'typer', 'rich', 'entropic.cli'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_an_interrupted_sweep_ends_with_130_and_keeps_what_is_finished(tmp_path, entropic):
    slow = SCRIPT.replace('    print("printed by the runner")', '    import time; time.sleep(100 * (params["n"] == 2))')
    (tmp_path / "model.py").write_text(slow)
    entropic("sweep", "model.py", "x=1", "n=1")
    line = [sys.executable, "-m", "entropic", "sweep", "model.py", "x=1", "--grid", "n=1,2"]
    child = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: json.loads(entropic("status", "model.py", "--json"))["running"])
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=PATIENCE)
    assert child.returncode == 130
    assert "Traceback" not in told
    assert [row["n"] for row in json.loads(entropic("ls", "model.py", "--json"))] == [1]


@pytest.mark.slow
def test_an_interrupted_command_that_only_looks_says_nothing_of_runs(tmp_path, entropic):
    entropic("sweep", "model.py", "x=1", "n=1")
    (tmp_path / "model.py").write_text(SCRIPT + "\nopen('imported', 'w').close()\nimport time\ntime.sleep(100)")
    line = [sys.executable, "-m", "entropic", "ls", "model.py"]
    child = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_until((tmp_path / "imported").exists)
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=PATIENCE)
    assert (child.returncode, told.strip().splitlines()[-1]) == (130, "entropic: interrupted")


@pytest.mark.slow
def test_a_failure_that_is_none_is_told_with_what_lists_them(entropic):
    entropic("sweep", "model.py", "x=1", "n=1")
    entropic("dismiss", "model.py", "zz", "--yes", code=1)
    assert "`entropic failed` lists the keys" in entropic.stderr
    entropic("show", "model.py", "zz", code=1)
    assert "`entropic ls` lists the keys" in entropic.stderr


@pytest.mark.slow
def test_an_error_in_a_script_is_shown_with_its_traceback_but_no_password(tmp_path):
    (tmp_path / "bad.py").write_text('open("postgresql://me:secret@host/db")\n')
    line = [sys.executable, "-m", "entropic", "ls", "bad.py:store"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bad.py" in done.stderr and "line 1" in done.stderr
    assert "secret" not in done.stderr
    assert "frozen" not in done.stderr


@pytest.mark.slow
def test_tables_and_arrays_are_exported_as_files_that_other_programs_read(entropic, tmp_path):
    import pandas
    import xarray

    entropic("sweep", "model.py", "--grid", "x=0.5,1.5", "--grid", "n=1,2")
    for name in ("runs.parquet", "runs.csv", "runs.nc"):
        entropic("export", "model.py", name)
    for table in (pandas.read_parquet(tmp_path / "runs.parquet"), pandas.read_csv(tmp_path / "runs.csv")):
        assert sorted(zip(table["x"], table["n"], strict=True)) == [(0.5, 1), (0.5, 2), (1.5, 1), (1.5, 2)]
    with xarray.open_dataset(tmp_path / "runs.nc") as found:
        assert found["result"].sel(x=1.5, n=2).item() == 1.5


@pytest.mark.slow
def test_a_script_that_was_mended_at_once_runs_as_it_is_now(entropic, tmp_path):
    script, env = tmp_path / "model.py", {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = script.stat()
    for words, status in (["sweep", "--grid", "x=0.5", "--grid", "n=3"], 1), (["retry"], 0):
        line = [sys.executable, "-m", "entropic", words[0], "model.py", *words[1:]]
        done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        script.write_text(SCRIPT.replace('["n"] == 3', '["n"] == 4'))
        os.utime(script, ns=(before.st_atime_ns, before.st_mtime_ns))  # in the same second
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.slow
def test_what_failed_is_retried_once_its_cause_is_mended(entropic, tmp_path):
    entropic("sweep", "model.py", "--grid", "x=0.5,1.5", "--grid", "n=3", code=1)
    entropic("retry", "model.py", code=1)
    (tmp_path / "model.py").write_text(SCRIPT.replace('["n"] == 3', '["n"] == 4'))
    entropic("retry", "model.py")
    assert "ValueError" not in entropic("failed", "model.py")
    assert json.loads(entropic("status", "model.py", "--json"))["failed"] == 0
    assert json.loads(entropic("status", "model.py", "--json"))["stored"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "left"), [("n", 1), ("y", 0)])
def test_what_is_to_be_removed_is_asked_for_on_a_terminal(entropic, tmp_path, answer, left):
    import pty

    entropic("sweep", "model.py", "x=0.5", "n=1")
    ours, theirs = pty.openpty()
    try:
        asking = subprocess.Popen(
            [sys.executable, "-m", "entropic", "gc", "model.py", "n=1"],
            cwd=tmp_path,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.write(ours, f"{answer}\n".encode())  # the terminal keeps it until it is asked for
        asking.wait(PATIENCE)
    finally:
        os.close(theirs)
        os.close(ours)
    assert json.loads(entropic("status", "model.py", "--json"))["stored"] == left
    assert entropic("check", "model.py")


MANY = """
import sys
from entropic import Base, Mapped, Store

class Point(Base):
    __tablename__ = "points"
    n: Mapped[int]

def run(params):
    open(params["result_file"], "w").close()

store = Store(run, Point, db_url="sqlite:///many.sqlite3")
if __name__ == "__main__":
    store.sweep([{"n": n, "id": f"é-{n:0700}"} for n in range(300)])
"""


@pytest.fixture
def many(entropic, tmp_path):
    """Call a command, by the shell, on a store of 300 rows whose keys are long, and not ASCII."""
    run_script(tmp_path / "many.py", MANY)
    entropic("status", "many.py")

    def call(line, **env):
        line = line.replace("entropic", f"{sys.executable} -m entropic")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=tmp_path,
            env={**{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}, **env},
            capture_output=True,
            timeout=100,
            stdin=subprocess.DEVNULL,
        )
        assert b"Traceback" not in done.stderr
        assert b"Exception ignored" not in done.stderr
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return call


@pytest.mark.slow
def test_a_page_without_a_limit_has_fifty_rows_everywhere(many, entropic):
    rows = json.loads(entropic("ls", "many.py", "--sort", "n", "--page", "2", "--json"))
    assert [row["n"] for row in rows] == list(range(50, 100))
    assert len(many("entropic ls many.py --page 6 --columns n")[1].splitlines()) == 51
    assert len(many("entropic ls many.py --columns n")[1].splitlines()) == 301
    entropic("ls", "many.py", "--limit", "0", "--page", "2", code=2)
    assert "--page" in entropic.stderr


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", pytest.param("json", marks=pytest.mark.slow)])
def test_an_output_that_is_not_read_to_its_end_is_no_error(many, form):
    code, _, said = many(f"entropic export many.py - --format {form} | head -c 100 >/dev/null")
    assert (code, said) == (141, "")


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.parametrize(
    "line",
    [
        "entropic status many.py",
        "entropic ls many.py --json",
        "entropic export many.py - -f csv",
        "entropic ls many.py",
    ],
)
def test_an_output_that_cannot_be_written_is_a_sentence(many, line):
    for output in (">/dev/full", ">&-"):
        for unbuffered in ("", "1"):
            code, _, said = many(f"{line} {output}", PYTHONUNBUFFERED=unbuffered)
            assert code == 2
            assert said.startswith("entropic: the output cannot be written: ")
            assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_an_output_of_another_character_set_escapes_what_it_has_not(many):
    for line, text in {"entropic ls many.py": "\\xe9-000", "entropic export many.py - -f csv": "é-000"}.items():
        code, shown, said = many(line, PYTHONIOENCODING="ascii")
        assert (code, said) == (0, "")
        assert text in shown  # an export is UTF-8, as a file of it would be
    for line in ("entropic ls many.py --json", "entropic export many.py - -f json"):
        rows = json.loads(many(line, PYTHONIOENCODING="ascii")[1])
        assert rows[0]["id"].startswith("é-000")


@pytest.mark.slow
def test_a_result_that_is_gone_is_a_sentence(entropic, tmp_path):
    entropic("sweep", "model.py", "x=0.5", "n=1")
    (row,) = json.loads(entropic("ls", "model.py", "--json"))
    Path(row["result_file"]).unlink()
    assert entropic("export", "model.py", "runs.nc", code=1) == ""
    assert f"\nentropic: the result file {row['result_file']}" in entropic.stderr


@pytest.mark.slow
def test_a_database_that_is_locked_is_a_sentence(entropic, tmp_path):
    (tmp_path / "model.py").write_text(SCRIPT.replace("points.sqlite3", "points.sqlite3?timeout=0"))
    entropic("sweep", "model.py", "x=0.5", "n=1")
    with contextlib.closing(sqlite3.connect(tmp_path / "points.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (
            entropic("rm", "model.py", json.loads(entropic("ls", "model.py", "--json"))[0]["id"], "--yes", code=2) == ""
        )
    assert "\nentropic: sqlite" in entropic.stderr


GROUPS = """
import h5py
from entropic import Base, Mapped, Store

class Point(Base):
    __tablename__ = "points"
    n: Mapped[int]

def run(params):
    with h5py.File(params["result_file"], "w") as file:
        file["energy/kinetic"] = [1.0, params["n"]]
        file["steps"] = params["n"]
        if params["n"] == 5:
            file["energy.kinetic"] = 3.0

store = Store(run, Point, db_url="sqlite:///groups.sqlite3")
"""


@pytest.mark.slow
def test_results_with_groups_are_exported_as_netcdf(entropic, tmp_path):
    import xarray

    (tmp_path / "groups.py").write_text(GROUPS)
    entropic("sweep", "groups.py", "--grid", "n=1,2")
    entropic("export", "groups.py", "runs.nc")
    with xarray.open_dataset(tmp_path / "runs.nc") as found:
        assert found["energy.kinetic"].sel(n=2).values.tolist() == [1.0, 2.0]
        assert found["steps"].values.tolist() == [1, 2]
    entropic("sweep", "groups.py", "n=5")
    entropic("export", "groups.py", "n=5", "runs.nc", "--yes", code=2)
    assert "runs.nc cannot be written" in entropic.stderr


ODD = """
from pathlib import Path
from entropic import Base, Mapped, Store

class Point(Base):
    __tablename__ = "odd_points"
    n: Mapped[int]

def simulate(params):
    Path(params["result_file"]).write_text("1")

store = Store(simulate, Point, "odd_results", ".txt", "sqlite:///odd.sqlite3")
several = [{"a": {"a": 1}, "m": 1, "e": {}}, {"a": {"b": 2.5}, "m": "x", "e": []}, {"m": [1, None]}]
if __name__ == "__main__":
    for n, data in enumerate(several):
        store.run({"n": n}, **data)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_custom_data_of_any_shape_is_exported(entropic, tmp_path, suffix):
    """Mixed, empty and nested: a field holds what its row has, and nothing of the others."""
    import pandas

    (tmp_path / "odd.py").write_text(ODD)
    subprocess.run([sys.executable, "odd.py"], cwd=tmp_path, check=True)
    entropic("export", "odd.py", "--sort", "n", f"odd.{suffix}")
    read = {"parquet": pandas.read_parquet, "csv": pandas.read_csv}[suffix]
    table = read(tmp_path / f"odd.{suffix}").astype(object)
    found = {name.removeprefix("custom_data."): list(table[name].where(table[name].notna(), None)) for name in table}
    assert found["m"] == ["1", '"x"', "[1,null]"]
    assert found["e"] == ["{}", "[]", None]
    assert (found["a.a"], found["a.b"]) == ([1, None, None], [None, 2.5, None])


@pytest.mark.slow
def test_numbers_that_netcdf_would_change_are_refused(entropic, tmp_path):
    (tmp_path / "odd.py").write_text(ODD.replace("n: Mapped[int]", "n: Mapped[int | None]").replace("2.5", "9"))
    subprocess.run([sys.executable, "-c", SEEDS], cwd=tmp_path, check=True)
    entropic("export", "odd.py", "odd.nc", code=2)
    assert "'n' cannot be written as NetCDF" in entropic.stderr


SEEDS = "import odd; odd.store.sweep({'n': n} for n in (2**53 + 1, 2**53, None))"


@pytest.mark.slow
def test_status_says_how_far_the_runs_are(entropic, tmp_path):
    place = ["--db", f"sqlite:///{tmp_path}/far.sqlite3", "--results", str(tmp_path / "far")]
    said = []

    def runner(params):
        report(300, 1000, loss=0.25)
        said.extend([entropic("status", *place), json.loads(entropic("status", *place, "--json"))])
        return 1

    row = Store(runner, SimResult, tmp_path / "far", ".json", place[1]).run({"n": 1, "dt": 0.5})
    text, record = said
    assert re.search(rf"how far *\n{row.id} .* step 300/1000, loss=0.25\n", text), text
    assert record["reported"][row.id]["fraction"] == 0.3
    assert record["reported"][row.id]["values"] == {"loss": 0.25}
    assert "how far" not in entropic("status", *place)


STUDY = """
from entropic import study

@study(ignore=["verbose"])
def walk(steps: int, drift: float = 0.5, seed: int = 0, verbose: bool = False) -> dict:
    return {"end": steps * drift + seed}
"""

FIT = """
from entropic import Base, Mapped, Store, mapped_column, study

class Fit(Base):
    __tablename__ = "fits"
    c: Mapped[float]
    x: Mapped[int]
    seed: Mapped[int]
    penalty: Mapped[str] = mapped_column(default="l2")

@study
def fit(c: float, x: int, penalty: str = "l2", seed: int = 0) -> float:
    return c

store = Store(lambda params: params, Fit, file_suffix=".json", typed_keys=True)
"""


def test_the_sets_of_a_study_have_the_defaults_of_its_function(entropic, tmp_path):
    (tmp_path / "walks.py").write_text(STUDY)
    assert "1 missing" in entropic("plan", "walks.py", "steps=3", code=1)
    assert "2 run" in entropic("sweep", "walks.py", "--grid", "steps=3,4")
    assert '{"drift":0.5,"seed":0,"steps":3}' in entropic("explain", "walks.py", "steps=3")
    assert "is a miss" in entropic("explain", "walks.py", "steps=3", "drift=1", code=1)
    assert "6 run" in entropic("sweep", "walks.py", "--grid", "steps=3,4", "--replicates", "3")
    key = json.loads(entropic("ls", "walks.py", "steps=3", "seed=0", "--json"))[0]["id"]
    assert "is a hit" in entropic("explain", "walks.py", f"id={key}")
    assert "missing 'steps'" in (entropic("explain", "walks.py", "drift=1", code=2) or entropic.stderr)


@pytest.mark.parametrize("word", ["sweep", "explain"])
def test_of_what_is_given_only_what_was_typed_is_told(entropic, tmp_path, word):
    (tmp_path / "fits.py").write_text(FIT)
    entropic(word, "fits.py:fit", "c=1", code=2)
    assert "missing 'x'" in entropic.stderr
    assert "given: 'c'\n" in entropic.stderr
    entropic(word, "fits.py:store", "c=1", code=2)
    assert "given: 'c'\n" in entropic.stderr


def test_seeds_are_given_or_made_and_not_both(entropic, tmp_path):
    (tmp_path / "walks.py").write_text(STUDY)
    assert "6 missing" in entropic("plan", "walks.py", "--grid", "steps=3,4", "--replicates", "3", code=1)
    entropic("sweep", "walks.py", "steps=3", "--replicates", "2")
    planned = json.loads(entropic("plan", "walks.py", "steps=3", "--replicates", "3", "--json", code=1))
    assert (len(planned["stored"]), len(planned["missing"])) == (2, 1)
    assert "1 of 3" in entropic("status", "walks.py", "steps=3", "--replicates", "3")
    for given in (["seed=1"], ["--grid", "seed=1,2"]):
        entropic("sweep", "walks.py", "steps=3", *given, "--replicates", "3", code=2)
        assert "each run has a 'seed' of its own; leave it out" in entropic.stderr


def test_several_values_without_grid_are_told_of_it(entropic):
    entropic("plan", "model.py", "--grid", "x=1", "n=1,3", code=2)
    assert "takes a whole number; several values are a grid: --grid n=1,3" in entropic.stderr
    entropic("plan", "model.py", "--grid", "x=1", "n=one", code=2)
    assert "grid" not in entropic.stderr


SET_SECONDS = """
import sqlite3
with sqlite3.connect("points.sqlite3") as db:
    for x, took in ((1, 10), (2, 30), (3, 20)):
        said = "json_set(custom_data, '$.elapsed_seconds', ?)"
        db.execute(f"UPDATE points SET custom_data = {said} WHERE x = ?", (took, x))
"""


def test_a_column_that_is_called_seconds_is_not_taken_for_what_a_run_took(entropic, tmp_path):
    text = SCRIPT.replace("n: Mapped[int]", "seconds: Mapped[int]").replace('params["n"]', 'params["seconds"]')
    (tmp_path / "model.py").write_text(text)
    entropic("sweep", "model.py", "x=1", "seconds=2")
    assert entropic("ls", "model.py").splitlines()[0].split() == ["id", "x", "seconds", "created_at", "elapsed_seconds"]
    assert "about less" not in entropic("plan", "model.py", "x=1", "--grid", "seconds=2,4", code=1)
    assert entropic("ls", "model.py", "seconds=2", "--where", "elapsed_seconds<100", "--sort=-seconds") != "no rows\n"


def test_what_is_listed_can_be_sorted_and_chosen_by(entropic, tmp_path):
    (tmp_path / "model.py").write_text(SCRIPT)
    entropic("sweep", "model.py", "n=1", "--grid", "x=1,2,3")
    subprocess.run([sys.executable, "-c", SET_SECONDS], cwd=tmp_path, check=True)
    for name in ("seconds", "elapsed_seconds", "custom_data.elapsed_seconds"):
        rows = json.loads(entropic("ls", "model.py", f"--sort=-{name}", "--columns", f"x,{name}", "--json"))
        assert rows == [{"x": 2.0, name: 30}, {"x": 3.0, name: 20}, {"x": 1.0, name: 10}]
        assert "30" not in entropic("ls", "model.py", "--where", f"{name}<25", "--columns", name)
        assert len(json.loads(entropic("ls", "model.py", f"{name}=20", "--json"))) == 1
    entropic("ls", "model.py", "--sort=second", code=2)
    assert "Point has no column 'second'" in entropic.stderr
