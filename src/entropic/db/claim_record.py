"""A claim as it was read: who has which key, whether that owner lives, and what was published; and names of attempts.

States of a claim, and nothing else moves them:

    (none) -> running -> idle        claimed, then published, released, or withdrawn
              running -> failed      the runner raised
    idle, failed -> running          claimed again
    any -> deleting -> idle          the row is deleted, then its file
"""

import os
from dataclasses import dataclass

from entropic.support import process

IDLE, RUNNING, DELETING, FAILED = "idle", "running", "deleting", "failed"
DISTRUSTED = -1  # the recorded size of a result that a power cut may have damaged: no file has it
LEASE = 60.0  # s, unless a store is given another
LONGEST_LEASE = "longest_lease"  # the name of that setting, which is recorded once a store has a longer one
UNUSED = "0-00000000"  # the attempt of a claim that was made only to be locked


@dataclass(slots=True)
class Claim:
    """What the ledger says of one key."""

    id: str
    model: str
    attempt: str
    state: str
    owner: str | None
    since: float | None
    lease_until: float | None
    waits_for: str | None
    path: str | None
    published: str | None
    size: int | None
    mtime_ns: int | None
    extra: bool | None
    registered: str | None
    failed: bool  # whether the newest attempt that came to an end failed
    now: float  # the database's time when this was read
    longest: str | None  # the longest lease that any store has, if that is not the usual one

    @property
    def dead(self) -> bool:
        """Whether nobody who can still finish holds this claim: see `process.state`, elsewhere the lease decides.

        One that lasts longer than any lease was made, or renewed, while a clock was ahead, and says nothing. (A lease
        more is left to it: a living owner renews its own, once the clock is right again.)
        """
        found = process.state(self.owner)
        if found != "elsewhere":
            return found == "dead" and self.submission is None
        return not self.now <= (self.lease_until or 0.0) <= self.now + 2 * longest_lease(self.longest)

    @property
    def gone(self) -> bool:
        """Whether it is dead, or this host was started again since its owner, which worked here, was last heard of.

        For who looks and repairs: hosts may share a name, so nobody takes over by that alone.
        """
        if self.dead or self.owner is None or self.submission is not None:
            return self.dead
        heard = max(self.since or 0.0, (self.lease_until or 0.0) - longest_lease(self.longest))
        return process.is_of_earlier_boot(self.owner, self.now - heard)

    @property
    def submission(self) -> int | None:
        """The number of the submission whose jobs run it, without a process that waits: `protocol/submitted.py`."""
        return process.number_of_submission(self.owner)

    @property
    def own_size(self) -> int | None:
        """The recorded size of what lies at its place; None if it is not known, or of a registered file elsewhere."""
        return self.size if self.registered is None else None

    @property
    def placed_elsewhere(self) -> bool:
        """Whether another host, as far as is recorded, has published what is at its place.

        That of a submission anybody may have.
        """
        if self.state != IDLE or self.published is None:
            return False
        return self.submission is not None or process.state(self.owner) == "elsewhere"


def longest_lease(recorded: str | None) -> float:
    """Return the longest lease of any store, in seconds, given what is recorded of it."""
    try:
        found = float(recorded or LEASE)
    except ValueError:
        return LEASE
    return found if LEASE < found < float("inf") else LEASE


def new_attempt(old: Claim | None, over: bool = False) -> str:
    """Return a name for the next attempt, which was never used and never will be again.

    `<generation>-<order>`: the attempts of one generation compete for the same next row, and later ones are larger. A
    generation is over when one of it is published, or the row is deleted (`over`).
    """
    if old is None:
        return "1-%08x" % (_random() >> 1)
    generation, order = _parts(old.attempt)
    later = order + 1 + (_random() >> 16)
    if over or old.published == old.attempt or old.attempt == UNUSED or later >= 1 << 32:
        return f"{generation + 1}-{_random() >> 1:08x}"
    return f"{generation}-{later:08x}"


def generation(attempt: str) -> int:
    """Return the number of those attempts that compete with one for the same row."""
    return _parts(attempt)[0]


def _parts(attempt: str) -> tuple[int, int]:
    number, _, rest = attempt.partition("-")
    return int(number), int(rest[:8], 16)


def _random() -> int:
    return int.from_bytes(os.urandom(4))
