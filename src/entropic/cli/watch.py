"""What `status` says of a store, once, or again every few seconds."""

import shutil
import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from entropic.ask.failures import place
from entropic.ask.status import Status
from entropic.cli.errors import FINE
from entropic.cli.output import cell, on_terminal
from entropic.params.model import Base, utcnow
from entropic.store import Store
from entropic.support.show import aligned, counted, duration, roughly, visible
from entropic.support.sizes import amount

LONGEST = 200  # letters of a line
MOST_HOLDERS = 5  # submissions, in a line each
ENOUGH = 10  # rows that have come, for a rate to tell anything
REMEMBERED = 300.0  # s of looks, over which the rate is taken
FROM_THE_TOP = "\x1b[H\x1b[J"  # what a terminal obeys: from its first line on, all anew


def facts(found: Status) -> list[tuple[str, Any]]:
    """Return what there is to say of a store, in a few lines."""
    pairs: list[tuple[str, Any]] = [("stored", f"{counted(found.stored, 'row')}, {amount(found.size)}")]
    if found.last is not None:
        pairs.append(("stored from", f"{cell(found.first)} to {cell(found.last)} UTC"))
        pairs.append(("recently", f"{found.last_minute:,} in the last minute, {found.last_hour:,} in the last hour"))
    if found.seconds is not None:
        pairs.append(("a run takes", duration(found.seconds)))
    pairs.append(("failed", f"{found.failed:,}" + (" (`entropic failed` shows why)" if found.failed else "")))
    if found.stale:
        pairs.append(("stale", f"{found.stale:,}, of different code or inputs (`entropic ls --stale` lists them)"))
    pairs.append(("running", f"{len(found.running):,}"))
    if found.waiting:
        pairs.append(("waiting", f"{len(found.waiting):,}, submitted to Slurm"))
    pairs += [("held by", one) for one in _holders(found)]
    if found.dead:
        again = "it runs" if len(found.dead) == 1 else "they run"
        pairs.append(("dead claims", f"{len(found.dead):,}: the process is gone, and {again} again when asked for"))
    return pairs


def _holders(found: Status) -> list[str]:
    """Return, in a line each, which submissions hold sets."""
    lines = []
    for one in found.submissions[:MOST_HOLDERS]:
        asked = f", asks for {one.asked}" if one.asked else ""
        where = {"removed": ", its folder was removed", "elsewhere": ", with another results folder"}.get(one.place, "")
        sets = f"{len(one.running):,} running, {len(one.waiting):,} waiting"
        lines.append(f"jobs {one.jobs} since {cell(one.since)} UTC: {sets}{asked}{where}")
    if (more := len(found.submissions) - MOST_HOLDERS) > 0:
        lines.append(f"and {more:,} more submissions")
    return lines


def left_of(
    store: Store[Base], wanted: Sequence[Any], found: Status, rate: float | None = None
) -> list[tuple[str, Any]]:
    """Return how many of some sets are left, and how long that may take.

    What is claimed may still wait in a queue, so it does not count as running: what counts is at what rate rows come
    (in 1/s, if enough were seen), else how many runs have reported how far they are.
    """
    if not wanted:
        return []
    plan, at_once = store.plan(wanted), len(found.reported)
    left = len(plan.missing) + len(plan.failed)
    said = f"{left:,} of {counted(len(plan), 'set')}, beside {len(plan.running):,} running"
    seconds = plan.estimate_seconds
    if left and rate:
        said += f": {roughly(duration(left / rate))}, as fast as rows come now"
    elif left and seconds is not None:
        said += f": {roughly(duration(seconds / max(1, at_once)))}"
        said += f", with {at_once:,} at a time" if at_once > 1 else ", one after another"
    return [("left", said)]


