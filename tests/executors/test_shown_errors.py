"""What a user sees of an error: the own call, one line of ours at most, the own runner; after Ctrl-C, what is kept."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

import entropic
from contract.models import ActingRunner, CountingRunner
from entropic import ParameterError

PACKAGE = str(Path(entropic.__file__).parent)


def sets(*ns: int) -> list[dict[str, Any]]:
    return [{"n": n, "dt": 0.5} for n in ns]


def fail(params: dict[str, Any]) -> None:
    try:
        raise KeyError("the first")
    except KeyError as error:
        raise ValueError("the second") from error


def interrupt(params: dict[str, Any]) -> None:
    raise KeyboardInterrupt


CALLS = {
    "run": lambda store, **options: store.run(sets(1)[0]),
    "run_or_retrieve": lambda store, **options: store.run_or_retrieve(sets(1)[0]),
    "sweep": lambda store, **options: store.sweep(sets(0, 1), **options),
    "stream": lambda store, **options: list(store.stream(sets(0, 1), **options)),
}
CALL = pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))


def frames(error: BaseException) -> tuple[list[str], int]:
    """The names of the frames outside of the package, from the call on, and how many are inside of it."""
    found = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in found if frame.filename.startswith(PACKAGE)]
    return [frame.name for frame in found if frame not in ours], len(ours)


@CALL
def test_a_traceback_leads_from_the_call_to_the_runner(acting, call):
    with pytest.raises(ValueError, match="the second") as raised:
        call(acting({1: fail}))
    names, ours = frames(raised.value)
    assert names[-2:] == ["__call__", "fail"]
    assert ours <= 1
    assert isinstance(raised.value.__cause__, KeyError)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("name", ["run", "run_or_retrieve", "sweep"])
def test_a_refusal_is_a_sentence_after_the_call(acting, name):
    wrong: Any = {"n": 1} if name != "sweep" else [{"n": 1}]
    with pytest.raises(ParameterError) as raised:
        getattr(acting(), name)(wrong)
    assert frames(raised.value)[1] <= 1


def test_an_error_of_our_own_is_shown_whole(open_store, monkeypatch):
    monkeypatch.setattr("entropic.sweep.sweep.rehearse_together", lambda *_: 1 / 0)
    store = open_store(run=CountingRunner())
    with pytest.raises(ZeroDivisionError) as raised:
        store.sweep(sets(1))
    assert frames(raised.value)[1] > 2


@pytest.mark.parametrize("name", ["sweep", "stream"])
def test_after_an_interrupt_it_says_what_is_stored_and_how_to_go_on(open_store, log, name):
    store = open_store(run=ActingRunner(log, {3: interrupt}))
    store.run(sets(7)[0])
    with pytest.raises(KeyboardInterrupt) as raised:
        list(getattr(store, name)(sets(7, 1, 2, 3, 4)))
    assert raised.value.__notes__[-1] == (
        "entropic: interrupted; 3 of 5 sets are stored, and the same call goes on with the rest"
    )
    assert frames(raised.value)[1] <= 1
