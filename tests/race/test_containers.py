"""Two containers, namespaces of pids of their own, share a store in a file: neither sees whether the other lives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from faults import touch
from harness import until
from peek import executions
from scenes import in_order

from databases import words_of
from entropic.support import process

pytestmark = pytest.mark.only_on("sqlite")
SCRIPT = str(Path(__file__).with_name("contained.py"))
# How long a run lets no thread of its process go on: more than three leases, each long enough for a busy machine.
LEASE, SECONDS = 5.0, 16.0


def way_in():
    """Return the command that makes a container, None where this user may not."""
    for more in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *more, "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]
        try:
            if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
                return command
        except FileNotFoundError:
            return None
    return None


@pytest.fixture
def contain(case):
    """Start a container that asks for the set once the file `go` is there."""
    command, begun = way_in(), []
    if command is None:
        pytest.skip("this user may make no namespaces")

    def start(name, operation="run_or_retrieve", helped="helped", seconds=SECONDS):
        inside = f'hostname {name}; exec "$@"'
        asks = [sys.executable, "-W", "error", SCRIPT, case, name, str(seconds), str(LEASE), operation, helped]
        begun.append(subprocess.Popen([*command, "sh", "-c", inside, "sh", *asks]))
        return begun[-1]

    yield start
    for one in begun:
        one.kill()
        one.wait()


def said(case, name, popen):
    assert popen.wait(100) == 0
    return json.loads(Path(case, f"{name}-said").read_text())


def begin(case, *names):
    until(lambda: all(os.path.exists(f"{case}/{name}-ready") for name in names), "all are ready")
    touch(f"{case}/go")


@pytest.mark.slow
def test_two_containers_run_a_set_once_although_its_run_holds_the_interpreter(server, case, contain):
    one, other = contain("one"), contain("other")
    begin(case, "one", "other")
    assert said(case, "one", one) == said(case, "other", other)
    assert len(executions(case)) == 1
    owners = [Path(case, f"{name}-is").read_text().split(".") for name in ("one", "other")]
    assert owners[0][:2] != owners[1][:2], "they do not see each other"
    in_order(server, case)


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.parametrize("operation", ["run_or_retrieve", "run"])
def test_two_containers_whose_leases_nobody_renews_end_nevertheless(server, case, contain, operation):
    one, other = contain("one", operation, "unhelped"), contain("other", operation, "unhelped")
    begin(case, "one", "other")
    rows = [said(case, "one", one), said(case, "other", other)]
    ran = [run["content"] for run in executions(case)]
    assert len(ran) <= 2, "the first one wins, so each runs it once at most"
    if operation == "run_or_retrieve":
        assert rows[0] == rows[1]
    else:
        assert {row["content"] for row in rows} <= set(ran)
    in_order(server, case)


def helpers():
    return [child for child in psutil.Process().children() if any("lease_process" in word for word in words_of(child))]


def test_a_process_that_sees_a_worker_of_a_container_renews_its_leases_by_a_process(open_store):
    seen = []

    def runner(params):
        seen.append(len(helpers()))
        Path(params["result_file"]).touch()

    store = open_store(run=runner, lease=0.3)
    store.run_or_retrieve({"n": 1, "dt": 0.5})
    os.mkdir(store._context.staging.inside("container.0badcafe.7.1234.1.work"))

    def is_helped():
        store.run({"n": 1, "dt": 0.5})
        return seen[-1] > 0

    until(is_helped, "it looks again, and sees it")
    assert seen[0] == process.is_contained()
    del is_helped


def test_a_process_that_renews_leases_makes_no_database_anew(open_store, place, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "is_contained", lambda: True)
    database = tmp_path / "gone.sqlite3"

    def runner(params):
        database.unlink()
        (helper,) = until(helpers, "it can be seen, a moment after it was started")
        began = helper.num_ctx_switches().voluntary
        until(lambda: helper.num_ctx_switches().voluntary > began + 20, "it has tried to renew")
        assert not database.exists()
        Path(params["result_file"]).touch()
        raise ValueError("enough")

    store = open_store(run=runner, lease=0.1, db_url=f"sqlite:///{database}")
    with pytest.raises(ValueError, match="enough"):
        store.run_or_retrieve({"n": 1, "dt": 0.5})
