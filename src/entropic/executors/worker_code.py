"""The code that this worker runs: what a sweep has sent, unless a module that is imported here is another one.

A row says which code has made it, and that is the code of here (`provenance.loaded`). What differs is left in a file of
the store's folder (`files.codes`), as a worker has no database.
"""

import logging
from typing import NamedTuple

from entropic.files import codes
from entropic.files.task import Task
from entropic.provenance.loaded import SentCode, code_here

log = logging.getLogger("entropic")


class WorkerCode(NamedTuple):
    """The code of a runner that has arrived: as it was sent, and as it is here."""

    sent: SentCode
    here: SentCode

    def say(self, task: Task) -> None:
        """Have a task say which code makes its result: that of the runner, whatever its sender has become meanwhile."""
        number = self.here.number
        is_other = number != self.sent.number
        if is_other or not self.sent.is_watched:  # what is watched may have changed, and the sender has looked again
            task.code = number
        if is_other and number is not None:
            codes.keep(task.staging, number, self.here.parts)


def compare(sent: SentCode | None) -> WorkerCode | None:
    """Find out whether the code of a runner that has arrived is what this process has loaded; None if it cannot."""
    if sent is None or sent.number is None:
        return None
    try:
        return WorkerCode(sent, code_here(sent))
    except Exception as error:  # noqa: BLE001  (of anybody's objects; a run is worth more than what is said of it)
        log.debug("the code of a worker could not be told: %s", error)
        return None
