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
_MOST = 100  # runners of one process that are remembered


class _Arrived(NamedTuple):
    runner: object
    sent: SentCode
    here: SentCode


# By the identity of the runner and the number that was sent; under None what was sent last.
_arrived: dict[tuple[int, int | None], _Arrived] = {}


def compare(runner: object, sent: SentCode | None) -> None:
    """Find out whether the code of a runner that has arrived is what this process has loaded."""
    if sent is None or sent.number is None:
        return
    try:
        here = code_here(sent)
    except Exception as error:  # noqa: BLE001  (of anybody's objects; a run is worth more than what is said of it)
        log.debug("the code of a worker could not be told: %s", error)
        return
    if len(_arrived) >= _MOST:
        _arrived.clear()
    _arrived[id(runner), sent.number] = _arrived[id(runner), None] = _Arrived(runner, sent, here)


def say(task: Task, runner: object) -> None:
    """Have a task say which code makes its result: that of the runner, whatever its sender has become meanwhile."""
    found = _arrived.get((id(runner), task.code)) or _arrived.get((id(runner), None))
    if found is None or found.runner is not runner:
        return
    is_other = found.here.number != found.sent.number
    if is_other or not found.sent.is_watched:  # what is watched may have changed since, and the sender has looked again
        task.code = found.here.number
    if is_other and found.here.number is not None:
        codes.keep(task.staging, found.here.number, found.here.parts)
