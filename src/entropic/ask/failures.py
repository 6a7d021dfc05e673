"""`Store.failures`: the failed runs that no later success has cleared, as typed records."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from entropic.errors import ParameterError
from entropic.files import logs
from entropic.files.packing import unpacked
from entropic.files.sidecar import BROKEN
from entropic.params.model import Base, naive_utc
from entropic.protocol.context import StoreContext
from entropic.support.show import duration, html_table, one_line, visible

MOST_SHOWN = 50  # in a notebook
Sets = Mapping[str, Any] | Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, repr=False)
class Failure:
    """A run that failed.

    Attributes
    ----------
    id, params : str, dict
        Which set failed. If its values alone would make another key, `params` contains the `id`, too, so that running
        `params` again always runs what failed.
    error_type, message, traceback : str
        What it raised; `WorkerDied` or `RunTimeout` if its process died or was killed.
    host, pid : str, int
        Where it ran.
    started_at : datetime
        Naive UTC.
    elapsed_seconds : float
        How long it had run.
    attempt : int
        How many times in a row it has failed: 1 for the first time (and for what an earlier version recorded).
    log_file : Path or None
        The file with its output, if it ran in a process of `workers` and printed anything.
    job : str or None
        The job of a scheduler that it ran in, such as `"Slurm 1234_5"`.
    began : float
        `started_at` as it is recorded, in seconds since 1970: what `dismiss` knows it by.
    """

    id: str
    params: dict[str, object]
    error_type: str
    message: str
    traceback: str
    host: str
    pid: int
    started_at: datetime
    elapsed_seconds: float
    attempt: int
    log_file: Path | None
    job: str | None
    began: float = field(repr=False, compare=False)

    def __str__(self) -> str:
        when = f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC"
        log = f"; its output is in {self.log_file}" if self.log_file and str(self.log_file) not in self.message else ""
        how = f"{self.error_type}: {self.message} after {duration(self.elapsed_seconds)}"
        where = f"{self.host} ({place(self.pid, self.job)}), started {when}{log}"
        return visible(f"{one_line(self.id)} {self.params!r:.200} raised {how} on {where}")

    def __repr__(self) -> str:
        return f"<Failure: {str(self).partition(chr(10))[0]:.300}>"


class Failures(list[Failure]):
    """Failures, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = [(one.id, one.params, f"{one.error_type}: {one.message}", one.host, one.started_at) for one in self]
        shown = rows[:MOST_SHOWN]
        after = f"and {len(rows) - len(shown):,} more" if len(rows) > len(shown) else ""
        return html_table(shown, ["id", "params", "error", "host", "begun (UTC)"], f"{len(rows):,} failed", after)


def failures(context: StoreContext[Base], params: Sets | None = None) -> Failures:
    """Return what is recorded of failed runs, oldest first."""
    ids = None
    if params is not None:
        sets = [params] if isinstance(params, Mapping) else params
        ids = {context.hasher(one) for one in sets}
    found = [_failure(context, id, record) for id, record in context.ledger.failures(ids)]
    return Failures(sorted(found, key=lambda failure: (failure.started_at, failure.id)))


def _failure(context: StoreContext[Base], id: str, record: Mapping[str, Any]) -> Failure:
    given = record.get("given", [])
    params: dict[str, object] = {"id": id} if "id" in given else {}
    now = {one.column.name: name for name, one in context.schema.fields.items()}  # of those that were renamed since
    known = [now.get(name, name) for name in given if now.get(name, name) in context.schema.fields]
    with contextlib.suppress(*BROKEN):  # a record that is not of our making: then its id has to do
        values = context.rows.values_of(unpacked(record.get("values", {})), known)
        params |= values | unpacked(record.get("asked", {}))
    if not _is_key_of(context, params, id):
        params = {"id": id, **params}
    return Failure(
        id=id,
        params=params,
        error_type=record["type"],
        message=record["message"],
        traceback=record["traceback"],
        host=record["host"],
        pid=record["pid"],
        started_at=naive_utc(record["started_at"]),
        elapsed_seconds=record["elapsed_seconds"],
        attempt=max(1, int(record.get("times", 1))),
        log_file=log_file(context, id),
        job=record.get("job") or None,
        began=record["started_at"],
    )


def place(pid: int, job: str | None) -> str:
    """Return as which process something runs on its machine, and in which job."""
    return f"pid {pid}" if not job else f"pid {pid}, job {job}"


def _is_key_of(context: StoreContext[Base], params: Mapping[str, object], id: str) -> bool:
    try:
        return context.hasher(params) == id
    except ParameterError:
        return False


def log_file(context: StoreContext[Base], id: str) -> Path | None:
    """Return the file with what the last run of a key printed in a process of `workers`, if there is one."""
    found = logs.find(context.staging, context.key_of(id))
    return None if found is None else Path(found)
