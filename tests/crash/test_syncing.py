"""`fsync=True`: what is waited for, in which order, and what others have lying there is none of it."""

import os
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from peek import executions

from entropic.files import durable
from entropic.support import process

PROCESSES, SETS = 4, 15


def staging(folder):
    (found,) = os.scandir(os.path.join(folder, "results", ".entropic"))
    return found.path


@pytest.mark.slow
def test_processes_that_sync_beside_each_other_do_not_disturb_each_other(server, case):
    children = [server.start("syncing:toil", folder=case, sets=range_of(number)) for number in range(PROCESSES)]
    rows = [row for child in children for row in child.said()]
    assert len({row["content"] for row in rows}) == len(rows) == len(executions(case)) == PROCESSES * SETS
    assert server.start("work:check", folder=case).said() == ""


def range_of(number):
    return list(range(number * SETS, (number + 1) * SETS))


def test_a_pipe_and_what_belongs_to_others_are_not_opened(server, case, tmp_path):
    """In a process of its own, with a deadline: a pipe that is opened would hold it for ever."""
    server.start("work:prepare", folder=case, history="first", shape="folder").said()
    with (other := process.Call()).under_way:  # a living worker's
        theirs = Path(staging(case), f"{other.name}.work")
        theirs.mkdir()
        os.mkfifo(theirs / "pipe")
        os.mkfifo(Path(staging(case), "pipe"))
        child = server.start("syncing:run_with_pipes", folder=case)
        said = child.said(seconds=50.0)
    assert stat.S_ISFIFO(os.lstat(said["pipe"]).st_mode), "it is a part of the result"
    assert not [
        path for path in said["opened"] if os.path.basename(path) in ("pipe", "link", "outside") or other.name in path
    ]


def test_contents_then_names_then_the_sidecar_then_the_places_are_on_the_disk_before_the_row_is(server, case):
    server.start("work:prepare", folder=case, history="first", shape="folder+extra").said()
    said = server.start("syncing:order", folder=case).said()
    area = staging(case)

    def plain(path):
        path = path.replace(area, "A").replace(os.path.join(case, "results"), "results")
        for suffix in (".json", ".res", ".files"):
            _, found, tail = path.partition(suffix)
            if found:
                return f"A/T{suffix}{tail}"
        return path

    order = [plain(path) for path in said["synced"]]
    last = order.index("results")
    content, files = {"A/T.res/data", "A/T.res/sub/data", "A/T.res/sub", "A/T.res"}, {"A/T.files", "A/T.files/notes"}
    assert set(order[: order.index("A")]) == content | files
    assert order.index("A/T.res/sub/data") < order.index("A/T.res/sub") < order.index("A/T.res")
    assert order[order.index("A") : last] == ["A", "A/T.json", "A"]
    assert order[last:] == ["results", "row"]


def test_the_way_to_a_new_results_folder_is_synced(server, case, tmp_path):
    said = server.start("syncing:way", folder=case, results=str(tmp_path / "a" / "b" / "results")).said()
    way = [tmp_path / "a" / "b" / "results" / ".entropic", tmp_path / "a" / "b" / "results", tmp_path / "a" / "b",
           tmp_path / "a", tmp_path]  # fmt: skip
    assert [path for path in said["synced"] if path in set(map(str, way))] == list(map(str, way))


@pytest.mark.slow
def test_a_batch_of_a_sweep_syncs_its_folder_once(server, case):
    server.start("work:prepare", folder=case, history="first", shape="file").said()
    said = server.start("syncing:order", folder=case, operation="sweep").said()
    assert said["synced"].count(os.path.join(case, "results")) == 1


def test_a_deleted_file_stays_away(server, case):
    server.start("work:prepare", folder=case, history="again", shape="file").said()
    said = server.start("syncing:order", folder=case, operation="delete file").said()
    assert os.path.join(case, "results") in said["synced"], "before the claim says that it is gone"


@pytest.mark.slow
def test_a_file_that_may_only_be_written_is_synced_too():
    """Root may read everything, so somebody else does it, in a process of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    code = """
        import os, sys
        from entropic.files.durable import sync_content
        os.seteuid(65534)
        sync_content(sys.argv[1])
    """
    with tempfile.TemporaryDirectory() as folder:  # which anyone may enter, and pytest's own nobody
        os.chmod(folder, 0o755)
        path = Path(folder, "closed")
        path.touch()
        os.chmod(path, 0o222)
        command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
        done = subprocess.run(command, capture_output=True, timeout=90, text=True)
    assert done.returncode == 0, done.stderr


def test_a_link_is_not_followed_below_a_folder_and_a_broken_one_is_no_error(tmp_path):
    (tmp_path / "there").mkdir()
    os.symlink(tmp_path / "nowhere", tmp_path / "there" / "link")
    durable.sync_content(str(tmp_path / "there"))
    durable.sync_content(str(tmp_path / "there" / "link"))
