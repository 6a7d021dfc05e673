"""All that is known of one run, and what is going on in the store: what the pages Run, Failures and Progress show."""

import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from entropic.ask.failures import Failure, failures, log_file
from entropic.ask.inputs import dependants, inputs
from entropic.ask.nearest import sum_of
from entropic.ask.provenance import provenance
from entropic.ask.select import build, equal
from entropic.ask.status import status
from entropic.db.claim_record import RUNNING
from entropic.db.notes import Notes
from entropic.db.query import careful, fetch
from entropic.db.raw import Raw
from entropic.errors import ParameterError, UnreadableError
from entropic.files.reports import Reported
from entropic.params.keys import RESERVED
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.protocol.wait import Owner, owner_of
from entropic.support.show import visible
from entropic.ui.columns import shown
from entropic.ui.query import size_of, state_of
from entropic.ui.result import tail

MOST_NEIGHBOURS = 300
MOST_LISTED = 200  # runs of one kind of failure, and runs under way
MOST_FAILURES = 5_000  # that are looked at


def run_of(context: StoreContext[Base], id: str) -> dict[str, Any] | None:
    """Return what is known of one key; None if nothing is."""
    rows, schema = context.rows, context.schema
    raw, claim = rows.read(id), context.ledger.find(id)
    failure = next(iter(failures(context, {"id": id})), None) if claim is not None and claim.failed else None
    if raw is None and claim is None:
        return None
    told: dict[str, Any] = {"id": id, "model": schema.name, "state": "unknown", "params": {}, "outcomes": {}}
    if raw is not None:
        told |= {
            "state": state_of(context, raw),
            "file": visible(rows.file_of(raw)),
            "size": size_of(context.path_of(raw)),
        }
        try:
            values = rows.plain(raw)
        except UnreadableError as error:
            return told | {"state": "unreadable", "why": shown(str(error))}
        custom = values["custom_data"] if isinstance(values["custom_data"], Mapping) else {}
        told["params"] = {name: shown(values[name], 20_000) for name in schema.fields}
        told["outcomes"] = {name: shown(values[name], 20_000) for name in schema.outcomes}
        told |= {"custom": shown(custom, 20_000), "created_at": shown(values["created_at"])}
        told["provenance"] = _provenance(context, raw)
        text, tags = Notes(context.database, context.model).of([id]).get(id, ("", ()))
        told["note"] = {"text": shown(text, 20_000), "tags": [visible(tag) for tag in tags]}
        told["provenance"] |= _read(context, raw)
        told["neighbours"] = neighbours(context, id, values)
    elif failure is not None:
        told |= {"state": "failed", "params": {n: shown(v, 20_000) for n, v in failure.params.items() if n != "id"}}
    if claim is not None and claim.state == RUNNING and not context.is_finished(id, claim.attempt):
        owner = owner_of(claim)
        told["running"] = {"host": visible(owner.host), "pid": owner.pid, "since": shown(owner.since)}
        told["running"]["dead"] = claim.gone
        told["state"] = told["state"] if raw is not None else "dead" if claim.gone else "running"
    if failure is not None:
        told["failure"] = _failure(failure)
    told["log"] = _log(context, id)
    return told


def _provenance(context: StoreContext[Base], raw: Raw) -> dict[str, str]:
    (found,) = provenance(context, build(context, [raw]))
    return {name: shown(value, 20_000) for name, value in found.shown()}


def _read(context: StoreContext[Base], raw: Raw) -> dict[str, str]:
    """Return what the run of a row has read, and how many runs have read the row."""
    (row,) = build(context, [raw])
    read, readers = inputs(context, row), dependants(context, row)
    told = {"has read": shown(", ".join(map(str, read)), 20_000)} if read else {}
    return told | ({"was read by": shown(", ".join(map(str, readers)), 20_000)} if readers else {})


def _failure(found: Failure) -> dict[str, Any]:
    return {
        "id": found.id,
        "params": {name: shown(value, 500) for name, value in found.params.items() if name != "id"},
        "type": visible(found.error_type),
        "message": visible(found.message),
        "traceback": visible(found.traceback),
        "host": visible(found.host),
        "pid": found.pid,
        "job": visible(found.job) if found.job else None,
        "started_at": shown(found.started_at),
        "seconds": found.elapsed_seconds,
        "attempt": found.attempt,
    }


def _log(context: StoreContext[Base], id: str) -> dict[str, Any] | None:
    path = log_file(context, id)
    if path is None:
        return None
    with contextlib.suppress(OSError):
        return tail(str(path))
    return None


