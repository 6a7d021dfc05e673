"""What each run gets: cores, memory and GPUs of its own, in real processes."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.models import gone, run_python, wait_until
from entropic import ParameterError, RunFailed, RunOutOfMemory, RunsFailedWarning, WorkerDied, command
from entropic.executors import cores, gpus
from entropic.executors.cores import Reserved
from entropic.executors.guardian import _held, _share
from entropic.executors.resources import Resources
from entropic.support import process
from executors import acts

MIB = 2**20
LIMIT = "300MiB"
MUCH, SOME = 600 * MIB, 150 * MIB
pins = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or process.cores() < len(os.sched_getaffinity(0)), reason="no worker is pinned"
)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="what it looks at is Linux's")
two_cores = pytest.mark.skipif(process.cores() < 2, reason="there is one core")


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


def note_what_is_seen(path: Path, then: Callable[[dict[str, Any]], None] | None, params: dict[str, Any]) -> None:
    """Leave a line with what this run has."""
    found: dict[str, Any] = {
        "n": params["n"],
        "pid": os.getpid(),
        "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "variables": {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")},
    }
    acts.append(path, json.dumps(found))
    if then is not None:
        then(params)


def note_threads(path: Path, params: dict[str, Any]) -> None:
    """Leave a line with the threads that the BLAS of numpy has begun here, and which cores they may use."""
    import numpy
    from threadpoolctl import threadpool_info

    numpy.ones((300, 300)) @ numpy.ones((300, 300))
    cores = sorted({core for task in os.listdir("/proc/self/task") for core in os.sched_getaffinity(int(task))})
    acts.append(path, json.dumps({"threads": [one["num_threads"] for one in threadpool_info()], "cores": cores}))


def seen(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in acts.lines(path)]


def both(path: Path, company: int, params: dict[str, Any]) -> None:
    """End only when so many are under way."""
    wait_until(lambda: len(acts.lines(path)) >= company)


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where each run says what it sees."""
    return tmp_path / "seen"


