"""The outcome columns of a finished run, on their way into its row; whatever is wrong with them loses no run."""

from collections.abc import Mapping
from typing import Any

from entropic.errors import OutcomeWarning, warn
from entropic.files.sidecar import Sidecar
from entropic.params.model import Base
from entropic.params.outcomes import NOT_RECORDED, Outcomes, read_notes
from entropic.protocol.context import StoreContext


def outcome_values(context: StoreContext[Any], sidecar: Sidecar) -> tuple[dict[str, object], dict[str, object]]:
    """Return the outcome columns of a finished run, as the driver stores them, and its custom data with their notes."""
    if not context.schema.outcomes:
        return {}, sidecar.custom_data
    return bound_outcomes(context, Outcomes(sidecar.outcomes or {}, sidecar.missing or {}), sidecar.custom_data)


def bound_outcomes(
    context: StoreContext[Any], said: Outcomes, given: dict[str, Any]
) -> tuple[dict[str, object], dict[str, object]]:
    """Do the same with what was said, and the custom data that were given."""
    bound, notes = context.outcomes.bind(said)
    custom_data = {**given, **notes}
    if NOT_RECORDED in notes:
        custom_data[NOT_RECORDED] = {**read_notes(given, NOT_RECORDED), **notes[NOT_RECORDED]}
    return bound, custom_data


class Gaps:
    """The runs of a call whose rows lack something that they should say; one warning is for all of them."""

    def __init__(self) -> None:
        self._count = 0
        self._first: tuple[Base, Mapping[str, str]] | None = None

    def see(self, row: Base) -> None:
        """Look at the row of a run that this call has made."""
        # (By its attribute, every run of a sweep would pay for what SQLAlchemy does around that.)
        found = row.__dict__["custom_data"]
        if found and NOT_RECORDED in found and (why := read_notes(found, NOT_RECORDED)):
            self._count += 1
            self._first = self._first or (row, why)

    def warn(self) -> None:
        """Warn of them, if there are any."""
        if self._first is None:
            return
        row, why = self._first
        reasons = "; ".join(f"{name}: {reason}" for name, reason in why.items())
        more = f". {self._count - 1:,} other runs lack something, too" if self._count > 1 else ""
        warn(
            f"{type(row).__name__} {row.id} is stored, but not recorded: {reasons}{more}",
            OutcomeWarning,
        )
