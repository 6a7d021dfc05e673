"""`entropic ui`: what it prints, what it serves, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from contract.models import SimResult
from databases import until
from entropic import Store
from entropic.store import context_of
from entropic.ui.serve import Server
from ui.pages import files

SCRIPT = """
from pathlib import Path
from entropic import Base, Mapped, Store
class Point(Base):
    __tablename__ = "points"
    n: Mapped[int]
def run(params): Path(params["result_file"]).write_text(str(params["n"]))
store = Store(run, Point, "results", ".txt", "sqlite:///points.sqlite3")
if __name__ == "__main__":
    store.sweep([{"n": 1}, {"n": 2}], progress=False)
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "model.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "model.py"], cwd=tmp_path, check=True)
    return tmp_path


def started(project: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "entropic", "ui", *words, "--no-browser", "--port", "0"]
    return subprocess.Popen(
        command,
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )


def hear_interrupts() -> None:
    """Take Ctrl-C as programs of a terminal do: what a shell runs in the background ignores it, with its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def address_of(command: subprocess.Popen[str]) -> str:
    assert command.stdout is not None
    return next((line.strip() for line in command.stdout if line.startswith("http")), "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "number", "code"),
    [(["model.py:store"], signal.SIGINT, 0), (["--db", "sqlite:///points.sqlite3"], signal.SIGTERM, -signal.SIGTERM)],
    ids=["a script, Ctrl-C", "a database alone, SIGTERM"],
)
def test_it_serves_what_it_prints_until_a_signal_and_ends_quietly(project, words, number, code):
    before = files(project)
    command = started(project, *words)
    address = address_of(command)
    assert "token=" in address, command.stderr.read()
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    with opener.open(address) as answer:
        assert answer.status == 200
    with opener.open(address.partition("?")[0] + "api/rows") as answer:
        assert b'"total":2' in answer.read()
    os.kill(command.pid, number)
    _, said = command.communicate(timeout=90)
    assert (command.returncode, said) == (code, "")
    assert files(project) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--host", "0.0.0.0"], "--exposed"),
        (["n=1"], "no meaning here"),
        (["--host", "203.0.113.1", "--exposed"], "another"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(project, words, reason):
    command = started(project, "model.py:store", *words)
    _, said = command.communicate(timeout=90)
    assert (command.returncode, said.count("\n")) == (2, 1)
    assert reason in said


def test_ctrl_c_waits_for_the_server_to_end(tmp_path, monkeypatch):
    store = Store(lambda params: None, SimResult, tmp_path / "results", ".txt", f"sqlite:///{tmp_path / 'db.sqlite3'}")
    server, ready, said = Server(context_of(store), 0), threading.Event(), []

    def serve(sockets: list[socket.socket]) -> None:
        ready.wait()
        time.sleep(0.2)  # by now the command waits; if not, the test still holds
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: server._server.should_exit, "the server is told to end")
        time.sleep(0.2)  # in which a command that does not wait would be gone
        said.append(sockets[0].fileno() != -1)

    monkeypatch.setattr(server._server, "run", serve)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            server.run(ready.set)
    finally:
        signal.signal(signal.SIGINT, before)
    assert said == [True], "the command had left before the server had ended"
