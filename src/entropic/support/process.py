"""Who is working: the identity of this process and its calls, and whether another one still lives.

An identity is a text without spaces or slashes, `host.boot.pid.start.number`, so that it can be part of a file
name: `number` tells the calls, or the workers, of one process apart. Processes with the same `boot` can see each
other, and only they: it stands for one start of one machine (and, on Linux, one namespace of pids, so that two
containers on a host do not take each other for dead).
"""

import hashlib
import itertools
import math
import os
import platform
import re
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Literal, NoReturn

from entropic.support import cgroups

State = Literal["alive", "dead", "elsewhere"]

# The calls of this process, by name. Weak: what an interrupt has kept from its end is gone with its last reference.
# (No `WeakValueDictionary`, nor anything else that is told of each end: that would be a part of what a run costs.)
_calls: dict[str, "weakref.ref[Call]"] = {}
_numbers = itertools.count(1)
_SOMETIMES = 256  # calls between two looks which of them are gone
_identity = ""
_FIRST_NAMESPACE = "pid:[4026531836]"  # that of the machine itself, on every Linux
_SUBMISSION = "Slurm.00000000.0.0."  # then its number: no process has such a pid
_HIDDEN = -1  # alive, but the system shows no more of it to other users (hidepid)


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        import psutil

        boot = f"{platform.node()} {psutil.boot_time():.0f}"
    return hashlib.sha256(boot.encode()).hexdigest()[:8]


def start_of_machine() -> str:
    """Return a name for the present start of this machine, the same in all its containers."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
    except OSError:
        import psutil

        boot = f"{psutil.boot_time():.0f}"
    return hashlib.sha256(boot.encode()).hexdigest()[:8]


def is_contained() -> bool:
    """Tell whether this process lives in a namespace of pids, as in a container: others may share its files unseen."""
    try:
        return os.readlink("/proc/self/ns/pid") != _FIRST_NAMESPACE
    except OSError:  # no Linux, or one without namespaces
        return False


def uptime() -> float:
    """Return for how many seconds this machine has been on."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    import psutil

    return time.time() - float(psutil.boot_time())


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    except OverflowError:  # no pid
        return False
    return True


def _started(pid: int) -> int | None:
    """Return when a process began, in a unit that only needs to tell two users of one pid apart; None if it ended.

    On Linux this is the kernel's own count of ticks since boot. psutil turns that into a time of day, which moves
    with the clock, and a living process whose clock was corrected must not be taken for another one.
    """
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()  # the name in parentheses may hold anything
        except (FileNotFoundError, ProcessLookupError):
            return _HIDDEN if _exists(pid) else None
        zombie = fields[0] in b"ZXx" and int(fields[17]) <= 1  # with more threads only its main thread has ended
        return None if zombie else int(fields[19])
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time())
    except psutil.NoSuchProcess:
        return None


def age() -> float:
    """Return for how many seconds, about, this process has been there."""
    if sys.platform == "linux" and (ticks := _started(os.getpid())) is not None and ticks >= 0:
        return uptime() - ticks / os.sysconf("SC_CLK_TCK")
    import psutil

    return time.time() - float(psutil.Process().create_time())


def peak_memory() -> int | None:
    """Return how many bytes of memory this process has held at most, or the largest of the programs it waited for."""
    try:
        import resource
    except ImportError:  # no POSIX
        return None
    found = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return int(found if sys.platform == "darwin" else 1024 * found)


def cores() -> int:
    """Return how many cores this process may use: its affinity, and the quota of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroups.cores()
    return max(1, count if quota == math.inf else min(count, math.ceil(quota)))


def memory() -> int:
    """Return how many bytes this process may use: of this machine's, what its container or its job leaves to it."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = [found, cgroups.memory()]
    for name, count in (("SLURM_MEM_PER_NODE", 1), ("SLURM_MEM_PER_CPU", _number("SLURM_CPUS_ON_NODE") or cores())):
        if megabytes := _number(name):  # 0 stands for all
            most.append(megabytes * count * 2**20)
    return int(min(most))