# ---- cores -------------------------------------------------------------------------------------------------------
@pins
@two_cores
@pytest.mark.slow
def test_each_worker_has_cores_of_its_own_and_as_many_threads(acting, told, monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    act = partial(note_what_is_seen, told, partial(both, told, 2))
    rows = acting(dict.fromkeys(range(2), act)).sweep(sets(0, 1), workers=2, cores=1)
    assert len(rows) == 2
    one, other = seen(told)
    assert one["pid"] != other["pid"]
    assert len(one["cores"]) == len(other["cores"]) == 1
    assert one["cores"] != other["cores"]
    assert {*one["cores"], *other["cores"]} <= os.sched_getaffinity(0)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        assert one["variables"][name] == other["variables"][name] == "1"


@on_linux
@pins
@two_cores
@pytest.mark.slow
@pytest.mark.parametrize("cores", [1, 2])
def test_blas_begins_as_many_threads_as_a_run_has_cores(acting, told, monkeypatch, cores):
    pytest.importorskip("threadpoolctl")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    acting({0: partial(note_threads, told)}).sweep(sets(0), workers=1, cores=cores)
    [found] = seen(told)
    assert set(found["threads"]) == {cores}
    assert len(found["cores"]) == cores


@pytest.mark.slow
def test_a_number_of_threads_that_the_environment_says_stays(acting, told, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    acting({0: partial(note_what_is_seen, told, None)}).sweep(sets(0), workers=1, cores=1)
    [found] = seen(told)
    assert (found["variables"]["OMP_NUM_THREADS"], found["variables"]["MKL_NUM_THREADS"]) == ("3", "1")


@pins
@pytest.mark.slow
def test_without_cores_no_worker_is_pinned(acting, told):
    acting({0: partial(note_what_is_seen, told, None)}).sweep(sets(0), workers=1, memory="8GB")
    assert seen(told)[0]["cores"] == sorted(os.sched_getaffinity(0))


def crash_behind(told: Path, params: dict[str, Any]) -> None:
    """Die once the other run has begun."""
    both(told, 2, params)
    acts.be_killed(params)


@pins
@two_cores
@pytest.mark.slow
def test_a_worker_that_replaces_another_has_its_cores_and_its_gpus(acting, told, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8932f937")
    act = {n: partial(note_what_is_seen, told, partial(both, told, 3)) for n in range(4)}
    act[0] = partial(note_what_is_seen, told, partial(crash_behind, told))
    with pytest.warns(RunsFailedWarning):
        acting(act).sweep(sets(*range(4)), workers=2, cores=1, gpus=1, on_error="continue")
    places: dict[int, tuple[int, str]] = {}
    for one in seen(told):
        [core] = one["cores"]
        assert places.setdefault(one["pid"], (core, one["gpus"])) == (core, one["gpus"])
    (dead,) = {one["pid"] for one in seen(told) if one["n"] == 0}
    assert len(places) == 3
    assert list(places.values()).count(places[dead]) == 2, "that of the dead one, and of its successor"
    assert {gpu for _, gpu in places.values()} == {"5", "GPU-8932f937"}


@pytest.fixture
def alone(monkeypatch) -> None:
    """No other process reserves cores by these names."""
    monkeypatch.setattr(cores, "NAME", f"\0entropic.test.{os.getpid()}.core.")


@pins
def test_two_sweeps_on_a_machine_are_pinned_to_different_cores(caplog, alone):
    there = sorted(os.sched_getaffinity(0))
    first, second, third = Reserved(), Reserved(), Reserved()
    try:
        free = len(there) // 2
        first.take(free)
        second.take(len(there) - free)
        assert sorted(first.cores + second.cores) == there
        assert caplog.text == ""
        third.take(1)
        assert len(third.cores) == 1
        assert "shares the cores" in caplog.text
        given = first.cores
        first.close()
        again = Reserved()
        again.take(free)
        assert sorted(again.cores) == sorted(given)
        again.close()
    finally:
        for one in (first, second, third):
            one.close()


FORKS = """if True:
    import os
    from entropic.executors import cores
    cores.NAME = f"\\0entropic.test.{os.getpid()}.core."
    first, again = cores.Reserved(), cores.Reserved()
    first.take(1)
    (hold, release), (hear, say) = os.pipe(), os.pipe()
    if os.fork() == 0:
        os.close(release)
        os.write(say, b"1")
        os.read(hold, 1)
        os._exit(0)
    os.read(hear, 1)
    first.close()
    again.take(1)
    print(again.cores == first.cores, len(again.cores))
    os.close(release)
    os.wait()
"""


@pytest.mark.slow
@pins
@two_cores
def test_a_forked_child_that_outlives_a_sweep_does_not_keep_its_cores():
    assert run_python(FORKS).split() == ["True", "1"]


@pins
def test_a_core_that_is_taken_costs_no_open_file(alone):
    first, second = Reserved(), Reserved()
    try:
        first.take(1)
        before = len(os.listdir("/proc/self/fd"))
        second.take(1)
        assert len(os.listdir("/proc/self/fd")) <= before + 1
    finally:
        first.close()
        second.close()


def test_where_a_quota_leaves_fewer_cores_than_are_seen_no_worker_is_pinned(alone, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(process, "cores", lambda: 2)
    reserved = Reserved()
    reserved.take(2)
    reserved.close()
    assert reserved.cores == []
    assert [place.pinned for place in Resources(cores=1).places(2, reserved.cores)] == [(), ()]


ON_ONE_CORE = """if True:
    import os, sys
    from pathlib import Path
    from contract.models import SimResult
    from entropic import ParameterError, Store
    def run(params):
        Path(params["result_file"]).write_text(str(sorted(os.sched_getaffinity(0))))
    folder, mine = Path(sys.argv[1]), sorted(os.sched_getaffinity(0))[-1]
    os.sched_setaffinity(0, [mine])
    store = Store(run, SimResult, folder / "results", ".txt", f"sqlite:///{folder / 'db.sqlite3'}")
    if __name__ == "__main__":
        rows = store.sweep([{"n": n, "dt": 0.5} for n in range(3)], workers=-1, cores=1)
        print({Path(row.result_file).read_text() for row in rows} == {str([mine])})
        try:
            store.sweep([{"n": 3, "dt": 0.5}], workers=2, cores=1)
        except ParameterError as error:
            print(error)
        print(store.retrieve({"n": 3, "dt": 0.5}), len(store.sweep([{"n": 0, "dt": 0.5}], workers=2, cores=1)))
"""


@pins
@pytest.mark.slow
def test_only_cores_that_this_process_may_use_are_given_and_more_are_refused_before_anything_runs(tmp_path):
    first, refused, then = run_python(ON_ONE_CORE, tmp_path).splitlines()
    assert first == "True"
    assert refused == "workers=2 with cores=1 needs 2 cores, and this process may use 1; nothing was run"
    assert then == "None 1", "what is stored needs no cores"


# ---- GPUs --------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_no_two_workers_see_the_same_gpu(acting, told, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, 3,3,MIG-b,7,-1,9")
    act = partial(note_what_is_seen, told, partial(both, told, 2))
    acting(dict.fromkeys(range(2), act)).sweep(sets(0, 1), workers=2, gpus=2)
    assert {one["gpus"] for one in seen(told)} == {"GPU-a,3", "MIG-b,7"}


def test_gpus_are_those_that_are_visible(monkeypatch, tmp_path):
    for name in gpus.VISIBLE:
        monkeypatch.delenv(name, raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA A100 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA A100 (UUID: GPU-2)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpus.visible_gpus() == ("CUDA_VISIBLE_DEVICES", ["0", "1"])
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "4,5,6")
    assert gpus.visible_gpus() == ("ROCR_VISIBLE_DEVICES", ["4", "5", "6"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.visible_gpus() == ("CUDA_VISIBLE_DEVICES", [])


def test_gpus_that_nobody_names_are_refused_with_the_variable_to_set(acting, log, monkeypatch, tmp_path):
    for name in gpus.VISIBLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ParameterError, match="set CUDA_VISIBLE_DEVICES"):
        acting().sweep(sets(0), workers=1, gpus=1)
    assert acts.lines(log) == []


@pytest.mark.parametrize(("workers", "wanted"), [(3, "3 GPUs"), (-1, "2 GPUs")])
def test_more_gpus_than_are_visible_are_refused_before_anything_runs(acting, log, monkeypatch, workers, wanted):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    options = {"workers": workers, "gpus": 1 if workers > 0 else 2}
    with pytest.raises(ParameterError, match=rf"needs {wanted}, and this process sees 1 \(1\)"):
        acting().sweep(sets(0), **options)
    assert acts.lines(log) == []


def test_minus_one_means_as_many_workers_as_there_is_room_for(monkeypatch):
    monkeypatch.setattr("entropic.support.process.cores", lambda: 8)
    monkeypatch.setattr("entropic.support.process.memory", lambda: 10**10)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    count = lambda **given: Resources.of(*map(given.get, ("cores", "memory", "gpus"))).count()  # noqa: E731
    assert count(cores=3) == 2
    assert count(memory="2.5GB") == 4
    assert count(gpus=1) == 3
    assert count(cores=1, memory="1GB", gpus=2) == 1
    with pytest.raises(ParameterError, match=r"10 GB of memory, less than memory='11GB'"):
        count(memory="11GB")


# ---- memory ------------------------------------------------------------------------------------------------------
def take_memory(size: int, params: dict[str, Any]) -> None:
    """Hold so many bytes until the end, which does not come by itself."""
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    acts.hang_in_python(params)


def take_memory_for_a_moment(size: int, params: dict[str, Any]) -> None:
    del params
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])


TAKE = "import time; held = bytearray({size}); held[::4096] = b'x' * len(held[::4096]); time.sleep(600)"


def take_memory_in_a_program(pids: Path, size: int, params: dict[str, Any]) -> None:
    """Have a program take so many bytes that leads a session of its own, as a rank of `mpirun` may."""
    program = subprocess.Popen([sys.executable, "-c", TAKE.format(size=size)], start_new_session=True)
    acts.append(pids, str(program.pid))
    acts.hang_in_python(params)


@pytest.mark.slow
def test_a_run_that_uses_more_memory_than_it_may_is_ended_and_says_so_and_the_others_go_on(acting, log, tmp_path):
    store = acting({1: partial(take_memory, MUCH)})
    with pytest.warns(RunsFailedWarning, match="1 of 3 sets"):
        rows = store.sweep(sets(0, 1, 2), workers=2, memory=LIMIT, on_error="continue", retries=2)
    assert [row.n for row in rows] == [0, 2]
    [failure] = store.failures()
    assert (failure.params["n"], failure.error_type) == (1, "RunOutOfMemory")
    assert "the run used more than memory='300MiB' (" in failure.message
    assert "MB) and was ended" in failure.message
    assert acts.ns_in(log).count(1) == 1, "another try would need as much"
    assert store.check().ok


@pytest.mark.slow
def test_a_run_out_of_memory_is_raised_and_the_next_sweep_tries_it_again(acting, log):
    store = acting({1: partial(take_memory, MUCH)})
    with pytest.raises(RunOutOfMemory, match=r"used more than memory=314572800") as caught:
        store.sweep(sets(1), workers=1, memory=300 * MIB)
    assert isinstance(caught.value, MemoryError)
    assert isinstance(caught.value, RunFailed)
    assert not isinstance(caught.value, WorkerDied)
    assert [row.n for row in acting({1: partial(take_memory_for_a_moment, SOME)}).sweep(sets(1), workers=1)] == [1]
    assert store.failures() == []
    assert store.check().ok


@on_linux
@pytest.mark.slow
def test_what_a_run_has_started_counts_and_is_ended_with_it(acting, tmp_path):
    pids = tmp_path / "pids"
    store = acting({0: partial(take_memory_in_a_program, pids, MUCH)})
    with pytest.raises(RunOutOfMemory):
        store.sweep(sets(0), workers=1, memory=LIMIT)
    [pid] = map(int, acts.lines(pids))
    wait_until(partial(gone, pid))


def take_memory_when_told(log: Path, go: Path, size: int, params: dict[str, Any]) -> None:
    acts.append(log, str(os.getpid()))
    acts.wait_for(go, params)
    take_memory(size, params)


@pytest.mark.slow
def test_a_run_is_ended_for_its_memory_while_nobody_looks_at_the_sweep(acting, tmp_path):
    pids, go = tmp_path / "pids", tmp_path / "go"
    store = acting({0: partial(both, pids, 1), 1: partial(take_memory_when_told, pids, go, MUCH)})
    rows = store.stream(sets(0, 1), workers=2, memory=LIMIT, on_error="continue")
    assert next(rows).n == 0
    go.touch()
    [pid] = map(int, acts.lines(pids))
    wait_until(partial(gone, pid))  # without another `next`
    with pytest.warns(RunsFailedWarning):
        assert list(rows) == []
    assert [one.error_type for one in store.failures()] == ["RunOutOfMemory"]


def leave_memory(size: int, params: dict[str, Any]) -> None:
    """Leave so many bytes in this process for good."""
    import entropic.executors.attempt as anywhere  # a module of the worker's own: this one travels by value

    del params
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    anywhere.__dict__.setdefault("_left_by_a_test", []).append(held)


@pytest.mark.slow
def test_a_run_is_not_blamed_for_what_others_have_left_in_its_process(acting, log):
    store = acting(dict.fromkeys(range(5), partial(leave_memory, SOME)))
    rows = store.sweep(sets(*range(5)), workers=1, memory=LIMIT)
    assert [row.n for row in rows] == list(range(5))
    assert len({line.split()[0] for line in acts.lines(log)}) > 1
    assert store.check().ok


@pytest.mark.slow
def test_a_limit_below_what_a_worker_needs_ends_the_sweep_with_a_sentence(acting, log):
    with pytest.raises(RunOutOfMemory, match=r"before its first run, more than memory='1MB': give more"):
        acting().sweep(sets(0), workers=1, memory="1MB")
    assert acts.lines(log) == []


def share_memory(size: int, params: dict[str, Any]) -> None:
    """Hold so many bytes in six processes at once, which share them."""
    del params
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])
    pids = [os.getpid()]
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        pids.append(pid)
    try:
        assert sum(map(_held, pids)) > 5 * size
        assert sum(map(_share, pids)) < 2 * size
        time.sleep(1.5)  # in which the guardian looks ten times
    finally:
        for pid in pids[1:]:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


@on_linux
@pytest.mark.slow
def test_memory_that_processes_of_a_run_share_counts_once(acting):
    store = acting({0: partial(share_memory, 120 * MIB)})
    assert len(store.sweep(sets(0), workers=1, memory=LIMIT)) == 1


def map_file(path: Path, size: int, params: dict[str, Any]) -> None:
    """Read a large file that is mapped into memory, which the system may drop again."""
    del params
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[::4096]) == 0
        time.sleep(1.0)