def keep_watching(store: Store[Base], wanted: Sequence[Any], every: float) -> int:
    """Show what a store holds and what goes on, every few seconds until Ctrl-C."""
    looks: deque[tuple[float, int]] = deque()
    reports = Reports()
    try:
        while True:
            found, now = store.status(), time.monotonic()
            looks.append((now, found.stored))
            while now - looks[0][0] > REMEMBERED:
                looks.popleft()
            reports.add(found)
            came = looks[-1][1] - looks[0][1]
            rate = came / (looks[-1][0] - looks[0][0]) if came >= ENOUGH else None
            pairs = [*facts(found), *_rate(looks), *left_of(store, wanted, found, rate)]
            _write([repr(store), *aligned(pairs, LONGEST), *_where(found), *_running(found, utcnow(), reports)])
            time.sleep(every)
    except KeyboardInterrupt:  # as it is meant to end
        return FINE


class Reports:
    """What runs under way have said of how far they are, since this looks.

    Only that: a run may have gone on from a checkpoint, or waited in a queue after its claim.
    """

    def __init__(self) -> None:
        self._said: dict[tuple[str, datetime], list[tuple[datetime, float]]] = {}  # the first and the last

    def add(self, found: Status) -> None:
        """Take in a look."""
        before, self._said = self._said, {}
        for id, said in found.reported.items():
            owner, part = found.running.get(id), said.fraction
            if owner is None or part is None:
                continue
            now = said.at, part
            first, last = before.get((id, owner.since), [now, now])
            self._said[id, owner.since] = [first if part >= last[1] else now, now]  # what falls back begins again

    def left(self, id: str, since: datetime) -> float | None:
        """Return how many seconds a run would still take; None as long as it has not got on while this looks."""
        (began, before), (at, part) = self._said.get((id, since), [(since, 0.0), (since, 0.0)])
        took = (at - began).total_seconds()
        return None if took <= 0 or part <= before else took * (1 - part) / (part - before)


def _rate(looks: Sequence[tuple[float, int]]) -> list[tuple[str, Any]]:
    """Return how many rows come in a minute, since this has looked."""
    (began, before), (now, stored) = looks[0], looks[-1]
    if now <= began or stored < before:
        return []
    return [("rate", f"{60 * (stored - before) / (now - began):.3g} in a minute, seen for {duration(now - began)}")]


def _where(found: Status) -> list[str]:
    if not found.places:
        return []
    names = ["host", "job", "running", "last minute", "last hour"]
    return ["", *aligned([names, *(["" if one is None else one for one in line] for line in found.places)])]


def _running(found: Status, now: datetime, reports: Reports) -> list[str]:
    """Return a line for each run under way: where, since its claim, how far it is, and what is left, if it says."""
    if not found.running:
        return []
    lines: list[list[object]] = [["running", "host", "process", "since (UTC)", "for", "how far", "left"]]
    for id, owner in sorted(found.running.items(), key=lambda one: one[1].since):
        said, took = found.reported.get(id), max(0.0, (now - owner.since).total_seconds())
        host, process = owner.host, place(owner.pid, None)
        if said is not None and said.host:
            host, process = said.host, place(said.pid, said.job)
        left = reports.left(id, owner.since)
        lines.append(
            [id, host, process, owner.since, duration(took), str(said or ""), "" if left is None else duration(left)]
        )
    return ["", *aligned(lines)]


def _write(lines: Sequence[str]) -> None:
    """Show some lines in place of those before, as many as fit; where nobody watches, below them."""
    if on_terminal():
        room = shutil.get_terminal_size()
        if len(lines) > room.lines - 1:
            lines = [*lines[: room.lines - 2], f"... and {len(lines) - room.lines + 2:,} more lines"]
        lines = [visible(line)[: room.columns] for line in lines]
        sys.stdout.write(FROM_THE_TOP + "".join(f"{line}\n" for line in lines))
    else:
        sys.stdout.write("".join(f"{visible(line)}\n" for line in [*lines, ""]))
    sys.stdout.flush()
