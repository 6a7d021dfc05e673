"""The guardian of a sweep's workers: a process that ends what they have started, should the sweep be killed.

Run by path, it imports nothing of ours and little else. Its parent writes a line for each worker that begins (`+PID`)
and ends (`-PID`). Each worker leads a session of its own, in which all is that its runs start, unless that made itself
a session, as daemons do. When the pipe is closed, or the parent is gone, the guardian kills what is in these sessions,
and ends: at once and not by SIGTERM first, since the next sweep may be running the same sets by then.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

PARENT_SECONDS = 1.0  # between two looks whether the parent lives: something forked may keep the pipe open
KILL_SECONDS = 5.0  # for a session to be gone: what is stuck in the kernel takes its time


def main() -> None:
    """Wait for the end of the parent, and end what is left of it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):  # which a scheduler sends to all of a job
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent, sessions, text = int(sys.argv[1]), set[int](), b""
    while True:
        if not select.select([0], [], [], PARENT_SECONDS)[0]:
            if os.getppid() != parent:
                break
            continue
        more = os.read(0, 4096)
        if not more:
            break
        *lines, text = (text + more).split(b"\n")
        for line in lines:
            (sessions.add if line[:1] == b"+" else sessions.discard)(int(line[1:]))
    for session in sessions:
        end_session(session)


def end_session(session: int) -> None:
    """Kill all processes of a session; return when they are gone, or cannot be killed."""
    deadline = time.monotonic() + KILL_SECONDS
    while True:
        _kill(os.killpg, session)  # most of them, at once
        living = [pid for pid in _processes() if _session_of(pid) == session and not _is_zombie(pid)]
        for pid in living:
            _kill(os.kill, pid)
        if not living or time.monotonic() > deadline:
            return
        time.sleep(0.002)


def _kill(kill: Callable[[int, int], None], which: int) -> None:
    try:
        kill(which, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return -1


def _processes() -> Iterator[int]:
    """Return the pids of this machine."""
    if os.path.isdir("/proc/self"):
        names = os.listdir("/proc")
    else:
        names = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, check=False).stdout.decode().split()
    return (int(name) for name in names if name.isdigit())


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in b"ZX"
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return True  # gone by now
    except ProcessLookupError:
        return True
    found = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, check=False).stdout
    return found.strip()[:1] in (b"Z", b"")


if __name__ == "__main__":
    main()
