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
from entropic.support.show import aligned, counted, duration, visible
from entropic.upkeep.disposal import amount

LONGEST = 200  # letters of a line
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
        pairs.append(("stale", f"{found.stale:,} of other code or inputs than now (`entropic ls --stale` lists them)"))
    pairs.append(("running", f"{len(found.running):,}"))
    if found.dead:
        again = "it runs" if len(found.dead) == 1 else "they run"
        pairs.append(("dead claims", f"{len(found.dead):,}: the process is gone, and {again} again when asked for"))
    return pairs


def left_of(store: Store[Base], wanted: Sequence[Any], found: Status) -> list[tuple[str, Any]]:
    """Return how many of some sets are left, and how long that may take with as many at a time as now."""
    if not wanted:
        return []
    plan, at_once = store.plan(wanted), len(found.running)
    left = len(plan.missing) + len(plan.failed)
    said = f"{left:,} of {counted(len(plan), 'set')}, beside {len(plan.running):,} running"
    seconds = plan.estimate_seconds
    if left and seconds is not None:
        said += f": about {duration(seconds / max(1, at_once))}"
        said += f", with {at_once:,} at a time" if at_once > 1 else ", one after another"
    return [("left", said)]


def keep_watching(store: Store[Base], wanted: Sequence[Any], every: float) -> int:
    """Show what a store holds and what goes on, every few seconds until Ctrl-C."""
    looks: deque[tuple[float, int]] = deque()
    try:
        while True:
            found, now = store.status(), time.monotonic()
            looks.append((now, found.stored))
            while now - looks[0][0] > REMEMBERED:
                looks.popleft()
            pairs = [*facts(found), *_rate(looks), *left_of(store, wanted, found)]
            _write([repr(store), *aligned(pairs, LONGEST), *_where(found), *_running(found, utcnow())])
            time.sleep(every)
    except KeyboardInterrupt:  # as it is meant to end
        return FINE


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


def _running(found: Status, now: datetime) -> list[str]:
    """Return a line for each run under way: where, for how long, how far it is, and what is left of it, if it says."""
    if not found.running:
        return []
    lines: list[list[object]] = [["running", "host", "process", "since (UTC)", "for", "how far", "left"]]
    for id, owner in sorted(found.running.items(), key=lambda one: one[1].since):
        said, took = found.reported.get(id), max(0.0, (now - owner.since).total_seconds())
        host, process = owner.host, place(owner.pid, None)
        if said is not None and said.host:
            host, process = said.host, place(said.pid, said.job)
        part = None if said is None else said.fraction
        left = duration(took * (1 - part) / part) if part else ""
        lines.append([id, host, process, owner.since, duration(took), str(said or ""), left])
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
