"""A full disk, a folder that cannot be written, a locked database: a clear error, and nothing is lost."""

import errno
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
import work
from disks import make_disk
from harness import until
from judge import FIRST
from peek import executions

from databases import Place

MIB = 1 << 20


@pytest.fixture
def make_place():
    """Make a file: the database is on the full disk, too."""
    return Place.on_sqlite


@pytest.fixture
def case(server, case):
    server.start("work:prepare", folder=case, history="first", shape="file").said()
    return case


def wish(server, case, operation="run_or_retrieve"):
    """Perform an operation in a process that nothing is wrong with; return its row, once all is in order."""
    said = server.start("work:follow", folder=case, operations=[operation], shape="file", fresh=True).said()
    assert not said["check"], said["check"]
    return said["done"][0][0]


@pytest.mark.slow
def test_a_result_that_the_disk_cannot_hold_is_a_failure_and_the_earlier_result_stays(server, case):
    earlier = wish(server, case)
    error = server.start("trouble:fill", folder=case, call="run", before=MIB, size=2 * MIB).said()
    assert (error["type"], error["errno"]) == ("OSError", errno.EFBIG), "the runner's own error comes out"
    found = server.start("trouble:failure_of", folder=case).said()
    assert found["state"] == "failed"
    assert "OSError" in found["failure"]["traceback"]
    assert wish(server, case) == earlier
    assert len(executions(case)) == 2


@pytest.mark.slow
def test_a_run_whose_sidecar_the_disk_could_not_hold_does_not_begin(server, case):
    earlier = wish(server, case)
    error = server.start("trouble:fill", folder=case, call="run", before=MIB, custom=2 * MIB).said()
    assert error["type"] == "StoreError"
    assert "nothing was run" in error["text"]
    assert len(executions(case)) == 1
    assert server.start("trouble:failure_of", folder=case).said()["state"] == "failed"
    assert wish(server, case) == earlier
    assert wish(server, case, "run")["content"] != earlier["content"]


@pytest.mark.slow
def test_a_result_that_the_database_has_no_room_for_is_kept_and_recorded_by_the_next_call(server, case):
    error = server.start("trouble:fill", folder=case, call="run_or_retrieve", within=3000).said()
    assert error["type"] == "PublishError"
    assert "without running it again" in error["text"]
    row = wish(server, case)
    assert [row["content"]] == [one["content"] for one in executions(case)]


@pytest.mark.slow
def test_a_rerun_that_the_database_has_no_room_for_replaces_the_earlier_result_at_the_next_call(server, case):
    wish(server, case)
    assert server.start("trouble:fill", folder=case, call="run", within=3000).said()["type"] == "PublishError"
    assert wish(server, case)["content"] == executions(case)[-1]["content"]
    assert len(executions(case)) == 2


@pytest.mark.slow
def test_no_run_begins_when_the_database_has_no_room_for_its_claim(server, case):
    error = server.start("trouble:fill", folder=case, call="run_or_retrieve", before=3000).said()
    assert error["kind"] in ("ours", "sqlite")
    assert not executions(case)
    assert wish(server, case)["content"] == executions(case)[-1]["content"]


@pytest.mark.slow
def test_a_sweep_that_the_database_has_no_room_for_loses_no_finished_run(server, case):
    error = server.start("trouble:fill", folder=case, call="sweep", within=3000, sets=3).said()
    assert error["kind"] in ("ours", "sqlite")
    ran = {one["content"] for one in executions(case)}
    assert ran
    said = server.start("work:follow", folder=case, operations=["sweep"], shape="file", fresh=True).said()
    assert not said["check"], said["check"]
    assert ran <= {row["content"] for row in said["done"][0]}
    assert len(executions(case)) == 3


@pytest.mark.slow
def test_a_sweep_on_a_full_disk_says_that_what_ran_is_kept(server, case):
    error = server.start("trouble:fill", folder=case, call="sweep", within=3000, sets=3).said()
    assert "without running it again" in " ".join([error["text"], *error["notes"]])


