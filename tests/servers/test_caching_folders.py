"""Two nodes share a server, and a results folder whose mounts remember what was not there: nothing runs twice.

The mounts are real ones (FUSE), each with a memory of its own. Where this user may make none the tests are skipped.
"""

from __future__ import annotations

import collections
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.models import CountingRunner
from databases import until
from entropic import ResultLostWarning
from entropic.files import patience
from entropic.support import process

on_servers = pytest.mark.only_on("postgresql", "mariadb")
SCRIPT = Path(__file__).with_name("caching_mount.py")
ONE = {"n": 1, "dt": 0.5}
Mount = Callable[[str, float], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount the folder `shared` once more, under a name, with a memory of so many seconds."""
    pytest.importorskip("mfusepy", exc_type=(ImportError, OSError), reason="there is no FUSE library")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("this user may not use /dev/fuse")
    shared, begun = tmp_path / "shared", []
    shared.mkdir()

    def make(name: str, seconds: float) -> Path:
        there = tmp_path / name
        there.mkdir()
        log = tmp_path / f"log of {name}"
        with log.open("wb") as file:
            command = [sys.executable, SCRIPT, shared, there, str(seconds)]
            begun.append((subprocess.Popen(command, stderr=file, stdout=file), there))
        popen = begun[-1][0]
        until(lambda: os.path.ismount(there) or popen.poll() is not None, f"{there} is mounted")
        if popen.poll() is not None:
            pytest.skip(f"this user may mount nothing: {log.read_text()[-300:]}")
        return there

    yield make
    for popen, there in begun:
        for program in ("fusermount3", "umount"):
            with contextlib.suppress(FileNotFoundError):
                subprocess.run([program, *(["-uz"] if program != "umount" else ["-l"]), there], capture_output=True)
        popen.kill()
        popen.wait()


def ran(log: Path) -> collections.Counter[int]:
    return collections.Counter(int(line.split()[1]) for line in log.read_text().splitlines())


SECONDS = [0, 1, 3, pytest.param(8, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.long)]


@on_servers
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seconds", SECONDS)
def test_two_nodes_that_remember_what_was_not_there_share_a_sweep_and_run_each_set_once(
    children, place, mount, tmp_path, seconds
):
    ns = list(range(12))
    nodes = [
        children.start("servers.crowd:node", folder=str(tmp_path), url=place.url, results=str(mount(name, seconds)),
                       boot=boot, ns=ns, seconds=0.1)
        for name, boot in (("a", "0badcafe"), ("b", "0badf00d"))
    ]  # fmt: skip
    until(lambda: len(list(tmp_path.glob("ready-*"))) == 2, "both nodes are ready")
    (tmp_path / "go").touch()
    assert [node.said(300) for node in nodes] == [ns, ns]
    assert ran(tmp_path / "log") == dict.fromkeys(ns, 1)


@on_servers
@pytest.mark.timeout(400)
@pytest.mark.each("seconds")
@pytest.mark.parametrize("seconds", SECONDS)
@pytest.mark.parametrize("how", ["run_or_retrieve", "sweep", "explain", "check", "load"])
def test_a_result_that_another_node_has_just_stored_is_found(
    children, place, mount, open_store, tmp_path, seconds, how
):
    here, there = mount("here", seconds), mount("there", seconds)
    runner = CountingRunner()
    store = open_store(run=runner, results_dir=here)
    id = store._context.hasher(ONE)
    assert not os.path.exists(here / f"{id}.json"), "and this is remembered"
    (tmp_path / "go").touch()
    node = children.start("servers.crowd:node", folder=str(tmp_path), url=place.url, results=str(there),
                          boot="0badcafe", ns=[1])  # fmt: skip
    assert node.said() == [1]
    if how == "run_or_retrieve":
        assert os.path.exists(store.run_or_retrieve(ONE).result_file)
    elif how == "sweep":
        assert os.path.exists(store.sweep([ONE])[0].result_file)
    elif how == "explain":
        assert store.explain(ONE).hit
    elif how == "check":
        assert store.check().ok
    else:
        assert store.load(ONE)["n"] == 1
    assert not runner.ns


@pytest.mark.only_on("postgresql")
def test_a_rerun_of_another_node_is_waited_for_until_its_file_is_seen(children, place, mount, open_store, tmp_path):
    here, there = mount("here", 3), mount("there", 3)
    runner = CountingRunner()
    store = open_store(run=runner, results_dir=here)
    first = store.run_or_retrieve(ONE)
    size = os.stat(first.result_file).st_size
    (tmp_path / "go").touch()
    node = children.start("servers.crowd:node", folder=str(tmp_path), url=place.url, results=str(there),
                          boot="0badcafe", ns=[1], longer=True)  # fmt: skip
    assert node.said() == [1]
    assert os.stat(store.run_or_retrieve(ONE).result_file).st_size > size
    assert len(runner.ns) == 1


# ---- what is lost is run again, at once ----------------------------------------------------------------------------
@pytest.fixture
def no_pause(monkeypatch):
    """Fail if anybody waits."""

    def list_repeatedly(folder: str, seconds: float) -> Any:
        raise AssertionError(f"waits for up to {seconds} s")

    monkeypatch.setattr("entropic.protocol.lookup.list_repeatedly", list_repeatedly)


def test_a_result_of_this_host_that_was_removed_runs_again_at_once(store, runner, no_pause):
    os.unlink(store.run_or_retrieve(ONE).result_file)
    with pytest.warns(ResultLostWarning, match="is gone"):
        store.run_or_retrieve(ONE)
    assert len(runner.ns) == 2


@on_servers
def test_a_result_that_another_host_stored_long_ago_and_that_was_removed_runs_again_at_once(
    store, runner, place, no_pause
):
    os.unlink(store.run_or_retrieve(ONE).result_file)
    place.execute("UPDATE entropic_ledger SET owner = 'far.0badcafe.7.1234.0', since = since - 100")
    with pytest.warns(ResultLostWarning, match="is gone"):
        store.sweep([ONE])
    assert len(runner.ns) == 2


@on_servers
def test_a_result_that_another_host_stored_just_now_and_that_is_not_listed_runs_again_after_some_seconds(
    store, runner, place, monkeypatch
):
    monkeypatch.setattr("entropic.protocol.lookup.UNLISTED", 1.0)
    os.unlink(store.run_or_retrieve(ONE).result_file)
    place.execute("UPDATE entropic_ledger SET owner = 'far.0badcafe.7.1234.0'")
    with pytest.warns(ResultLostWarning, match="is gone"):
        store.run_or_retrieve(ONE)
    assert len(runner.ns) == 2


@on_servers
def test_a_server_remembers_who_placed_a_result(store, place):
    store.sweep([ONE, {"n": 2, "dt": 0.5}])
    store.run({"n": 2, "dt": 0.5})
    owners = place.fetch("SELECT owner FROM entropic_ledger")
    assert owners == [(f"{process.identity()}.0",)] * 2
    assert not any(claim.placed_elsewhere for claim in store._context.ledger.all())


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_file_that_is_listed_and_not_seen_turns_up(tmp_path, monkeypatch):
    (tmp_path / "there").touch()
    real, began = os.path.exists, time.monotonic()
    monkeypatch.setattr(os.path, "exists", lambda path: time.monotonic() - began > 0.3 and real(path))
    assert patience.turns_up(str(tmp_path / "there"))
    assert not patience.turns_up(str(tmp_path / "gone"))
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert not patience.turns_up(str(tmp_path / "link"))
    assert not patience.turns_up(str(tmp_path / "no" / "folder"))
