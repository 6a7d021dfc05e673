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

import psutil
import pytest
from peek import place_of

from databases import until, words_of

HERE = Path(__file__).parent
SECONDS = 90.0  # nothing in these tests takes that long, however loaded the machine is


class Child:
    """A child process, forked from the template."""

    def __init__(self, server, pid, said, log):
        self._server, self.pid, self._said, self._log = server, pid, said, log

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """Kill it, if it has not ended by itself, and see it dead (a zombie, if its parent does not reap it)."""
        signal_pulses(self.pid, signal.SIGCONT)
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
        """Wait until it is stopped; then stop what renews its leases, too, as a machine does that falls asleep."""
        until(lambda: state_of(self.pid) == "T", f"{self.pid} stops")
        signal_pulses(self.pid, signal.SIGSTOP)

    def sleep(self):
        """Stop it, wherever it is."""
        self.signal(signal.SIGSTOP)
        self.await_stop()

    def wake(self):
        """Let it, and what renews its leases, go on."""
        signal_pulses(self.pid, signal.SIGCONT)
        self.signal(signal.SIGCONT)


class Server:
    """Starts the template, and children through it."""

    def __init__(self, folder, module="work", flags=("-W", "error")):
        self.folder = Path(folder)
        self._process = subprocess.Popen(
            [sys.executable, *flags, str(HERE / "template.py"), module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._poll = select.poll()  # and not `select`, which takes no file above 1023
        self._poll.register(self._process.stdout, select.POLLIN)
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
        """End every child that still lives, with all that it has started."""
        for pid in list(self._living):
            for process in family(pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
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
        if left <= 0 or not self._poll.poll(left * 1000):
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
                self._exits.pop(heard["pid"], None)  # that of an earlier process with the same number


def state_of(pid):
    """Return the state of a process as Linux shows it (R, S, T, Z ...), None if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return None


def family(pid):
    """Return a process and all that it has started; nothing, if it has gone."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:  # its end is just not heard of yet
        return []


def signal_pulses(pid, number):
    """Send a signal to the processes that renew the leases of a process, if it has any: on servers."""
    for process in family(pid)[1:]:
        if any(word.endswith("lease_process.py") for word in words_of(process)):
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)


def settle(case):
    """Wait until nobody is connected to the database of a case: a server may be about to do what the dead asked for."""
    place = place_of(case)
    if not place.is_file:
        until(lambda: not place.sessions(), "nobody is connected")


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("children"))
    server.warm("work:read_code")
    yield server
    server.close()


@pytest.fixture
def server(template):
    """The template; whatever a test leaves alive ends with the test."""
    yield template
    template.end_all()


@pytest.fixture
def new_case(make_place, tmp_path):
    """Make folders for stores, each with a database of its own, whose URL is in the file `url`."""
    with contextlib.ExitStack() as places:

        def make(name="case"):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "url").write_text(places.enter_context(make_place(folder)).url)
            return str(folder)

        yield make


@pytest.fixture
def case(new_case):
    """The folder of one store."""
    return new_case()


def fresh_copy(source, target):
    """Replace a folder by a copy of another, with the same times."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
