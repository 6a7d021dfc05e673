"""The options of `sweep` and `stream`: what cannot be meant is refused before anything runs."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract.models import LoggingRunner
from entropic import EntropicError, ParameterError, Store
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
    assert "timeout" in refused(client=pool, timeout=1.0)


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
        *([("in_flight", None)] if method == "stream" else []),  # of sets that are asked for as results come
        ("custom_data", inspect.Parameter.empty),
    ]
    assert parameters[0].name == "params"
    kinds = [inspect.Parameter.KEYWORD_ONLY] * (len(parameters) - 3) + [inspect.Parameter.VAR_KEYWORD]
    assert [p.kind for p in parameters[2:]] == kinds
