"""Sweeps on a Dask cluster whose workers are jobs of a real Slurm, and which has as many as there is work for."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.models import content, gone, refuse, wait_until
from databases import Servers, until
from entropic import RunsFailedWarning
from executors import acts
from slurm_cluster import Cluster, present, shared

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::UserWarning:distributed"),
]
TESTS = Path(__file__).parents[1]
SECONDS = 240.0  # in which jobs end that Slurm looks at each 30 s, and others take over


@pytest.fixture
def slurm(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster, with no jobs on it; what runs in jobs may import the tests."""
    cluster = present(lambda: shared(servers))
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])))
    yield cluster
    cluster.clear()


@pytest.fixture
def client(slurm: Cluster, tmp_path: Path) -> Iterator[Any]:
    """A client of a cluster that begins without any worker."""
    distributed, handler = pytest.importorskip("distributed"), signal.getsignal(signal.SIGINT)
    jobqueue = pytest.importorskip("dask_jobqueue")
    signal.signal(signal.SIGINT, handler)  # its import has put another one there
    made = jobqueue.SLURMCluster(
        cores=1,
        memory="400MB",
        walltime="00:10:00",
        python=sys.executable,
        interface="lo",
        local_directory=str(tmp_path),
        log_directory=str(tmp_path / "logs"),
        scheduler_options={"dashboard_address": ":0"},
    )
    with made as cluster, distributed.Client(cluster) as client:
        cluster.adapt(minimum_jobs=0, maximum_jobs=2)
        yield client


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


def test_each_set_runs_once_in_jobs_that_come_as_they_are_needed(client, acting, log):
    store = acting({5: refuse})
    with pytest.warns(RunsFailedWarning, match="1 of 20 sets"):
        rows = store.sweep(sets(*range(20)), client, on_error="continue")
    assert [(row.n, content(row)["n"]) for row in rows] == [(n, n) for n in range(20) if n != 5]
    assert Counter(acts.ns_in(log)) == Counter(range(20))
    assert os.getpid() not in {int(line.split()[0]) for line in acts.lines(log)}
    [failure] = store.failures()
    assert failure.error_type == "Refused"
    assert all(
        re.fullmatch(r"Slurm [0-9]+", job) for job in [failure.job, *(store.provenance(row).job for row in rows)]
    )
    assert len(store.sweep(sets(*(n for n in range(20) if n != 5)), client)) == 19
    assert Counter(acts.ns_in(log)) == Counter(range(20))
    assert store.check().ok


def test_a_set_whose_job_ends_by_its_time_runs_again_in_another_one(slurm, client, acting, open_store, log, tmp_path):
    note, gate = tmp_path / "note", tmp_path / "gate"
    store = acting({n: partial(acts.end_or_last, note, gate) for n in range(4)})
    with ThreadPoolExecutor(1) as pool:
        sweep = pool.submit(store.sweep, sets(*range(4)), client, fallback="raise")
        wait_until(lambda: len(acts.lines(note)) == 2, SECONDS)
        _, n, job = acts.lines(note)[0].split()
        [pid] = [int(line.split()[0]) for line in acts.lines(log) if line.split()[1] == n]
        slurm.end_time_of(job)
        wait_until(lambda: gone(pid), SECONDS)
        until(lambda: job not in slurm.jobs(), "the job is over")
        gate.touch()
        assert [row.n for row in sweep.result(SECONDS)] == [0, 1, 2, 3]
    ends = [line.split() for line in acts.lines(note) if line.startswith("end")]
    assert Counter(int(n) for _, n, _ in ends) == Counter(range(4)), "each ends once"
    assert {one: its for _, one, its in ends}[n] != job
    assert open_store().check().ok, "what the killed process has left is taken away by the next opening"
