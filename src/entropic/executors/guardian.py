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
COLUMNS = ("pid", "ppid", "rss", "stat", "lstart")  # of `ps`; the last one has spaces in it

Stat = tuple[
    int, bytes, bool
]  # of a process: its parent, its start (which tells two users of a pid apart), if it lives
GONE: Stat = (0, b"", False)


def main() -> None:
    """Wait for the end of the parent, and end what is left of it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):  # which a scheduler sends to all of a job
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent, most, text = int(sys.argv[1]), int(sys.argv[2]), b""
    families = Families()
    limit = Limit(most, families) if most else None
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
                (families.add if line[:1] == b"+" else families.discard)(int(line[1:]))
        if limit is not None and not limit.pause():
            limit.enforce()
    end_sessions(families.workers, families)


def end_sessions(workers: Collection[int], families: "Families | None" = None) -> None:
    """Kill all processes of workers; return when they are gone, or cannot be killed.

    Parameters
    ----------
    workers
        Which leads each.
    families
        Where more is known of them than is to be seen now.
    """
    families = Families(workers) if families is None else families
    deadline = time.monotonic() + KILL_SECONDS
    while True:
        there, living = Moment(), 0
        found = families.find_processes(there)
        for worker in workers:
            if families.leads(worker):
                _kill(os.killpg, worker)  # most of them, at once
            for pid in found.get(worker, ()):
                _, start, lives = there.stat(pid)
                if start == families.starts.get(pid):
                    _kill(os.kill, pid)
                    living += lives
        if not living or time.monotonic() > deadline:
            return
        time.sleep(0.002)


class Families:
    """Which processes are whose: a worker's are those of its session, and of sessions that were made out of these.

    The ranks of an `mpirun`, say, may each lead a session. Whose a session or a process was once seen to be is known
    for good, also when what started it has ended. A session whose maker was gone before the first look is a stranger's.

    Parameters
    ----------
    workers
        The pids of those that there are.
    """

    def __init__(self, workers: Iterable[int] = ()) -> None:
        self.workers = set(workers)
        self.starts: dict[int, bytes] = {}
        """When each process of theirs began, by pid."""
        self._owners: dict[int, int] = {}  # whose each session is; 0 of strangers
        self._owner_of: dict[int, int] = {}  # whose each process was in the last look; not strangers

    def add(self, worker: int) -> None:
        """Take in a worker that has begun: what was seen of it before was taken for a stranger's."""
        self.discard(worker)
        self.workers.add(worker)
        self.starts.pop(worker, None)
        self._owners = {session: owner for session, owner in self._owners.items() if owner}

    def discard(self, worker: int) -> None:
        """Forget a worker that has ended; another process may have its pid."""
        self.workers.discard(worker)
        self._owners = {session: owner for session, owner in self._owners.items() if owner != worker}

    def leads(self, worker: int) -> bool:
        """Tell whether there was anything in a worker's own session in the last look: its number then is its own."""
        return self._owners.get(worker) == worker

    def find_processes(self, there: "Moment") -> dict[int, list[int]]:
        """Return the pids of each worker, those included that have just ended."""
        for gone in self._owners.keys() - there.sessions.keys():
            del self._owners[gone]
        for session in [session for session, owner in self._owners.items() if owner]:
            if (start := there.stat(session)[1]) and self.starts.get(session) not in (start, b""):
                self._owners[session] = 0  # all of it has ended, and somebody else has its number
        self._find_owners(there)
        families: dict[int, list[int]] = {worker: [] for worker in self.workers}
        for session, owner in self._owners.items():
            if owner in families:
                families[owner] += there.sessions[session]
        self._owner_of = {pid: owner for owner, pids in families.items() for pid in pids}
        self.starts = {pid: self.starts.get(pid) or there.stat(pid)[1] for pid in self._owner_of}
        return families

    def _find_owners(self, there: "Moment") -> None:
        """Find out whose the sessions are that were not there in the last look."""
        new = there.sessions.keys() - self._owners.keys()
        self._owners.update((worker, worker) for worker in self.workers & new)
        for session in new - self.workers:
            if (owner := self._owner_of.get(session)) and there.stat(session)[1] == self.starts.get(session):
                self._owners[session] = owner  # one of theirs has made itself a session
        above = {session: there.above(session) for session in new - self._owners.keys()}
        while found := {
            session: max(owners)
            for session, makers in above.items()
            if session not in self._owners
            and (owners := [self._owners[one] for one in makers if self._owners.get(one)])
        }:
            self._owners.update(found)
        self._owners.update((session, 0) for session in above.keys() - self._owners.keys())


