"""`Store.explain`: whether some params are a hit, and why not."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from entropic.ask.failures import Failure, failures
from entropic.ask.nearest import Nearest, nearest
from entropic.db.claim_record import RUNNING, Claim
from entropic.db.raw import Raw, Recorded
from entropic.errors import KeyCollisionError
from entropic.params.keys import RESERVED
from entropic.params.model import Base
from entropic.protocol import compare, lookup, run, stale_rows
from entropic.protocol.context import StoreContext
from entropic.protocol.lookup import Hit, Suspect
from entropic.protocol.verify import Altered
from entropic.protocol.wait import Owner, owner_of, whom
from entropic.support.show import html_table, named, one_line

State = Literal["stored", "missing", "running", "failed", "lost", "stale", "collision", "unreadable"]
_CALLED: dict[State, str] = {
    "stored": "a hit",
    "missing": "a miss",
    "running": "running",
    "failed": "a miss, and its last run failed",
    "lost": "a miss, as its result is lost",
    "stale": "a miss, as its result is stale",
    "collision": "a collision of keys",
    "unreadable": "finished, but cannot be read",
}


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """Whether some params are a hit, and why; print it.

    Attributes
    ----------
    model, params : str, dict
        What was asked for.
    id, canonical : str
        The key, and the text that it was made from; empty if the params gave the key themselves.
    state : str
        `"stored"`: a hit. `"missing"`, `"failed"` (the last time) or `"lost"` (the result file is gone or was changed):
        the set would run; so it would if it is `"stale"`, made by different code, and the store was opened with
        `on_stale="rerun"`. `"running"`: the call would wait for it. `"collision"`: another set has this key.
        `"unreadable"`: its run has finished with a later version of entropic, which alone can record it; the call would
        raise `UnreadableError`.
    reason : str
        A sentence.
    result_file : str or None
        Where the result is, or should be.
    owner : Owner or None
        Who runs it now.
    failure : Failure or None
        Its last failure, if that is recorded.
    nearest : list of Nearest
        On a miss, the most similar stored sets, and how they differ.
    change : str
        How the code has changed since its result was made, as `diff -u` shows it, if it has.
    """

    model: str
    params: dict[str, Any]
    id: str
    canonical: str
    state: State
    reason: str
    result_file: str | None = None
    owner: Owner | None = None
    failure: Failure | None = None
    nearest: list[Nearest] = field(default_factory=list)
    change: str = ""

    @property
    def hit(self) -> bool:
        """Whether `run_or_retrieve` would return what is stored."""
        return self.state == "stored"

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("params", named(self.params.items()) or "(none)")]
        rows.append(("key", self.id))
        rows.append(("made from", self.canonical or "the id that was given"))
        rows.append(("because", self.reason))
        if self.result_file is not None:
            rows.append(("result", self.result_file))
        if self.failure is not None:
            rows.append(("failed", f"{self.failure.error_type}: {self.failure.message}".partition("\n")[0][:200]))
        rows += [("changed" if i == 0 else "", line) for i, line in enumerate(self.change.splitlines())]
        width = max((len(near.id) for near in self.nearest), default=0)
        lines = [f"{near.id:<{width}}  {'; '.join(near.differences)}"[:300] for near in self.nearest]
        rows += [("nearest" if i == 0 else "", line) for i, line in enumerate(lines)]
        return rows

    def __str__(self) -> str:
        title = f"{self.model} {self.id} is {_CALLED[self.state]}"
        return "\n".join([one_line(title), *(f"  {name:<9}  {one_line(text)}" for name, text in self._rows())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self._rows(), title=f"{self.model} {self.id} is {_CALLED[self.state]}")


def explain(context: StoreContext[Base], params: Mapping[str, object]) -> Explanation:
    """Look at the key of some params, at its row, its file and its claim; run nothing, change nothing."""
    id = context.hasher(params)
    canonical = "" if isinstance(params, Mapping) and "id" in params else context.hasher.text(params)
    own = context.schema.changed.fill({name: value for name, value in params.items() if name not in RESERVED})
    context.schema.fit(own, complete=bool(canonical))
    known: dict[str, Any] = {"model": context.schema.name, "params": own, "id": id, "canonical": canonical}
    raw, claim = context.rows.read(id), context.ledger.find(id)
    path = None if raw is None else context.rows.file_of(raw)
    if raw is None and canonical:
        run.prepare(context, id, params, {})  # what no run would take is no miss, but refused as there
    if raw is not None:
        try:
            context.verify(raw, params)
        except Altered as error:
            return Explanation(**known, state="lost", reason=str(error), result_file=path)
        except KeyCollisionError as error:
            return Explanation(**known, state="collision", reason=str(error), result_file=path)
    state, reason = _state(context, raw, claim)
    change = ""
    if state == "stored" and raw is not None and (code := Recorded.of(raw).code) is not None:
        context.current_code.refresh()
        if context.current_code.on_stale != "ignore" and context.current_code.is_other(code):
            found = context.current_code.change(code)
            reason, change = f"{reason}; but it was made by different code: {found}", found.diff
            state = "stale" if context.current_code.on_stale == "rerun" else state
    if state == "stored" and not change and raw is not None and Recorded.of(raw).inputs is not None:
        since = [] if context.current_code.on_stale == "ignore" else stale_rows.find_reasons(context, [id]).get(id, [])
        if since:
            reason = f"{reason}; but it was made from what has changed since: {stale_rows.sentence(since)}"
            state = "stale" if context.current_code.on_stale == "rerun" else state
    return Explanation(
        **known,
        state=state,
        reason=reason,
        result_file=path,
        owner=owner_of(claim) if claim is not None and state == "running" else None,
        failure=next(iter(failures(context, {"id": id})), None) if claim is not None and claim.failed else None,
        nearest=nearest(context, own, id) if raw is None and state in ("missing", "failed") else [],
        change=change,
    )


def _state(context: StoreContext[Base], raw: Raw | None, claim: Claim | None) -> tuple[State, str]:
    runs = claim if claim is not None and claim.state == RUNNING else None
    if runs is not None and context.is_finished(runs.id, runs.attempt):
        if (why := context.why_unreadable(runs.id, runs.attempt)) is not None:
            return "unreadable", f"its run has finished, but {why}"
        return "stored", "its run has finished, and the next call records it"
    looked_up = lookup.ABSENT if raw is None else lookup.classify(context, raw)
    if raw is not None and isinstance(looked_up, Suspect):
        looked_up = lookup.recheck(context, {context.rows.id_of(raw): raw})[context.rows.id_of(raw)]
        raw = looked_up.raw or raw
    alive = runs is not None and not runs.dead
    if isinstance(looked_up, Hit):
        again = f"; it is being run again by {_who(runs)}" if runs is not None and alive else ""
        return "stored", f"its row is stored, and its file is as recorded{again}"
    if raw is not None and compare.is_as_stored(context, raw):
        return (
            "stored",
            "its row is stored, and its file has the recorded size, but another time (it may be a copy)",
        )
    if runs is not None and alive:
        return "running", whom(runs).removeprefix("which ")
    if raw is not None:
        return "lost", _loss(context, raw)
    if claim is not None and claim.failed:
        return "failed", "its last run failed, and none has succeeded since"
    if runs is not None:
        return "missing", f"its run by {_who(runs)} never ended: that process is gone"
    return "missing", "no run of it is stored"


def _who(claim: Claim) -> str:
    owner = owner_of(claim)
    return f"{owner.host} (pid {owner.pid}) since {owner.since:%Y-%m-%d %H:%M:%S} UTC"


def _loss(context: StoreContext[Base], raw: Raw) -> str:
    recorded, path = Recorded.of(raw).size, context.rows.file_of(raw)
    found = context.extent_of(raw)
    if found is None:
        return f"its result file {os.path.basename(path)} is gone"
    if found.size == recorded:
        return f"its result file {os.path.basename(path)} {compare.DIFFERENCE}"
    return f"its result file {os.path.basename(path)} {lookup.difference(found.size, recorded)}"
