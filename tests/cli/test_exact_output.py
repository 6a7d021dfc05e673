"""What goes into a file or a pipe is exact: text in UTF-8, times with their zone; what is missing is named."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from entropic import key

SCRIPT = """
import json
from entropic import Base, Mapped, Store

class Point(Base):
    __tablename__ = "points"
    name: Mapped[str]

def run(params):
    if params["name"] == "no":
        raise ValueError("no")
    with open(params["result_file"], "w") as file:
        json.dump({}, file)

store = Store(run, Point, file_suffix=".json")
if __name__ == "__main__":
    store.run({"name": "größe 中"})
    try:
        store.run({"name": "no"})
    except ValueError:
        pass
"""


@pytest.fixture
def call(tmp_path):
    (tmp_path / "model.py").write_text(SCRIPT, encoding="utf-8")

    def call(*words: str, encoding: str = "latin-1") -> bytes:
        env = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, capture_output=True)
        assert done.returncode in (0, 1), done.stderr
        return done.stdout

    call("model.py")
    return call


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_an_export_to_a_pipe_is_what_an_export_to_a_file_is(call, tmp_path, encoding):
    for kind in ("csv", "json"):
        call("-m", "entropic", "export", "model.py:store", f"runs.{kind}")
        piped = call("-m", "entropic", "export", "model.py:store", "-", "--format", kind, encoding=encoding)
        assert piped == (tmp_path / f"runs.{kind}").read_bytes()
        assert "größe 中" in piped.decode("utf-8")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text(encoding="utf-8"))))
    assert [row["name"] for row in rows] == ["größe 中"]


def times(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from times(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from times(inner)
    elif isinstance(value, str) and value[:2] == "20" and value[10:11] == "T":
        yield datetime.fromisoformat(value)


@pytest.mark.slow
def test_times_in_json_have_a_zone(call):
    for words in (["ls"], ["ls", "--columns", "created_at"], ["failed"], ["status"], ["export"]):
        rest = ["-", "--format", "json"] if words == ["export"] else ["--json"]
        told = json.loads(call("-m", "entropic", words[0], "model.py:store", *words[1:], *rest))
        found = list(times(told))
        assert found, words
        assert {one.utcoffset() for one in found} == {timedelta(0)}, words


@pytest.mark.slow
def test_failures_are_dismissed_after_a_question(call):
    assert b"nothing failed" not in call("-m", "entropic", "failed", "model.py:store")
    assert (
        call("-m", "entropic", "dismiss", "model.py:store", "--older-than", "1d", "--yes") == b"0 failures dismissed\n"
    )
    assert b"1 failure dismissed" in call("-m", "entropic", "dismiss", "model.py:store", "--yes")
    assert call("-m", "entropic", "failed", "model.py:store") == b"nothing failed\n"


@pytest.mark.slow
def test_a_lost_database_is_rebuilt_after_a_question(call, tmp_path):
    for path in tmp_path.glob("db.sqlite3*"):
        path.unlink()
    assert b"1 rows would be made" in call("-m", "entropic", "rebuild", "model.py:store", "--dry-run")
    told = json.loads(call("-m", "entropic", "rebuild", "model.py:store", "--yes", "--json"))
    assert len(told["made"]) == 1
    assert len(json.loads(call("-m", "entropic", "ls", "model.py:store", "--json"))) == 1


@pytest.mark.slow
def test_rows_get_the_keys_of_now_after_a_question(call, tmp_path):
    script = SCRIPT.replace("name: Mapped[str]", "n: Mapped[int]").replace('params["name"] == "no"', "False")
    (tmp_path / "numbers_of.py").write_text(script.split("if __name__")[0].replace("points", "numbers"))
    call("-c", f"from numbers_of import store; store.run({{'n': 5, 'id': {key({'n': '5'})!r}}})")
    told = call("-m", "entropic", "rekey", "numbers_of.py:store", "--dry-run").decode()
    assert f"{key({'n': '5'})} as {key({'n': 5})}: n=5" in told
    told = json.loads(call("-m", "entropic", "rekey", "numbers_of.py:store", "--yes", "--json"))
    assert (told["ok"], told["moved"]) == (True, {key({"n": "5"}): key({"n": 5})})
    assert call("-m", "entropic", "rekey", "numbers_of.py:store") == b"all rows have their current keys\n"
