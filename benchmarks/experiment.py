"""The experiment that every system stores: the same parameter sets, the same 100 bytes, every run counted."""

from __future__ import annotations

from typing import Any

Params = dict[str, Any]

RESULT = bytes(range(100))
"""What a run yields: small, so that the system is timed and not the disk."""

_runs = 0


def parameter_sets(count: int, first: int = 0) -> list[Params]:
    """`count` different sets of one int, one float and one text, numbered from `first`."""
    return [{"n": n, "dt": 0.001 * (n % 97 + 1), "name": f"case {n:07d}"} for n in range(first, first + count)]


def compute() -> bytes:
    """Run the experiment: count the run and return its result."""
    global _runs
    _runs += 1
    return RESULT


def run_to_file(params: Params) -> None:
    """Run the experiment into `params["result_file"]`: the runner, as entropic and bare Dask want it."""
    with open(params["result_file"], "wb") as file:
        file.write(compute())


def runs_done() -> int:
    """How many runs this process has done: the proof that a hit ran nothing and that a miss ran once."""
    return _runs
