"""A program that a run starts: what it prints is printed here and kept, and it ends with the run.

It leads a process group of its own, so that all that it has started is ended with it, within the session of this
process, so that whoever ends a worker's session ends it, too.
"""

import codecs
import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from typing import IO, Any

from entropic.errors import CommandError

MOST_IN_MEMORY = 1 << 22  # bytes of what a program prints
MOST_SHOWN = 2_000  # characters of stderr in a failure
GRACE = 3.0  # s between the request to end and the end


def spool() -> IO[bytes]:
    """Return a file for what a program prints: in memory, unless that is much."""
    return tempfile.SpooledTemporaryFile(MOST_IN_MEMORY)


def run(words: list[str], folder: str, out: IO[bytes], errors: IO[bytes]) -> None:
    """Start a program, and return when it has exited with code 0.

    Raises
    ------
    CommandError
        If it cannot be started, or has not.
    """
    try:
        process = _start(words, folder)
    except (OSError, ValueError) as error:
        raise CommandError(f"{words[0]} cannot be started: {error}") from error
    try:
        _listen(process, out, errors)
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        _close(process)
    if code:
        raise _failure(words[0], code, out, errors)


def _start(words: list[str], folder: str) -> subprocess.Popen[bytes]:
    """Start a program; an interrupt meanwhile ends it.

    It is started in a thread, where Python handles no signals: one that came within `Popen` would leave behind a
    program that nobody knows (`tests/executors/test_programs.py`).
    """
    pipe = subprocess.PIPE
    options: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe}
    future = Future[subprocess.Popen[bytes]]()

    def start() -> None:
        try:
            future.set_result(subprocess.Popen(words, process_group=0, **options))
        except BaseException as error:  # noqa: BLE001  (which whoever waits raises)
            future.set_exception(error)

    thread = threading.Thread(target=start, name="entropic-start")
    try:
        thread.start()
        return future.result()
    except BaseException:
        if thread.ident is not None and future.exception() is None:
            _end(future.result())
            _close(future.result())
        raise


def _failure(program: str, code: int, out: IO[bytes], errors: IO[bytes]) -> CommandError:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    name, told = ("stderr", errors) if errors.tell() else ("stdout", out)
    told.seek(max(0, told.tell() - 4 * MOST_SHOWN))
    text = told.read().decode("utf-8", "replace").rstrip()[-MOST_SHOWN:]
    failure = CommandError(f"{program} {how}" + (f". The end of its {name}:\n{text}" if text else ", and said nothing"))
    failure.code = code
    return failure


def _listen(process: subprocess.Popen[bytes], out: IO[bytes], errors: IO[bytes]) -> None:
    """Take in what a program prints, and print it, until it has ended; what it leaves behind may hold the pipes."""
    assert process.stdout is not None
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        for pipe, kept, shown in ((process.stdout, out, sys.stdout), (process.stderr, errors, sys.stderr)):
            decode = codecs.getincrementaldecoder("utf-8")("replace").decode
            selector.register(pipe, selectors.EVENT_READ, (kept, shown, decode))
        while selector.get_map():
            ready = selector.select(0.1)
            if not ready and process.poll() is not None:
                return
            for key, _ in ready:
                kept, shown, decode = key.data
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                kept.write(data)
                with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody listens
                    shown.write(decode(data, not data))
                    shown.flush()


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program, and what it has started."""
    try:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
