"""`Store.status`: what is stored, what runs where, what failed, and how fast it goes."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from entropic.ask.failures import place
from entropic.ask.provenance import environments_of
from entropic.ask.select import matching
from entropic.db.claim_record import RUNNING, Claim
from entropic.db.query import fetch
from entropic.db.raw import Raw
from entropic.db.tables import ledger
from entropic.files import reports
from entropic.files.reports import Reported
from entropic.params.model import Base, utcnow
from entropic.protocol import stale_rows as stale
from entropic.protocol.context import StoreContext
from entropic.protocol.wait import Owner, owner_of
from entropic.support.show import html_table

if TYPE_CHECKING:
    from entropic.protocol.holders import Holder

MOST_SHOWN = 50  # runs, in a notebook
MOST_READ = 1_000  # reports
SAMPLE = 1_000  # newest rows whose times are looked at


class Place(NamedTuple):
    """A machine, or a job on it, on which runs are under way, or have ended within an hour.

    Attributes
    ----------
    host : str
        The machine.
    job : str or None
        The job of a scheduler, such as `"Slurm 1234_5"`.
    running, last_minute, last_hour : int
        How many runs are under way there, and how many rows were made in that time.
    """

    host: str
    job: str | None
    running: int
    last_minute: int
    last_hour: int


@dataclass(frozen=True, slots=True)
class Status:
    """What a store holds now, and what is going on.

    Attributes
    ----------
    model : str
        The class of the rows.
    stored : int
        Rows.
    size : int
        Bytes of the results that this store made.
    failed : int
        Sets that failed and have not succeeded since.
    running : dict
        Who runs each key that is running now, or has claimed it and is about to: a sweep claims a few sets ahead, and
        the ledger does not say which of its claims has begun.
    waiting : list of str
        Keys that are submitted to Slurm by a sweep that does not wait, and have not begun.
    reported : dict
        What of these have said, by `report`, how far they are.
    submissions : list of Holder
        Which submissions to Slurm hold sets: `jobs` is the name of its jobs, as `squeue --name` takes it, `since` when
        it was submitted, `running` and `waiting` its sets, `asked` the time and memory that its jobs ask for, and
        `place` where its folder is seen. `check()` asks Slurm, too.
    dead : list of str
        Keys claimed by a process that is gone; they run again when they are asked for.
    first, last : datetime or None
        When the oldest and the newest row were made, naive UTC.
    last_minute, last_hour : int
        How many rows were made in that time.
    places : list of Place
        On which machines, and in which jobs, that was, and what runs there.
    stale : int
        Results that are stale: made by different code, or from inputs that have changed since.
    seconds : float or None
        How long the newest runs took on average.
    """

    model: str
    stored: int
    size: int
    failed: int
    running: dict[str, Owner] = field(default_factory=dict)
    reported: dict[str, Reported] = field(default_factory=dict)
    dead: list[str] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None
    last_minute: int = 0
    last_hour: int = 0
    seconds: float | None = None
    stale: int = 0
    places: list[Place] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    submissions: "list[Holder]" = field(default_factory=list)

    def _repr_html_(self) -> str:
        rows: list[tuple[str, Any]] = [("stored", self.stored), ("bytes", self.size), ("failed", self.failed)]
        rows += [("made", f"{self.first:%Y-%m-%d %H:%M:%S} to {self.last:%Y-%m-%d %H:%M:%S} UTC")] if self.last else []
        rows += [("in the last hour", self.last_hour)]
        rows += [("a run takes", f"{self.seconds:.3g} s")] if self.seconds is not None else []
        rows += [("stale", self.stale)] if self.stale else []
        rows += [("running", len(self.running))]
        rows += [("waiting in the queue", len(self.waiting))] if self.waiting else []
        rows += [("of dead processes", len(self.dead))]
        return html_table(rows, title=self.model) + self._running_html()

    def _running_html(self) -> str:
        if not self.running:
            return ""
        names, rows = self.table()
        after = f"and {len(rows) - MOST_SHOWN:,} more" if len(rows) > MOST_SHOWN else ""
        return html_table(rows[:MOST_SHOWN], names, after=after)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Return who runs each key that is running, and how far that is: the names of columns, and lines."""
        names, lines = ["running", "host", "pid", "since (UTC)"], []
        for id, owner in self.running.items():
            said = self.reported.get(id)
            elsewhere = said is not None and (bool(said.job) or (said.host, said.pid) != owner[:2])
            on = f" on {said.host} ({place(said.pid, said.job)})" if said is not None and elsewhere else ""
            lines.append([id, *owner, *([f"{said or ''}{on}"] if self.reported else [])])
        return [*names, "how far"] if self.reported else names, lines


