"""What a call wants, which never changes, and how far it has come with that."""

from dataclasses import dataclass

from entropic.params.keys import RESERVED
from entropic.protocol.lookup import Suspect

_RESERVED = frozenset(RESERVED)


@dataclass(slots=True)  # which is made sooner than a named tuple, or a frozen one
class Request:
    """A key that a call wants, with all that is needed to run it.

    Attributes
    ----------
    params
        A copy, which nobody else can change.
    columns, values
        The user's columns, and their values as the driver stores them.
    """

    id: str
    params: dict[str, object]
    columns: tuple[str, ...]
    values: tuple[object, ...]
    custom_data: dict[str, object]

    def row(self) -> dict[str, object]:
        """Return the values by column."""
        return dict(zip(self.columns, self.values))  # noqa: B905  (as many, and every run comes by)


@dataclass(slots=True)
class Progress:
    """How far a call has come with what it wants. Only the call itself writes it; to whom it asks it is what is known.

    Attributes
    ----------
    forced
        Whether the call still owes a run of its own.
    is_new
        Whether neither a row nor a claim was seen, nor has this call tried to claim it.
    suspect
        The row whose file was not as recorded.
    waited
        The attempt that the call has waited for last.
    attempt, began
        The attempt that it has begun last, and when, in seconds since 1970.
    """

    forced: bool = False
    is_new: bool = False
    suspect: Suspect | None = None
    waited: str | None = None
    attempt: str | None = None
    began: float | None = None


def without_reserved(params: dict[str, object]) -> dict[str, object]:
    """Return the params without the reserved keys: themselves, if there is none among them."""
    if _RESERVED.isdisjoint(params):
        return params
    return {name: value for name, value in params.items() if name not in RESERVED}
