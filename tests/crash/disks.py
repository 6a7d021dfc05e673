"""Disks of a test's own, which may be full, or lose what is not written yet: file systems in files, mounted by root."""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess

import pytest

SHUTDOWN = 0x8004587D  # of XFS; ext4 and others took it over
LOSING_THE_LOG, KEEPING_THE_LOG = 2, 1  # whether the journal is written first
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"], "xfs": ["mkfs.xfs", "-q", "-f"]}
LEAST = {"ext4": 64 << 20, "xfs": 320 << 20}  # bytes, most of which are never written


class Disk:
    """A mounted file system, at `path`."""

    def __init__(self, kind, folder):
        self.cuts = 0
        self.kind, self.image, self.path = kind, os.path.join(folder, f"{kind}.image"), os.path.join(folder, kind)
        os.mkdir(self.path)
        with open(self.image, "wb") as file:
            file.truncate(LEAST[kind])
        call(*MAKE[kind], self.image)
        self.mount()

    def mount(self):
        call("mount", "-o", "loop,nouuid" if self.kind == "xfs" else "loop", self.image, self.path)

    def sync(self):
        """Write all that is not on the disk yet."""
        call("sync", "-f", self.path)

    def cut_power(self, keeps_log=False):
        """Lose what is not on the disk, and come back as after a restart."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", KEEPING_THE_LOG if keeps_log else LOSING_THE_LOG))
        finally:
            os.close(folder)
        call("umount", self.path)
        # As a copy: the mount namespace of a process that has nothing to do with this may keep the old one alive, and
        # what is mounted from the same file is the same file system, which is shut down for good.
        self.cuts += 1
        old, self.image = self.image, f"{self.image.rpartition('.')[0]}.{self.cuts}"
        call("cp", "--sparse=always", old, self.image)
        os.unlink(old)
        self.mount()

    def close(self):
        call("umount", self.path)


def fill(folder):
    """Take all the room that is left on the disk of a folder; return the file that takes it."""
    path, large = os.path.join(folder, "ballast"), 1 << 20
    with open(path, "ab", buffering=0) as file:
        free = os.fstatvfs(file.fileno())
        os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize - 4 * large, large))
        file.seek(0, os.SEEK_END)
        for size in (large, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"b" * size) == size:
                    os.fsync(file.fileno())
    return path


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


def make_disk(kind, folder):
    """Return a new disk; skip the test where none can be made."""
    if shutil.which(MAKE[kind][0]) is None:
        pytest.skip(f"no {MAKE[kind][0]} here")
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    try:
        return Disk(kind, str(folder))
    except OSError as error:
        pytest.skip(f"no disk can be mounted here: {error}")
