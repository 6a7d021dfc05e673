"""What a run needs of entropic is there before it begins: no module is imported between a claim and its publication.

Meanwhile the file system may be full or gone, another version may be installed, and the runner may change what it
likes. So an open store has all that hits, runs, failures and sweeps need, and a sweep its executor before it claims.
"""

import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import contextlib, os, signal, sys, warnings
    from concurrent.futures import ProcessPoolExecutor
    from entropic import Base, Mapped, Store, outcome, report

    class Made(Base):
        x: Mapped[int]

    class Told(Base):
        x: Mapped[int]
        y: Mapped[float | None] = outcome()

    def ours():
        return {name for name in sys.modules if name.split(".")[0] == "entropic"}

    def write(params):
        with open(params["result_file"], "w") as file:
            file.write("1")

    def tell(params):
        report(0.5)
        return {"y": 2.0}

    def fail(params):
        raise ValueError(params["x"])

    def fail_later(params):
        return 1 if params["x"] < 2 else fail(params)

    def die_once(params):
        begun = os.path.join(folder, "begun")
        if params["x"] == 2 and not os.path.exists(begun):
            open(begun, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return sorted(ours())

    def open_store(run, model=Made):
        return Store(run, model, os.path.join(folder, "results"), ".json", url, on_stale="rerun")

    folder, url = sys.argv[1:]
    sets = [{"x": x} for x in range(4)]
    warnings.simplefilter("ignore")
    store, telling, failing = open_store(write), open_store(tell, Told), open_store(fail)
    before = ours()
"""
ACTS = {
    "a run": 'store.run_or_retrieve({"x": 1})',
    "a run again": 'store.run({"x": 1}, tag="again")',
    "a run of a result that is gone": """
        os.remove(store.run_or_retrieve({"x": 1}).result_file)
        store.run_or_retrieve({"x": 1})
    """,
    "a run whose result was made by other code": """
        store.run({"x": 1})
        write.__code__ = (lambda params: open(params["result_file"], "x").close()).__code__
        store.sweep(sets)
    """,
    "a run that returns its result and says how far it is": """
        telling.run_or_retrieve({"x": 1})
        telling.load({"x": 1})
    """,
    "a failing run": """
        with contextlib.suppress(ValueError):
            failing.run_or_retrieve({"x": 10})
    """,
    "a sweep": """
        store.sweep(sets, progress=True)
        store.sweep(sets, rerun=True, order="spread", deadline=600)
        list(store.stream(({"x": x} for x in range(9)), in_flight=2))
    """,
    "a failing sweep": """
        with contextlib.suppress(ValueError):
            failing.sweep([{"x": 10}, {"x": 11}])
        failing.sweep([{"x": 10}, {"x": 11}], on_error="continue")
    """,
}


WITH_WORKERS = {
    "with runs that fail": """
        rows = open_store(fail_later).stream(sets, workers=1, on_error="continue")
        next(rows)
        before = ours()
        assert "entropic.executors.workers" in before
        assert len(list(rows)) == 1
    """,
    "whose pool dies": """
        with ProcessPoolExecutor(1) as pool:
            rows = open_store(die_once).stream(sets, pool)
            next(rows)
            before = ours()
            assert "entropic.executors.futures" in before
            assert len(list(rows)) == 3
    """,
}


def loaded(acts, folder, url):
    """Return what some acts load of entropic, each in its turn, in a new process that has opened its stores."""
    script = textwrap.dedent(SCRIPT)
    for name, act in acts.items():
        script += f"{textwrap.dedent(act)}\nprint({name!r}, sorted(ours() - before)) if ours() - before else None\n"
    command = [sys.executable, "-c", script, str(folder), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_with_its_store_comes_all_that_runs_their_failures_and_sweeps_need(place, tmp_path):
    assert loaded(ACTS, tmp_path, place.url) == ""


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
@pytest.mark.parametrize("act", WITH_WORKERS)
def test_its_executor_comes_before_the_first_claim_of_a_sweep(act, place, tmp_path):
    assert loaded({act: WITH_WORKERS[act]}, tmp_path, place.url) == ""


@pytest.mark.slow
@pytest.mark.only_on("sqlite")
def test_a_worker_has_all_that_it_needs_before_its_first_run(place, tmp_path):
    act = """
        made = [open_store(die_once).load(row) for row in open_store(die_once).sweep([{"x": 0}, {"x": 1}], workers=1)]
        assert made[0] == made[1], set(made[1]) - set(made[0])
        assert "entropic.db.engine" not in made[0], "a worker has no database"
        before = ours()
    """
    assert loaded({"workers": act}, tmp_path, place.url) == ""
