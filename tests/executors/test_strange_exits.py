"""Runners that fork by hand, exceptions that are frozen, streams that are gone: no sweep ends by them."""

from __future__ import annotations

import dataclasses
import io
import multiprocessing
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from contract.models import Refused, refuse
from entropic import RunsFailedWarning
from executors import acts


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


# ---- forks -------------------------------------------------------------------------------------------------------
SCRIPT = """
import json, os, sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from entropic import Base, Mapped, Store

class Point(Base):
    __tablename__ = "points"
    n: Mapped[int]

how, where = sys.argv[1:3]

def run(params):
    with open("log", "a") as file:
        file.write(f"{params['n']}\\n")
    pid = os.fork()
    if pid == 0:
        if how == "raises":
            raise ValueError("the child's own")
        if how == "exits":
            sys.exit(7)
        if how == "is interrupted":
            raise KeyboardInterrupt
        print("the child has returned")
        return
    with open("codes", "a") as file:
        file.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\\n")
    with open(params["result_file"], "w") as file:
        json.dump(params["n"], file)

if __name__ == "__main__":
    store = Store(run, Point, file_suffix=".json")
    wanted = [{"n": n} for n in range(5)]
    if where == "run":
        rows = [store.run(one) for one in wanted]
    elif where == "handler":
        try:
            raise LookupError("the script's own, which is handled by a run")
        except LookupError:
            rows = [store.run(one) for one in wanted]
    elif where == "stream":
        rows = list(store.stream(wanted))
    elif where == "workers":
        rows = store.sweep(wanted, workers=1)
    elif where == "threads":
        rows = store.sweep(wanted, ThreadPoolExecutor(2))
    elif where == "pool":
        rows = store.sweep(wanted, ProcessPoolExecutor(2, mp_context=get_context("spawn")))
    else:
        rows = store.sweep(wanted)
    with open("ends", "a") as file:
        file.write(f"{len(rows)} {store.check().ok}\\n")
"""
CODES = {"raises": "1", "exits": "7", "is interrupted": "1", "returns": "0"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.each("where")
@pytest.mark.parametrize("where", ["sweep", "run", "handler", "stream", "workers", "threads", "pool"])
@pytest.mark.parametrize("how", list(CODES))
def test_a_child_that_a_runner_forks_does_nothing_but_end(tmp_path, how, where):
    (tmp_path / "study.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "study.py", how, where], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Counter((tmp_path / "log").read_text().split()) == Counter("01234")
    assert (tmp_path / "codes").read_text().split() == [CODES[how]] * 5
    assert (tmp_path / "ends").read_text() == "5 True\n", "and only one process has come to its end"
    if how == "raises" and where == "sweep":
        assert done.stderr.count("ValueError: the child's own") == 5


# ---- exceptions --------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


def be_frozen(params: dict[str, Any]) -> None:
    try:
        raise KeyError("before")
    except KeyError:
        raise Frozen(3) from None


WHERE = [{}, pytest.param({"workers": 1}, marks=pytest.mark.slow), {"client": ThreadPoolExecutor}]
WHERE.append(pytest.param({"client": ProcessPoolExecutor}, marks=pytest.mark.slow))


@pytest.fixture(params=WHERE, ids=str)
def options(request):
    if request.param.get("client") is ThreadPoolExecutor:
        with ThreadPoolExecutor(1) as pool:
            yield {"client": pool}
    elif request.param.get("client") is ProcessPoolExecutor:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield {"client": pool}
    else:
        yield request.param


def test_a_frozen_exception_is_a_failure_like_any_other(acting, log, options):
    store = acting({2: be_frozen})
    with pytest.warns(RunsFailedWarning, match="1 of 3"):
        rows = store.sweep(sets(1, 2, 3), on_error="continue", **options)
    assert [row.n for row in rows] == [1, 3]
    assert sorted(acts.ns_in(log)) == [1, 2, 3]
    (failure,) = store.failures()
    assert failure.error_type == "Frozen"
    assert store.check().ok


def test_and_comes_out_of_every_call_that_raises(acting):
    store = acting({2: be_frozen})
    for call in (
        store.run,
        store.run_or_retrieve,
        lambda one: store.sweep([one]),
        lambda one: list(store.stream([one])),
    ):
        with pytest.raises(Frozen):
            call(sets(2)[0])
    assert store.check().ok


# ---- streams -----------------------------------------------------------------------------------------------------
class Tee:
    """What people put in place of stderr: it writes, and no more."""

    def write(self, text: str) -> int:
        return len(text)


class Refusing(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError("no space left")

    def isatty(self) -> bool:
        return True


def closed() -> io.StringIO:
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.each("options", "make")
@pytest.mark.parametrize("progress", [None, True, False])
@pytest.mark.parametrize("make", [Tee, Refusing, closed, lambda: None], ids=["tee", "refusing", "closed", "none"])
def test_a_sweep_needs_no_stderr(acting, monkeypatch, options, progress, make):
    store = acting()
    monkeypatch.setattr(sys, "stderr", make())
    rows = store.sweep(sets(1, 2), progress=progress, **options)
    monkeypatch.undo()
    assert [row.n for row in rows] == [1, 2]


WITHOUT_STDERR = """
import io
import logging
import sys
from pathlib import Path
from entropic import Base, Mapped, Store

class Unheard(Base):
    __tablename__ = "unheard"
    n: Mapped[int]

def run(params):
    if params["n"] == 2:
        raise ValueError("the runner's own")
    Path(params["result_file"]).write_text("x")

store = Store(run, Unheard, file_suffix=".txt")
sets = [{"n": n} for n in (1, 2, 3)]
sys.stderr.close()
assert [row.n for row in store.sweep(sets, on_error="continue")] == [1, 3]      # RunsFailedWarning
Path(store.retrieve({"n": 1}).result_file).unlink()
assert store.run_or_retrieve({"n": 1}).n == 1                                   # ResultLostWarning
Path(store.retrieve({"n": 3}).result_file).write_text("changed by hand")
assert [row.n for row in store.sweep(sets[::2])] == [1, 3]                      # and the log says what is kept
heard = io.StringIO()
logging.basicConfig(handlers=[logging.StreamHandler(sys.stderr), logging.StreamHandler(heard)])
Path(store.retrieve({"n": 3}).result_file).write_text("changed by hand again")
assert [row.n for row in store.sweep(sets[::2])] == [1, 3]                      # also where the log goes to stderr
assert "is kept as" in heard.getvalue()                                         # and elsewhere
print(len(list(Path("results").glob("*changed*"))), store.check().ok)
"""


@pytest.mark.slow
def test_a_warning_that_nobody_can_hear_ends_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_STDERR], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout == "2 True\n"


def test_a_failed_set_costs_no_new_workspace(acting, tmp_path):
    store = acting(dict.fromkeys(range(20), refuse))
    folders = set()
    for one in sets(*range(20)):
        with pytest.raises(Refused):
            store.run(one)
        folders |= {path.name for path in (tmp_path / "results").rglob("*.work")}
    assert len(folders) == 1
    assert store.check().ok
