"""`progress`: a bar where somebody looks, silence everywhere else."""

from __future__ import annotations

import importlib.util
import os
import pty
import re
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract.models import PATIENCE, LoggingRunner
from entropic import RunsFailedWarning
from entropic.sweep import progress

pytestmark = pytest.mark.only_on("sqlite")  # the database has no part in it
needs_tqdm = pytest.mark.skipif(importlib.util.find_spec("tqdm") is None, reason="the bar is one of tqdm")
IN_WORKERS = pytest.param({"workers": 2}, id="in workers", marks=pytest.mark.slow)  # to start them takes a second
HERE_AND_THERE = pytest.mark.parametrize("options", [pytest.param({}, id="here"), IN_WORKERS])


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


@pytest.fixture
def runner(tmp_path):
    return LoggingRunner(tmp_path / "log")


@HERE_AND_THERE
@pytest.mark.parametrize("progress", [None, False])
@pytest.mark.parametrize("method", ["sweep", "stream"])
def test_nothing_is_printed_where_nobody_looks(store, capfd, options, progress, method):
    assert len(list(getattr(store, method)(sets(1, 2, 3), progress=progress, **options))) == 3
    assert capfd.readouterr() == ("", "")


@needs_tqdm
@HERE_AND_THERE
@pytest.mark.parametrize("method", ["sweep", "stream"])
def test_a_bar_that_is_asked_for_ends_with_all_done(store, capfd, options, method):
    rows = getattr(store, method)(sets(*range(7)), progress=True, **options)
    assert sorted(row.n for row in rows) == list(range(7))
    out, err = capfd.readouterr()
    assert out == ""
    assert "7/7" in err
    assert "100%" in err


@pytest.mark.slow
def test_a_log_file_gets_few_lines_and_only_where_something_has_changed(store, capfd, monkeypatch):
    store.sweep(sets(*range(300)), progress=True)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) <= 3
    assert lines[-1].startswith("SimResult: 300/300 sets (100%)")
    assert not any("\r" in line for line in lines)
    bar = progress.Bar(True, "SimResult", 10, 0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with bar:
        for _ in range(50):
            bar.show(0, 2, 0, 0)
        bar.show(5, 2, 1, 0)
    first, second = capfd.readouterr().err.splitlines()
    assert first == "SimResult: 0/10 sets (0%), running 2"
    assert second.startswith("SimResult: 5/10 sets (50%), running 2, failed 1, ")


@needs_tqdm
def test_a_bar_shows_what_a_pool_does(store, capfd):
    with ThreadPoolExecutor(2) as pool:
        store.sweep(sets(*range(7)), pool, progress=True)
    assert "7/7" in capfd.readouterr().err


@needs_tqdm
@HERE_AND_THERE
def test_the_rows_are_the_same_with_a_bar(store, runner, options):
    store.run(sets(2)[0])
    with_bar = store.sweep(sets(3, 2, 3, 1), progress=True, **options)
    assert [row.n for row in with_bar] == [3, 2, 1]
    without = store.sweep(sets(3, 2, 3, 1), progress=False, **options)
    assert [(row.id, row.created_at) for row in without] == [(row.id, row.created_at) for row in with_bar]
    assert len(runner.lines()) == 3


@needs_tqdm
def test_a_bar_also_ends_where_some_are_there_already(store, capfd):
    store.sweep(sets(1, 2))
    store.sweep(sets(1, 2, 3, 4, 5), progress=True)
    done = re.findall(r"(\d+)/(\d+)", capfd.readouterr().err)
    assert done[-1] in [("5", "5"), ("3", "3")]


@needs_tqdm
def test_a_bar_does_not_hide_the_failures(open_store, capfd):
    def run(params):
        if params["n"] == 2:
            raise ValueError
        Path(params["result_file"]).write_text("x")

    with pytest.warns(RunsFailedWarning, match="1 of 3"):
        assert len(open_store(run=run).sweep(sets(1, 2, 3), progress=True, on_error="continue")) == 2
    assert "/3" in capfd.readouterr().err


SWEEP = """if True:
    import sys
    from contract.models import SimResult, write_params
    from entropic import Store
    store = Store(write_params, SimResult, f"{sys.argv[1]}/results", ".json", sys.argv[2])
    options = eval(sys.argv[3])
    assert len(store.sweep([{"n": n, "dt": 0.5} for n in range(7)], **options)) == 7
"""


def shown_on_a_terminal(folder: Path, url: str, options: dict[str, Any]) -> str:
    """Sweep in a process whose stderr is a terminal; return what it shows."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(folder), url, repr(options)],
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 4096):
            shown += part
    except OSError:
        pass  # as Linux says that nobody holds the other end any more
    finally:
        os.close(master)
    assert process.wait(PATIENCE) == 0, shown
    return shown.decode()


@pytest.mark.slow
@needs_tqdm
@HERE_AND_THERE
def test_a_terminal_shows_a_bar_unasked(place, tmp_path, options):
    assert "7/7" in shown_on_a_terminal(tmp_path, place.url, options)


@pytest.mark.slow
@HERE_AND_THERE
def test_a_terminal_shows_none_where_it_is_forbidden(place, tmp_path, options):
    assert shown_on_a_terminal(tmp_path, place.url, {"progress": False, **options}) == ""
