"""What `Store.rekey` says of the rows to which it gave other keys, and of what it left."""

from dataclasses import dataclass, field

from entropic.support.show import counted, named
from entropic.upkeep.reports.merged import Taken, some


@dataclass(repr=False)
class Rekeyed(Taken):
    """What `Store.rekey` did (or, in a dry run, would do), and what it left.

    Attributes
    ----------
    taken : list of str
        The new keys.
    before : dict of str to str
        The keys that these had, by their new ones.
    sets : dict of str to dict
        The params of these, by their new keys.
    conflicts : list of Conflict
        Those that stay as they are, under their old key, since something is under their new one.
    left : list of str
        A sentence for each that stays under its old key for another reason.
    registered : list of str
        Those of the new keys whose file stays where it is.
    dry_run : bool
        Whether nothing was done.
    """

    before: dict[str, str] = field(default_factory=dict)
    sets: dict[str, dict[str, object]] = field(default_factory=dict)

    def __str__(self) -> str:
        if not (self.taken or self.conflicts or self.left):
            return "all rows have their current keys"
        would = "would get" if self.dry_run else "got"
        lines = [f"{counted(len(self.taken), 'result')} {would} another key"]
        lines += some("in all:", [f"{self.before[id]} as {id}: {named(self.sets[id].items())}" for id in self.taken])
        lines += some("in conflict: nothing of them was changed", self.conflicts)
        lines += some("left", self.left)
        if self.dry_run and self.taken:
            lines.append(
                "do this only when no older program runs any more: it would not find these rows, and would run their "
                "sets again"
            )
        return "\n".join(lines)

    __repr__ = __str__
