"""The example script as a job of a real Slurm: whatever ends its jobs, each set has one completed run."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.models import gone
from databases import Place, Servers, until
from slurm_cluster import Cluster, present, shared

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
JOBS_SECONDS = 240.0  # in which jobs end that Slurm looks at each 30 s, and others do the rest
SCRIPT = """
import os, sys, time
from entropic import Base, Mapped, Store

class Row(Base):
    __tablename__ = "sim_results"
    n: Mapped[int]
    dt: Mapped[float]

def note(what, n):
    with open("notes", "a") as file:
        file.write(f"{what} {n} {os.environ['SLURM_JOB_ID']} {os.getpid()}\\n")

def runner(params):
    note("begin", params["n"])
    while not os.path.exists("gate"):
        time.sleep(0.02)
    with open(params["result_file"], "w") as file:
        file.write("1")
    note("end", params["n"])

store = Store(runner, Row, "results", ".json", os.environ["URL"])

if __name__ == "__main__":
    rows = store.sweep([{"n": n, "dt": 0.5} for n in range(int(os.environ["MANY"]))])
    open(f"said-{os.environ['SLURM_JOB_ID']}-{os.environ['SLURM_PROCID']}", "w").write(str([row.n for row in rows]))
"""


@pytest.fixture
def slurm(servers: Servers) -> Iterator[Cluster]:
    """The cluster, with no jobs on it."""
    cluster = present(lambda: shared(servers))
    yield cluster
    cluster.clear()


@pytest.fixture
def place(make_place: Callable[[Path], Any], tmp_path: Path) -> Iterator[Place]:
    """A database of each kind: here the tasks of the jobs work with it."""
    with make_place(tmp_path) as made:
        yield made


@pytest.fixture
def submit(slurm: Cluster, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Submit the example script, with more options."""
    (tmp_path / "sweep.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "_path", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("URL", place.url)

    def do(*options: str) -> str:
        job = ["--parsable", "--open-mode=append", "--output=out-%j", *options, str(ROOT / "examples" / "slurm.sh")]
        return slurm.run("sbatch", *job, "sweep.py").strip()

    return do


def noted(what: str) -> list[tuple[int, str, int]]:
    """Return which sets have begun, or ended, in which jobs and processes."""
    lines = Path("notes").read_text().splitlines() if Path("notes").exists() else []
    return [(int(n), job, int(pid)) for word, n, job, pid in map(str.split, lines) if word == what]


@pytest.mark.only_on("sqlite")
def test_a_job_of_the_script_that_gives_way_with_a_grace_time_is_put_back_into_the_queue_and_goes_on(
    slurm, submit, open_store, monkeypatch
):
    monkeypatch.setenv("MANY", "6")
    job = submit("--partition=graceful", "--nodelist=n1", "--ntasks=2", "--cpus-per-task=4", "--time=10")
    until(lambda: len(noted("begin")) == 2, "each task has begun a set")
    urgent = slurm.run(
        "sbatch", "--parsable", "--partition=urgent", "--nodelist=n1", "--ntasks=8", "--wrap=true"
    ).strip()
    until(lambda: slurm.jobs().get(job) == "PENDING", "it has given way")
    until(lambda: urgent not in slurm.jobs(), "the other one has ended")
    assert all(gone(pid) for *_, pid in noted("begin"))
    Path("gate").touch()
    slurm.hurry(job)
    until(lambda: job not in slurm.jobs(), "it has ended")
    said = Path(f"said-{job}-0")
    assert said.exists(), slurm.run("scontrol", "show", "job", job) + Path(f"out-{job}").read_text()
    assert said.read_text() == str(list(range(6)))
    assert Counter(n for n, *_ in noted("end")) == dict.fromkeys(range(6), 1), "each has one completed run"
    assert open_store().check().ok


@pytest.mark.only_on("sqlite")
def test_a_run_of_the_script_may_start_steps_of_its_own(slurm, submit, tmp_path, monkeypatch):
    """With `--overlap`, as the docs say: all that the job has belongs to the step that its tasks are in."""
    monkeypatch.setenv("MANY", "2")
    text = SCRIPT.replace(
        '    note("end"', '    os.system("srun --overlap --mem=0 --ntasks=1 echo a step >> steps")\n    note("end"'
    )
    (tmp_path / "sweep.py").write_text(text)
    Path("gate").touch()
    job = submit("--ntasks=2", "--time=10")
    until(lambda: job not in slurm.jobs(), "the job has ended")
    assert Path("steps").read_text().split("\n") == ["a step", "a step", ""], Path(f"out-{job}").read_text()


@pytest.mark.only_on("sqlite", "postgresql")
def test_whatever_ends_jobs_of_the_script_each_set_has_one_completed_run(slurm, submit, open_store, monkeypatch):
    """One job is requeued, one cancelled, one loses its node, one ends by its time; another is submitted meanwhile."""
    many = 200
    monkeypatch.setenv("MANY", str(many))
    small = ["--ntasks=2", "--time=10", "--requeue"]
    requeued = submit(*small, "--nodelist=n1")
    lost, cancelled = submit(*small, "--nodelist=n2"), submit(*small, "--nodelist=n2")
    timed = submit(*small, "--nodelist=n1")
    first = [requeued, lost, cancelled, timed]
    until(lambda: len(noted("begin")) == 2 * len(first), "each task has begun a set")
    begun = noted("begin")
    second = submit(*small, "--nodelist=n1")
    until(lambda: len(noted("begin")) == 2 * len(first) + 2, "another submission has joined in")
    slurm.end_time_of(timed)  # it is sent Ctrl-C first, as it asks for
    slurm.run("scancel", cancelled)
    slurm.requeue(requeued)
    slurm.lose_node("n2")
    slurm.start_node("n2")
    until(lambda: all(gone(pid) for *_, pid in begun), "nothing of the first jobs is left", JOBS_SECONDS)
    Path("gate").touch()
    until(lambda: second not in slurm.jobs(), "the other submission has done the rest", JOBS_SECONDS)
    assert Path(f"said-{second}-0").read_text() == str(list(range(many)))
    again = submit(*small)
    until(lambda: again not in slurm.jobs(), "the same job again has nothing to do")
    assert Path(f"said-{again}-1").read_text() == str(list(range(many)))
    ran = Counter(n for n, *_ in noted("begin"))
    assert {n for n, count in ran.items() if count > 1} >= {n for n, *_ in begun}, "what was lost began again"
    assert Counter(n for n, *_ in noted("end")) == dict.fromkeys(range(many), 1), "each has one completed run"
    store = open_store()
    assert sorted(row.n for row in store.select()) == list(range(many))
    assert store.check().ok
