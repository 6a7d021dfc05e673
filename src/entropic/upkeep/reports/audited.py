"""What is said of an audit."""

from dataclasses import dataclass, field
from datetime import datetime

from entropic.support.show import counted, html_table, one_line

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Audited:
    """A stored result beside which its set was run again.

    Attributes
    ----------
    id : str
        Its key.
    agreed : bool
        Whether the two results agree.
    text : str
        How: they are identical, or agree within the tolerance; or what differs, or what the run raised.
    at : datetime
        When, naive UTC.
    host : str
        Where.
    attempt : str or None
        Which attempt had made the stored result; None of one that was registered, or made by version 2.3.0.
    """

    id: str
    agreed: bool
    text: str
    at: datetime
    host: str
    attempt: str | None

    def __str__(self) -> str:
        return one_line(f"{self.id}: {self.text}")


@dataclass(repr=False)
class Audit:
    """What `Store.audit` has found; all is well if it is `ok`.

    Attributes
    ----------
    rows : int
        How many rows there were to choose from.
    seed : int
        Which makes the same choice among the same rows again.
    agreed, differing : list of Audited
        Those that were run again.
    skipped : list of str
        Of chosen rows that were not run again: the key, and why.
    """

    rows: int
    seed: int
    agreed: list[Audited] = field(default_factory=list)
    differing: list[Audited] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether something was run again and nothing differs; of what was skipped nothing is known."""
        return bool(self.agreed) and not self.differing

    def _title(self) -> str:
        count = len(self.agreed) + len(self.differing)
        if not self.rows:
            return "nothing was audited: there are no rows, or none that match"
        agreed, differing = len(self.agreed), len(self.differing)
        title = f"{counted(count, 'set')} of {self.rows:,} run again (seed {self.seed}): "
        title += f"{agreed:,} agree{'s' * (agreed == 1)}"
        title += f", {differing:,} differ{'s' * (differing == 1)}" if differing else ""
        title += f", {len(self.skipped):,} skipped" if self.skipped else ""
        return title if count else f"nothing was audited: {title}"

    def __str__(self) -> str:
        found = [*map(str, self.differing), *map(one_line, self.skipped)]
        more = [f"  ... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        return "\n".join([self._title(), *(f"  {text}" for text in found[:_SHOWN]), *more])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(
            [(one.id, one.text) for one in self.differing[: 5 * _SHOWN]], ("id", "finding"), self._title()
        )
