"""Which processes are a worker's, counted and ended with it, and which are not; with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from contract.models import PATIENCE, gone, wait_until
from entropic.executors import guardian
from entropic.executors.guardian import Families, Limit, Moment, end_sessions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what it looks at is Linux's")
SLEEP = ["sleep", "600"]
# Whose child makes itself a session. Each of the two writes its pid.
MAKES_A_SESSION = ["sh", "-c", "sh -c 'echo $$; setsid sh -c \"echo \\$\\$; exec sleep 600\" & wait' & wait"]
# The same, which in its session has a child whose parent has ended.
IN_IT = 'echo $$; (sh -c "echo \\$\\$; exec sleep 600" &); sleep 600; :'
LEAVES_AN_ORPHAN = ["sh", "-c", f"setsid sh -c '{IN_IT}' & wait"]
# The child makes itself a session when it is told.
MAKES_A_SESSION_LATE = """if True:
    import os, signal
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        if os.fork() == 0:
            signal.signal(signal.SIGUSR1, lambda *_: os.setsid())
            print(os.getpid(), flush=True)
            while True:
                signal.pause()
    os.wait()
"""
Begin = Callable[..., tuple[subprocess.Popen[str], list[int]]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start something that leads a session, and return it with the pids that it writes."""
    begun: list[subprocess.Popen[str]] = []
    more = set[int]()

    def do(command: list[str], count: int = 0, **how: Any) -> tuple[subprocess.Popen[str], list[int]]:
        options = {"start_new_session": True, **how}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
        begun.append(process)
        assert process.stdout is not None
        pids = [int(process.stdout.readline()) for _ in range(count)]
        more.update(pids)
        return process, pids

    yield do
    for pid in more:
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)
    for process in begun:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_until_orphaned(pid: int, parent: int) -> None:
    os.kill(parent, signal.SIGKILL)
    wait_until(lambda: psutil.Process(pid).ppid() != parent)


def family(worker: subprocess.Popen[str], families: Families | None = None) -> set[int]:
    return set((families or Families([worker.pid])).find_processes(Moment())[worker.pid])


# ---- who is of the family ----------------------------------------------------------------------------------------
def test_a_family_is_known_by_sessions_and_by_who_has_made_them(begin):
    first, (middle, leader) = begin(MAKES_A_SESSION, 2)
    other, _ = begin(SLEEP)
    families = Families([first.pid, other.pid])
    assert family(first, families) == {first.pid, middle, leader}
    assert family(other, families) == {other.pid}
    wait_until_orphaned(leader, middle)
    first.kill()
    first.wait()
    assert leader in family(first, families), "what has made it is gone, but it was seen before"
    assert leader not in family(first)


def test_an_orphan_in_a_session_that_a_run_has_made_is_ended_with_it(begin):
    worker, pids = begin(LEAVES_AN_ORPHAN, 2)
    wait_until(lambda: os.getsid(psutil.Process(pids[1]).ppid()) != pids[0])
    assert family(worker) > {worker.pid, *pids}
    end_sessions([worker.pid])
    assert all(map(gone, [worker.pid, *pids]))


def test_a_process_that_was_seen_before_it_made_itself_a_session_stays_in_its_family(begin):
    worker, (middle, late) = begin([sys.executable, "-S", "-c", MAKES_A_SESSION_LATE], 2)
    families = Families([worker.pid])
    assert late in family(worker, families)
    wait_until_orphaned(late, middle)
    os.kill(late, signal.SIGUSR1)
    wait_until(lambda: os.getsid(late) == late)
    assert late in family(worker, families)
    end_sessions([worker.pid], families)
    assert gone(late)


def test_what_was_seen_before_its_worker_was_announced_is_its_own(begin):
    worker, (middle, leader) = begin(MAKES_A_SESSION, 2)
    families = Families()
    families.find_processes(Moment())
    families.add(worker.pid)
    assert family(worker, families) == {worker.pid, middle, leader}