@pytest.mark.slow
def test_a_runner_that_meets_the_full_disk_in_a_sweep_has_its_own_error_come_out(server, case):
    names = {"folder": case, "call": "sweep", "within": 3000, "during": 4, "size": 5000, "sets": 12}
    error = server.start("trouble:fill", **names).said()
    assert (error["type"], error["errno"]) == ("OSError", errno.EFBIG), error["traceback"]
    assert any("raised while running" in note for note in error["notes"])
    ran = executions(case)
    said = server.start("work:follow", folder=case, operations=["sweep"], shape="file", fresh=True).said()
    assert {one["content"] for one in ran[:3]} == {row["content"] for row in said["done"][0]}


# ---- real disks --------------------------------------------------------------------------------------------------
@pytest.fixture(params=["ext4", "xfs"])
def disk(request, tmp_path):
    made = make_disk(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["database elsewhere", "database on it"])
def on_disk(request, server, disk, tmp_path):
    """The folder of a store whose results, and maybe its database, lie on a small disk."""
    folder = os.path.join(disk.path, "case")
    os.mkdir(folder)
    where = folder if request.param == "database on it" else tmp_path
    Path(folder, "url").write_text(Place.on_sqlite(Path(where)).url)
    server.start("work:prepare", folder=folder, history="first", shape="file").said()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
def test_a_run_that_ended_just_when_the_disk_was_full_is_not_lost(server, disk, on_disk, shape):
    said = server.start("trouble:crowd", folder=on_disk, full=disk.path, call="run_or_retrieve", shape=shape).said()
    ran = executions(on_disk)
    assert len(ran) == 1
    if said["error"] is None:
        assert said["rows"][0]["content"] == ran[0]["content"]
    else:
        assert said["error"]["type"] == "PublishError", said["error"]["traceback"]
        assert "its result is kept" in said["error"]["text"]
    os.unlink(f"{disk.path}/ballast")
    row = server.start("work:follow", folder=on_disk, operations=["run_or_retrieve"], shape=shape, fresh=True).said()
    assert not row["check"], row["check"]
    assert row["done"][0][0]["content"] == ran[0]["content"]
    assert row["done"][0][0]["extras"] == ([ran[0]["content"]] if shape == "folder+extra" else [])
    assert len(executions(on_disk)) == 1


@pytest.mark.slow
def test_a_folder_that_replaces_one_on_a_full_disk_is_not_lost_either(server, disk, on_disk):
    server.start("work:suffer", folder=on_disk, operation="run_or_retrieve", shape="folder").said()
    said = server.start("trouble:crowd", folder=on_disk, full=disk.path, call="run", shape="folder").said()
    assert said["error"] is None or said["error"]["type"] == "PublishError", said["error"]["traceback"]
    ran = executions(on_disk)
    os.unlink(f"{disk.path}/ballast")
    row = server.start("work:follow", folder=on_disk, operations=["run_or_retrieve"], shape="folder", fresh=True).said()
    assert not row["check"], row["check"]
    assert row["done"][0][0]["content"] == ran[-1]["content"]
    assert len(executions(on_disk)) == len(ran) == 2


@pytest.mark.slow
def test_what_begins_on_a_full_disk_does_not_run(server, disk, on_disk):
    said = server.start("trouble:crowd", folder=on_disk, full=disk.path, call="run_or_retrieve", before=True).said()
    assert said["error"]["kind"] in ("ours", "sqlite")
    assert not executions(on_disk)
    os.unlink(f"{disk.path}/ballast")
    assert wish(server, on_disk)["content"] == executions(on_disk)[0]["content"]


@pytest.mark.slow
def test_a_sweep_that_meets_the_full_disk_loses_nothing_that_ended(server, disk, on_disk):
    said = server.start("trouble:crowd", folder=on_disk, full=disk.path, call="sweep", sets=5).said()
    assert said["error"] is not None
    ran = executions(on_disk)
    assert ran
    os.unlink(f"{disk.path}/ballast")
    row = server.start("work:follow", folder=on_disk, operations=["sweep"], shape="file", fresh=True).said()
    assert not row["check"], row["check"]
    assert ran[0]["content"] in {one["content"] for one in row["done"][0]}
    assert len(executions(on_disk)) <= 2 + len(ran), "and at most one had not ended"


