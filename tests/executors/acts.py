"""What a run may do beside writing its result: wait, print, hang, die. Each takes the params last."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from contract.models import PATIENCE, ActingRunner, SimResult, refuse, wait_until
from entropic import Store, report

Params = dict[str, Any]
FOREVER = 600  # seconds; every test that waits so long has failed by then


def append(path: Path | str, line: str) -> None:
    """Append a line in one write, so that the lines of many processes stay whole."""
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def lines(path: Path | str) -> list[str]:
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


def ns_in(log: Path | str) -> list[int]:
    """The `n` of every run in a log of `LoggingRunner`."""
    return [int(line.split()[1]) for line in lines(log)]


# ---- wait --------------------------------------------------------------------------------------------------------
def wait_for(path: Path | str, params: Params) -> None:
    """Wait until a file is there."""
    wait_until(lambda: os.path.exists(path))


def wait_for_runs(log: Path | str, others: Iterable[int], params: Params) -> None:
    """Wait until the runs of all the others have begun."""
    wait_until(lambda: set(others) <= set(ns_in(log)))


def wait_behind(log: Path | str, many: int, gate: Path | str, params: Params) -> None:
    """Take a moment and, unless it is one of the first runs of this log, wait until a file is there.

    So a sweep is surely met in the middle, however late the test comes.
    """
    time.sleep(0.25)
    if len(lines(log)) > many:
        wait_for(gate, params)


def wait_then_refuse(path: Path | str, params: Params) -> None:
    wait_for(path, params)
    refuse(params)


def wait_for_runs_then_refuse(log: Path | str, others: Iterable[int], params: Params) -> None:
    wait_for_runs(log, others, params)
    refuse(params)


def meet(path: Path | str, company: int, params: Params) -> None:
    """Note that it begins and ends, and end only after `company` runs have been under way at once."""

    def most() -> int:
        return most_at_once(lines(path))

    append(path, "begin")
    wait_until(lambda: most() >= company)
    append(path, "end")


def most_at_once(noted: Iterable[str]) -> int:
    """How many were under way at once, according to what `meet` or `last` noted."""
    now = most = 0
    for line in noted:
        now += 1 if line == "begin" else -1
        most = max(most, now)
    return most


def last(path: Path | str, seconds: float, params: Params) -> None:
    """Note that it begins and ends, and take some time in between."""
    append(path, "begin")
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun >= seconds)
    append(path, "end")


def last_then_refuse(path: Path | str, seconds: float, params: Params) -> None:
    last(path, seconds, params)
    refuse(params)


# ---- hang --------------------------------------------------------------------------------------------------------
def hang_in_python(params: Params) -> None:
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun >= FOREVER, FOREVER + 10)


def hang_once(path: Path | str, params: Params) -> None:
    """Hang, unless a file says that this was done before."""
    if not os.path.exists(path):
        Path(path).touch()
        hang_in_python(params)


def hang_in_c(params: Params) -> None:
    """Never return to Python, and let no other thread of the process have its turn."""
    ctypes.PyDLL(None).sleep(FOREVER)


def hang_and_ignore_signals(params: Params) -> None:
    """Ignore the signals that can be ignored; by way of C, since Python allows it in the main thread only."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        ctypes.CDLL(None).signal(int(number), ctypes.c_void_p(1))  # SIG_IGN
    hang_in_python(params)


def hang_with_a_child(path: Path | str, params: Params) -> None:
    """Start a child process, write down its pid, and wait for it."""
    with subprocess.Popen(["sleep", str(FOREVER)]) as child:
        append(path, str(child.pid))
        child.wait()


def start_program(path: Path | str, *command: str, **how: Any) -> None:
    """Start a program that lasts, and write down its pid."""
    append(path, str(subprocess.Popen(command or ("sleep", str(FOREVER)), **how).pid))


def hang_with_a_group(path: Path | str, params: Params) -> None:
    """Start programs that ignore what can be ignored, one of them in a process group of its own, and wait."""
    deaf = "trap '' INT TERM HUP; while :; do sleep 1; done"
    start_program(path, "sh", "-c", deaf)
    start_program(path, "sh", "-c", deaf, process_group=0)
    start_program(path, process_group=0)
    append(path, "all")
    hang_in_python(params)


def hang_with_an_orphan(path: Path | str, params: Params) -> None:
    """Wait beside a program whose parent has ended; write down both."""
    subprocess.run(["sh", "-c", f"sleep {FOREVER} & echo $! >> '{path}'"], check=True)
    append(path, str(os.getpid()))
    append(path, "has begun")
    hang_in_python(params)


def sweep_inside(path: Path | str, params: Params) -> None:
    """Sweep in two workers of its own, whose runs wait beside orphans."""
    folder = Path(f"{path} of the sweep inside")
    runner = ActingRunner(folder / "log", dict.fromkeys(range(2), partial(hang_with_an_orphan, path)))
    folder.mkdir()
    store = Store(runner, SimResult, folder / "results", ".json", f"sqlite:///{folder / 'db.sqlite3'}")
    threading.Thread(target=_wait_for_two_and_say_so, args=[path], daemon=True).start()
    store.sweep([{"n": n, "dt": 0.5} for n in range(2)], workers=2)


def _wait_for_two_and_say_so(path: Path | str) -> None:
    wait_until(lambda: lines(path).count("has begun") == 2)
    append(path, "all")


def hang_in_c_with_a_child(path: Path | str, params: Params) -> None:
    start_program(path)
    append(path, "all")
    hang_in_c(params)


