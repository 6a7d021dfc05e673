"""`workers=N`: other processes, which may crash, hang and print without harm to the rest."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import types
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.models import LoggingRunner, Refused, content, gone, refuse, run_python, wait_until
from entropic import RunFailed, RunsFailedWarning, RunTimeout, WorkerDied
from entropic.support import process
from executors import acts

DEATHS = pytest.mark.parametrize(
    ("act", "told"), [(acts.segfault, "SIGSEGV"), (acts.be_killed, "SIGKILL"), (acts.exit_at_once, r"\b3\b")]
)
LIMIT = 3.0  # seconds; a run that takes a moment does not take that long, however loaded the machine is
HANGS = pytest.mark.parametrize("hang", [acts.hang_in_python, acts.hang_in_c, acts.hang_and_ignore_signals])


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


def ran(log: Path) -> list[int]:
    return sorted(acts.ns_in(log))


def pids(log: Path) -> set[int]:
    return {pid for pid, _ in LoggingRunner(log).lines()}


# ---- processes ---------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_few_processes_do_many_runs(acting, log):
    rows = acting().sweep(sets(*range(40)), workers=2)
    assert [content(row)["n"] for row in rows] == list(range(40))
    assert ran(log) == list(range(40))
    assert 1 <= len(pids(log)) <= 2
    assert os.getpid() not in pids(log)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_runs_as_there_are_workers_go_on_at_once_and_no_more(acting, tmp_path, workers):
    times = tmp_path / "times"
    store = acting(dict.fromkeys(range(12), partial(acts.meet, times, workers)))
    assert len(store.sweep(sets(*range(12)), workers=workers)) == 12
    assert len(acts.lines(times)) == 24
    assert acts.most_at_once(acts.lines(times)) == workers


ON_CORES = """if True:
    import os, sys
    from functools import partial
    from pathlib import Path
    from contract.models import ActingRunner, SimResult
    from entropic import Store
    from executors import acts
    folder, cores = Path(sys.argv[1]), int(sys.argv[2])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    act = partial(acts.meet, folder / "times", cores)
    runner = ActingRunner(folder / "log", dict.fromkeys(range(10), act))
    store = Store(runner, SimResult, folder / "results", ".json", f"sqlite:///{folder / 'db.sqlite3'}")
    print(len(store.sweep([{"n": n, "dt": 0.5} for n in range(10)], workers=-1)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no way to give cores away")
@pytest.mark.parametrize("cores", [1, 2])
def test_minus_one_means_the_cores_that_this_process_may_use(tmp_path, log, cores):
    if process.cores() < cores:
        pytest.skip("too few cores")
    assert run_python(ON_CORES, tmp_path, cores).strip() == "10"
    assert acts.most_at_once(acts.lines(tmp_path / "times")) == cores
    assert len(pids(log)) == cores


@pytest.mark.slow
def test_no_worker_outlives_its_sweep(acting, log):
    acting().sweep(sets(*range(6)), workers=2)
    wait_until(lambda: all(map(gone, pids(log))))


def double_the_n(log: Path, params: dict[str, Any]) -> None:
    acts.append(log, f"{os.getpid()} {params['n']}")
    Path(params["result_file"]).write_text(str(2 * params["n"]))


class Doubler:
    def __init__(self, log: Path) -> None:
        self.log = log

    def run(self, params: dict[str, Any]) -> None:
        double_the_n(self.log, params)


def kinds(log: Path) -> dict[str, Any]:
    def closure(params):
        return double_the_n(log, params)

    class Local:
        def __call__(self, params):
            double_the_n(log, params)

    return {
        "lambda": lambda params: double_the_n(log, params),
        "closure": closure,
        "bound method": Doubler(log).run,
        "partial": partial(double_the_n, log),
        "object of a local class": Local(),
    }


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.parametrize("kind", list(kinds(Path("none"))))
def test_a_runner_may_be_whatever_can_be_called(open_store, log, kind):
    rows = open_store(run=kinds(log)[kind]).sweep(sets(1, 2, 3), workers=2)
    assert [Path(row.result_file).read_text() for row in rows] == ["2", "4", "6"]
    assert ran(log) == [1, 2, 3]
    assert os.getpid() not in pids(log)


SPY = """if True:
    import os
    from pathlib import Path

    def note():
        file = os.open(os.environ["SPY_LOG"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
        os.write(file, f"{os.getpid()}\\n".encode())
        os.close(file)

    note()
    os.register_at_fork(after_in_child=note)
"""
SPIED = """if True:
    import sys
    from pathlib import Path
    from contract.models import LoggingRunner, SimResult
    from entropic import Store
    folder = Path(sys.argv[1])
    sets = [{"n": n, "dt": 0.5} for n in range(8)]
    runner = LoggingRunner(folder / "log")
    store = Store(runner, SimResult, folder / "results", ".json", f"sqlite:///{folder / 'db.sqlite3'}")
    assert len(store.sweep(sets, workers=4)) == 8
    assert len(list(store.stream(sets, workers=4))) == 8
"""


@pytest.mark.slow
def test_a_sweep_in_which_all_is_there_starts_no_process(tmp_path, log):
    """Each Python process notes its pid, whether it began by exec (then it finds the spy) or by fork (a hook)."""
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY)
    path = f"{tmp_path / 'spy'}{os.pathsep}{Path(__file__).parents[1]}"

    def processes() -> int:
        (tmp_path / "pids").write_text("")
        run_python(SPIED, tmp_path, PYTHONPATH=path, SPY_LOG=str(tmp_path / "pids"))
        return len(set(acts.lines(tmp_path / "pids")))

    assert processes() > 1, "the spy sees workers"
    assert processes() == 1
    assert ran(log) == list(range(8))


# ---- deaths ------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@DEATHS
def test_a_worker_that_dies_fails_its_own_run_only(acting, log, act, told):
    store = acting({5: act})
    with pytest.warns(RunsFailedWarning, match="1 of 8"):
        rows = store.sweep(sets(*range(8)), workers=2, on_error="continue")
    assert [content(row)["n"] for row in rows] == [0, 1, 2, 3, 4, 6, 7]
    assert ran(log) == list(range(8)), "each ran once, the deadly one as well"
    assert os.getpid() not in pids(log)
    (failure,) = store.failures()
    assert (failure.params, failure.error_type) == (sets(5)[0], "WorkerDied")
    assert re.search(told, failure.message)
    assert [failure.pid] == [pid for pid, n in LoggingRunner(log).lines() if n == 5]
    assert failure.elapsed_seconds >= 0
    assert store.check().ok


@pytest.mark.slow
def test_a_worker_that_dies_is_noticed_while_something_that_it_started_lives_on(acting, log):
    store = acting({1: acts.fork_and_die})
    with pytest.raises(WorkerDied, match="SIGKILL"):
        store.sweep(sets(1), workers=1)


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.parametrize("who", [0, 3, 7])
def test_a_run_that_closes_every_file_of_its_worker_is_kept_and_no_other_is_blamed_or_repeated(acting, log, who):
    store = acting({who: acts.close_all_files})
    rows = store.sweep(sets(*range(8)), workers=1, on_error="continue")
    assert [content(row)["n"] for row in rows] == list(range(8))
    assert ran(log) == list(range(8))
    assert store.failures() == []
    assert store.check().ok


@pytest.mark.slow
@pytest.mark.each
@DEATHS
def test_a_worker_that_dies_is_raised_with_its_reason(acting, log, act, told):
    store = acting({4711: act})
    with pytest.raises(WorkerDied, match=told) as caught:
        store.sweep(sets(1, 4711), workers=1)
    assert "4711" in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert store.retrieve(sets(1)[0]).n == 1
    assert store.retrieve(sets(4711)[0]) is None
    assert ran(log) == [1, 4711]
    assert [failure.error_type for failure in store.failures()] == ["WorkerDied"]


@pytest.mark.slow
def test_what_killed_a_worker_is_tried_again_by_the_next_sweep(acting, log):
    with pytest.raises(WorkerDied):
        acting({1: acts.segfault}).sweep(sets(1), workers=1)
    assert [row.n for row in acting().sweep(sets(1), workers=1)] == [1]
    assert ran(log) == [1, 1]
    assert acting().failures() == []
    assert acting().check().ok


@pytest.mark.slow
def test_what_a_machine_did_to_a_run_is_tried_again_and_what_it_raised_is_not(acting, log, tmp_path):
    killed = partial(acts.be_killed_once, tmp_path / "killed")
    late = partial(acts.hang_once, tmp_path / "late")
    store = acting({1: killed, 2: late, 3: refuse, 4: acts.segfault})
    with pytest.warns(RunsFailedWarning, match="2 of 5 sets"):
        rows = store.sweep(sets(*range(5)), workers=2, retries=2, timeout=5.0, on_error="continue")
    assert [row.n for row in rows] == [0, 1, 2]
    assert ran(log) == [0, 1, 1, 2, 2, 3, 4, 4, 4]
    assert sorted(failure.error_type for failure in store.failures()) == ["Refused", "WorkerDied"]
    assert store.check().ok


@pytest.mark.slow
def test_a_run_that_was_tried_again_leaves_nothing_of_its_first_try(acting, tmp_path):
    store = acting({1: partial(acts.be_killed_once, tmp_path / "killed")})
    assert [row.n for row in store.sweep(sets(0, 1), workers=1, retries=1)] == [0, 1]
    assert store.check().ok


@pytest.mark.slow
def test_a_sweep_in_which_every_second_run_kills_its_worker_gets_the_others(acting, log):
    store = acting(dict.fromkeys(range(0, 20, 2), acts.be_killed))
    with pytest.warns(RunsFailedWarning, match="10 of 20"):
        rows = store.sweep(sets(*range(20)), workers=2, on_error="continue")
    assert [row.n for row in rows] == list(range(1, 20, 2))
    assert ran(log) == list(range(20))
    assert {failure.error_type for failure in store.failures()} == {"WorkerDied"}
    assert store.check().ok


# ---- timeouts ----------------------------------------------------------------------------------------------------
@pytest.mark.slow
@HANGS
def test_a_run_that_takes_too_long_is_ended_and_the_others_go_on(acting, log, hang):
    store = acting({1: hang})
    with pytest.warns(RunsFailedWarning, match="1 of 6"):
        rows = store.sweep(sets(*range(6)), workers=2, timeout=LIMIT, on_error="continue")
    assert [content(row)["n"] for row in rows] == [0, 2, 3, 4, 5]
    assert ran(log) == list(range(6))
    (failure,) = store.failures()
    assert (failure.params, failure.error_type) == (sets(1)[0], "RunTimeout")
    assert 0.9 * LIMIT <= failure.elapsed_seconds < acts.FOREVER / 2
    assert failure.pid in pids(log)
    wait_until(lambda: gone(failure.pid))
    assert store.check().ok


@pytest.mark.slow
@pytest.mark.each
@HANGS
def test_a_timeout_is_raised(acting, log, hang):
    store = acting({2: hang})
    with pytest.raises(RunTimeout) as caught:
        store.sweep(sets(1, 2), workers=1, timeout=LIMIT)
    assert isinstance(caught.value, TimeoutError)
    assert store.retrieve(sets(1)[0]).n == 1
    assert [failure.error_type for failure in store.failures()] == ["RunTimeout"]
    wait_until(lambda: all(map(gone, pids(log))))


@pytest.mark.slow
def test_a_run_that_has_ended_in_time_is_no_timeout_however_late_it_is_heard_of(acting, log):
    rows = []
    for row in acting().stream(sets(*range(6)), workers=1, timeout=LIMIT):
        rows.append(row.n)
        if len(rows) in (1, 3):
            time.sleep(LIMIT + 0.5)  # its reader is busy for longer than a run may take
    assert rows == list(range(6))
    assert ran(log) == list(range(6))


@pytest.mark.slow
def test_the_timeout_is_for_each_run_and_not_for_all(acting, tmp_path):
    store = acting(dict.fromkeys(range(8), partial(acts.last, tmp_path / "times", 0.5)))
    assert len(store.sweep(sets(*range(8)), workers=1, timeout=LIMIT)) == 8


@pytest.mark.slow
def test_the_children_of_a_run_that_takes_too_long_are_ended_too(acting, tmp_path):
    store = acting({1: partial(acts.hang_with_a_child, tmp_path / "child")})
    with pytest.raises(RunTimeout):
        store.sweep(sets(1), workers=1, timeout=LIMIT)
    (child,) = acts.lines(tmp_path / "child")
    wait_until(lambda: gone(int(child)))


# ---- output ------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_what_a_run_prints_goes_to_its_log_and_not_to_the_terminal(acting, open_store, capfd):
    store = acting({1: acts.speak, 3: acts.speak})
    store.sweep(sets(1, 2, 3), workers=1)
    assert capfd.readouterr() == ("", "")
    for n in (1, 3):
        path = open_store().log_file(sets(n)[0])
        assert isinstance(path, Path)
        assert path.is_absolute()
        assert sorted(path.read_text().splitlines()) == sorted(f"{word} {n}" for word in acts.SPOKEN)
    assert store.log_file(sets(2)[0]) is None


def test_what_was_not_run_in_a_worker_has_no_log(acting):
    store = acting({1: acts.speak})
    assert store.log_file(sets(1)[0]) is None
    store.run(sets(1)[0])
    assert store.log_file(sets(1)[0]) is None
    store.sweep(sets(2))
    assert store.log_file(sets(2)[0]) is None


@pytest.mark.slow
@pytest.mark.parametrize(("act", "raised"), [(acts.speak_then_refuse, Refused), (acts.speak_then_segfault, WorkerDied)])
def test_what_was_printed_before_a_failure_or_a_crash_is_found_from_both_sides(acting, capfd, act, raised):
    store = acting({1: act})
    with pytest.raises(raised):
        store.sweep(sets(1), workers=1)
    (failure,) = store.failures()
    assert failure.log_file == store.log_file(sets(1)[0])
    said = failure.log_file.read_text()
    assert all(f"{word} 1" in said for word in acts.SPOKEN), said
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_the_log_is_that_of_the_last_run(acting, tmp_path):
    store = acting({1: partial(acts.refuse_once, tmp_path / "tried")})
    with pytest.raises(Refused):
        store.sweep(sets(1), workers=1)
    assert store.log_file(sets(1)[0]).read_text() == "first\n"
    store.sweep(sets(1), workers=1)
    assert store.log_file(sets(1)[0]).read_text() == "second\n"


@pytest.mark.slow
def test_a_last_run_that_printed_nothing_has_no_log(acting, tmp_path):
    store = acting({1: partial(acts.refuse_once_then_be_silent, tmp_path / "tried")})
    with pytest.raises(Refused):
        store.sweep(sets(1), workers=1)
    assert store.log_file(sets(1)[0]) is not None
    store.sweep(sets(1), workers=1)
    assert store.log_file(sets(1)[0]) is None


@pytest.mark.slow
def test_a_deleted_row_takes_its_log_with_it(acting):
    store = acting({1: acts.speak})
    store.sweep(sets(1), workers=1)
    log = store.log_file(sets(1)[0])
    assert log.exists()
    assert store.delete(sets(1)[0], remove_file=True)
    assert store.log_file(sets(1)[0]) is None
    assert not log.exists()


@pytest.mark.slow
def test_logs_are_nothing_to_complain_of_and_stay_when_the_store_is_opened_again(acting, open_store):
    store = acting({1: acts.speak, 2: acts.speak_then_refuse})
    with pytest.warns(RunsFailedWarning):
        store.sweep(sets(1, 2), workers=1, on_error="continue")
    assert store.check().ok
    for n in (1, 2):
        assert f"shell {n}" in open_store().log_file(sets(n)[0]).read_text()
    assert open_store().failures()[0].log_file == store.log_file(sets(2)[0])


# ---- ends --------------------------------------------------------------------------------------------------------
BLOCKED = (6, 7)
WAYS = pytest.mark.parametrize("hang", ["hang_in_python", "hang_in_c", "hang_and_ignore_signals"])


@pytest.fixture
def blocked(start, log):
    """Start a process whose sweep has come so far that both of its workers hang; return it."""

    def do(hang):
        sweeper = start(range(20), acts={str(n): [hang] for n in BLOCKED}, options={"workers": 2})
        wait_until(lambda: set(BLOCKED) <= set(ran(log)) or sweeper.process.poll() is not None)
        assert sweeper.process.poll() is None, sweeper.err()
        return sweeper

    return do


def check_what_is_left(acting, log):
    """What was finished is stored, nothing is claimed, and a sweep does the rest."""
    finished = sorted(set(ran(log)) - set(BLOCKED))
    assert finished, "something was finished when the end came"
    store = acting()
    plan = store.plan(sets(*range(20)))
    assert sorted(params["n"] for params in plan.stored) == finished
    assert plan.running == []
    assert plan.failed == []
    assert [content(row)["n"] for row in store.sweep(sets(*range(20)), workers=2)] == list(range(20))
    assert ran(log) == sorted([*range(20), *BLOCKED]), "only the two that were ended ran twice"
    assert store.check().ok


@pytest.mark.slow
@pytest.mark.each("hang")
@WAYS
@pytest.mark.parametrize("whom", ["the process", "the group"])
def test_an_interrupt_ends_the_runs_long_before_their_end_and_keeps_what_was_finished(blocked, acting, log, hang, whom):
    sweeper = blocked(hang)
    begun = time.monotonic()
    (os.kill if whom == "the process" else os.killpg)(sweeper.process.pid, signal.SIGINT)
    assert sweeper.status() != 0
    assert time.monotonic() - begun < acts.FOREVER / 2
    assert "KeyboardInterrupt" in sweeper.err()
    wait_until(lambda: not sweeper.left())
    check_what_is_left(acting, log)


@pytest.mark.slow
@WAYS
def test_no_worker_outlives_a_parent_that_is_killed_and_the_next_sweep_does_the_rest(blocked, acting, log, hang):
    sweeper = blocked(hang)
    assert sweeper.workers() <= sweeper.left(), "the workers are seen"
    sweeper.process.kill()
    assert sweeper.status() == -signal.SIGKILL
    wait_until(lambda: not sweeper.left())
    check_what_is_left(acting, log)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 3, 7, 15])