class Moment:
    """The processes of this machine at one moment, by session: of the kernel's own, and of what is hidden, nothing."""

    def __init__(self) -> None:
        self._told = None if _has_proc() else _ps()
        self.sessions: dict[int, list[int]] = {}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._told is None else self._told:
            if (session := _session_of(pid)) > 0:
                self.sessions.setdefault(session, []).append(pid)

    def stat(self, pid: int) -> Stat:
        """Return what is known of a process."""
        return _stat(pid) if self._told is None else self._told.get(pid, (GONE, 0))[0]

    def above(self, session: int) -> set[int]:
        """Return the session whose process has made this one; of one whose leader has ended, those above its orphans.

        All in a session stem from its leader, so that one tells for all of them. One of another user tells nothing,
        and could not be ended.
        """
        members = self.sessions[session]
        stats = [self.stat(session)] if session in members and _may_end(session) else []
        if session not in members or stats == [GONE]:
            stats = [self.stat(pid) for pid in members if _may_end(pid)]
        return {_session_of(parent) for parent, _, _ in stats if parent}

    def held(self, pid: int) -> int:
        """Return the bytes that a process has in memory or in swap; not those of files, which the system may drop."""
        return _held(pid) if self._told is None else self._told.get(pid, (GONE, 0))[1]

    def share(self, pid: int) -> int:
        """Return the same, but of what it shares with others only its share, where the system tells."""
        return _share(pid) if self._told is None else self.held(pid)


class Limit:
    """Ends the workers that use more memory than they may.

    Parameters
    ----------
    most
        How many bytes that is.
    families
        Which workers there are: what counts is what is ended.
    """

    def __init__(self, most: int, families: Families) -> None:
        self._most, self._families = most, families
        self._ended: set[int] = set()
        self._next = 0.0

    def pause(self) -> float:
        """Return for how many seconds there is nothing to do."""
        return max(0.0, self._next - time.monotonic())

    def enforce(self) -> None:
        """End those that use too much now."""
        began, there = time.monotonic(), Moment()
        self._ended &= self._families.workers
        for worker, pids in self._families.find_processes(there).items():
            if worker not in self._ended and (used := self._used(pids, there)) > self._most:
                self._ended.add(worker)
                try:
                    os.write(1, f"{worker} {used}\n".encode())
                except OSError:  # nobody hears it any more
                    pass
                end_sessions([worker], self._families)
        now = time.monotonic()
        self._next = now + max(MEMORY_SECONDS, (now - began) / MOST_LOOKING)

    def _used(self, pids: list[int], there: Moment) -> int:
        held = sum(map(there.held, pids))
        # What several processes share counts once; to find out takes long, so only where it matters.
        return held if held <= self._most else sum(map(there.share, pids))


# ---- the memory of processes ---------------------------------------------------------------------------------------
def _held(pid: int) -> int:
    sizes = _sizes(f"/proc/{pid}/status")
    names = ("RssAnon", "RssShmem", "VmSwap") if "RssAnon" in sizes else ("VmRSS",)  # before Linux 4.5
    return sum(sizes.get(name, 0) for name in names)


def _share(pid: int) -> int:
    sizes = _sizes(f"/proc/{pid}/smaps_rollup")
    names = ("Pss_Anon", "Pss_Shmem", "SwapPss")
    if sizes.keys() >= set(names):
        return sum(sizes[name] for name in names)
    held = _held(pid)
    return min(held, sizes["Pss"] + sizes.get("SwapPss", 0)) if "Pss" in sizes else held  # before Linux 5.4


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


def _may_end(pid: int) -> bool:
    """Tell whether this process might end another one, which another user's it may not."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid) if pid else -1  # 0 would stand for this process
    except (ProcessLookupError, PermissionError):
        return -1


def _has_proc() -> bool:
    return os.path.isdir("/proc/self")


def _stat(pid: int) -> Stat:
    """Return what the kernel says of a process; nothing of another user's, where the system hides those (hidepid)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name in parentheses may hold anything
    except OSError:
        return GONE
    has_ended = fields[0] in b"ZX" and int(fields[17]) <= 1  # with more threads only its main thread has ended
    return int(fields[1]), fields[19], not has_ended


def _ps() -> dict[int, tuple[Stat, int]]:
    """Return the processes of this machine, and the bytes that each has in memory, where there is no /proc."""
    # An option for each column: BSD's `ps` takes all that follows an equals sign for a heading.
    command = ["ps", "-A", *(word for column in COLUMNS for word in ("-o", f"{column}="))]
    found = {}
    for line in subprocess.run(command, capture_output=True, check=False).stdout.splitlines():
        words = line.split(maxsplit=4)
        if len(words) == len(COLUMNS):
            pid, parent, size = map(int, words[:3])
            found[pid] = (parent, words[4], words[3][:1] not in b"ZX"), 1024 * size
    return found


if __name__ == "__main__":
    main()