def run_a_program(path: Path | str, params: Params) -> None:
    """Run a program as most runners do; it has said who it is once it is waited for.

    Python leaves a program alone that an interrupt meets before `Popen` has returned.
    """
    script = f"read go; echo $$ >> '{path}'; echo all >> '{path}'; exec sleep {FOREVER}"
    subprocess.run(["sh", "-c", script], input=b"go\n", check=True)


def end_a_forked_child(path: Path | str, params: Params) -> None:
    """End a child as a pool of `multiprocessing` does, and write down how it ended."""
    child = os.fork()
    if child == 0:
        time.sleep(FOREVER)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    append(path, str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


def end_or_last(path: Path | str, gate: Path | str, params: Params) -> None:
    """Note which run begins and ends, with the job of Slurm that it is in, and end only when a file is there."""
    known = os.environ  # the id of one element of an array is also that of the whole
    is_element = "SLURM_ARRAY_TASK_ID" in known
    job = f"{known['SLURM_ARRAY_JOB_ID']}_{known['SLURM_ARRAY_TASK_ID']}" if is_element else known["SLURM_JOB_ID"]
    append(path, f"begin {params['n']} {job}")
    wait_until(lambda: os.path.exists(gate), FOREVER)  # jobs come and go before the test makes it
    append(path, f"end {params['n']} {job}")


def note_and_sleep(path: Path | str, seconds: float, params: Params) -> None:
    """Note which run ends, and in which job of Slurm, after so long."""
    time.sleep(seconds)
    append(path, f"end {params['n']} {os.environ['SLURM_JOB_ID']}")


def claim_to_take(seconds: float, params: Params) -> None:
    """Say that it has taken so long, whatever it did."""
    params["custom_data"]["elapsed_seconds"] = float(seconds)


def eat(megabytes: int, params: Params) -> None:
    """Hold more and more memory, and then wait for what comes of that."""
    held = [bytes([1]) * 2**20 for _ in range(megabytes)]
    hang_in_python(params)
    held.clear()


def eat_where_there_is_little(megabytes: int, params: Params) -> None:
    """Hold more than there is, in a job that has asked for less than so much memory."""
    [had] = re.findall(r"mem=(\d+)M", os.environ["ENTROPIC_JOB_ASKED"])
    if int(had) < megabytes:
        eat(2 * megabytes, params)


# ---- die ---------------------------------------------------------------------------------------------------------
def segfault(params: Params) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def be_killed(params: Params) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def be_killed_once(marker: Path, params: Params) -> None:
    """Die, unless this was done before."""
    if not marker.exists():
        marker.touch()
        be_killed(params)


def fork_and_die(params: Params) -> None:
    """Leave a child behind that holds every open file of this process, and is not in its group."""
    if os.fork() == 0:
        os.setsid()
        time.sleep(PATIENCE)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def exit_at_once(params: Params) -> None:
    os._exit(3)


def close_all_files(params: Params) -> None:
    """Close what this process has open, as programs that turn themselves into daemons do."""
    os.closerange(3, 1_000)


# ---- print -------------------------------------------------------------------------------------------------------
def speak(params: Params) -> None:
    """Say something in every way there is, each with the `n` of this run."""
    n = params["n"]
    print(f"print {n}")
    os.write(1, f"fd-one {n}\n".encode())
    os.write(2, f"fd-two {n}\n".encode())
    subprocess.run(["sh", "-c", f"echo shell {n}; echo shell-error {n} >&2"], check=True)
    libc = ctypes.CDLL(None)
    libc.puts(f"puts {n}".encode())
    libc.fflush(None)


SPOKEN = ("print", "fd-one", "fd-two", "shell", "shell-error", "puts")


def speak_then_refuse(params: Params) -> None:
    speak(params)
    refuse(params)


def speak_then_segfault(params: Params) -> None:
    speak(params)
    segfault(params)


def refuse_once(path: Path | str, params: Params) -> None:
    """Print `first` and fail, or, if the file is there already, print `second`."""
    if os.path.exists(path):
        print("second")
        return
    Path(path).touch()
    print("first")
    refuse(params)


def refuse_once_then_be_silent(path: Path | str, params: Params) -> None:
    if not os.path.exists(path):
        refuse_once(path, params)


# ---- raise -------------------------------------------------------------------------------------------------------
class Unpicklable(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class OneWay(Exception):
    """Can be pickled, but not unpickled: it is made of two arguments, and `args` holds one."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def raise_unpicklable(params: Params) -> None:
    raise Unpicklable("the pump ran dry")


def raise_one_way(params: Params) -> None:
    raise OneWay("the pump", "ran dry")


class Untransportable:
    """A runner that no other process can have."""

    def __init__(self, log: Path, what: Any) -> None:
        self.log, self.what = log, what

    def __call__(self, params: Params) -> None:
        append(self.log, f"{os.getpid()} {params['n']}")
        Path(params["result_file"]).write_text(str(params["n"]))


# ---- go on -------------------------------------------------------------------------------------------------------
def train(log: Path | str, how: str, params: Params) -> int:
    """Count to four with a checkpoint at each step, and end at the second, in one way or another, the first time."""
    state = Path(params["checkpoint_dir"], "step")
    step = int(state.read_text()) if state.exists() else 0
    append(log, f"{params['n']} from {step}")
    for at in range(step + 1, 5):
        new = state.with_suffix(".new")
        new.write_text(str(at))
        os.replace(new, state)
        if (step, at) == (0, 2):
            if how == "raises":
                raise RuntimeError("made by the test")
            if how == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(FOREVER)
    return 4


def report_and_wait(gate: Path | str, params: Params) -> None:
    """Say how far it is, and wait until a file is there."""
    report(1, 4, loss=0.5)
    wait_for(gate, params)
