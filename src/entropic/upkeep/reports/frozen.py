"""What `Store.freeze` says of a selection."""

from dataclasses import dataclass
from datetime import datetime

from entropic.support.show import counted
from entropic.support.sizes import amount


@dataclass(frozen=True, slots=True)
class Frozen:
    """A named selection of results.

    Attributes
    ----------
    name : str
        What it is called.
    made_at : datetime
        When it was frozen, naive UTC.
    results : int
        How many results are in it.
    size : int
        Bytes of its files; those of results are shared with the results that are still there.
    path : str
        Its folder, which can be read without entropic, as an archive.
    """

    name: str
    made_at: datetime
    results: int
    size: int
    path: str

    def __str__(self) -> str:
        when = f"{self.made_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.name}: {counted(self.results, 'result')}, {amount(self.size)}, frozen at {when}"
