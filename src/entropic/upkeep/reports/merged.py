"""What `Store.merge` says of what it took in, of what it found here already, and of what it left."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from entropic.support.show import counted, one_line

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Conflict:
    """A key that has a result on both sides, and not the same one; the one here was left as it is.

    Attributes
    ----------
    id : str
        The key, as it is here.
    here, there : str
        Where the two results are.
    text : str
        What differs, as a sentence.
    """

    id: str
    here: str
    there: str
    text: str

    def __str__(self) -> str:
        return one_line(self.text)


@dataclass(repr=False)
class Taken:
    """What was taken in (or, in a dry run, would be) of results that lie elsewhere, and what was left.

    Attributes
    ----------
    taken : list of str
        The keys, as they are here, of the results that were taken in.
    same : int
        How many of the results were here already.
    conflicts : list of Conflict
        Keys with another result on each side.
    left : list of str
        A sentence for each result that was not taken in for another reason.
    registered : list of str
        Those of the keys taken in whose file stays where it is.
    dry_run : bool
        Whether nothing was done.
    """

    taken: list[str] = field(default_factory=list)
    same: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    registered: list[str] = field(default_factory=list)
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        """Whether all of these results are here now (in a dry run: would be)."""
        return not self.conflicts and not self.left


@dataclass(repr=False)
class Merge(Taken):
    """What `Store.merge` did (or, in a dry run, would do), and what it left.

    Attributes
    ----------
    taken : list of str
        The keys, as they are here, of the results that were taken in.
    same : int
        How many results of the other store were here already.
    conflicts : list of Conflict
        Keys with another result on each side.
    left : list of str
        A sentence for each result that was not taken in for another reason.
    registered : list of str
        Those of the keys taken in whose file stays where it is.
    rekeyed : int
        How many of those taken in have another key here, since this store makes keys in another way.
    running, unrecorded, failed : int
        What the other store has that is not a result: runs that are under way, runs that ended and that it has not
        recorded yet, failures.
    dry_run : bool
        Whether nothing was done.
    """

    rekeyed: int = 0
    running: int = 0
    unrecorded: int = 0
    failed: int = 0

    def __str__(self) -> str:
        would = "would be " if self.dry_run else ""
        lines = [f"{counted(len(self.taken), 'result')} {would}taken in; {self.same:,} here already"]
        if self.registered:
            lines.append(f"  {len(self.registered):,} of them {would}registered in place")
        if self.rekeyed:
            lines.append(f"  {self.rekeyed:,} of them have another key here")
        lines += some("in conflict: another result is here, and stays", self.conflicts)
        lines += some("left", self.left)
        not_results = [f"{counted(self.running, 'run')} under way"] if self.running else []
        not_results += [f"{counted(self.unrecorded, 'run')} that it has not recorded yet"] if self.unrecorded else []
        not_results += [counted(self.failed, "failure")] if self.failed else []
        if not_results:
            lines.append(f"not taken, as they are not results: {', '.join(not_results)}")
        return "\n".join(lines)

    __repr__ = __str__


def some(what: str, found: Sequence[object]) -> list[str]:
    """Return lines that say what was found, and name the first of it; none if there is nothing."""
    if not found:
        return []
    more = [f"  ... and {len(found) - _SHOWN:,} more"] if len(found) > _SHOWN else []
    return [f"{len(found):,} {what}", *(f"  {one_line(str(one))}" for one in found[:_SHOWN]), *more]
