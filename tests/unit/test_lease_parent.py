"""The parent's side of the process that renews leases, after interrupts at a bad moment."""

import os
import subprocess
import sys

import pytest

from entropic.protocol.lease_parent import Book, LeaseProcess


def test_an_end_that_was_interrupted_is_no_error_to_who_comes_next(monkeypatch):
    leases, book = LeaseProcess(), Book()
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.buffer.read()"]
    leases._popen = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)
    book.attempts["1-0000000a"], leases._books[book.number] = ((), "somebody"), book

    def be_interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "waitpid", be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            leases._end()
    leases.stop(book, "1-0000000a")
    assert book.attempts == {}
    leases._end()
    assert leases._popen is None
