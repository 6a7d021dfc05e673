"""The guardian of a sweep's workers: a process that ends what they have started, should the sweep be killed.

Run by path, it imports nothing of ours and little else. Its parent writes a line for each worker that begins (`+PID`)
and ends (`-PID`). Each worker leads a session of its own, in which all is that its runs start, unless that made itself
a session, as daemons do. When the pipe is closed, or the parent is gone, the guardian kills what is in these sessions,
and ends: at once and not by SIGTERM first, since the next sweep may be running the same sets by then.

Where memory is limited it ends the workers that use more, whatever the sweep is busy with. Before it does, it writes a
line with the worker and what it used: `PID BYTES`.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable

PARENT_SECONDS = 1.0  # between two looks whether the parent lives: something forked may keep the pipe open
KILL_SECONDS = 5.0  # for a session to be gone: what is stuck in the kernel takes its time
MEMORY_SECONDS = 0.1  # between two looks at the memory of the workers
MOST_LOOKING = 0.05  # of the time: where a look takes long, the next one comes later


def main() -> None:
    """Wait for the end of the parent, and end what is left of it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):  # which a scheduler sends to all of a job
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent, most, workers, text = int(sys.argv[1]), int(sys.argv[2]), set[int](), b""
    limit = Limit(most) if most else None
    while True:
        if not select.select([0], [], [], PARENT_SECONDS if limit is None else limit.pause())[0]:
            if os.getppid() != parent:
                break
        else:
            more = os.read(0, 4096)
            if not more:
                break
            *lines, text = (text + more).split(b"\n")
            for line in lines:
                (workers.add if line[:1] == b"+" else workers.discard)(int(line[1:]))
        if limit is not None and not limit.pause():
            limit.look(workers)
    for worker in workers:
        end_session(worker)


def end_session(worker: int) -> None:
    """Kill all processes of a worker; return when they are gone, or cannot be killed."""
    deadline, families = time.monotonic() + KILL_SECONDS, Families()
    while True:
        living = [pid for pid in families.look({worker})[worker] if not _is_zombie(pid)]
        _kill(os.killpg, worker)  # most of them, at once
        for pid in living:
            _kill(os.kill, pid)
        if not living or time.monotonic() > deadline:
            return
        time.sleep(0.002)


class Families:
    """Which processes are whose: a worker's are those of its session, and what these start, in whichever session.

    The ranks of an `mpirun`, say, may each lead a session. Who was seen once is known for good, also when the one that
    started it has ended. What a worker has started that was gone before the first look is found by its session only.
    """

    def __init__(self) -> None:
        self._worker_of: dict[int, int] = {}  # by pid; 0 of strangers

    def look(self, workers: Collection[int]) -> dict[int, list[int]]:
        """Return the pids of each worker, those included that have just ended."""
        there = set(_processes())
        for gone in self._worker_of.keys() - there:
            del self._worker_of[gone]
        self._worker_of.update((worker, worker) for worker in workers)
        new = there - self._worker_of.keys()
        parents = _parents(new)
        self._worker_of.update((pid, session) for pid in new if (session := _session_of(pid)) in workers)
        while found := [pid for pid in new - self._worker_of.keys() if self._worker_of.get(parents.get(pid, 0))]:
            self._worker_of.update((pid, self._worker_of[parents[pid]]) for pid in found)
        self._worker_of.update((pid, 0) for pid in new - self._worker_of.keys())
        families: dict[int, list[int]] = {worker: [] for worker in workers}
        for pid, worker in self._worker_of.items():
            if worker in families:
                families[worker].append(pid)
        return families


class Limit:
    """Ends the workers that use more memory than they may.

    Parameters
    ----------
    most
        How many bytes that is.
    """

    def __init__(self, most: int) -> None:
        self._most, self._families = most, Families()
        self._ended: set[int] = set()
        self._next = 0.0

    def pause(self) -> float:
        """Return for how many seconds there is nothing to do."""
        return max(0.0, self._next - time.monotonic())

    def look(self, workers: Collection[int]) -> None:
        """End those that use too much now."""
        began = time.monotonic()
        self._ended.intersection_update(workers)
        for worker, pids in self._families.look(workers).items():
            if worker not in self._ended and (used := self._used(pids)) > self._most:
                self._ended.add(worker)
                try:
                    os.write(1, f"{worker} {used}\n".encode())
                except OSError:  # nobody hears it any more
                    pass
                end_session(worker)
        now = time.monotonic()
        self._next = now + max(MEMORY_SECONDS, (now - began) / MOST_LOOKING)

    def _used(self, pids: list[int]) -> int:
        held = sum(_held(pids).values())
        # What several processes share counts once; to find out takes long, so only where it matters.
        return held if held <= self._most or len(pids) == 1 else sum(map(_share, pids))


# ---- the memory of processes ---------------------------------------------------------------------------------------
def _held(pids: Iterable[int]) -> dict[int, int]:
    """Return the bytes that each process has in memory or in swap; not those of files, which the system may drop."""
    if not os.path.isdir("/proc/self"):
        return {pid: 1024 * size for pid, size in _ps("rss").items() if pid in set(pids)}
    found = {}
    for pid in pids:
        sizes = _sizes(f"/proc/{pid}/status")
        names = ("RssAnon", "RssShmem", "VmSwap") if "RssAnon" in sizes else ("VmRSS",)  # before Linux 4.5
        found[pid] = sum(sizes.get(name, 0) for name in names)
    return found


def _share(pid: int) -> int:
    """Return the same of one process, but of what it shares with others only its share."""
    sizes = _sizes(f"/proc/{pid}/smaps_rollup")
    names = ("Pss_Anon", "Pss_Shmem", "SwapPss")
    return sum(sizes[name] for name in names) if sizes.keys() >= set(names) else sum(_held([pid]).values())


def _sizes(path: str) -> dict[str, int]:
    """Return the lines such as `VmRSS: 3 kB` of a file, in bytes; nothing of a process that is gone."""
    try:
        with open(path) as file:
            lines = [line.split() for line in file]
    except OSError:
        return {}
    return {words[0][:-1]: 1024 * int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}


# ---- processes -----------------------------------------------------------------------------------------------------
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


def _processes() -> Iterable[int]:
    """Return the pids of this machine."""
    if not os.path.isdir("/proc/self"):
        return _ps("ppid")
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _parents(pids: Iterable[int]) -> dict[int, int]:
    """Return who has started each process, as long as that is there."""
    if not os.path.isdir("/proc/self"):
        return _ps("ppid")
    return {pid: int(fields[1]) for pid in pids if (fields := _stat(pid))}


def _is_zombie(pid: int) -> bool:
    if os.path.isdir("/proc/self"):
        fields = _stat(pid)
        return not fields or fields[0] in b"ZX"
    found = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, check=False).stdout
    return found.strip()[:1] in (b"Z", b"")


def _stat(pid: int) -> list[bytes]:
    """Return what the kernel says of a process after its name: its state, its parent; nothing if it is gone.

    Nor of another user's, where the system hides those (hidepid).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _ps(column: str) -> dict[int, int]:
    """Return a number of each process of this machine, by its pid, where there is no /proc."""
    said = subprocess.run(["ps", "-A", "-o", f"pid=,{column}="], capture_output=True, check=False).stdout
    return {int(words[0]): int(words[1]) for line in said.splitlines() if len(words := line.split()) == 2}


if __name__ == "__main__":
    main()
