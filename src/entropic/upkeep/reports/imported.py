"""What `Store.import_results` says of what it took in, of what it found here already, and of what it left."""

from dataclasses import dataclass, field

from entropic.support.show import counted
from entropic.upkeep.reports.merged import Taken, some


@dataclass(repr=False)
class Imported(Taken):
    """What `Store.import_results` did (or, in a dry run, would do), and what it left.

    Attributes
    ----------
    taken : list of str
        The keys of the results that were taken in.
    sets : dict of str to dict
        The params of these, by key, as they were read.
    names : dict of str to str
        What these were called there: their files, say.
    same : int
        How many were here already.
    conflicts : list of Conflict
        Keys that have another result here, or several there; none of these was taken.
    left : list of str
        A sentence for each that was not taken in for another reason, such as a text that a column cannot hold.
    absent : list of str
        What has no result there, and so nothing to be taken: jobs that never ran.
    registered : list of str
        Those of the keys taken in whose file stays where it is.
    dry_run : bool
        Whether nothing was done.
    """

    sets: dict[str, dict[str, object]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        would = "would be " if self.dry_run else ""
        lines = [f"{counted(len(self.taken), 'result')} {would}taken in; {self.same:,} here already"]
        if self.registered:
            lines.append(f"  {len(self.registered):,} of them {would}registered in place")
        if self.dry_run and self.taken:
            lines += some("in all:", [f"{self.names[id]} as {_set(self.sets[id])}" for id in self.taken])
        lines += some("in conflict: none of these was taken", self.conflicts)
        lines += some("left", self.left)
        lines += some("without a result there", self.absent)
        return "\n".join(lines)

    __repr__ = __str__


def _set(params: dict[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items())
