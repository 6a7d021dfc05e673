"""What `Store.view` says of the tree of links that it has made."""

from dataclasses import dataclass, field

from entropic.support.show import counted
from entropic.upkeep.reports.merged import some


@dataclass(repr=False)
class View:
    """What `Store.view` has made.

    Attributes
    ----------
    path : str
        The folder.
    links : int
        How many links lead to results.
    made, removed : list of str
        Links that were not there before, or led elsewhere, and those whose rows are gone; below `path`.
    left : list of str
        A sentence for each row without a link, and for what is in the tree and somebody has changed.
    """

    path: str
    links: int = 0
    made: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        count = f"{counted(self.links, 'link')} in {self.path}: {len(self.made):,} new, {len(self.removed):,} removed"
        return "\n".join([count, *some("left", self.left)])

    __repr__ = __str__
