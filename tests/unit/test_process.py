"""Who lives, who is dead, and of whom nothing is known."""

import os
import signal
import subprocess
import sys

import pytest

from entropic.support import process


def identity_of(pid: int) -> str:
    host, boot, *_ = process.identity().split(".")
    return f"{host}.{boot}.{pid}.{process._started(pid)}.1"


@pytest.fixture
def sleeper():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def test_a_call_lives_until_it_is_closed():
    with (call := process.Call()).under_way:
        assert process.state(call.name) == "alive"
    assert process.state(call.name) == "dead"


def test_two_calls_never_have_the_same_name():
    with (one := process.Call()).under_way, (other := process.Call()).under_way:
        assert one.name != other.name


def test_an_owner_that_gave_up_is_dead():
    assert process.state(None) == "dead"


def test_a_running_process_is_alive_and_a_stopped_one_too(sleeper):
    who = identity_of(sleeper.pid)
    assert process.state(who) == "alive"
    sleeper.send_signal(signal.SIGSTOP)
    assert process.state(who) == "alive"


def test_a_zombie_is_dead(sleeper):
    who = identity_of(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has reaped it
    assert process.state(who) == "dead"


def test_a_later_process_with_the_same_pid_is_another_one(sleeper):
    host, boot, pid, start, number = identity_of(sleeper.pid).split(".")
    assert process.state(f"{host}.{boot}.{pid}.{int(start) - 1}.{number}") == "dead"


def test_of_another_machine_nothing_is_known():
    _, _, pid, start, number = (process.identity() + ".1").split(".")
    assert process.state(f"elsewhere.00000000.{pid}.{start}.{number}") == "elsewhere"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_somebody_else():
    with (call := process.Call()).under_way:
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            os.write(write, f"{process.identity()} {process.state(call.name)}".encode())
            os._exit(0)
        os.waitpid(pid, 0)
        child, seen = os.read(read, 1000).decode().split()
        os.close(read)
        os.close(write)
    assert child != process.identity()
    assert seen == "alive"  # seen from the child, its parent's call goes on
