"""`Store.plan`: what a sweep would find and do, without doing it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from entropic.db.claim_record import RUNNING, Claim
from entropic.params.keys import Params
from entropic.params.model import Base
from entropic.protocol.context import StoreContext
from entropic.protocol.wait import Owner, owner_of
from entropic.support.show import counted, html_table, one_line
from entropic.sweep import missing
from entropic.sweep.cost import MOST_ASKED, Cost, Costs


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """The sets of a sweep, sorted by what is known about them; each is in exactly one list, in the order given.

    Attributes
    ----------
    stored
        Those that have a result.
    missing
        Those without a result, and without a recorded failure.
    running
        Those that are being run now; `owners` says by whom, in the same order.
    failed
        Those that have no result, and whose last attempt failed.
    unreadable
        Those whose run has finished with a later version of entropic, which alone can record it: a sweep raises
        `UnreadableError` for them, or with `on_error="continue"` leaves them out.
    stale
        Those with a stale result, made by different code or from inputs that have changed since: among the
        stored ones, too, or, if `on_stale="rerun"`, among the missing ones.
    """

    stored: list[Params] = field(default_factory=list)
    missing: list[Params] = field(default_factory=list)
    running: list[Params] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)
    failed: list[Params] = field(default_factory=list)
    stale: list[Params] = field(default_factory=list)
    unreadable: list[Params] = field(default_factory=list)
    _costs: Costs | None = field(default=None, repr=False, compare=False)

    @property
    def estimate_seconds(self) -> float | None:
        """How long the missing and the failed ones would take, one after another; None if that cannot be said of all.

        It is what `cost` says, without its error.
        """
        found = self._cost(MOST_ASKED)
        return None if found.seconds is None or found.unsaid else found.seconds.value

    def cost(self) -> Cost:
        """Return how long the missing and the failed ones would take, and how much memory, each with its error.

        It is learned from the parameters of stored runs: `elapsed_seconds` in their custom data, and the memory in
        their provenance. Nothing is said of a set in which a parameter differs that is the same in all of them.
        """
        return self._cost()

    def _cost(self, most: int | None = None) -> Cost:
        sets = [*self.missing, *self.failed]
        return Cost([], None, None, 0, 0) if self._costs is None else self._costs.of(sets, most)

    def __len__(self) -> int:
        lists = (self.stored, self.missing, self.running, self.failed, self.unreadable)
        return sum(map(len, lists))

    def __str__(self) -> str:
        lines = [
            counted(len(self), "set"),
            f"  {len(self.stored):,} stored",
            f"  {len(self.missing):,} missing",
            f"  {len(self.running):,} running" + _where(self.owners),
            f"  {len(self.failed):,} failed",
        ]
        if self.unreadable:
            lines.append(f"  {len(self.unreadable):,} unreadable, finished with a later version of entropic")
        if self.stale:
            lines.append(f"  {counted(len(self.stale), 'stale result')}, of different code or changed inputs")
        return "\n".join([*lines, *(f"  {line}" for line in self._cost_lines())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        counts = [(name, len(getattr(self, name))) for name in ("stored", "missing", "running", "failed")]
        counts += [("unreadable", len(self.unreadable))] if self.unreadable else []
        return html_table(counts, title=counted(len(self), "set"), after="; ".join(self._cost_lines()))

    def _cost_lines(self) -> list[str]:
        return self._cost(MOST_ASKED).lines() if self.missing or self.failed else []


def plan(context: StoreContext[Base], params: Iterable[Any]) -> Plan:
    """Check every set, and sort them; run nothing, change nothing."""
    given: dict[str, Params] = {}
    with context.current_code.gather_stale() as met:
        planned = missing.plan(context, params, keep_rows=False, given=given, changes=False)
    found = {claim.id: claim for claim in context.ledger.find_many(planned.missing)} if planned.missing else {}
    stale = {id for ids in met.values() for id in ids}
    stored = [id for id in planned.rows if id not in planned.missing]
    made = Plan(stale=[given[id] for id in planned.rows if id in stale], _costs=Costs(context, stored))
    for id in planned.rows:
        one, claim = given[id], found.get(id)
        if id not in planned.missing:
            made.stored.append(one)
        elif claim is not None and _is_finished(context, claim):
            is_read = context.why_unreadable(claim.id, claim.attempt) is None
            (made.stored if is_read else made.unreadable).append(one)
        elif claim is not None and claim.state == RUNNING and not claim.dead:
            made.running.append(one)
            made.owners.append(owner_of(claim))
        elif claim is not None and claim.failed:
            made.failed.append(one)
        else:
            made.missing.append(one)
    return made


def _is_finished(context: StoreContext[Base], claim: Claim) -> bool:
    """Tell whether a set lacks just the publication of its result."""
    return claim.state == RUNNING and context.is_finished(claim.id, claim.attempt)


def _where(owners: list[Owner]) -> str:
    if not owners:
        return ""
    hosts = sorted({one_line(f"{owner.host} (pid {owner.pid})") for owner in owners})
    since = min(owner.since for owner in owners)
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    return f", on {', '.join(hosts[:3])}{more}, the first since {since:%Y-%m-%d %H:%M:%S} UTC"
