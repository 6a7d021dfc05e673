"""The options of `sweep` and `stream`: what cannot be meant is refused before anything runs."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract.models import LoggingRunner
from entropic import EntropicError, ParameterError, Store
from entropic.executors.resources import Resources
from entropic.slurm import Slurm
from executors.acts import Untransportable

pytestmark = pytest.mark.only_on("sqlite")  # the database has no part in it
SETS = [{"n": n, "dt": 0.5} for n in (1, 2)]


@pytest.fixture
def runner(tmp_path):
    """Counts in a file, since it may run in other processes."""
    return LoggingRunner(tmp_path / "log")


@pytest.fixture(params=["sweep", "stream"])
def refused(request, store, tmp_path):
    """Make the call, which must be refused before anything runs; return its message."""

    def check(*client, on=store, sets=SETS, **options):
        with pytest.raises(ParameterError) as caught:
            getattr(on, request.param)(sets, *client, **options)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, EntropicError)
        assert not (tmp_path / "log").exists()
        assert [on.retrieve(params) for params in SETS] == [None, None]
        return str(caught.value)

    return check


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.mark.parametrize("workers", [1, 2, -1])
def test_workers_and_a_client_exclude_each_other(refused, pool, workers):
    message = refused(client=pool, workers=workers)
    assert "workers" in message
    assert "client" in message
    assert refused(pool, workers=workers)


def test_a_timeout_needs_workers_and_says_which(refused):
    assert "workers=1" in refused(timeout=1.0)


def test_a_timeout_with_a_client_is_refused(refused, pool):
    assert "use workers in place of client" in refused(client=pool, timeout=1.0)


@pytest.mark.parametrize("given", [{}, {"workers": 1}, {"client": Slurm()}], ids=["here", "in workers", "in jobs"])
def test_a_fallback_is_refused_where_there_is_none(refused, given):
    message = refused(fallback="raise", **given)
    assert "fallback" in message
    assert "a pool or a Dask client" in message


@pytest.mark.parametrize("workers", [0, -2, -100, True, False, 2.0, 0.5, float("nan"), "2", [2]])
def test_a_number_of_workers_that_is_none_is_refused(refused, workers):
    assert "workers" in refused(workers=workers)


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -0.5, float("inf"), float("nan"), "3", [1]])
def test_a_timeout_that_is_no_positive_number_is_refused(refused, timeout):
    assert "timeout" in refused(workers=1, timeout=timeout)


@pytest.mark.parametrize("count", [0, -1, True, 1.0, 2.5, "2", float("inf"), 10_001, [1]])
@pytest.mark.parametrize("name", ["cores", "gpus"])
def test_a_number_of_cores_or_gpus_that_is_none_is_refused(refused, name, count):
    assert f"{name} must be a whole number from 1" in refused(workers=1, **{name: count})


@pytest.mark.parametrize("memory", [0, -1, True, 1e9, "", "4 gigs", "GB", "-4GB", "0GB", "1,5GB", "4iB", b"4GB", [1]])
def test_a_memory_that_is_no_size_is_refused_with_some_that_are(refused, memory):
    message = refused(workers=1, memory=memory)
    assert "memory must be a size such as '4GB'" in message
    assert message.endswith(repr(memory))


RESOURCES = [{"cores": 1}, {"memory": "4GB"}, {"gpus": 1}]


@pytest.mark.slow
@pytest.mark.parametrize("asked", RESOURCES, ids=str)
def test_resources_are_refused_where_no_process_is_made_for_a_run(refused, pool, asked):
    [name] = asked
    assert refused(**asked).startswith(f"{name} is for workers and Slurm")
    message = refused(client=pool, **asked)
    assert message.startswith(f"{name} is for workers and Slurm")
    assert "ThreadPoolExecutor" in message


class LikeDask:
    """What a client of Dask has."""

    map = status = nthreads = cancel = None


def test_resources_are_refused_with_dask_with_the_lines_to_write(refused):
    message = refused(client=LikeDask(), cores=1, memory="4GB")
    assert message.startswith("cores and memory are for workers and Slurm")
    assert "dask.annotate(resources={'GPU': 1})" in message


@pytest.mark.parametrize(
    ("slurm", "asked", "said"),
    [
        ({"cpus_per_task": 4}, {"cores": 2}, "cpus_per_task=4"),
        ({"mem": "4G"}, {"memory": "4GB"}, "leave mem of Slurm out"),
        ({"extra": ["--mem-per-cpu=1G"]}, {"memory": "4GB"}, "leave '--mem-per-cpu=1G' of Slurm out"),
        ({"extra": ["--gres=gpu:a100:2"]}, {"gpus": 1}, "leave '--gres=gpu:a100:2' of Slurm out"),
        ({"extra": ["--gpus-per-node=1"]}, {"gpus": 1}, "leave '--gpus-per-node=1' of Slurm out"),
        ({"extra": ["--cpus-per-task=8"]}, {"cores": 2}, "leave '--cpus-per-task=8' of Slurm out"),
        ({"extra": ["-c8"]}, {"cores": 2}, "leave '-c8' of Slurm out"),
        ({"extra": ["--cpus-per-gpu=4"]}, {"cores": 2, "gpus": 1}, "leave '--cpus-per-gpu=4' of Slurm out"),
    ],
)
def test_resources_that_contradict_those_of_slurm_are_refused(refused, slurm, asked, said):
    assert said in refused(client=Slurm(**slurm), **asked)


def test_a_job_asks_for_what_its_runs_get():
    resources = Resources.of(4, "1GiB", 2)
    asked = resources.in_jobs(
        Slurm(nodes=2, tasks_per_node=3, cpus_per_task=4, extra=["--gres=tmpdir:1", "--account=a"])
    )
    assert asked.options() == [
        *("--nodes=2", "--ntasks-per-node=3", "--cpus-per-task=4", f"--mem={3 * (1024 + 256)}M"),
        *("--gres=tmpdir:1", "--account=a", "--gpus-per-task=2"),
    ]
    assert Resources.of(None, None, None).in_jobs(Slurm()) == Slurm(extra=[])


def test_options_of_slurm_that_say_nothing_of_an_amount_are_none_of_ours():
    extra = ["--mem-bind=local", "--gpu-freq=high", "-C", "--constraint=a100"]
    asked = Resources.of(2, "1GiB", 1).in_jobs(Slurm(extra=extra))
    assert asked.extra == [*extra, "--gpus-per-task=1"]


def test_custom_data_may_have_a_name_that_only_rhymes_with_an_option(store):
    [row] = store.sweep(SETS[:1], score=3)
    assert row.custom_data["score"] == 3


@pytest.mark.parametrize("name", ["core", "gpu", "memry", "worker"])
def test_what_looks_like_a_mistyped_option_is_refused(refused, name):
    assert f"there is no option {name!r}" in refused(**{name: 3})


@pytest.mark.parametrize("on_error", ["ignore", "Raise", "CONTINUE", "", None, True, False, 1])
@pytest.mark.parametrize("more", [{}, {"workers": 1}], ids=["here", "in workers"])
def test_another_on_error_is_refused_with_those_that_exist(refused, on_error, more):
    message = refused(on_error=on_error, **more)
    assert "raise" in message
    assert "continue" in message


@pytest.mark.parametrize("client", [object(), 5, 0, "tcp://localhost:8786", [], False, threading.Thread()])
def test_a_client_that_is_neither_kind_is_refused_with_its_type(refused, client):
    assert type(client).__name__ in refused(client=client)
    assert type(client).__name__ in refused(client)


@pytest.mark.parametrize("what", [lambda: threading.Lock(), lambda: (n for n in (1, 2))], ids=["a lock", "a generator"])
def test_a_runner_that_cannot_be_pickled_is_refused_for_workers(refused, open_store, tmp_path, what):
    refused(on=open_store(run=Untransportable(tmp_path / "log", what())), workers=2)


def test_a_runner_that_cannot_be_pickled_runs_without_workers(open_store, tmp_path):
    store = open_store(run=Untransportable(tmp_path / "log", threading.Lock()))
    assert [row.n for row in store.sweep(SETS)] == [1, 2]


@pytest.mark.parametrize("options", [{"workers": 0}, {"on_error": "ignore"}, {"client": object()}, {"timeout": 1}])
def test_a_bad_option_is_refused_also_where_nothing_has_to_run(store, options):
    with pytest.raises(ParameterError):
        store.sweep([], **options)
    store.sweep(SETS)
    with pytest.raises(ParameterError):
        store.sweep(SETS, **options)


def test_a_bad_set_is_refused_with_workers_as_well(refused):
    refused(sets=[*SETS, {"n": 3}], workers=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"workers": 1},
        {"workers": -1},
        {"workers": 2, "timeout": 60},
        {"workers": 1, "timeout": 59.5},
        {"workers": None, "timeout": None, "client": None, "progress": None},
        {"on_error": "raise", "retry_failed": True, "progress": False},
        {"on_error": "continue", "retry_failed": False},
    ],
)
def test_what_can_be_meant_is_taken(store, options):
    assert [row.n for row in store.sweep(SETS, **options)] == [1, 2]


@pytest.mark.parametrize("method", ["sweep", "stream"])
def test_sweep_and_stream_take_the_same_and_only_the_client_by_position(method):
    parameters = list(inspect.signature(getattr(Store, method)).parameters.values())[1:]
    assert [(p.name, p.default) for p in parameters[1:]] == [
        ("client", None),
        ("workers", None),
        ("on_error", "raise"),
        ("retry_failed", True),
        ("timeout", None),
        ("progress", None),
        ("worker_setup", None),
        *([("replicates", None)] if method == "sweep" else []),
        ("rerun", False),
        ("fallback", "local"),
        ("order", "given"),
        ("deadline", None),
        ("retries", None),
        *([("wait", True)] if method == "sweep" else []),
        ("cores", None),
        ("memory", None),
        ("gpus", None),
        *([("in_flight", None)] if method == "stream" else []),  # of sets that are asked for as results come
        ("custom_data", inspect.Parameter.empty),
    ]
    assert parameters[0].name == "params"
    kinds = [inspect.Parameter.KEYWORD_ONLY] * (len(parameters) - 3) + [inspect.Parameter.VAR_KEYWORD]
    assert [p.kind for p in parameters[2:]] == kinds
