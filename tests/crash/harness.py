"""The test's side of the fault injection: starts children, ends them, and hears what became of them."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 60.0  # nothing in these tests takes that long, however loaded the machine is


class Child:
    """A child process, forked from the template."""

    def __init__(self, server, pid, said, log):
        self._server, self.pid, self._said, self._log = server, pid, said, log

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """Kill it, if it has not ended by itself, and see it dead (a zombie, if its parent does not reap it)."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        until(lambda: state_of(self.pid) in ("Z", None), f"{self.pid} dies")

    def status(self, seconds=SECONDS):
        """Wait for its end; return its exit code, negative for a signal."""
        return self._server.status(self.pid, seconds)

    def said(self, seconds=SECONDS):
        """Wait for its end; return what its call returned."""
        status = self.status(seconds)
        assert status == 0, f"child {self.pid} ended with {status}:\n{self.log()}"
        return json.loads(Path(self._said).read_text())

    def log(self):
        return Path(self._log).read_text()

    def await_stop(self):
        """Wait until it is stopped by SIGSTOP."""
        until(lambda: state_of(self.pid) == "T", f"{self.pid} stops")


class Server:
    """Starts the template, and children through it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(HERE / "template.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._pending, self._exits, self._pids, self._count = b"", {}, [], 0
        self._living = set()

    def start(self, call, /, zombie=False, **args):
        """Start a child that makes a call, `module:function`, with these arguments."""
        self._count += 1
        said, log = str(self.folder / f"said-{self._count}"), str(self.folder / f"log-{self._count}")
        self._send({"call": call, "args": args, "said": said, "log": log, "zombie": zombie})
        return Child(self, self._pid(), said, log)

    def warm(self, call, /, **args):
        """Make a call in the template itself; children inherit what it leaves behind."""
        self._send({"here": call, "args": args})
        self._pid()

    def reap(self, child):
        """Let the parent of a zombie hear of its end."""
        self._send({"reap": child.pid})

    def status(self, pid, seconds=SECONDS):
        deadline = time.monotonic() + seconds
        while pid not in self._exits:
            self._hear(deadline, f"the end of {pid}")
        return self._exits[pid]

    def end_all(self):
        """End every child that still lives."""
        for pid in list(self._living):
            with contextlib.suppress(ProcessLookupError):  # its end is just not heard of yet
                os.kill(pid, signal.SIGKILL)
            self.reap(Child(self, pid, "", ""))
        for pid in list(self._living):
            self.status(pid)

    def close(self):
        self.end_all()
        self._process.stdin.close()
        self._process.wait(SECONDS)
        self._process.stdout.close()

    def _send(self, request):
        self._process.stdin.write((json.dumps(request) + "\n").encode())

    def _pid(self):
        deadline = time.monotonic() + SECONDS
        while not self._pids:
            self._hear(deadline, "a child")
        pid = self._pids.pop(0)
        if pid != self._process.pid:
            self._living.add(pid)
        return pid

    def _hear(self, deadline, what):
        left = deadline - time.monotonic()
        ready = left > 0 and select.select([self._process.stdout], [], [], left)[0]
        if not ready:
            raise AssertionError(f"waited too long for {what}")
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        if not data:
            raise AssertionError("the template has died")
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            heard = json.loads(line)
            if "exit" in heard:
                self._exits[heard["exit"]] = heard["status"]
                self._living.discard(heard["exit"])
            else:
                self._pids.append(heard["pid"])


def until(condition, what="it comes true", seconds=SECONDS):
    """Poll a condition; return its value once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s until {what}")
        time.sleep(0.001)
    return found


def state_of(pid):
    """Return the state of a process as Linux shows it (R, S, T, Z ...), None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return None


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("children"))
    yield server
    server.close()


@pytest.fixture
def server(template):
    """The template; whatever a test leaves alive ends with the test."""
    yield template
    template.end_all()


def fresh_copy(source, target):
    """Replace a folder by a copy of another, with the same times."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
