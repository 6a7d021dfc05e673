"""What `Store.archive` says of what it wrote."""

from dataclasses import dataclass, field

from entropic.support.show import counted
from entropic.upkeep.reports.merged import some

SUMS = "SHA256SUMS"
"""The file of an archive that has the checksums of all others."""


@dataclass(repr=False)
class Archive:
    """What `Store.archive` has written.

    Attributes
    ----------
    path : str
        The folder, or the .zip.
    results : list of str
        The keys of the results in it.
    size : int
        Bytes of its files, before they were compressed.
    left : list of str
        A sentence for each result that is not in it.
    outside : list of str
        Registered files that lie outside of the results folder, and were copied into it.
    without : list of str
        What is not in it, since a library is not installed.
    """

    path: str
    results: list[str] = field(default_factory=list)
    size: int = 0
    left: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all results that were asked for are in it."""
        return not self.left

    def __str__(self) -> str:
        lines = [f"{counted(len(self.results), 'result')}, {self.size:,} bytes, in {self.path}"]
        lines += some("registered outside of the results folder, and in it, too", self.outside)
        lines += some("left", self.left)
        lines += self.without
        return "\n".join(lines)

    __repr__ = __str__