@on_linux
@pytest.mark.slow
def test_files_that_a_run_has_mapped_do_not_count(acting):
    path = Path("/var/tmp") / f"entropic-mapped-{os.getpid()}"
    try:
        with path.open("wb") as file:
            file.truncate(MUCH)
        store = acting({0: partial(map_file, path, MUCH)})
        assert len(store.sweep(sets(0), workers=1, memory=LIMIT)) == 1
    finally:
        path.unlink(missing_ok=True)


# ---- Dask --------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_dask_counts_what_its_workers_have_as_the_documents_show(acting, tmp_path):
    distributed = pytest.importorskip("distributed")
    import dask

    times = tmp_path / "times"
    store = acting(dict.fromkeys(range(4), partial(acts.last, times, 0.2)))
    options: dict[str, Any] = {"dashboard_address": ":0", "local_directory": tmp_path / "scratch"}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=4, resources={"GPU": 1}, **options) as cluster,
        distributed.Client(cluster) as client,
        dask.annotate(resources={"GPU": 1}),
    ):
        assert len(store.sweep(sets(*range(4)), client, fallback="raise")) == 4
    assert acts.most_at_once(acts.lines(times)) == 1


# ---- runs that are parallel themselves ---------------------------------------------------------------------------
PROGRAM = """
import json, os, sys
from mpi4py import MPI
here = [os.getpid(), os.getsid(0), sorted(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS")]
open(f"{sys.argv[1]}-{MPI.COMM_WORLD.rank}", "w").write(json.dumps(here))
ranks = MPI.COMM_WORLD.gather(here)
if len(sys.argv) > 3:  # both have begun
    held = bytearray(int(sys.argv[3]) if MPI.COMM_WORLD.rank else 0)
    held[::4096] = b"x" * len(held[::4096])
    __import__("time").sleep(600)
if ranks is not None:
    open(sys.argv[2], "w").write(json.dumps(ranks))
"""


