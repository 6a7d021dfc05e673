"""A raw row: what one statement returns of a key, before an instance of the user's model is made of it."""

import os
from typing import Any, NamedTuple

# The columns of the table, as the driver gives them, then what `Recorded` names.
Raw = tuple[Any, ...]
# What `Rows.brief` returns: the key, the other columns without `result_file`; the code, the size, the mtime, the place.
BRIEF_TAIL = slice(-4, None)
PLACE = -1


def told(raw: Raw) -> tuple[object, ...]:
    """Return a raw row without what tells which attempt runs, and when its file was made: a hit may correct that."""
    *row, code, _, size, _, place = raw
    return (*row, code, size, place)


class Recorded(NamedTuple):
    """What the ledger says of a raw row: its last six values; all None where it does not know the key.

    Attributes
    ----------
    inputs
        How many results its run has read; None: none.
    code
        The number of the code that made its result.
    running
        The attempt that runs.
    size, mtime_ns
        Those that the result file had.
    place
        Where that is: below the folder of the results, or absolute if it was registered.
    """

    inputs: int | None
    code: int | None
    running: str | None
    size: int | None
    mtime_ns: int | None
    place: str | None

    @classmethod
    def of(cls, raw: Raw) -> "Recorded":
        """Return what is recorded of a raw row."""
        return cls._make(raw[-6:])

    @property
    def is_registered(self) -> bool:
        """Whether the file was made elsewhere, and is where the user has put it."""
        return self.place is not None and str(self.place).startswith(os.sep)

    @property
    def is_ours(self) -> bool:
        """Whether the file is one that the store has brought to its place."""
        return self.place is not None and not self.is_registered
