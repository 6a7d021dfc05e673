"""Where results may be imported from: what each source yields of what it finds there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from entropic.errors import ParameterError
from entropic.params.model import Base
from entropic.protocol.context import StoreContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A result that somebody else has made.

    Attributes
    ----------
    name : str
        What it is called where something is said of it.
    params : dict
        Its set, by column.
    path : str
        Where it is, without links: a file or a folder. Of a value, what it was read from.
    value : callable or None
        Returns it, if it is no file that a store could keep as it is.
    created_at : datetime or None
        When it was made, in UTC; None for the time of its file.
    seconds : float or None
        How long that took.
    outcomes : dict
        What is known of it beside, by name; those that are no outcome columns are left.
    told : dict
        What else is recorded of where it comes from, as JSON has it.
    """

    name: str
    params: dict[str, Any]
    path: str
    value: Callable[[], object] | None = None
    created_at: datetime | None = None
    seconds: float | None = None
    outcomes: dict[str, Any] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unfit:
    """Something that is there, and cannot be a result of this model, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class NoResult:
    """A set that is there without a result."""

    name: str
    why: str


class Source(Protocol):
    """Where results are imported from."""

    @property
    def kind(self) -> str:
        """How rows call it: `files`, `joblib`."""

    @property
    def keeps_pickles(self) -> bool:
        """Whether its results are pickles, which stay what they are: only a loader of the user's reads them."""

    @property
    def has_files(self) -> bool:
        """Whether its results are files, which may stay where they are."""

    def find(self, context: StoreContext[Base]) -> Iterator[Found | Unfit | NoResult]:
        """Yield what is there; nothing is changed."""


def utc(seconds: float) -> datetime:
    """Return the time of so many seconds since 1970, as naive UTC."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def renamed(params: dict[str, Any], columns: dict[str, str | None]) -> dict[str, Any]:
    """Return params under the names that they have here, without those that have none."""
    called = {name: columns.get(name, name) for name in params}
    names = [new for new in called.values() if new is not None]
    if twice := next((new for new in names if names.count(new) > 1), None):
        raise ParameterError(f"two of them are called {twice!r} here")
    return {new: params[name] for name, new in called.items() if new is not None}
