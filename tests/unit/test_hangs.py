"""A test that hangs ends the run, and fails it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import ctypes
import signal
import threading

import pytest


@pytest.mark.parametrize("n", range(4))
def test_before(n):
    pass


def test_that_hangs(request):
    {hang}


@pytest.mark.parametrize("n", range(4))
def test_after(n):
    pass
"""
HANGS = {
    "in Python": "threading.Event().wait()",
    "in C": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); ctypes.PyDLL(None).sleep(100)",
    "in its tear-down": "request.addfinalizer(threading.Event().wait); raise ValueError",
}


# What a test may ask of pytest-timeout: an error in the main thread, or the end of the process.
METHODS = [(where, "signal") for where in HANGS] + [("in Python", "thread")]


@pytest.mark.slow
@pytest.mark.parametrize(("where", "method"), METHODS)
def test_a_test_that_hangs_fails_the_run(tmp_path, where, method):
    (tmp_path / "test_hangs.py").write_text(TESTS.format(hang=HANGS[where]))
    settings = ["-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-o", "timeout=1", "-o", "backstop=1"]
    settings += ["-o", f"timeout_method={method}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "backstop", "-n", "2", *settings, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED test_hangs.py::test_that_hangs" in done.stdout
    if method == "thread":
        assert "worker 'gw" in done.stdout, "it ended with the process of the test"
    elif where == "in Python":
        assert "1 failed, 8 passed" in done.stdout, "the others have run"
    else:
        assert "most recent call first" in done.stderr, "it says where it hung"