def test_a_parent_may_be_killed_at_any_moment_and_no_finished_run_is_repeated(start, acting, log, tmp_path, after):
    """A run that has written `end` may still have been under way when the parent died, so two may run again."""
    times = tmp_path / "times"
    sweeper = start(range(40), acts={"all": ["last", str(times), 0.02]}, options={"workers": 2})
    wait_until(lambda: acts.lines(times).count("end") >= after and acts.lines(log))
    sweeper.process.kill()
    sweeper.status()
    wait_until(lambda: not sweeper.left())
    assert [row.n for row in acting().sweep(sets(*range(40)))] == list(range(40))
    counts = [ran(log).count(n) for n in range(40)]
    assert set(counts) <= {1, 2}
    assert counts.count(2) <= 2
    assert acting().check().ok


@pytest.mark.slow
def test_a_worker_that_is_killed_from_outside_fails_its_run_only(start, log, tmp_path):
    sweeper = start(
        range(6),
        acts={"2": ["hang_in_python"]},
        options={"workers": 2, "on_error": "continue"},
    )
    wait_until(lambda: 2 in ran(log))
    (pid,) = {pid for pid, n in LoggingRunner(log).lines() if n == 2}
    os.kill(pid, signal.SIGKILL)
    said = sweeper.said()
    assert said["ns"] == [0, 1, 3, 4, 5]
    assert said["failed"] == [2]
    assert len(said["warned"]) == 1
    assert "1 of 6" in said["warned"][0]
    assert ran(log) == list(range(6))


