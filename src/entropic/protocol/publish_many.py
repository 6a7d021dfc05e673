"""Publication of many finished attempts at once, in one transaction where that is possible."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from entropic.db.connection import Connection
from entropic.db.raw import Raw
from entropic.errors import PublishError, ResultMissingError
from entropic.files.sidecar import Sidecar
from entropic.files.task import Task
from entropic.params.model import Base
from entropic.protocol import publish as single
from entropic.protocol.context import StoreContext

log = logging.getLogger("entropic")


@dataclass(slots=True)
class Published:
    """What has become of many attempts, by key.

    Attributes
    ----------
    raws
        The raw rows of those that were recorded; None for what must be read.
    superseded
        Those that a later attempt has replaced.
    refused
        Why some could not be recorded; what these name is kept.
    """

    raws: dict[str, Raw | None] = field(default_factory=dict)
    superseded: dict[str, Sidecar] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)


def publish_many(context: StoreContext[Base], finished: Iterable[tuple[Task, Sidecar]], published: Published) -> None:
    """Publish many attempts of our own, in one transaction where that is possible.

    Parameters
    ----------
    published
        Is told as it goes, so that an interrupt loses nothing of it.
    """
    ordered = sorted(finished, key=lambda one: one[0].id)
    if len(ordered) > 1 and not any(sidecar.slotted for _, sidecar in ordered):
        try:
            _publish_together(context, ordered, published)
            return
        except Exception as error:  # noqa: BLE001  (one by one shows which of them it was)
            log.debug(
                "a batch of %d could not be published together (%s); publishing its runs one by one",
                len(ordered),
                error,
            )
    for task, sidecar in ordered:
        if task.id in published.raws:  # only what is left of it could not be removed
            single.clean(context, sidecar)
            continue
        try:
            raw = single.publish(context, sidecar, task)
            if raw is None:
                published.superseded[task.id] = sidecar
                continue
            published.raws[task.id] = raw
            single.clean(context, sidecar)
        except (PublishError, ResultMissingError) as error:
            published.refused[task.id] = error


def _publish_together(context: StoreContext[Base], ordered: list[tuple[Task, Sidecar]], published: Published) -> None:
    def work(connection: Connection) -> list[Raw | None]:
        raws = single.record_many(context, connection, ordered)
        for task, sidecar in ordered:
            single.move(context, task, sidecar)
        single.sync_places(context)
        return raws

    raws = context.database.transact(work)
    published.raws.update(zip((task.id for task, _ in ordered), raws, strict=True))
    for _, sidecar in ordered:
        single.clean(context, sidecar)
