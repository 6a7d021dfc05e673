"""What runners and users do with files beside a plain result: links, changed results, what file browsers leave."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest

from contract.models import content
from entropic import ResultLostWarning, ResultMissingError

ONE, TWO = ({"n": n, "dt": 0.5} for n in (1, 2))

RUNS = {
    "run_or_retrieve": lambda store, params: store.run_or_retrieve(params),
    "sweep": lambda store, params: store.sweep([params])[0],
    "workers": lambda store, params: store.sweep([params], workers=1)[0],
}
run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


# ---- a link as result --------------------------------------------------------------------------------------------
def write_checkpoints(params, link) -> None:
    folder = Path(params["result_file"]).parent
    for epoch in (1, 2, 3):
        (folder / f"epoch{epoch}.ckpt").write_text(json.dumps({"epoch": epoch}))
    link(folder / "epoch3.ckpt", Path(params["result_file"]))


def link_relatively(params) -> None:
    write_checkpoints(params, lambda target, link: link.symlink_to(target.name))


def link_absolutely(params) -> None:
    write_checkpoints(params, lambda target, link: link.symlink_to(target))


def link_twice(params) -> None:
    def link(target: Path, link: Path) -> None:
        (link.parent / "best.ckpt").symlink_to(target.name)
        link.symlink_to("best.ckpt")

    write_checkpoints(params, link)


@pytest.mark.slow
@run
@pytest.mark.parametrize("runner", [link_relatively, link_absolutely, link_twice])
def test_what_a_result_links_to_beside_it_is_the_result(open_store, run, runner):
    store = open_store(runner)
    row = run(store, ONE)
    assert content(row) == {"epoch": 3}
    assert not os.path.islink(row.result_file)
    (files,) = Path(row.result_file).parent.glob("*.files")
    assert {"epoch1.ckpt", "epoch2.ckpt"} <= set(os.listdir(files))
    assert store.check().ok


@pytest.mark.slow
@run
def test_a_folder_that_a_result_links_to_is_the_result(open_store, run):
    def runner(params):
        folder = Path(params["result_file"]).parent / "step9"
        folder.mkdir()
        (folder / "0.0").write_text("chunk")
        os.symlink("step9", params["result_file"])

    store = open_store(runner, file_suffix=".zarr")
    row = run(store, ONE)
    assert (Path(row.result_file) / "0.0").read_text() == "chunk"
    assert not os.path.islink(row.result_file)
    assert store.check().ok


@pytest.mark.slow
@run
def test_a_relative_link_to_what_lies_elsewhere_leads_there_from_the_results_too(open_store, tmp_path, run):
    (tmp_path / "elsewhere.json").write_text('"there"')

    def runner(params):
        os.symlink(
            os.path.relpath(tmp_path / "elsewhere.json", Path(params["result_file"]).parent), params["result_file"]
        )

    store = open_store(runner)
    row = run(store, ONE)
    assert content(row) == "there"
    assert store.run_or_retrieve(ONE).id == row.id
    assert store.check().ok


@pytest.mark.parametrize("target", ["nowhere", "result", "."])
def test_a_link_that_leads_nowhere_or_in_a_circle_is_refused(open_store, target):
    def runner(params):
        os.symlink(os.path.basename(params["result_file"]) if target == "result" else target, params["result_file"])

    store = open_store(runner)
    says = "leads to 'nowhere', which is not there. Write " if target == "nowhere" else None
    with pytest.raises((ResultMissingError, OSError), match=says):
        store.run_or_retrieve(ONE)
    assert store.retrieve(ONE) is None
    assert store.check().ok


# ---- what file browsers leave ------------------------------------------------------------------------------------
LEFT = [
    ".DS_Store",
    "._0.0",
    ".nfs000000000123abcd00000001",
    "Thumbs.db",
    "desktop.ini",
    ".ipynb_checkpoints",
    ".directory",
    ".zattrs.swp",
    ".goutputstream-X1Y2Z3",
]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", LEFT)
def test_what_a_file_browser_leaves_in_a_folder_makes_no_result_lost(open_store, name, deep):
    def runner(params):
        calls.append(params)
        (Path(params["result_file"]) / "deep").mkdir(parents=True)
        (Path(params["result_file"]) / "deep" / "0.0").write_text("chunk")

    calls: list[dict] = []
    store = open_store(runner, file_suffix=".zarr")
    folder = Path(store.run_or_retrieve(ONE).result_file)
    left = (folder / "deep" if deep else folder) / name
    if name == ".ipynb_checkpoints":
        left.mkdir()
        left /= "0-checkpoint"
    left.write_text("not a number")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.run_or_retrieve(ONE)
        store.sweep([ONE])
    assert len(calls) == 1
    assert store.check().ok
    (folder / "deep" / "0.1").write_text("chunk")  # and what may be a part of it still counts
    with pytest.warns(ResultLostWarning, match="bytes instead of"):
        store.run_or_retrieve(ONE)


# ---- what somebody changed ---------------------------------------------------------------------------------------
def changed(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.changed*"))


@pytest.mark.slow
@run
def test_what_somebody_appended_to_a_result_is_kept_beside_the_new_one_and_said(store, runner, tmp_path, run):
    path = Path(store.run_or_retrieve(ONE).result_file)
    with path.open("a") as file:
        file.write(" my fit")
    with pytest.warns(ResultLostWarning, match="kept beside the new one, with 'changed' in its name"):
        row = run(store, ONE)
    assert content(row)["n"] == 1
    (kept,) = changed(tmp_path / "results")
    assert kept.read_text().endswith(" my fit")
    assert kept.name.startswith(row.id)
    assert kept.suffix == ".json"
    assert store.check().ok
    assert store.gc().removed == []
    assert kept.exists()


@pytest.mark.slow
@run
def test_what_somebody_added_to_a_folder_is_kept_beside_the_new_one(open_store, tmp_path, run):
    def runner(params):
        Path(params["result_file"]).mkdir()
        (Path(params["result_file"]) / "0.0").write_text("chunk")

    store = open_store(runner, file_suffix=".zarr")
    path = Path(store.run_or_retrieve(ONE).result_file)
    (path / "fit").write_text("mine")
    with pytest.warns(ResultLostWarning, match="kept beside the new one"):
        row = run(store, ONE)
    assert os.listdir(row.result_file) == ["0.0"]
    (kept,) = changed(tmp_path / "results")
    assert (kept / "fit").read_text() == "mine"
    assert store.check().ok


def test_each_of_several_changes_is_kept(store, tmp_path):
    path = Path(store.run_or_retrieve(ONE).result_file)
    for text in ("first", "second"):
        path.write_text(path.read_text() + text)
        with pytest.warns(ResultLostWarning):
            store.run_or_retrieve(ONE)
    assert [kept.read_text().rpartition("}")[2] for kept in changed(tmp_path / "results")] == ["first", "second"]
    assert store.check().ok


def test_a_forced_run_keeps_what_was_changed_too(store, tmp_path):
    path = Path(store.run_or_retrieve(ONE).result_file)
    path.write_text("mine")
    store.run(ONE)
    (kept,) = changed(tmp_path / "results")
    assert kept.read_text() == "mine"


def test_nothing_is_kept_of_a_result_that_nobody_changed(store, tmp_path, runner):
    path = Path(store.run_or_retrieve(ONE).result_file)
    runner.during = lambda params: Path(params["result_file"]).write_text("longer than before " * 9)
    store.run(ONE)
    store.run(ONE)
    os.utime(path)
    store.run(ONE)
    path.write_text("")  # a disk that was full, say
    with pytest.warns(ResultLostWarning):
        store.run_or_retrieve(ONE)
    assert changed(tmp_path / "results") == []


def test_a_changed_result_is_kept_where_there_are_no_hard_links(store, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "no links here")

    path = Path(store.run_or_retrieve(ONE).result_file)
    path.write_text("mine")
    monkeypatch.setattr(os, "link", refuse)
    store.run(ONE)
    (kept,) = changed(tmp_path / "results")
    assert kept.read_text() == "mine"