def status(context: StoreContext[Base]) -> Status:
    """Look at a store; change nothing."""
    c, now = context.schema.table.c, utcnow()
    newer = [_count_if(c.created_at >= now - ago) for ago in (timedelta(minutes=1), timedelta(hours=1))]
    seen = sa.select(sa.func.count(), sa.func.min(c.created_at), sa.func.max(c.created_at), *newer)
    ((stored, first, last, minute, hour),) = fetch(context.database, seen.select_from(context.schema.table))
    of_model = ledger.c.model == context.model
    made = of_model & ledger.c.published.is_not(None) & ledger.c.registered.is_(None)
    ((size, failed),) = fetch(
        context.database,
        sa.select(
            sa.func.coalesce(sa.func.sum(sa.case((made & ledger.c.size.between(1, 2**62), ledger.c.size), else_=0)), 0),
            _count_if(ledger.c.failure.is_not(None)),
        ).where(of_model),
    )
    running = [found for found in context.ledger.pending().values() if found.model == context.model]
    running = [
        found for found in running if found.state == RUNNING and not context.is_finished(found.id, found.attempt)
    ]
    submissions = _submissions(context, running)
    waiting = [id for one in submissions for id in one.waiting]
    waits = set(waiting)
    running = [found for found in running if found.id not in waits]
    made_by = _made_by_environment(context, now)
    living = {(context.key_of(found.id), found.attempt): found.id for found in running if not found.gone}
    reported = reports.read(context.staging, living, MOST_READ)
    owners = {found.id: owner_of(found) for found in running if not found.gone}
    said = {living[one]: report for one, report in reported.items()}
    return Status(
        model=context.schema.name,
        stored=int(stored),
        size=int(size),
        failed=int(failed),
        running=owners,
        reported=said,
        dead=[found.id for found in running if found.gone],
        first=_time(context, first),
        last=_time(context, last),
        last_minute=int(minute),
        last_hour=int(hour),
        seconds=_seconds(context),
        stale=_stale(context),
        places=_places(made_by, owners, said),
        waiting=waiting,
        submissions=submissions,
    )


def _submissions(context: StoreContext[Base], running: list[Claim]) -> "list[Holder]":
    """Return which submissions hold some sets."""
    if all(found.submission is None for found in running):
        return []
    from entropic.protocol.holders import survey

    return survey(context, ask=False)


def _made_by_environment(context: StoreContext[Base], now: datetime) -> dict[tuple[str, str | None], list[int]]:
    """Return how many rows were made on which machine, and in which job, in the last minute and the last hour."""
    table = context.schema.table
    on = (ledger.c.id == table.c.id) & (ledger.c.model == context.model)
    lately = _count_if(table.c.created_at >= now - timedelta(minutes=1))
    asked = sa.select(ledger.c.environment, lately, sa.func.count()).select_from(table.join(ledger, on))
    asked = asked.where(table.c.created_at >= now - timedelta(hours=1), ledger.c.environment.is_not(None))
    counts = {
        number: (minute, hour) for number, minute, hour in fetch(context.database, asked.group_by(ledger.c.environment))
    }
    found: dict[tuple[str, str | None], list[int]] = {}
    places = context.origins.places
    for number, told in environments_of(context, counts.keys() - places.keys()).items():
        host, job = told.get("host"), told.get("job")
        if isinstance(host, str):
            places[number] = host, job if isinstance(job, str) else None
    for number in counts.keys() & places.keys():
        there = found.setdefault(places[number], [0, 0])
        there[0] += int(counts[number][0])
        there[1] += int(counts[number][1])
    return found


def _places(
    made: dict[tuple[str, str | None], list[int]], running: dict[str, Owner], reported: dict[str, Reported]
) -> list[Place]:
    runs = Counter[tuple[str, str | None]]()
    for id, owner in running.items():
        said = reported.get(id)
        host, job = (said.host or owner.host, said.job or None) if said is not None else (owner.host, None)
        jobs = [of for on, of in made if on == host and of is not None]
        runs[host, jobs[0] if job is None and len(jobs) == 1 else job] += 1
    found = [Place(*one, runs[one], *made.get(one, [0, 0])) for one in {**made, **runs}]
    return sorted(found, key=lambda one: (-one.running, -one.last_hour, one.host, one.job or ""))


def _stale(context: StoreContext[Base]) -> int:
    context.current_code.refresh()
    by_code = sum(count for code, count in context.origins.codes().items() if context.current_code.is_other(code))
    readers = context.origins.inputs.with_some()
    rest = [id for id, code in readers.items() if not context.current_code.is_other(code)]
    return by_code + len(stale.find_reasons(context, rest))


def _count_if(condition: Any) -> Any:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _time(context: StoreContext[Base], raw: Raw) -> datetime | None:
    found: datetime | None = context.rows.values_of({"created_at": raw}, ["created_at"])["created_at"]
    return found


def _seconds(context: StoreContext[Base]) -> float | None:
    c = context.schema.table.c
    raws = fetch(context.database, matching(context, (), {}).order_by(c.created_at.desc()).limit(SAMPLE))
    return context.average_seconds(raws)
