"""A tree of links to results, by a pattern: brought up to date, and never touching what it did not make."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from contract.models import OtherResult, SimResult
from entropic import ParameterError, StoreError

SETS = [{"n": n, "dt": dt} for n in (1, 2) for dt in (0.1, 0.25)]
PATTERN = "n={n}/dt={dt}"


@pytest.fixture
def store(open_store):
    """A store with four results."""
    made: Any = open_store(lambda params: [params["n"], params["dt"]])
    made.sweep(SETS)
    return made


def tree(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            found[str(path.relative_to(folder))] = json.loads(path.read_text())
    return found


WHOLE = {
    "n=1/dt=0.1.json": [1, 0.1],
    "n=1/dt=0.25.json": [1, 0.25],
    "n=2/dt=0.1.json": [2, 0.1],
    "n=2/dt=0.25.json": [2, 0.25],
}


@pytest.mark.parametrize("hard", [False, True])
def test_a_tree_has_a_link_to_each_result_and_is_brought_up_to_date(store, tmp_path, hard):
    out = tmp_path / "out"
    done = store.view(out, PATTERN, hard=hard)
    assert tree(out) == WHOLE
    assert (done.links, len(done.made), done.removed, done.left) == (4, 4, [], [])
    assert all(path.is_symlink() is not hard for path in out.rglob("dt*"))
    done = store.view(out, PATTERN, hard=hard)
    assert (done.made, done.removed) == ([], [])
    store.delete(SETS[0], remove_file=True)
    store.delete(SETS[1], remove_file=True)
    store.run_or_retrieve({"n": 3, "dt": 0.1})
    store.run(SETS[2])
    done = store.view(out, PATTERN, hard=hard)
    assert sorted(done.removed) == ["n=1/dt=0.1.json", "n=1/dt=0.25.json"]
    assert "n=3/dt=0.1.json" in done.made
    assert list(tree(out)) == ["n=2/dt=0.1.json", "n=2/dt=0.25.json", "n=3/dt=0.1.json"]
    assert not (out / "n=1").exists()
    assert os.path.samefile(out / "n=2/dt=0.1.json", store.retrieve(SETS[2]).result_file)
    assert store.check().ok


def test_another_pattern_replaces_the_links_of_the_first(store, tmp_path):
    store.view(tmp_path / "out", PATTERN)
    store.view(tmp_path / "out", "{dt:.2f}-{n:03d}", SimResult.n == 2)
    assert list(tree(tmp_path / "out")) == ["0.10-002.json", "0.25-002.json"]
    assert not (tmp_path / "out/n=1").exists()


def test_the_links_go_along_with_a_project_that_moves(store, tmp_path):
    project = tmp_path / "results"
    store.view(tmp_path / "out", PATTERN)
    assert not os.path.isabs(os.readlink(tmp_path / "out/n=1/dt=0.1.json"))
    (tmp_path / "moved").mkdir()
    project.rename(tmp_path / "moved/results")
    (tmp_path / "out").rename(tmp_path / "moved/out")
    assert tree(tmp_path / "moved/out") == WHOLE


def test_what_it_did_not_make_stays(store, tmp_path):
    out = tmp_path / "out"
    store.view(out, PATTERN)
    (out / "mine.txt").write_text("mine")
    (out / "n=1/notes.txt").write_text("mine")
    changed = out / "n=1/dt=0.1.json"
    changed.unlink()
    changed.write_text("mine")
    store.delete(SETS[0])
    store.delete(SETS[1])
    done = store.view(out, PATTERN)
    assert changed.read_text() == (out / "mine.txt").read_text() == (out / "n=1/notes.txt").read_text() == "mine"
    assert not (out / "n=1/dt=0.25.json").exists()
    assert any(str(changed) in one for one in done.left)


def test_what_is_in_the_way_is_refused_before_anything_is_changed(store, tmp_path):
    out = tmp_path / "out"
    store.view(out, PATTERN, n=1)
    (out / "n=2").mkdir(parents=True)
    (out / "n=2/dt=0.1.json").write_text("mine")
    before = sorted(out.rglob("*"))
    with pytest.raises(StoreError, match="was not made by entropic"):
        store.view(out, PATTERN)
    assert sorted(out.rglob("*")) == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="is a file"):
        store.view(tmp_path / "file", PATTERN)
    for folder in ("results", "results/out", "results/../results/"):
        with pytest.raises(StoreError, match="lies in the results folder"):
            store.view(f"{tmp_path}/{folder}", PATTERN)
    (tmp_path / "link").symlink_to("results")
    with pytest.raises(StoreError, match="lies in the results folder"):
        store.view(tmp_path / "link", PATTERN)


def test_the_tree_of_another_store_is_refused_and_not_touched(store, open_store, tmp_path):
    other = open_store(results_dir=tmp_path / "others", db_url=f"sqlite:///{tmp_path / 'others.sqlite3'}")
    other.run_or_retrieve(SETS[0])
    store.view(tmp_path / "out", PATTERN)
    before = sorted((tmp_path / "out").rglob("*"))
    with pytest.raises(StoreError, match=r"has links to the results of sim_results in .*results; give another folder"):
        other.view(tmp_path / "out", PATTERN)
    with pytest.raises(StoreError, match="has links to the results of sim_results"):
        open_store(model=OtherResult).view(tmp_path / "out", "{id}")
    assert sorted((tmp_path / "out").rglob("*")) == before
    assert tree(tmp_path / "out") == WHOLE


def test_a_tree_that_does_not_say_whose_it_is_is_brought_up_to_date(store, tmp_path):
    store.view(tmp_path / "out", PATTERN, n=1)
    noted = tmp_path / "out" / ".entropic-view.json"
    told = json.loads(noted.read_text())
    del told["of"]  # as version 3.0 wrote it
    noted.write_text(json.dumps(told))
    store.view(tmp_path / "out", PATTERN)
    assert tree(tmp_path / "out") == WHOLE


def test_a_folder_that_holds_something_else_is_refused_and_not_touched(store, open_store, tmp_path):
    other = open_store(results_dir=tmp_path / "others", db_url=f"sqlite:///{tmp_path / 'others.sqlite3'}")
    other.run_or_retrieve(SETS[0])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for folder in (tmp_path, tmp_path / "mine", tmp_path / "others"):
        with pytest.raises(StoreError, match=r"holds something else .*give a new folder, or an empty one"):
            store.view(folder, PATTERN)
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "looked at").mkdir()
    (tmp_path / "looked at/.DS_Store").write_text("")
    (tmp_path / "looked at/.entropic-view.json.k1ll").write_text("")
    store.view(tmp_path / "looked at", PATTERN)
    assert tree(tmp_path / "looked at") == WHOLE


def test_no_link_leads_out_of_the_tree(store, tmp_path, beside):
    out = tmp_path / "out"
    store.view(out, "{id}")
    (out / "n=1").symlink_to(beside)
    with pytest.raises(StoreError, match="a link leads"):
        store.view(out, PATTERN)
    told = {
        "entropic": 1,
        "links": {"../beside/probe.txt": "x", "/etc/x": "x", "n=1/probe.txt": "mine"},
        "folders": ["../beside"],
    }
    (out / ".entropic-view.json").write_text(json.dumps(told))
    store.view(out, "{id}")
    (out / ".entropic-view.json").write_text("what?")
    with pytest.raises(StoreError, match="cannot be read"):
        store.view(out, "{id}")


def test_two_rows_of_one_name_are_refused_with_what_to_add(store, tmp_path):
    with pytest.raises(ParameterError, match=r"would both be called 'n=[12].json'; add \{dt\} to the pattern"):
        store.view(tmp_path / "out", "n={n}")
    with pytest.raises(ParameterError, match=r"add \{dt\}"):
        store.view(tmp_path / "out", "n={n}/dt={dt:.0f}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("n={n", "is invalid"),
        ("plain", "all rows have one name"),
        ("../{n}", "no part of it is empty"),
        ("/abs/{n}", "no part of it is empty"),
        ("{m}", "'m'"),
        ("{n.real}", "'n.real'"),
        ("{n!r}", "short format"),
        ("{n:{dt}}", "short format"),
        ("{n:99999}", "short format"),
        ("{n:zz}", "cannot be written as"),
        ("{}", "''"),
        (7, "is invalid"),
    ],
)
def test_what_is_no_pattern_is_refused(store, tmp_path, pattern, said):
    with pytest.raises(ParameterError) as raised:
        store.view(tmp_path / "out", pattern)
    assert said in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_row_whose_result_is_gone_gets_no_link(store, tmp_path):
    os.unlink(store.retrieve(SETS[0]).result_file)
    done = store.view(tmp_path / "out", PATTERN)
    assert (done.links, len(done.left)) == (3, 1)
    assert "is gone" in done.left[0]


def test_a_store_that_only_looks_makes_a_tree(store, open_store, tmp_path):
    open_store(None).view(tmp_path / "out", PATTERN)
    assert tree(tmp_path / "out") == WHOLE


def test_results_of_several_files_are_linked_as_a_whole(open_store, tmp_path):
    def run(params):
        Path(params["result_file"]).write_text("1")
        Path(params["result_file"]).with_name("more.json").write_text("2")

    store: Any = open_store(run, file_suffix="/main.json")
    store.run_or_retrieve(SETS[0])
    store.view(tmp_path / "out", PATTERN)
    assert tree(tmp_path / "out/n=1/dt=0.1") == {"main.json": 1, "more.json": 2}
    with pytest.raises(StoreError, match="is a folder"):
        store.view(tmp_path / "hard", PATTERN, hard=True)


def test_a_kill_leaves_only_links_that_are_noted(store, tmp_path, monkeypatch):
    out = tmp_path / "out"
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            store.view(out, PATTERN)
    store.view(out, PATTERN)
    assert tree(out) == WHOLE
    assert len(store.view(out, PATTERN, n=1).removed) == 2