@pytest.mark.slow
def test_a_failing_run_beside_another_leaves_nothing_half_way(acting, log):
    """Whether the other one may end or is ended, no worker is left, and a sweep does what remains."""
    both = (1, 2)
    store = acting(
        {1: partial(acts.wait_for_runs_then_refuse, log, both), 2: partial(acts.wait_for_runs, log, both)},
    )
    with pytest.raises(Refused):
        store.sweep(sets(*both), workers=2)
    wait_until(lambda: all(map(gone, pids(log))))
    assert store.check().ok
    known = store.retrieve(sets(2)[0]) is not None
    assert [row.n for row in acting().sweep(sets(2, 3), workers=1)] == [2, 3]
    assert ran(log).count(2) == (1 if known else 2)
    assert ran(log).count(3) == 1


@pytest.mark.slow
def test_params_that_no_worker_can_load_end_the_sweep_with_a_sentence(acting, monkeypatch):
    module = types.ModuleType("only_here")
    exec("class Whole(int): pass", vars(module))
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(RunFailed, match=r"params cannot be loaded in a worker process: ModuleNotFoundError.*only_here"):
        acting().sweep([{"n": module.Whole(n), "dt": 0.5} for n in range(3)], workers=1)
    assert acting().check().ok


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::entropic.RunsFailedWarning")
@pytest.mark.parametrize(("how", "timeout"), [("is killed", None), ("takes too long", 3)])
def test_a_run_that_was_ended_with_its_process_goes_on_from_its_checkpoints(open_store, log, how, timeout):
    store = open_store(run=partial(acts.train, log, how), checkpoints=True)
    assert store.sweep([{"n": 1, "dt": 0.5}], workers=1, timeout=timeout, on_error="continue") == []
    assert store.check().ok
    assert len(store.sweep([{"n": 1, "dt": 0.5}], workers=1)) == 1
    assert acts.lines(log) == ["1 from 0", "1 from 2"]
    assert os.listdir(Path(store._context.staging.root, "checkpoints")) == []
    assert store.check().ok