# ---- folders that cannot be written ------------------------------------------------------------------------------
@pytest.fixture
def open_case(server):
    """A case below a folder that anyone may enter, which pytest's own is not."""
    root = tempfile.mkdtemp(prefix="entropic-test-")
    os.chmod(root, 0o755)
    folder = os.path.join(root, "case")
    os.mkdir(folder)
    Path(folder, "url").write_text(Place.on_sqlite(Path(folder)).url)
    server.start("work:prepare", folder=folder, history="first", shape="file").said()
    yield folder
    for path, _, _ in os.walk(root):
        os.chmod(path, 0o755)
    shutil.rmtree(root)


def allow(folder, *closed):
    """Let anyone write anything in a case but the `closed` folders."""
    for path, _, names in os.walk(folder):
        os.chmod(path, 0o777)
        for name in names:
            os.chmod(os.path.join(path, name), 0o666)
    for path in closed:
        os.chmod(path, 0o555)


def staging(folder):
    (found,) = os.scandir(os.path.join(folder, "results", ".entropic"))
    return found.path


def tree(folder):
    return {os.path.join(path, name) for path, _, names in os.walk(folder) for name in names}


@pytest.mark.slow
def test_a_store_that_cannot_be_written_runs_nothing_and_changes_nothing(server, open_case):
    earlier, before = wish(server, open_case), tree(open_case)
    allow(open_case, open_case, os.path.join(open_case, "results"), staging(open_case))
    for path in before:
        os.chmod(path, 0o444)
    error = server.start("trouble:as_nobody", folder=open_case, call="run", opened=False).said()
    assert error["kind"] in ("ours", "sqlite")
    assert "readonly" in error["text"] or error["type"] == "StoreError", error["traceback"]
    assert len(executions(open_case)) == 1
    assert tree(open_case) == before
    allow(open_case)
    assert wish(server, open_case) == earlier


@pytest.mark.slow
def test_nothing_runs_where_no_workspace_can_be_made(server, open_case):
    earlier = wish(server, open_case)
    allow(open_case, staging(open_case))
    error = server.start("trouble:as_nobody", folder=open_case, call="run", opened=True).said()
    assert error["type"] == "StoreError"
    assert "nothing was run" in error["text"]
    assert len(executions(open_case)) == 1
    allow(open_case)
    assert wish(server, open_case) == earlier


@pytest.mark.slow
def test_a_result_that_cannot_come_to_its_place_is_kept_and_placed_by_the_next_call(server, open_case):
    allow(open_case, os.path.join(open_case, "results"))
    open(os.path.join(open_case, "executions"), "w").close()
    os.chmod(os.path.join(open_case, "executions"), 0o666)
    error = server.start("trouble:as_nobody", folder=open_case, call="run_or_retrieve", opened=True).said()
    assert error["type"] == "PublishError"
    allow(open_case)
    row = wish(server, open_case)
    assert [row["content"]] == [one["content"] for one in executions(open_case)]


# ---- a database that another program has locked ------------------------------------------------------------------
@pytest.fixture
def locked(case):
    """A connection of another program, which can lock the database."""
    base = sqlite3.connect(f"{case}/db.sqlite3", isolation_level=None)
    yield base
    base.close()


def start(server, case, timeout=3.0, **behaviour):
    """Start a child that has its store open, and makes its call as soon as the file `begin` is there."""
    opened, begin = f"{case}/opened", f"{case}/begin"
    names = {"folder": case, "call": "run_or_retrieve", "opened": opened, "begin": begin, "timeout": timeout}
    child = server.start("trouble:timed", **names, **behaviour)
    until(lambda: os.path.exists(opened), "the store is open")
    return child


@pytest.mark.slow
def test_a_locked_database_is_waited_for_as_long_as_the_url_says(server, case, locked):
    child = start(server, case)
    locked.execute("BEGIN IMMEDIATE")
    work.faults.touch(f"{case}/begin")
    said = child.said()
    locked.execute("ROLLBACK")
    assert said["error"]["type"] == "DatabaseBusy"
    assert said["seconds"] > 2.7, "as long as the URL says"
    assert not executions(case)
    assert wish(server, case)["content"] == executions(case)[-1]["content"]


@pytest.mark.slow
def test_a_database_that_is_locked_while_the_runner_runs_costs_no_second_run(server, case, locked):
    child = start(server, case, marker=f"{case}/runs", until=f"{case}/go")
    work.faults.touch(f"{case}/begin")
    until(lambda: os.path.exists(f"{case}/runs"), "the runner runs")
    locked.execute("BEGIN IMMEDIATE")
    work.faults.touch(f"{case}/go")
    said = child.said()
    locked.execute("ROLLBACK")
    assert said["error"]["type"] in ("DatabaseBusy", "PublishError")
    row = wish(server, case)
    assert [row["content"]] == [one["content"] for one in executions(case)]


