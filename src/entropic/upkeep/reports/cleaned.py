"""What `Store.gc` says of what it removed, and of what it kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from entropic.support.show import one_line
from entropic.support.sizes import amount

_SHOWN = 10
Kind = Literal["result", "orphan", "leftover"]


@dataclass(frozen=True, slots=True)
class Removal:
    """Something that `Store.gc` removed, would remove, or kept.

    Attributes
    ----------
    kind : str
        `"result"` (a row and its file), `"orphan"` (a file without a row) or `"leftover"` (of an attempt that died).
    id : str
        The key that it belongs to, if known.
    path : str
        Where it is.
    size : int
        Bytes on the disk.
    text : str
        All of that in a sentence, with the reason if it was kept.
    """

    kind: Kind
    id: str
    path: str
    size: int
    text: str

    def __str__(self) -> str:
        return one_line(self.text)


@dataclass
class Cleanup:
    """What `Store.gc` removed (or, in a dry run, would remove), and what it kept although it was asked for.

    Attributes
    ----------
    removed, kept : list of Removal
        Kept are results that were changed, replaced, or are running again, each with the reason.
    dry_run : bool
        Whether nothing was done.
    """

    removed: list[Removal] = field(default_factory=list)
    kept: list[Removal] = field(default_factory=list)
    dry_run: bool = False

    @property
    def size(self) -> int:
        """How many bytes were, or would be, freed."""
        return sum(one.size for one in self.removed)

    def counts(self) -> dict[str, int]:
        """Return how many were removed of each kind."""
        kinds: tuple[Kind, ...] = ("result", "orphan", "leftover")
        return {kind: sum(one.kind == kind for one in self.removed) for kind in kinds}

    def __str__(self) -> str:
        verb = "would be removed" if self.dry_run else "removed"
        counts = ", ".join(f"{count:,} {kind}{'s' * (count != 1)}" for kind, count in self.counts().items() if count)
        lines = [f"{counts or 'nothing'} {verb}" + (f", {amount(self.size)}" if self.removed else "")]
        lines += _some(self.removed)
        if self.kept:
            lines += [f"{len(self.kept):,} kept", *_some(self.kept)]
        return "\n".join(lines)


def _some(found: Sequence[Removal]) -> list[str]:
    more = [f"  ... and {len(found) - _SHOWN:,} more"] if len(found) > _SHOWN else []
    return [*(f"  {one}" for one in found[:_SHOWN]), *more]