def test_without_proc_a_family_is_what_ps_tells(begin, monkeypatch):
    worker, (middle, leader) = begin(MAKES_A_SESSION, 2)
    monkeypatch.setattr(guardian, "_has_proc", lambda: False)
    there = Moment()
    assert set(Families([worker.pid]).find_processes(there)[worker.pid]) == {worker.pid, middle, leader}
    parent, start, lives = there.stat(leader)
    assert (parent, bool(start), lives) == (middle, True, True)
    assert there.held(leader) == there.share(leader) > 0


# ---- who is killed, and who is not -------------------------------------------------------------------------------
def test_a_worker_is_killed_where_the_system_hides_the_processes_of_others(begin, monkeypatch):
    worker, _ = begin(SLEEP)

    def refuse(path: str, *mode: str) -> Any:
        if str(worker.pid) not in path:
            raise PermissionError(path)
        return open(path, *mode)

    monkeypatch.setattr(guardian, "open", refuse, raising=False)
    end_sessions([worker.pid])
    assert worker.wait(PATIENCE) == -signal.SIGKILL


def test_a_process_that_only_has_the_number_of_a_worker_is_not_killed(begin):
    for how in ({"start_new_session": False}, {"start_new_session": False, "process_group": 0}):
        stranger, _ = begin(SLEEP, **how)
        end_sessions([stranger.pid])
        assert family(stranger) == set()
        assert not gone(stranger.pid)


def test_a_process_that_has_got_the_number_of_one_that_has_ended_is_not_killed(begin, monkeypatch):
    worker, (_, leader) = begin(MAKES_A_SESSION, 2)
    families = Families([worker.pid])
    assert leader in family(worker, families)
    real = guardian._stat
    monkeypatch.setattr(guardian, "_stat", lambda pid: (1, b"later", True) if pid == leader else real(pid))
    end_sessions([worker.pid], families)
    assert gone(worker.pid)
    assert not gone(leader)


def test_what_counts_for_the_memory_of_a_run_is_ended_with_it(begin, monkeypatch):
    worker, (middle, leader) = begin(MAKES_A_SESSION, 2)
    families = Families([worker.pid])
    limit = Limit(1, families)
    assert leader in family(worker, families)
    wait_until_orphaned(leader, middle)
    monkeypatch.setattr(os, "write", lambda *_: 0)  # the line that the sweep would read
    limit.enforce()
    assert all(map(gone, [worker.pid, leader]))


def test_sessions_are_told_apart_by_reading_of_each_only_its_leader(begin, monkeypatch):
    worker, _ = begin(SLEEP)
    for _ in range(5):
        begin(["sh", "-c", "sleep 600 & echo $!; wait"], 1)
    read = list[int]()
    real = guardian._stat
    monkeypatch.setattr(guardian, "_stat", lambda pid: (read.append(pid), real(pid))[1])
    there = Moment()
    Families([worker.pid]).find_processes(there)
    led = [session for session, members in there.sessions.items() if session in members]
    members = {pid for session in led for pid in there.sessions[session]} - {*led}
    assert len(members) >= 5
    assert not members & {*read}


# ---- what counts -------------------------------------------------------------------------------------------------
MAPS_A_FILE = """if True:
    import mmap, os, sys
    file = open(sys.argv[1], "rb")
    held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    sum(held[::4096])
    print(os.getpid(), flush=True)
    __import__("time").sleep(600)
"""


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no shared memory to write to")
@pytest.mark.parametrize("kernel", ["new", "before 5.4"])
def test_shared_memory_counts_by_shares_for_one_process_as_for_several(begin, monkeypatch, kernel):
    size, real = 30 * 2**20, guardian._sizes
    if kernel != "new":
        hidden = ("Pss_Anon", "Pss_Shmem")
        monkeypatch.setattr(guardian, "_sizes", lambda path: {k: v for k, v in real(path).items() if k not in hidden})
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(bytes(size))
        file.flush()
        command = [sys.executable, "-S", "-c", MAPS_A_FILE, file.name]
        pids = [begin(command, 1)[1][0] for _ in range(3)]
        limit, there = Limit(size // 2, Families()), Moment()
        for some in (pids[:1], pids):
            assert sum(map(there.held, some)) > len(some) * size
            assert limit._used(some, there) < (len(some) + 1) * size // 2