@pytest.mark.slow
def test_a_hit_needs_no_lock(server, case, locked):
    row = wish(server, case)
    child = start(server, case)
    locked.execute("BEGIN IMMEDIATE")
    work.faults.touch(f"{case}/begin")
    said = child.said()
    locked.execute("ROLLBACK")
    assert said["row"] == row


# ---- results without write permission, as git-annex, DVC and Nix leave them ---------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("fsync", [False, True])
@pytest.mark.parametrize("call", ["run_or_retrieve", "run", "sweep"])
def test_a_folder_without_write_permission_is_stored_as_it_is_and_runs_once(server, open_case, call, fsync):
    allow(open_case)
    names = {"folder": open_case, "call": call, "extra": True, "fsync": fsync, "times": 2}
    said = server.start("trouble:keep_closed", **names).said()
    assert "error" not in said, said["error"]["traceback"]
    assert said["modes"] == [0o555]
    assert not said["check"]
    assert len(executions(open_case)) == {"run_or_retrieve": 1, "run": 2, "sweep": 3}[call]


@pytest.mark.slow
def test_a_folder_without_write_permission_is_deleted_whole(server, open_case):
    allow(open_case)
    said = server.start("trouble:keep_closed", folder=open_case, call="run_or_retrieve").said()
    assert "error" not in said, said["error"]["traceback"]
    said = server.start("trouble:keep_closed", folder=open_case, call="delete file").said()
    assert said["rows"] == [True]
    assert not {*said["left"]} - {"reserve", "starts", "logs", "journal", "environments"}
    assert os.listdir(os.path.join(open_case, "results")) == [".entropic"]


# ---- what cannot be recorded, or not be removed ------------------------------------------------------------------
@pytest.fixture
def refused(server, case):
    """A case with a finished run whose place somebody has taken since."""
    fault = {"step": "place", "when": "before", "do": "kill"}
    child = server.start("work:suffer", folder=case, operation="run_or_retrieve", shape="file", fault=fault)
    assert child.status() < 0
    path = Path(case, "results", f"{FIRST}{work.SUFFIX}")
    path.write_text("somebody's")
    return str(path)


@pytest.mark.slow
def test_a_set_that_cannot_be_recorded_is_that_sets_failure_and_the_others_run(server, case, refused):
    said = server.start("trouble:sweep_beside", folder=case, on_error="continue").said()
    assert said["error"] is None, said["error"]["traceback"]
    assert said["rows"] == [2, 3]
    (told,) = [text for text in said["warnings"] if "sets of" in text]
    assert "1 of 3" in told
    assert refused in told, "the message says what is in the way"
    os.unlink(refused)
    rows = server.start("work:follow", folder=case, operations=["sweep"], shape="file", fresh=True).said()
    assert not rows["check"], rows["check"]
    assert len(executions(case)) == 3, "nothing ran twice"


@pytest.mark.slow
def test_a_set_that_cannot_be_recorded_ends_a_sweep_that_ends_at_failures_with_its_error(server, case, refused):
    said = server.start("trouble:sweep_beside", folder=case, on_error="raise").said()
    assert said["error"]["type"] == "ForeignFileError"
    assert refused in said["error"]["text"]
    assert Path(refused).read_text() == "somebody's"


@pytest.mark.slow
def test_repair_and_gc_report_no_removal_that_did_not_happen(server, open_case):
    allow(open_case)
    fault = {"step": "execute", "when": "after", "do": "kill"}
    child = server.start("work:suffer", folder=open_case, operation="run", shape="folder+extra", fault=fault)
    assert child.status() < 0
    (left,) = Path(staging(open_case)).glob("*.work")
    for path, _, _ in os.walk(left):
        os.chmod(path, 0o755)
        os.chown(path, 0, 0)
    allow(open_case, *[path for path, _, _ in os.walk(left)])
    said = server.start("trouble:mend", folder=open_case).said()
    assert left.exists()
    assert not [text for text in [*said["done"], *said["removed"]] if left.name in text]
    assert left.name in said["left"], "it says that this is left"
