"""The power goes, and with it what no disk holds yet: no wrong result is served, and with `fsync` none is lost.

The disks are real file systems in a file, shut down by their own ioctl, which loses the memory of the machine.
"""

import os
import shutil
from pathlib import Path

import pytest
from disks import make_disk

from databases import Place

pytestmark = [pytest.mark.slow, pytest.mark.only_on("sqlite")]
WAYS = ["mapped", "into a size", "allocated"]
STORED = 1 << 20


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def disk(request, tmp_path_factory):
    made = make_disk(request.param, tmp_path_factory.mktemp("disk"))
    yield made
    made.close()


@pytest.fixture
def case(disk, request):
    """The folder of one store, on a disk whose power can be cut."""
    folder = Path(disk.path, request.node.name.replace("/", "-"))
    folder.mkdir()
    (folder / "url").write_text(Place.on_sqlite(folder).url)
    disk.sync()
    return str(folder)


# ---- by default ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("way", WAYS)
def test_a_result_whose_data_never_reached_the_disk_is_not_served(server, disk, case, way):
    row = server.start("outages:make", folder=case, way=way).said()
    disk.cut_power(keeps_log=True)
    content = Path(row["file"]).read_bytes()
    assert content == bytes(STORED), "else the file system kept it, and this test shows nothing"
    after = server.start("outages:ask", folder=case, way=way).said()
    assert after["right"], "what is served is what the runner wrote"
    assert after["runs"] == 1
    assert "may not have reached the disk" in " ".join(after["warnings"])
    assert not after["check"], after["check"]


@pytest.mark.parametrize("way", [*WAYS, "appended"])
def test_a_result_that_took_a_second_survives_by_default(server, disk, case, way):
    server.start("outages:make", folder=case, way=way, seconds=1.5).said()
    disk.cut_power(keeps_log=True)
    after = server.start("outages:ask", folder=case, way=way).said()
    assert after["right"]
    assert (after["runs"], after["warnings"]) == (0, [])


def test_the_damage_is_seen_though_somebody_read_the_file_since(server, disk, case):
    row = server.start("outages:make", folder=case, way="allocated").said()
    disk.cut_power(keeps_log=True)
    for _ in range(2):
        assert Path(row["file"]).read_bytes() == bytes(STORED)
    after = server.start("outages:ask", folder=case, way="allocated").said()
    assert after["right"]


def test_a_finished_run_that_was_not_recorded_is_looked_at_too(server, disk, case):
    fault = {"step": "publish", "when": "before", "do": "kill"}
    child = server.start("outages:make", folder=case, way="mapped", fault=fault)
    assert child.status() < 0
    disk.cut_power(keeps_log=True)
    after = server.start("outages:ask", folder=case, way="mapped").said()
    assert after["right"]
    assert not after["check"], after["check"]


# ---- with fsync ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", ["file", "folder+extra"])
@pytest.mark.parametrize("operation", ["run_or_retrieve", "run", "sweep"])
def test_what_counts_as_stored_survives_whatever_follows(server, disk, case, operation, shape):
    """The power goes at once when the call has returned."""
    done = server.start("work:suffer", folder=case, operation=operation, shape=shape, fsync=True).said()
    disk.cut_power()
    names = {"folder": case, "operation": "sweep" if operation == "sweep" else "run_or_retrieve", "shape": shape}
    again = server.start("work:suffer", **names, fsync=True).said()
    assert [(row["content"], row["extras"]) for row in again] == [(row["content"], row["extras"]) for row in done]
    assert server.start("work:check", folder=case).said() == ""


def starts(folder):
    """Return how many executions a case has seen, as far as that survived: a power cut leaves zeros there, too."""
    path = Path(folder, "executions")
    return path.read_bytes().count(b'"content"') if path.exists() else 0


@pytest.mark.timeout(900)
@pytest.mark.long
@pytest.mark.parametrize(("history", "shape"), [("first", "file"), ("again", "file"), ("again", "folder+extra")])
def test_a_power_cut_at_any_change_of_the_disk_loses_nothing_that_counted(server, disk, case, history, shape):
    """The power goes before each change of the disk and each statement of a run, one after the other."""
    for nth in range(1, 200):
        folder = f"{case}/{nth}"
        os.mkdir(folder)
        Path(folder, "url").write_text(Place.on_sqlite(Path(folder)).url)
        earlier = None
        if history == "again":
            server.start("work:prepare", folder=folder, history="again", shape=shape).said()
            earlier = server.start("work:suffer", folder=folder, operation="retrieve", shape=shape).said()[0]
        disk.sync()
        fault = {"step": "any call", "when": "before", "nth": nth, "do": "kill"}
        names = {"operation": "run" if earlier else "run_or_retrieve", "shape": shape, "fsync": True}
        child = server.start("work:suffer", folder=folder, fault=fault, **names)
        survived = child.status() == 0
        disk.cut_power()
        before = starts(folder)
        served = server.start("work:suffer", folder=folder, operation="run_or_retrieve", shape=shape, fsync=True).said()
        assert served[0]["content"] not in ("no file", "incomplete folder", "mixed folder")
        assert not served[0]["content"].startswith("damaged")
        assert served[0]["extras"] == ([served[0]["content"]] if "extra" in shape else [])
        if earlier or survived:
            assert starts(folder) == before, f"change {nth}: what had been stored was run again"
        said = server.start("work:follow", folder=folder, operations=["retrieve"], shape=shape, fresh=True).said()
        assert not said["check"], f"change {nth}: {said['check']}"
        if survived:
            assert served == child.said(), "what was returned is what is stored"
            return
        shutil.rmtree(folder)  # or the disk would be full of them
    raise AssertionError("it never came to an end")
