"""A process that sweeps, for tests that signal it, kill it, or let it share the work with others.

It is told one JSON object: `folder` of the store, `ns` to sweep, `log` of runs, `options` of the sweep, `acts` (for an
n, or `all`: the name of one of `acts.py` and its arguments), `ready`: a file that it makes, `go`: one that it awaits,
`client`: the name of a pool, the address of a Dask scheduler, or what Slurm is asked for, `ignored`: signals,
`handled`: a signal and a file.
It says one JSON object: the `ns` of the rows in order, the texts of what it was `warned` of, the n that `failed`; what
it has `submitted`, if it did not wait.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from contract.models import ActingRunner, SimResult, wait_until
from entropic import Store
from entropic.executors import scheduler
from executors import acts


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where the tests run in the background
    order = json.loads(sys.argv[1])
    for name in ("SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN if name in order.get("ignored", []) else signal.SIG_DFL)
    if "handled" in order:
        name, path = order["handled"]
        signal.signal(getattr(signal, name), lambda *_: Path(path).touch())
    folder, ns = Path(order["folder"]), order["ns"]
    told = {key: partial(getattr(acts, name), *more) for key, (name, *more) in order.get("acts", {}).items()}
    does = {n: told.get(str(n), told.get("all")) for n in ns}
    runner = ActingRunner(Path(order["log"]), {n: act for n, act in does.items() if act is not None})
    store = Store(runner, SimResult, folder / "results", ".json", f"sqlite:///{folder / 'db.sqlite3'}")
    if "ready" in order:
        Path(order["ready"]).touch()
    if "go" in order:
        wait_until(Path(order["go"]).exists)
    sets = [{"n": n, "dt": 0.5} for n in ns]
    with warnings.catch_warnings(record=True) as caught, client(order.get("client")) as more:
        warnings.simplefilter("always")
        rows = store.sweep(sets, **order.get("options", {}), **more)
    warned = [str(warning.message) for warning in caught if "RunsFailed" in warning.category.__name__]
    failed = sorted(failure.params["n"] for failure in store.failures(sets))
    left = {} if rows.submitted is None else {"submitted": dataclasses.asdict(rows.submitted)}
    print(json.dumps({"ns": [row.n for row in rows], "warned": warned, "failed": failed, **left}))


@contextmanager
def client(name: str | dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The options that name an executor, which ends with the block."""
    if name is None:
        yield {}
    elif isinstance(name, dict):
        scheduler.POLL_SECONDS = name.pop("look")
        yield {"client": scheduler.Slurm(**name)}
    elif name == "thread pool":
        with ThreadPoolExecutor(2) as pool:
            yield {"client": pool}
    elif name == "process pool":
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            yield {"client": pool}
    else:
        import distributed

        with distributed.Client(name) as made:
            yield {"client": made}


if __name__ == "__main__":
    main()