def _number(name: str) -> int:
    """Return a number of the environment, 0 if there is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0


def identity() -> str:
    """Return `host.boot.pid.start` of this process."""
    global _identity
    if not _identity:
        host = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())[:40] or "host"
        _identity = f"{host}.{_boot()}.{os.getpid()}.{_started(os.getpid())}"
    return _identity


def submission(number: int) -> str:
    """Return the owner of sets that jobs run for which no process waits."""
    return f"{_SUBMISSION}{number}"


def number_of_submission(who: str | None) -> int | None:
    """Return the number of a submission, if an owner is one."""
    return int(who.removeprefix(_SUBMISSION)) if who is not None and who.startswith(_SUBMISSION) else None


def state(who: str | None) -> State:
    """Tell whether a call or worker is alive, dead, or of another machine, where only its lease can tell.

    A process of this machine is dead when it is gone (or a zombie, or its pid belongs to a later process), and
    only then: stopped, swapped out or deep in C code it is alive. `None` stands for an abandoned claim. A submission
    is no process: what its jobs have finished is for anybody to record. (That its claims are not free: `Claim.dead`.)
    """
    if not who or who.startswith(_SUBMISSION):
        return "dead"
    _, boot, pid, start, _ = who.split(".")
    mine = identity().split(".")
    if boot != mine[1]:
        return "elsewhere"
    if [boot, pid, start] == mine[1:]:
        call = _call(who)
        return "alive" if call is not None and call.under_way.locked() else "dead"
    return "alive" if str(_started(int(pid))) in (start, str(_HIDDEN)) else "dead"


def is_of_earlier_boot(who: str, seconds: float) -> bool:
    """Tell whether somebody, last heard of so many seconds ago, worked on this host before it was started again.

    By the host's name: so it is for who repairs a store, and sees what was found, and not for taking over by itself.
    """
    host, boot, *_ = who.split(".")
    mine = identity().split(".")
    return host == mine[0] and boot != mine[1] and seconds > uptime()


class Call:
    """One call of a user, or one worker: the owner of what it claims, alive as long as `under_way` is held.

    Hold that by `with`: it is a lock, whose `with` is C's, so that no interrupt can keep a call alive that has ended.
    What it still owns then belongs to a dead owner.
    """

    __slots__ = ("__weakref__", "ends_without_us", "name", "thread", "under_way")

    def __init__(self) -> None:
        number = next(_numbers)
        self.name = f"{_identity or identity()}.{number}"
        self.under_way = threading.Lock()
        self.thread = threading.get_ident()
        self.ends_without_us: Callable[[str], bool] = _never
        """Tells of an attempt that it owns whether that ends even if nothing more happens in its thread."""
        if not number % _SOMETIMES:
            _forget_gone()
        _calls[self.name] = weakref.ref(self)


def _forget_gone() -> None:
    for name, call in list(_calls.items()):
        if call() is None:
            _calls.pop(name, None)


def _call(name: str) -> Call | None:
    found = _calls.get(name)
    return None if found is None else found()


def _never(_: str) -> bool:
    return False


def waits_in_vain(who: str | None, attempt: str) -> bool:
    """Tell whether this thread is in the middle of a call that owns an attempt, which cannot end while it waits."""
    call = _call(who or "")
    if call is None or call.thread != threading.get_ident() or not call.under_way.locked():
        return False
    return not call.ends_without_us(attempt)


def end_fork(has_returned: bool) -> NoReturn:
    """End a child that a runner has forked, and that has come back from the runner: nothing here is its own.

    What it was about to do, its parent does: publish, record a failure, go on with the sweep. It ends as Python would
    end it, but for what runs at exit.
    """
    error, code = None if has_returned else sys.exc_info()[1], 0  # else that of a handler around the run
    try:
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            code = error.code or 0
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    finally:
        os._exit(code & 0xFF)


def _forked() -> None:
    global _identity, _calls
    _identity, _calls = "", {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
