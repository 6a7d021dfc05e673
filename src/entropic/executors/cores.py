"""Which cores the workers of a sweep are pinned to: others than those of other sweeps on this machine, where it can be.

Each core that is taken is a name among the abstract sockets of Linux, which ends with the process that has it. Where a
name cannot be had, the core is shared: `test_two_sweeps_on_a_machine_are_pinned_to_different_cores`.
"""

import logging
import os
import socket
import weakref

from entropic.support import process

NAME = "\0entropic.core."  # and the number of a core

log = logging.getLogger("entropic")


class Reserved:
    """The cores to which the workers of a sweep are pinned, so that other sweeps on this machine take others."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self.cores: list[int] = []
        """Which they are; none where the system does not pin."""

    def take(self, wanted: int) -> None:
        """Take so many cores of those that this process may use; there are as many. With a quota of them, none."""
        if not hasattr(os, "sched_getaffinity") or process.cores() < len(os.sched_getaffinity(0)):
            return  # a container with a quota sees all cores, and others beside it would take the same ones
        _all.add(self)
        taken = list[int]()
        for core in sorted(os.sched_getaffinity(0)):
            if len(self.cores) == wanted:
                return
            if self._reserve(core):
                self.cores.append(core)
            else:
                taken.append(core)
        if shared := taken[: wanted - len(self.cores)]:
            log.warning("this sweep shares the cores %s with other sweeps on this machine", shared)
            self.cores += shared

    def _reserve(self, core: int) -> bool:
        try:
            one = socket.socket(socket.AF_UNIX)
        except OSError:
            return False
        try:
            one.bind(f"{NAME}{core}")
        except OSError:
            one.close()
            return False
        self._sockets.append(one)
        return True

    def close(self) -> None:
        """Let others have them."""
        while self._sockets:
            self._sockets.pop().close()


_all: "weakref.WeakSet[Reserved]" = weakref.WeakSet()


def _forked() -> None:
    for one in _all:
        one.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