def neighbours(context: StoreContext[Base], id: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the runs that differ in one parameter alone, by that parameter: one query, whatever many there are."""
    schema, dialect = context.schema, context.database.dialect
    table = schema.table
    same, compared = list[Any](), dict[str, Any]()
    for name, field in schema.fields.items():
        with contextlib.suppress(ParameterError):  # JSON, which no database compares
            is_same = careful(equal(context, name, values[name]), dialect)
            same.append(sa.case((is_same, 1), else_=0))
            compared[name] = field.column
    if not same:
        return []
    query = sa.select(table.c.id, *(sa.literal_column("0") if one is None else one for one in same))
    query = query.where(table.c.id != id, sum_of(same) == len(same) - 1).order_by(table.c.id).limit(MOST_NEIGHBOURS)
    differs: dict[str, str] = {}
    for other, *flags in fetch(context.database, query):
        differs[other] = next(name for name, flag in zip(compared, flags, strict=True) if not flag)
    found = list[dict[str, Any]]()
    for raw in context.rows.read_many(differs):
        with contextlib.suppress(UnreadableError):
            theirs = context.rows.plain(raw)
            name = differs[theirs["id"]]
            others = [one for one in schema.fields if one not in compared and theirs[one] != values[one]]
            if not others:
                outcomes = {one: shown(theirs[one]) for one in schema.outcomes}
                found.append({"id": theirs["id"], "differs": name, "value": shown(theirs[name]), "outcomes": outcomes})
    return sorted(found, key=lambda one: (one["differs"], _order(one["value"]), one["id"]))


def _order(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return (not is_number, float(value) if is_number else 0.0, str(value))


# ---- all of them -------------------------------------------------------------------------------------------------
def failures_of(context: StoreContext[Base]) -> dict[str, Any]:
    """Return the failed runs, grouped by what was raised: one traceback of each, and the parameters that all share."""
    found = failures(context)[-MOST_FAILURES:]
    groups: dict[tuple[str, str], list[Failure]] = defaultdict(list)
    for one in found:
        groups[one.error_type, _alike(one.message)].append(one)
    told = list[dict[str, Any]]()
    for several in groups.values():
        several.sort(key=lambda one: one.started_at, reverse=True)
        told.append({
            "count": len(several),
            "newest": _failure(several[0]),
            "shared": {name: shown(value) for name, value in _shared(several).items()},
            "runs": [_brief(one) for one in several[:MOST_LISTED]],
        })  # fmt: skip
    told.sort(key=lambda one: -one["count"])
    return {"total": len(found), "groups": told}


def _under_way(id: str, owner: Owner, said: Reported | None) -> dict[str, Any]:
    """Return who runs a key, since when, and how far that is; with a cluster, the run is where it reports from."""
    host, pid = (said.host or owner.host, said.pid or owner.pid) if said is not None else owner[:2]
    told: dict[str, Any] = {"id": id, "host": visible(host), "pid": pid, "since": shown(owner.since)}
    if said is not None:
        told["report"] = {"text": visible(str(said)), "fraction": said.fraction, "at": shown(said.at)}
    return told


def _alike(message: str) -> str:
    """Return a message without the numbers in it, by which messages of one kind differ."""
    return re.sub(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", "#", message.partition("\n")[0][:300])


def _shared(several: list[Failure]) -> dict[str, Any]:
    if len(several) < 2:
        return {}
    first = several[0].params
    return {
        name: value
        for name, value in first.items()
        if name not in RESERVED and all(name in one.params and one.params[name] == value for one in several)
    }


def _brief(found: Failure) -> dict[str, Any]:
    told = _failure(found)
    return {name: told[name] for name in ("id", "params", "message", "host", "started_at", "seconds", "attempt")}


def progress_of(context: StoreContext[Base]) -> dict[str, Any]:
    """Return what is running where, and how fast it goes."""
    found = status(context)
    running = [
        _under_way(id, owner, found.reported.get(id))
        for id, owner in sorted(found.running.items(), key=lambda one: one[1].since)
    ]
    hosts = Counter(one["host"] for one in running)
    workers = Counter((one["host"], one["pid"]) for one in running)
    return {
        "stored": found.stored,
        "size": found.size,
        "failed": found.failed,
        "dead": found.dead[:MOST_LISTED],
        "first": shown(found.first),
        "last": shown(found.last),
        "last_minute": found.last_minute,
        "last_hour": found.last_hour,
        "seconds": found.seconds,
        "running_count": len(running),
        "running": running[:MOST_LISTED],
        "hosts": [
            {"host": host, "running": count, "processes": sum(1 for one, _ in workers if one == host)}
            for host, count in hosts.most_common()
        ],
    }