@pytest.fixture
def mpirun(tmp_path: Path) -> str:
    pytest.importorskip("mpi4py")
    found = Path(sys.executable).parent / "mpirun"
    if not found.exists():
        pytest.skip("there is no mpirun beside this Python")
    (tmp_path / "solve.py").write_text(PROGRAM)
    return f"{found} -n 2 {sys.executable} {tmp_path / 'solve.py'}"


@on_linux
@pins
@two_cores
@pytest.mark.slow
def test_the_ranks_of_a_run_share_its_cores_and_no_other(open_store, mpirun, tmp_path):
    store = open_store(run=command(f"{mpirun} {tmp_path}/rank{{n}} {{result_file}}"))
    rows = store.sweep(sets(0, 1), workers=2, cores=1)
    cores = [{tuple(rank[2]) for rank in json.loads(Path(row.result_file).read_text())} for row in rows]
    assert all(len(one) == 1 and len(next(iter(one))) == 1 for one in cores)


@on_linux
@pytest.mark.slow
def test_the_memory_of_the_ranks_of_a_run_counts_and_they_are_ended_with_it(open_store, mpirun, tmp_path):
    store = open_store(run=command(f"{mpirun} {tmp_path}/rank {{result_file}} {800 * MIB}"))
    with pytest.raises(RunOutOfMemory):
        store.sweep(sets(0), workers=1, memory="600MiB")
    ranks = [json.loads(path.read_text()) for path in tmp_path.glob("rank-*")]
    assert len(ranks) == 2
    for pid, *_ in ranks:
        wait_until(partial(gone, pid))
